//! What a store is asked to do here, what it promised, and whether it kept it.

use crate::Dice;
use crate::site::{self, at};
use pericard_domain::job::Priority;
use pericard_domain::time::{Clock, StandingClock};
use pericard_store::admission::{NewObject, Refusal};
use pericard_store::find::InstanceFilter;
use pericard_store::queue::{Conclusion, LeasedJob, ResultFile};
use pericard_store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Results are numbered from here on, within a study.
const FIRST_RESULT: u32 = 1_000_000;
/// How much later a day's first object is received: steps of a script cross midnight now and then.
const HOURS: Duration = Duration::from_secs(5 * 3600);
const STUDIES: u64 = 3;

/// Something that a store promised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ack {
    /// These bytes are held under that UID.
    Object { study: u32, n: u32, sha256: String },
    /// The study is complete at that revision.
    Complete { study: u32, revision: u32 },
    /// The revision has its result.
    Concluded { study: u32, revision: u32 },
    /// A refusal, of which only its audit line is left.
    Refused { n: u32 },
}

/// The answer to one step of a script.
pub(crate) type Answer = Result<Option<Ack>, StoreError>;

/// A store with its work, which is the same for the same seed: one thing at a time, so that also the disk is asked the
/// same each time, but for the salts and the keys.
pub(crate) struct Script {
    dice: Dice,
    clock: Arc<StandingClock>,
    next: u32,
    admitted: Vec<(u32, u32, Vec<u8>)>,
}

impl Script {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            dice: Dice::new(seed),
            clock: Arc::new(StandingClock::new(at(0))),
            next: 1,
            admitted: Vec::new(),
        }
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock) as Arc<dyn Clock>
    }

    /// The same, to be put anywhere.
    pub(crate) const fn standing(&self) -> &Arc<StandingClock> {
        &self.clock
    }

    /// Does the next thing.
    pub(crate) async fn step(&mut self, store: &Store) -> Answer {
        self.clock
            .advance(Duration::from_secs(1 + self.dice.below(5)));
        match self.dice.below(20) {
            0 => self.again(store).await,
            1 => self.revise(store).await,
            2 => self.refuse(store).await,
            3 => {
                self.clock.advance(HOURS);
                Ok(None)
            }
            4..=10 => self.work(store).await,
            _ => self.admit_new(store).await,
        }
    }

    async fn admit_new(&mut self, store: &Store) -> Answer {
        let (study, n) = (1 + self.dice.below(STUDIES) as u32, self.next);
        self.next += 1;
        let len = match self.dice.below(40) {
            0 => 300_000, // more than the store collects before it writes
            1..=8 => 4096 * (1 + self.dice.below(4)),
            _ => 1 + self.dice.below(9000),
        };
        let bytes = content(n, len as usize);
        self.admit(store, (study, n), bytes).await
    }

    /// The same bytes under the same UID once more.
    async fn again(&mut self, store: &Store) -> Answer {
        let Some((study, n, bytes)) = self.earlier() else {
            return Ok(None);
        };
        self.admit(store, (study, n), bytes).await
    }

    /// Other bytes under a UID that is held.
    async fn revise(&mut self, store: &Store) -> Answer {
        let Some((study, n, mut bytes)) = self.earlier() else {
            return Ok(None);
        };
        bytes.push(1);
        self.admit(store, (study, n), bytes).await
    }

    fn earlier(&mut self) -> Option<(u32, u32, Vec<u8>)> {
        let which = self.dice.below(self.admitted.len() as u64) as usize;
        self.admitted.get(which).cloned()
    }

    async fn admit(&mut self, store: &Store, (study, n): (u32, u32), bytes: Vec<u8>) -> Answer {
        let ack = admit(store, &self.clock, (study, n), &bytes).await?;
        self.admitted.push((study, n, bytes));
        Ok(Some(ack))
    }

    async fn refuse(&mut self, store: &Store) -> Answer {
        let n = self.next;
        self.next += 1;
        let refusal = Refusal {
            what: "C-STORE".into(),
            why: format!("number {n}."),
            instance: None,
        };
        store.refuse(refusal, site::peer()).await?;
        Ok(Some(Ack::Refused { n }))
    }

    /// Takes up what is due, if anything is.
    async fn work(&mut self, store: &Store) -> Answer {
        self.clock.advance(Duration::from_secs(11));
        match store.lease(site::TERMS).await? {
            Some(job) => work_on(store, &job).await.map(Some),
            None => Ok(None),
        }
    }
}

/// Bytes that no other object has, and that are not all zero anywhere.
pub(crate) fn content(n: u32, len: usize) -> Vec<u8> {
    let mut dice = Dice::new(u64::from(n));
    (0..len).map(|_| dice.below(255) as u8 + 1).collect()
}

pub(crate) async fn admit(
    store: &Store,
    clock: &StandingClock,
    (study, n): (u32, u32),
    bytes: &[u8],
) -> Result<Ack, StoreError> {
    let object = NewObject {
        sealed: site::seal(store, bytes)?,
        identity: site::identity(study, n),
        facts: site::facts(n),
        assemble_at: clock.now().after(Duration::from_secs(10)),
        priority: Priority::Routine,
    };
    store.admit(object, site::peer()).await?;
    let sha256 = object_hash(bytes);
    Ok(Ack::Object { study, n, sha256 })
}

/// Ends a leased job as the appliance would.
pub(crate) async fn work_on(store: &Store, job: &LeasedJob) -> Result<Ack, StoreError> {
    let study = number_of(job.job.work.study().as_str());
    if job.job.work.kind() == "assemble" {
        let revision = store.complete_study(job, vec![site::planned("m")]).await?;
        return Ok(Ack::Complete { study, revision });
    }
    let report = site::report(job);
    let revision = report.revision;
    let n = FIRST_RESULT + revision;
    let result = ResultFile {
        sealed: site::seal(store, &content(n, 3000))?,
        identity: site::identity(study, n),
        facts: site::facts(n),
    };
    store
        .conclude(
            job,
            Conclusion {
                report,
                objects: vec![result],
            },
        )
        .await?;
    Ok(Ack::Concluded { study, revision })
}

fn number_of(uid: &str) -> u32 {
    let last = uid.rsplit('.').next().unwrap_or_default();
    last.parse().expect("one of our study UIDs")
}

fn object_hash(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// Opens the store of that directory as after a power cut: everything that was promised must be there, and whole.
///
/// What is wrong is said in one sentence.
pub(crate) fn check(dir: &Path, promised: &[Ack]) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let clock = Arc::new(StandingClock::new(at(3 * 86400)));
        let store = Store::open(site::config(dir), clock)
            .map_err(|error| format!("it does not open: {error}"))?;
        let lines = store
            .verify_audit()
            .await
            .map_err(|error| format!("the audit log: {error}"))?;
        if promised.is_empty() && lines.lines == 0 {
            return Ok(());
        }
        let held = objects(&store).await?;
        let verbs = refusals(&store, lines.lines).await?;
        for ack in promised {
            kept(&store, ack, &held, &verbs).await?;
        }
        Ok(())
    })
}

type Held = BTreeSet<(String, String)>;

/// Every object that a row speaks of, after its file was read and compared.
async fn objects(store: &Store) -> Result<Held, String> {
    let mut held = BTreeSet::new();
    let all = InstanceFilter {
        limit: u32::MAX,
        ..InstanceFilter::default()
    };
    let latest = store
        .find_instances(all)
        .await
        .map_err(|error| error.to_string())?;
    for instance in latest {
        let (uid, path) = (&instance.identity.instance, store.object_path(&instance));
        let bytes =
            std::fs::read(&path).map_err(|error| format!("the file of {uid} is lost: {error}"))?;
        let sha256 = object_hash(&bytes);
        if sha256 != instance.digest.to_string() {
            return Err(format!(
                "the file of {uid} is corrupt: {} bytes",
                bytes.len()
            ));
        }
        held.insert((uid.to_string(), sha256));
    }
    Ok(held)
}

/// The refusals in the log, by their numbers.
async fn refusals(store: &Store, lines: u64) -> Result<BTreeSet<u32>, String> {
    let query = pericard_store::audit_log::AuditQuery {
        limit: u32::try_from(lines).unwrap_or(u32::MAX),
        ..Default::default()
    };
    let lines = store
        .audit(query)
        .await
        .map_err(|error| error.to_string())?;
    let refused = lines
        .iter()
        .filter(|line| line.verb == "refuse")
        .filter_map(|line| {
            let why = line.detail["why"].as_str()?;
            why.strip_prefix("number ")?.strip_suffix('.')?.parse().ok()
        });
    Ok(refused.collect())
}

async fn kept(
    store: &Store,
    ack: &Ack,
    held: &Held,
    refused: &BTreeSet<u32>,
) -> Result<(), String> {
    let lost = || Err(format!("promised and lost: {ack:?}"));
    match ack {
        Ack::Object { study, n, sha256 } => {
            let uid = site::instance_uid(*study, *n).to_string();
            // Replaced by later bytes under the same UID, it is held at its former revision.
            let is_revised = || held.iter().any(|(other, _)| *other == uid);
            if !held.contains(&(uid.clone(), sha256.clone())) && !is_revised() {
                return lost();
            }
        }
        Ack::Complete { study, revision } => {
            let study = store.study(&site::study_uid(*study)).await;
            if study.is_ok_and(|study| study.revision >= *revision) {
                return Ok(());
            }
            return lost();
        }
        Ack::Concluded { study, revision } => {
            let uid = site::study_uid(*study);
            let reports = store
                .reports(&uid)
                .await
                .map_err(|error| error.to_string())?;
            let of_revision = reports
                .iter()
                .filter(|kept| kept.report.revision == *revision)
                .count();
            if of_revision > 1 {
                return Err(format!("{of_revision} results of one revision: {ack:?}"));
            }
            let result = site::instance_uid(*study, FIRST_RESULT + revision).to_string();
            if of_revision == 0 || !held.iter().any(|(uid, _)| *uid == result) {
                return lost();
            }
        }
        Ack::Refused { n } if !refused.contains(n) => return lost(),
        Ack::Refused { .. } => {}
    }
    Ok(())
}
