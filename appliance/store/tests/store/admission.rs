//! What becomes of an offered object.

use crate::site::{self, Site, admit, offer, peer};
use pericard_domain::job::Priority;
use pericard_domain::study::StudyState;
use pericard_store::StoreError;
use pericard_store::admission::{Admission, Refusal};
use pericard_store::queue::JobQuery;
use sha2::{Digest as _, Sha256};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;

#[tokio::test]
async fn what_is_admitted_is_there_byte_for_byte() {
    let site = Site::new();
    let store = site.open();
    let bytes: Vec<u8> = (0..700_000_u32).map(|i| (i % 251) as u8).collect();
    let mut incoming = store.incoming().expect("a file");
    for chunk in bytes.chunks(16_381) {
        incoming.write(chunk).expect("written");
    }
    assert_eq!(incoming.len(), 700_000);
    let mut read = Vec::new();
    let mut reader = incoming.to_read().expect("a reader");
    reader.read_to_end(&mut read).expect("read");
    assert!(read == bytes, "the scanner sees everything written so far");
    let changed = std::io::Write::write_all(&mut reader, b"x");
    assert!(changed.is_err(), "and can change nothing");

    let mut object = offer(&store, 1, 1, b"unused").await;
    object.sealed = incoming.seal().expect("sealed");
    assert_eq!(object.sealed.size_bytes, 700_000);
    assert_eq!(
        object.sealed.digest.as_bytes()[..],
        Sha256::digest(&bytes)[..]
    );
    assert_eq!(store.admit(object, peer()).await, Ok(Admission::Stored));

    let held = store
        .instance(&site::instance_uid(1, 1))
        .await
        .expect("held");
    let path = store.object_path(&held);
    assert!(std::fs::read(&path).expect("the file") == bytes);
    assert_eq!(
        (held.revision, held.is_result, held.size_bytes),
        (1, false, 700_000)
    );
    let mode = |path: &std::path::Path| {
        let metadata = std::fs::metadata(path).expect("metadata");
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode(path.as_path()), 0o600);
    assert_eq!(mode(path.parent().expect("a shelf")), 0o700);
    assert_eq!(mode(&site.dir.path().join("pericard.db")), 0o600);
    assert_eq!(mode(&site.dir.path().join("audit/key")), 0o600);
    assert_eq!(site.files().len(), 1, "nothing else is left");
}

#[tokio::test]
async fn dropped_before_it_is_admitted_it_is_gone() {
    let site = Site::new();
    let store = site.open();
    let mut incoming = store.incoming().expect("a file");
    incoming.write(b"half an obj").expect("written");
    assert!(incoming.path().exists());
    drop(incoming);
    drop(site::seal(&store, b"a whole object"));
    assert_eq!(site.files(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn the_same_bytes_again_are_held_and_other_bytes_are_a_revision() {
    let site = Site::new();
    let store = site.open();
    let send = async |bytes: &'static [u8]| {
        let object = offer(&store, 1, 1, bytes).await;
        store.admit(object, peer()).await.expect("admitted")
    };
    assert_eq!(send(b"first").await, Admission::Stored);
    assert_eq!(send(b"first").await, Admission::AlreadyHeld);
    assert_eq!(send(b"second").await, Admission::Revised { revision: 2 });
    assert_eq!(send(b"second").await, Admission::AlreadyHeld);
    // The first bytes once more: they are still held, and the latest revision stays the latest.
    assert_eq!(send(b"first").await, Admission::AlreadyHeld);
    let latest = store
        .instance(&site::instance_uid(1, 1))
        .await
        .expect("held");
    assert_eq!(latest.revision, 2);
    let file = std::fs::read(store.object_path(&latest)).expect("the file");
    assert_eq!(file, b"second");
    let listed = store.instances(&site::study_uid(1)).await.expect("listed");
    assert_eq!(listed, [latest], "one object, at its latest revision");
    assert_eq!(
        store
            .study(&site::study_uid(1))
            .await
            .expect("the study")
            .instances,
        1
    );
    assert_eq!(site.files().len(), 2, "both revisions are kept, once each");

    let lines = store.audit(Default::default()).await.expect("the log");
    let outcomes: Vec<_> = lines
        .iter()
        .map(|l| l.detail["outcome"].as_str().unwrap_or(""))
        .collect();
    let revised = "revised: other bytes under the same UID, both kept";
    let held = "already held";
    assert_eq!(outcomes, ["stored", held, revised, held, held]);
}

#[tokio::test]
async fn sent_again_on_another_day_leaves_one_file() {
    let site = Site::new();
    let store = site.open();
    admit(&store, 1, 1).await;
    site.clock.set(site::at(86_400));
    assert_eq!(admit(&store, 1, 1).await, Admission::AlreadyHeld);
    assert_eq!(site.files().len(), 1);
}

#[tokio::test]
async fn the_same_bytes_under_two_uids_are_two_objects_with_files_of_their_own() {
    let site = Site::new();
    let store = site.open();
    for n in [1, 2] {
        let object = offer(&store, 1, n, b"the same bytes").await;
        assert_eq!(store.admit(object, peer()).await, Ok(Admission::Stored));
    }
    assert_eq!(site.files().len(), 2);
}

#[tokio::test]
async fn a_uid_used_in_another_study_takes_nothing_from_the_first() {
    let site = Site::new();
    let store = site.open();
    admit(&store, 1, 1).await;
    let mut stolen = offer(&store, 2, 1, b"of another study").await;
    stolen.identity.instance = site::instance_uid(1, 1);
    let outcome = store.admit(stolen, peer()).await;
    assert_eq!(outcome, Ok(Admission::Revised { revision: 2 }));
    for (study, revision) in [(1, 1), (2, 2)] {
        let listed = store
            .instances(&site::study_uid(study))
            .await
            .expect("listed");
        let revisions: Vec<_> = listed.iter().map(|i| i.revision).collect();
        assert_eq!(revisions, [revision], "study {study}");
    }
}

#[tokio::test]
async fn a_study_waits_for_one_assembly_with_its_most_urgent_priority() {
    let site = Site::new();
    let store = site.open();
    for (n, priority) in [
        (1, Priority::Batch),
        (2, Priority::Stat),
        (3, Priority::Routine),
    ] {
        let mut object = offer(&store, 1, n, &[n as u8]).await;
        object.priority = priority;
        object.assemble_at = site::at(10 + u64::from(n));
        store.admit(object, peer()).await.expect("admitted");
    }
    let jobs = store.jobs(JobQuery::default()).await.expect("jobs");
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0].priority, Priority::Stat, "never lowered");
    assert_eq!(store.next_due().await, Ok(Some(site::at(13))));
    let study = store.study(&site::study_uid(1)).await.expect("the study");
    assert_eq!((study.state, study.revision), (StudyState::Arriving, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_are_all_kept_and_share_commits() {
    const OBJECTS: u32 = 200;
    let site = Site::new();
    let store = site.open();
    let tasks: Vec<_> = (0..OBJECTS)
        .map(|n| {
            let store = store.clone();
            // Every tenth is sent twice at once: one is stored, and the other is held.
            let n = if n % 10 == 9 { n - 1 } else { n };
            tokio::spawn(async move { admit(&store, 1, n).await })
        })
        .collect();
    let (mut stored, mut held) = (0, 0);
    for task in tasks {
        match task.await.expect("no panic") {
            Admission::Stored => stored += 1,
            Admission::AlreadyHeld => held += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((stored, held), (180, 20));
    assert_eq!(site.files().len(), 180);
    assert_eq!(
        store
            .instances(&site::study_uid(1))
            .await
            .expect("listed")
            .len(),
        180
    );
    let verified = store.verify_audit().await.expect("a whole log");
    assert_eq!(verified.lines, u64::from(OBJECTS));
}

#[tokio::test]
async fn a_refusal_is_written_down() {
    let site = Site::new();
    let store = site.open();
    let refusal = Refusal {
        what: "C-STORE".into(),
        why: "the object is not DICOM".into(),
        instance: Some(site::instance_uid(1, 1)),
    };
    store.refuse(refusal, peer()).await.expect("written");
    let lines = store.audit(Default::default()).await.expect("the log");
    assert_eq!(lines.len(), 1);
    assert_eq!((lines[0].verb.as_str(), &lines[0].by), ("refuse", &peer()));
    assert_eq!(lines[0].subject, "instance 1.2.3.1.1.1");
    assert_eq!(lines[0].detail["why"], "the object is not DICOM");
}

#[tokio::test]
async fn below_the_floor_nothing_is_begun() {
    let site = Site::new();
    let mut config = site.config();
    config.free_space_floor_mib = u32::MAX;
    let store = pericard_store::Store::open(config, site.clock()).expect("opens");
    let floor = StoreError::DiskFloor {
        floor_mib: u32::MAX,
    };
    assert_eq!(store.incoming().err(), Some(floor.clone()));
    assert_eq!(store.trouble(), Some(floor));
    assert_eq!(site.files().len(), 0);
}
