//! Every service over TLS in both roles, with pynetdicom at the other end: who has certificates is heard and called over TLS
//! only, whatever it asks.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use pericard_dimse::{Archive, CommitmentConfig, InquiryConfig, Peer, Rights, commit, inquire};
use pericard_domain::job::Priority;
use pericard_domain::time::Clock;
use pericard_domain::uid::StudyUid;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use support::archive::{Held, listens, peer};
use support::line::Line;
use support::{free_port, python, run, secondary_capture_file};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn every_service_goes_over_tls_both_ways() {
    let (line, dir) = (Line::tls(), tempfile::tempdir().unwrap());
    let pacs_port = free_port();
    let pacs = line.bound(Peer {
        worklist_every: Some(Duration::from_millis(200)),
        counts: true,
        ..peer("pacs", "PACS", Some(pacs_port), Rights::ALL)
    });
    let held = Held::start_over(&line, vec![pacs.clone()]).await;
    let image = secondary_capture_file(dir.path(), "1.2.88.9", 8);
    held.admit(&std::fs::read(image).unwrap()).await;
    let archive = Archive {
        store: held.store.clone(),
        caller: held.caller.clone(),
    };
    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    let clock: Arc<dyn Clock> = held.clock.clone();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/tls_services.py");
    let told = |what: &str, port: &str, last: &str| {
        let mut command = python();
        command.arg(&script).args([what, port]);
        command.args(line.files()).arg(last);
        command
    };
    let mut provider = told(
        "provider",
        &pacs_port.to_string(),
        &clock.now().dicom_date(),
    );
    provider.kill_on_drop(true).stdout(Stdio::piped());
    let mut provider = provider.spawn().unwrap();
    let mut stored = BufReader::new(provider.stdout.take().unwrap()).lines();
    listens("pynetdicom", pacs_port).await;

    let said = run(told("user", &held.port(), "PACS")).await;
    let said: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    let instance = serde_json::json!(["1.2.88.9"]);
    assert_eq!(
        said["found"],
        serde_json::json!(["1.2.826.0.1.3680043.10.1"])
    );
    assert_eq!(
        (&said["got"], &said["told"]),
        (&instance, &instance),
        "{said}"
    );
    assert_eq!(
        (&said["get"], &said["move"], &said["commit"]),
        (&0.into(), &0.into(), &0.into())
    );
    // By C-MOVE it came to the PACS, all of it and nothing else.
    assert_eq!(said["moved"], 1, "{said}");
    let came = timeout(Duration::from_secs(30), stored.next_line()).await;
    let came = came.expect("it came").unwrap();
    assert_eq!(came.as_deref(), Some("1.2.88.9"));

    // And the other way round: its worklist, and how much it has.
    let peers = vec![pacs];
    let door = (held.intake.clone(), Arc::clone(&clock));
    let hurried = InquiryConfig {
        count_again_after: Duration::ZERO,
        look_every: Duration::from_millis(50),
        ..InquiryConfig::default()
    };
    tokio::spawn(inquire(
        hurried,
        archive.clone(),
        door,
        peers.clone().into(),
        stop.clone(),
    ));
    tokio::spawn(commit(
        CommitmentConfig::default(),
        archive,
        peers.into(),
        clock,
        stop.clone(),
    ));
    let study = StudyUid::new("1.2.826.0.1.3680043.10.1").unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let orders = held.store.expected(10, 0).await.unwrap();
        let standing = held.store.standing(&study).await.unwrap().unwrap();
        let is_expected = orders
            .iter()
            .any(|o| o.order.priority == Some(Priority::Stat));
        if is_expected && standing.counts.contains_key("pacs") {
            break;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{orders:?} {:?}",
            standing.counts
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
