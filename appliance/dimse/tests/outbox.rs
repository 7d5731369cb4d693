//! Results go out: to DCMTK's storescp, to peers that are down, that refuse, that want another transfer syntax.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use pericard_dimse::{Caller, DeliveryConfig, Mail, Peer, RequestLimits, deliver};
use pericard_domain::ae::AeTitle;
use pericard_domain::digest::Digest;
use pericard_domain::study::{Instance, InstanceFacts, ObjectIdentity};
use pericard_domain::time::{Clock, StandingClock, Timestamp};
use pericard_domain::uid::{InstanceUid, SeriesUid, SopClassUid, StudyUid, TransferSyntaxUid};
use pericard_intake::Refused;
use pericard_store::StoreError;
use pericard_store::outbox::{Delivery, DeliveryTrouble};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::rewriting::RewrittenHere;
use support::{Appliance, EXPLICIT_LE, SECONDARY_CAPTURE, config, secondary_capture_file, until};
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Clone, PartialEq)]
enum State {
    Waiting,
    Leased,
    Delivered,
    Later(String),
    Never(String),
}

/// Mail in memory: line, file, state, attempts.
#[derive(Clone, Default)]
struct Box_ {
    lines: Arc<Mutex<Vec<(Delivery, PathBuf, State)>>>,
    changed: Arc<Notify>,
}

impl Box_ {
    fn put(&self, destination: &str, path: PathBuf) {
        let mut lines = self.lines.lock().unwrap();
        let id = i64::try_from(lines.len()).unwrap();
        let instance = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let delivery = Delivery {
            id,
            lease_id: 0,
            destination: destination.into(),
            instance: described(&instance),
            attempts: 0,
            waiting_since: Timestamp::from_millis(0),
        };
        lines.push((delivery, path, State::Waiting));
        drop(lines);
        self.changed.notify_waiters();
    }

    fn states(&self) -> Vec<State> {
        self.lines
            .lock()
            .unwrap()
            .iter()
            .map(|(_, _, s)| s.clone())
            .collect()
    }

    /// What was put off is due again.
    fn due_again(&self) {
        for (_, _, state) in self.lines.lock().unwrap().iter_mut() {
            if matches!(state, State::Later(_)) {
                *state = State::Waiting;
            }
        }
        self.changed.notify_waiters();
    }

    fn settle(&self, delivery: &Delivery, to: State) -> Result<(), StoreError> {
        let mut lines = self.lines.lock().unwrap();
        let line = &mut lines[usize::try_from(delivery.id).unwrap()];
        if line.0.lease_id != delivery.lease_id {
            return Err(StoreError::LeaseLapsed);
        }
        line.2 = to;
        Ok(())
    }
}

impl Mail for Box_ {
    async fn lease(
        &self,
        destination: &str,
        _lease: Duration,
    ) -> Result<Option<Delivery>, StoreError> {
        let mut lines = self.lines.lock().unwrap();
        let due = lines
            .iter_mut()
            .find(|(d, _, state)| d.destination == destination && *state == State::Waiting);
        Ok(due.map(|(delivery, _, state)| {
            *state = State::Leased;
            delivery.attempts += 1;
            delivery.lease_id += 1;
            delivery.clone()
        }))
    }

    async fn delivered(&self, delivery: &Delivery) -> Result<(), StoreError> {
        self.settle(delivery, State::Delivered)
    }

    async fn delivered_uncommitted(&self, delivery: &Delivery) -> Result<(), StoreError> {
        self.settle(delivery, State::Delivered)
    }

    async fn not_delivered(
        &self,
        delivery: &Delivery,
        trouble: DeliveryTrouble,
    ) -> Result<(), StoreError> {
        let state = match trouble {
            DeliveryTrouble::Transient { reason, retry_at } => {
                assert!(retry_at > Timestamp::from_millis(0));
                State::Later(reason)
            }
            DeliveryTrouble::Permanent { reason } => State::Never(reason),
        };
        self.settle(delivery, state)
    }

    fn path(&self, instance: &Instance) -> PathBuf {
        let lines = self.lines.lock().unwrap();
        lines
            .iter()
            .find(|l| l.0.instance == *instance)
            .unwrap()
            .1
            .clone()
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }
}

fn described(instance: &str) -> Instance {
    Instance {
        identity: ObjectIdentity {
            study: StudyUid::new("1.2.826.0.1.3680043.10.1").unwrap(),
            series: SeriesUid::new("1.2.826.0.1.3680043.10.2").unwrap(),
            instance: InstanceUid::new(instance).unwrap(),
            sop_class: SopClassUid::new(SECONDARY_CAPTURE).unwrap(),
            transfer_syntax: TransferSyntaxUid::new(EXPLICIT_LE).unwrap(),
        },
        facts: InstanceFacts::default(),
        digest: Digest::new([0; 32]),
        size_bytes: 0,
        revision: 1,
        received_at: Timestamp::from_millis(0),
        is_result: true,
    }
}

fn hurried() -> DeliveryConfig {
    DeliveryConfig {
        backoff_min: Duration::from_millis(20),
        backoff_max: Duration::from_millis(200),
        look_every: Duration::from_millis(200),
        rewriting: Some(Arc::new(RewrittenHere)),
        ..DeliveryConfig::default()
    }
}

fn peer(port: u16) -> Peer {
    Peer::new(
        "pacs",
        AeTitle::new("PACS").unwrap(),
        "127.0.0.1".parse().unwrap(),
        Some(port),
    )
}

/// Delivers until the guard is dropped.
fn delivering(mail: &Box_, port: u16) -> impl Drop + use<> {
    delivering_with(mail, port, hurried())
}

fn delivering_with(mail: &Box_, port: u16, config: DeliveryConfig) -> impl Drop + use<> {
    let stop = CancellationToken::new();
    let caller = Caller {
        ae_title: AeTitle::new("PERICARD").unwrap(),
        tls: None,
        limits: RequestLimits {
            connect_timeout: Duration::from_secs(2),
            pdu_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(2),
            pdu_bytes_max: 65536,
        },
    };
    let clock: Arc<dyn Clock> = Arc::new(StandingClock::new(Timestamp::from_millis(1_000)));
    tokio::spawn(deliver(
        config,
        caller,
        vec![peer(port)].into(),
        (mail.clone(), clock),
        stop.clone(),
    ));
    stop.drop_guard()
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

async fn storescp(port: u16, dir: &Path, options: &[&str]) -> Child {
    let mut command = Command::new("storescp");
    command.env("TCP_NODELAY", "1").kill_on_drop(true);
    command
        .args(["-aet", "PACS", "-od"])
        .arg(dir)
        .args(options)
        .arg(port.to_string());
    let child = command.spawn().expect("DCMTK is installed");
    until("storescp listens", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    })
    .await;
    child
}

/// The data set of the only file there, whatever the peer called it.
fn data_sets_in(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    all.sort();
    all
}

#[tokio::test]
async fn results_reach_storescp_byte_for_byte() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let port = free_port();
    let _scp = storescp(port, theirs.path(), &["+B"]).await;
    let mail = Box_::default();
    let _delivering = delivering(&mail, port);
    for at in 0..25 {
        mail.put(
            "pacs",
            secondary_capture_file(ours.path(), &format!("1.2.4.{at}"), 150),
        );
    }
    until("all are delivered", || {
        mail.states().iter().all(|s| *s == State::Delivered)
    })
    .await;
    let got = data_sets_in(theirs.path());
    assert_eq!(got.len(), 25);
    for file in got {
        let instance = file
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .trim_start_matches("SC.");
        let bytes = std::fs::read(&file).unwrap();
        assert!(
            bytes.ends_with(&support::secondary_capture(instance, 150)),
            "{instance}"
        );
    }
}

#[tokio::test]
async fn a_peer_that_only_takes_implicit_vr_gets_it() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let port = free_port();
    let _scp = storescp(port, theirs.path(), &["+xi"]).await;
    let mail = Box_::default();
    let _delivering = delivering(&mail, port);
    mail.put("pacs", secondary_capture_file(ours.path(), "1.2.4.1", 50));
    until("it is delivered", || mail.states() == [State::Delivered]).await;
    let mut dump = Command::new("dcmdump");
    dump.arg("+P")
        .arg("TransferSyntaxUID")
        .arg("+P")
        .arg("PatientID")
        .args(data_sets_in(theirs.path()));
    let said = support::run(dump).await;
    assert!(
        said.contains("LittleEndianImplicit") && said.contains("[PHANTOM]"),
        "{said}"
    );
}

#[tokio::test]
async fn a_peer_that_is_down_gets_all_once_it_is_up() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let port = free_port();
    let mail = Box_::default();
    let _delivering = delivering(&mail, port);
    for at in 0..3 {
        mail.put(
            "pacs",
            secondary_capture_file(ours.path(), &format!("1.2.4.{at}"), 20),
        );
    }
    until("all are put off", || {
        mail.states()
            .iter()
            .all(|s| matches!(s, State::Later(why) if why.contains("cannot connect")))
    })
    .await;
    let _scp = storescp(port, theirs.path(), &["+B"]).await;
    mail.due_again();
    until("all are delivered", || {
        mail.states().iter().all(|s| *s == State::Delivered)
    })
    .await;
    assert_eq!(data_sets_in(theirs.path()).len(), 3);
}

#[tokio::test]
async fn what_a_peer_says_decides_what_is_tried_again() {
    for (refused, lasting) in [
        (Refused::OutOfStorage(String::new()), false),
        (Refused::Busy { retry_after_s: 1 }, false),
        (Refused::Mismatch("SOP class"), true),
        (Refused::Malformed(String::new()), true),
    ] {
        let ours = tempfile::tempdir().unwrap();
        let mut config = config();
        config.ae_title = AeTitle::new("PACS").unwrap();
        let pacs = Appliance::start(config).await;
        *pacs.door.refuse_admit.lock().unwrap() = Some(refused.clone());
        let mail = Box_::default();
        let _delivering = delivering(&mail, pacs.address.port());
        mail.put("pacs", secondary_capture_file(ours.path(), "1.2.4.1", 20));
        until("it is settled", || match &mail.states()[0] {
            State::Never(why) => lasting && why.contains("0x"),
            State::Later(why) => !lasting && why.contains("0x"),
            _ => false,
        })
        .await;
        // Refused again and again, taken at last.
        if !lasting {
            *pacs.door.refuse_admit.lock().unwrap() = None;
            mail.due_again();
            until("it is delivered", || mail.states() == [State::Delivered]).await;
        }
    }
}

#[tokio::test]
async fn what_was_put_off_is_looked_for_when_it_is_due() {
    let ours = tempfile::tempdir().unwrap();
    let mut config = config();
    config.ae_title = AeTitle::new("PACS").unwrap();
    let pacs = Appliance::start(config).await;
    *pacs.door.refuse_admit.lock().unwrap() = Some(Refused::Busy { retry_after_s: 1 });
    let mail = Box_::default();
    let mut hurried = hurried();
    hurried.look_every = Duration::from_secs(3600);
    let _delivering = delivering_with(&mail, pacs.address.port(), hurried);
    mail.put("pacs", secondary_capture_file(ours.path(), "1.2.4.1", 20));
    let put_off = || matches!(mail.states()[0], State::Later(_));
    until("it is put off", put_off).await;
    *pacs.door.refuse_admit.lock().unwrap() = None;
    // Due again, but nobody says so: the worker has to remember.
    for (_, _, state) in mail.lines.lock().unwrap().iter_mut() {
        *state = State::Waiting;
    }
    until("it is delivered", || mail.states() == [State::Delivered]).await;
}

#[tokio::test]
async fn a_rejected_association_and_a_refused_class_are_told_apart() {
    let ours = tempfile::tempdir().unwrap();
    let elsewhere = Appliance::start(config()).await; // it is not called PACS
    let mail = Box_::default();
    let guard = delivering(&mail, elsewhere.address.port());
    mail.put("pacs", secondary_capture_file(ours.path(), "1.2.4.1", 20));
    until(
        "it is put off",
        || matches!(&mail.states()[0], State::Later(why) if why.contains("called AE title")),
    )
    .await;
    drop(guard);

    let mut config = config();
    config.ae_title = AeTitle::new("PACS").unwrap();
    let pacs = Appliance::start(config).await;
    let mail = Box_::default();
    let _delivering = delivering(&mail, pacs.address.port());
    let path = secondary_capture_file(ours.path(), "1.2.4.2", 20);
    let file = std::fs::read(&path).unwrap();
    // The class in the file header becomes one that nobody has.
    let at = file
        .windows(26)
        .position(|w| w.starts_with(SECONDARY_CAPTURE.as_bytes()))
        .unwrap();
    let mut file = file;
    file[at..at + SECONDARY_CAPTURE.len()].copy_from_slice(b"1.2.999.10008.5.1.4.1.1.7");
    std::fs::write(&path, file).unwrap();
    mail.put("pacs", path);
    until(
        "it is given up",
        || matches!(&mail.states()[0], State::Never(why) if why.contains("SOP class")),
    )
    .await;
}

#[tokio::test]
async fn a_peer_that_hangs_up_in_the_middle_is_tried_again() {
    let ours = tempfile::tempdir().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mail = Box_::default();
    let _delivering = delivering(&mail, port);
    mail.put("pacs", secondary_capture_file(ours.path(), "1.2.4.1", 20));
    let (line, _) = listener.accept().await.unwrap();
    drop(line);
    until("it is put off", || {
        matches!(&mail.states()[0], State::Later(_))
    })
    .await;
    // One that accepts the connection and then says nothing.
    mail.due_again();
    let (_silent, _) = listener.accept().await.unwrap();
    until(
        "it is put off again",
        || matches!(&mail.states()[0], State::Later(why) if why.contains("longer than")),
    )
    .await;
}
