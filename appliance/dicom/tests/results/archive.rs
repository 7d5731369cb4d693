//! Orthanc, which takes every result of every kind into the study that it is about, and nowhere else.

use crate::kinds::{outlined, picture};
use crate::segmentations::{mask, volume};
use crate::sources::{self, File};
use crate::{context, device, finding, peers};
use pericard_dicom::report::{
    ReportContext, ResultObject, Segmented, document, key_objects, outline_shapes,
    presentation_states, rejection, secondary_capture, segmentation, structured_report,
};
use pericard_dicom::source::Source;
use pericard_domain::finding::{Code, Region};
use pericard_domain::image::Channels;
use pericard_domain::job::{Failure, FailureClass};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long Orthanc may take to begin to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// An Orthanc without plugins, on ports of its own, that ends with the test.
struct Orthanc {
    dicom: u16,
    http: u16,
    child: Child,
    _dir: tempfile::TempDir,
}

impl Drop for Orthanc {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended by itself
        let _ = self.child.wait();
    }
}

impl Orthanc {
    fn start() -> Option<Self> {
        let program = peers::program("Orthanc")?;
        let dir = tempfile::tempdir().unwrap();
        let port = || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let (dicom, http) = (port(), port());
        let db = dir.path().join("db");
        let config = json!({
            "StorageDirectory": db, "IndexDirectory": db, "DicomAet": "ORTHANC", "DicomPort": dicom, "HttpPort": http,
            "RemoteAccessAllowed": false, "AuthenticationEnabled": false, "DicomCheckCalledAet": false,
            "DicomAlwaysAllowStore": true, "Plugins": [],
        });
        let file = dir.path().join("orthanc.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let mut command = Command::new(program);
        command
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let orthanc = Self {
            dicom,
            http,
            child: command.spawn().unwrap(),
            _dir: dir,
        };
        let begun = Instant::now();
        while orthanc.asked("GET", "/system").is_none() {
            assert!(begun.elapsed() < PATIENCE, "Orthanc does not answer");
            std::thread::sleep(Duration::from_millis(100)); // to another process there is nothing to await
        }
        Some(orthanc)
    }

    fn asked(&self, method: &str, path: &str) -> Option<Value> {
        let url = format!("http://127.0.0.1:{}{path}", self.http);
        let mut command = Command::new("curl");
        command.args(["-s", "--noproxy", "*", "--max-time", "30", "-X", method]);
        let output = command.arg(url).output().unwrap();
        serde_json::from_slice(&output.stdout).ok()
    }

    fn list(&self, path: &str) -> Vec<Value> {
        let answer = self.asked("GET", path).unwrap();
        answer.as_array().unwrap().clone()
    }

    fn send(&self, folder: &Path) {
        let mut command = Command::new("storescu");
        command
            .env("TCP_NODELAY", "1")
            .args(["-R", "+sd", "-aec", "ORTHANC", "127.0.0.1"])
            .arg(self.dicom.to_string())
            .arg(folder);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.is_empty(), "{said}");
    }
}

/// Every kind of result that there is of these sources.
fn all_kinds(sources: &[Source]) -> Vec<ResultObject> {
    let device = device();
    let context = context(sources, &device);
    let mut report = outlined(sources);
    let mut made = Vec::new();
    let mut placed = Vec::new();
    let is_volume = sources.len() > 1 || sources[0].sop_class().as_str() == sources::ENHANCED_MR;
    if is_volume {
        let volume = volume(sources);
        let mask = mask(&volume, 1);
        let region = Region::Frames {
            sources: volume.slices.clone(),
        };
        report.findings.push(finding("brain", region));
        let category = Code::new("123037004", "SCT", "Anatomical Structure");
        let segment = Segmented {
            finding: &report.findings[1],
            category: &category,
            mask: &mask,
        };
        let (object, segments) = segmentation(&report, &context, &volume, &[segment]).unwrap();
        made.push(object);
        placed = segments;
    }
    let context = ReportContext {
        segments: &placed,
        ..context
    };
    let shapes = outline_shapes(&report).unwrap();
    let frame = picture(&shapes[0].source, Channels::Rgb);
    let failure = Failure {
        class: FailureClass::UnsuitableInput,
        reason: "a slice is missing".into(),
    };
    made.push(structured_report(&report, &context).unwrap());
    made.extend(presentation_states(&report, &context, &shapes).unwrap());
    made.push(secondary_capture(&report, &context, (&frame, 1), &shapes).unwrap());
    made.push(key_objects(&report, &context, &shapes).unwrap());
    made.push(document(&report, &context).unwrap());
    made.push(rejection(&report, &context, &failure, 1).unwrap());
    made
}

fn written(folder: &Path, name: &str, bytes: &[u8]) {
    let path: PathBuf = folder.join(name);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn orthanc_stores_each_kind_in_the_study_of_its_source() {
    let (Some(orthanc), Some(_)) = (Orthanc::start(), peers::program("storescu")) else {
        return;
    };
    for (name, files) in sources::every() {
        let sources = sources::all(&files);
        let made = all_kinds(&sources);
        let folder = tempfile::tempdir().unwrap();
        for (n, file) in files.iter().enumerate() {
            written(folder.path(), &format!("source-{n}.dcm"), file);
        }
        for (n, object) in made.iter().enumerate() {
            written(folder.path(), &format!("result-{n}.dcm"), &object.bytes);
        }
        orthanc.send(folder.path());
        one_study(&orthanc, name, &files, &sources, &made);
    }
}

/// What Orthanc holds are these objects, in one study; then it forgets them.
fn one_study(
    orthanc: &Orthanc,
    name: &str,
    files: &[File],
    sources: &[Source],
    made: &[ResultObject],
) {
    let studies = orthanc.list("/studies?expand");
    assert_eq!(studies.len(), 1, "{name}: one study: {studies:#?}");
    let tags = &studies[0]["MainDicomTags"];
    assert_eq!(tags["StudyInstanceUID"], sources::STUDY, "{name}");
    let ours = made.iter().map(|object| object.identity.instance.as_str());
    let theirs = sources.iter().map(|source| source.instance().as_str());
    let mut expected: Vec<&str> = ours.chain(theirs).collect();
    expected.sort_unstable();
    let held = orthanc.list("/instances?expand");
    let uid = |instance: &Value| instance["MainDicomTags"]["SOPInstanceUID"].clone();
    let mut held: Vec<String> = held
        .iter()
        .map(|instance| uid(instance).as_str().unwrap().to_owned())
        .collect();
    held.sort_unstable();
    assert_eq!(held, expected, "{name}");
    let mut modalities: BTreeMap<String, usize> = BTreeMap::new();
    for series in orthanc.list("/series?expand") {
        let modality = series["MainDicomTags"]["Modality"].as_str().unwrap();
        let count = series["Instances"].as_array().unwrap().len();
        *modalities.entry(modality.to_owned()).or_default() += count;
    }
    // A report and a rejection, one of everything else; a segmentation of what is a volume.
    let mut kinds = vec![("DOC", 1), ("KO", 1), ("OT", 1), ("PR", 1), ("SR", 2)];
    if made.len() == 7 {
        kinds.push(("SEG", 1));
    }
    kinds.push((&name[..2], files.len()));
    let kinds = kinds
        .into_iter()
        .map(|(kind, count)| (kind.to_owned(), count));
    assert_eq!(modalities, kinds.collect(), "{name}");
    let id = studies[0]["ID"].as_str().unwrap();
    orthanc.asked("DELETE", &format!("/studies/{id}"));
    assert!(orthanc.list("/instances").is_empty(), "{name}");
}
