//! Data directories as released versions wrote them, each kept as a fixture: opened by this version, they are whole, and
//! show what they showed then.
//!
//! A fixture is `tests/store/fixtures/schema-<N>/`: the database as SQL, the other files as they lay, and `shown.json`,
//! what that version showed of them; from schema 5 on also `more.json`, for it has something in every table
//! (`furnishing.rs`). Before a migration is added, the fixture of the schema until then is written with
//!
//! ```text
//! PERICARD_STORE_FIXTURE=DIR cargo test -p pericard-store --test store migration::furnished
//! sqlite3 DIR/data/pericard.db .dump
//! ```

use crate::furnishing::{furnish_more, shown_more};
use crate::site::{self, Site, admit, at, conclusion, inference, lease, peer};
use pericard_domain::actor::{Actor, Role};
use pericard_domain::job::{Failure, FailureClass};
use pericard_store::access::NewToken;
use pericard_store::commitment::{Promise, Reference};
use pericard_store::outbox::DeliveryTrouble;
use pericard_store::{Store, StoreError};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const FIXTURE: &str = "PERICARD_STORE_FIXTURE";

/// Every released schema. The latest is the one before this version's. 2 is not among them: 3 came on the day on which 2 had
/// come, and no version was released in between. It is a step of the way from 1.
const RELEASED: [u32; 6] = [1, 3, 4, 5, 6, 7];
/// The first schema whose fixture has something in every table.
const MORE_SINCE: u32 = 5;

#[tokio::test]
async fn a_data_directory_of_every_released_version_opens_whole() {
    for schema in RELEASED {
        let site = laid_out(schema);
        let store = site.open();
        assert_eq!(shown(&store).await, shown_then(schema), "schema {schema}");
        if schema >= MORE_SINCE {
            let more = read_json(&folder(schema).join("more.json"));
            assert_eq!(shown_more(&store).await, more, "schema {schema}");
        }
        store.verify_audit().await.expect("a whole log");
        for instance in store.find_instances(all()).await.expect("objects") {
            let kept = std::fs::metadata(store.object_path(&instance)).expect("its file");
            assert_eq!(kept.len(), instance.size_bytes);
        }
        // And it goes on from there.
        admit(&store, 9, 1).await;
        site.clock.set(at(60));
        let leased = lease(&store).await;
        assert_eq!(leased.job.work.study(), &site::study_uid(1), "still due");
        store.verify_audit().await.expect("a whole log, longer");
        drop(store);
        drop(site.open());
    }
}

/// Schema 7 knew a delivery's latest transaction only.
#[tokio::test]
async fn a_peer_that_was_asked_before_the_migration_may_answer_after_it() {
    for (state, is_put_off) in [("asked", 0), ("due", 1)] {
        let site = laid_out(7);
        let asked = format!("UPDATE commitments SET state = '{state}', transaction_uid = '2.25.7'");
        let changed = site.database().execute(&asked, ());
        assert_eq!(changed.expect("asked"), 1);
        let store = site.open();
        let put_off = "SELECT put_off FROM commitment_questions WHERE transaction_uid = '2.25.7'";
        let put_off = site
            .database()
            .query_row(put_off, (), |row| row.get::<_, u32>(0));
        assert_eq!(put_off.expect("kept"), is_put_off, "{state}");
        let kept = "SELECT i.sop_class, i.uid FROM instances i JOIN outbox o ON o.instance_id = i.id \
            JOIN commitments c ON c.outbox_id = o.id";
        let kept = site.database().query_row(kept, (), |row| {
            let (class, uid): (String, String) = (row.get(0)?, row.get(1)?);
            Ok(Reference {
                sop_class: class.parse().expect("a class"),
                instance: uid.parse().expect("a UID"),
            })
        });
        let promise = Promise {
            transaction: "2.25.7".into(),
            kept: vec![kept.expect("delivered")],
            not_kept: Vec::new(),
        };
        let settled = store.settle_commitment("pacs", promise, peer()).await;
        assert_eq!(settled, Ok(()), "{state}");
        assert_eq!(store.commitments("pacs").await, Ok((0, 1)), "{state}");
    }
}

#[tokio::test]
async fn beside_a_running_older_version_it_is_left_alone() {
    let site = laid_out(RELEASED[0]);
    let lock = std::fs::File::create(site.dir.path().join("serve.lock")).expect("the lock");
    lock.try_lock().expect("locked, as an older version would");
    let refused = Store::open_beside(site.config(), site.clock()).err();
    let reason = refused.expect("refused").to_string();
    assert!(reason.contains("an older version serves"), "{reason}");
    drop(lock);
    drop(site.open_beside());
}

/// A migration that fails half-way leaves the database as it was.
#[test]
fn a_migration_is_made_whole_or_not_at_all() {
    let site = laid_out(RELEASED[0]);
    // A table of the name of one that the first migration after it makes.
    let obstacle = "CREATE TABLE removals (x ANY) STRICT";
    site.database().execute_batch(obstacle).expect("made");
    let failed = Store::open(site.config(), site.clock()).err();
    assert!(
        matches!(
            failed,
            Some(StoreError::Failed {
                step: "migrate",
                ..
            })
        ),
        "{failed:?}"
    );
    let version: u32 = site
        .database()
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .expect("the version");
    assert_eq!(version, RELEASED[0]);
    let clear = "DROP TABLE removals";
    site.database().execute_batch(clear).expect("dropped");
    drop(site.open());
}

fn folder(schema: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/store/fixtures/schema-{schema}"))
}

fn shown_then(schema: u32) -> Value {
    read_json(&folder(schema).join("shown.json"))
}

fn read_json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).expect("what was shown");
    serde_json::from_str(&text).expect("JSON")
}

fn write_json(path: &Path, value: &Value) {
    let text = serde_json::to_string_pretty(value).expect("JSON");
    std::fs::write(path, text + "\n").expect("written");
}

/// The fixture as a data directory.
fn laid_out(schema: u32) -> Site {
    let site = Site::new();
    copy(&folder(schema).join("data"), site.dir.path());
    let dump = folder(schema).join("pericard.db.sql");
    let dump = std::fs::read_to_string(dump).expect("the database as SQL");
    site.database().execute_batch(&dump).expect("the database");
    site
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for item in std::fs::read_dir(from).expect("a folder") {
        let item = item.expect("an entry");
        let (from, to) = (item.path(), to.join(item.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(&from, &to).expect("copied");
        }
    }
}

fn all() -> pericard_store::find::InstanceFilter {
    pericard_store::find::InstanceFilter {
        limit: u32::MAX,
        ..Default::default()
    }
}

/// All that a store shows of itself.
async fn shown(store: &Store) -> Value {
    let studies = store.studies(100, 0).await.expect("studies");
    let mut reports = Vec::new();
    for study in &studies {
        reports.extend(store.reports(&study.study).await.expect("reports"));
    }
    let mut deliveries = Vec::new();
    for study in &studies {
        deliveries.extend(
            store
                .deliveries(Some(&study.study), 0)
                .await
                .expect("deliveries"),
        );
    }
    let lines = pericard_store::audit_log::AuditQuery {
        limit: 1000,
        ..Default::default()
    };
    json!({
        "studies": studies,
        "objects": store.find_instances(all()).await.expect("objects"),
        "jobs": store.jobs(Default::default()).await.expect("jobs"),
        "reports": reports,
        "deliveries": deliveries,
        "tokens": store.tokens().await.expect("tokens"),
        "audit": store.audit(lines).await.expect("lines"),
    })
}

/// Not a test but what writes a fixture: without its environment it does nothing.
#[tokio::test]
async fn furnished() {
    let Some(dir) = std::env::var_os(FIXTURE).map(PathBuf::from) else {
        return;
    };
    let site = Site::new();
    let store = site.open();
    furnish(&site, &store).await;
    furnish_more(&site, &store).await;
    let (shown, more) = (shown(&store).await, shown_more(&store).await);
    drop(store);
    copy(site.dir.path(), &dir.join("data"));
    write_json(&dir.join("shown.json"), &shown);
    write_json(&dir.join("more.json"), &more);
}

/// Something of everything that the first database could hold, with nothing in hand.
pub(crate) async fn furnish(site: &Site, store: &Store) {
    // Study 1: two models, one concluded with two destinations for its object, one failed; then a late object.
    let job = inference(site, store, 1, &["bones", "lungs"]).await;
    let concluded = conclusion(store, &job, (1, 50)).await;
    store.conclude(&job, concluded).await.expect("concluded");
    let job = lease(store).await;
    let failure = Failure {
        class: FailureClass::UnsuitableInput,
        reason: "a slice is missing".into(),
    };
    store.fail(&job, failure, None).await.expect("failed");
    let delivery = store.lease_delivery("pacs", site::LEASE).await;
    let delivery = delivery.expect("leased").expect("due");
    store.delivered(&delivery).await.expect("delivered");
    admit(store, 1, 2).await;
    // Study 2: a delivery given up. Study 3: other bytes under one UID, and a job cancelled by a person.
    site.clock.set(at(0));
    let job = second(site, store).await;
    let concluded = conclusion(store, &job, (2, 50)).await;
    store.conclude(&job, concluded).await.expect("concluded");
    let delivery = store.lease_delivery("pacs", site::LEASE).await;
    let trouble = DeliveryTrouble::Permanent {
        reason: "0x0122".into(),
    };
    let delivery = delivery.expect("leased").expect("due");
    store
        .not_delivered(&delivery, trouble)
        .await
        .expect("noted");
    admit(store, 3, 1).await;
    let other = site::offer(store, 3, 1, b"other bytes").await;
    store.admit(other, peer()).await.expect("revised");
    let waiting = store.jobs(Default::default()).await.expect("jobs")[0].id;
    store
        .cancel_job(waiting, Actor::CommandLine)
        .await
        .expect("cancelled");
    let token = NewToken {
        label: "modality 7".into(),
        roles: vec![Role::Modality],
        secret_sha256: [3; 32],
        expires_at: Some(at(86_400)),
    };
    store
        .issue_token(token, Actor::CommandLine)
        .await
        .expect("issued");
}

/// An inference of study 2 in hand; study 1's late object stays due.
async fn second(site: &Site, store: &Store) -> pericard_store::queue::LeasedJob {
    let mut object = site::offer(store, 2, 1, b"object 1 of study 2").await;
    object.assemble_at = at(0);
    store.admit(object, peer()).await.expect("admitted");
    let assembly = lease(store).await;
    assert_eq!(assembly.job.work.study(), &site::study_uid(2));
    let plans = vec![site::planned("bones")];
    store
        .complete_study(&assembly, plans)
        .await
        .expect("complete");
    let job = lease(store).await;
    site.clock.set(at(10));
    job
}
