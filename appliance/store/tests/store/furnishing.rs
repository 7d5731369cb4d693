//! Something in each table of the newest schema: what a fixture of it holds, so that the migration after it meets rows
//! everywhere.

use crate::migration::furnish;
use crate::site::{self, Site, admit, at, conclusion, identity, lease, peer, study_uid};
use crate::workitem::{altered, created};
use pericard_domain::actor::Actor;
use pericard_domain::ae::AeTitle;
use pericard_domain::job::Priority;
use pericard_domain::order::Order;
use pericard_domain::rule::Priors;
use pericard_domain::workitem::WorkitemState;
use pericard_store::Store;
use pericard_store::care::DamageKind;
use pericard_store::commitment::{Question, Reference};
use pericard_store::patient::Patient;
use pericard_store::prior::{PriorOutcome, PriorState};
use pericard_store::queue::{Completion, LeasedJob, PlannedInference};
use pericard_store::review::Verdict;
use serde_json::{Value, json};

/// More than every object of a fixture together.
const EVERYTHING: u64 = 1 << 20;

fn pacs() -> AeTitle {
    AeTitle::new("PACS").expect("a title")
}

/// What the schemas after the first added, beside what [`furnish`] has put there.
pub(crate) async fn furnish_more(site: &Site, store: &Store) {
    concluded_with_all_that_may_follow(site, store).await;
    let item = created(store, 1, None, &["RIS"]).await;
    let claim = altered(&item, WorkitemState::InProgress);
    store.alter_workitem(claim, peer()).await.expect("claimed");
    let order = Order {
        key: "SPS-1".into(),
        accession_number: Some("ACC9".into()),
        modality: Some("MR".into()),
        priority: Some(Priority::Stat),
        ..Order::default()
    };
    let ris = || Actor::room("hl7");
    let expecting = store.expect("worklist ris", order, ris()).await;
    expecting.expect("expected");
    let patient = Patient {
        patient_id: "P-1".into(),
        name: Some("DOE^JANE".into()),
        ..Patient::default()
    };
    store.patient_said(patient, ris()).await.expect("said");
    // Study 5: its object rots. Study 6: erased, and its file not yet removed.
    admit(store, 5, 1).await;
    let rotten = store.instance(&site::instance_uid(5, 1)).await;
    let rotten = store.object_path(&rotten.expect("held"));
    let mut bytes = std::fs::read(&rotten).expect("its bytes");
    bytes[5] ^= 1;
    std::fs::write(&rotten, bytes).expect("rotten");
    store.scrub(EVERYTHING).await.expect("scrubbed");
    let damages = store.damages(0).await.expect("damages");
    assert_eq!(damages.len(), 1, "{damages:?}");
    assert_eq!(damages[0].kind, DamageKind::Altered);
    admit(store, 6, 1).await;
    // Files are left to the process that serves.
    let beside = site.open_beside();
    let study = study_uid(6);
    let erased = beside.erase_study(&study, false, Actor::CommandLine);
    assert_eq!(erased.await.expect("erased").objects, 1);
}

/// Study 4: counted at its source, an earlier study waited for, its result told to the information system, delivered, asked about
/// and not yet committed, promised to a peer, and called right.
async fn concluded_with_all_that_may_follow(site: &Site, store: &Store) {
    let job = waited_for(site, store).await;
    let concluded = conclusion(store, &job, (4, 50)).await;
    store.conclude(&job, concluded).await.expect("concluded");
    let study = study_uid(4);
    let said = store.review(&study, job.job.id, Verdict::Agreed, peer());
    said.await.expect("said");
    let delivery = store.lease_delivery("pacs", site::LEASE).await;
    let delivery = delivery.expect("leased").expect("due");
    let delivered = store.delivered_uncommitted(&delivery).await;
    delivered.expect("delivered");
    let asked = store.commitment_question("pacs", 1, site::LEASE).await;
    assert_eq!(asked.expect("asked").expect("due").references.len(), 1);
    let object = identity(4, 1);
    let question = Question {
        transaction: "1.2.9.4".into(),
        references: vec![Reference {
            sop_class: object.sop_class,
            instance: object.instance,
        }],
    };
    let promised = store.promise(&pacs(), question, peer()).await;
    assert_eq!(promised.expect("promised").promise.kept.len(), 1);
}

/// The inference of study 4, in hand: before every other work.
async fn waited_for(site: &Site, store: &Store) -> LeasedJob {
    let study = study_uid(4);
    let mut object = site::offer(store, 4, 1, b"object 1 of study 4").await;
    (object.assemble_at, object.priority) = (at(0), Priority::Stat);
    store.admit(object, peer()).await.expect("admitted");
    let series = [("1.2.3.4.1".to_owned(), 1)].into();
    let counted = store.counted(&study, "pacs", series).await;
    counted.expect("counted");
    let assembly = lease(store).await;
    assert_eq!(assembly.job.work.study(), &study);
    let completion = Completion {
        planned: vec![PlannedInference {
            priority: Priority::Stat,
            messages: vec!["ris".into()],
            ..site::planned("bones")
        }],
        priors: vec![Priors {
            from: "pacs".into(),
            modalities: Vec::new(),
            age_max_days: 365,
            studies_max: 1,
            objects_max: 100,
            size_max_mib: 100,
            wait_max_s: 60,
        }],
        because: None,
        lacks: None,
    };
    let complete = store.complete_study(&assembly, completion).await;
    assert_eq!(complete, Ok(1));
    let order = store.lease_prior_order("pacs", site::LEASE).await;
    let order = order.expect("leased").expect("due");
    let prior = study_uid(40);
    let comes = store.prior_comes(&order, &prior, &pacs()).await;
    comes.expect("it comes");
    let came = store.prior_came(&order, &prior, PriorState::Here).await;
    came.expect("it came");
    let outcome = PriorOutcome {
        found: 1,
        here: 1,
        ..PriorOutcome::default()
    };
    let ended = store.prior_order_ended(&order, outcome).await;
    ended.expect("ended");
    site.clock.set(at(20));
    let job = lease(store).await;
    assert_eq!(job.job.work.study(), &study);
    job
}

/// What a store shows of that.
pub(crate) async fn shown_more(store: &Store) -> Value {
    let study = study_uid(4);
    let workitems = store.workitems(None, 100).await.expect("workitems");
    let dataset = |item: &pericard_store::workitem::Workitem| {
        json!([item.uid, item.state, item.version, item.dataset])
    };
    json!({
        "damages": store.damages(0).await.expect("damages"),
        "expected": store.expected(100, 0).await.expect("orders"),
        "messages": store.messages(Some(&study), 0).await.expect("messages"),
        "priors": store.prior_orders(&study).await.expect("prior orders"),
        "commitments": store.commitments("pacs").await.expect("commitments"),
        "workitems": workitems.iter().map(dataset).collect::<Vec<_>>(),
    })
}

#[tokio::test]
async fn every_table_of_the_newest_schema_has_a_row_in_its_fixture() {
    let site = Site::new();
    let store = site.open();
    furnish(&site, &store).await;
    furnish_more(&site, &store).await;
    store.verify_audit().await.expect("a whole log");
    let shown = shown_more(&store).await;
    for (what, rows) in shown.as_object().expect("lists") {
        assert!(!rows.as_array().expect("a list").is_empty(), "{what}");
    }
    drop(store);
    let database = site.database();
    let mut tables = database
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
        .expect("the schema");
    let tables = tables.query_map([], |row| row.get::<_, String>(0));
    let tables: Vec<_> = tables
        .expect("tables")
        .map(|t| t.expect("a name"))
        .collect();
    assert!(tables.len() > 20, "{tables:?}");
    for table in tables {
        let count = format!("SELECT count(*) FROM {table}");
        let rows: u32 = database
            .query_row(&count, [], |row| row.get(0))
            .expect("its rows");
        assert!(rows > 0, "{table}: put a row of it into furnish_more");
    }
}
