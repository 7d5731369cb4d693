//! Once a week: what was done becomes a frame. Here patients are known, and become keyed hashes before `egress` hears of
//! them; there they are counted, and noise is drawn. Nothing is sent here: the frame lies where the gate may read it.

use crate::catalogue::Catalogue;
use crate::evaluations::Plans;
use crate::machine::{Chance, Machine, NoChance};
use pericard_domain::actor::Actor;
use pericard_domain::model::Package;
use pericard_domain::time::Timestamp;
use pericard_egress::{
    Books, BooksError, CatalogueId, Closing, Entry, Log, Meter, Pseudonym, Review, Rules, Seed,
    Week,
};
use pericard_store::audit_log::AuditQuery;
use pericard_store::review::Verdict;
use pericard_store::week::{Continuation, FIRST_MONDAY_MS, Inference, WEEK_MS};
use pericard_store::{Store, StoreError};
use sha2::{Digest as _, Sha256};
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What the audit log calls it.
const VERB: &str = "tell week";

/// A week cannot be told of now; it is tried again.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Books(#[from] BooksError),
    #[error(transparent)]
    Random(#[from] NoChance),
    #[error("the outcomes of evaluations cannot be read: {0}")]
    Evaluations(#[from] std::io::Error),
    #[error("the work ended early")]
    Lost,
}

/// What weeks are told of, and with what.
#[derive(Clone)]
pub(crate) struct Weekly {
    pub(crate) dir: PathBuf,
    pub(crate) rules: Rules,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) packages: Arc<[Package]>,
    pub(crate) store: Store,
    pub(crate) meter: Meter,
    pub(crate) machine: Machine,
}

/// What chance gives to one week. Nobody keeps it.
struct Draw {
    /// Patients' hashes are made with it: they are equal within this week only.
    key: [u8; 32],
    /// Noise grows from it.
    seed: [u8; 32],
}

impl Weekly {
    /// Tells of each week once it is over, until the stop. Trouble is said and tried again: it must not close a door.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<(), StoreError> {
        let mut beat = tokio::time::interval(self.machine.look_every);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = beat.tick() => {
                    if let Err(error) = self.look().await {
                        tracing::warn!(%error, "the week that is over is not told of yet");
                    }
                }
            }
        }
    }

    /// Closes the week that is over, unless it is closed; and sees that the audit log says what the books say.
    async fn look(&self) -> Result<(), Trouble> {
        let Some(week) = week_of(self.machine.clock.now()).checked_sub(1) else {
            return Ok(()); // a clock before the first week
        };
        let (dir, rules) = (self.dir.clone(), self.rules);
        let mut books = blocking(move || Books::open(dir, rules)).await??;
        if books.last_week().is_none_or(|last| last < week) {
            let (from, before) = (begin_of(week), begin_of(week + 1));
            let inferences = self.store.inferences(from, before).await?;
            let continuation = self.store.continuation(books.log_from(&self.meter)).await?;
            let draw = Draw::of(self.machine.chance.as_ref())?;
            let closing = Closing {
                evaluations: Plans::of(&self.dir).outcomes()?,
                ..self.closing(week, &inferences, continuation, &draw)
            };
            let meter = self.meter.clone();
            books = blocking(move || books.close(closing, &meter).map(|_| books)).await??;
        }
        match books.ledger().last() {
            Some(entry) => self.say(entry).await,
            None => Ok(()),
        }
    }

    fn closing(
        &self,
        week: u16,
        inferences: &[Inference],
        continuation: Continuation,
        draw: &Draw,
    ) -> Closing {
        let live: Vec<CatalogueId> = self
            .packages
            .iter()
            .map(|package| self.catalogue.id(&package.model))
            .collect();
        Closing {
            week,
            inferences: count(inferences, &live, &self.catalogue, &draw.key),
            log: Log {
                size: continuation.head.size,
                root: words(&continuation.head.root),
                proof: continuation.proof.iter().map(words).collect(),
            },
            evaluations: Vec::new(),
            seed: Seed(draw.seed),
        }
    }

    /// Writes the ledger's line into the audit log, unless a crash came after it was written.
    async fn say(&self, entry: &Entry) -> Result<(), Trouble> {
        let week = format!("week {}, frame {}", entry.week, entry.sequence);
        let asked = AuditQuery {
            verb: Some(VERB.to_owned()),
            subject: Some(week.clone()),
            limit: 1,
            ..AuditQuery::default()
        };
        if !self.store.audit(asked).await?.is_empty() {
            return Ok(());
        }
        let Entry {
            spent_milli_epsilon: spent,
            left_milli_epsilon: left,
            models_told,
            plans_told,
            ..
        } = entry;
        let what = if entry.refused {
            "nothing of patients, the budget is spent".to_owned()
        } else {
            format!(
                "{models_told} models and {plans_told} evaluations told of, {spent} thousandths of epsilon spent"
            )
        };
        let by = Actor::Room {
            name: "egress".into(),
        };
        let subject = format!("{week}: {what}, {left} left in the year");
        self.store.note_access(VERB, &subject, by).await?;
        tracing::info!(
            week = entry.week,
            frame = entry.sequence,
            left,
            "a week is told of"
        );
        Ok(())
    }
}

impl Draw {
    fn of(chance: &dyn Chance) -> Result<Self, NoChance> {
        Ok(Self {
            key: chance.bytes()?,
            seed: chance.bytes()?,
        })
    }
}

/// The week's histograms. A patient is known here by what the study says; a study that names none stands for itself.
fn count(
    inferences: &[Inference],
    live: &[CatalogueId],
    catalogue: &Catalogue,
    key: &[u8; 32],
) -> Week {
    let mut week = Week::of(live);
    for inference in inferences {
        let patient = inference
            .patient
            .as_deref()
            .filter(|id| !id.trim().is_empty());
        let patient = match patient {
            Some(id) => pseudonym(key, b"patient", id.trim()),
            None => pseudonym(key, b"study", inference.study.as_str()),
        };
        week.count(
            patient,
            catalogue.id(&inference.model),
            tenth(inference.score),
            reviewed(inference.verdict),
        );
    }
    week
}

/// What people had said of a result by the time that its week was closed. What they say later is shown in the hospital,
/// and told to nobody: the week's noise is drawn once.
const fn reviewed(verdict: Option<Verdict>) -> Review {
    match verdict {
        None => Review::None,
        Some(Verdict::Agreed) => Review::Agreed,
        Some(Verdict::Disagreed) => Review::Disagreed,
    }
}

/// A hash that only this week's key gives. The key comes first and has a fixed length, and SHA-256 of a secret prefix is
/// told to nobody: it is compared within this process, and forgotten with it.
fn pseudonym(key: &[u8; 32], kind: &[u8], name: &str) -> Pseudonym {
    let mut hash = Sha256::new();
    for part in [&key[..], kind, b"\0", name.as_bytes()] {
        hash.update(part);
    }
    let hash = hash.finalize();
    Pseudonym(u64::from_le_bytes(std::array::from_fn(|at| hash[at])))
}

/// The tenth that a score lies in. What found nothing has the lowest.
pub(crate) fn tenth(score: Option<f32>) -> u8 {
    // The cast cuts off, and turns what is no number into 0.
    (score.unwrap_or(0.0) * 10.0).clamp(0.0, 9.0) as u8
}

/// A hash as the frame has it: four numbers, the first bytes first.
pub(crate) fn words(hash: &[u8; 32]) -> [u64; 4] {
    let mut words = hash.chunks_exact(8).map(|chunk| {
        let fold = |word: u64, byte: &u8| word << 8 | u64::from(*byte);
        chunk.iter().fold(0, fold)
    });
    std::array::from_fn(|_| words.next().unwrap_or(0))
}

fn week_of(at: Timestamp) -> u16 {
    let weeks = (at.as_millis() - FIRST_MONDAY_MS).div_euclid(WEEK_MS);
    u16::try_from(weeks).unwrap_or(0)
}

fn begin_of(week: u16) -> Timestamp {
    Timestamp::from_millis(FIRST_MONDAY_MS + i64::from(week) * WEEK_MS)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Trouble> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Trouble::Lost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pericard_domain::model::ModelRef;

    fn model(name: &str) -> ModelRef {
        ModelRef {
            name: name.into(),
            version: "1.0".into(),
            digest: "ab".repeat(32).parse().expect("a digest"),
        }
    }

    fn inference(patient: Option<String>, study: u64, name: &str, score: f32) -> Inference {
        Inference {
            patient,
            study: format!("1.2.{study}").parse().expect("a UID"),
            model: model(name),
            score: Some(score),
            verdict: None,
        }
    }

    #[test]
    fn weeks_begin_on_monday() {
        let at = |day: i64| week_of(Timestamp::from_millis(day * WEEK_MS / 7));
        // 24 November 2026 is a Tuesday, 20,781 days after 1 January 1970.
        assert_eq!((at(4), at(10), at(11)), (0, 0, 1));
        assert_eq!((at(20_779), at(20_780), at(20_781)), (2967, 2968, 2968));
        assert_eq!(week_of(begin_of(2968)), 2968);
    }

    #[test]
    fn scores_lie_in_tenths_and_no_score_is_the_lowest() {
        let tenths = [
            None,
            Some(0.0),
            Some(0.19),
            Some(0.95),
            Some(1.0),
            Some(7.0),
            Some(f32::NAN),
        ];
        assert_eq!(tenths.map(tenth), [0, 0, 1, 9, 9, 9, 0]);
    }

    #[test]
    fn what_people_said_has_its_own_cells() {
        let id = CatalogueId(3);
        let states = [None, Some(Verdict::Agreed), Some(Verdict::Disagreed)].map(reviewed);
        assert_eq!(states, [Review::None, Review::Agreed, Review::Disagreed]);
        let told = |verdict| {
            let mut week = Week::of(&[id]);
            week.count(Pseudonym(1), id, 4, reviewed(verdict));
            format!("{week:?}")
        };
        assert_ne!(told(Some(Verdict::Agreed)), told(Some(Verdict::Disagreed)));
        assert_ne!(told(None), told(Some(Verdict::Agreed)));
    }

    /// From the store's rows to the frame's bytes: other patients of the same shape change nothing.
    #[test]
    fn other_names_and_studies_give_the_same_frame() {
        let dir = tempfile::tempdir().expect("a folder");
        let hub = pericard_audit::SigningKey::from_seed("hub.example", &[1; 32]).expect("a key");
        let digest = "ab".repeat(32);
        let text = format!("pericard-catalogue/v1\n3 chest 1.0 {digest}\n9 brain 1.0 {digest}\n");
        let signed = pericard_audit::note::sign(&text, &[&hub]).expect("signed");
        let path = dir.path().join("catalogue");
        std::fs::write(&path, signed).expect("written");
        let catalogue = Catalogue::read(&path, &hub.verifier().to_string()).expect("believed");
        let live = [CatalogueId(3), CatalogueId(9)];
        let told = |hospital: u64, key: [u8; 32]| {
            let rows: Vec<_> = (0..1800)
                .map(|row: u64| {
                    let patient = row * 7 % 900;
                    let named = !patient.is_multiple_of(5);
                    let patient_id = named.then(|| format!("canary {hospital}:{patient} "));
                    let name = if row.is_multiple_of(3) {
                        "brain"
                    } else {
                        "chest"
                    };
                    inference(
                        patient_id,
                        hospital * 10_000 + patient,
                        name,
                        (row % 10) as f32 / 10.0,
                    )
                })
                .collect();
            let dir = tempfile::tempdir().expect("a folder");
            let mut books = Books::open(dir.path().into(), Rules::default()).expect("opened");
            let closing = Closing {
                week: 2950,
                inferences: count(&rows, &live, &catalogue, &key),
                log: Log::default(),
                evaluations: Vec::new(),
                seed: Seed([5; 32]),
            };
            let entry = books.close(closing, &Meter::in_memory()).expect("closed");
            assert_eq!(entry.models_told, 2);
            std::fs::read(dir.path().join("frames/00000001.frame")).expect("a frame")
        };
        let one = told(1, [1; 32]);
        for hospital in 2..22 {
            assert_eq!(told(hospital, [1; 32]), one, "hospital {hospital}");
        }
        assert_eq!(told(1, [2; 32]), one, "nor does the week's key show");
    }
}
