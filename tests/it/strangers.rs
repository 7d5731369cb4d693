//! A stranger's input: each gets its protocol's clear refusal and a line in the audit log, and the server goes on.

use crate::support::*;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// A Part 10 file of a few hundred bytes whose first element claims `claimed` bytes.
fn lying_file(claimed: u32) -> Vec<u8> {
    let mut file = vec![0; 128];
    file.extend_from_slice(b"DICM");
    let uid = |group: u16, element: u16, text: &str| {
        let text = if text.len() % 2 == 1 {
            format!("{text}\0")
        } else {
            text.to_owned()
        };
        let mut bytes = [group.to_le_bytes(), element.to_le_bytes()].concat();
        bytes.extend_from_slice(b"UI");
        bytes.extend_from_slice(&(text.len() as u16).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
        bytes
    };
    let meta = [
        uid(2, 2, "1.2.840.10008.5.1.4.1.1.7"),
        uid(2, 3, "1.2.3.4"),
        uid(2, 0x10, "1.2.840.10008.1.2.1"),
    ]
    .concat();
    file.extend_from_slice(&[2, 0, 0, 0, b'U', b'L', 4, 0]);
    file.extend_from_slice(&(meta.len() as u32).to_le_bytes());
    file.extend(meta);
    file.extend(uid(8, 0x16, "1.2.840.10008.5.1.4.1.1.7"));
    file.extend(uid(8, 0x18, "1.2.3.4"));
    file.extend_from_slice(&[0x09, 0x00, 0x10, 0x10, b'O', b'B', 0, 0]);
    file.extend_from_slice(&claimed.to_le_bytes());
    file.extend_from_slice(&[0; 64]);
    file
}

/// The most memory that a process ever had resident.
pub(crate) fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .expect("a peak");
    line.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse().ok())
        .expect("a number")
}

#[test]
fn every_stranger_is_refused_clearly_and_the_server_goes_on() {
    let (Some(chest), Some(echoscu), Some(_)) =
        (sample("chest"), program("echoscu"), program("storescu"))
    else {
        return;
    };
    let Some(mut appliance) = Appliance::start(Given::default()) else {
        return;
    };
    let auth = format!("Authorization: Bearer {}", appliance.token);
    let pid = appliance.process().id();
    let before = resident_kib(pid);
    let mut log = Log::of(&appliance);

    // Objects that are none, by STOW-RS.
    let whole = std::fs::read(
        std::fs::read_dir(&chest)
            .expect("a folder")
            .next()
            .expect("a file")
            .expect("a file")
            .path(),
    );
    let whole = whole.expect("the chest");
    let objects: [(&str, Vec<u8>); 4] = [
        ("truncated", whole[..whole.len() / 2].to_vec()),
        ("text", b"Dear colleague, please find enclosed".to_vec()),
        ("4 GB in 300 bytes", lying_file(0xFFFF_FFF0)),
        ("empty", Vec::new()),
    ];
    for (name, bytes) in &objects {
        let body = appliance.dir.path().join("body");
        let mut file = std::fs::File::create(&body).expect("a file");
        file.write_all(b"--part\r\nContent-Type: application/dicom\r\n\r\n")
            .expect("the head");
        file.write_all(bytes).expect("the object");
        file.write_all(b"\r\n--part--\r\n").expect("the tail");
        let (status, answer) = appliance.curl(
            &[
                "-H",
                &auth,
                "-H",
                "Content-Type: multipart/related; type=\"application/dicom\"; boundary=part",
                "--data-binary",
                &format!("@{}", body.display()),
            ],
            "/dicomweb/studies",
        );
        assert!((400..500).contains(&status), "{name}: {status} {answer}");
        log.says(name, &["object", "POST /dicomweb/studies"]);
    }
    assert!(
        resident_kib(pid) < before + 512 * 1024,
        "no length was believed"
    );

    // The DICOM port: nonsense, a wrong title, an unknown abstract syntax is for `dimse`'s own tests.
    raw(appliance.dicom, b"GET / HTTP/1.1\r\n\r\n");
    log.says("HTTP on the DICOM port", &["association"]);
    raw(appliance.dicom, &[1, 0, 0xff, 0xff, 0xff, 0xff, 0, 1]);
    log.says("a PDU that claims 4 GB", &["association"]);
    let port = appliance.dicom.port().to_string();
    let wrong = ended(std::process::Command::new(&echoscu).args([
        "-aec",
        "SOMEBODYELSE",
        "127.0.0.1",
        &port,
    ]));
    assert!(!wrong.status.success(), "a wrong title");
    log.says("a wrong title", &["association"]);

    // HTTPS: a wrong token, an unknown model, a body beyond the limit, a client that sends a byte now and then.
    assert_eq!(
        appliance
            .curl(
                &["-H", "Authorization: Bearer pcd_wrong_token"],
                "/api/v1/studies"
            )
            .0,
        401
    );
    log.says("a wrong token", &["request"]);
    let ask = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hello"}]}"#;
    let json = "Content-Type: application/json";
    let (status, answer) = appliance.curl(
        &["-H", &auth, "-H", json, "-d", ask],
        "/v1/chat/completions",
    );
    assert_eq!(status, 404, "{answer}");
    assert!(answer.contains("/v1/models"), "what to do: {answer}");
    assert!(
        !answer.contains("gpt-4o"),
        "what a stranger wrote is not repeated: {answer}"
    );
    log.says("an unknown model", &["POST /v1/chat/completions"]);
    let large = appliance.dir.path().join("large");
    std::fs::write(&large, vec![b' '; 8 << 20]).expect("a large file");
    let (status, _) = appliance.curl(
        &[
            "-H",
            &auth,
            "-H",
            json,
            "--data-binary",
            &format!("@{}", large.display()),
        ],
        "/v1/chat/completions",
    );
    assert_eq!(status, 413, "an oversized body");
    log.says("an oversized body", &["POST /v1/chat/completions"]);
    slow_client_is_cut(&appliance);
    log.says("a slow client", &["connection"]);

    // And the server goes on.
    let sent = Instant::now();
    let good = appliance.storescu(&["-R", "+r", "+sd"], &[Path::new(&chest)]);
    assert!(good.status.success(), "a good object right after");
    assert!(sent.elapsed() < Duration::from_secs(20));
    assert!(appliance.pericard(&["audit", "verify"]).starts_with("ok: "));
    assert!(appliance.process().is_running());
}

/// The refusals of the audit log, read line by line.
struct Log<'a> {
    appliance: &'a Appliance,
    read: usize,
}

impl<'a> Log<'a> {
    fn of(appliance: &'a Appliance) -> Self {
        let read = refusals(appliance).len();
        Self { appliance, read }
    }

    /// Waits for a refusal that was not read yet, of the stranger who just came: what was asked.
    fn says(&mut self, stranger: &str, asked: &[&str]) {
        let named = |line: &serde_json::Value| {
            let what = line["detail"]["what"].as_str();
            what.is_some_and(|what| asked.contains(&what))
        };
        let read = self.read;
        let all = until(&format!("a line in the audit log for {stranger}"), || {
            let refusals = refusals(self.appliance);
            let said = refusals.iter().skip(read).any(named);
            said.then_some(refusals.len())
        });
        self.read = all;
    }
}

fn refusals(appliance: &Appliance) -> Vec<serde_json::Value> {
    let log = appliance.pericard(&["audit", "show", "--limit", "1000", "--json"]);
    let lines: serde_json::Value = serde_json::from_str(&log).expect("JSON");
    let mut refusals: Vec<_> = lines.as_array().expect("lines").clone();
    refusals.retain(|line| line["verb"] == "refuse");
    refusals.sort_by_key(|line| line["index"].as_u64());
    refusals
}

/// A connection that never finishes its TLS handshake is closed by the server, not kept.
fn slow_client_is_cut(appliance: &Appliance) {
    let mut stream = TcpStream::connect(appliance.https).expect("the port");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a timeout");
    stream
        .write_all(&[0x16, 0x03, 0x01])
        .expect("the beginning of a handshake");
    let mut answer = Vec::new();
    let closed = std::io::Read::read_to_end(&mut stream, &mut answer);
    assert!(
        closed.is_ok() || closed.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset),
        "closed by the server"
    );
}
