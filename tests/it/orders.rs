//! Orders, patients' numbers and results as messages, with HL7 libraries of other makes at the other end; and studies that
//! are complete because their source says so.

use crate::orthanc::Orthanc;
use crate::support::*;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

const HEADER: &str = "MSH|^~\\&|RIS|HOSP|PERICARD||20261129101500||";

fn copy(appliance: &Appliance, name: &str, changes: &[&str]) -> PathBuf {
    let sample = sample("us1").expect("the sample").join("US1_UNCR.dcm");
    let path = appliance.dir.path().join(name);
    std::fs::copy(sample, &path).expect("a copy");
    let mut dcmodify = Command::new(program("dcmodify").expect("dcmodify"));
    run(dcmodify.arg("-nb").args(changes).arg(&path));
    path
}

/// Sends messages over one connection; what each was answered: MSA-1, MSA-2, ERR-3.
fn send(port: u16, tls: &[&str], messages: &[String]) -> Vec<[String; 3]> {
    let port = port.to_string();
    let mut args = vec!["send", &port];
    args.extend(messages.iter().map(String::as_str));
    args.extend(tls);
    let said = python("hl7_system.py", &args).expect("python");
    serde_json::from_str(&said).unwrap_or_else(|e| panic!("{said}: {e}"))
}

fn message(kind: &str, id: &str, rest: &str) -> String {
    format!("{HEADER}{kind}|{id}|P|2.5.1||||||UNICODE UTF-8\\r{rest}")
}

fn job_of(appliance: &Appliance, study: &str) -> Value {
    let jobs = appliance.jobs_ended(study);
    let job = jobs.iter().find(|job| job["work"]["kind"] == "infer");
    job.expect("an inference").clone()
}

fn taken(folder: &Path, count: usize) -> Vec<String> {
    until("messages at the information system", || {
        let mut files = files_in(folder);
        files.retain(|file| file.extension().is_some_and(|e| e == "hl7"));
        let read = |file: &PathBuf| std::fs::read_to_string(file).expect("a message");
        (files.len() >= count).then(|| files.iter().map(read).collect())
    })
}

#[test]
fn an_order_makes_its_study_urgent_and_the_result_is_told_until_it_is_acknowledged() {
    if sample("us1").is_none() || program("dcmodify").is_none() || venv("python").is_none() {
        return;
    }
    let (door, results) = (free_port(), free_port());
    let toml = format!(
        "[hl7]\nlisten = '127.0.0.1:{door}'\nfacility = 'HOSP'\n\
         [[hl7_peers]]\nname = 'ris'\naddress = '127.0.0.1'\nport = {results}\napplication = 'RIS'\n\
         [[rules]]\nname = 'text'\nmodels = ['burned-in-text']\nidle_timeout_s = 1\nmessages = ['ris']\n"
    );
    let Some(appliance) = Appliance::start(Given {
        toml: &toml,
        models: &["burned-in-text"],
    }) else {
        return;
    };
    let folder = appliance.dir.path().join("taken");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::write(folder.join("answers"), "AE 207\nsilence\n").expect("answers");
    let order = "PID|1||P77^^^HOSP^MR||Müller^Jürgen\\rORC|NW|PL77|F77||||^^^20261129101500^^S\\r\
                 OBR|1|PL77|F77|CTH^Head||||||||||||||ACC77|RP1|S1||||US";
    let answers = send(
        door,
        &[],
        &[
            message("ORM^O01^ORM_O01", "M1", order),
            message("ORM^O01^ORM_O01", "M2", "PID|1||P77\\rORC|NW"),
            message("SIU^S12", "M3", "SCH|1"),
            message(
                "ADT^A08^ADT_A01",
                "M4",
                "EVN|A08\\rPID|1||P76^^^HOSP^MR||Doe^Jane||19700101|F",
            ),
            message(
                "ADT^A40^ADT_A39",
                "M5",
                "EVN|A40\\rPID|1||P78^^^HOSP^MR\\rMRG|P77^^^HOSP^MR",
            ),
            message(
                "ADT^A40^ADT_A39",
                "M6",
                "EVN|A40\\rPID|1||P77^^^HOSP^MR\\rMRG|P78^^^HOSP^MR",
            ),
        ],
    );
    let expected = [
        ["AA", "M1", ""],
        ["AE", "M2", "101"],
        ["AR", "M3", "200"],
        ["AA", "M4", ""],
        ["AA", "M5", ""],
        ["AE", "M6", "204"],
    ];
    assert_eq!(answers, expected);
    let orders = appliance.json("/api/v1/orders");
    assert_eq!(orders["orders"][0]["key"], "PL77", "{orders}");
    assert_eq!(orders["orders"][0]["state"], "expected");
    let shown = appliance.pericard(&["jobs", "expected"]);
    assert!(
        shown.contains("ACC77") && shown.contains("orders ris"),
        "{shown}"
    );

    let changes = [
        "-gst",
        "-gse",
        "-gin",
        "-i",
        "AccessionNumber=ACC77",
        "-i",
        "PatientID=P77",
    ];
    let file = copy(&appliance, "ordered.dcm", &changes);
    let study = study_of(&file);
    assert!(appliance.storescu(&["-R"], &[&file]).status.success());
    let job = job_of(&appliance, &study);
    assert_eq!(
        (&job["state"], &job["priority"]),
        (&"done".into(), &"stat".into())
    );
    let orders = appliance.json("/api/v1/orders");
    assert_eq!(orders["orders"][0]["state"], "arrived");

    // Nobody listens yet: the message waits, and is told once somebody does, again and again until it is acknowledged.
    let state = || {
        let list = appliance.json(&format!("/api/v1/messages?study={study}"));
        list["messages"][0].clone()
    };
    until("a failed attempt", || {
        state()["attempts"].as_u64().filter(|n| *n >= 1)
    });
    let (script, log) = (
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/peers/hl7_system.py"),
        appliance.dir.path().join("ris"),
    );
    let (script, port) = (script.to_str().expect("a path"), results.to_string());
    let folder_text = folder.to_str().expect("a path");
    let python = venv("python").expect("python");
    let _ris = Process::start(&python, &[script, "take", &port, folder_text], &log);
    until("the acknowledgement", || {
        (state()["state"] == "delivered").then_some(())
    });
    let taken = taken(&folder, 3);
    assert_eq!(taken.len(), 3, "AE 207, silence, and then AA");
    let ids: Vec<_> = taken
        .iter()
        .map(|m| m.split('|').nth(9).unwrap_or_default())
        .collect();
    assert!(
        ids.iter().all(|id| *id == ids[0]),
        "one message, three times: {ids:?}"
    );
    let told = &taken[2];
    for part in [
        "|PL77|ACC77|",
        "|P78|",
        "BAPTIST",
        study.as_str(),
        "111001^Algorithm Name^DCM",
        "|RIS|",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let unverified = |line: &&str| line.starts_with("OBX|");
    let mut observations = told.split('\r').filter(unverified);
    assert!(
        observations.all(|line| line.split('|').nth(11) == Some("R")),
        "{told}"
    );
    // The radiologist's own report comes back, with a word on ours.
    let report = |agreement: &str, status: &str| {
        format!(
            "PID|1||P77\\rORC|RE|PL77|F77\\rOBR|1|PL77|F77|||||||||||||||ACC77\\r\
             OBX|1|TX|121071^Finding^DCM||Müller is well.||||||F\\r\
             OBX|2|ST|111001^Algorithm Name^DCM||burned-in-text||||||F\\r\
             OBX|3|CWE|AGREEMENT^^99PERICARD||{agreement}||||||{status}"
        )
    };
    let elsewhere = report("AGREE^^99PERICARD", "F").replace("ACC77", "ACC78");
    let said = [
        ("R1", report("AGREE^^99PERICARD", "P")),
        ("R2", elsewhere),
        ("R3", report("AGREE^^99PERICARD", "F")),
        ("R4", report("373067005^No^SCT", "C")),
        ("R5", report("PERHAPS^^99PERICARD", "F")),
    ];
    let said = said.map(|(id, rest)| message("ORU^R01^ORU_R01", id, &rest));
    let expected = [
        ["AA", "R1", ""],
        ["AE", "R2", "204"],
        ["AA", "R3", ""],
        ["AA", "R4", ""],
        ["AE", "R5", "101"],
    ];
    assert_eq!(send(door, &[], &said), expected);
    let reviews = appliance.reports(&study)[0]["reviews"].clone();
    let reviews = reviews.as_array().expect("reviews");
    assert_eq!(
        reviews.len(),
        1,
        "the corrected word takes the place of the first: {reviews:?}"
    );
    assert_eq!(reviews[0]["verdict"], "disagreed");
    assert_eq!(reviews[0]["reviewer"], "application ris");

    let metrics = appliance.get("/metrics").1;
    assert!(
        metrics.contains("pericard_orders{state=\"arrived\"} 1"),
        "{metrics}"
    );
    assert!(metrics.contains("pericard_messages{state=\"waiting\"} 0"));
    assert!(!metrics.contains("ACC77"));
    let (_, audit) = appliance.get("/api/v1/audit?limit=1000");
    for word in ["ACC77", "üller", "PL77"] {
        assert!(!audit.contains(word), "{word} is in the audit log");
    }
}

#[test]
fn hostile_messages_are_answered_or_cut_and_the_next_is_heard() {
    if venv("python").is_none() {
        return;
    }
    let door = free_port();
    let toml = format!(
        "[hl7]\nlisten = '127.0.0.1:{door}'\nmessage_max_kib = 64\n[[hl7_peers]]\nname = 'ris'\naddress = '127.0.0.1'\n"
    );
    let Some(appliance) = Appliance::start(Given {
        toml: &toml,
        models: &[],
    }) else {
        return;
    };
    let framed = |message: &[u8]| [&[0x0B], message, &[0x1C, 0x0D]].concat();
    let header = b"MSH|^~\\&|RIS|H|P||1||ORM^O01|1|P|2.5";
    let wide = [&header[..], b"\rORC|", &b"|".repeat(10_000)].concat();
    let segments = [&header[..], b"\r", &b"NTE|\r".repeat(12_000)].concat();
    let bare = b"MSH|^~\\&|RIS|H|P||1||ORM^O01|1|P|3.0".to_vec();
    let strange = b"MSH|^~\\&|RIS|H|P||1||ORM^O01|1|P|2.5||||||UNICODE UTF-16".to_vec();
    for (name, bytes, answer) in [
        ("not MLLP", b"GET / HTTP/1.1\r\n\r\n".to_vec(), None),
        (
            "too long",
            [&[0x0B][..], &[b'x'; 200 * 1024]].concat(),
            None,
        ),
        ("never ended", b"\x0bMSH|^~\\&|".to_vec(), None),
        ("no header", framed(b"PID|1"), Some("MSA|AR")),
        ("nothing", framed(b""), Some("MSA|AR")),
        ("too wide", framed(&wide), Some("MSA|AR")),
        (
            "too many segments",
            framed(&segments[..60_000]),
            Some("MSA|AR"),
        ),
        ("another version", framed(&bare), Some("ERR|||203")),
        ("another character set", framed(&strange), Some("ERR|||103")),
        (
            "bytes",
            framed(&(32..=255).collect::<Vec<u8>>()),
            Some("MSA|AR"),
        ),
    ] {
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        // Longer than an argument may be: sent from here.
        let got = match hex.len() > 100_000 {
            true => {
                String::from_utf8_lossy(&raw(([127, 0, 0, 1], door).into(), &bytes)).into_owned()
            }
            false => {
                let said =
                    python("hl7_system.py", &["raw", &door.to_string(), &hex]).expect("python");
                let said = said.trim().as_bytes().chunks(2);
                let byte =
                    |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16);
                let bytes: Vec<u8> = said.map(|pair| byte(pair).expect("hex")).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            }
        };
        match answer {
            Some(answer) => assert!(got.contains(answer), "{name}: {got:?}"),
            None => assert_eq!(got, "", "{name}"),
        }
    }
    let answers = send(
        door,
        &[],
        &[message("ADT^A01^ADT_A01", "M1", "EVN|A01\\rPID|1||P1")],
    );
    assert_eq!(answers[0][0], "AA");
    let latin =
        "MSH|^~\\&|RIS|H|P||1||ADT^A08|M2|P|2.3||||||8859/1\\rPID|1||P1||Müller^Jérôme".to_owned();
    assert_eq!(send(door, &[], &[latin])[0][0], "AA");
    let (_, audit) = appliance.get("/api/v1/audit?limit=1000");
    assert!(audit.contains("not MLLP") && audit.contains("longer than 64 KiB"));
}

/// A certificate authority and two certificates, by openssl: paths in `dir`, and the peer's fingerprint.
pub(crate) fn certificates(dir: &Path) -> String {
    let openssl = |args: &[&str]| {
        let mut command = Command::new(program("openssl").expect("openssl"));
        run(command.current_dir(dir).args(args))
    };
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-days",
        "2",
        "-subj",
        "/CN=authority",
    ]);
    std::fs::write(
        dir.join("ext"),
        "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n",
    )
    .expect("extensions");
    for name in ["own", "ris", "stranger"] {
        openssl(&[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            &format!("{name}.key"),
            "-out",
            &format!("{name}.csr"),
            "-subj",
            &format!("/CN={name}"),
        ]);
        openssl(&[
            "x509",
            "-req",
            "-in",
            &format!("{name}.csr"),
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-out",
            &format!("{name}.pem"),
            "-extfile",
            "ext",
        ]);
    }
    let said = openssl(&[
        "x509",
        "-noout",
        "-fingerprint",
        "-sha256",
        "-in",
        "ris.pem",
    ]);
    said.trim()
        .split('=')
        .nth(1)
        .expect("a fingerprint")
        .to_owned()
}

#[test]
fn over_tls_a_peer_is_its_certificate_both_ways() {
    let found = (sample("us1"), venv("python"), program("dcmodify"));
    let (Some(_), Some(python), Some(_)) = found else {
        return;
    };
    if program("openssl").is_none() {
        return;
    }
    let certs = tempfile::tempdir().expect("a temporary directory");
    let fingerprint = certificates(certs.path());
    let at = |name: &str| certs.path().join(name).to_str().expect("a path").to_owned();
    let (door, dicom, results) = (free_port(), free_port(), free_port());
    let toml = format!(
        "[dicom.tls]\nlisten = '127.0.0.1:{dicom}'\ncertificate = '{}'\nkey = '{}'\nauthorities = '{}'\n\
         [hl7]\nlisten_tls = '127.0.0.1:{door}'\n\
         [[hl7_peers]]\nname = 'ris'\naddress = '127.0.0.1'\nport = {results}\ncertificates = ['{fingerprint}']\n\
         [[rules]]\nname = 'text'\nmodels = ['burned-in-text']\nidle_timeout_s = 1\nmessages = ['ris']\n",
        at("own.pem"),
        at("own.key"),
        at("ca.pem")
    );
    let Some(appliance) = Appliance::start(Given {
        toml: &toml,
        models: &["burned-in-text"],
    }) else {
        return;
    };
    let tls = |name: &str| {
        [
            "--tls".to_owned(),
            at("ca.pem"),
            at(&format!("{name}.pem")),
            at(&format!("{name}.key")),
        ]
    };
    let admitted = message("ADT^A01^ADT_A01", "M1", "EVN|A01\\rPID|1||P1");
    let ris = tls("ris");
    let ris: Vec<&str> = ris.iter().map(String::as_str).collect();
    assert_eq!(
        send(door, &ris, std::slice::from_ref(&admitted))[0][0],
        "AA"
    );
    // Signed by the same authority, but not bound: closed unheard.
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/peers/hl7_system.py");
    let mut command = Command::new(venv("python").expect("python"));
    command
        .arg(&script)
        .args(["send", &door.to_string(), &admitted]);
    let refused = ended(command.args(tls("stranger")));
    assert!(!refused.status.success());
    let (_, audit) = appliance.get("/api/v1/audit?limit=1000");
    assert!(
        audit.contains("no HL7 peer of this address and certificate"),
        "{audit}"
    );

    // Results: whoever listens there with another certificate is told nothing.
    let file = copy(&appliance, "a.dcm", &["-gst", "-gse", "-gin"]);
    assert!(appliance.storescu(&["-R"], &[&file]).status.success());
    let study = study_of(&file);
    job_of(&appliance, &study);
    let folder = appliance.dir.path().join("taken");
    std::fs::create_dir(&folder).expect("a folder");
    let listen = |name: &str| {
        let port = results.to_string();
        let folder = folder.to_str().expect("a path");
        let script = script.to_str().expect("a path");
        let mut args = vec![script, "take", &port, folder];
        let tls = tls(name);
        args.extend(tls.iter().map(String::as_str));
        Process::start(&python, &args, &appliance.dir.path().join(name))
    };
    let state = || {
        let list = appliance.json(&format!("/api/v1/messages?study={study}"));
        list["messages"][0].clone()
    };
    let stranger = listen("stranger");
    until("a refusal of the stranger's certificate", || {
        let trouble = state()["last_trouble"].to_string();
        trouble.contains("certificate").then_some(())
    });
    drop(stranger);
    assert!(files_in(&folder).is_empty(), "nobody was told anything");
    let _ris = listen("ris");
    until("the acknowledgement", || {
        (state()["state"] == "delivered").then_some(())
    });
    assert!(taken(&folder, 1)[0].contains(&study));
}

/// With a long idle time, what makes a study complete at once is that its source says that this is all of it.
#[test]
fn a_study_is_complete_as_soon_as_all_that_its_source_has_is_here() {
    let (Some(_), Some(_)) = (sample("us1"), program("dcmodify")) else {
        return;
    };
    let Some(orthanc) = Orthanc::start(json!({})) else {
        return;
    };
    let dicom = orthanc.dicom;
    let toml = format!(
        "[[peers]]\nname = 'pacs'\nae_title = 'ORTHANC'\naddress = '127.0.0.1'\nport = {dicom}\ncounts = true\n\
         [[rules]]\nname = 'text'\nmodels = ['burned-in-text']\nidle_timeout_s = 600\nwait_max_s = 900\n"
    );
    let Some(appliance) = Appliance::start(Given {
        toml: &toml,
        models: &["burned-in-text"],
    }) else {
        return;
    };
    let first = copy(&appliance, "a.dcm", &["-gst", "-gse", "-gin"]);
    let second = appliance.dir.path().join("b.dcm");
    std::fs::copy(&first, &second).expect("a copy");
    run(Command::new(program("dcmodify").expect("dcmodify"))
        .args(["-nb", "-gin"])
        .arg(&second));
    let other = copy(&appliance, "c.dcm", &["-gst", "-gse", "-gin"]);
    for file in [&first, &second, &other] {
        orthanc.holds(file);
    }
    let study = study_of(&first);
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
    let jobs = appliance.json(&format!("/api/v1/jobs?study={study}"));
    assert_eq!(
        jobs["jobs"].as_array().map(Vec::len),
        Some(1),
        "half of it is no study: {jobs}"
    );
    assert!(appliance.storescu(&["-R"], &[&second]).status.success());
    let report = until("the report, long before it was idle for long", || {
        is_done(&study).then(|| appliance.reports(&study)[0].clone())
    });
    assert_eq!(report["evidence"].as_array().map(Vec::len), Some(2));
    let (_, audit) = appliance.get("/api/v1/audit?limit=1000");
    assert!(
        audit.contains("counted") && audit.contains("pacs"),
        "{audit}"
    );
}

/// An earlier study comes from DCMTK's archive before the model runs, and is no study of its own.
#[test]
fn an_earlier_study_is_fetched_before_the_model_runs() {
    let (Some(_), Some(dcmqrscp), Some(_)) =
        (sample("us1"), program("dcmqrscp"), program("dcmodify"))
    else {
        return;
    };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let port = free_port();
    std::fs::create_dir(dir.path().join("db")).expect("a folder");
    let config = format!(
        "NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\nHostTable BEGIN\nus = (PERICARD, 127.0.0.1, 1)\n\
         HostTable END\nVendorTable BEGIN\nVendorTable END\nAETable BEGIN\nARCHIVE {} RW (100, 1024mb) ANY\nAETable END\n",
        dir.path().join("db").display()
    );
    let config_file = dir.path().join("dcmqrscp.cfg");
    std::fs::write(&config_file, config).expect("the archive's configuration");
    let log = dir.path().join("log");
    let _archive = Process::start(
        &dcmqrscp,
        &["-c", config_file.to_str().expect("a path")],
        &log,
    );
    let toml = format!(
        "[[peers]]\nname = 'archive'\nae_title = 'ARCHIVE'\naddress = '127.0.0.1'\nport = {port}\nfetch = ['get']\n\
         [[rules]]\nname = 'text'\nmodels = ['burned-in-text']\nidle_timeout_s = 1\n\
         priors = {{ from = 'archive', wait_max_s = 120 }}\n"
    );
    let Some(appliance) = Appliance::start(Given {
        toml: &toml,
        models: &["burned-in-text"],
    }) else {
        return;
    };
    let dated = |name: &str, date: &str| {
        let date = format!("StudyDate={date}");
        copy(
            &appliance,
            name,
            &[
                "-gst",
                "-gse",
                "-gin",
                "-i",
                &date,
                "-i",
                "StudyTime=100000",
                "-i",
                "PatientID=P5",
            ],
        )
    };
    let (earlier, today) = (
        dated("earlier.dcm", "20250301"),
        dated("today.dcm", "20260301"),
    );
    until("the archive", || {
        let mut storescu = Command::new(program("storescu").expect("storescu"));
        storescu
            .args(["-R", "-aec", "ARCHIVE", "127.0.0.1", &port.to_string()])
            .arg(&earlier);
        ended(&mut storescu).status.success().then_some(())
    });
    assert!(appliance.storescu(&["-R"], &[&today]).status.success());
    let (today, earlier) = (study_of(&today), study_of(&earlier));
    let job = job_of(&appliance, &today);
    assert_eq!(job["state"], "done", "{job}");
    let shown = appliance.json(&format!("/api/v1/studies/{today}"));
    let order = &shown["priors"][0];
    assert_eq!(
        (&order["state"], &order["outcome"]["here"]),
        (&"ended".into(), &1.into()),
        "{shown}"
    );
    let prior = appliance.json(&format!("/api/v1/studies/{earlier}"));
    assert_eq!(
        (&prior["instances"], &prior["state"]),
        (&1.into(), &"complete".into())
    );
    let jobs = appliance.json(&format!("/api/v1/jobs?study={earlier}"));
    assert_eq!(
        jobs["jobs"].as_array().map(Vec::len),
        Some(0),
        "an earlier study sets off nothing"
    );
}
