//! What we ask peers of our own accord: DCMTK's worklist, and in plain and over TLS how much Orthanc has of a study, and a
//! patient's earlier studies from Orthanc by C-GET, by C-MOVE and by neither.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use pericard_dimse::{Archive, Fetch, InquiryConfig, Peer, Rights, inquire};
use pericard_domain::digest::Digest;
use pericard_domain::job::{JobState, Priority, Work};
use pericard_domain::model::ModelRef;
use pericard_domain::order::Expecting;
use pericard_domain::rule::{Priors, ResultTerms};
use pericard_domain::time::Clock;
use pericard_domain::uid::StudyUid;
use pericard_store::prior::PriorState;
use pericard_store::queue::{Completion, LeaseTerms, LeasedJob, PlannedInference};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use support::archive::{Held, Orthanc, files_in, listens, peer, result_for};
use support::line::Line;
use support::{free_port, python, run};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

/// Writes objects: `make(study, series, number, patient, date, accession)`.
const MAKE: &str = r"
import sys, numpy
from pydicom.dataset import Dataset, FileMetaDataset
def make(study, series, number, patient='P1', date='20260101', accession='', modality='CT', time='101500', side=16):
    ds = Dataset()
    ds.SOPClassUID = '1.2.840.10008.5.1.4.1.1.7'; ds.SOPInstanceUID = f'{series}.{number}'
    ds.StudyInstanceUID = study; ds.SeriesInstanceUID = series; ds.Modality = modality
    ds.PatientName = 'Doe^Jane'; ds.PatientID = patient; ds.StudyDate = date; ds.StudyTime = time
    ds.AccessionNumber = accession; ds.SeriesNumber = 1; ds.InstanceNumber = number
    ds.Rows = ds.Columns = side; ds.BitsAllocated = ds.BitsStored = 8; ds.HighBit = 7; ds.PixelRepresentation = 0
    ds.SamplesPerPixel = 1; ds.PhotometricInterpretation = 'MONOCHROME2'
    ds.PixelData = numpy.zeros(side * side, dtype='u1').tobytes()
    ds.file_meta = FileMetaDataset(); ds.file_meta.TransferSyntaxUID = '1.2.840.10008.1.2.1'
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID; ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.save_as(f'{sys.argv[1]}/{ds.SOPInstanceUID}.dcm', enforce_file_format=True)
";

/// A worklist for wlmscpfs: one file a step, under the called title.
const WORKLIST: &str = r"
import sys
from pydicom.dataset import Dataset, FileMetaDataset
def entry(name, study, accession, priority, status='SCHEDULED'):
    ds = Dataset()
    ds.SpecificCharacterSet = 'ISO_IR 100'; ds.AccessionNumber = accession
    ds.PatientName = 'Müller^Uwe'; ds.PatientID = 'P1'; ds.StudyInstanceUID = study
    ds.RequestedProcedureID = 'RP1'; ds.RequestedProcedurePriority = priority; ds.RequestedProcedureDescription = 'CT'
    step = Dataset(); step.Modality = 'CT'; step.ScheduledStationAETitle = 'CT1'
    step.ScheduledProcedureStepStartDate = sys.argv[2]; step.ScheduledProcedureStepStartTime = '101500'
    step.ScheduledProcedureStepID = name; step.ScheduledProcedureStepStatus = status
    step.ScheduledPerformingPhysicianName = ''; step.ScheduledProcedureStepDescription = 'CT'
    ds.ScheduledProcedureStepSequence = [step]
    ds.file_meta = FileMetaDataset(); ds.file_meta.TransferSyntaxUID = '1.2.840.10008.1.2.1'
    ds.file_meta.MediaStorageSOPClassUID = '1.2.276.0.7230010.3.1.0.1'; ds.file_meta.MediaStorageSOPInstanceUID = '1.2.3'
    ds.save_as(f'{sys.argv[1]}/{name}.wl', enforce_file_format=True)
entry('early', '1.2.77.1', 'ACC1', 'STAT')
entry('late', '', 'ACC2', 'HIGH')
entry('ordinary', '1.2.77.3', 'ACC3', 'ROUTINE')
entry('cancelled', '1.2.77.4', 'ACC4', 'STAT', 'CANCELED')
";

fn hurried() -> InquiryConfig {
    InquiryConfig {
        count_again_after: Duration::ZERO,
        retry: Duration::from_millis(100),
        look_every: Duration::from_millis(50),
        ..InquiryConfig::default()
    }
}

fn inquiring(held: &Held, peers: Vec<Peer>) -> impl Drop + use<> {
    inquiring_so(hurried(), held, peers)
}

fn inquiring_so(config: InquiryConfig, held: &Held, peers: Vec<Peer>) -> impl Drop + use<> {
    let stop = CancellationToken::new();
    let archive = Archive {
        store: held.store.clone(),
        caller: held.caller.clone(),
    };
    let clock: Arc<dyn Clock> = held.clock.clone();
    let door = (held.intake.clone(), clock);
    tokio::spawn(inquire(config, archive, door, peers.into(), stop.clone()));
    stop.drop_guard()
}

async fn until_async(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while !is().await {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn study(uid: &str) -> StudyUid {
    StudyUid::new(uid).unwrap()
}

async fn priority(held: &Held, of: &str) -> Priority {
    let list = held
        .store
        .worklist(pericard_store::worklist::WorklistQuery {
            limit: 100,
            ..Default::default()
        });
    let rows = list.await.unwrap();
    let row = rows.iter().find(|row| row.study.study == study(of));
    row.unwrap_or_else(|| panic!("{of} is not here")).priority
}

#[tokio::test]
async fn what_dcmtks_worklist_expects_is_urgent_whichever_comes_first() {
    let held = Held::start(vec![]).await;
    let one = format!("{MAKE}make('1.2.77.1', '1.2.77.1.1', 1, accession='ACC1')");
    held.admit_made(&one).await;
    assert_eq!(priority(&held, "1.2.77.1").await, Priority::Routine);

    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("RIS");
    std::fs::create_dir(&list).unwrap();
    std::fs::write(list.join("lockfile"), "").unwrap();
    let mut making = python();
    let today = held.clock.now().dicom_date();
    making.arg("-c").arg(WORKLIST).arg(&list).arg(today);
    run(making).await;
    let port = free_port();
    let mut wlmscpfs = Command::new("wlmscpfs");
    wlmscpfs
        .kill_on_drop(true)
        .args(["--disable-file-reject", "-dfp"]);
    wlmscpfs.arg(dir.path()).arg(port.to_string());
    let _wlmscpfs = wlmscpfs.spawn().expect("DCMTK is installed");
    listens("wlmscpfs", port).await;

    let ris = Peer {
        worklist_every: Some(Duration::from_millis(200)),
        ..peer("ris", "RIS", Some(port), Rights::STORE)
    };
    let _inquiring = inquiring(&held, vec![ris]);
    until_async("the study that was here is urgent", async || {
        priority(&held, "1.2.77.1").await == Priority::Stat
    })
    .await;
    let expected = held.store.expected(100, 0).await.unwrap();
    let keys: Vec<_> = expected.iter().map(|e| e.order.key.as_str()).collect();
    assert_eq!(expected.len(), 3, "the cancelled one is none: {keys:?}");
    assert!(expected.iter().all(|e| e.source == "worklist ris"));

    // By accession number, since the worklist does not say the study; and one that is only ordinary.
    let others = format!(
        "{MAKE}make('1.2.77.2', '1.2.77.2.1', 1, accession='ACC2')\nmake('1.2.77.3', '1.2.77.3.1', 1, accession='ACC3')\n\
         make('1.2.77.5', '1.2.77.5.1', 1, patient='P9', accession='ACC2')"
    );
    held.admit_made(&others).await;
    assert_eq!(priority(&held, "1.2.77.2").await, Priority::Stat);
    assert_eq!(priority(&held, "1.2.77.3").await, Priority::Routine);
    let another_patients = priority(&held, "1.2.77.5").await;
    assert_eq!(
        another_patients,
        Priority::Routine,
        "another patient's number"
    );

    std::fs::remove_file(list.join("ordinary.wl")).unwrap();
    until_async("what is listed no more is gone", async || {
        let counts = held.store.expected_counts().await.unwrap();
        counts.contains(&(Expecting::Gone, 1)) && counts.contains(&(Expecting::Expected, 2))
    })
    .await;
    let audited = held.audited().await;
    assert!(audited.contains("\"expect\"") && audited.contains("worklist ris"));
    for word in ["ACC1", "ACC2", "Uwe", "ller"] {
        assert!(!audited.contains(word), "{word} is in the audit log");
    }
}

/// A worklist of the entries that a file names. After as many as the file says are enough it waits to be told so, and goes on
/// when nobody does; beside the file it leaves a note that it was told.
const WORKLIST_TO_BE_CUT: &str = r"
import json, sys, time
from pathlib import Path
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import ModalityWorklistInformationFind as WORKLIST
port, names, today = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
def find(event):
    enough, accessions = json.loads(names.read_text())
    for at, accession in enumerate(accessions):
        patience, is_cancelled = time.monotonic() + 15, event.is_cancelled # true once for each C-CANCEL
        while at == enough and not is_cancelled and time.monotonic() < patience:
            time.sleep(0.01)
            is_cancelled = event.is_cancelled
        if is_cancelled:
            names.with_suffix('.cut').touch()
            yield 0xFE00, None
            return
        step = Dataset()
        step.Modality, step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepID = 'CT', today, 'S1'
        entry = Dataset()
        entry.AccessionNumber, entry.PatientID, entry.StudyInstanceUID = accession, 'P1', ''
        entry.RequestedProcedurePriority, entry.ScheduledProcedureStepSequence = 'ROUTINE', [step]
        for _ in range(20 if accession.endswith('unreadable') else 0): # deeper than anything is read
            around = Dataset(); around.ScheduledProcedureStepSequence = [entry]; entry = around
        yield 0xFF00, entry
ae = AE('RIS'); ae.add_supported_context(WORKLIST)
ae.start_server(('127.0.0.1', port), evt_handlers=[(evt.EVT_C_FIND, find)])
";

/// The worklist that the file lists, read all the time.
async fn listing(held: &Held, file: &Path) -> (Peer, tokio::process::Child) {
    let port = free_port();
    let mut worklist = python();
    worklist
        .kill_on_drop(true)
        .arg("-c")
        .arg(WORKLIST_TO_BE_CUT);
    worklist.arg(port.to_string()).arg(file);
    let worklist = worklist.arg(held.clock.now().dicom_date()).spawn().unwrap();
    listens("a worklist", port).await;
    let ris = Peer {
        worklist_every: Some(Duration::from_millis(200)),
        ..peer("ris", "RIS", Some(port), Rights::STORE)
    };
    (ris, worklist)
}

/// Writes what is listed; of the answers, so many are enough.
fn list(file: &Path, enough: i32, accessions: &[&str]) {
    let names = serde_json::json!([enough, accessions]).to_string();
    std::fs::write(file, names).unwrap();
}

#[tokio::test]
async fn what_a_worklist_is_too_long_for_is_not_gone() {
    let held = Held::start(vec![]).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("names");
    let counts = async || held.store.expected_counts().await.unwrap();
    list(&file, -1, &["A1", "A2", "A3"]);
    let (ris, _worklist) = listing(&held, &file).await;
    let whole = inquiring(&held, vec![ris.clone()]);
    until_async("all of it is expected", async || {
        counts().await.contains(&(Expecting::Expected, 3))
    })
    .await;
    drop(whole);

    // Now a new one comes first, and no more than two are read.
    list(&file, 2, &["A4", "A1", "A2", "A3"]);
    let two = InquiryConfig {
        worklist_max: 2,
        ..hurried()
    };
    let _two = inquiring_so(two, &held, vec![ris]);
    until_async("the worklist is cut", async || {
        file.with_extension("cut").exists()
    })
    .await;
    until_async("the new one is expected too", async || {
        counts().await.contains(&(Expecting::Expected, 4))
    })
    .await;
    assert!(counts().await.contains(&(Expecting::Gone, 0)));
}

#[tokio::test]
async fn an_entry_of_a_worklist_that_cannot_be_read_is_not_gone() {
    let held = Held::start(vec![]).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("names");
    let counts = async || held.store.expected_counts().await.unwrap();
    list(&file, -1, &["A1", "A2", "A3"]);
    let (ris, _worklist) = listing(&held, &file).await;
    let _inquiring = inquiring(&held, vec![ris]);
    until_async("all of it is expected", async || {
        counts().await.contains(&(Expecting::Expected, 3))
    })
    .await;
    // Whose the entry is, nobody knows: it may be either of those that lack.
    list(&file, -1, &["A1", "A2 unreadable", "A4"]);
    until_async("the new one is expected too", async || {
        counts().await.contains(&(Expecting::Expected, 4))
    })
    .await;
    assert!(counts().await.contains(&(Expecting::Gone, 0)));
    list(&file, -1, &["A1", "A4"]);
    until_async("what a whole list lacks is gone", async || {
        counts().await.contains(&(Expecting::Gone, 2))
    })
    .await;
}

async fn store(line: &Line, files: &[std::path::PathBuf], orthanc: &Orthanc) {
    let mut storescu = Command::new("storescu");
    storescu.args(line.dcmtk());
    storescu.args(["-R", "-aec", "ORTHANC", "127.0.0.1"]);
    storescu.arg(orthanc.dicom.to_string()).args(files);
    run(storescu).await;
}

async fn made(script: &str) -> (tempfile::TempDir, Vec<std::path::PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    let mut command = python();
    command
        .arg("-c")
        .arg(format!("{MAKE}{script}"))
        .arg(dir.path());
    run(command).await;
    let files = files_in(Path::new(dir.path()));
    (dir, files)
}

#[tokio::test]
async fn orthanc_says_how_much_it_has_of_a_study_that_arrives() {
    for line in Line::both() {
        counted(&line).await;
    }
}

async fn counted(line: &Line) {
    let held = Held::start_over(line, vec![]).await;
    let orthanc = Orthanc::start_over(line, free_port(), held.address.port()).await;
    let (_dir, files) = made("for n in 1, 2, 3: make('1.2.78.1', '1.2.78.1.1', n)").await;
    store(line, &files, &orthanc).await;
    for file in &files[..2] {
        held.admit(&std::fs::read(file).unwrap()).await;
    }
    let pacs = line.bound(Peer {
        counts: true,
        ..peer("pacs", "ORTHANC", Some(orthanc.dicom), Rights::STORE)
    });
    let _inquiring = inquiring(&held, vec![pacs]);
    until_async("the count", async || {
        let standing = held.store.standing(&study("1.2.78.1")).await.unwrap();
        let counts = standing.unwrap().counts;
        counts.get("pacs").and_then(|c| c.get("1.2.78.1.1")) == Some(&3)
    })
    .await;
}

fn terms(objects_max: u32) -> Priors {
    Priors {
        from: "pacs".into(),
        modalities: vec![],
        age_max_days: 365,
        studies_max: 2,
        objects_max,
        size_max_mib: 1,
        wait_max_s: 60,
    }
}

fn planned() -> PlannedInference {
    PlannedInference {
        model: ModelRef {
            name: "chest".into(),
            version: "1.0.0".into(),
            digest: Digest::new([7; 32]),
        },
        rule: "all".into(),
        priority: Priority::Routine,
        destinations: vec![],
        messages: vec![],
        terms: ResultTerms::ordered(),
    }
}

async fn lease(held: &Held) -> Option<LeasedJob> {
    let terms = LeaseTerms {
        lease: Duration::from_secs(600),
        attempts_max: 3,
    };
    held.store.lease(terms).await.unwrap()
}

/// The study of today is complete; its inference waits for earlier ones.
async fn complete(held: &Held, terms: Priors) {
    held.clock.advance(Duration::from_secs(3601));
    let assembly = lease(held).await.expect("an assembly is due");
    let completion = Completion {
        planned: vec![planned()],
        priors: vec![terms],
        because: None,
        lacks: None,
    };
    held.store
        .complete_study(&assembly, completion)
        .await
        .unwrap();
    assert!(lease(held).await.is_none(), "the inference waits");
}

/// Orthanc has four earlier studies of the patient, the latest with `latest` objects, one later, and one of another patient.
async fn stage(line: &Line, orthanc: &Orthanc) {
    let (_dir, files) = made(
        "make('1.2.79.1', '1.2.79.1.1', 1, date='20251201')\n\
         for n in 1, 2, 3: make('1.2.79.2', '1.2.79.2.1', n, date='20260201')\n\
         make('1.2.79.3', '1.2.79.3.1', 1, date='20260301', modality='MR')\n\
         make('1.2.79.4', '1.2.79.4.1', 1, date='20230301')\n\
         make('1.2.79.5', '1.2.79.5.1', 1, date='20260501')\n\
         make('1.2.79.6', '1.2.79.6.1', 1, date='20260201', patient='P2')",
    )
    .await;
    store(line, &files, orthanc).await;
}

const TODAY: &str = "make('1.2.79.9', '1.2.79.9.1', 1, date='20260401')";

async fn order_of(held: &Held) -> pericard_store::prior::PriorRow {
    let orders = held.store.prior_orders(&study("1.2.79.9")).await.unwrap();
    assert_eq!(orders.len(), 1);
    orders[0].clone()
}

async fn fetched_by(line: &Line, ways: &[Fetch]) {
    let dicom = free_port();
    let pacs = line.bound(Peer {
        fetch: ways.to_vec(),
        ..peer("pacs", "ORTHANC", Some(dicom), Rights::STORE)
    });
    let held = Held::start_over(line, vec![pacs.clone()]).await;
    let orthanc = Orthanc::start_over(line, dicom, held.address.port()).await;
    stage(line, &orthanc).await;
    held.admit_made(&format!("{MAKE}{TODAY}")).await;
    complete(&held, terms(100)).await;
    let _inquiring = inquiring(&held, vec![pacs]);
    until_async("the order's end", async || {
        order_of(&held).await.state == "ended"
    })
    .await;

    let order = order_of(&held).await;
    let outcome = order.outcome.clone().unwrap();
    assert_eq!(
        (outcome.found, outcome.here, outcome.objects),
        (2, 2, 4),
        "{outcome:?}"
    );
    assert_eq!(outcome.lacking, None);
    let here = [("1.2.79.1", 1), ("1.2.79.2", 3)];
    assert_eq!(
        order.studies,
        here.map(|(uid, _)| (study(uid), PriorState::Here))
    );
    for (uid, objects) in here {
        assert_eq!(held.count(uid).await, objects);
    }
    for uid in ["1.2.79.3", "1.2.79.4", "1.2.79.5", "1.2.79.6"] {
        assert_eq!(held.count(uid).await, 0, "{uid} was not asked for");
    }
    // The inference that waited is due, and nothing else is to be done: earlier studies set off no analysis.
    let job = lease(&held).await.expect("the inference");
    assert!(matches!(&job.job.work, Work::Infer { study: of, .. } if *of == study("1.2.79.9")));
    held.clock.advance(Duration::from_secs(7200));
    let jobs = held.store.jobs(Default::default()).await.unwrap();
    assert_eq!(jobs.len(), 2, "{jobs:?}");
    assert_eq!(
        held.store.go_on_without_priors(&study("1.2.79.9")).await,
        Ok(0)
    );
    let audited = held.audited().await;
    assert!(audited.contains("fetched prior") && audited.contains("end prior order"));
}

#[tokio::test]
async fn earlier_studies_come_by_c_get() {
    for line in Line::both() {
        fetched_by(&line, &[Fetch::Get]).await;
    }
}

#[tokio::test]
async fn earlier_studies_come_by_c_move() {
    for line in Line::both() {
        fetched_by(&line, &[Fetch::Move]).await;
    }
}

#[tokio::test]
async fn a_budget_is_kept_and_what_lacks_is_said() {
    for line in Line::both() {
        kept_and_said(&line).await;
    }
}

async fn kept_and_said(line: &Line) {
    let dicom = free_port();
    let pacs = line.bound(peer("pacs", "ORTHANC", Some(dicom), Rights::STORE));
    let held = Held::start_over(line, vec![pacs.clone()]).await;
    let orthanc = Orthanc::start_over(line, dicom, held.address.port()).await;
    let (_dir, files) = made(
        "make('1.2.79.1', '1.2.79.1.1', 1, date='20251201')\n\
         for n in range(1, 9): make('1.2.79.2', '1.2.79.2.1', n, date='20260201', side=512)",
    )
    .await;
    store(line, &files, &orthanc).await;
    held.admit_made(&format!("{MAKE}{TODAY}")).await;
    complete(&held, terms(100)).await;
    let _inquiring = inquiring(&held, vec![pacs]);
    until_async("the order's end", async || {
        order_of(&held).await.state == "ended"
    })
    .await;
    let order = order_of(&held).await;
    let outcome = order.outcome.unwrap();
    // Eight objects of 256 KiB do not fit into 1 MiB.
    let lacking = outcome.lacking.expect("not all of it is here");
    assert!(lacking.contains("budget"), "{lacking}");
    assert!(held.count("1.2.79.2").await < 8);
    assert!(
        order
            .studies
            .contains(&(study("1.2.79.2"), PriorState::Failed))
    );
    assert!(lease(&held).await.is_some(), "the analysis goes on");
}

/// A web server over TLS that has seven images of a series of whichever study it is asked about.
const COUNTING_WEB: &str = r"
import http.server, json, ssl, sys
class Web(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        series = {'0020000E': {'vr': 'UI', 'Value': ['1.2.77.1.1']}, '00201209': {'vr': 'IS', 'Value': [7]}}
        body = json.dumps([series]).encode()
        self.send_response(200); self.send_header('Content-Length', str(len(body))); self.end_headers()
        self.wfile.write(body)
server = http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Web)
made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) # as browsers have it: nobody must show a certificate
made.load_cert_chain(sys.argv[3], sys.argv[2])
server.socket = made.wrap_socket(server.socket, server_side=True)
server.serve_forever()
";

async fn counting_web(line: &Line) -> (u16, tokio::process::Child) {
    let port = free_port();
    let mut web = python();
    web.kill_on_drop(true)
        .args(["-c", COUNTING_WEB])
        .arg(port.to_string())
        .args(line.files());
    let child = web.spawn().expect("Python is installed");
    listens("the web server", port).await;
    (port, child)
}

/// Peers that speak DICOM in plain, or over TLS, with a web server that is or is not known by what it shows: where it is not, they
/// are asked by C-FIND instead.
#[tokio::test]
async fn a_peers_web_server_is_known_by_its_own_certificate_or_by_its_name() {
    let (line, others) = (Line::tls(), Line::tls());
    let held = Held::start_over(&line, Vec::new()).await;
    held.admit_made(&format!("{MAKE}make('1.2.77.1', '1.2.77.1.1', 1)"))
        .await;
    let (web, _web) = counting_web(&line).await;
    let (foreign, _foreign) = counting_web(&others).await;
    let shown = |line: &Line| {
        line.bound(peer("its", "ITS", None, Rights::STORE))
            .certificates
    };
    let (its, of_others, none) = (shown(&line), shown(&others), Vec::new());
    // The server's certificate is for localhost, not for 127.0.0.1.
    let cases = [
        ("known by name", "localhost", web, &none, &none, true),
        ("of another name", "127.0.0.1", web, &none, &none, false),
        ("bound", "127.0.0.1", web, &its, &none, true),
        (
            "bound beside DICOM's",
            "localhost",
            web,
            &its,
            &of_others,
            true,
        ),
        (
            "of another server",
            "localhost",
            web,
            &of_others,
            &none,
            false,
        ),
        ("as DICOM's", "127.0.0.1", web, &none, &its, true),
        ("not as DICOM's", "localhost", web, &none, &of_others, false),
        ("unsigned", "localhost", foreign, &none, &none, false),
        (
            "unsigned though bound",
            "localhost",
            foreign,
            &of_others,
            &none,
            false,
        ),
    ];
    let (mut peers, mut doors) = (Vec::new(), Vec::new());
    for (name, host, port, web_certificates, certificates, _) in &cases {
        let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dicom = door.local_addr().unwrap().port();
        peers.push(Peer {
            counts: true,
            web: Some(format!("https://{host}:{port}/dicom-web").parse().unwrap()),
            web_certificates: web_certificates.to_vec(),
            certificates: certificates.to_vec(),
            ..peer(name, "PACS", Some(dicom), Rights::STORE)
        });
        doors.push(door);
    }
    let _inquiring = inquiring(&held, peers);
    for ((name, .., is_known), door) in cases.iter().zip(doors) {
        let by_find = async {
            let called = door.accept().await;
            called.is_err()
        };
        let by_web = async {
            let study = study("1.2.77.1");
            loop {
                let standing = held.store.standing(&study).await.unwrap().unwrap();
                if standing.counts.contains_key(*name) {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let asked = async {
            tokio::select! { web = by_web => web, find = by_find => find }
        };
        let found = tokio::time::timeout(Duration::from_secs(60), asked).await;
        assert_eq!(found.ok(), Some(*is_known), "a web server {name}");
    }
}

/// Orthanc counts our results as it counts images. Where it got them from us, nothing of the study is fetched again for them;
/// where it has as many images more, they are.
#[tokio::test]
async fn an_earlier_study_is_not_fetched_again_for_the_results_that_the_archive_took() {
    for is_taken in [true, false] {
        let dicom = free_port();
        let pacs = Peer {
            fetch: vec![Fetch::Get],
            ..peer("pacs", "ORTHANC", Some(dicom), Rights::STORE)
        };
        let held = Held::start(vec![pacs.clone()]).await;
        let line = Line::plain();
        let orthanc = Orthanc::start_over(&line, dicom, held.address.port()).await;
        let images = "for n in 1, 2: make('1.2.79.2', '1.2.79.2.1', n, date='20260201')";
        let (_dir, files) = made(&format!(
            "{images}\nmake('1.2.79.2', '1.2.79.2.2', 1, date='20260201')"
        ))
        .await;
        store(&line, &files, &orthanc).await;
        held.admit_made(&format!("{MAKE}{images}")).await;
        result_for(&held, "pacs", &["1.2.79.2.2.1"]).await;
        if is_taken {
            let lease = Duration::from_secs(60);
            let delivery = held.store.lease_delivery("pacs", lease).await.unwrap();
            held.store.delivered(&delivery.unwrap()).await.unwrap();
        }
        held.admit_made(&format!("{MAKE}{TODAY}")).await;
        complete(&held, terms(100)).await;
        let _inquiring = inquiring(&held, vec![pacs]);
        until_async("the order's end", async || {
            order_of(&held).await.state == "ended"
        })
        .await;
        let order = order_of(&held).await;
        let outcome = order.outcome.unwrap();
        assert_eq!((outcome.found, outcome.here), (1, 1), "{outcome:?}");
        assert_eq!(outcome.objects == 0, is_taken, "{outcome:?}");
        assert_eq!(order.studies, [(study("1.2.79.2"), PriorState::Here)]);
    }
}

/// An archive that gives two of a study's three objects by C-GET, and then fails; every time.
const HALF_AN_ARCHIVE: &str = r"
import sys
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (StudyRootQueryRetrieveInformationModelFind as FIND,
    StudyRootQueryRetrieveInformationModelGet as GET, SecondaryCaptureImageStorage as SC)
files = [dcmread(path) for path in sys.argv[2:]]
def find(event):
    answer = Dataset(); answer.QueryRetrieveLevel = 'STUDY'; answer.ModalitiesInStudy = 'CT'
    for name in 'StudyInstanceUID', 'StudyDate', 'StudyTime', 'PatientID':
        setattr(answer, name, getattr(files[0], name))
    yield 0xFF00, answer
def get(event):
    yield len(files)
    for file in files[:2]:
        yield 0xFF00, file
    failed = Dataset(); failed.FailedSOPInstanceUIDList = [files[2].SOPInstanceUID]
    yield 0xC001, failed
ae = AE('ORTHANC')
ae.add_supported_context(FIND); ae.add_supported_context(GET)
ae.add_supported_context(SC, scu_role=True, scp_role=True)
ae.start_server(('127.0.0.1', int(sys.argv[1])), evt_handlers=[(evt.EVT_C_FIND, find), (evt.EVT_C_GET, get)])
";

/// What came by a way that failed is counted, and the next way has only what is left of the budget.
#[tokio::test]
async fn what_a_failed_way_brought_is_counted_and_spent() {
    let (_dir, files) =
        made("for n in 1, 2, 3: make('1.2.79.2', '1.2.79.2.1', n, date='20260201')").await;
    for (budget, objects, why) in [(100, 4, "0xC001"), (3, 4, "budget"), (2, 2, "budget")] {
        let port = free_port();
        let mut archive = python();
        archive.kill_on_drop(true).arg("-c").arg(HALF_AN_ARCHIVE);
        let _archive = archive.arg(port.to_string()).args(&files).spawn().unwrap();
        listens("half an archive", port).await;
        let pacs = Peer {
            fetch: vec![Fetch::Get, Fetch::Get],
            ..peer("pacs", "ORTHANC", Some(port), Rights::STORE)
        };
        let held = Held::start(vec![pacs.clone()]).await;
        held.admit_made(&format!("{MAKE}{TODAY}")).await;
        complete(&held, terms(budget)).await;
        let _inquiring = inquiring(&held, vec![pacs]);
        until_async("the order's end", async || {
            order_of(&held).await.state == "ended"
        })
        .await;
        let outcome = order_of(&held).await.outcome.unwrap();
        assert_eq!(
            (outcome.here, outcome.objects),
            (0, objects),
            "{budget}: {outcome:?}"
        );
        let each = std::fs::metadata(&files[0]).unwrap().len();
        assert!(
            outcome.bytes > 0 && outcome.bytes < each * objects,
            "{budget}: {outcome:?}"
        );
        let lacking = outcome.lacking.unwrap();
        assert!(lacking.contains(why), "{budget}: {lacking}");
        assert_eq!(held.count("1.2.79.2").await, 2, "{budget}");
    }
}

/// An archive that gives a study by C-MOVE to here, with or without a word after every object, and by WADO-RS. After four objects
/// by C-MOVE it waits to be told that this is enough, and goes on when nobody does.
const UNTIL_STOPPED: &str = r"
import http.server, sys, threading, time
from pathlib import Path
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (StudyRootQueryRetrieveInformationModelFind as FIND,
    StudyRootQueryRetrieveInformationModelMove as MOVE, SecondaryCaptureImageStorage as SC)
port, web, appliance, is_quiet, paths = *map(int, sys.argv[1:4]), sys.argv[4] == 'quiet', sys.argv[5:]
files = [dcmread(path) for path in paths]
def find(event):
    answer = Dataset(); answer.QueryRetrieveLevel = 'STUDY'; answer.ModalitiesInStudy = 'CT'
    for name in 'StudyInstanceUID', 'StudyDate', 'StudyTime', 'PatientID':
        setattr(answer, name, getattr(files[0], name))
    yield 0xFF00, answer
def move(event):
    if is_quiet:
        send = event.assoc.dimse.send_msg
        event.assoc.dimse.send_msg = lambda said, context: None if said.Status == 0xFF00 else send(said, context)
    yield '127.0.0.1', appliance
    yield len(files)
    for at, file in enumerate(files):
        patience, is_cancelled = time.monotonic() + 15, event.is_cancelled # true once for each C-CANCEL
        while at == 4 and not is_cancelled and time.monotonic() < patience:
            time.sleep(0.01)
            is_cancelled = event.is_cancelled
        if is_cancelled:
            yield 0xFE00, None
            return
        yield 0xFF00, file
class Web(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        parts = [b'--parted\r\nContent-Type: application/dicom\r\n\r\n' + Path(path).read_bytes() + b'\r\n' for path in paths]
        body = b''.join(parts) + b'--parted--\r\n'
        self.send_response(200)
        self.send_header('Content-Type', 'multipart/related; type=application/dicom; boundary=parted')
        self.send_header('Content-Length', str(len(body))); self.end_headers()
        try: self.wfile.write(body)
        except OSError: pass # whoever has enough hangs up
server = http.server.ThreadingHTTPServer(('127.0.0.1', web), Web)
threading.Thread(target=server.serve_forever, daemon=True).start()
ae = AE('ORTHANC')
ae.add_supported_context(FIND); ae.add_supported_context(MOVE)
ae.add_requested_context(SC, '1.2.840.10008.1.2.1')
ae.start_server(('127.0.0.1', port), evt_handlers=[(evt.EVT_C_FIND, find), (evt.EVT_C_MOVE, move)])
";

/// Eight objects of 256 KiB do not fit into 1 MiB. Of what is sent here, the object that is too much is here before it is
/// known; of a web server's answer it is not taken.
#[tokio::test]
async fn a_budget_is_kept_by_c_move_and_by_wado_too() {
    let (_dir, files) =
        made("for n in range(1, 9): make('1.2.79.2', '1.2.79.2.1', n, date='20260201', side=512)")
            .await;
    for (way, name, came) in [
        (Fetch::Move, "telling", 4),
        (Fetch::Move, "quiet", 4),
        (Fetch::Web, "WADO-RS", 3),
    ] {
        let (port, web) = (free_port(), free_port());
        let pacs = Peer {
            fetch: vec![way],
            web: Some(format!("http://127.0.0.1:{web}/dicom-web").parse().unwrap()),
            ..peer("pacs", "ORTHANC", Some(port), Rights::STORE)
        };
        let held = Held::start(vec![pacs.clone()]).await;
        let mut archive = python();
        archive.kill_on_drop(true).arg("-c").arg(UNTIL_STOPPED);
        archive.args([port, web].map(|port| port.to_string()));
        archive.arg(held.port()).arg(name).args(&files);
        let _archive = archive.spawn().unwrap();
        listens("the archive", port).await;
        listens("its web server", web).await;
        held.admit_made(&format!("{MAKE}{TODAY}")).await;
        complete(&held, terms(100)).await;
        let _inquiring = inquiring(&held, vec![pacs]);
        until_async("the order's end", async || {
            order_of(&held).await.state == "ended"
        })
        .await;
        let order = order_of(&held).await;
        let outcome = order.outcome.unwrap();
        let lacking = outcome.lacking.expect("not all of it is here");
        assert!(lacking.contains("budget"), "{name}: {lacking}");
        assert_eq!((outcome.here, outcome.objects), (0, came), "{name}");
        assert_eq!(held.count("1.2.79.2").await as u64, came, "{name}");
        let failed = (study("1.2.79.2"), PriorState::Failed);
        assert!(order.studies.contains(&failed), "{name}");
        assert!(lease(&held).await.is_some(), "{name}: the analysis goes on");
    }
}

/// An archive that sends one of a study's three objects by C-MOVE, and ends with success. How many there are it says when they
/// are looked for (`found`), or that it has sent as many (`sent`), or neither.
const ONE_OF_THREE: &str = r"
import sys
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (StudyRootQueryRetrieveInformationModelFind as FIND,
    StudyRootQueryRetrieveInformationModelMove as MOVE, SecondaryCaptureImageStorage as SC)
port, appliance, says, files = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], [dcmread(path) for path in sys.argv[4:]]
def find(event):
    answer = Dataset(); answer.QueryRetrieveLevel = 'STUDY'; answer.ModalitiesInStudy = 'CT'
    for name in 'StudyInstanceUID', 'StudyDate', 'StudyTime', 'PatientID':
        setattr(answer, name, getattr(files[0], name))
    if says == 'found': answer.NumberOfStudyRelatedInstances = len(files)
    yield 0xFF00, answer
def move(event):
    send = event.assoc.dimse.send_msg
    def altered(said, context):
        said.NumberOfCompletedSuboperations = len(files) if says == 'sent' else None
        send(said, context)
    event.assoc.dimse.send_msg = altered
    yield '127.0.0.1', appliance
    yield 1
    yield 0xFF00, files[0]
ae = AE('ORTHANC')
ae.add_supported_context(FIND); ae.add_supported_context(MOVE)
ae.add_requested_context(SC, '1.2.840.10008.1.2.1')
ae.start_server(('127.0.0.1', port), evt_handlers=[(evt.EVT_C_FIND, find), (evt.EVT_C_MOVE, move)])
";

#[tokio::test]
async fn a_peer_that_says_that_it_has_sent_all_is_held_to_its_own_numbers() {
    let (_dir, files) =
        made("for n in 1, 2, 3: make('1.2.79.2', '1.2.79.2.1', n, date='20260201')").await;
    for (says, here, state) in [
        ("found", 0, PriorState::Failed),
        ("sent", 0, PriorState::Failed),
        // Who gives no number is believed when anything came.
        ("neither", 1, PriorState::Here),
    ] {
        let port = free_port();
        let pacs = Peer {
            fetch: vec![Fetch::Move],
            ..peer("pacs", "ORTHANC", Some(port), Rights::STORE)
        };
        let held = Held::start(vec![pacs.clone()]).await;
        let mut archive = python();
        archive.kill_on_drop(true).arg("-c").arg(ONE_OF_THREE);
        archive.arg(port.to_string()).arg(held.port()).arg(says);
        let _archive = archive.args(&files).spawn().unwrap();
        listens("the archive", port).await;
        held.admit_made(&format!("{MAKE}{TODAY}")).await;
        complete(&held, terms(100)).await;
        let _inquiring = inquiring(&held, vec![pacs]);
        until_async("the order's end", async || {
            order_of(&held).await.state == "ended"
        })
        .await;
        let order = order_of(&held).await;
        let outcome = order.outcome.unwrap();
        assert_eq!((outcome.here, outcome.objects), (here, 1), "{says}");
        let lacking = outcome.lacking.unwrap_or_default();
        let is_said = lacking.starts_with("1 of 3 objects are here");
        assert_eq!(is_said, here == 0, "{says}: {lacking}");
        assert_eq!(order.studies, [(study("1.2.79.2"), state)], "{says}");
        assert_eq!(held.count("1.2.79.2").await, 1, "{says}");
    }
}

#[tokio::test]
async fn a_peer_that_is_down_is_waited_for_as_long_as_the_rule_says() {
    let held = Held::start(vec![]).await;
    held.admit_made(&format!("{MAKE}{TODAY}")).await;
    let pacs = peer("pacs", "ORTHANC", Some(free_port()), Rights::STORE);
    let _inquiring = inquiring(&held, vec![pacs]);
    complete(&held, terms(100)).await;
    held.clock.advance(Duration::from_secs(61));
    let job = lease(&held).await.expect("the inference goes on without");
    assert!(matches!(job.job.state, JobState::Leased { .. }));
    let today = study("1.2.79.9");
    assert_eq!(held.store.go_on_without_priors(&today).await, Ok(1));
    assert_eq!(order_of(&held).await.state, "late");
    assert!(held.audited().await.contains("go on without priors"));
}
