//! Hospital tasks: drafts whose every claim was checked, and refusals where nothing holds.

use crate::reviews::find_in;
use crate::scripted::{MARKER, MODEL};
use crate::site::{Answer, Site, object, object_saying};
use dicom_core::VR;
use dicom_dictionary_std::tags;
use http::{Request, header};
use pericard_domain::actor::Role;
use pericard_domain::entity::Entity;
use pericard_domain::finding::{Code, Finding, Measurement, Region};
use pericard_runner::RunFailure;
use serde_json::{Value, json};

const DEIDENTIFY: &str = "/api/v1/texts/deidentify";
const REPORT: &str = "There is a small left pleural effusion. No pneumothorax.";

async fn say(site: &Site, says: &Value, path: &str, body: Value) -> Answer {
    *site.scripted.says.lock().expect("nobody panics with it") = Some(says.to_string());
    site.post_json(path, &body).await
}

fn claim(quote: &str, finding: &str, presence: &str) -> Value {
    json!({"quote": quote, "finding": finding, "presence": presence})
}

#[tokio::test]
async fn a_report_is_structured_and_every_claim_stands_in_it() {
    let site = Site::new();
    let says = json!({"claims": [
        claim("No pneumothorax.", "Pneumothorax", "absent"),
        claim("There is a small left pleural effusion.", "Pleural effusion", "absent"),
    ]});
    let answer = say(
        &site,
        &says,
        "/api/v1/texts/structure",
        json!({"report": REPORT}),
    )
    .await;
    let body = answer.json();
    assert_eq!(answer.status, 200, "{body}");
    let claims = body["claims"].as_array().expect("claims");
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0]["finding"]["value"], "36118008");
    assert_eq!(claims[0]["span"], json!({"start": 40, "end": 56}));
    assert_eq!(body["rejected"][0]["finding"], "Pleural effusion");
    assert_eq!(
        body["unclaimed"][0]["finding"]["meaning"],
        "Pleural effusion"
    );
    is_a_draft(&body, "structure-report");
    assert_eq!(body["provenance"]["model"]["name"], MODEL);
    assert_eq!(
        body["provenance"]["input_sha256"].as_str().map(str::len),
        Some(64)
    );
    let line = ("structure report".to_owned(), "parrot 1.2.3".to_owned());
    assert!(site.audited().await.contains(&line));
}

fn is_a_draft(body: &Value, task: &str) {
    assert_eq!(
        (&body["status"], &body["verification"]),
        (&json!("draft"), &json!("UNVERIFIED"))
    );
    let statement = body["statement"].as_str().expect("a sentence");
    assert!(statement.contains("not a diagnosis"), "{statement}");
    let provenance = &body["provenance"];
    assert_eq!(provenance["task"]["name"], task);
    assert_eq!(
        provenance["task"]["digest"].as_str().map(str::len),
        Some(64)
    );
    assert_ne!(provenance["clinical_use"], true);
}

#[tokio::test]
async fn where_nothing_holds_nothing_is_shown() {
    let site = Site::new();
    for (says, code) in [
        (
            json!({"claims": [claim("A mass of JANE DOE.", "Lung mass", "present")]}),
            "answer_not_believed",
        ),
        (
            json!({"claims": [claim("No pneumothorax.", "Pneumothorax", "present")]}),
            "answer_not_believed",
        ),
        (json!(["not", "a", "form"]), "answer_not_whole"),
    ] {
        let refused = say(
            &site,
            &says,
            "/api/v1/texts/structure",
            json!({"report": REPORT}),
        )
        .await;
        let body = refused.json();
        assert_eq!(refused.status, 422, "{body}");
        assert_eq!(body["type"], format!("urn:pericard:problem:{code}"));
        assert!(!refused.text().contains("DOE"));
    }
    let empty = site
        .post_json("/api/v1/texts/structure", &json!({"report": " "}))
        .await;
    assert_eq!(empty.status, 422);
}

#[tokio::test]
async fn a_draft_is_not_given_out_as_anything_else() {
    let site = Site::new();
    for status in ["final", "diagnosis", "verified"] {
        for (path, field) in [
            ("/api/v1/texts/structure", "report"),
            ("/api/v1/texts/deidentify", "text"),
            ("/api/v1/studies/1.2.3/impression", "x"),
        ] {
            let refused = site
                .post_json(path, &json!({field: REPORT, "status": status}))
                .await;
            let body = refused.json();
            assert_eq!(refused.status, 422, "{path} {body}");
            assert_eq!(body["type"], "urn:pericard:problem:only_drafts");
        }
    }
    let draft = json!({"claims": []});
    let body = json!({"report": REPORT, "status": "draft"});
    let drafted = say(&site, &draft, "/api/v1/texts/structure", body).await;
    assert_eq!(drafted.status, 200);
}

#[tokio::test]
async fn what_identifies_somebody_goes_with_a_model_and_without() {
    let site = Site::new();
    let text = "Seen by Dr. Gray: Zaphod has a pneumothorax.";
    let body = json!({"text": text, "known": ["pneumo-7"]});
    let by_rules = site
        .post_json("/api/v1/texts/deidentify", &body)
        .await
        .json();
    assert_eq!(
        by_rules["text"],
        "Seen by Dr. [NAME]: Zaphod has a pneumothorax."
    );
    assert_eq!(by_rules["provenance"]["model"], Value::Null);
    is_a_draft(&by_rules, "deidentify-text");
    let limits = by_rules["limits"].as_str().expect("a sentence");
    assert!(
        limits.contains("no other name") && limits.contains("Nobody promises"),
        "{limits}"
    );
    let says = json!({"identifiers": [{"text": "Zaphod", "kind": "name"}, {"text": "pneumothorax", "kind": "name"}]});
    let body = json!({"text": text, "model": MODEL});
    let with_model = say(&site, &says, "/api/v1/texts/deidentify", body)
        .await
        .json();
    assert_eq!(
        with_model["text"],
        "Seen by Dr. [NAME]: [NAME] has a pneumothorax."
    );
    assert_eq!(with_model["limits"], limits);
    assert_eq!(
        (&with_model["found"][1]["by"], &with_model["rejected"]),
        (&json!("model"), &json!(1))
    );
    let unknown = site
        .post_json(
            "/api/v1/texts/deidentify",
            &json!({"text": text, "model": "gpt"}),
        )
        .await;
    assert_eq!(unknown.status, 404);
}

#[tokio::test]
async fn a_model_that_finds_names_adds_to_the_rules_and_is_named() {
    let mut site = Site::new();
    let marks = |site: &Site, said| {
        *site.scripted.marks.lock().expect("nobody panics with it") = Some(said);
    };
    let text = "Seen by Dr. Gray: Zaphod has a pneumothorax.";
    let body = json!({"text": text});
    let without = site.post_json(DEIDENTIFY, &body).await.json();
    assert_eq!(without["provenance"]["markers"], json!([]));
    let limits = without["limits"].as_str().expect("a sentence");
    assert!(limits.contains("none took part"), "{limits}");

    let mark = |concept: &str, start: usize, end: usize| Entity {
        concept: concept.to_owned(),
        start,
        end,
        score: 0.5,
    };
    marks(&site, Ok(vec![mark("name", 18, 24), mark("name", 31, 43)]));
    let with = site.post_json(DEIDENTIFY, &body).await.json();
    assert_eq!(
        with["text"],
        "Seen by Dr. [NAME]: [NAME] has a pneumothorax."
    );
    assert_eq!(
        (&with["found"][1]["by"], &with["rejected"]),
        (&json!("model"), &json!(1))
    );
    let marker = &with["provenance"]["markers"][0];
    assert_eq!(
        (&marker["name"], &marker["version"]),
        (&json!(MARKER), &json!("1.2.3"))
    );
    let limits = with["limits"].as_str().expect("a sentence");
    assert!(
        limits.contains("herald 1.2.3") && limits.contains("Nobody promises"),
        "{limits}"
    );
    is_a_draft(&with, "deidentify-text");
    // It marks nothing, and what the rules find goes all the same.
    marks(&site, Ok(Vec::new()));
    let quiet = site.post_json(DEIDENTIFY, &body).await.json();
    assert_eq!(
        quiet["text"],
        "Seen by Dr. [NAME]: Zaphod has a pneumothorax."
    );

    for (failure, status, code) in [
        (RunFailure::Model("Zaphod".into()), 500, "model_failed"),
        (RunFailure::Lost("killed".into()), 503, "model_busy"),
        (RunFailure::Busy, 503, "model_busy"),
    ] {
        marks(&site, Err(failure));
        let refused = site.post_json(DEIDENTIFY, &body).await;
        let told = refused.json();
        assert_eq!(refused.status, status, "{told}");
        assert_eq!(told["type"], format!("urn:pericard:problem:{code}"));
        let told = told.to_string();
        assert!(told.contains(MARKER) && !told.contains("Zaphod"), "{told}");
    }
    // Live, and not loaded: nothing is given out that would look as if it had taken part.
    site.let_models_treat();
    *site.scripted.marks.lock().expect("nobody panics with it") = None;
    let refused = site.post_json(DEIDENTIFY, &body).await;
    let told = refused.json();
    assert_eq!(refused.status, 503, "{told}");
    assert_eq!(told["type"], "urn:pericard:problem:no_model");
}

#[tokio::test]
async fn an_impression_needs_a_study_with_findings() {
    let site = Site::new();
    let absent = site
        .post_json("/api/v1/studies/1.2.3/impression", &json!({}))
        .await;
    assert_eq!(absent.status, 404);
    let tasks = site.get("/api/v1/texts/tasks").await.json();
    let names: Vec<&str> = tasks["tasks"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|t| t["name"].as_str())
        .collect();
    assert_eq!(
        names,
        ["structure-report", "deidentify-text", "draft-impression"]
    );
}

#[tokio::test]
async fn every_draft_says_whether_its_model_may_treat_patients() {
    const HEADER: &str = "x-pericard-clinical-use";
    let mut site = Site::new();
    for (may, told) in [(false, "false"), (true, "true")] {
        let draft = json!({"claims": []});
        let body = json!({"report": REPORT});
        let structured = say(&site, &draft, "/api/v1/texts/structure", body).await;
        assert_eq!(structured.header(HEADER), told);
        assert_eq!(structured.json()["provenance"]["clinical_use"], may);
        let body = json!({"text": REPORT, "model": MODEL});
        let found = json!({"identifiers": []});
        let cleaned = say(&site, &found, "/api/v1/texts/deidentify", body).await;
        assert_eq!(cleaned.header(HEADER), told);
        // Rules are no model, and for no treatment.
        let body = json!({"text": REPORT});
        let by_rules = site.post_json("/api/v1/texts/deidentify", &body).await;
        assert_eq!(by_rules.header(HEADER), "false");
        site.let_models_treat();
    }
}

/// With whom the latest question may share what was computed of it.
async fn scope_of(site: &Site, secret: &str, path: &str, body: Value) -> String {
    let request = Request::post(path)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::AUTHORIZATION, format!("Bearer {secret}"));
    let request = request.body(body.to_string().into()).expect("a request");
    let answer = site.send(request).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let scopes = site.scripted.scopes.lock().expect("nobody panics with it");
    scopes.last().cloned().expect("a question")
}

#[tokio::test]
async fn no_text_shares_what_was_computed_of_another() {
    let site = Site::new();
    let secret = site.token(&Role::ALL).await;
    let says = |what: Value| {
        *site.scripted.says.lock().expect("nobody panics with it") = Some(what.to_string());
    };
    let structure = async |report: &str| {
        says(json!({"claims": []}));
        let path = "/api/v1/texts/structure";
        scope_of(&site, &secret, path, json!({"report": report})).await
    };
    let clean = async |text: &str| {
        says(json!({"identifiers": []}));
        let body = json!({"text": text, "model": MODEL});
        scope_of(&site, &secret, "/api/v1/texts/deidentify", body).await
    };
    let other = "No pneumothorax.";
    assert_eq!(structure(REPORT).await, structure(REPORT).await);
    assert_ne!(structure(REPORT).await, structure(other).await);
    assert_eq!(clean(REPORT).await, clean(REPORT).await);
    assert_ne!(clean(REPORT).await, clean(other).await);
    assert!(!structure(other).await.contains("pneumothorax"));
}

#[tokio::test]
async fn no_patient_shares_what_was_computed_of_another() {
    let site = Site::new();
    let secret = site.token(&Role::ALL).await;
    let of_first = [
        (tags::PATIENT_ID, VR::LO, "PID-1"),
        (tags::PATIENT_NAME, VR::PN, "DOE1^JANE"),
    ];
    let same_id = [(tags::PATIENT_ID, VR::LO, "PID-1")];
    for (study, object) in [
        ("1.2.3.1", object(1, 1, 1, 10)),
        ("1.2.3.2", object(2, 1, 1, 10)),
        ("1.2.3.3", object_saying((3, 1, 1), 10, &of_first)),
        ("1.2.3.4", object_saying((4, 1, 1), 10, &same_id)),
    ] {
        find_in(&site, (study, object), vec![brain(study)]).await;
    }
    let said = "The volume of the brain is 1369.6 mL.";
    let says = json!({"sentences": [{"facts": [1], "text": said}]}).to_string();
    *site.scripted.says.lock().expect("nobody panics with it") = Some(says);
    let mut scopes = Vec::new();
    for study in 1..=4 {
        let path = format!("/api/v1/studies/1.2.3.{study}/impression");
        scopes.push(scope_of(&site, &secret, &path, json!({})).await);
    }
    // The same prompt word by word: only a study of the same patient finds what was computed of it.
    assert_eq!(scopes[0], scopes[2]);
    assert_ne!(scopes[0], scopes[1]);
    assert_ne!(scopes[0], scopes[3]);
    assert!(
        scopes
            .iter()
            .all(|s| !s.contains("PID") && !s.contains("DOE"))
    );
}

fn brain(study: &str) -> Finding {
    Finding {
        tracking_id: "brain".into(),
        tracking_uid: format!("{study}.77.1").parse().expect("a UID"),
        concept: Code::new("12738006", "SCT", "Brain"),
        region: Region::Frames {
            sources: Vec::new(),
        },
        measurements: vec![Measurement {
            concept: Code::new("118565006", "SCT", "Volume"),
            value: 1369.6,
            unit: Code::new("mL", "UCUM", "mL"),
        }],
        text: None,
        score: None,
    }
}
