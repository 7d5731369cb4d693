//! A store in a directory of its own with a clock that stands, and objects to put into it.

use pericard_domain::actor::Actor;
use pericard_domain::digest::Digest;
use pericard_domain::finding::Report;
use pericard_domain::job::{Priority, Work};
use pericard_domain::model::ModelRef;
use pericard_domain::rule::ResultTerms;
use pericard_domain::study::{InstanceFacts, ObjectIdentity};
use pericard_domain::time::{Clock, StandingClock, Timestamp};
use pericard_domain::uid::{InstanceUid, SeriesUid, SopClassUid, StudyUid, TransferSyntaxUid};
use pericard_store::admission::{Admission, NewObject};
use pericard_store::object::Sealed;
use pericard_store::queue::{Conclusion, LeaseTerms, LeasedJob, PlannedInference, ResultFile};
use pericard_store::{Store, StoreConfig, StoreError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub(crate) const ORIGIN: &str = "pericard.test/audit";
/// 2026-11-23T18:00:00Z.
pub(crate) const START_MS: i64 = 1_795_456_800_000;
pub(crate) const LEASE: Duration = Duration::from_secs(60);
pub(crate) const TERMS: LeaseTerms = LeaseTerms {
    lease: LEASE,
    attempts_max: 3,
};

pub(crate) struct Site {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) clock: Arc<StandingClock>,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
            clock: Arc::new(StandingClock::new(Timestamp::from_millis(START_MS))),
        }
    }

    pub(crate) fn config(&self) -> StoreConfig {
        config(self.dir.path())
    }

    pub(crate) fn open(&self) -> Store {
        Store::open(self.config(), self.clock()).expect("the store opens")
    }

    pub(crate) fn open_beside(&self) -> Store {
        Store::open_beside(self.config(), self.clock()).expect("the store opens beside")
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock) as Arc<dyn Clock>
    }

    pub(crate) fn database(&self) -> rusqlite::Connection {
        let path = self.dir.path().join("pericard.db");
        rusqlite::Connection::open(path).expect("the database opens")
    }

    /// Every object file, staging files too.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let objects = self.dir.path().join("objects");
        for shelf in std::fs::read_dir(objects).expect("shelves") {
            let shelf = shelf.expect("a shelf").path();
            for file in std::fs::read_dir(shelf).expect("files") {
                found.push(file.expect("a file").path());
            }
        }
        found
    }
}

pub(crate) fn config(dir: &Path) -> StoreConfig {
    StoreConfig {
        dir: dir.to_owned(),
        audit_origin: ORIGIN.into(),
        group_commit_window_us: 2000,
        free_space_floor_mib: 1,
    }
}

pub(crate) fn at(after_s: u64) -> Timestamp {
    Timestamp::from_millis(START_MS).after(Duration::from_secs(after_s))
}

pub(crate) fn peer() -> Actor {
    Actor::Peer {
        ae_title: pericard_domain::ae::AeTitle::new("CT1").expect("a title"),
        address: [127, 0, 0, 1].into(),
    }
}

pub(crate) fn study_uid(n: u32) -> StudyUid {
    StudyUid::new(format!("1.2.3.{n}")).expect("a UID")
}

pub(crate) fn instance_uid(study: u32, n: u32) -> InstanceUid {
    InstanceUid::new(format!("1.2.3.{study}.1.{n}")).expect("a UID")
}

pub(crate) fn identity(study: u32, n: u32) -> ObjectIdentity {
    ObjectIdentity {
        study: study_uid(study),
        series: SeriesUid::new(format!("1.2.3.{study}.1")).expect("a UID"),
        instance: instance_uid(study, n),
        sop_class: SopClassUid::new("1.2.840.10008.5.1.4.1.1.2").expect("a UID"),
        transfer_syntax: TransferSyntaxUid::new("1.2.840.10008.1.2.1").expect("a UID"),
    }
}

pub(crate) fn facts(n: u32) -> InstanceFacts {
    InstanceFacts {
        modality: Some("CT".into()),
        patient_id: Some("P-1".into()),
        patient_name: Some("DOE^JANE".into()),
        study_date: Some("20261123".into()),
        accession_number: Some("ACC1".into()),
        series_number: Some("1".into()),
        instance_number: Some(n.to_string()),
        ..InstanceFacts::default()
    }
}

pub(crate) fn seal(store: &Store, bytes: &[u8]) -> Result<Sealed, StoreError> {
    let mut incoming = store.incoming()?;
    incoming.write(bytes)?;
    incoming.seal()
}

/// The object `n` of study `study` with these bytes, due for assembly after ten seconds.
pub(crate) async fn offer(store: &Store, study: u32, n: u32, bytes: &[u8]) -> NewObject {
    NewObject {
        sealed: seal(store, bytes).expect("sealed"),
        identity: identity(study, n),
        facts: facts(n),
        assemble_at: at(10),
        priority: Priority::Routine,
    }
}

pub(crate) async fn admit(store: &Store, study: u32, n: u32) -> Admission {
    let bytes = format!("object {n} of study {study}");
    let object = offer(store, study, n, bytes.as_bytes()).await;
    store.admit(object, peer()).await.expect("admitted")
}

pub(crate) fn model(name: &str) -> ModelRef {
    ModelRef {
        name: name.into(),
        version: "1.0.0".into(),
        digest: Digest::new([7; 32]),
    }
}

pub(crate) fn planned(name: &str) -> PlannedInference {
    PlannedInference {
        model: model(name),
        rule: "every CT".into(),
        priority: Priority::Routine,
        destinations: vec!["pacs".into()],
        messages: Vec::new(),
        terms: ResultTerms::ordered(),
    }
}

/// Leases a job that must be due.
pub(crate) async fn lease(store: &Store) -> LeasedJob {
    let leased = store.lease(TERMS).await.expect("leased");
    leased.expect("a job is due")
}

/// Admits one object of the study, completes it with one planned inference of each model, and leases the first.
pub(crate) async fn inference(
    site: &Site,
    store: &Store,
    study: u32,
    models: &[&str],
) -> LeasedJob {
    admit(store, study, 1).await;
    site.clock.set(at(10));
    let assembly = lease(store).await;
    let plans: Vec<_> = models.iter().map(|name| planned(name)).collect();
    let revision = store.complete_study(&assembly, plans).await;
    assert_eq!(revision, Ok(1));
    lease(store).await
}

pub(crate) fn report(job: &LeasedJob) -> Report {
    let Work::Infer {
        study,
        revision,
        model,
        ..
    } = &job.job.work
    else {
        panic!("not an inference: {job:?}");
    };
    Report {
        study: study.clone(),
        revision: *revision,
        model: model.clone(),
        clinical_use: false,
        evidence: Vec::new(),
        findings: Vec::new(),
        device: "cpu".into(),
        at: at(0),
    }
}

/// A conclusion with one result object, number `n` of the job's study.
pub(crate) async fn conclusion(
    store: &Store,
    job: &LeasedJob,
    (study, n): (u32, u32),
) -> Conclusion {
    let bytes = format!("result {n} of study {study}");
    Conclusion {
        report: report(job),
        objects: vec![ResultFile {
            sealed: seal(store, bytes.as_bytes()).expect("sealed"),
            identity: identity(study, n),
            facts: facts(n),
        }],
    }
}

/// The verbs of the audit log so far.
pub(crate) async fn verbs(store: &Store) -> Vec<String> {
    let lines = store.audit(Default::default()).await.expect("the log");
    lines.into_iter().map(|line| line.verb).collect()
}

/// Tells the parent of a child process a line: in one write, so that a kill leaves no half of one.
pub(crate) fn say(words: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let line = format!("{words}\n");
    out.write_all(line.as_bytes())
        .and_then(|()| out.flush())
        .expect("told");
}
