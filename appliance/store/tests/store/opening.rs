//! How a store is opened, by whom, and what is put in order then.

use crate::site::{self, Site, admit, offer, peer};
use pericard_store::{Store, StoreError};

fn reason(outcome: Result<Store, StoreError>) -> String {
    match outcome {
        Ok(_) => "it opened".into(),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn one_process_serves_at_a_time() {
    let site = Site::new();
    let store = site.open();
    let second = reason(Store::open(site.config(), site.clock()));
    assert!(second.contains("another process serves"), "{second}");
    drop(store);
    admit(&site.open(), 1, 1).await;
}

#[tokio::test]
async fn what_was_kept_is_there_after_a_restart() {
    let site = Site::new();
    for n in 1..=3 {
        let store = site.open();
        admit(&store, 1, n).await;
        let held = store.instances(&site::study_uid(1)).await.expect("objects");
        assert_eq!(held.len() as u32, n);
        store.verify_audit().await.expect("a whole log");
    }
}

#[test]
fn a_database_of_a_newer_version_is_refused_and_left_alone() {
    let site = Site::new();
    drop(site.open());
    let version: u32 = site
        .database()
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .expect("the version");
    site.database()
        .pragma_update(None, "user_version", 999)
        .expect("set");
    for outcome in [
        Store::open(site.config(), site.clock()),
        Store::open_beside(site.config(), site.clock()),
    ] {
        let reason = reason(outcome);
        assert!(
            reason.contains("newer version") && reason.contains("999"),
            "{reason}"
        );
    }
    site.database()
        .pragma_update(None, "user_version", version)
        .expect("set");
    drop(site.open());
}

#[test]
fn another_log_is_not_continued_under_this_name() {
    let site = Site::new();
    drop(site.open());
    let mut config = site.config();
    config.audit_origin = "another.hospital/audit".into();
    let reason = reason(Store::open(config, site.clock()));
    assert!(reason.contains(site::ORIGIN), "{reason}");
}

#[tokio::test]
async fn what_nobody_was_promised_is_swept() {
    let site = Site::new();
    let store = site.open();
    admit(&store, 1, 1).await;
    let kept = site.files();
    drop(store);
    // A crash while receiving, and a crash between the rename and the commit.
    let objects = site.dir.path().join("objects");
    std::fs::write(objects.join("incoming/7"), b"half").expect("written");
    let shelf = kept[0].parent().expect("a shelf");
    std::fs::write(
        shelf.join(format!("{}-0123456789abcdef.dcm", "0".repeat(64))),
        b"x",
    )
    .expect("written");
    assert_eq!(site.files().len(), 3);
    let store = site.open();
    assert_eq!(site.files(), kept);
    let again = offer(&store, 1, 2, b"next").await;
    store
        .admit(again, peer())
        .await
        .expect("the staging names are free again");
}

#[tokio::test]
async fn dropped_with_changes_waiting_the_store_commits_them() {
    let site = Site::new();
    let store = site.open();
    let tasks: Vec<_> = (1..=20)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { admit(&store, 1, n).await })
        })
        .collect();
    drop(store);
    for task in tasks {
        task.await.expect("admitted");
    }
    let held = site
        .open()
        .instances(&site::study_uid(1))
        .await
        .expect("objects");
    assert_eq!(held.len(), 20);
}

/// How many objects the database's own file has, without its write-ahead log.
fn objects_in_file(site: &Site) -> Option<i64> {
    let alone = tempfile::tempdir().expect("a temporary directory");
    let copy = alone.path().join("pericard.db");
    std::fs::copy(site.dir.path().join("pericard.db"), &copy).expect("a copy");
    let database = rusqlite::Connection::open(copy).expect("a database");
    let count = database.query_row("SELECT count(*) FROM instances", (), |row| row.get(0));
    count.ok() // while it is written, half of it may be there
}

#[tokio::test]
async fn killed_again_and_again_it_does_not_let_its_log_grow() {
    let (site, killed) = (Site::new(), Site::new());
    let store = site.open();
    for n in 1..=3 {
        admit(&store, 1, n).await;
    }
    // As a kill would leave it: nobody closes the database.
    let mut copy = std::process::Command::new("cp");
    copy.arg("-aT").args([site.dir.path(), killed.dir.path()]);
    assert!(copy.status().expect("cp").success());
    let again = killed.open();
    for _ in 0..200 {
        if objects_in_file(&killed) == Some(3) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await; // another thread's work has no end to await
    }
    assert_eq!(objects_in_file(&killed), Some(3), "what the log held");
    drop(again);
}
