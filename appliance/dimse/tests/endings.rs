//! How deliveries end when a destination is down for an hour, or takes one kind of object and not another.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use pericard_dimse::{DeliveryConfig, Peer, Rights, deliver};
use pericard_domain::digest::Digest;
use pericard_domain::finding::Report;
use pericard_domain::job::{Priority, Work};
use pericard_domain::model::ModelRef;
use pericard_domain::rule::ResultTerms;
use pericard_domain::study::{InstanceFacts, ObjectIdentity};
use pericard_domain::time::Clock;
use pericard_domain::uid::{InstanceUid, SeriesUid, SopClassUid, TransferSyntaxUid};
use pericard_store::outbox::DeliveryRow;
use pericard_store::queue::{Conclusion, LeaseTerms, LeasedJob, PlannedInference, ResultFile};
use std::time::Duration;
use support::archive::{Held, files_in, listens, peer, storescp};
use support::{EXPLICIT_LE, SECONDARY_CAPTURE, free_port, python, secondary_capture_file};
use tokio_util::sync::CancellationToken;

const SEGMENTATION: &str = "1.2.840.10008.5.1.4.1.1.66.4";
/// pynetdicom as an archive of another time: it takes Secondary Capture and nothing else.
const ONLY_SECONDARY_CAPTURE: &str = r"
import sys
from pynetdicom import AE, evt
ae = AE('PACS')
ae.add_supported_context('1.2.840.10008.5.1.4.1.1.7')
def stored(event):
    print(event.request.AffectedSOPInstanceUID, flush=True)
    return 0
ae.start_server(('127.0.0.1', int(sys.argv[1])), evt_handlers=[(evt.EVT_C_STORE, stored)])
";

fn model() -> ModelRef {
    ModelRef {
        name: "text".into(),
        version: "1.0.0".into(),
        digest: Digest::new([7; 32]),
    }
}

async fn leased(held: &Held) -> LeasedJob {
    let terms = LeaseTerms {
        lease: Duration::from_secs(60),
        attempts_max: 3,
    };
    held.store
        .lease(terms)
        .await
        .unwrap()
        .expect("a job is due")
}

/// A study whose results, of these classes, are to go to the PACS.
async fn results(held: &Held, classes: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let image = secondary_capture_file(dir.path(), "1.2.6.1", 8);
    held.admit(&std::fs::read(image).unwrap()).await;
    held.clock.advance(Duration::from_secs(4000));
    let planned = PlannedInference {
        model: model(),
        rule: "all".into(),
        priority: Priority::Routine,
        destinations: vec!["pacs".into()],
        messages: Vec::new(),
        terms: ResultTerms::ordered(),
    };
    let assembly = leased(held).await;
    held.store
        .complete_study(&assembly, vec![planned])
        .await
        .unwrap();
    let job = leased(held).await;
    let Work::Infer {
        study, revision, ..
    } = job.job.work.clone()
    else {
        panic!("not an inference: {job:?}");
    };
    let mut objects = Vec::new();
    for (at, class) in (0..).zip(classes) {
        let instance = format!("1.2.6.2.{at}");
        let file = std::fs::read(secondary_capture_file(dir.path(), &instance, 8)).unwrap();
        // Only the class in the file's head is looked at when it is sent.
        let padded = |class: &str| {
            let mut bytes = class.as_bytes().to_vec();
            bytes.resize(class.len() + class.len() % 2, 0);
            bytes
        };
        let class_before = padded(SECONDARY_CAPTURE);
        let file = match *class == SECONDARY_CAPTURE {
            true => file,
            false => replaced(&file, &class_before, &padded(class)),
        };
        let mut incoming = held.store.incoming().unwrap();
        incoming.write(&file).unwrap();
        let identity = ObjectIdentity {
            study: study.clone(),
            series: SeriesUid::new("1.2.826.0.1.3680043.10.2").unwrap(),
            instance: InstanceUid::new(&instance).unwrap(),
            sop_class: SopClassUid::new(class).unwrap(),
            transfer_syntax: TransferSyntaxUid::new(EXPLICIT_LE).unwrap(),
        };
        objects.push(ResultFile {
            sealed: incoming.seal().unwrap(),
            identity,
            facts: InstanceFacts::default(),
        });
    }
    let report = Report {
        study,
        revision,
        model: model(),
        clinical_use: false,
        evidence: Vec::new(),
        findings: Vec::new(),
        device: "cpu".into(),
        at: held.clock.now(),
    };
    held.store
        .conclude(&job, Conclusion { report, objects })
        .await
        .unwrap();
}

/// The file with another value of an element of file meta information: element, representation, length, value.
fn replaced(file: &[u8], before: &[u8], after: &[u8]) -> Vec<u8> {
    let at = file
        .windows(before.len())
        .position(|w| w == before)
        .unwrap();
    let length = u16::try_from(after.len()).unwrap().to_le_bytes();
    let (head, rest) = (&file[..at - 2], &file[at + before.len()..]);
    let mut out = [head, &length, after, rest].concat();
    // The group's length stands first, after the prefix: 12 bytes of element, its value at 140.
    let grown =
        u32::try_from(after.len() + 12).unwrap() - u32::try_from(before.len() + 12).unwrap();
    let group = u32::from_le_bytes(out[140..144].try_into().unwrap()) + grown;
    out[140..144].copy_from_slice(&group.to_le_bytes());
    out
}

fn delivering(held: &Held, pacs: Peer) -> impl Drop + use<> {
    let stop = CancellationToken::new();
    let config = DeliveryConfig {
        look_every: Duration::from_millis(50),
        backoff_min: Duration::from_secs(60),
        backoff_max: Duration::from_secs(900),
        ..DeliveryConfig::default()
    };
    let mail = (held.store.clone(), held.clock.clone() as _);
    let peers = vec![pacs].into();
    tokio::spawn(deliver(
        config,
        held.caller.clone(),
        peers,
        mail,
        stop.clone(),
    ));
    stop.drop_guard()
}

async fn rows(held: &Held) -> Vec<DeliveryRow> {
    let study = pericard_domain::uid::StudyUid::new("1.2.826.0.1.3680043.10.1").unwrap();
    let mut rows = held.store.deliveries(Some(&study), 0).await.unwrap();
    rows.sort_by_key(|row| row.id);
    rows
}

async fn until_rows(
    held: &Held,
    what: &str,
    is: impl Fn(&[DeliveryRow]) -> bool,
) -> Vec<DeliveryRow> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let rows = rows(held).await;
        if is(&rows) {
            return rows;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "never: {what}: {rows:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An hour by the clock that the outbox goes by: attempts grow rare, nothing is lost, and each object arrives once.
#[tokio::test]
async fn a_destination_that_was_down_for_an_hour_has_everything_once() {
    let held = Held::start(vec![]).await;
    results(&held, &[SECONDARY_CAPTURE, SECONDARY_CAPTURE]).await;
    let port = free_port();
    let pacs = peer("pacs", "PACS", Some(port), Rights::STORE);
    let guard = delivering(&held, pacs.clone());
    let down = until_rows(&held, "a failed attempt", |rows| {
        rows.iter().all(|r| r.attempts >= 1)
    })
    .await;
    assert!(down.iter().all(|r| r.state == "waiting"), "{down:?}");
    drop(guard);
    // Each minute for an hour: what is due is tried, what is not waits. A worker of its own each time, as after a restart.
    for _ in 0..60 {
        held.clock.advance(Duration::from_secs(60));
        let due = held.store.next_delivery_due("pacs").await.unwrap();
        if due.is_none_or(|due| due > held.clock.now()) {
            continue;
        }
        let attempted = |rows: &[DeliveryRow]| rows.iter().map(|r| r.attempts).sum::<u32>();
        let before = attempted(&rows(&held).await);
        let guard = delivering(&held, pacs.clone());
        until_rows(&held, "another failed attempt", |rows| {
            attempted(rows) > before && rows.iter().all(|r| r.state == "waiting")
        })
        .await;
        drop(guard);
    }
    // What was cut in its middle by the stop is leased yet; its lease lapses.
    held.clock.advance(Duration::from_secs(900));
    let dir = tempfile::tempdir().unwrap();
    let _pacs = storescp(port, dir.path(), &["+B"]).await;
    let _guard = delivering(&held, pacs);
    let rows = until_rows(&held, "the delivery", |rows| {
        rows.iter().all(|row| row.state == "delivered")
    })
    .await;
    assert_eq!(rows.len(), 2);
    let attempts: Vec<u32> = rows.iter().map(|row| row.attempts).collect();
    assert!(
        attempts.iter().all(|n| (3..=20).contains(n)),
        "{attempts:?}"
    );
    let got = files_in(dir.path());
    assert_eq!(got.len(), 2, "each once: {got:?}");
    let audited = held.audited().await;
    assert!(
        audited.contains("not delivered") && audited.contains("\"deliver\""),
        "{audited}"
    );
}

#[tokio::test]
async fn a_destination_that_refuses_one_class_gets_the_others() {
    let held = Held::start(vec![]).await;
    results(&held, &[SEGMENTATION, SECONDARY_CAPTURE]).await;
    let port = free_port();
    let mut archive = python();
    archive
        .arg("-c")
        .arg(ONLY_SECONDARY_CAPTURE)
        .arg(port.to_string());
    let _archive = archive.kill_on_drop(true).spawn().unwrap();
    listens("pynetdicom", port).await;
    let pacs = peer("pacs", "PACS", Some(port), Rights::STORE);
    let _guard = delivering(&held, pacs);
    let rows = until_rows(&held, "an end", |rows| {
        rows.iter()
            .all(|row| matches!(row.state.as_str(), "delivered" | "failed"))
    })
    .await;
    let ended: Vec<_> = rows
        .iter()
        .map(|row| (row.state.as_str(), row.attempts))
        .collect();
    assert_eq!(ended, [("failed", 1), ("delivered", 1)]);
    let why = rows[0].last_trouble.clone().unwrap();
    assert!(why.contains("does not accept this SOP class"), "{why}");
    // A person who has mended the archive's configuration has it tried again.
    held.store
        .retry_delivery(rows[0].id, pericard_domain::actor::Actor::CommandLine)
        .await
        .unwrap();
    until_rows(&held, "another attempt", |rows| {
        rows[0].attempts == 2 && rows[0].state == "failed"
    })
    .await;
    assert!(held.audited().await.contains("retry delivery"));
}
