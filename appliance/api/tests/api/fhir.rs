//! FHIR R4: what is read of studies and findings. That it is valid FHIR, `tests/it` asks a library of another make.

use crate::reviews::with_findings;
use crate::site::object;
use axum::body::Body;
use http::{Request, header};
use pericard_domain::actor::Role;
use pericard_domain::finding::{Code, Finding, Measurement, Region};
use serde_json::{Value, json};

fn finding(n: u32, text: Option<&str>) -> Finding {
    Finding {
        tracking_id: format!("finding {n}"),
        tracking_uid: format!("1.2.77.{n}").parse().expect("a UID"),
        concept: Code::new("12738006", "SCT", "Brain"),
        region: Region::Frames {
            sources: Vec::new(),
        },
        measurements: vec![Measurement {
            concept: Code::new("118565006", "SCT", "Volume"),
            value: 1369.6,
            unit: Code::new("mL", "UCUM", "mL"),
        }],
        text: text.map(str::to_owned),
        score: Some(0.75),
    }
}

fn ids(bundle: &Value) -> Vec<&str> {
    let entries = bundle["entry"].as_array().into_iter().flatten();
    entries
        .map(|e| e["resource"]["id"].as_str().expect("an id"))
        .collect()
}

#[tokio::test]
async fn a_study_its_report_and_its_findings() {
    let (site, job) = with_findings(vec![finding(1, None), finding(2, Some("LEFT"))]).await;
    let study = site.get("/fhir/ImagingStudy/1.2.3.1").await;
    assert!(
        study
            .header("content-type")
            .starts_with("application/fhir+json")
    );
    let study = study.json();
    assert_eq!(study["identifier"][0]["value"], "urn:oid:1.2.3.1");
    assert_eq!(study["subject"]["identifier"]["value"], "PID-1");
    assert_eq!(study["subject"]["display"], "JANE DOE1");
    assert_eq!(study["series"][0]["instance"][0]["uid"], "1.2.3.1.1.1");
    let report = site
        .get(&format!("/fhir/DiagnosticReport/report-{job}"))
        .await
        .json();
    assert_eq!(
        (&report["status"], &report["code"]["coding"][0]["code"]),
        (&json!("preliminary"), &json!("18748-4"))
    );
    let conclusion = report["conclusion"].as_str().expect("a conclusion");
    assert!(
        conclusion.contains("verified by nobody") && conclusion.contains("Not for clinical use")
    );
    assert!(conclusion.ends_with("Computed on cpu."), "{conclusion}");
    let results = [1, 2].map(|n| json!({"reference": format!("Observation/finding-{job}-{n}")}));
    assert_eq!(report["result"], json!(results));
    let volume = site
        .get(&format!("/fhir/Observation/finding-{job}-1"))
        .await
        .json();
    assert_eq!(
        volume["code"]["coding"][0],
        json!({"system": "http://snomed.info/sct", "code": "12738006", "display": "Brain"})
    );
    let quantity =
        json!({"value": 1369.6, "unit": "mL", "system": "http://unitsofmeasure.org", "code": "mL"});
    assert_eq!(volume["component"][0]["valueQuantity"], quantity);
    let ran_on =
        json!([{"type": {"text": "What the model ran on"}, "valueCode": [{"text": "cpu"}]}]);
    assert_eq!(volume["contained"][0]["property"], ran_on);
    assert_eq!(volume["device"], json!({"reference": "#model"}));
    let text = site
        .get(&format!("/fhir/Observation/finding-{job}-2"))
        .await
        .json();
    assert_eq!(text["valueString"], "LEFT");
    assert!(
        site.audited()
            .await
            .contains(&("read observation".into(), "1.2.3.1".into()))
    );
}

#[tokio::test]
async fn searches_find_what_they_name_and_nothing_else() {
    let (site, job) = with_findings(vec![finding(1, None), finding(2, Some("LEFT"))]).await;
    let other = Request::post("/api/v1/studies").header(header::CONTENT_TYPE, "application/dicom");
    assert_eq!(site.call(other, object(2, 1, 1, 10)).await.status, 200);
    let (report, first, second) = (
        format!("report-{job}"),
        format!("finding-{job}-1"),
        format!("finding-{job}-2"),
    );
    for (path, expected) in [
        ("ImagingStudy", vec!["1.2.3.2", "1.2.3.1"]),
        ("ImagingStudy?patient.identifier=PID-1", vec!["1.2.3.1"]),
        (
            "ImagingStudy?patient:identifier=urn:hospital|PID-2",
            vec!["1.2.3.2"],
        ),
        (
            "ImagingStudy?identifier=urn:dicom:uid|urn:oid:1.2.3.2",
            vec!["1.2.3.2"],
        ),
        ("ImagingStudy?identifier=ACC-7", vec!["1.2.3.2", "1.2.3.1"]),
        ("ImagingStudy?started=ge2026-01-02", vec!["1.2.3.2"]),
        (
            "ImagingStudy?started=2026-01&modality=CT&status=available",
            vec!["1.2.3.2", "1.2.3.1"],
        ),
        ("ImagingStudy?modality=MR", vec![]),
        ("ImagingStudy?status=cancelled", vec![]),
        ("ImagingStudy?_id=1.2.3.1", vec!["1.2.3.1"]),
        ("DiagnosticReport", vec![report.as_str()]),
        ("DiagnosticReport?patient.identifier=PID-2", vec![]),
        (
            "DiagnosticReport?imaging-study=ImagingStudy/1.2.3.1&status=preliminary",
            vec![&report],
        ),
        ("DiagnosticReport?identifier=urn:oid:1.2.3.1", vec![&report]),
        ("DiagnosticReport?status=final", vec![]),
        ("DiagnosticReport?date=2026-01-01", vec![&report]),
        ("DiagnosticReport?date=lt2026-01-01", vec![]),
        ("Observation", vec![first.as_str(), &second]),
        (
            "Observation?code=http://snomed.info/sct|12738006",
            vec![&first, &second],
        ),
        ("Observation?code=12738007", vec![]),
        ("Observation?identifier=urn:oid:1.2.77.2", vec![&second]),
        ("Observation?derived-from=ImagingStudy/1.2.3.2", vec![]),
    ] {
        let answer = site.get(&format!("/fhir/{path}")).await;
        assert_eq!(answer.status, 200, "{path} {}", answer.text());
        assert_eq!(ids(&answer.json()), expected, "{path}");
    }
}

#[tokio::test]
async fn pages_are_linked_until_the_end() {
    let (site, _) = with_findings((1..=5).map(|n| finding(n, None)).collect()).await;
    let mut path = "/fhir/Observation?_count=2".to_owned();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let bundle = site.get(&path).await.json();
        seen.extend(ids(&bundle).into_iter().map(str::to_owned));
        let links = bundle["link"].as_array().expect("links");
        let next = links.iter().find(|l| l["relation"] == "next");
        path = next.map_or(String::new(), |l| {
            l["url"].as_str().expect("a URL").to_owned()
        });
    }
    assert_eq!((seen.len(), path.as_str()), (5, ""), "{seen:?}");
    seen.dedup();
    assert_eq!(seen.len(), 5);
}

#[tokio::test]
async fn errors_are_outcomes_and_roles_hold() {
    let (site, _) = with_findings(Vec::new()).await;
    for (path, status, code) in [
        ("/fhir/ImagingStudy/1.2.9", 404, "not-found"),
        ("/fhir/ImagingStudy/none", 404, "not-found"),
        ("/fhir/DiagnosticReport/report-99", 404, "not-found"),
        ("/fhir/Observation/finding-1", 404, "not-found"),
        ("/fhir/Observation/finding-1-0", 404, "not-found"),
        ("/fhir/ImagingStudy?colour=red", 400, "invalid"),
        ("/fhir/ImagingStudy?started=soon", 400, "invalid"),
        ("/fhir/ImagingStudy?_format=xml", 406, "not-supported"),
        ("/fhir/Patient", 404, "not-found"),
    ] {
        let answer = site.get(path).await;
        assert_eq!(answer.status, status, "{path} {}", answer.text());
        let outcome = answer.json();
        assert_eq!(
            (&outcome["resourceType"], &outcome["issue"][0]["code"]),
            (&json!("OperationOutcome"), &json!(code)),
            "{path}"
        );
    }
    let secret = site.token(&[Role::Auditor]).await;
    let request = Request::get("/fhir/ImagingStudy")
        .header(header::AUTHORIZATION, format!("Bearer {secret}"));
    let refused = site
        .send(request.body(Body::empty()).expect("a request"))
        .await;
    assert_eq!(
        (
            refused.status.as_u16(),
            refused.json()["issue"][0]["code"].as_str()
        ),
        (403, Some("forbidden"))
    );
    let statement = site.get("/fhir/metadata").await.json();
    assert_eq!(statement["fhirVersion"], "4.0.1");
    let kinds: Vec<_> = statement["rest"][0]["resource"]
        .as_array()
        .expect("resources")
        .iter()
        .map(|r| &r["type"])
        .collect();
    assert_eq!(kinds, ["ImagingStudy", "DiagnosticReport", "Observation"]);
}
