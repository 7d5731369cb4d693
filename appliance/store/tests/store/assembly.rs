//! Studies become complete, and objects that come meanwhile are not forgotten.

use crate::site::{self, Site, TERMS, admit, at, lease, offer, peer, planned, study_uid};
use pericard_domain::actor::Actor;
use pericard_domain::job::{Failure, FailureClass, JobState, Priority, Work};
use pericard_domain::rule::{Priors, ResultKind, ResultTerms};
use pericard_domain::study::StudyState;
use pericard_store::admission::Admission;
use pericard_store::audit_log::AuditQuery;
use pericard_store::queue::{Completion, JobQuery};
use pericard_store::{Store, StoreError};
use serde_json::json;

async fn numbers(store: &Store, revision: u32) -> Vec<String> {
    let held = store.instances_of(&study_uid(1), revision).await;
    let held = held.expect("the revision");
    let number = |i: &pericard_domain::study::Instance| i.facts.instance_number.clone();
    held.iter().filter_map(number).collect()
}

#[tokio::test]
async fn a_revision_is_a_fixed_set_and_a_late_object_makes_the_next() {
    let site = Site::new();
    let store = site.open();
    admit(&store, 1, 1).await;
    admit(&store, 1, 2).await;
    assert_eq!(store.lease(TERMS).await, Ok(None), "not due yet");
    site.clock.set(at(10));
    let assembly = lease(&store).await;
    assert_eq!(
        assembly.job.work,
        Work::Assemble {
            study: study_uid(1)
        }
    );
    assert_eq!(
        store.complete_study(&assembly, vec![planned("m")]).await,
        Ok(1)
    );
    let study = store.study(&study_uid(1)).await.expect("the study");
    assert_eq!((study.state, study.revision), (StudyState::Complete, 1));

    let again = offer(&store, 1, 2, b"other bytes").await;
    let outcome = store.admit(again, peer()).await;
    assert_eq!(outcome, Ok(Admission::Revised { revision: 2 }));
    admit(&store, 1, 3).await;
    let study = store.study(&study_uid(1)).await.expect("the study");
    assert_eq!(study.state, StudyState::Arriving);
    let infer = lease(&store).await; // the assembly of before is older, but the inference is due earlier
    let assembly = match infer.job.work {
        Work::Assemble { .. } => infer,
        Work::Infer { .. } => lease(&store).await,
    };
    assert_eq!(
        store.complete_study(&assembly, vec![planned("m")]).await,
        Ok(2)
    );
    assert_eq!(numbers(&store, 1).await, ["1", "2"]);
    assert_eq!(numbers(&store, 2).await, ["1", "2", "3"]);
    let of_first = store
        .instances_of(&study_uid(1), 1)
        .await
        .expect("revision 1");
    let revisions: Vec<_> = of_first.iter().map(|i| i.revision).collect();
    assert_eq!(
        revisions,
        [1, 1],
        "the first revision of the study holds the first bytes for ever"
    );
    let of_second = store
        .instances_of(&study_uid(1), 2)
        .await
        .expect("revision 2");
    let revisions: Vec<_> = of_second.iter().map(|i| i.revision).collect();
    assert_eq!(revisions, [1, 2, 1]);
    assert_eq!(
        numbers(&store, 3).await,
        ["1", "2", "3"],
        "nothing left since"
    );
}

#[tokio::test]
async fn an_object_that_comes_while_the_assembly_is_in_hand_waits_for_another() {
    let site = Site::new();
    let store = site.open();
    admit(&store, 1, 1).await;
    site.clock.set(at(10));
    let assembly = lease(&store).await;
    // The assembly has looked and seen one object; now a second comes.
    let mut late = offer(&store, 1, 2, b"late").await;
    late.assemble_at = at(30);
    late.priority = Priority::Stat;
    store.admit(late, peer()).await.expect("admitted");
    assert_eq!(
        store.lease(TERMS).await,
        Ok(None),
        "one assembly a study at a time"
    );
    assert_eq!(
        store.complete_study(&assembly, vec![planned("m")]).await,
        Ok(1)
    );
    let study = store.study(&study_uid(1)).await.expect("the study");
    assert_eq!(
        study.state,
        StudyState::Arriving,
        "another assembly is to come"
    );

    site.clock.set(at(30));
    let next = lease(&store).await;
    assert_eq!(next.job.work.kind(), "assemble");
    assert_eq!(next.job.priority, Priority::Stat);
    // The object joined revision 1 already: no further revision, and the model is not planned twice.
    let plans = vec![planned("m"), planned("n")];
    assert_eq!(store.complete_study(&next, plans).await, Ok(1));
    assert_eq!(numbers(&store, 1).await, ["1", "2"]);
    let jobs = store.jobs(JobQuery::default()).await.expect("jobs");
    let inferences = jobs.iter().filter(|j| j.work.kind() == "infer").count();
    assert_eq!(inferences, 2, "m and n, once each");
    let study = store.study(&study_uid(1)).await.expect("the study");
    assert_eq!(study.state, StudyState::Complete);
}

#[tokio::test]
async fn an_object_is_not_forgotten_however_the_assembly_in_hand_ends() {
    let transient = Failure {
        class: FailureClass::Internal,
        reason: "x".into(),
    };
    let permanent = Failure {
        class: FailureClass::UnsuitableInput,
        reason: "x".into(),
    };
    for ending in [
        "postponed",
        "failed for now",
        "failed for good",
        "lapsed",
        "the server died",
    ] {
        let site = Site::new();
        let mut store = site.open();
        admit(&store, 1, 1).await;
        site.clock.set(at(10));
        let assembly = lease(&store).await;
        let mut late = offer(&store, 1, 2, b"late").await;
        late.assemble_at = at(40);
        store.admit(late, peer()).await.expect("admitted");
        let ended = match ending {
            "postponed" => store.postpone(&assembly, at(20)).await,
            "failed for now" => store.fail(&assembly, transient.clone(), Some(at(20))).await,
            "failed for good" => store.fail(&assembly, permanent.clone(), None).await,
            "the server died" => {
                drop(store);
                store = site.open();
                Ok(())
            }
            _ => Ok(()),
        };
        assert_eq!(ended, Ok(()), "{ending}");
        site.clock.set(at(200));
        let next = lease(&store).await;
        assert_eq!(next.job.work.kind(), "assemble", "{ending}");
        assert_eq!(
            store.complete_study(&next, Vec::new()).await,
            Ok(1),
            "{ending}"
        );
        assert_eq!(numbers(&store, 1).await, ["1", "2"], "{ending}");
        assert_eq!(store.lease(TERMS).await, Ok(None), "{ending}");
    }
}

#[tokio::test]
async fn two_rules_that_ask_for_one_model_share_its_inference() {
    let site = Site::new();
    let store = site.open();
    admit(&store, 1, 1).await;
    site.clock.set(at(10));
    let assembly = lease(&store).await;
    let mut urgent = planned("m");
    urgent.priority = Priority::Stat;
    urgent.destinations = vec!["archive".into()];
    store
        .complete_study(&assembly, vec![planned("m"), urgent])
        .await
        .expect("completed");
    let job = lease(&store).await;
    assert_eq!(job.job.priority, Priority::Stat);
    let results = site::conclusion(&store, &job, (1, 9)).await;
    store.conclude(&job, results).await.expect("concluded");
    let mail = store.deliveries(None, 0).await.expect("mail");
    let mut destinations: Vec<_> = mail.iter().map(|d| d.destination.as_str()).collect();
    destinations.sort_unstable();
    assert_eq!(destinations, ["archive", "pacs"]);
    assert_eq!(store.lease(TERMS).await, Ok(None));
}

#[tokio::test]
async fn only_an_assembly_completes_a_study_and_only_once() {
    let site = Site::new();
    let store = site.open();
    let infer = site::inference(&site, &store, 1, &["m"]).await;
    let refused = store.complete_study(&infer, Vec::new()).await;
    assert!(
        matches!(refused, Err(StoreError::Conflict(_))),
        "{refused:?}"
    );
    admit(&store, 2, 1).await;
    let assembly = lease(&store).await;
    assert_eq!(store.complete_study(&assembly, Vec::new()).await, Ok(1));
    let twice = store.complete_study(&assembly, Vec::new()).await;
    assert_eq!(twice, Err(StoreError::LeaseLapsed));
    assert_eq!(
        store.job(assembly.job.id).await.expect("the job").state,
        JobState::Done
    );
}

#[tokio::test]
async fn what_could_not_be_planned_fails_the_assembly_and_a_retry_adds_it() {
    let site = Site::new();
    let store = site.open();
    admit(&store, 1, 1).await;
    site.clock.set(at(10));
    let assembly = lease(&store).await;
    let failure = Failure {
        class: FailureClass::ModelUnavailable,
        reason: "no version of it is live".into(),
    };
    let completion = Completion {
        planned: vec![planned("live")],
        lacks: Some(failure.clone()),
        ..Completion::default()
    };
    let complete = store.complete_study(&assembly, completion).await;
    assert_eq!(complete, Ok(1));
    let job = store.job(assembly.job.id).await.expect("the assembly");
    assert_eq!(job.state, JobState::Failed { failure });
    assert_eq!(
        site::verbs(&store).await.last_chunk(),
        Some(&["complete study".to_owned(), "fail job".to_owned()])
    );
    let first = lease(&store).await;
    assert!(
        matches!(&first.job.work, Work::Infer { model, .. } if model.name == "live"),
        "what is live runs: {first:?}"
    );

    let retried = store.retry_job(assembly.job.id, Actor::CommandLine).await;
    retried.expect("retried");
    let assembly = lease(&store).await;
    let plans = vec![planned("live"), planned("late")];
    let complete = store.complete_study(&assembly, plans).await;
    assert_eq!(complete, Ok(1), "no new revision");
    let second = lease(&store).await;
    assert!(
        matches!(&second.job.work, Work::Infer { model, .. } if model.name == "late"),
        "what was missing runs too: {second:?}"
    );
    assert_eq!(store.lease(TERMS).await, Ok(None), "and nothing twice");
}

/// What was decided can be read off the one line: which rules, which models, how urgently, for whom, as what, after what.
#[tokio::test]
async fn the_line_of_a_complete_study_has_the_whole_decision() {
    let site = Site::new();
    let store = site.open();
    admit(&store, 1, 1).await;
    site.clock.set(at(10));
    let assembly = lease(&store).await;
    let mut urgent = planned("bones");
    urgent.rule = "every CT, heads".into();
    urgent.priority = Priority::Stat;
    urgent.destinations = vec!["pacs".into(), "archive".into()];
    urgent.messages = vec!["ris".into()];
    urgent.terms = ResultTerms {
        results: vec![ResultKind::Sr, ResultKind::Sc],
        report_failures: true,
    };
    let asked = json!({"from": "archive", "studies_max": 3, "wait_max_s": 60});
    let priors: Priors = serde_json::from_value(asked).expect("terms");
    let completion = Completion {
        planned: vec![urgent, planned("lungs")],
        priors: vec![priors],
        ..Completion::default()
    };
    let complete = store.complete_study(&assembly, completion).await;
    assert_eq!(complete, Ok(1));
    let asked = AuditQuery {
        verb: Some("complete study".into()),
        ..AuditQuery::default()
    };
    let lines = store.audit(asked).await.expect("the log");
    assert_eq!(lines.len(), 1);
    let detail = &lines[0].detail;
    let bones = json!({
        "model": "bones 1.0.0",
        "rule": "every CT, heads",
        "priority": "stat",
        "destinations": ["pacs", "archive"],
        "messages": ["ris"],
        "results": ["sr", "sc"],
        "report_failures": true,
    });
    let lungs = json!({
        "model": "lungs 1.0.0",
        "rule": "every CT",
        "priority": "routine",
        "destinations": ["pacs"],
        "messages": [],
        "results": ["sr", "seg"],
        "report_failures": false,
    });
    assert_eq!(detail["planned"], json!([bones, lungs]));
    let priors = json!([{
        "from": "archive", "modalities": [], "age_max_days": 1825, "studies_max": 3, "objects_max": 2000,
        "size_max_mib": 2048, "wait_max_s": 60,
    }]);
    assert_eq!(detail["priors"], priors);
    assert_eq!(detail["waits_for_priors_until"], at(70).rfc3339());
}
