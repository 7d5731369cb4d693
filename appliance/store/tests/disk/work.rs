//! What a store is asked to do here, what it promised, and whether it kept it.

use crate::Dice;
use crate::record::Record;
use crate::site::{self, at};
use pericard_domain::job::Priority;
use pericard_domain::time::{Clock, StandingClock, Timestamp};
use pericard_store::admission::{NewObject, Refusal};
use pericard_store::find::InstanceFilter;
use pericard_store::queue::{Conclusion, LeasedJob, ResultFile};
use pericard_store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Results are numbered from here on, within a study.
const FIRST_RESULT: u32 = 1_000_000_000; // above the numbers of all objects that come, of each cut too
/// How much later a day's first object is received: steps of a script cross midnight now and then.
const HOURS: Duration = Duration::from_secs(5 * 3600);
const STUDIES: u64 = 3;

/// Something that a store promised, and what it was asked before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ack {
    /// These bytes were offered under that UID. It is no promise, but from now on they may be what is held.
    Offered { study: u32, n: u32, sha256: String },
    /// These bytes are held under that UID, and stay held when other bytes come under it.
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
    /// Where it is noted what was offered, if the power may go before there is an answer.
    record: Option<Record>,
}

impl Script {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            dice: Dice::new(seed),
            clock: Arc::new(StandingClock::new(at(0))),
            next: 1,
            admitted: Vec::new(),
            record: None,
        }
    }

    pub(crate) fn recorded_in(mut self, record: &Record) -> Self {
        self.record = Some(record.clone());
        self
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
        if let Some(record) = &self.record {
            let sha256 = object_hash(&bytes);
            record.promise(Ack::Offered { study, n, sha256 });
        }
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
        let is_promised = |ack: &Ack| !matches!(ack, Ack::Offered { .. });
        if !promised.iter().any(is_promised) && lines.lines == 0 {
            return Ok(());
        }
        let files = files(dir)?;
        let held = Held {
            revisions: revisions(dir, &files)?,
            latest: latest(&store, &files).await?,
        };
        let verbs = refusals(&store, lines.lines).await?;
        for ack in promised {
            kept(&store, ack, &held, &verbs).await?;
        }
        latest_was_offered_last(promised, &held.latest)
    })
}

/// What is held, by UIDs: the hashes of files that were read.
struct Held {
    /// Of every revision, the oldest first.
    revisions: BTreeMap<String, Vec<String>>,
    latest: BTreeMap<String, String>,
}

type Files = BTreeMap<PathBuf, String>;

/// What the bytes of every object file are, whatever its name says. What is still coming in was never promised.
fn files(dir: &Path) -> Result<Files, String> {
    let entries = |dir: &Path| -> Result<Vec<PathBuf>, String> {
        let entries = std::fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()));
        entries?
            .map(|entry| entry.map(|entry| entry.path()).map_err(|e| e.to_string()))
            .collect()
    };
    let mut files = Files::new();
    for shelf in entries(&dir.join("objects"))? {
        if shelf.ends_with("incoming") {
            continue;
        }
        for file in entries(&shelf)? {
            match std::fs::read(&file) {
                Ok(bytes) => drop(files.insert(file, object_hash(&bytes))),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {} // it is on its way out
                Err(error) => return Err(format!("{}: {error}", file.display())),
            }
        }
    }
    Ok(files)
}

fn is_whole(uid: &str, file: &Path, sha256: &str, files: &Files) -> Result<(), String> {
    match files.get(file) {
        None => Err(format!("the file of {uid} is lost: {sha256}")),
        Some(found) if found != sha256 => Err(format!("the file of {uid} is corrupt: {sha256}")),
        Some(_) => Ok(()),
    }
}

/// Every revision that a row speaks of, its file compared. The store shows its callers the latest alone, so the rows are read
/// as they are.
fn revisions(dir: &Path, files: &Files) -> Result<BTreeMap<String, Vec<String>>, String> {
    const EVERY: &str =
        "SELECT uid, lower(hex(digest)), received_at FROM instances ORDER BY uid, revision";
    let read = || -> rusqlite::Result<Vec<(String, String, i64)>> {
        let database = rusqlite::Connection::open(dir.join("pericard.db"))?;
        let mut statement = database.prepare(EVERY)?;
        let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        rows.collect()
    };
    let mut revisions = BTreeMap::<_, Vec<_>>::new();
    for (uid, sha256, received_ms) in read().map_err(|error| format!("the rows: {error}"))? {
        let shelf = Timestamp::from_millis(received_ms).dicom_date();
        let name = format!("{sha256}-{}.dcm", &object_hash(uid.as_bytes())[..16]);
        let file = dir.join("objects").join(shelf).join(name);
        is_whole(&uid, &file, &sha256, files)?;
        revisions.entry(uid).or_default().push(sha256);
    }
    Ok(revisions)
}

/// What the store itself calls the latest under each UID, its file compared.
async fn latest(store: &Store, files: &Files) -> Result<BTreeMap<String, String>, String> {
    let all = InstanceFilter {
        limit: u32::MAX,
        ..InstanceFilter::default()
    };
    let found = store.find_instances(all).await;
    let mut latest = BTreeMap::new();
    for instance in found.map_err(|error| error.to_string())? {
        let (uid, sha256) = (
            instance.identity.instance.to_string(),
            instance.digest.to_string(),
        );
        is_whole(&uid, &store.object_path(&instance), &sha256, files)?;
        latest.insert(uid, sha256);
    }
    Ok(latest)
}

/// The latest under a UID is what was promised last of it, or what was offered since. Bytes that are held already make no
/// new revision, so only their first promise counts.
fn latest_was_offered_last(
    promised: &[Ack],
    latest: &BTreeMap<String, String>,
) -> Result<(), String> {
    let mut seen = BTreeSet::<(&u32, &u32, &String)>::new();
    let mut may_be = BTreeMap::<(&u32, &u32), Vec<&String>>::new();
    for ack in promised {
        let (Ack::Offered { study, n, sha256 } | Ack::Object { study, n, sha256 }) = ack else {
            continue;
        };
        if seen.contains(&(study, n, sha256)) {
            continue;
        }
        let may_be = may_be.entry((study, n)).or_default();
        if matches!(ack, Ack::Object { .. }) {
            seen.insert((study, n, sha256));
            may_be.clear();
        }
        may_be.push(sha256);
    }
    for ((study, n), may_be) in may_be {
        let uid = site::instance_uid(*study, *n).to_string();
        if let Some(latest) = latest.get(&uid)
            && !may_be.contains(&latest)
        {
            return Err(format!(
                "the latest of {uid} was not offered last: {latest}"
            ));
        }
    }
    Ok(())
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
            let revisions = held.revisions.get(&uid);
            let is_held = revisions.is_some_and(|revisions| revisions.contains(sha256));
            if !is_held || !held.latest.contains_key(&uid) {
                return lost();
            }
        }
        Ack::Offered { .. } => {}
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
            if of_revision == 0 || !held.latest.contains_key(&result) {
                return lost();
            }
        }
        Ack::Refused { n } if !refused.contains(n) => return lost(),
        Ack::Refused { .. } => {}
    }
    Ok(())
}
