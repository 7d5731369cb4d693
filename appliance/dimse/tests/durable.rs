//! The whole way in: a real peer, the real door, the real store; and the whole way out again.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use pericard_dimse::listen;
use pericard_domain::job::Priority;
use pericard_domain::study::{InstanceFacts, ObjectIdentity};
use pericard_domain::time::{Clock, StandingClock, Timestamp};
use pericard_domain::uid::{InstanceUid, StudyUid};
use pericard_egress::Meter;
use pericard_intake::{Intake, IntakeConfig, Judges, Settled, Settling};
use pericard_store::audit_log::AuditQuery;
use pericard_store::{Store, StoreConfig};
use std::path::Path;
use std::sync::Arc;
use support::scanning::ScannedHere;
use support::{config, run, secondary_capture_file};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

struct Never;

impl Settling for Never {
    fn settled(&self, _: &ObjectIdentity, _: &InstanceFacts, now: Timestamp) -> Settled {
        Settled {
            at: now.after(std::time::Duration::from_secs(3600)),
            priority: Priority::Routine,
        }
    }
}

fn opened(dir: &Path) -> (Store, Intake) {
    let clock: Arc<dyn Clock> = Arc::new(StandingClock::new(Timestamp::from_millis(
        1_800_000_000_000,
    )));
    let config = StoreConfig {
        dir: dir.to_owned(),
        audit_origin: "pericard.test/audit".into(),
        group_commit_window_us: 2000,
        free_space_floor_mib: 1,
    };
    let store = Store::open(config, clock.clone()).unwrap();
    let limits = IntakeConfig {
        object_max_mib: 64,
        parcels_max: 64,
    };
    let intake = Intake::new(
        store.clone(),
        Judges {
            scanning: Arc::new(ScannedHere),
            settling: Arc::new(Never),
        },
        limits,
        Meter::in_memory(),
        clock,
    );
    (store, intake)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_dcmtk_was_told_is_kept_is_kept() {
    let (dir, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, intake) = opened(dir.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let stop = CancellationToken::new();
    let door = tokio::spawn(listen(listener, config(), intake, stop.clone()));
    let mut command = Command::new("storescu");
    command.args(["-aec", "PERICARD", "-R", "127.0.0.1", &port]);
    for at in 0..20 {
        command.arg(secondary_capture_file(
            files.path(),
            &format!("1.2.7.{at}"),
            64,
        ));
    }
    run(command).await;
    // A stranger, for the audit log.
    let mut command = Command::new("echoscu");
    command.args(["-aec", "SOMEBODY", "127.0.0.1", &port]);
    assert!(!support::outcome(&mut command).await.0);
    stop.cancel();
    door.await.unwrap();

    let study = StudyUid::new("1.2.826.0.1.3680043.10.1").unwrap();
    assert_eq!(store.instances(&study).await.unwrap().len(), 20);
    let instance = store
        .instance(&InstanceUid::new("1.2.7.3").unwrap())
        .await
        .unwrap();
    let kept = std::fs::read(store.object_path(&instance)).unwrap();
    let sent = std::fs::read(files.path().join("1.2.7.3.dcm")).unwrap();
    let data_set = |file: &[u8]| {
        file[132 + 12 + usize::from(u16::from_le_bytes([file[140], file[141]]))..].to_vec()
    };
    assert!(data_set(&kept) == data_set(&sent), "other bytes");
    let lines = store
        .audit(AuditQuery {
            from: 0,
            limit: 1000,
            ..AuditQuery::default()
        })
        .await
        .unwrap();
    let told = serde_json::to_string(&lines).unwrap();
    assert!(told.contains("called AE title"), "{told}");
    store.verify_audit().await.unwrap();
}
