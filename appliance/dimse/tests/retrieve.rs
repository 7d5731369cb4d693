//! Queries and retrievals, asked by DCMTK, pynetdicom and Orthanc of a real store; over TLS too, by those of them that know it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use pericard_dimse::Rights;
use serde_json::{Value, json};
use std::path::Path;
use support::archive::{Held, Orthanc, files_in, peer, storescp};
use support::line::{CONTEXTS, Line};
use support::{free_port, outcome, python, run};
use tokio::process::Command;

/// Study 1.2.9.1: two CT series of two images, with a requested procedure. 1.2.9.2: an MR in Japanese. 1.2.9.3: a US in
/// Latin-1. 1.2.9.4: a CR in Cyrillic.
const CORPUS: &str = r"
import sys, numpy
from pydicom.dataset import Dataset, FileMetaDataset
def make(study, series, number, modality, charset, name, patient, date, sop='1.2.840.10008.5.1.4.1.1.7'):
    ds = Dataset()
    if charset: ds.SpecificCharacterSet = charset
    ds.SOPClassUID = sop; ds.SOPInstanceUID = f'{series}.{number}'
    ds.StudyInstanceUID = study; ds.SeriesInstanceUID = series; ds.Modality = modality
    ds.PatientName = name; ds.PatientID = patient; ds.PatientSex = 'O'; ds.PatientBirthDate = '19700101'
    ds.StudyDate = date; ds.StudyTime = '101500'; ds.AccessionNumber = 'A' + patient; ds.StudyID = '7'
    ds.StudyDescription = 'Head ' + modality; ds.SeriesDescription = 'axial'; ds.ReferringPhysicianName = 'Ref^Er'
    ds.SeriesNumber = int(series.split('.')[-1]); ds.InstanceNumber = number; ds.ProtocolName = 'P' + modality
    item = Dataset(); item.RequestedProcedureID = 'RP' + patient; item.ScheduledProcedureStepID = 'SPS1'
    ds.RequestAttributesSequence = [item]
    ds.Rows = ds.Columns = 16; ds.BitsAllocated = ds.BitsStored = 8; ds.HighBit = 7; ds.PixelRepresentation = 0
    ds.SamplesPerPixel = 1; ds.PhotometricInterpretation = 'MONOCHROME2'
    ds.PixelData = numpy.arange(256, dtype='u1').tobytes()
    ds.file_meta = FileMetaDataset(); ds.file_meta.TransferSyntaxUID = '1.2.840.10008.1.2.1'
    ds.file_meta.MediaStorageSOPClassUID = sop; ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.save_as(f'{sys.argv[1]}/{ds.SOPInstanceUID}.dcm', enforce_file_format=True)
for series in '1.2.9.1.1', '1.2.9.1.2':
    for number in 1, 2:
        make('1.2.9.1', series, number, 'CT', None, 'Doe^Jane', 'P1', '20200115')
make('1.2.9.2', '1.2.9.2.1', 1, 'MR', ['', 'ISO 2022 IR 87'], 'Yamada^Tarou=山田^太郎=やまだ^たろう', 'P2', '20200630')
make('1.2.9.3', '1.2.9.3.1', 1, 'US', 'ISO_IR 100', 'Müller^Jérôme', 'P3', '20210301')
make('1.2.9.4', '1.2.9.4.1', 1, 'CR', 'ISO_IR 144', 'Люкceмбypг', 'P4', '20210302')
";

async fn held(peers: Vec<pericard_dimse::Peer>) -> Held {
    held_over(&Line::plain(), peers).await
}

async fn held_over(line: &Line, peers: Vec<pericard_dimse::Peer>) -> Held {
    let held = Held::start_over(line, peers).await;
    held.admit_made(CORPUS).await;
    held
}

/// Asks by findscu; the UIDs of one tag in the answers, in order.
async fn found((line, held): (&Line, &Held), model: &str, keys: &[&str], tag: &str) -> Vec<String> {
    let mut command = Command::new("findscu");
    command.args(["-v", model, "-aet", "WS", "-aec", "PERICARD"]);
    command.args(line.dcmtk());
    for key in keys {
        command.args(["-k", key]);
    }
    command.arg("127.0.0.1").arg(held.port());
    let said = run(command).await;
    assert!(
        said.contains("Received Final Find Response (Success)"),
        "{said}"
    );
    let wanted = format!("({tag}) ");
    let values = said.split("Find Response: ").skip(1).filter_map(|answer| {
        let line = answer.lines().find(|l| l.contains(&wanted))?;
        Some(
            line.split_once('[')?
                .1
                .split_once(']')?
                .0
                .trim_end_matches(['\0', ' '])
                .to_owned(),
        )
    });
    let mut values: Vec<String> = values.collect();
    values.sort();
    values
}

const STUDY: &str = "0020,000d";

#[tokio::test]
async fn dcmtk_searches_at_every_level_by_every_kind_of_matching() {
    for line in Line::both() {
        searched(&line).await;
    }
}

async fn searched(line: &Line) {
    let held = held_over(line, vec![]).await;
    let at = (line, &held);
    let all = ["1.2.9.1", "1.2.9.2", "1.2.9.3", "1.2.9.4"];
    let uid = "StudyInstanceUID";
    for (keys, expected) in [
        (vec![uid], &all[..]),
        (vec!["StudyInstanceUID=1.2.9.2\\1.2.9.4"], &[all[1], all[3]]),
        (vec![uid, "PatientName=doe*"], &all[..1]),
        (vec![uid, "PatientName=Doe^J?ne"], &all[..1]),
        (vec![uid, "PatientName=Doe"], &[]),
        (vec![uid, "PatientID=P1"], &all[..1]),
        (vec![uid, "PatientID=P?"], &all[..]),
        (vec![uid, "AccessionNumber=AP3"], &all[2..3]),
        (vec![uid, "StudyDate=20200101-20201231"], &all[..2]),
        (vec![uid, "StudyDate=20210302"], &all[3..]),
        (vec![uid, "StudyDate=-20200115"], &all[..1]),
        (vec![uid, "StudyDate=20210302-"], &all[3..]),
        (vec![uid, "StudyTime=1000-1030"], &all[..]),
        (vec![uid, "ModalitiesInStudy=MR"], &all[1..2]),
        (vec![uid, "ModalitiesInStudy=MR\\US"], &all[1..3]),
        (vec![uid, "StudyDescription=*CR"], &all[3..]),
        (
            vec![
                uid,
                "StudyID=7",
                "PatientSex=O",
                "ReferringPhysicianName=ref*",
            ],
            &all[..],
        ),
        (vec![uid, "PatientID=NOBODY"], &[]),
        (vec![uid, "ProtocolName=PUS"], &all[2..3]),
        (
            vec![
                uid,
                "RequestAttributesSequence[0].RequestedProcedureID=RPP2",
            ],
            &all[1..2],
        ),
    ] {
        let mut keys = keys;
        keys.insert(0, "QueryRetrieveLevel=STUDY");
        assert_eq!(found(at, "-S", &keys, STUDY).await, expected, "{keys:?}");
        assert_eq!(
            found(at, "-P", &keys, STUDY).await,
            expected,
            "patient root, {keys:?}"
        );
    }
    let series = [
        "QueryRetrieveLevel=SERIES",
        "StudyInstanceUID=1.2.9.1",
        "SeriesInstanceUID",
        "Modality=CT",
    ];
    assert_eq!(
        found(at, "-S", &series, "0020,000e").await,
        ["1.2.9.1.1", "1.2.9.1.2"]
    );
    let images = [
        "QueryRetrieveLevel=IMAGE",
        "StudyInstanceUID=1.2.9.1",
        "SeriesInstanceUID=1.2.9.1.2",
        "SOPInstanceUID",
        "InstanceNumber=2",
    ];
    assert_eq!(found(at, "-S", &images, "0008,0018").await, ["1.2.9.1.2.2"]);
    let patients = ["QueryRetrieveLevel=PATIENT", "PatientID=P*"];
    assert_eq!(
        found(at, "-P", &patients, "0010,0020").await,
        ["P1", "P2", "P3", "P4"]
    );
    let counts = [
        "QueryRetrieveLevel=STUDY",
        "StudyInstanceUID=1.2.9.1",
        "NumberOfStudyRelatedInstances",
    ];
    assert_eq!(found(at, "-S", &counts, "0020,1208").await, ["4"]);
    let audited = held.audited().await;
    assert!(
        audited.contains("\"query\"") && audited.contains("study level, study 1.2.9.1"),
        "{audited}"
    );
    assert!(!audited.contains("Doe"), "the audit log holds ids only");
}

#[tokio::test]
async fn answers_are_in_the_character_set_of_the_question() {
    const SCRIPT: &str = r"
import sys
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as FIND
ae = AE('WS')
for ts in '1.2.840.10008.1.2', '1.2.840.10008.1.2.1', '1.2.840.10008.1.2.2':
    ae.requested_contexts = [build_context(FIND, ts)]
    assoc = ae.associate('127.0.0.1', int(sys.argv[1]), ae_title='PERICARD')
    assert assoc.is_established
    for study, asked, answered, name in [
        ('1.2.9.2', ['', 'ISO 2022 IR 87'], ['', 'ISO 2022 IR 87'], 'Yamada^Tarou=山田^太郎=やまだ^たろう'),
        ('1.2.9.2', None, 'ISO_IR 192', 'Yamada^Tarou=山田^太郎=やまだ^たろう'),
        ('1.2.9.2', 'GB18030', 'GB18030', 'Yamada^Tarou=山田^太郎=やまだ^たろう'),
        ('1.2.9.3', 'ISO_IR 100', 'ISO_IR 100', 'Müller^Jérôme'),
        ('1.2.9.3', 'ISO_IR 192', 'ISO_IR 192', 'Müller^Jérôme'),
        ('1.2.9.3', None, 'ISO_IR 100', 'Müller^Jérôme'),
        ('1.2.9.4', 'ISO_IR 144', 'ISO_IR 144', 'Люкceмбypг'),
        ('1.2.9.4', 'ISO_IR 100', 'ISO_IR 192', 'Люкceмбypг'),
        ('1.2.9.1', None, None, 'Doe^Jane'),
    ]:
        for by_name in False, True:
            ds = Dataset()
            if asked: ds.SpecificCharacterSet = asked
            ds.QueryRetrieveLevel = 'STUDY'; ds.StudyInstanceUID = study; ds.PatientName = ''
            if by_name:
                try: (name).encode({'ISO_IR 100': 'latin1', 'ISO_IR 144': 'iso8859_5', 'None': 'ascii'}.get(str(asked), 'utf-8'))
                except UnicodeEncodeError: continue
                ds.PatientName = name
            answers = [a for s, a in assoc.send_c_find(ds, FIND) if a is not None]
            assert len(answers) == 1, (study, asked, by_name, answers)
            got = answers[0].get('SpecificCharacterSet')
            got = list(got) if got is not None and not isinstance(got, str) else got
            assert got == answered, (study, asked, got)
            answers[0].decode()
            assert str(answers[0].PatientName) == name, (study, asked, answers[0].PatientName)
    assoc.release()
print('ok')
";
    let held = held(vec![]).await;
    let mut command = python();
    command.arg("-c").arg(SCRIPT).arg(held.port());
    assert!(run(command).await.contains("ok"));
}

#[tokio::test]
async fn a_query_ends_when_it_is_cancelled() {
    for line in Line::both() {
        query_cancelled(&line).await;
    }
}

async fn query_cancelled(line: &Line) {
    const SCRIPT: &str = r"
import sys
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as FIND
ae = AE('WS'); ae.add_requested_context(FIND)
assoc = ae.associate('127.0.0.1', int(sys.argv[1]), ae_title='PERICARD', **calling)
ds = Dataset(); ds.QueryRetrieveLevel = 'IMAGE'; ds.SOPInstanceUID = ''; ds.StudyInstanceUID = ''
ds.RequestAttributesSequence = []
# What is sent while answers come reaches the peer whenever the machine has time for it. So the query and what cancels
# it are sent in one piece, and a peer that looks before every answer has to find it.
send, kept = assoc.dul.socket.send, []
def send_once_whole(pdu):
    kept.append(pdu)
    if len(kept) == 3: send(b''.join(kept))
def answers_when_cancelling(message):
    kept.clear(); assoc.dul.socket.send = send_once_whole
    answers = assoc.send_c_find(ds, FIND, msg_id=9)
    assoc.send_c_cancel(message, query_model=FIND)
    statuses = [status.Status for status, _ in answers]
    assoc.dul.socket.send = send
    return statuses
assert answers_when_cancelling(9) == [0xFE00]
assert answers_when_cancelling(8) == [0xFF00] * 40 + [0]
ds.QueryRetrieveLevel = 'NOWHERE'
assert [s.Status for s, _ in assoc.send_c_find(ds, FIND)] == [0xA900]
assoc.release()
assert assoc.is_released
";
    let held = Held::start_over(line, vec![]).await;
    let dir = tempfile::tempdir().unwrap();
    for at in 0..40 {
        let file = support::secondary_capture_file(dir.path(), &format!("1.2.3.{at}"), 8);
        held.admit(&std::fs::read(file).unwrap()).await;
    }
    let mut command = python();
    command.arg("-c").arg(format!("{CONTEXTS}{SCRIPT}"));
    command.arg(held.port()).args(line.files());
    run(command).await;
}

#[tokio::test]
async fn more_matches_than_are_given_are_refused_after_those_that_are() {
    const SCRIPT: &str = r"
import sys
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as FIND, Verification
ae = AE('WS'); ae.add_requested_context(FIND); ae.add_requested_context(Verification)
assoc = ae.associate('127.0.0.1', int(sys.argv[1]), ae_title='PERICARD')
assert assoc.is_established
def asked(**keys):
    ds = Dataset(); ds.QueryRetrieveLevel = 'IMAGE'; ds.StudyInstanceUID = ds.SOPInstanceUID = ds.InstanceNumber = ''
    for key, value in keys.items(): setattr(ds, key, value)
    answers = list(assoc.send_c_find(ds, FIND))
    return [status for status, _ in answers], [found.SOPInstanceUID for _, found in answers if found is not None]
every = [f'1.2.3.{at}' for at in range(5)]
for _ in range(2):
    statuses, found = asked()
    assert [s.Status for s in statuses] == [0xFF00] * 4 + [0xA700], statuses
    assert statuses[-1].ErrorComment.strip() == 'more matches than are given; narrow the query', statuses[-1]
    assert len(set(found)) == 4 and set(found) < set(every), found
    # As many as are given are no more than that, and what does not match does not count.
    statuses, found = asked(SOPInstanceUID=every[1:])
    assert [s.Status for s in statuses] == [0xFF00] * 4 + [0], statuses
    assert sorted(found) == every[1:], found
    assert [s.Status for s in asked(QueryRetrieveLevel='STUDY')[0]] == [0xFF00, 0]
    assert assoc.send_c_echo().Status == 0
assoc.release()
assert assoc.is_released
";
    let held = Held::start_with(vec![], |config| config.limits.answers_max = 4).await;
    let dir = tempfile::tempdir().unwrap();
    for at in 0..5 {
        let file = support::secondary_capture_file(dir.path(), &format!("1.2.3.{at}"), 8);
        held.admit(&std::fs::read(file).unwrap()).await;
    }
    let mut command = python();
    command.arg("-c").arg(SCRIPT).arg(held.port());
    run(command).await;
    let mut find = Command::new("findscu");
    find.args(["-v", "-S", "-aet", "WS", "-aec", "PERICARD"])
        .args(["-k", "QueryRetrieveLevel=IMAGE", "-k", "SOPInstanceUID"])
        .arg("127.0.0.1")
        .arg(held.port());
    let said = outcome(&mut find).await.1;
    assert!(
        said.contains("Received Final Find Response (Refused: OutOfResources)"),
        "{said}"
    );
}

/// The data sets of DCMTK's files, whatever it called them.
fn instances_in(dir: &Path) -> usize {
    files_in(dir).len()
}

#[tokio::test]
async fn dcmtk_gets_over_its_own_association() {
    let held = held(vec![]).await;
    for (model, keys, expected) in [
        (
            "-S",
            vec!["QueryRetrieveLevel=STUDY", "StudyInstanceUID=1.2.9.1"],
            4,
        ),
        ("-P", vec!["QueryRetrieveLevel=PATIENT", "PatientID=P1"], 4),
        (
            "-S",
            vec![
                "QueryRetrieveLevel=SERIES",
                "StudyInstanceUID=1.2.9.1",
                "SeriesInstanceUID=1.2.9.1.2",
            ],
            2,
        ),
        (
            "-S",
            vec![
                "QueryRetrieveLevel=IMAGE",
                "StudyInstanceUID=1.2.9.1",
                "SeriesInstanceUID=1.2.9.1.2",
                "SOPInstanceUID=1.2.9.1.2.1",
            ],
            1,
        ),
        (
            "-S",
            vec!["QueryRetrieveLevel=STUDY", "StudyInstanceUID=1.2.9.99"],
            0,
        ),
    ] {
        for syntax in ["+xe", "+xi"] {
            let dir = tempfile::tempdir().unwrap();
            let mut command = Command::new("getscu");
            command
                .args(["-v", model, syntax, "-aet", "WS", "-aec", "PERICARD", "-od"])
                .arg(dir.path());
            for key in &keys {
                command.args(["-k", key]);
            }
            command.arg("127.0.0.1").arg(held.port());
            let said = run(command).await;
            assert_eq!(
                instances_in(dir.path()),
                expected,
                "{keys:?} {syntax}\n{said}"
            );
        }
    }
    assert!(held.audited().await.contains("retrieve"));
}

#[tokio::test]
async fn what_is_got_is_what_was_sent_and_what_cannot_be_sent_is_named() {
    const SCRIPT: &str = r"
import sys
from pydicom.dataset import Dataset
from pynetdicom import AE, evt, build_role
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as GET, SecondaryCaptureImageStorage as SC, CTImageStorage as CT
got = []
def handle(event):
    got.append(event.dataset.SOPInstanceUID); open(f'{sys.argv[2]}/{got[-1]}', 'wb').write(event.request.DataSet.getvalue())
    return int(sys.argv[4], 16) if len(got) == 2 else 0
for storage, syntaxes, final in (SC, ['1.2.840.10008.1.2.1'], int(sys.argv[5], 16)), (CT, ['1.2.840.10008.1.2.1'], 0xA702), (SC, ['1.2.840.10008.1.2.4.70'], 0xA702):
    got.clear()
    ae = AE('WS'); ae.add_requested_context(GET); ae.add_requested_context(storage, syntaxes)
    assoc = ae.associate('127.0.0.1', int(sys.argv[1]), ae_title='PERICARD', ext_neg=[build_role(storage, scp_role=True)], evt_handlers=[(evt.EVT_C_STORE, handle)])
    assert assoc.is_established
    ds = Dataset(); ds.QueryRetrieveLevel = 'STUDY'; ds.StudyInstanceUID = '1.2.9.1'
    responses = list(assoc.send_c_get(ds, GET))
    status, failed = responses[-1]
    assert status.Status == final, (hex(status.Status), final)
    if final == 0: assert status.NumberOfCompletedSuboperations == 4 and 'NumberOfRemainingSuboperations' not in status, status
    if final == 0xA702: assert len(failed.FailedSOPInstanceUIDList) == 4, failed
    if final == 0xB000: assert status.NumberOfFailedSuboperations + status.NumberOfWarningSuboperations == 1, status
    assoc.release()
";
    let held = held(vec![]).await;
    let dir = tempfile::tempdir().unwrap();
    for (second, outcome) in [("0", "0"), ("a700", "b000"), ("b000", "b000")] {
        let mut command = python();
        command
            .arg("-c")
            .arg(SCRIPT)
            .arg(held.port())
            .arg(dir.path())
            .args(["-", second, outcome]);
        run(command).await;
    }
    let study = pericard_domain::uid::StudyUid::new("1.2.9.1").unwrap();
    for instance in held.store.instances(&study).await.unwrap() {
        let kept = std::fs::read(held.store.object_path(&instance)).unwrap();
        let got = std::fs::read(dir.path().join(instance.identity.instance.as_str())).unwrap();
        assert!(kept.ends_with(&got) && got.len() > 500, "byte for byte");
    }
}

#[tokio::test]
async fn a_move_goes_to_a_third_party_that_is_configured_and_to_nobody_else() {
    let (theirs, port) = (tempfile::tempdir().unwrap(), free_port());
    let pacs = peer("pacs", "PACS", Some(port), Rights::STORE);
    let down = peer("down", "DOWN", Some(free_port()), Rights::STORE);
    let held = held(vec![pacs, down]).await;
    let _scp = storescp(port, theirs.path(), &["+xa"]).await;
    let moved = async |destination: &str, keys: &[&str]| {
        let mut command = Command::new("movescu");
        command.args([
            "-v",
            "-S",
            "-aet",
            "WS",
            "-aec",
            "PERICARD",
            "-aem",
            destination,
        ]);
        for key in keys {
            command.args(["-k", key]);
        }
        command.arg("127.0.0.1").arg(held.port());
        outcome(&mut command).await.1
    };
    let study = ["QueryRetrieveLevel=STUDY", "StudyInstanceUID=1.2.9.1"];
    let said = moved("PACS", &study).await;
    assert!(said.contains("Success"), "{said}");
    assert_eq!(instances_in(theirs.path()), 4);
    let two = [
        "QueryRetrieveLevel=STUDY",
        "StudyInstanceUID=1.2.9.2\\1.2.9.3",
    ];
    let said = moved("PACS", &two).await;
    assert!(said.contains("Success"), "{said}");
    assert_eq!(instances_in(theirs.path()), 6);
    let said = moved("ELSEWHERE", &study).await;
    assert!(
        said.contains("0xa801") || said.contains("MoveDestinationUnknown"),
        "{said}"
    );
    let said = moved("DOWN", &study).await;
    assert!(
        said.contains("0xa702") || said.contains("OutOfResourcesSubOperations"),
        "{said}"
    );
    let said = moved("PACS", &["QueryRetrieveLevel=STUDY"]).await;
    assert!(
        said.to_lowercase().contains("a900") || said.contains("DoesNotMatchSOPClass"),
        "{said}"
    );
    assert_eq!(instances_in(theirs.path()), 6);
    assert!(held.audited().await.contains("to pacs"));
}

/// Cancels a C-GET and a C-MOVE of a study, each while it takes the second object; prints how they ended.
const CANCELS: &str = r"
import json, sys, threading
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (StudyRootQueryRetrieveInformationModelGet as GET,
    StudyRootQueryRetrieveInformationModelMove as MOVE, Verification)
SC = '1.2.840.10008.5.1.4.1.1.7'
came, model = [], None
def stored(event):
    came.append(str(event.request.AffectedSOPInstanceUID))
    if len(came) == 2:
        # It has left before the answer to this object does: a C-MOVE's objects come over another association.
        send, went = assoc.dul.socket.send, threading.Event()
        def sent(pdu):
            send(pdu); went.set()
        assoc.dul.socket.send = sent
        assoc.send_c_cancel(9, query_model=model)
        assert went.wait(20), 'never sent'
        assoc.dul.socket.send = send
    return 0
pacs = AE('PACS'); pacs.add_supported_context(SC)
server = pacs.start_server(('127.0.0.1', int(sys.argv[2])), block=False, evt_handlers=[(evt.EVT_C_STORE, stored)], **listening)
ae = AE('WS')
for wanted in GET, MOVE, Verification: ae.add_requested_context(wanted)
ae.add_requested_context(SC, '1.2.840.10008.1.2.1')
assoc = ae.associate('127.0.0.1', int(sys.argv[1]), ae_title='PERICARD', ext_neg=[build_role(SC, scp_role=True)],
                     evt_handlers=[(evt.EVT_C_STORE, stored)], **calling)
assert assoc.is_established
ds = Dataset(); ds.QueryRetrieveLevel = 'STUDY'; ds.StudyInstanceUID = '1.2.826.0.1.3680043.10.1'
said = []
for model in GET, MOVE:
    came.clear()
    way = assoc.send_c_get(ds, GET, msg_id=9) if model == GET else assoc.send_c_move(ds, 'PACS', MOVE, msg_id=9)
    statuses = [status for status, _ in way]
    counts = {kind: getattr(statuses[-1], f'NumberOf{kind}Suboperations', None) for kind in ('Completed', 'Remaining', 'Failed', 'Warning')}
    said.append({'last': statuses[-1].Status, 'others': sorted({s.Status for s in statuses[:-1]}), 'came': len(came), **counts})
    said[-1]['echo'] = assoc.send_c_echo().Status
assoc.release()
assert assoc.is_released
server.shutdown()
print(json.dumps(said))
";

#[tokio::test]
async fn a_retrieval_ends_when_it_is_cancelled_and_the_association_goes_on() {
    for line in Line::both() {
        cancelled(&line).await;
    }
}

async fn cancelled(line: &Line) {
    const OBJECTS: u64 = 40;
    let port = free_port();
    let pacs = line.bound(peer("pacs", "PACS", Some(port), Rights::STORE));
    let held = Held::start_over(line, vec![pacs]).await;
    let dir = tempfile::tempdir().unwrap();
    for at in 0..OBJECTS {
        let file = support::secondary_capture_file(dir.path(), &format!("1.2.3.{at}"), 8);
        held.admit(&std::fs::read(file).unwrap()).await;
    }
    let mut command = python();
    command.args(["-c", &format!("{CONTEXTS}{CANCELS}")]);
    command
        .args([&held.port(), &port.to_string()])
        .args(line.files());
    let said = run(command).await;
    let said: Vec<Value> = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    for (way, said) in ["C-GET", "C-MOVE"].iter().zip(&said) {
        let of = |name: &str| said[name].as_u64().unwrap_or_default();
        let at = format!("{way} over {}: {said}", line.name());
        assert_eq!(said["last"], 0xFE00, "{at}");
        assert_eq!(said["others"], json!([0xFF00]), "{at}");
        assert_eq!(of("Completed") + of("Remaining"), OBJECTS, "{at}");
        assert_eq!((of("Failed"), of("Warning")), (0, 0), "{at}");
        assert_eq!(of("Completed"), of("came"), "{at}");
        // A C-GET's cancel comes before the answer to the object. A C-MOVE's has come by then, which is not to say that it was seen.
        let most = if *way == "C-GET" { 2 } else { OBJECTS - 1 };
        assert!((2..=most).contains(&of("Completed")), "{at}");
        assert_eq!(said["echo"], 0, "{at}");
    }
}

/// Retrieves by C-GET, and by C-MOVE to its own PACS, what the second argument lists; prints what came, by case.
const RETRIEVES: &str = r"
import json, sys
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation
from pynetdicom import evt, sop_class
SC = '1.2.840.10008.5.1.4.1.1.7'
MODELS = {root + way: getattr(sop_class, f'{root}RootQueryRetrieveInformationModel{way}')
          for root in ('Study', 'Patient') for way in ('Get', 'Move')}
got, moved = [], []
def stored(event, came):
    came.append(str(event.request.AffectedSOPInstanceUID))
    return 0
pacs = AE('PACS'); pacs.add_supported_context(SC)
server = pacs.start_server(('127.0.0.1', int(sys.argv[3])), block=False, evt_handlers=[(evt.EVT_C_STORE, stored, [moved])], **listening)
ae = AE('WS')
for model in MODELS.values(): ae.add_requested_context(model)
ae.add_requested_context(SC, '1.2.840.10008.1.2.1')
offers = []
for model in MODELS.values():
    offers.append(SOPClassExtendedNegotiation())
    offers[-1].sop_class_uid, offers[-1].service_class_application_information = model, b'\x01'
assoc = ae.associate('127.0.0.1', int(sys.argv[1]), ae_title='PERICARD', ext_neg=[build_role(SC, scp_role=True), *offers],
                     evt_handlers=[(evt.EVT_C_STORE, stored, [got])], **calling)
assert assoc.is_established
agreed = assoc.acceptor.sop_class_extended
assert agreed == {model: b'\x01' for model in MODELS.values()}, agreed
said = []
for root, level, keys in json.loads(sys.argv[2]):
    ds = Dataset()
    if level: ds.QueryRetrieveLevel = level
    for keyword, value in keys.items(): setattr(ds, keyword, value)
    got.clear(); moved.clear()
    gets = [status for status, _ in assoc.send_c_get(ds, MODELS[root + 'Get'])]
    moves = [status for status, _ in assoc.send_c_move(ds, 'PACS', MODELS[root + 'Move'])]
    counts = [getattr(moves[-1], f'NumberOf{kind}Suboperations', None) for kind in ('Completed', 'Failed', 'Warning')]
    said.append({'get': gets[-1].Status, 'got': sorted(got), 'move': moves[-1].Status, 'moved': sorted(moved), 'counts': counts})
assoc.release()
server.shutdown()
print(json.dumps(said))
";

/// Study 1.2.9.1 by every level and both models, and what may not be retrieved.
#[tokio::test]
async fn pynetdicom_gets_and_moves_at_every_level() {
    for line in Line::both() {
        retrieved_at_every_level(&line).await;
    }
}

async fn retrieved_at_every_level(line: &Line) {
    const REFUSED: u16 = 0xA900;
    let (first, second) = ("1.2.9.1.1", "1.2.9.1.2");
    let images = ["1.2.9.1.1.1", "1.2.9.1.1.2", "1.2.9.1.2.1", "1.2.9.1.2.2"];
    let (study, patient) = ("StudyInstanceUID", "PatientID");
    let (series, image) = ("SeriesInstanceUID", "SOPInstanceUID");
    let cases = [
        ("Study", "STUDY", json!({study: "1.2.9.1"}), Ok(&images[..])),
        (
            "Study",
            "SERIES",
            json!({study: "1.2.9.1", series: second}),
            Ok(&images[2..]),
        ),
        (
            "Study",
            "SERIES",
            json!({study: "1.2.9.1", series: [first, second]}),
            Ok(&images[..]),
        ),
        (
            "Study",
            "IMAGE",
            json!({study: "1.2.9.1", series: second, image: images[3]}),
            Ok(&images[3..]),
        ),
        (
            "Study",
            "IMAGE",
            json!({study: "1.2.9.1", series: first, image: images[..2]}),
            Ok(&images[..2]),
        ),
        (
            "Patient",
            "PATIENT",
            json!({patient: "P1"}),
            Ok(&images[..]),
        ),
        (
            "Patient",
            "STUDY",
            json!({patient: "P1", study: "1.2.9.1"}),
            Ok(&images[..]),
        ),
        (
            "Patient",
            "SERIES",
            json!({patient: "P1", study: "1.2.9.1", series: first}),
            Ok(&images[..2]),
        ),
        (
            "Patient",
            "IMAGE",
            json!({patient: "P1", study: "1.2.9.1", series: first, image: images[1]}),
            Ok(&images[1..2]),
        ),
        // Relational: without the unique keys above the level.
        ("Study", "SERIES", json!({series: second}), Ok(&images[2..])),
        (
            "Study",
            "IMAGE",
            json!({image: images[0]}),
            Ok(&images[..1]),
        ),
        (
            "Patient",
            "STUDY",
            json!({study: "1.2.9.1"}),
            Ok(&images[..]),
        ),
        // What is below another patient, study or series than was said is not meant.
        (
            "Patient",
            "STUDY",
            json!({patient: "P2", study: "1.2.9.1"}),
            Ok(&[]),
        ),
        (
            "Patient",
            "SERIES",
            json!({patient: "P2", study: "1.2.9.1", series: first}),
            Ok(&[]),
        ),
        (
            "Patient",
            "IMAGE",
            json!({patient: "P2", image: images[0]}),
            Ok(&[]),
        ),
        (
            "Study",
            "SERIES",
            json!({study: "1.2.9.2", series: second}),
            Ok(&[]),
        ),
        (
            "Study",
            "IMAGE",
            json!({study: "1.2.9.2", image: images[0]}),
            Ok(&[]),
        ),
        (
            "Study",
            "IMAGE",
            json!({study: "1.2.9.1", series: first, image: images[3]}),
            Ok(&[]),
        ),
        (
            "Study",
            "SERIES",
            json!({study: "1.2.9.1", series: "1.2.9.99"}),
            Ok(&[]),
        ),
        // Without the unique key of the level, or with one that is none; of a level that the model has not.
        ("Study", "SERIES", json!({study: "1.2.9.1"}), Err(REFUSED)),
        (
            "Study",
            "IMAGE",
            json!({study: "1.2.9.1", series: first}),
            Err(REFUSED),
        ),
        (
            "Study",
            "SERIES",
            json!({study: "1.2.9.1", series: "*"}),
            Err(REFUSED),
        ),
        (
            "Study",
            "IMAGE",
            json!({study: "1.2.9.1", image: "?"}),
            Err(REFUSED),
        ),
        ("Patient", "STUDY", json!({patient: "P1"}), Err(REFUSED)),
        ("Study", "PATIENT", json!({patient: "P1"}), Err(REFUSED)),
        ("Study", "FRAME", json!({image: images[0]}), Err(REFUSED)),
        ("Study", "", json!({study: "1.2.9.1"}), Err(REFUSED)),
    ];
    let port = free_port();
    let pacs = line.bound(peer("pacs", "PACS", Some(port), Rights::STORE));
    let held = held_over(line, vec![pacs]).await;
    let asked: Vec<_> = cases
        .iter()
        .map(|(root, level, keys, _)| json!([root, level, keys]))
        .collect();
    let mut command = python();
    command.arg("-c").arg(format!("{CONTEXTS}{RETRIEVES}"));
    command
        .arg(held.port())
        .arg(json!(asked).to_string())
        .arg(port.to_string())
        .args(line.files());
    let said = run(command).await;
    let told = said.lines().find(|line| line.starts_with('['));
    let told = told.unwrap_or_else(|| panic!("{said}"));
    let said: Vec<Value> = serde_json::from_str(told).unwrap();
    assert_eq!(said.len(), cases.len());
    for ((root, level, keys, expected), said) in cases.iter().zip(&said) {
        let expected = match expected {
            Ok(images) => {
                json!({"get": 0, "got": images, "move": 0, "moved": images, "counts": [images.len(), 0, 0]})
            }
            Err(status) => {
                json!({"get": status, "got": [], "move": status, "moved": [], "counts": [null, null, null]})
            }
        };
        assert_eq!(
            *said,
            expected,
            "{}: {root} root, {level} level, {keys}",
            line.name()
        );
    }
}

#[tokio::test]
async fn who_may_only_send_neither_searches_nor_retrieves() {
    let held = held(vec![]).await;
    for (program, arguments) in [
        ("findscu", vec!["-S", "-k", "QueryRetrieveLevel=STUDY"]),
        (
            "getscu",
            vec![
                "-S",
                "-k",
                "QueryRetrieveLevel=STUDY",
                "-k",
                "StudyInstanceUID=1.2.9.1",
            ],
        ),
        (
            "movescu",
            vec![
                "-S",
                "-aem",
                "CT1",
                "-k",
                "QueryRetrieveLevel=STUDY",
                "-k",
                "StudyInstanceUID=1.2.9.1",
            ],
        ),
    ] {
        for title in ["CT1", "ANYBODY"] {
            let mut command = Command::new(program);
            command
                .args(&arguments)
                .args(["-aet", title, "-aec", "PERICARD", "127.0.0.1"])
                .arg(held.port());
            let (_, said) = outcome(&mut command).await;
            assert!(
                said.contains("No Acceptable Presentation Contexts")
                    || said.contains("No presentation context"),
                "{program} as {title}: {said}"
            );
        }
    }
    let mut echo = Command::new("echoscu");
    echo.args(["-aet", "CT1", "-aec", "PERICARD", "127.0.0.1"])
        .arg(held.port());
    run(echo).await;
    assert!(!held.audited().await.contains("\"retrieve\""));
}

#[tokio::test]
async fn orthanc_searches_and_has_a_study_moved_to_itself() {
    for line in Line::both() {
        searched_and_moved(&line).await;
    }
}

async fn searched_and_moved(line: &Line) {
    // Orthanc's address is the appliance's to know, and the other way round: its port is chosen first.
    let dicom = free_port();
    let orthanc = line.bound(peer("orthanc", "ORTHANC", Some(dicom), Rights::ALL));
    let held = held_over(line, vec![orthanc]).await;
    let orthanc = Orthanc::start_over(line, dicom, held.address.port()).await;
    let query = serde_json::json!({"Level": "Study", "Query": {"PatientName": "doe*", "StudyDate": "20200101-20201231"}});
    let query = orthanc
        .asked("/modalities/pericard/query", Some(query))
        .await;
    let path = query["Path"].as_str().unwrap();
    let answers = orthanc.asked(&format!("{path}/answers"), None).await;
    assert_eq!(answers.as_array().unwrap().len(), 1);
    let retrieved = orthanc
        .asked(
            &format!("{path}/retrieve"),
            Some(serde_json::json!({"TargetAet": "ORTHANC", "Synchronous": true})),
        )
        .await;
    assert!(retrieved.is_object(), "{retrieved}");
    let count = orthanc.asked("/statistics", None).await;
    assert_eq!(count["CountInstances"], 4);
}
