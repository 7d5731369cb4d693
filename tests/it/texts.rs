//! Drafts by the real, very small language model, through the whole appliance: whatever it says, what comes out was checked
//! against the source, or nothing comes out.

use crate::support::*;
use serde_json::{Value, json};

/// POSTs JSON with the token: the status and the body.
fn post(appliance: &Appliance, path: &str, body: &Value) -> (u16, Value) {
    let token = format!("Authorization: Bearer {}", appliance.token);
    let body = body.to_string();
    let args = [
        "-H",
        &token,
        "-H",
        "Content-Type: application/json",
        "--data",
        &body,
    ];
    let (status, answer) = appliance.curl(&args, path);
    let answer = serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{path}: {e}: {answer}"));
    (status, answer)
}

/// It is a draft with its provenance, or a stated refusal.
fn is_draft_or_refusal(status: u16, body: &Value) -> bool {
    if status == 422 {
        let kind = body["type"].as_str().unwrap_or_default();
        assert!(kind.contains("answer_not_"), "{body}");
        return false;
    }
    assert_eq!((status, &body["status"]), (200, &json!("draft")), "{body}");
    assert_eq!(body["provenance"]["model"]["name"], "smollm2-135m-instruct");
    assert_eq!(body["provenance"]["clinical_use"], false);
    true
}

#[test]
fn a_report_is_structured_or_refused_and_every_claim_stands_in_it() {
    let Some(appliance) = shared() else { return };
    let report = "The lungs are clear. There is a small left pleural effusion. No pneumothorax. Possible fracture of the left clavicle.";
    let (status, body) = post(
        &appliance,
        "/api/v1/texts/structure",
        &json!({"report": report}),
    );
    if is_draft_or_refusal(status, &body) {
        let letters: Vec<char> = report.chars().collect();
        for claim in body["claims"].as_array().expect("claims") {
            let at = |end: &str| claim["span"][end].as_u64().expect("a number") as usize;
            let quoted: String = letters[at("start")..at("end")].iter().collect();
            assert_eq!(quoted, claim["quote"], "{claim}");
        }
    }
    let (again, same) = post(
        &appliance,
        "/api/v1/texts/structure",
        &json!({"report": report}),
    );
    assert_eq!(
        (again, &same["claims"]),
        (status, &body["claims"]),
        "the same question, the same answer"
    );
}

#[test]
fn what_identifies_somebody_goes_whatever_the_model_says() {
    let Some(appliance) = shared() else { return };
    let text = "Seen by Dr. Maria Gray on 2026-03-04. MRN 00482913. No pneumothorax.";
    for body in [
        json!({"text": text}),
        json!({"text": text, "model": "smollm2-135m-instruct"}),
    ] {
        let (status, cleaned) = post(&appliance, "/api/v1/texts/deidentify", &body);
        if status == 422 {
            assert!(
                cleaned["type"]
                    .as_str()
                    .is_some_and(|t| t.ends_with("answer_not_whole")),
                "{cleaned}"
            );
            continue;
        }
        let left = cleaned["text"].as_str().expect("a text");
        for gone in ["Gray", "2026", "00482913"] {
            assert!(!left.contains(gone), "{left}");
        }
        assert!(left.contains("No pneumothorax."), "{left}");
    }
}

#[test]
fn a_name_that_nothing_stands_beside_goes_by_the_model_that_finds_names() {
    let Some(appliance) = shared() else { return };
    let text =
        "The scan of Olga Petrova shows no fracture. The Foley catheter lies in the bladder.";
    let body = json!({"text": text});
    let (status, cleaned) = post(&appliance, "/api/v1/texts/deidentify", &body);
    assert_eq!(status, 200, "{cleaned}");
    assert_eq!(
        cleaned["text"],
        "The scan of [NAME] shows no fracture. The Foley catheter lies in the bladder."
    );
    assert_eq!(cleaned["found"][0]["by"], "model");
    assert_eq!(cleaned["provenance"]["markers"][0]["name"], "rampart");
    assert_eq!(cleaned["provenance"]["clinical_use"], false);
    let limits = cleaned["limits"].as_str().expect("a sentence");
    assert!(limits.contains("rampart 1.0.0"), "{limits}");
}

#[test]
fn an_impression_says_nothing_but_what_the_report_holds() {
    let (Some(head), Some(_)) = (sample("t1-head"), program("storescu")) else {
        return;
    };
    let Some(appliance) = shared() else { return };
    let files = files_in(&head);
    let study = study_of(&files[0]);
    let sent = appliance.storescu(&["-R", "+sd", "+r"], &[&head]);
    assert!(sent.status.success());
    appliance.jobs_ended(&study);
    let report = appliance.reports(&study).swap_remove(0);
    let measured = report["findings"][0]["measurements"][0]["value"]
        .as_f64()
        .expect("a volume");
    let path = format!("/api/v1/studies/{study}/impression");
    let (status, body) = post(&appliance, &path, &json!({}));
    let (refused, problem) = post(&appliance, &path, &json!({"status": "final"}));
    assert_eq!(
        (refused, &problem["type"]),
        (422, &json!("urn:pericard:problem:only_drafts"))
    );
    if !is_draft_or_refusal(status, &body) {
        return;
    }
    let fact = body["facts"][0]["text"].as_str().expect("a fact");
    assert!(
        fact.contains(&format!("{measured:.1}")[..4]),
        "{fact} tells {measured}"
    );
    for sentence in body["sentences"].as_array().expect("sentences") {
        let said = sentence["text"].as_str().expect("a text");
        let cited = sentence["facts"].as_array().map(Vec::len);
        assert_eq!(cited, Some(1), "{sentence}");
        let numbers = said
            .split_whitespace()
            .filter(|w| w.starts_with(|c: char| c.is_ascii_digit()));
        for number in numbers {
            let number = number.trim_end_matches('.');
            let facts = body["facts"].as_array().expect("facts");
            assert!(
                facts
                    .iter()
                    .any(|f| f["text"].as_str().is_some_and(|t| t.contains(number))),
                "{said}"
            );
        }
    }
}
