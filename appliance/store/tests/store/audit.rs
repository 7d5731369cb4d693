//! No change without its line, and no line changed without a word.

use crate::site::{self, Site, admit};
use pericard_domain::actor::Actor;
use pericard_store::audit_log::AuditQuery;
use pericard_store::{Store, StoreError};

async fn with_lines(site: &Site, count: u32) -> Store {
    let store = site.open();
    for n in 1..=count {
        admit(&store, 1, n).await;
    }
    store
}

async fn verdict(site: &Site) -> String {
    match site.open().verify_audit().await {
        Ok(verified) => format!("{} whole", verified.lines),
        Err(StoreError::Failed { reason, .. }) => reason,
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn lines_are_read_from_a_place_on_and_by_subject() {
    let site = Site::new();
    let store = with_lines(&site, 5).await;
    store
        .note_access("read study", "study 9.9", Actor::CommandLine)
        .await
        .expect("noted");
    let read = async |query| {
        let lines = store.audit(query).await.expect("lines");
        lines.into_iter().map(|line| line.index).collect::<Vec<_>>()
    };
    assert_eq!(read(AuditQuery::default()).await, [0, 1, 2, 3, 4, 5]);
    assert_eq!(
        read(AuditQuery {
            from: 2,
            limit: 2,
            ..AuditQuery::default()
        })
        .await,
        [2, 3]
    );
    let subject = Some("study 9.9".to_owned());
    assert_eq!(
        read(AuditQuery {
            subject,
            ..AuditQuery::default()
        })
        .await,
        [5]
    );
    let before = |before, limit| AuditQuery {
        before: Some(before),
        limit,
        ..AuditQuery::default()
    };
    assert_eq!(read(before(u64::MAX, 2)).await, [5, 4], "latest first");
    assert_eq!(read(before(2, 9)).await, [1, 0]);
    let said = |verb: &str, by: &str| AuditQuery {
        verb: (!verb.is_empty()).then(|| verb.to_owned()),
        by: (!by.is_empty()).then(|| by.to_owned()),
        ..AuditQuery::default()
    };
    assert_eq!(read(said("read study", "")).await, [5]);
    assert_eq!(
        read(said("read", "")).await,
        [0; 0],
        "a verb is said in full"
    );
    assert_eq!(read(said("", "command_line")).await, [5]);
    assert_eq!(read(said("admit object", "command_line")).await, [0; 0]);
    let line = &store.audit(AuditQuery::default()).await.expect("lines")[4];
    assert_eq!(line.at, site::at(0));
    assert_eq!(line.by, site::peer());
    assert_eq!(line.subject, "study 1.2.3.1 instance 1.2.3.1.1.5");
}

#[tokio::test]
async fn every_tampering_is_found_and_named() {
    let cases = [
        (
            "UPDATE audit_entries SET record = replace(record, 'stored', 'st0red') WHERE idx = 2",
            "entry 2",
        ),
        (
            "UPDATE audit_entries SET salt = zeroblob(32) WHERE idx = 3",
            "entry 3",
        ),
        (
            "UPDATE audit_leaves SET leaf = zeroblob(32) WHERE idx = 1",
            "entry 1",
        ),
        ("DELETE FROM audit_entries WHERE idx = 2", "entry 2"),
        ("DELETE FROM audit_leaves WHERE idx = 2", "entry 2: missing"),
        ("DELETE FROM audit_leaves WHERE idx = 4", "entry 4: missing"),
        (
            "UPDATE audit_leaves SET idx = 9 WHERE idx = 4",
            "entry 4: missing",
        ),
        (
            "UPDATE audit_head SET checkpoint = replace(checkpoint, char(10) || '5' || char(10), char(10) || '4' || char(10))",
            "checkpoint",
        ),
        ("DELETE FROM audit_head", "truncated|missing|entry"),
    ];
    for (tampering, expected) in cases {
        let site = Site::new();
        drop(with_lines(&site, 5).await);
        assert_eq!(verdict(&site).await, "5 whole");
        let database = site.database();
        database
            .pragma_update(None, "foreign_keys", false)
            .expect("set");
        assert!(database.execute(tampering, ()).expect("tampered") > 0);
        drop(database);
        let verdict = verdict(&site).await;
        let named = expected.split('|').any(|words| verdict.contains(words));
        assert!(named, "{tampering}: {verdict}");
    }
}

#[tokio::test]
async fn a_database_rolled_back_whole_is_found_by_the_file_beside_it() {
    let site = Site::new();
    drop(with_lines(&site, 5).await);
    let database = site.dir.path().join("pericard.db");
    let older = std::fs::read(&database).expect("a copy");
    let store = site.open();
    admit(&store, 1, 6).await;
    drop(store);
    std::fs::write(&database, older).expect("rolled back");
    let verdict_at_once = verdict(&site).await;
    assert!(
        verdict_at_once.contains("5 entries") || verdict_at_once.contains("entry 5"),
        "{verdict_at_once}"
    );
    // Going on does not heal it: the evidence is kept until a person has explained it.
    let store = site.open();
    for n in 7..=9 {
        admit(&store, 1, n).await;
    }
    drop(store);
    let verdict = verdict(&site).await;
    assert!(verdict.contains("rewritten"), "{verdict}");
}

#[tokio::test]
async fn a_missing_checkpoint_file_is_no_verification() {
    let site = Site::new();
    drop(with_lines(&site, 1).await);
    let store = site.open_beside(); // which writes no checkpoint before it has changed something
    std::fs::remove_file(site.dir.path().join("audit/checkpoint")).expect("removed");
    let refused = store.verify_audit().await;
    assert!(
        matches!(refused, Err(StoreError::Failed { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn the_export_is_a_log_that_others_can_verify() {
    let site = Site::new();
    let store = with_lines(&site, 300).await;
    let out = tempfile::tempdir().expect("a folder");
    store.export_audit(out.path()).await.expect("exported");
    let read = |name: &str| std::fs::read_to_string(out.path().join(name)).expect(name);
    let key: pericard_audit::VerifierKey = read("key.pub").trim().parse().expect("a key");
    let checkpoint = pericard_audit::Checkpoint::open(&read("checkpoint"), &key).expect("signed");
    assert_eq!(
        (checkpoint.size, checkpoint.origin.as_str()),
        (300, site::ORIGIN)
    );
    let mut log = pericard_audit::Frontier::new();
    for tile in ["tile/0/000", "tile/0/001.p/44"] {
        let leaves = std::fs::read(out.path().join(tile)).expect(tile);
        let (leaves, []) = leaves.as_chunks::<32>() else {
            panic!("{tile}")
        };
        log.extend(leaves.iter().copied().map(pericard_audit::Hash::new));
    }
    assert_eq!(log.root(), checkpoint.root);
}
