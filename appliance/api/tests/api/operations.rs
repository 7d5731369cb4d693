//! Studies, the queue, audit, egress, health.

use crate::site::{Site, object};
use axum::body::Body;
use http::{Request, header};
use pericard_domain::actor::Role;
use pericard_domain::digest::Digest;
use pericard_domain::job::JobId;
use pericard_domain::model::{ModelRef, Package};
use pericard_store::outbox::DeliveryTrouble;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

async fn filled() -> Site {
    let site = Site::new();
    for study in [1, 2] {
        let request =
            Request::post("/api/v1/studies").header(header::CONTENT_TYPE, "application/dicom");
        let answer = site.call(request, object(study, 1, 1, 10)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    site
}

#[tokio::test]
async fn studies_are_listed_latest_first_and_every_look_is_written_down() {
    let site = filled().await;
    let list = site.get("/api/v1/studies?limit=1").await.json();
    assert_eq!(list["studies"][0]["study"], "1.2.3.2");
    assert_eq!(list["studies"].as_array().map(Vec::len), Some(1));
    let study = site.get("/api/v1/studies/1.2.3.1").await.json();
    assert_eq!(study["facts"]["patient_id"], "PID-1");
    assert_eq!(study["objects"][0]["instance"], "1.2.3.1.1.1");
    let results = site.get("/api/v1/studies/1.2.3.1/results").await.json();
    assert_eq!(results["reports"], Value::Array(Vec::new()));
    for (path, status) in [("1.2.3.9", 404), ("abc", 404), ("1.2.3.9/results", 404)] {
        assert_eq!(
            site.get(&format!("/api/v1/studies/{path}")).await.status,
            status
        );
    }
    let audited = site.audited().await;
    for (verb, subject) in [
        ("list studies", "all"),
        ("read study", "1.2.3.1"),
        ("read results", "1.2.3.1"),
    ] {
        assert!(
            audited.contains(&(verb.into(), subject.into())),
            "{verb}: {audited:?}"
        );
    }
}

#[tokio::test]
async fn jobs_are_listed_cancelled_and_retried() {
    let site = filled().await;
    let jobs = site
        .get("/api/v1/jobs?state=waiting&study=1.2.3.1")
        .await
        .json();
    let job = &jobs["jobs"][0];
    assert_eq!(
        (&job["state"], &job["study"], &job["work"]["kind"]),
        (&"waiting".into(), &"1.2.3.1".into(), &"assemble".into())
    );
    let id: JobId = serde_json::from_value(job["id"].clone()).expect("an id");
    let post = |what: &'static str| {
        site.call(
            Request::post(format!("/api/v1/jobs/{id}/{what}")),
            Body::empty(),
        )
    };
    assert_eq!(post("retry").await.status, 409, "it waits already");
    assert_eq!(post("cancel").await.json()["state"], "cancelled");
    assert_eq!(
        site.get(&format!("/api/v1/jobs/{id}")).await.json()["state"],
        "cancelled"
    );
    assert_eq!(post("cancel").await.status, 409);
    assert_eq!(post("retry").await.json()["state"], "waiting");
    for (path, status) in [
        ("jobs/99999", 404),
        ("jobs/x", 404),
        ("jobs?state=lost", 400),
        ("jobs?study=x", 400),
    ] {
        assert_eq!(
            site.get(&format!("/api/v1/{path}")).await.status,
            status,
            "{path}"
        );
    }
    assert_eq!(
        site.get("/api/v1/deliveries").await.json()["deliveries"],
        Value::Array(Vec::new())
    );
}

#[tokio::test]
async fn the_log_is_read_and_verified_without_patient_data() {
    let site = filled().await;
    let page = site.get("/api/v1/audit?from=1&limit=2").await.json();
    let places: Vec<_> = page["lines"]
        .as_array()
        .expect("lines")
        .iter()
        .map(|l| l["index"].clone())
        .collect();
    assert_eq!(places, [1, 2]);
    let all = site.get("/api/v1/audit?limit=1000").await;
    assert!(all.text().contains("1.2.3.1.1.1") && !all.text().contains("DOE"));
    let checkpoint = site.get("/api/v1/audit/checkpoint").await.json();
    assert!(
        checkpoint["checkpoint"]
            .as_str()
            .expect("a note")
            .starts_with("pericard.test/audit\n")
    );
}

#[tokio::test]
async fn what_would_leave_is_shown() {
    let site = filled().await;
    let preview = site.get("/api/v1/egress/preview").await.json();
    assert_eq!(preview["frame_bytes"], 4096);
    assert!(preview["numbers"].as_array().is_some_and(|n| n.len() > 20));
}

#[tokio::test]
async fn what_the_hub_says_of_models_is_shown() {
    let site = filled().await;
    let none = site.get("/api/v1/egress/advisories").await.json();
    assert_eq!(none["advisories"], Value::Array(Vec::new()));
    let digest = "ab".repeat(32);
    let model = pericard_domain::model::ModelRef {
        name: "chest".into(),
        version: "1.0".into(),
        digest: digest.parse().expect("a digest"),
    };
    let notice = |number, model, stopped| pericard_api::Notice {
        number,
        is_recall: true,
        kind: "recall: stop using this model",
        cause: "a risk to patients",
        model,
        digest: digest.clone(),
        issued_at_s: 1_795_400_000,
        stopped,
    };
    let notices = [notice(3, Some(model), false), notice(4, None, false)];
    site.notices.send_replace(notices.into());
    let told = site.get("/api/v1/egress/advisories").await.json();
    assert_eq!(told["advisories"][0]["model"]["name"], "chest");
    assert_eq!(told["advisories"][1]["number"], 4);
    let overview = crate::console::Visitor::with(&site, &pericard_domain::actor::Role::ALL).await;
    let overview = overview.get("/").await.text();
    assert!(overview.contains("chest 1.0: recall"), "{overview}");
    assert!(
        !overview.contains("number 4"),
        "a model that is not here is no alarm"
    );
}

/// A live model of that name.
fn live(name: &str) -> Package {
    let manifest = json!({
        "name": name, "version": "1.0", "summary": "", "licence": "MIT", "source": "", "task": "text-spotting",
        "clinical_use": false, "intended_use": {}, "files": {}, "parts": {},
        "budget": {"memory_mib": 1, "inference_timeout_s": 1},
    });
    Package {
        model: ModelRef {
            name: name.into(),
            version: "1.0".into(),
            digest: Digest::new([7; 32]),
        },
        manifest: serde_json::from_value(manifest).expect("a manifest"),
        dir: "/nowhere".into(),
    }
}

#[tokio::test]
async fn a_model_that_a_recall_stopped_is_no_model_that_failed_to_load() {
    let mut site = Site::new();
    site.packages = Arc::from([live("chest"), live("brain")]);
    let says = |page: &str, name: &str| {
        let series = format!("pericard_model_loaded{{model=\"{name}\"");
        page.lines().any(|line| line.starts_with(&series))
    };
    let before = site.get("/metrics").await.text();
    assert!(says(&before, "chest") && says(&before, "brain"), "{before}");
    let notice = |stopped| pericard_api::Notice {
        number: 3,
        is_recall: true,
        kind: "recall: stop using this model",
        cause: "a risk to patients",
        model: Some(live("chest").model),
        digest: "07".repeat(32),
        issued_at_s: 1_795_400_000,
        stopped,
    };
    site.notices.send_replace([notice(false)].into());
    let warned = site.get("/metrics").await.text();
    assert!(says(&warned, "chest"), "it works still: {warned}");
    site.notices.send_replace([notice(true)].into());
    let stopped = site.get("/metrics").await.text();
    assert!(!says(&stopped, "chest"), "{stopped}");
    assert!(says(&stopped, "brain"), "{stopped}");
}

#[tokio::test]
async fn messages_that_were_given_up_are_counted_and_an_alarm() {
    const ALARM: &str = "1 messages about results were given up.";
    let told = vec!["ris".to_owned()];
    let (site, _) = crate::reviews::with_findings_for(Vec::new(), told).await;
    let visitor = crate::console::Visitor::with(&site, &Role::ALL).await;
    let before = visitor.get("/").await.text();
    assert!(!before.contains("were given up"), "{before}");
    let lease = Duration::from_secs(60);
    let leased = site.store.lease_message("ris", lease).await;
    let message = leased.expect("leased").expect("a message that waits");
    let reason = "it knows no such order".to_owned();
    let given_up = DeliveryTrouble::Permanent { reason };
    let noted = site.store.message_not_delivered(&message, given_up).await;
    noted.expect("noted");
    let metrics = site.get("/metrics").await.text();
    let line = "pericard_messages{state=\"failed\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    let after = visitor.get("/").await.text();
    assert!(after.contains(ALARM), "{after}");
}

#[tokio::test]
async fn health_readiness_and_figures() {
    let site = filled().await;
    assert_eq!(site.get("/healthz").await.text(), "ok\n");
    let ready = site.get("/readyz").await;
    assert_eq!(
        (ready.status.as_u16(), &ready.json()["parts"][0]["part"]),
        (200, &"store".into())
    );
    let system = site.get("/api/v1/system").await.json();
    assert_eq!(
        (&system["version"], &system["open_jobs"]["routine"]),
        (&"0.0.0-test".into(), &2.into())
    );
    assert_eq!(
        site.get("/api/v1/models").await.json()["models"],
        Value::Array(Vec::new())
    );
    let metrics = site.get("/metrics").await;
    assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4");
    let text = metrics.text();
    for line in [
        "pericard_open_jobs{priority=\"routine\"} 2",
        "pericard_store_writable 1",
        "pericard_objects_total{class=\"admitted\"} 2",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    let mut families: Vec<_> = text.lines().filter(|l| l.starts_with("# TYPE")).collect();
    let all = families.len();
    families.sort_unstable();
    families.dedup();
    assert_eq!(families.len(), all, "no family twice");
    assert!(!text.contains("DOE") && !text.contains("PID"));
}
