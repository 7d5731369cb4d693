//! Workitems: kept, changed on the latest view only, told of, and planned.

use crate::site::{
    self, LEASE, Site, admit, at, conclusion, inference, instance_uid, lease, peer, planned,
    study_uid,
};
use pericard_domain::actor::Actor;
use pericard_domain::job::{JobState, Priority, Work};
use pericard_domain::rule::Priors;
use pericard_domain::uid::InstanceUid;
use pericard_domain::workitem::WorkitemState;
use pericard_store::audit_log::AuditQuery;
use pericard_store::prior::PriorOutcome;
use pericard_store::queue::{Ordered, PlannedInference};
use pericard_store::workitem::{Altered, NewWorkitem, Subscription, Workitem};
use pericard_store::{Store, StoreError};
use serde_json::json;

fn uid(n: u32) -> InstanceUid {
    InstanceUid::new(format!("1.2.77.{n}")).expect("a UID")
}

pub(crate) async fn created(
    store: &Store,
    n: u32,
    study: Option<u32>,
    subscribers: &[&str],
) -> Workitem {
    let new = NewWorkitem {
        uid: uid(n),
        study: study.map(study_uid),
        dataset: json!({"00741000": {"vr": "CS", "Value": ["SCHEDULED"]}}),
        subscribers: subscribers
            .iter()
            .map(|t| ((*t).to_owned(), false))
            .collect(),
    };
    store
        .create_workitem(new, Vec::new(), peer())
        .await
        .expect("created");
    store.workitem(&uid(n)).await.expect("kept")
}

pub(crate) fn altered(workitem: &Workitem, state: WorkitemState) -> Altered {
    let workitem = Workitem {
        state,
        transaction: Some("1.2.9".into()),
        ..workitem.clone()
    };
    Altered {
        told: vec![workitem.state_report()],
        workitem,
        verb: "change workitem state",
    }
}

#[tokio::test]
async fn a_change_is_made_on_the_latest_view_only() {
    let site = Site::new();
    let store = site.open();
    let item = created(&store, 1, None, &[]).await;
    let twice = NewWorkitem {
        uid: uid(1),
        study: None,
        dataset: json!({}),
        subscribers: Vec::new(),
    };
    let again = store.create_workitem(twice, Vec::new(), peer()).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
    let claim = altered(&item, WorkitemState::InProgress);
    store
        .alter_workitem(claim.clone(), peer())
        .await
        .expect("claimed");
    let late = store.alter_workitem(claim, peer()).await;
    assert!(matches!(late, Err(StoreError::Conflict(_))), "{late:?}");
    // It outlives the process.
    drop(store);
    let store = site.open();
    let item = store.workitem(&uid(1)).await.expect("kept");
    assert_eq!((item.state, item.version), (WorkitemState::InProgress, 2));
    assert_eq!(item.transaction.as_deref(), Some("1.2.9"));
    let none = store.workitem(&uid(2)).await;
    assert!(matches!(none, Err(StoreError::NotFound(_))));
    store.verify_audit().await.expect("a whole log");
}

#[tokio::test]
async fn subscribers_are_told_once_and_nobody_else() {
    let site = Site::new();
    let store = site.open();
    let item = created(&store, 1, None, &["RIS"]).await;
    let new = Subscription {
        ae_title: "VIEWER".into(),
        workitem: uid(1),
        deletion_lock: true,
        filter: None,
    };
    let told = vec![item.state_report().to("VIEWER")];
    store
        .subscribe(new, Vec::new(), told, peer())
        .await
        .expect("subscribed");
    let claim = altered(&item, WorkitemState::InProgress);
    store.alter_workitem(claim, peer()).await.expect("claimed");
    let states = async |title: &str| -> Vec<String> {
        let notices = store.notices(title).await.expect("notices");
        let state = |n: &pericard_store::workitem::Notice| {
            n.report["00741000"]["Value"][0]
                .as_str()
                .expect("a state")
                .to_owned()
        };
        notices.iter().map(state).collect()
    };
    assert_eq!(states("RIS").await, ["IN PROGRESS"]);
    assert_eq!(states("VIEWER").await, ["SCHEDULED", "IN PROGRESS"]);
    assert!(states("OTHER").await.is_empty());
    let last = store.notices("VIEWER").await.expect("notices")[0].place;
    store.notices_told("VIEWER", last).await.expect("told");
    assert_eq!(states("VIEWER").await, ["IN PROGRESS"]);
    store
        .unsubscribe("RIS", &uid(1), false, peer())
        .await
        .expect("given up");
    let again = store.unsubscribe("RIS", &uid(1), false, peer()).await;
    assert!(matches!(again, Err(StoreError::NotFound(_))));
}

#[tokio::test]
async fn what_has_ended_goes_unless_somebody_locked_it() {
    let site = Site::new();
    let store = site.open();
    for n in 1..=3 {
        let item = created(&store, n, None, &[]).await;
        if n < 3 {
            let ended = altered(&item, WorkitemState::Completed);
            store.alter_workitem(ended, peer()).await.expect("ended");
        }
    }
    let lock = Subscription {
        ae_title: "RIS".into(),
        workitem: uid(1),
        deletion_lock: true,
        filter: None,
    };
    store
        .subscribe(lock, Vec::new(), Vec::new(), peer())
        .await
        .expect("locked");
    assert_eq!(store.expire_workitems(at(0)).await.expect("none yet"), 0);
    assert_eq!(store.expire_workitems(at(1000)).await.expect("one"), 1);
    let left: Vec<_> = store.workitems(None, 10).await.expect("a list");
    let left: Vec<_> = left.into_iter().map(|item| item.uid).collect();
    assert_eq!(left, [uid(3), uid(1)]);
}

#[tokio::test]
async fn an_order_is_planned_once_its_study_is_complete() {
    let site = Site::new();
    let store = site.open();
    let item = created(&store, 1, Some(1), &[]).await;
    let mut urgent = planned("bones");
    urgent.priority = Priority::Stat;
    let claim = altered(&item, WorkitemState::InProgress);
    let none = store
        .plan_order(claim.clone(), one(urgent.clone()), Actor::room("jobs"))
        .await;
    assert_eq!(none.expect("no study yet"), None);
    assert_eq!(store.workitem(&uid(1)).await.expect("kept").version, 1);
    admit(&store, 1, 1).await;
    site.clock.set(at(60));
    let assembly = lease(&store).await;
    store
        .complete_study(&assembly, vec![planned("bones")])
        .await
        .expect("complete");
    let job = store
        .plan_order(claim, one(urgent), Actor::room("jobs"))
        .await
        .expect("planned");
    let jobs = job.expect("a job");
    let kept = store.job(jobs[0]).await.expect("the job");
    assert_eq!(
        kept.priority,
        Priority::Stat,
        "it hurries what was planned already"
    );
    assert!(matches!(kept.state, JobState::Waiting { .. }));
    assert_eq!(
        store.jobs(Default::default()).await.expect("jobs").len(),
        2,
        "not doubled"
    );
    let order = &store.open_orders(10).await.expect("orders")[0];
    assert_eq!((order.jobs.len(), &order.jobs), (1, &jobs));
}

fn one(planned: PlannedInference) -> Ordered {
    Ordered {
        planned: vec![planned],
        ..Ordered::default()
    }
}

/// Of two models that an order asks for, the one that is done already does not run again; the other waits for the earlier
/// studies that its rule asks for.
#[tokio::test]
async fn an_order_of_several_models_plans_each_of_them_after_the_earlier_studies() {
    let site = Site::new();
    let store = site.open();
    let done = inference(&site, &store, 1, &["bones"]).await;
    let results = conclusion(&store, &done, (1, 9)).await;
    store.conclude(&done, results).await.expect("concluded");
    let item = created(&store, 1, Some(1), &[]).await;
    let priors: Priors =
        serde_json::from_value(json!({"from": "archive", "wait_max_s": 60})).expect("terms");
    let ordered = Ordered {
        planned: vec![planned("bones"), planned("lungs"), planned("heart")],
        priors: vec![priors],
    };
    let claim = altered(&item, WorkitemState::InProgress);
    let jobs = store
        .plan_order(claim, ordered.clone(), Actor::room("jobs"))
        .await;
    let jobs = jobs.expect("planned").expect("its study is complete");
    let mut names = Vec::new();
    for id in &jobs {
        let job = store.job(*id).await.expect("a job");
        let Work::Infer { model, .. } = job.work else {
            panic!("no inference");
        };
        names.push((model.name, job.state));
    }
    let waits = JobState::Waiting { due_at: at(70) };
    assert_eq!(
        names,
        [
            ("bones".to_owned(), JobState::Done),
            ("lungs".to_owned(), waits.clone()),
            ("heart".to_owned(), waits)
        ]
    );
    assert_eq!(jobs[0], done.job.id);
    // It outlives the process, in the same order.
    drop(store);
    let store = site.open();
    let order = store.workitem(&uid(1)).await.expect("kept");
    assert_eq!(order.jobs, jobs);
    let verbs = AuditQuery {
        verb: Some("change workitem state".into()),
        ..AuditQuery::default()
    };
    let line = &store.audit(verbs).await.expect("the log")[0];
    let planned: Vec<_> = line.detail["planned"]
        .as_array()
        .expect("a list")
        .iter()
        .collect();
    assert_eq!(planned.len(), 2, "{}", line.detail);
    assert_eq!(
        (&planned[0]["model"], &planned[1]["model"]),
        (&json!("lungs 1.0.0"), &json!("heart 1.0.0"))
    );
    assert_eq!(line.detail["priors"][0]["from"], "archive");

    // The peer has answered; whoever orders the same again does not wait for it.
    let prior = store
        .lease_prior_order("archive", LEASE)
        .await
        .expect("leased");
    let prior = prior.expect("it was ordered");
    store
        .prior_order_ended(&prior, PriorOutcome::default())
        .await
        .expect("ended");
    let item = created(&store, 2, Some(1), &[]).await;
    let claim = altered(&item, WorkitemState::InProgress);
    let more = Ordered {
        planned: vec![site::planned("liver")],
        ..ordered
    };
    let jobs = store.plan_order(claim, more, Actor::room("jobs")).await;
    let jobs = jobs.expect("planned").expect("its study is complete");
    let liver = store.job(jobs[0]).await.expect("a job");
    assert_eq!(liver.state, JobState::Waiting { due_at: at(10) });
    store.verify_audit().await.expect("a whole log");
}

/// What an open order names as its inputs is counted like what a source has; an order that has ended counts nothing.
#[tokio::test]
async fn the_inputs_of_an_open_order_are_counts_of_its_study() {
    let site = Site::new();
    let store = site.open();
    admit(&store, 1, 1).await;
    let object = |n: u32| json!({"00081155": {"vr": "UI", "Value": [instance_uid(1, n).as_str()]}});
    let series = site::identity(1, 1).series;
    let new = NewWorkitem {
        uid: uid(1),
        study: Some(study_uid(1)),
        dataset: json!({"00404021": {"vr": "SQ", "Value": [{
            "0020000D": {"vr": "UI", "Value": [study_uid(1).as_str()]},
            "0020000E": {"vr": "UI", "Value": [series.as_str()]},
            "00081199": {"vr": "SQ", "Value": [object(1), object(2)]},
        }]}}),
        subscribers: Vec::new(),
    };
    store
        .create_workitem(new, Vec::new(), peer())
        .await
        .expect("created");
    // One that names no objects says nothing of how many there are.
    created(&store, 2, Some(1), &[]).await;
    let counts = async || {
        let standing = store.standing(&study_uid(1)).await.expect("read");
        standing.expect("it is here").counts
    };
    let expected = (
        "workitem 1.2.77.1".to_owned(),
        [(series.to_string(), 2)].into(),
    );
    assert_eq!(counts().await, [expected].into());
    let item = store.workitem(&uid(1)).await.expect("kept");
    let ended = altered(&item, WorkitemState::Canceled);
    store.alter_workitem(ended, peer()).await.expect("ended");
    assert!(counts().await.is_empty());
}
