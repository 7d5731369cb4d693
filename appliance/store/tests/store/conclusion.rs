//! Results are kept once, in the right study, and posted.

use crate::site::{
    self, LEASE, Site, TERMS, admit, at, conclusion, inference, lease, planned, study_uid,
};
use pericard_domain::job::{Failure, FailureClass, JobState};
use pericard_domain::study::StudyState;
use pericard_store::StoreError;
use pericard_store::admission::Admission;
use pericard_store::audit_log::AuditQuery;
use serde_json::json;

#[tokio::test]
async fn a_conclusion_is_kept_posted_and_starts_nothing() {
    let site = Site::new();
    let store = site.open();
    let job = inference(&site, &store, 1, &["m"]).await;
    let results = conclusion(&store, &job, (1, 9)).await;
    let expected = results.report.clone();
    store.concluded(&job, results).await;
    assert_eq!(
        store.job(job.job.id).await.expect("the job").state,
        JobState::Done
    );
    let kept = store.reports(&study_uid(1)).await.expect("reports");
    assert_eq!(kept.len(), 1);
    assert_eq!((&kept[0].report, kept[0].superseded), (&expected, false));
    assert_eq!(kept[0].objects, [site::instance_uid(1, 9)]);
    let result = store
        .instance(&site::instance_uid(1, 9))
        .await
        .expect("the result");
    assert!(result.is_result);
    let file = std::fs::read(store.object_path(&result)).expect("the file");
    assert_eq!(file, b"result 9 of study 1");
    let study = store.study(&study_uid(1)).await.expect("the study");
    assert_eq!((study.instances, study.results), (1, 1));
    assert_eq!(
        study.state,
        StudyState::Complete,
        "a result completes nothing anew"
    );
    assert_eq!(
        store
            .instances_of(&study_uid(1), 1)
            .await
            .expect("revision")
            .len(),
        1
    );
    assert_eq!(store.lease(TERMS).await, Ok(None));
    let mail = store
        .deliveries(Some(&study_uid(1)), 0)
        .await
        .expect("mail");
    assert_eq!(mail.len(), 1);
    assert_eq!(
        (mail[0].destination.as_str(), mail[0].state.as_str()),
        ("pacs", "waiting")
    );
}

#[tokio::test]
async fn concluded_twice_is_concluded_once() {
    let site = Site::new();
    let store = site.open();
    let job = inference(&site, &store, 1, &["m"]).await;
    let first = conclusion(&store, &job, (1, 9)).await;
    let second = conclusion(&store, &job, (1, 10)).await;
    let third = conclusion(&store, &job, (1, 11)).await;
    // Two at once, and one after: whichever is first stands.
    let (a, b) = tokio::join!(store.conclude(&job, first), store.conclude(&job, second));
    assert_eq!((a, b), (Ok(()), Ok(())));
    assert_eq!(store.conclude(&job, third).await, Ok(()));
    assert_eq!(
        store.reports(&study_uid(1)).await.expect("reports").len(),
        1
    );
    assert_eq!(
        store.study(&study_uid(1)).await.expect("the study").results,
        1
    );
    assert_eq!(store.deliveries(None, 0).await.expect("mail").len(), 1);
    let concluded = site::verbs(&store)
        .await
        .into_iter()
        .filter(|v| v == "conclude job");
    assert_eq!(concluded.count(), 1);
}

#[tokio::test]
async fn who_lost_the_lease_concludes_nothing() {
    let site = Site::new();
    let store = site.open();
    let slow = inference(&site, &store, 1, &["m"]).await;
    site.clock.advance(LEASE);
    let quick = lease(&store).await;
    let late = conclusion(&store, &slow, (1, 9)).await;
    assert_eq!(
        store.conclude(&slow, late).await,
        Err(StoreError::LeaseLapsed)
    );
    assert_eq!(site.files().len(), 1, "and leaves no file");
    let results = conclusion(&store, &quick, (1, 10)).await;
    store.concluded(&quick, results).await;
    let later_still = conclusion(&store, &slow, (1, 11)).await;
    assert_eq!(
        store.conclude(&slow, later_still).await,
        Ok(()),
        "it is concluded"
    );
    let kept = store.reports(&study_uid(1)).await.expect("reports");
    assert_eq!(kept[0].objects, [site::instance_uid(1, 10)]);
}

#[tokio::test]
async fn a_result_never_reaches_another_study() {
    let site = Site::new();
    let store = site.open();
    let job = inference(&site, &store, 1, &["m"]).await;
    let mut stray = conclusion(&store, &job, (1, 9)).await;
    stray.objects[0].identity.study = study_uid(2);
    let mut wrong_report = conclusion(&store, &job, (1, 9)).await;
    wrong_report.report.study = study_uid(2);
    let mut wrong_revision = conclusion(&store, &job, (1, 9)).await;
    wrong_revision.report.revision = 2;
    for wrong in [stray, wrong_report, wrong_revision] {
        let refused = store.conclude(&job, wrong).await;
        assert!(
            matches!(refused, Err(StoreError::Conflict(_))),
            "{refused:?}"
        );
    }
    assert_eq!(
        store.study(&study_uid(1)).await.expect("the study").results,
        0
    );
}

#[tokio::test]
async fn a_later_revision_supersedes_the_reports_of_the_same_model() {
    let site = Site::new();
    let store = site.open();
    let first = inference(&site, &store, 1, &["m"]).await;
    admit(&store, 1, 2).await;
    let assembly = lease(&store).await;
    let plans = vec![planned("m"), planned("other")];
    assert_eq!(store.complete_study(&assembly, plans).await, Ok(2));
    let second = lease(&store).await;
    let other = lease(&store).await;
    // The report of the older revision arrives last, and is superseded all the same.
    for (job, n) in [(&other, 9), (&second, 10), (&first, 11)] {
        let results = conclusion(&store, job, (1, n)).await;
        store.concluded(job, results).await;
    }
    let kept = store.reports(&study_uid(1)).await.expect("reports");
    let seen: Vec<_> = kept
        .iter()
        .map(|k| {
            (
                k.report.model.name.as_str(),
                k.report.revision,
                k.superseded,
            )
        })
        .collect();
    assert_eq!(seen, [("m", 2, false), ("m", 1, true), ("other", 2, false)]);
}

#[tokio::test]
async fn our_own_result_sent_back_starts_no_loop() {
    let site = Site::new();
    let store = site.open();
    let job = inference(&site, &store, 1, &["m"]).await;
    let results = conclusion(&store, &job, (1, 9)).await;
    store.concluded(&job, results).await;
    let same = site::offer(&store, 1, 9, b"result 9 of study 1").await;
    assert_eq!(
        store.admit(same, site::peer()).await,
        Ok(Admission::AlreadyHeld)
    );
    let coerced = site::offer(&store, 1, 9, b"result 9, coerced by a PACS").await;
    let outcome = store.admit(coerced, site::peer()).await;
    assert_eq!(outcome, Ok(Admission::Revised { revision: 2 }));
    site.clock.set(at(1000));
    assert_eq!(store.lease(TERMS).await, Ok(None), "no assembly");
    let study = store.study(&study_uid(1)).await.expect("the study");
    assert_eq!(
        (study.state, study.instances, study.results),
        (StudyState::Complete, 1, 1)
    );
}

/// The object that says so is kept, posted and in the line, and the job is failed, in one commit; once, and by whoever has
/// the lease.
#[tokio::test]
async fn a_rejection_is_kept_and_posted_and_fails_its_job() {
    let site = Site::new();
    let store = site.open();
    let job = inference(&site, &store, 1, &["m"]).await;
    let failure = || Failure {
        class: FailureClass::UnsuitableInput,
        reason: "a slice is missing".into(),
    };
    let objects = async |n: u32| conclusion(&store, &job, (1, n)).await.objects;
    let mut stray = objects(8).await;
    stray[0].identity.study = study_uid(2);
    let refused = store.reject(&job, failure(), stray).await;
    assert!(
        matches!(refused, Err(StoreError::Conflict(_))),
        "{refused:?}"
    );
    assert_eq!(site.files().len(), 1, "and leaves no file");

    let told = objects(9).await;
    store.reject(&job, failure(), told).await.expect("rejected");
    let ended = store.job(job.job.id).await.expect("the job");
    assert_eq!(ended.state, JobState::Failed { failure: failure() });
    let kept = store
        .instance(&site::instance_uid(1, 9))
        .await
        .expect("the object");
    assert!(kept.is_result);
    let file = std::fs::read(store.object_path(&kept)).expect("the file");
    assert_eq!(file, b"result 9 of study 1");
    let reports = store.reports(&study_uid(1)).await.expect("reports");
    assert!(
        reports.is_empty(),
        "nothing was found, and nothing not found"
    );
    let mail = store
        .deliveries(Some(&study_uid(1)), 0)
        .await
        .expect("mail");
    let mail: Vec<_> = mail
        .iter()
        .map(|d| (&*d.destination, &*d.state, &d.instance))
        .collect();
    assert_eq!(mail, [("pacs", "waiting", &site::instance_uid(1, 9))]);
    let asked = AuditQuery {
        verb: Some("fail job".into()),
        ..AuditQuery::default()
    };
    let lines = store.audit(asked).await.expect("the log");
    assert_eq!(lines.len(), 1);
    let detail = &lines[0].detail;
    assert_eq!(
        (
            &detail["class"],
            &detail["reason"],
            &detail["objects"][0]["instance"]
        ),
        (
            &json!("unsuitable_input"),
            &json!("a slice is missing"),
            &json!(site::instance_uid(1, 9))
        )
    );
    let study = store.study(&study_uid(1)).await.expect("the study");
    assert_eq!((study.state, study.results), (StudyState::Complete, 1));

    let again = objects(10).await;
    let late = store.reject(&job, failure(), again).await;
    assert_eq!(late, Err(StoreError::LeaseLapsed));
    assert_eq!(store.lease(TERMS).await, Ok(None), "it is not tried again");
    store.verify_audit().await.expect("a whole log");
}

/// Shorthand: concludes, and that must succeed.
trait Concluded {
    async fn concluded(
        &self,
        job: &pericard_store::queue::LeasedJob,
        results: pericard_store::queue::Conclusion,
    );
}

impl Concluded for pericard_store::Store {
    async fn concluded(
        &self,
        job: &pericard_store::queue::LeasedJob,
        results: pericard_store::queue::Conclusion,
    ) {
        self.conclude(job, results).await.expect("concluded");
    }
}
