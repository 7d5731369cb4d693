//! What models compute on: named wherever it ran, and never replaced by another.

use crate::support::*;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// No GPU of this number is in any machine.
const NO_DEVICE: &str = "cuda:65535";
/// A build with CUDA, from `cargo xtask cuda build`: where it is, it must start and serve on this machine too.
const CUDA_BINARY: &str = "PERICARD_CUDA_BINARY";

fn start(appliance: &Appliance, program: &Path) -> Process {
    let config = appliance.config();
    let args = ["serve", "--config", config.to_str().expect("UTF-8")];
    Process::start(program, &args, &appliance.dir.path().join("log"))
}

/// The parts of `/readyz` that are not ready, once it is not "being tried" any more.
fn not_ready(appliance: &Appliance) -> Vec<(String, String)> {
    let (_, body) = appliance.get("/readyz");
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let parts = body["parts"].as_array().cloned().unwrap_or_default();
    let text = |part: &Value, key: &str| part[key].as_str().unwrap_or_default().to_owned();
    let unready = parts.iter().filter(|part| part["ready"] == false);
    unready
        .map(|part| (text(part, "part"), text(part, "why")))
        .collect()
}

#[test]
fn a_device_that_cannot_be_had_fails_readiness_and_loads_nothing() {
    let Some(mut appliance) = Appliance::start(Given {
        models: &["burned-in-text"],
        ..Given::default()
    }) else {
        return;
    };
    let models = appliance.json("/api/v1/models");
    assert_eq!(models["models"][0]["device"], "cpu", "{models}");
    appliance.kill();
    let text = fs::read_to_string(appliance.config()).expect("the configuration");
    let device = format!("[models]\ndevice = '{NO_DEVICE}'\n");
    let changed = text.replace("[models]\n", &device);
    fs::write(appliance.config(), changed).expect("written");
    let other = std::env::var_os(CUDA_BINARY);
    let programs = [Some(PERICARD.into()), other].into_iter().flatten();
    for program in programs {
        let _process = start(&appliance, Path::new(&program));
        let why = until("the device's trial", || {
            let unready = not_ready(&appliance).into_iter();
            let device = unready.filter(|(part, _)| part == "device");
            let mut why = device.map(|(_, why)| why);
            why.find(|why| !why.contains("being tried"))
        });
        assert!(why.contains(NO_DEVICE), "{why}");
        until("the word in the journal", || {
            appliance.log().contains("no model is loaded").then_some(())
        });
        let unready = not_ready(&appliance);
        assert_eq!(unready.len(), 2, "the device and the model: {unready:?}");
        let models = appliance.json("/api/v1/models");
        assert_eq!(models["models"][0]["device"], Value::Null, "{models}");
    }
}

/// Of a result: as JSON, in the structured report, and over FHIR.
#[test]
fn every_form_of_a_result_names_the_device_that_ran() {
    let Some(ultrasound) = sample("us1") else {
        return;
    };
    let Some(appliance) = Appliance::start(Given {
        toml: RULES,
        models: &["burned-in-text"],
    }) else {
        return;
    };
    appliance.pericard(&["submit", ultrasound.to_str().expect("a path")]);
    let study = study_of(&files_in(&ultrasound)[0]);
    appliance.jobs_ended(&study);
    let reports = appliance.reports(&study);
    assert_eq!(reports[0]["device"], "cpu", "{reports:?}");

    let metadata = appliance.json(&format!("/dicomweb/studies/{study}/metadata"));
    let objects = metadata.as_array().expect("a list of objects");
    let value = |set: &Value, tag: &str| set[tag]["Value"][0].clone();
    let is_report = |object: &&Value| value(object, "00080060") == "SR";
    let structured = objects.iter().find(is_report).expect("a structured report");
    let parts = structured["0018A001"]["Value"].as_array();
    let mut parts = parts.expect("who made it").iter();
    let said = "Appliance that ran the model on cpu";
    assert!(
        parts.any(|part| value(part, "0018A003") == said),
        "{structured}"
    );

    let found = appliance.json("/fhir/Observation");
    let entries = found["entry"].as_array().expect("findings");
    assert!(!entries.is_empty());
    for entry in entries {
        let model = &entry["resource"]["contained"][0];
        assert_eq!(
            model["property"][0]["valueCode"][0]["text"], "cpu",
            "{model}"
        );
    }
    let reports = appliance.json("/fhir/DiagnosticReport");
    let conclusion = reports["entry"][0]["resource"]["conclusion"].as_str();
    assert!(
        conclusion.is_some_and(|text| text.ends_with("Computed on cpu.")),
        "{reports}"
    );
}

/// The binary that is shipped to hospitals with GPUs, where there is neither a GPU nor a driver.
#[test]
fn a_build_with_cuda_starts_and_serves_without_a_driver() {
    let Some(program) = std::env::var_os(CUDA_BINARY) else {
        eprintln!("passed over: {CUDA_BINARY} names no build with CUDA");
        return;
    };
    let Some(mut appliance) = Appliance::start(Given {
        models: &["burned-in-text", "smollm2-135m-instruct"],
        ..Given::default()
    }) else {
        return;
    };
    appliance.kill();
    let _process = start(&appliance, Path::new(&program));
    until("readiness", || {
        (appliance.get("/readyz").0 == 200).then_some(())
    });
    let body = r#"{"model": "smollm2-135m-instruct", "max_tokens": 4, "temperature": 0,
        "messages": [{"role": "user", "content": "What is the capital of France?"}]}"#;
    let bearer = format!("Authorization: Bearer {}", appliance.token);
    let (json, headers) = ("Content-Type: application/json", "--include");
    let arguments = [headers, "-H", bearer.as_str(), "-H", json, "--data", body];
    let (status, answer) = appliance.curl(&arguments, "/v1/chat/completions");
    assert_eq!(status, 200, "{answer}");
    assert!(answer.contains("x-pericard-device: cpu"), "{answer}");
}
