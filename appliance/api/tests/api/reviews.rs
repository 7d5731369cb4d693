//! What clinicians say of results.

use crate::console::Visitor;
use crate::site::{Site, object};
use axum::body::Body;
use http::{Request, header};
use pericard_domain::actor::Role;
use pericard_domain::digest::Digest;
use pericard_domain::finding::{Finding, Report};
use pericard_domain::job::Priority;
use pericard_domain::model::ModelRef;
use pericard_domain::rule::ResultTerms;
use pericard_domain::time::Clock as _;
use pericard_store::queue::{Conclusion, LeaseTerms, PlannedInference};
use serde_json::{Value, json};
use std::time::Duration;

const TERMS: LeaseTerms = LeaseTerms {
    lease: Duration::from_secs(60),
    attempts_max: 3,
};
const STUDY: &str = "1.2.3.1";

/// A study with one result, and the job that gave it.
async fn with_result() -> (Site, u64) {
    with_findings(Vec::new()).await
}

/// The same, of these findings.
pub(crate) async fn with_findings(findings: Vec<Finding>) -> (Site, u64) {
    with_findings_for(findings, Vec::new()).await
}

/// The same, and told by message to these peers.
pub(crate) async fn with_findings_for(
    findings: Vec<Finding>,
    messages: Vec<String>,
) -> (Site, u64) {
    let site = Site::new();
    let told = (findings, messages);
    let job = find_and_tell(&site, (STUDY, object(1, 1, 1, 10)), told).await;
    (site, job)
}

/// A study of one object in which these are found; the job that found them.
pub(crate) async fn find_in(
    site: &Site,
    (study, object): (&str, Vec<u8>),
    findings: Vec<Finding>,
) -> u64 {
    find_and_tell(site, (study, object), (findings, Vec::new())).await
}

async fn find_and_tell(
    site: &Site,
    (study, object): (&str, Vec<u8>),
    (findings, messages): (Vec<Finding>, Vec<String>),
) -> u64 {
    let request =
        Request::post("/api/v1/studies").header(header::CONTENT_TYPE, "application/dicom");
    let answer = site.call(request, object).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    site.clock
        .set(site.clock.now().after(Duration::from_secs(61)));
    let lease = || async { site.store.lease(TERMS).await.expect("leased").expect("due") };
    let model = ModelRef {
        name: "chest".into(),
        version: "1.0.0".into(),
        digest: Digest::new([7; 32]),
    };
    let planned = PlannedInference {
        model: model.clone(),
        rule: "every CT".into(),
        priority: Priority::Routine,
        destinations: Vec::new(),
        messages,
        terms: ResultTerms::ordered(),
    };
    let assembly = lease().await;
    let completed = site.store.complete_study(&assembly, vec![planned]);
    let revision = completed.await.expect("complete");
    let job = lease().await;
    let report = Report {
        study: study.parse().expect("a UID"),
        revision,
        model,
        clinical_use: false,
        evidence: Vec::new(),
        findings,
        device: "cpu".into(),
        at: site.clock.now(),
    };
    let objects = Vec::new();
    let concluded = site.store.conclude(&job, Conclusion { report, objects });
    concluded.await.expect("concluded");
    let job = serde_json::to_value(job.job.id).expect("a number");
    job.as_u64().expect("a number")
}

async fn counts(site: &Site) -> Value {
    let all = site.get("/api/v1/models/concordance").await.json();
    all["concordance"][0].clone()
}

#[tokio::test]
async fn a_program_says_whether_a_result_is_right_and_it_is_counted() {
    let (site, job) = with_result().await;
    let path = format!("/api/v1/studies/{STUDY}/reviews");
    let counted = counts(&site).await;
    assert_eq!(
        (&counted["unreviewed"], &counted["agreement"]),
        (&json!(1), &Value::Null)
    );
    for verdict in ["agreed", "agreed", "disagreed"] {
        // Each call has a token of its own, and so is another reviewer: the latest stands first.
        site.clock
            .set(site.clock.now().after(Duration::from_secs(1)));
        let body = json!({"job": job, "verdict": verdict});
        let answer = site.post_json(&path, &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let results = site
            .get(&format!("/api/v1/studies/{STUDY}/results"))
            .await
            .json();
        let review = &results["reports"][0]["reviews"][0];
        assert_eq!(review["verdict"], verdict);
        assert_eq!(results["reports"][0]["verification"], "UNVERIFIED");
    }
    let counted = counts(&site).await;
    assert_eq!(
        (&counted["disagreed"], &counted["unreviewed"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(counted["model"]["name"], "chest");
    for (path, body, status) in [
        (
            path.as_str(),
            json!({"job": job, "verdict": "DOE^JANE"}),
            400,
        ),
        (
            path.as_str(),
            json!({"job": job, "verdict": "agreed", "by": "DOE"}),
            400,
        ),
        (
            path.as_str(),
            json!({"job": job + 1, "verdict": "agreed"}),
            404,
        ),
        (
            "/api/v1/studies/1.2.9/reviews",
            json!({"job": job, "verdict": "agreed"}),
            404,
        ),
    ] {
        let answer = site.post_json(path, &body).await;
        assert_eq!(answer.status, status, "{body}");
        assert!(!answer.text().contains("DOE"), "{}", answer.text());
    }
}

#[tokio::test]
async fn only_clinicians_judge_and_security_does_not_count_them() {
    let (site, job) = with_result().await;
    let roles: Vec<Role> = Role::ALL
        .into_iter()
        .filter(|r| *r != Role::Clinician)
        .collect();
    let secret = site.token(&roles).await;
    let request = Request::post(format!("/api/v1/studies/{STUDY}/reviews"))
        .header(header::AUTHORIZATION, format!("Bearer {secret}"))
        .header(header::CONTENT_TYPE, "application/json");
    let body = json!({"job": job, "verdict": "agreed"}).to_string();
    let answer = site
        .send(request.body(body.into()).expect("a request"))
        .await;
    assert_eq!(answer.status, 403);
    let secret = site.token(&[Role::SecurityAdmin, Role::Modality]).await;
    let request = Request::get("/api/v1/models/concordance")
        .header(header::AUTHORIZATION, format!("Bearer {secret}"));
    let answer = site
        .send(request.body(Body::empty()).expect("a request"))
        .await;
    assert_eq!(answer.status, 403);
}

#[tokio::test]
async fn a_person_says_it_with_a_button() {
    let (site, job) = with_result().await;
    let visitor = Visitor::of(&site.router(), &site.token(&[Role::Clinician]).await).await;
    let here = format!("/console/studies/{STUDY}");
    let page = visitor.get(&here).await.text();
    assert!(page.contains("Agree: chest 1.0.0"), "{page}");
    let path = format!("{here}/reviews");
    let said = visitor
        .post(&path, &format!("job={job}&verdict=disagreed"))
        .await;
    assert_eq!(
        (said.status.as_u16(), said.header("location")),
        (303, here.as_str())
    );
    assert!(
        visitor
            .get(&here)
            .await
            .text()
            .contains("disagreed · token ")
    );
    let table = visitor.get("/console/models/agreement").await.text();
    assert!(table.contains("0 % (0 to 79 %)"), "{table}");
    let wrong = visitor
        .post(&path, &format!("job={job}&verdict=maybe"))
        .await;
    assert_eq!(wrong.status, 400);
}
