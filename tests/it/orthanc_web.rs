//! DICOMweb beside Orthanc's plugin and with it as client; orders by UPS-RS; FHIR before a library of another make.

use crate::orthanc::Orthanc;
use crate::support::*;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Orthanc with its DICOMweb plugin, and the appliance as one of its servers when there is one.
fn orthanc_web(appliance: Option<&Appliance>) -> Option<Orthanc> {
    let plugin = needed(PathBuf::from(
        "/usr/share/orthanc/plugins/libOrthancDicomWeb.so",
    ))?;
    let servers = appliance.map_or(json!({}), |appliance| {
        let bearer = format!("Bearer {}", appliance.token);
        json!({"pericard": {
            "Url": format!("https://{}/dicomweb/", appliance.https), "HttpHeaders": {"Authorization": bearer},
        }})
    });
    let mut config = json!({
        "Plugins": [plugin], "HttpTimeout": 60,
        "DicomWeb": {"Enable": true, "Root": "/dicom-web/", "StudiesMetadata": "Full", "SeriesMetadata": "Full",
            "Servers": servers},
    });
    if let Some(appliance) = appliance {
        config["HttpsCACertificates"] = json!(appliance.ca());
        config["HttpsVerifyPeers"] = json!(true);
    }
    Orthanc::start(config)
}

#[test]
fn dicomweb_says_what_orthanc_says_of_the_same_files() {
    let Some(appliance) = Appliance::start(Given::default()) else {
        return;
    };
    let Some(orthanc) = orthanc_web(None) else {
        return;
    };
    let ours = format!("https://{}/dicomweb", appliance.https);
    let theirs = format!("http://127.0.0.1:{}/dicom-web", orthanc.http);
    let ca = appliance.ca();
    let args: [&str; 4] = [
        &ours,
        &appliance.token,
        ca.to_str().expect("a path"),
        &theirs,
    ];
    let Some(printed) = python("orthanc_web.py", &args) else {
        return;
    };
    let counts: Value = serde_json::from_str(&printed).expect("JSON");
    eprintln!("beside Orthanc: {counts}");
    assert!(counts["held"].as_u64() >= Some(220), "{counts}");
    assert!(counts["variants"].as_u64() >= Some(70), "{counts}");
    assert!(counts["hits"].as_u64() > Some(100), "{counts}");
    assert!(counts["counted"].as_u64() >= Some(100), "{counts}");
    assert!(counts["frames"].as_u64() >= Some(300), "{counts}");
    // Each at the level of its study and of its series.
    let twice = counts["held"].as_u64().map(|held| 2 * held);
    assert_eq!(counts["listed"].as_u64(), twice, "{counts}");
}

#[test]
fn orthanc_sends_finds_and_retrieves_by_dicomweb() {
    let (Some(chest), Some(ultrasound)) = (sample("chest"), sample("us1")) else {
        return;
    };
    let Some(appliance) = Appliance::start(Given::default()) else {
        return;
    };
    let Some(orthanc) = orthanc_web(Some(&appliance)) else {
        return;
    };
    let (sent, held) = (&files_in(&chest)[0], &files_in(&ultrasound)[0]);
    let stored = orthanc.holds(sent);
    let server = "/dicom-web/servers/pericard";
    let stow = json!({"Resources": [stored["ID"]], "Synchronous": true});
    let told = orthanc.told(&format!("{server}/stow"), &stow);
    assert_eq!(told["InstancesCount"], "1", "{told} {}", orthanc.log());
    let study = study_of(sent);
    assert_eq!(
        appliance.json(&format!("/api/v1/studies/{study}"))["instances"],
        1
    );
    let qido = json!({"Uri": "/studies", "Arguments": {"StudyInstanceUID": study}});
    let found = orthanc.told(&format!("{server}/qido"), &qido);
    assert_eq!(found.as_array().map(Vec::len), Some(1), "{found}");
    appliance.pericard(&["submit", held.to_str().expect("a path")]);
    let study = study_of(held);
    let retrieve = json!({"Resources": [{"Study": study}], "Synchronous": true});
    orthanc.told(&format!("{server}/retrieve"), &retrieve);
    let studies = orthanc.asked(&[], "/studies?expand").expect("its studies");
    let has = |s: &Value| s["MainDicomTags"]["StudyInstanceUID"] == study.as_str();
    assert!(
        studies.as_array().is_some_and(|all| all.iter().any(has)),
        "{studies}"
    );
}

#[test]
fn an_analysis_is_ordered_on_the_worklist_and_read_by_fhir() {
    let Some(ultrasound) = sample("us1") else {
        return;
    };
    // No rule asks for it: only the order does.
    let toml = "[[rules]]\nname = 'none'\nmodels = ['burned-in-text']\nidle_timeout_s = 1\nwhen = { modalities = ['XX'] }\n";
    let Some(appliance) = Appliance::start(Given {
        toml,
        models: &["burned-in-text"],
    }) else {
        return;
    };
    let file = &files_in(&ultrasound)[0];
    let (study, ca) = (study_of(file), appliance.ca());
    let (path, ca) = (file.to_str().expect("a path"), ca.to_str().expect("a path"));
    let dicomweb = format!("https://{}/dicomweb", appliance.https);
    let Some(printed) = python("ris.py", &[&dicomweb, &appliance.token, ca, &study, path]) else {
        return;
    };
    let told: Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(told["told"], json!(["IN PROGRESS", "COMPLETED"]), "{told}");
    let jobs = appliance.jobs_ended(&study);
    let inferred = jobs.iter().find(|job| job["work"]["kind"] == "infer");
    assert_eq!(inferred.expect("its job")["priority"], "stat");
    let output = &told["workitem"]["00741216"]["Value"][0]["00404033"]["Value"][0];
    assert_eq!(output["0020000D"]["Value"][0], study.as_str());
    let reports = appliance.reports(&study);
    let instance = &output["00081199"]["Value"][0]["00081155"]["Value"][0];
    let mut objects = reports[0]["objects"].as_array().expect("objects").iter();
    assert!(objects.any(|o| o["instance"] == *instance), "{output}");
    let log = appliance.pericard(&["audit", "show", "--json"]);
    for verb in ["create workitem", "claim workitem", "complete workitem"] {
        assert!(log.contains(verb), "{verb} is in the audit log");
    }
    let fhir = format!("https://{}/fhir", appliance.https);
    let Some(printed) = python("fhir_client.py", &[&fhir, &appliance.token, ca, &study]) else {
        return;
    };
    let counts: Value = serde_json::from_str(&printed).expect("JSON");
    assert!(counts["Observation"].as_u64() >= Some(1), "{counts}");
}

/// With an order that names two objects, the first alone is no study, however long nothing comes.
#[test]
fn an_order_that_names_its_objects_is_begun_when_all_of_them_are_here() {
    let (Some(us1), Some(dcmodify)) = (sample("us1"), program("dcmodify")) else {
        return;
    };
    let toml = "[[rules]]\nname = 'text'\nmodels = ['burned-in-text']\nidle_timeout_s = 1\n";
    let Some(appliance) = Appliance::start(Given {
        toml,
        models: &["burned-in-text"],
    }) else {
        return;
    };
    let first = &files_in(&us1)[0];
    let second = appliance.dir.path().join("second.dcm");
    std::fs::copy(first, &second).expect("a copy");
    run(std::process::Command::new(dcmodify)
        .args(["-nb", "-gin"])
        .arg(&second));
    let study = study_of(first);
    let files = [first, &second].map(|path| path.to_str().expect("a path"));
    let Some(told) = ordered(&appliance, &["--named"], &study, &files) else {
        return;
    };
    assert_eq!(told["told"], json!(["IN PROGRESS", "COMPLETED"]), "{told}");
    let reports = appliance.reports(&study);
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert_eq!(reports[0]["evidence"].as_array().map(Vec::len), Some(2));
    let log = appliance.pericard(&["audit", "show", "--json"]);
    let uid = told["workitem"]["00080018"]["Value"][0].as_str();
    let source = format!("workitem {}", uid.expect("its UID"));
    assert!(
        log.contains("counted") && log.contains(&source),
        "the order is why the study was complete: {log}"
    );
}

/// An order of a rule is an order of all its models, after the earlier studies that the rule asks for; one model that cannot do
/// it is told, with what the other did.
#[test]
fn an_order_of_a_rule_runs_every_model_of_it() {
    let Some(ultrasound) = sample("us1") else {
        return;
    };
    let closed = free_port();
    let toml = format!(
        "[[peers]]\nname = 'archive'\nae_title = 'ARCHIVE'\naddress = '127.0.0.1'\nport = {closed}\nfetch = ['get']\n\
         [[rules]]\nname = 'both'\nmodels = ['burned-in-text', 'brain-extraction']\nidle_timeout_s = 1\n\
         when = {{ modalities = ['XX'] }}\npriors = {{ from = 'archive', wait_max_s = 3 }}\n"
    );
    let Some(appliance) = Appliance::start(Given {
        toml: &toml,
        models: &["burned-in-text", "brain-extraction"],
    }) else {
        return;
    };
    let file = &files_in(&ultrasound)[0];
    let (study, path) = (study_of(file), file.to_str().expect("a path"));
    let Some(told) = ordered(&appliance, &["--rule=both"], &study, &[path]) else {
        return;
    };
    assert_eq!(told["told"], json!(["IN PROGRESS", "CANCELED"]), "{told}");
    let workitem = &told["workitem"];
    let reason = workitem["00741238"]["Value"][0].as_str();
    let reason = reason.expect("a reason");
    assert!(reason.starts_with("brain-extraction "), "{reason}");
    let jobs = appliance.jobs_ended(&study);
    let mut ends: Vec<_> = jobs
        .iter()
        .filter(|job| job["work"]["kind"] == "infer")
        .map(|job| {
            (
                &job["work"]["model"]["name"],
                &job["state"],
                &job["priority"],
            )
        })
        .collect();
    ends.sort_by_key(|(name, _, _)| name.to_string());
    let stat = json!("stat");
    let expected = [
        (&json!("brain-extraction"), &json!("failed"), &stat),
        (&json!("burned-in-text"), &json!("done"), &stat),
    ];
    assert_eq!(ends, expected);
    let outputs = &workitem["00741216"]["Value"][0]["00404033"]["Value"];
    let instance = &outputs[0]["00081199"]["Value"][0]["00081155"]["Value"][0];
    assert_eq!(
        *instance,
        appliance.reports(&study)[0]["objects"][0]["instance"]
    );
    let held = appliance.json(&format!("/api/v1/studies/{study}"));
    let prior = &held["priors"][0];
    assert_eq!(
        (&prior["from"], &prior["state"]),
        (&json!("archive"), &json!("late"))
    );
    let log = appliance.pericard(&["audit", "show", "--json"]);
    assert!(log.contains("go on without priors"), "{log}");
}

/// What the hospital's information system in `ris.py` was told.
fn ordered(appliance: &Appliance, options: &[&str], study: &str, files: &[&str]) -> Option<Value> {
    let dicomweb = format!("https://{}/dicomweb", appliance.https);
    let ca = appliance.ca();
    let mut args = options.to_vec();
    args.extend([
        &*dicomweb,
        &appliance.token,
        ca.to_str().expect("a path"),
        study,
    ]);
    args.extend(files);
    let printed = python("ris.py", &args)?;
    Some(serde_json::from_str(&printed).expect("JSON"))
}

/// How much there is of a study, by QIDO-RS, and the study before it, by WADO-RS, once C-GET and C-MOVE were tried: its DICOM
/// door gives neither.
#[test]
fn orthanc_says_how_much_it_has_and_gives_earlier_studies_by_dicomweb() {
    let Some(orthanc) = orthanc_web(None) else {
        return;
    };
    let web = format!("http://127.0.0.1:{}/dicom-web", orthanc.http);
    counted_and_given(
        &orthanc,
        &Web {
            web,
            ..Web::default()
        },
    );
}

/// The same where the web server is a hospital's: over https, beside DICOM in plain. One peer's is known by its name, the other's
/// by its certificate.
#[test]
fn orthanc_says_and_gives_the_same_over_https_beside_plain_dicom() {
    let (Some(python), Some(_)) = (venv("python"), program("openssl")) else {
        return;
    };
    let Some(orthanc) = orthanc_web(None) else {
        return;
    };
    let certs = tempfile::tempdir().expect("a temporary directory");
    let fingerprint = crate::orders::certificates(certs.path());
    let at = |name: &str| certs.path().join(name).to_str().expect("a path").to_owned();
    let (front, door) = (free_port(), free_port());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/peers/tls_front.py");
    let args = [
        script.to_str().expect("a path"),
        &front.to_string(),
        &at("ris.key"),
        &at("ris.pem"),
        &orthanc.http.to_string(),
    ];
    let _front = Process::start(&python, &args, &certs.path().join("log"));
    until("the web server's TLS", || {
        std::net::TcpStream::connect(("127.0.0.1", front)).ok()
    });
    let web = Web {
        web: format!("https://127.0.0.1:{front}/dicom-web"),
        ours: format!(
            "[dicom.tls]\nlisten = '127.0.0.1:{door}'\ncertificate = '{}'\nkey = '{}'\nauthorities = '{}'\n",
            at("own.pem"),
            at("own.key"),
            at("ca.pem")
        ),
        archive: format!("web_certificates = ['{fingerprint}']"),
    };
    counted_and_given(&orthanc, &web);
}

/// Where Orthanc's web server is.
#[derive(Default)]
struct Web {
    web: String,
    /// What stands in the configuration before the peers.
    ours: String,
    /// What stands under the peer that gives earlier studies.
    archive: String,
}

fn counted_and_given(orthanc: &Orthanc, Web { web, ours, archive }: &Web) {
    let (Some(us1), Some(_)) = (sample("us1"), program("dcmodify")) else {
        return;
    };
    let closed = free_port();
    let peer = |name: &str, port: u16, more: &str| {
        format!(
            "[[peers]]\nname = '{name}'\nae_title = '{name}'\naddress = '127.0.0.1'\nport = {port}\nweb = '{web}'\n{more}\n"
        )
    };
    let given = format!("fetch = ['get', 'move', 'web']\n{archive}");
    let toml = format!(
        "{ours}{}{}[[rules]]\nname = 'text'\nmodels = ['burned-in-text']\nidle_timeout_s = 600\nwait_max_s = 900\n\
         priors = {{ from = 'archive', wait_max_s = 120 }}\n",
        peer("counter", closed, "counts = true"),
        peer("archive", orthanc.dicom, &given),
    );
    let Some(appliance) = Appliance::start(Given {
        toml: &toml,
        models: &["burned-in-text"],
    }) else {
        return;
    };
    let dcmodify = |file: &Path, changes: &[&str]| {
        let mut dcmodify = Command::new(program("dcmodify").expect("dcmodify"));
        run(dcmodify.arg("-nb").args(changes).arg(file));
    };
    let made = |name: &str, date: &str| {
        let file = appliance.dir.path().join(name);
        std::fs::copy(us1.join("US1_UNCR.dcm"), &file).expect("a copy");
        let date = format!("StudyDate={date}");
        let all = [
            "-gst",
            "-gse",
            "-gin",
            "-i",
            &date,
            "-i",
            "StudyTime=100000",
            "-i",
            "PatientID=P6",
        ];
        dcmodify(&file, &all);
        file
    };
    let (earlier, first) = (made("earlier.dcm", "20250301"), made("a.dcm", "20260301"));
    let second = appliance.dir.path().join("b.dcm");
    std::fs::copy(&first, &second).expect("a copy");
    dcmodify(&second, &["-gin"]);
    // Of another patient, who has no earlier studies.
    let other = made("c.dcm", "20260301");
    dcmodify(&other, &["-m", "PatientID=P7"]);
    for file in [&earlier, &first, &second, &other] {
        orthanc.holds(file);
    }
    let (today, earlier) = (study_of(&first), study_of(&earlier));
    let is_done = |study: &str| {
        let jobs = appliance.json(&format!("/api/v1/jobs?study={study}"));
        let done = |job: &Value| job["work"]["kind"] == "infer" && job["state"] == "done";
        jobs["jobs"]
            .as_array()
            .is_some_and(|jobs| jobs.iter().any(done))
    };
    assert!(appliance.storescu(&["-R"], &[&first]).status.success());
    // The source is asked about one that comes later no sooner: by then it has been asked about this one.
    assert!(appliance.storescu(&["-R"], &[&other]).status.success());
    until("the report on another study, which is whole", || {
        is_done(&study_of(&other)).then_some(())
    });
    let jobs = appliance.json(&format!("/api/v1/jobs?study={today}"));
    assert_eq!(
        jobs["jobs"].as_array().map(Vec::len),
        Some(1),
        "half of it is no study: {jobs}"
    );
    assert!(appliance.storescu(&["-R"], &[&second]).status.success());
    until("the report, long before it was idle for long", || {
        is_done(&today).then_some(())
    });
    let shown = appliance.json(&format!("/api/v1/studies/{today}"));
    let order = &shown["priors"][0];
    assert_eq!(
        (&order["state"], &order["outcome"]["here"]),
        (&"ended".into(), &1.into()),
        "{shown}"
    );
    let prior = appliance.json(&format!("/api/v1/studies/{earlier}"));
    assert_eq!(prior["instances"], 1, "{prior}");
    let (_, audit) = appliance.get("/api/v1/audit?limit=1000");
    assert!(
        audit.contains("counted") && audit.contains("counter"),
        "{audit}"
    );
    let log = appliance.log();
    assert!(!log.contains("asked by C-FIND"), "{log}");
}
