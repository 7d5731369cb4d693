//! What is kept no longer: by rule when it is processed and delivered, by name at once.

use crate::site::{self, LEASE, Site, admit, conclusion, inference, lease, study_uid, verbs};
use pericard_domain::actor::Actor;
use pericard_domain::job::{Failure, FailureClass};
use pericard_store::care::{Erased, Expired, RetentionRule};
use pericard_store::commitment::Promise;
use pericard_store::outbox::DeliveryTrouble;
use pericard_store::{Store, StoreError};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

fn rule(
    modalities: &[&str],
    images_kept_days: u32,
    results_kept_days: Option<u32>,
) -> RetentionRule {
    RetentionRule {
        name: "a rule".into(),
        modalities: modalities.iter().map(|m| (*m).to_owned()).collect(),
        images_kept_days,
        results_kept_days,
    }
}

fn expired(studies: u64, objects: u64) -> (u64, u64, u64) {
    (studies, objects, 0)
}

async fn expire(store: &Store, rules: &[RetentionRule]) -> (u64, u64, u64) {
    let Expired {
        studies,
        objects,
        withheld,
        ..
    } = store.expire(rules).await.expect("expired");
    (studies, objects, withheld)
}

/// A study with one image and one result, delivered.
async fn finished(site: &Site, store: &Store, study: u32) {
    let job = inference(site, store, study, &["m"]).await;
    let concluded = conclusion(store, &job, (study, 50)).await;
    store.conclude(&job, concluded).await.expect("concluded");
    let delivery = store.lease_delivery("pacs", LEASE).await.expect("leased");
    store
        .delivered(&delivery.expect("due"))
        .await
        .expect("delivered");
}

fn object_files(site: &Site) -> usize {
    let is_object = |path: &&std::path::PathBuf| path.extension().is_some_and(|e| e == "dcm");
    site.files().iter().filter(is_object).count()
}

#[tokio::test]
async fn images_go_first_then_everything_and_the_log_stays() {
    let site = Site::new();
    let store = site.open();
    finished(&site, &store, 1).await;
    let rules = [rule(&["MR"], 0, Some(0)), rule(&["CT"], 2, Some(5))];
    assert_eq!(
        expire(&store, &[]).await,
        expired(0, 0),
        "without a rule everything is kept"
    );
    site.clock.advance(DAY);
    assert_eq!(
        expire(&store, &rules).await,
        expired(0, 0),
        "its time is not over"
    );
    site.clock.advance(DAY);
    assert_eq!(expire(&store, &rules).await, expired(1, 1));
    assert_eq!(object_files(&site), 1, "the result");
    let study = store.study(&study_uid(1)).await.expect("the study");
    assert_eq!((study.instances, study.results), (0, 1));
    assert_eq!(
        store.reports(&study_uid(1)).await.expect("reports").len(),
        1
    );
    assert_eq!(expire(&store, &rules).await, expired(0, 0));
    site.clock.advance(DAY * 3);
    assert_eq!(expire(&store, &rules).await, expired(1, 1));
    assert_eq!(object_files(&site), 0);
    let gone = store.study(&study_uid(1)).await;
    assert_eq!(gone, Err(StoreError::NotFound("study")));
    assert_eq!(store.jobs(Default::default()).await.expect("jobs"), []);
    let said = verbs(&store).await;
    let removed: Vec<_> = said
        .iter()
        .filter(|v| *v == "expire study" || *v == "remove files")
        .collect();
    assert_eq!(removed.len(), 4, "{said:?}");
    store.verify_audit().await.expect("a whole log");
    // And the store goes on: the same study may come again.
    admit(&store, 1, 1).await;
    drop(store);
    drop(site.open());
}

#[tokio::test]
async fn what_is_not_processed_and_delivered_is_never_removed() {
    let site = Site::new();
    let store = site.open();
    let rules = [rule(&[], 0, Some(0))];
    let withheld = (0, 0, 1);
    // Arriving; then an inference that waits, is in hand, and has failed.
    admit(&store, 1, 1).await;
    site.clock.set(site::at(10));
    assert_eq!(expire(&store, &rules).await, withheld);
    let assembly = lease(&store).await;
    assert_eq!(expire(&store, &rules).await, withheld);
    let plans = vec![site::planned("m")];
    store
        .complete_study(&assembly, plans)
        .await
        .expect("complete");
    assert_eq!(expire(&store, &rules).await, withheld);
    let job = lease(&store).await;
    let failure = |class| Failure {
        class,
        reason: "a reason".into(),
    };
    let failing = store.fail(&job, failure(FailureClass::ModelFailed), None);
    failing.await.expect("failed");
    assert_eq!(
        expire(&store, &rules).await,
        withheld,
        "a person may retry it"
    );
    store
        .retry_job(job.job.id, Actor::CommandLine)
        .await
        .expect("retried");
    // Concluded, and its delivery given up.
    let job = lease(&store).await;
    let concluded = conclusion(&store, &job, (1, 50)).await;
    store.conclude(&job, concluded).await.expect("concluded");
    assert_eq!(expire(&store, &rules).await, withheld);
    let delivery = store
        .lease_delivery("pacs", LEASE)
        .await
        .expect("leased")
        .expect("due");
    let trouble = DeliveryTrouble::Permanent {
        reason: "no".into(),
    };
    store
        .not_delivered(&delivery, trouble)
        .await
        .expect("noted");
    assert_eq!(expire(&store, &rules).await, withheld);
    store
        .retry_delivery(delivery.id, Actor::CommandLine)
        .await
        .expect("retried");
    let delivery = store
        .lease_delivery("pacs", LEASE)
        .await
        .expect("leased")
        .expect("due");
    store.delivered(&delivery).await.expect("delivered");
    assert_eq!(expire(&store, &rules).await, expired(1, 2));
    // What the study itself is to blame for is an end like any other.
    let job = inference(&site, &store, 2, &["m"]).await;
    let failing = store.fail(&job, failure(FailureClass::UnsuitableInput), None);
    failing.await.expect("failed");
    assert_eq!(expire(&store, &rules).await, expired(1, 1));
}

#[tokio::test]
async fn what_the_pacs_has_not_promised_to_keep_is_never_removed() {
    let site = Site::new();
    let store = site.open();
    let rules = [rule(&[], 0, Some(0))];
    let job = inference(&site, &store, 1, &["m"]).await;
    let concluded = conclusion(&store, &job, (1, 50)).await;
    store.conclude(&job, concluded).await.expect("concluded");
    let delivery = store.lease_delivery("pacs", LEASE).await.expect("leased");
    let delivery = delivery.expect("due");
    let noted = store.delivered_uncommitted(&delivery).await;
    noted.expect("delivered");
    site.clock.set(site::at(10));
    let withheld = (0, 0, 1);
    assert_eq!(expire(&store, &rules).await, withheld);
    let question = store.commitment_question("pacs", 10, DAY).await;
    let question = question.expect("asked").expect("a question");
    assert_eq!(expire(&store, &rules).await, withheld);
    let promise = Promise {
        transaction: question.transaction,
        kept: question.references,
        not_kept: Vec::new(),
    };
    let settled = store.settle_commitment("pacs", promise, Actor::CommandLine);
    settled.await.expect("settled");
    assert_eq!(expire(&store, &rules).await, expired(1, 2));
}

#[tokio::test]
async fn erased_by_name_nothing_of_the_study_is_left_and_the_log_still_verifies() {
    let site = Site::new();
    let store = site.open();
    finished(&site, &store, 1).await;
    finished(&site, &store, 10).await; // its UID begins with the other's
    let before = store.audit(Default::default()).await.expect("lines");
    let about = |n: u32| {
        let word = format!(" {} ", study_uid(n));
        let says = |line: &&pericard_store::audit_log::AuditLine| {
            format!("{} ", line.subject).contains(&word)
        };
        before.iter().filter(says).count() as u64
    };
    let study = study_uid(1);
    let erasing = store.erase_study(&study, true, Actor::CommandLine);
    let erased = erasing.await.expect("erased");
    let Erased {
        objects,
        audit_lines,
        ..
    } = erased;
    assert_eq!((objects, audit_lines), (2, about(1)));
    store.verify_audit().await.expect("the tree is whole");
    let left = store.audit(Default::default()).await.expect("lines");
    let uid = format!("{} ", study_uid(1));
    assert!(
        left.iter()
            .all(|line| !format!("{} ", line.subject).contains(&uid))
    );
    let said = left
        .iter()
        .find(|line| line.verb == "erase study")
        .expect("the line");
    assert!(
        said.subject.starts_with("study sha256:"),
        "{}",
        said.subject
    );
    assert!(
        left.iter()
            .any(|line| line.subject.ends_with("study 1.2.3.10")),
        "the other's lines stay"
    );
    assert_eq!(object_files(&site), 2);
    let again = store
        .erase_study(&study_uid(1), true, Actor::CommandLine)
        .await;
    assert_eq!(again, Err(StoreError::NotFound("study")));
    drop(store);
    // Not even in the database's free pages, once what was written ahead is copied.
    let database = site.database();
    let copied: i64 = database
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0))
        .expect("copied");
    assert_eq!(copied, 0);
    let bytes = std::fs::read(site.dir.path().join("pericard.db")).expect("the database");
    let instance = site::instance_uid(1, 50).to_string();
    let told = bytes
        .windows(instance.len())
        .any(|at| at == instance.as_bytes());
    assert!(!told, "{instance} can still be read in the file");
}

#[tokio::test]
async fn erased_without_its_lines_the_log_says_what_was() {
    let site = Site::new();
    let store = site.open();
    finished(&site, &store, 1).await;
    let study = study_uid(1);
    let erasing = store.erase_study(&study, false, Actor::CommandLine);
    assert_eq!(erasing.await.expect("erased").audit_lines, 0);
    let lines = store.audit(Default::default()).await.expect("lines");
    let line = lines
        .iter()
        .find(|line| line.verb == "erase study")
        .expect("the line");
    assert_eq!(line.subject, format!("study {}", study_uid(1)));
}

#[tokio::test]
async fn old_audit_lines_lose_what_they_say_and_keep_their_places() {
    let site = Site::new();
    let store = site.open();
    for n in 1..=4 {
        admit(&store, 1, n).await;
        site.clock.advance(DAY);
    }
    assert_eq!(store.expire_audit(2).await, Ok(2));
    assert_eq!(store.expire_audit(2).await, Ok(0));
    let lines = store.audit(Default::default()).await.expect("lines");
    let indexes: Vec<_> = lines.iter().map(|line| line.index).collect();
    assert_eq!(indexes, [2, 3, 4]);
    assert_eq!(store.verify_audit().await.expect("whole").lines, 5);
}

/// A crash after the rows are gone and before the files are: the order to remove them is kept, and carried out.
#[tokio::test]
async fn a_crash_between_rows_and_files_leaves_neither() {
    let site = Site::new();
    let store = site.open();
    admit(&store, 1, 1).await;
    let held = store
        .instance(&site::instance_uid(1, 1))
        .await
        .expect("held");
    let path = store.object_path(&held);
    let bytes = std::fs::read(&path).expect("its bytes");
    // While a backup is being made, the file stays and the order waits: as after a crash just here.
    let lock = std::fs::File::create(site.dir.path().join("backup.lock")).expect("made");
    lock.lock().expect("locked");
    let study = study_uid(1);
    let erasing = store.erase_study(&study, false, Actor::CommandLine);
    erasing.await.expect("erased");
    assert!(path.exists() && store.care().await.expect("facts").to_remove == 1);
    assert_eq!(
        store.reconcile().await.expect("compared"),
        Default::default()
    );
    drop(lock);
    drop(store);
    let store = site.open();
    assert_eq!(
        std::fs::read(&path).ok(),
        Some(bytes),
        "neither an orphan nor lost, but ordered"
    );
    assert_eq!(store.remove_ordered().await, Ok(1));
    assert!(!path.exists() && store.care().await.expect("facts").to_remove == 0);
    assert_eq!(store.remove_ordered().await, Ok(0));
}

#[tokio::test]
async fn an_object_that_comes_again_before_its_old_file_is_removed_is_kept() {
    let site = Site::new();
    let store = site.open();
    admit(&store, 1, 1).await;
    // While a backup is being made, the order to remove the file waits.
    let lock = std::fs::File::create(site.dir.path().join("backup.lock")).expect("made");
    lock.lock().expect("locked");
    let study = study_uid(1);
    let erasing = store.erase_study(&study, false, Actor::CommandLine);
    erasing.await.expect("erased");
    admit(&store, 1, 1).await;
    drop(lock);
    assert_eq!(
        store.remove_ordered().await,
        Ok(0),
        "the order was taken back"
    );
    let held = store
        .instance(&site::instance_uid(1, 1))
        .await
        .expect("held");
    assert!(
        store.object_path(&held).exists(),
        "promised again, and kept"
    );
}

#[tokio::test]
async fn what_is_erased_beside_a_serving_process_is_removed_by_it() {
    let site = Site::new();
    let store = site.open();
    admit(&store, 1, 1).await;
    let beside = site.open_beside();
    let study = study_uid(1);
    let erasing = beside.erase_study(&study, false, Actor::CommandLine);
    erasing.await.expect("erased");
    assert_eq!(object_files(&site), 1);
    assert_eq!(store.remove_ordered().await, Ok(1));
    assert_eq!(object_files(&site), 0);
}
