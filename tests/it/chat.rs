//! The language model through programs of other makes, unchanged: the `openai` client, a validator of JSON schemas, a load
//! generator.

use crate::support::*;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const MODEL: &str = "smollm2-135m-instruct";
/// What the load generator asks for, each time.
const REQUESTS: usize = 64;
const AT_ONCE: usize = 4;
const TOKENS: usize = 24;

fn long() -> bool {
    std::env::var_os("PERICARD_LONG").is_some()
}

/// Runs a script with the address, the token, the certificate and the model; then these arguments.
fn peer(appliance: &Appliance, script: &str, more: &[&str]) -> String {
    let (base, ca) = (format!("https://{}/v1", appliance.https), appliance.ca());
    let ca = ca.to_str().expect("a path in UTF-8");
    let first = [base.as_str(), appliance.token.as_str(), ca, MODEL];
    let all = [&first[..], more].concat();
    python(script, &all).expect("python")
}

#[test]
fn the_openai_client_streams_and_eight_chats_at_once_all_finish() {
    if venv("python").is_none() {
        return;
    }
    let Some(appliance) = shared() else { return };
    assert!(peer(&appliance, "chat.py", &[]).contains("ok"));
}

/// Sampled answers to schemas of many forms: 1,000 where asked.
#[test]
fn answers_are_valid_to_a_validator_of_another_make() {
    if venv("python").is_none() {
        return;
    }
    let Some(appliance) = shared() else { return };
    let count = if long() { "1000" } else { "30" };
    let printed = peer(&appliance, "schemas.py", &[count]);
    eprint!("{printed}");
    assert!(printed.contains("ok"));
}

/// A program of the load generator's environment.
fn guidellm() -> Option<PathBuf> {
    let given = std::env::var_os("PERICARD_LOAD_VENV").map(PathBuf::from);
    let venv = given.unwrap_or_else(|| cache().join("venv-load"));
    needed(venv.join("bin/guidellm"))
}

/// Runs the load generator in a folder that has its questions; its report is beside them, named by the route.
fn generate(
    guidellm: &Path,
    dir: &Path,
    (route, token): (&str, &str),
    ca: Option<&Path>,
) -> Output {
    let target = fs::read_to_string(dir.join("target")).expect("the address");
    let mut command = Command::new(guidellm);
    command
        .current_dir(dir)
        .env_remove("REQUESTS_CA_BUNDLE")
        .env_remove("SSL_CERT_FILE")
        .env("NO_PROXY", "*")
        .env("HF_HOME", dir.join("cache"))
        .env("HF_HUB_OFFLINE", "1")
        .env("GUIDELLM__OPENAI__API_KEY", token)
        .env("GUIDELLM__PREFERRED_ROUTE", route)
        .envs(ca.map(|ca| ("SSL_CERT_FILE", ca)));
    command
        .args(["benchmark", "run", "--target", &target, "--model", MODEL])
        .args(["--data", "questions.jsonl", "--rate-type", "concurrent"])
        .args(["--rate", &AT_ONCE.to_string()])
        .args(["--max-requests", &REQUESTS.to_string()])
        .args(["--disable-progress", "--disable-console-outputs"])
        .args(["--output-path", &format!("{route}.json")]);
    ended(&mut command)
}

/// As it is published, over TLS and with a token: by its own report every request was answered, and with all its tokens. Without
/// the appliance's certificate it does not even begin, nor with a token that nobody has.
#[test]
fn a_public_load_generator_runs_unchanged() {
    if !long() {
        eprintln!("passed over: `cargo xtask test --long` runs the load generator");
        return;
    }
    let Some(guidellm) = guidellm() else { return };
    let Some(appliance) = shared() else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let question = |number: usize| {
        let text = format!("Write down what is seen in radiograph number {number}.");
        json!({"prompt": text, "output_tokens": TOKENS}).to_string() + "\n"
    };
    let questions: String = (0..REQUESTS).map(question).collect();
    fs::write(dir.path().join("questions.jsonl"), questions).expect("writes");
    let target = format!("https://{}", appliance.https);
    fs::write(dir.path().join("target"), target).expect("writes");
    let ca = appliance.ca();
    for route in ["chat_completions", "text_completions"] {
        let asked = (route, appliance.token.as_str());
        let output = generate(&guidellm, dir.path(), asked, Some(&ca));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{route}: {said}");
        let report = fs::read(dir.path().join(format!("{route}.json"))).expect("its report");
        let report: Value = serde_json::from_slice(&report).expect("JSON");
        let run = &report["benchmarks"][0];
        let counts =
            json!({"successful": REQUESTS, "errored": 0, "incomplete": 0, "total": REQUESTS});
        assert_eq!(run["run_stats"]["requests_made"], counts, "{route}");
        let answers = run["requests"]["successful"].as_array().expect("a list");
        assert_eq!(answers.len(), REQUESTS);
        for answer in answers {
            assert_eq!(answer["request_type"], route);
            assert_eq!(answer["output_tokens"], TOKENS, "{answer}");
            assert!(answer["prompt_tokens"].as_u64() > Some(0), "{answer}");
            assert!(
                answer["output"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty())
            );
        }
        eprintln!("{route}: {REQUESTS} of {REQUESTS} answered");
    }
    for (token, ca, why) in [
        (appliance.token.as_str(), None, "CERTIFICATE_VERIFY_FAILED"),
        ("pcd_nobody", Some(ca.as_path()), "401"),
    ] {
        let output = generate(&guidellm, dir.path(), ("chat_completions", token), ca);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains(why),
            "{why}: {said}"
        );
    }
}
