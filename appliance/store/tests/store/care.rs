//! What is kept is looked after: files and rows are compared, checksums are read again, and what is damaged is said.

use crate::site::{self, Site, admit, at, inference, instance_uid, lease, offer, peer, verbs};
use pericard_domain::job::{JobState, Priority};
use pericard_domain::study::Instance;
use pericard_domain::time::Clock as _;
use pericard_store::Store;
use pericard_store::StoreError;
use pericard_store::admission::Admission;
use pericard_store::care::{Bounds, Damage, DamageKind, DiskLevel, Reconciled};
use std::path::PathBuf;
use std::time::Duration;

/// More than every object of these tests together.
const EVERYTHING: u64 = 1 << 20;
const DAY: Duration = Duration::from_secs(86_400);

async fn held(store: &Store, study: u32, n: u32) -> (Instance, PathBuf) {
    let instance = store.instance(&instance_uid(study, n)).await.expect("held");
    let path = store.object_path(&instance);
    (instance, path)
}

async fn damages(store: &Store) -> Vec<(String, DamageKind)> {
    let damages = store.damages(0).await.expect("damages");
    let named = |d: Damage| (d.instance.to_string(), d.kind);
    let mut named: Vec<_> = damages.into_iter().map(named).collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    named
}

#[tokio::test]
async fn a_flipped_bit_and_a_lost_file_are_found_said_and_mended_by_sending_again() {
    let site = Site::new();
    let store = site.open();
    for n in 1..=3 {
        admit(&store, 1, n).await;
    }
    let whole = store.scrub(EVERYTHING).await.expect("scrubbed");
    assert_eq!((whole.objects, whole.damaged), (3, 0));
    assert!(store.scrub(EVERYTHING).await.expect("the end").is_pass_over);
    // Rot of one bit, and a file gone.
    let (_, first) = held(&store, 1, 1).await;
    let mut bytes = std::fs::read(&first).expect("its bytes");
    bytes[5] ^= 1;
    std::fs::write(&first, &bytes).expect("rotten");
    let (_, second) = held(&store, 1, 2).await;
    std::fs::remove_file(&second).expect("lost");
    let found = store.scrub(EVERYTHING).await.expect("scrubbed");
    assert_eq!((found.objects, found.damaged), (3, 2));
    let [a, b] = [1, 2].map(|n| instance_uid(1, n).to_string());
    let both = vec![(a, DamageKind::Altered), (b, DamageKind::Missing)];
    assert_eq!(damages(&store).await, both);
    assert_eq!(store.care().await.expect("facts").damaged, 2);
    assert_eq!(verbs(&store).await[3..], ["find damage", "find damage"]);
    // Said once, not at every pass.
    store.scrub(EVERYTHING).await.expect("the end");
    assert_eq!(store.scrub(EVERYTHING).await.expect("again").damaged, 0);
    // The next day the modality sends both again.
    site.clock.advance(DAY);
    for n in [1, 2] {
        assert_eq!(admit(&store, 1, n).await, Admission::AlreadyHeld);
    }
    assert_eq!(damages(&store).await, []);
    store
        .remove_ordered()
        .await
        .expect("the rotten file is removed");
    assert!(!first.exists());
    let (instance, mended) = held(&store, 1, 1).await;
    assert_eq!(instance.received_at, site.clock.now());
    assert_eq!(
        std::fs::read(mended).expect("whole"),
        b"object 1 of study 1"
    );
    store.verify_audit().await.expect("a whole log");
    drop(store);
    assert_eq!(
        site.files()
            .iter()
            .filter(|path| path.extension().is_some_and(|e| e == "dcm"))
            .count(),
        3
    );
}

#[tokio::test]
async fn a_scrub_goes_on_where_it_was_and_reads_no_more_than_its_budget() {
    let site = Site::new();
    let mut store = site.open();
    for n in 1..=5 {
        admit(&store, 1, n).await; // 19 bytes each
    }
    let mut seen = Vec::new();
    loop {
        let step = store.scrub(30).await.expect("a step");
        seen.push((step.objects, step.bytes));
        if step.is_pass_over {
            break;
        }
        drop(store);
        store = site.open();
    }
    assert_eq!(seen, [(2, 38), (2, 38), (1, 19), (0, 0)]);
    let ended = store.care().await.expect("facts").scrubbed_at;
    assert_eq!(ended, Some(at(0)));
}

#[tokio::test]
async fn what_waits_to_work_on_a_damaged_object_fails_with_that_reason() {
    let site = Site::new();
    let store = site.open();
    let job = inference(&site, &store, 1, &["m", "n"]).await; // one in hand, one waiting
    let (_, path) = held(&store, 1, 1).await;
    std::fs::write(path, "rot").expect("rotten");
    store.scrub(EVERYTHING).await.expect("scrubbed");
    let jobs = store.jobs(Default::default()).await.expect("jobs");
    let waiting = jobs.iter().find(|j| j.id != job.job.id).expect("the other");
    let JobState::Failed { failure } = &waiting.state else {
        panic!("{waiting:?}");
    };
    assert!(failure.reason.contains("altered on disk"), "{failure:?}");
    assert!(matches!(
        store.job(job.job.id).await.expect("the job").state,
        JobState::Leased { .. }
    ));
}

#[tokio::test]
async fn an_object_whose_file_is_gone_at_start_is_marked_and_not_dropped() {
    let site = Site::new();
    let store = site.open();
    admit(&store, 1, 1).await;
    admit(&store, 1, 2).await;
    let (_, path) = held(&store, 1, 1).await;
    drop(store);
    std::fs::remove_file(path).expect("lost");
    let store = site.open();
    let lost = (instance_uid(1, 1).to_string(), DamageKind::Missing);
    assert_eq!(damages(&store).await, [lost]);
    assert_eq!(
        store
            .study(&site::study_uid(1))
            .await
            .expect("the study")
            .instances,
        2
    );
    assert_eq!(verbs(&store).await[2..], ["reconcile files", "find damage"]);
}

#[tokio::test]
async fn older_shelves_are_compared_while_it_runs() {
    let site = Site::new();
    let store = site.open();
    for n in 1..=5 {
        admit(&store, 1, n).await;
        site.clock.advance(DAY);
    }
    let (_, lost) = held(&store, 1, 1).await;
    let (_, beside) = held(&store, 1, 2).await;
    std::fs::remove_file(&lost).expect("lost");
    let stranger = beside.with_file_name(format!("{}-0123456789abcdef.dcm", "0".repeat(64)));
    std::fs::write(&stranger, "whose?").expect("written");
    let found = store.reconcile().await.expect("compared");
    let expected = Reconciled {
        unpromised: 0,
        set_aside: 1,
        missing: 1,
    };
    assert_eq!(found, expected);
    assert!(
        !stranger.exists(),
        "and not deleted: nobody knows whether it was promised"
    );
    assert_eq!(store.care().await.expect("facts").set_aside, 1);
    assert_eq!(
        store.reconcile().await.expect("again"),
        Reconciled::default()
    );
    store.verify_audit().await.expect("a whole log");
}

/// A database put back to an older state does not name what was admitted since: that is set aside, never removed.
#[tokio::test]
async fn after_a_rollback_of_the_database_no_file_is_removed() {
    let site = Site::new();
    drop(site.open());
    let database = site.dir.path().join("pericard.db");
    let older = std::fs::read(&database).expect("the database");
    let store = site.open();
    admit(&store, 1, 1).await;
    drop(store);
    for tail in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(site.dir.path().join(format!("pericard.db{tail}")));
    }
    std::fs::write(&database, older).expect("put back");
    let store = site.open();
    assert_eq!(store.care().await.expect("facts").set_aside, 1);
    assert!(verbs(&store).await.contains(&"set file aside".to_owned()));
    let aside = site.dir.path().join("objects/aside");
    let kept: Vec<_> = std::fs::read_dir(aside).expect("aside").flatten().collect();
    assert_eq!(
        std::fs::read(kept[0].path()).expect("kept"),
        b"object 1 of study 1"
    );
    drop(store);
    drop(site.open());
    let (database, files) = (site.open(), site.files());
    assert_eq!(files.len(), 1, "nor at the start after: {files:?}");
    drop(database);
}

#[tokio::test]
async fn inferences_of_an_older_revision_that_nobody_began_are_cancelled_with_the_new_one() {
    let site = Site::new();
    let store = site.open();
    let in_hand = inference(&site, &store, 1, &["m", "n"]).await;
    let mut late = offer(&store, 1, 2, b"late").await;
    late.assemble_at = at(10);
    late.priority = Priority::Stat;
    store.admit(late, peer()).await.expect("admitted");
    let assembly = lease(&store).await;
    let plans = vec![site::planned("m"), site::planned("n")];
    assert_eq!(store.complete_study(&assembly, plans).await, Ok(2));
    let jobs = store.jobs(Default::default()).await.expect("jobs");
    let mut states: Vec<_> = jobs
        .iter()
        .map(|job| (job.id.0, job.state.name()))
        .collect();
    states.sort_unstable();
    let names: Vec<_> = states.iter().map(|(_, name)| *name).collect();
    // Assembly, in hand, superseded, assembly, and the two of the new revision.
    assert_eq!(
        names,
        ["done", "leased", "cancelled", "done", "waiting", "waiting"]
    );
    let said = verbs(&store).await;
    assert_eq!(said[said.len() - 2..], ["complete study", "cancel job"]);
    let late = site::conclusion(&store, &in_hand, (1, 50)).await;
    store
        .conclude(&in_hand, late)
        .await
        .expect("work in hand is not lost");
    // An assembly without a new object cancels nothing.
    let again = store.jobs(Default::default()).await.expect("jobs");
    assert_eq!(
        again
            .iter()
            .filter(|job| job.state == JobState::Cancelled)
            .count(),
        1
    );
}

#[tokio::test]
async fn beyond_its_marks_the_store_says_no_before_anything_is_written() {
    let site = Site::new();
    let store = site.open();
    let mut disk = store.disk().expect("facts");
    assert_eq!(
        (disk.level, disk.floor_mib, disk.low_mib),
        (DiskLevel::Ample, 1, 1)
    );
    assert!(disk.total_bytes >= disk.free_bytes && disk.free_bytes > 0);
    store.bind(Bounds {
        free_space_low_mib: u32::MAX,
        jobs_waiting_max: 2,
    });
    disk = store.disk().expect("facts");
    assert_eq!((disk.level, disk.low_mib), (DiskLevel::Low, u32::MAX));
    admit(&store, 1, 1).await;
    admit(&store, 2, 1).await;
    drop(store);
    let store = site.open(); // counts at once what waits
    store.bind(Bounds {
        free_space_low_mib: 1,
        jobs_waiting_max: 2,
    });
    let full = store.incoming().err();
    assert_eq!(
        full,
        Some(StoreError::QueueFull {
            jobs_waiting_max: 2
        })
    );
    assert_eq!(site.files().len(), 2, "nothing was written");
    store.bind(Bounds {
        free_space_low_mib: 1,
        jobs_waiting_max: 3,
    });
    admit(&store, 1, 2).await;
}

#[tokio::test]
async fn the_checkpoint_is_read_without_the_log() {
    let site = Site::new();
    let store = site.open();
    assert_eq!(store.checkpoint().await.expect("an empty log").size, 0);
    admit(&store, 1, 1).await;
    let (head, verified) = (store.checkpoint().await, store.verify_audit().await);
    let (head, verified) = (head.expect("a head"), verified.expect("whole"));
    assert_eq!(
        (head.size, &head.checkpoint),
        (verified.lines, &verified.checkpoint)
    );
    assert!(head.root.iter().any(|byte| *byte != 0));
}
