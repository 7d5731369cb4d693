//! HTTPS with clients of other makes: curl, dicomweb-client.

use crate::support::*;
use std::process::Command;

#[test]
fn dicomweb_client_stores_finds_and_retrieves() {
    let (Some(chest), Some(_)) = (sample("chest"), venv("python")) else {
        return;
    };
    let Some(appliance) = shared() else { return };
    let printed = python(
        "dicomweb.py",
        &[
            &format!("https://{}/dicomweb", appliance.https),
            &appliance.token,
            appliance.ca().to_str().expect("a path"),
            chest.to_str().expect("a path"),
        ],
    );
    assert!(printed.expect("python").contains("ok"));
}

#[test]
fn a_zip_and_a_form_go_in_by_curl() {
    let Some(clean) = sample("clean") else { return };
    let Some(appliance) = Appliance::start(Given::default()) else {
        return;
    };
    let zip = appliance.dir.path().join("study.zip");
    let script = "import sys, shutil; shutil.make_archive(sys.argv[1][:-4], 'zip', sys.argv[2])";
    let Some(python) = venv("python") else { return };
    run(Command::new(python)
        .args(["-c", script])
        .arg(&zip)
        .arg(&clean));
    let auth = format!("Authorization: Bearer {}", appliance.token);
    let data = format!("@{}", zip.display());
    let (status, body) = appliance.curl(
        &[
            "-H",
            &auth,
            "-H",
            "Content-Type: application/zip",
            "--data-binary",
            &data,
        ],
        "/api/v1/studies",
    );
    assert_eq!(status, 200, "{body}");
    let (status, body) = appliance.curl(
        &["-H", &auth, "-F", &format!("file={data}")],
        "/api/v1/studies",
    );
    assert!(
        (200..300).contains(&status) || status == 409 || status == 415,
        "{status} {body}"
    );
    let studies = appliance.json("/api/v1/studies");
    assert!(
        studies["studies"]
            .as_array()
            .is_some_and(|studies| studies.len() >= 3),
        "{studies}"
    );
}

/// Over either version of HTTP, whoever sends all before it looks for an answer finds the refusal, not a broken connection.
#[test]
fn a_refusal_reaches_who_sends_first_and_looks_then() {
    let Some(appliance) = shared() else { return };
    let large = appliance.dir.path().join("large");
    std::fs::write(&large, vec![b'x'; 24 << 20]).expect("a file");
    let data = format!("@{}", large.display());
    let auth = format!("Authorization: Bearer {}", appliance.token);
    let multipart = "Content-Type: multipart/related; type=\"application/dicom\"";
    for version in ["--http1.1", "--http2"] {
        let sends = [version, "-H", "Expect:", "--data-binary", &data];
        let refused = appliance.curl(&sends, "/dicomweb/studies");
        assert_eq!(refused.0, 401, "{version}: {}", refused.1);
        let sends = [&sends[..], &["-H", &auth, "-H", multipart]].concat();
        let refused = appliance.curl(&sends, "/dicomweb/studies");
        assert_eq!(refused.0, 400, "{version}: {}", refused.1);
        assert!(refused.1.contains("boundary"), "{}", refused.1);
    }
}

#[test]
fn only_liveness_is_open_and_tls_is_new() {
    let Some(appliance) = Appliance::start(Given::default()) else {
        return;
    };
    assert_eq!(appliance.curl(&[], "/healthz").0, 200);
    for path in [
        "/readyz",
        "/metrics",
        "/v1/models",
        "/api/v1/studies",
        "/dicomweb/studies",
        "/api/v1/openapi.json",
    ] {
        let (status, body) = appliance.curl(&[], path);
        assert_eq!(status, 401, "{path}: {body}");
    }
    assert_eq!(
        appliance.curl(&[], "/").0,
        303,
        "people are shown the way in"
    );
    assert_eq!(
        appliance.curl(&["--tls-max", "1.2"], "/healthz").0,
        0,
        "TLS 1.2 is refused"
    );
    let auditor = appliance.issue("auditor");
    let (status, _) = appliance.curl(
        &["-H", &format!("Authorization: Bearer {auditor}")],
        "/api/v1/studies",
    );
    assert_eq!(status, 403, "an auditor sees no patient data");
    let id = appliance.pericard(&["token", "list", "--json"]);
    let tokens: serde_json::Value = serde_json::from_str(&id).expect("JSON");
    let id = tokens[0]["id"].as_str().expect("an id");
    appliance.pericard(&["token", "revoke", id]);
    let (status, _) = appliance.curl(
        &["-H", &format!("Authorization: Bearer {auditor}")],
        "/api/v1/audit",
    );
    assert_eq!(status, 401, "a revoked token is none");
}

#[test]
fn metrics_hold_no_patient() {
    let (Some(ultrasound), Some(_)) = (sample("us1"), program("storescu")) else {
        return;
    };
    let Some(appliance) = Appliance::start(Given::default()) else {
        return;
    };
    assert!(
        appliance
            .storescu(&["-R", "+r", "+sd"], &[&ultrasound])
            .status
            .success()
    );
    let (status, metrics) = appliance.get("/metrics");
    assert_eq!(status, 200);
    assert!(metrics.contains("pericard_objects"), "{metrics}");
    let name = run(Command::new(program("dcmdump").expect("dcmdump"))
        .args(["-s", "+P", "0010,0010", "+r", "+sd"])
        .arg(&ultrasound));
    let name = name.split(['[', ']']).nth(1).unwrap_or("nobody^here");
    for text in [metrics, appliance.log()] {
        assert!(
            name.len() < 3 || !text.contains(name),
            "a patient's name has leaked"
        );
    }
}
