//! The command line and the process: wrong keys, wrong usage, exit codes, the end.

use crate::support::*;
use rcgen::{CertificateParams, KeyPair};
use std::path::Path;
use std::process::Command;

fn pericard(args: &[&str]) -> (Option<i32>, String, String) {
    let output = ended(Command::new(PERICARD).args(args));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn a_wrong_key_is_named_with_its_line() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("pericard.toml");
    std::fs::write(&file, "[https]\nlisten = '127.0.0.1:8443'\nlistens = 1\n").expect("the file");
    let (code, _, said) = pericard(&["check", "--config", file.to_str().expect("a path")]);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("line 3") && said.contains("listens"),
        "{said}"
    );
    let (code, _, said) = pericard(&["check", "--config", "/nowhere.toml"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("/nowhere.toml"), "{said}");
}

#[test]
fn usage_is_told_from_failure() {
    assert_eq!(pericard(&["--version"]).0, Some(0));
    assert_eq!(pericard(&["frobnicate"]).0, Some(2));
    assert_eq!(pericard(&[]).0, Some(2));
    let (code, out, _) = pericard(&["--help"]);
    assert_eq!(code, Some(0));
    for command in [
        "serve",
        "demo",
        "check",
        "doctor",
        "submit",
        "jobs",
        "model",
        "audit",
        "egress",
        "token",
        "cert",
        "deidentify",
    ] {
        assert!(out.contains(command), "--help does not name {command}");
    }
}

#[test]
fn nothing_is_sent_without_a_hub_and_frames_are_held_by_hand() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (data, gate) = (dir.path().join("data"), dir.path().join("gate"));
    let file = dir.path().join("pericard.toml");
    let text = format!(
        "[appliance]\ndata_dir = '{}'\n[egress]\ngate_dir = '{}'\n",
        data.display(),
        gate.display()
    );
    std::fs::write(&file, text).expect("the file");
    let egress = |args: &[&str]| {
        let config = ["--config", file.to_str().expect("a path")];
        pericard(&[&["egress"], args, &config].concat())
    };
    let (code, out, _) = egress(&["run"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("no hub is enrolled"), "{out}");
    assert!(!gate.exists(), "and no trace of a gate");
    let (code, request, _) = egress(&["enrol-request"]);
    assert_eq!(code, Some(0));
    assert!(request.starts_with("pericard-enrolment-request/v1\nframe_key pericard-egress+"));
    let (code, _, said) = egress(&["enrol", "/nowhere", "--hub-key", "none"]);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(egress(&["hold", "--frame", "7"]).1, "frame 7 held\n");
    assert_eq!(egress(&["release", "--frame", "7"]).1, "frame 7 released\n");
    assert_eq!(egress(&["release"]).1, "all frames not held\n");
    let lines = pericard(&[
        "audit",
        "show",
        "--json",
        "--config",
        file.to_str().expect("a path"),
    ])
    .1;
    for verb in ["hold frame", "release frame"] {
        assert!(lines.contains(verb), "{verb}: {lines}");
    }
    let (code, _, said) = egress(&["carry", "/nowhere"]);
    assert_eq!(code, Some(1), "{said}");
}

#[test]
fn a_door_beyond_loopback_stays_shut_while_nobody_is_known() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("pericard.toml");
    let data = dir.path().join("data");
    let text = format!(
        "[appliance]\ndata_dir = '{}'\n[https]\nlisten = '0.0.0.0:{}'\n[dicom]\nlisten = '127.0.0.1:{}'\n\
         [storage]\nfree_space_floor_mib = 64\n[models]\nonnxruntime = '{}'\n",
        data.display(),
        free_port(),
        free_port(),
        file.display(), // there, and never loaded
    );
    std::fs::write(&file, text).expect("the file");
    let config = ["--config", file.to_str().expect("a path")];
    let with = |command: &[&str]| pericard(&[command, &config].concat());
    let is_shut = |command: &str| {
        let (code, _, said) = with(&[command]);
        assert_eq!(code, Some(2), "{command}: {said}");
        assert!(said.contains("token issue"), "{command}: {said}");
    };
    is_shut("check");
    assert!(!data.exists(), "whoever only looks makes nothing");
    is_shut("serve");
    let issue = ["token", "issue", "--label", "x", "--role", "auditor"];
    let (code, _, said) = with(&issue);
    assert_eq!(code, Some(0), "{said}");
    let (code, _, said) = with(&["check"]);
    assert_eq!(code, Some(0), "{said}");
    let (_, tokens, _) = with(&["token", "list", "--json"]);
    let tokens: serde_json::Value = serde_json::from_str(&tokens).expect("JSON");
    let id = tokens[0]["id"].as_str().expect("its id");
    assert_eq!(with(&["token", "revoke", id]).0, Some(0));
    is_shut("check");
}

#[test]
fn what_a_start_would_refuse_is_refused_by_check_and_neither_is_tried_again() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    for name in ["one", "two"] {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        std::fs::write(path(&format!("{name}.pem")), certificate).expect("a file");
        std::fs::write(path(&format!("{name}.key")), key.serialize_pem()).expect("a file");
    }
    let [file, data] = ["pericard.toml", "data"].map(path);
    let (https, dicom) = (free_port(), free_port());
    let ends = |command: &str, certificate: &str, key: &str, more: &str| {
        let text = format!(
            "[appliance]\ndata_dir = '{data}'\n[storage]\nfree_space_floor_mib = 64\n[models]\nonnxruntime = '{file}'\n\
             [dicom]\nlisten = '127.0.0.1:{dicom}'\n{more}\
             [https]\nlisten = '127.0.0.1:{https}'\ncertificate = '{certificate}'\nkey = '{key}'\n"
        );
        std::fs::write(&file, text).expect("the file");
        let (code, _, said) = pericard(&[command, "--config", &file]);
        (code, said)
    };
    let [one, two, gone] = ["one.pem", "two.pem", "gone"].map(path);
    let [key, other] = ["one.key", "two.key"].map(path);
    let catalogue = format!("[egress]\ncatalogue = '{gone}'\ncatalogue_key = 'none'\n");
    // A credential of the service, which does not run.
    let sealed = "/run/credentials/pericard-test.service/tls.key";
    assert_eq!(ends("check", &one, &key, ""), (Some(0), String::new()));
    assert_eq!(ends("check", &one, sealed, ""), (Some(0), String::new()));
    for (certificate, key, more, named) in [
        (&one, &other, "", &one),
        (&two, &key, "", &two),
        (&gone, &key, "", &gone),
        (&one, &gone, "", &gone),
        (&one, &key, &*catalogue, &gone),
    ] {
        for command in ["check", "serve"] {
            let (code, said) = ends(command, certificate, key, more);
            assert_eq!(code, Some(2), "{command}: {said}");
            assert!(said.contains(named.as_str()), "{command}: {said}");
        }
    }
    let (code, said) = ends("check", &gone, sealed, "");
    assert_eq!((code, said.contains(&gone)), (Some(2), true), "{said}");
}

#[test]
fn sigterm_drains_and_ends_with_0() {
    let (Some(ultrasound), Some(_)) = (sample("us1"), program("storescu")) else {
        return;
    };
    let toml = "[[rules]]\nname = 'text'\nmodels = ['burned-in-text']\nidle_timeout_s = 1\n";
    let Some(mut appliance) = Appliance::start(Given {
        toml,
        models: &["burned-in-text"],
    }) else {
        return;
    };
    assert!(
        appliance
            .storescu(&["-R", "+r", "+sd"], &[&ultrasound])
            .status
            .success()
    );
    appliance.process().signal("TERM");
    assert_eq!(appliance.process().wait(), Some(0), "{}", appliance.log());
    appliance.restart();
    let studies = appliance.json("/api/v1/studies");
    let study = studies["studies"][0]["study"]
        .as_str()
        .expect("the study is there")
        .to_owned();
    appliance.jobs_ended(&study);
    assert_eq!(
        appliance.reports(&study).len(),
        1,
        "the work was taken up again, once"
    );
}

#[test]
fn submit_waits_and_prints_and_the_queue_is_shown() {
    let Some(ultrasound) = sample("us1") else {
        return;
    };
    let toml = "[[rules]]\nname = 'text'\nmodels = ['burned-in-text']\nidle_timeout_s = 1\n";
    let Some(appliance) = Appliance::start(Given {
        toml,
        models: &["burned-in-text"],
    }) else {
        return;
    };
    let printed = appliance.pericard(&["submit", "--wait", ultrasound.to_str().expect("a path")]);
    assert!(
        printed.contains("BAPTIST") && printed.contains("object 2.25."),
        "{printed}"
    );
    let jobs = appliance.pericard(&["jobs", "list"]);
    assert!(
        jobs.contains("assemble") && jobs.contains("burned-in-text 1.0.0"),
        "{jobs}"
    );
    let refused = ended(&mut appliance.command(&["submit", "/nowhere"]));
    assert_eq!(refused.status.code(), Some(1));
    let models = appliance.pericard(&["model", "list"]);
    assert!(
        models.contains("burned-in-text") && models.contains("live"),
        "{models}"
    );
    appliance.pericard(&["model", "verify", "burned-in-text", "1.0.0"]);
    let preview = until("the counters on disk", || {
        let output = ended(&mut appliance.command(&["egress", "preview"]));
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    });
    assert!(preview.contains("objects"), "{preview}");
    assert!(!preview.contains("BAPTIST"));
}

#[test]
fn the_demonstration_starts_for_scripts_and_ends() {
    if needed(cache().join("onnxruntime/libonnxruntime.so")).is_none() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().to_str().expect("a path");
    let log = dir.path().join("log");
    let mut demo = Process::start(
        Path::new(PERICARD),
        &["demo", "--dir", path, "--no-samples"],
        &log,
    );
    let found = until("demo.json", || {
        assert!(
            demo.is_running(),
            "{}",
            std::fs::read_to_string(&log).unwrap_or_default()
        );
        let text = std::fs::read_to_string(dir.path().join("demo.json")).ok()?;
        serde_json::from_str::<serde_json::Value>(&text).ok()
    });
    for key in [
        "https", "dicom", "ae_title", "token", "ca", "config", "data", "pid",
    ] {
        assert!(!found[key].is_null(), "demo.json has no {key}: {found}");
    }
    assert_eq!(found["pid"], demo.id());
    let url = format!(
        "https://{}/healthz",
        found["https"].as_str().expect("an address")
    );
    let ca = found["ca"].as_str().expect("a path");
    run(Command::new("curl").args(["--silent", "--fail", "--noproxy", "*", "--cacert", ca, &url]));
    demo.signal("TERM");
    assert_eq!(
        demo.wait(),
        Some(0),
        "{}",
        std::fs::read_to_string(&log).unwrap_or_default()
    );
}

#[test]
fn a_study_on_disk_is_told_which_rules_it_would_meet() {
    let Some(ultrasound) = sample("us1") else {
        return;
    };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("pericard.toml");
    let rule = |name: &str, when: &str| {
        format!(
            "[[rules]]\nname = '{name}'\nmodels = ['burned-in-text']\nidle_timeout_s = 7\npriority = 'stat'\n{when}\n"
        )
    };
    let rules = [
        rule(
            "text",
            "when.modalities = ['CT', 'US']\nmessages = ['ris']\nwait_max_s = 33\n\
             requires = [{ modalities = ['US'] }, { modalities = ['PT'] }]\n\
             priors = { from = 'archive', studies_max = 3, objects_max = 44, size_max_mib = 55, age_max_days = 66, wait_max_s = 77 }",
        ),
        rule(
            "silent",
            "when.modalities = ['US']\nresults = ['sc']\nreport_failures = false",
        ),
        rule("bone", "when.modalities = ['CR']"),
        rule(
            "high",
            "when.attributes = [{ name = 'Rows', from = 1, to = 2 }]",
        ),
        rule("old", "when.age_years = { from = 200 }"),
    ];
    let peers = "[hl7]\nfacility = 'HOSP'\n\
        [[hl7_peers]]\nname = 'ris'\naddress = '127.0.0.1'\nport = 2575\napplication = 'RIS'\n\
        [[peers]]\nname = 'archive'\nae_title = 'ARCHIVE'\naddress = '127.0.0.1'\nport = 104\nfetch = ['get']\n";
    let text = [peers.to_owned(), rules.concat()].concat();
    std::fs::write(&file, text).expect("the configuration");
    let config = file.to_str().expect("a path");
    let study = ultrasound.to_str().expect("a path");
    let (code, out, said) = pericard(&["check", "--config", config, "--study", study]);
    assert_eq!(code, Some(0), "{said}");
    for expected in [
        "rule \"text\" fires: ",
        "models burned-in-text, stat, after 7 s without a new object, sr seg to nobody; told of by message: ris; \
         of failures a report; requirement 1 of 2 met by 1 objects; requirement 2 of 2 not met yet; \
         waited for at most 33 s while something lacks; earlier studies from archive: at most 3 of the study's own modalities, \
         44 objects, 55 MiB, 66 days back, waited for at most 77 s",
        "rule \"silent\" fires: 1 objects match; models burned-in-text, stat, after 7 s without a new object, sr sc to nobody; \
         told of by message: nobody; of failures no word; waited for at most 900 s while something lacks\n",
        "rule \"bone\" does not: not met: modalities (",
        "rule \"high\" does not: not met: attributes Rows (",
        "rule \"old\" does not: not met: age_years (",
    ] {
        assert!(out.contains(expected), "{expected}\n{out}");
    }
    let empty = dir.path().to_str().expect("a path");
    let (code, _, said) = pericard(&["check", "--config", config, "--study", empty]);
    assert_eq!(
        (code, said.contains("no DICOM object")),
        (Some(1), true),
        "{said}"
    );
}
