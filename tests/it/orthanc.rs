//! Orthanc, started by the tests that need it: an archive on two ports of its own that takes and finds whatever it is asked to.

use crate::support::*;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// How often one is started whose ports were taken meanwhile.
const STARTS_MAX: usize = 3;

/// An Orthanc that ends with the test.
pub(crate) struct Orthanc {
    pub(crate) http: u16,
    pub(crate) dicom: u16,
    process: Process,
    dir: tempfile::TempDir,
}

impl Orthanc {
    /// Starts one, with no plugins and no servers but what `settings` adds, and waits until it answers.
    pub(crate) fn start(settings: Value) -> Option<Self> {
        let program = program("Orthanc")?;
        let started = (0..STARTS_MAX).find_map(|_| Self::started(&program, &settings));
        Some(started.expect("it ends each time that it is started; its log stands above"))
    }

    /// `None` when it ended instead: a port that was free was another's by the time that it listened.
    fn started(program: &Path, settings: &Value) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (http, dicom) = (free_port(), free_port());
        let mut config = json!({
            "Name": "pacs", "StorageDirectory": dir.path().join("db"), "IndexDirectory": dir.path().join("db"),
            "DicomAet": "ORTHANC", "DicomPort": dicom, "HttpPort": http, "RemoteAccessAllowed": false,
            "DicomCheckCalledAet": false, "DicomAlwaysAllowStore": true, "DicomAlwaysAllowFind": true,
            "AuthenticationEnabled": false, "Plugins": [],
        });
        let (all, Value::Object(more)) = (config.as_object_mut()?, settings) else {
            panic!("settings are an object");
        };
        all.extend(more.clone());
        let file = dir.path().join("orthanc.json");
        std::fs::write(&file, config.to_string()).expect("Orthanc's configuration");
        let log = dir.path().join("log");
        let process = Process::start(program, &[file.to_str().expect("a path")], &log);
        let mut orthanc = Self {
            http,
            dicom,
            process,
            dir,
        };
        let answers = until("Orthanc", || {
            if orthanc.process.has_ended() {
                return Some(false);
            }
            let answer = orthanc.asked(&["--max-time", "5"], "/system");
            answer.is_ok().then_some(true)
        });
        if !answers {
            eprintln!("Orthanc ended: {}", orthanc.log());
        }
        answers.then_some(orthanc)
    }

    /// A request by curl: the answer as JSON, or what came instead.
    pub(crate) fn asked(&self, args: &[&str], path: &str) -> Result<Value, String> {
        let url = format!("http://127.0.0.1:{}{path}", self.http);
        let mut command = Command::new("curl");
        command.args(["-s", "--noproxy", "*", "--max-time", "120"]);
        let output = ended(command.args(args).arg(url));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str(&text).map_err(|_| text)
    }

    /// POSTs `body`, and gives the answer.
    pub(crate) fn told(&self, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let answer = self.asked(&["-X", "POST", "-d", &body], path);
        answer.unwrap_or_else(|text| panic!("{path}: {text}"))
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Puts a file into it by its own interface.
    pub(crate) fn holds(&self, file: &Path) -> Value {
        let data = format!("@{}", file.display());
        let args = ["-X", "POST", "--data-binary", &data];
        self.asked(&args, "/instances").expect("stored at Orthanc")
    }
}
