//! Real peers call: DCMTK and pynetdicom, in every transfer syntax and PDU size that they know.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use pericard_dimse::{
    CallError, Caller, FileOutcome, Peer, RequestLimits, Rights, SubmitProgress, echo, send_files,
};
use pericard_domain::ae::AeTitle;
use pericard_intake::Refused;
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use support::line::{CONTEXTS, Line};
use support::{
    Appliance, EXPLICIT_LE, archive, config, free_port, outcome, python, run, secondary_capture,
    secondary_capture_file,
};
use tokio::process::Command;

#[tokio::test]
async fn dcmtk_verifies() {
    let appliance = Appliance::start(config()).await;
    appliance
        .called_by("echoscu", &["-aec", "PERICARD", "--repeat", "3"], &[])
        .await;
    // Every transfer syntax, and many contexts at once.
    let arguments = ["-aec", "PERICARD", "-pts", "38", "-ppc", "128"];
    appliance.called_by("echoscu", &arguments, &[]).await;
    assert!(appliance.refusals().is_empty());
}

#[tokio::test]
async fn a_wrong_title_is_told_which() {
    let appliance = Appliance::start(config()).await;
    let mut command = Command::new("echoscu");
    command
        .args(["-v", "-aec", "ELSEWHERE", "127.0.0.1"])
        .arg(appliance.port());
    let (ok, said) = outcome(&mut command).await;
    assert!(
        !ok && said.contains("Called AE Title Not Recognized"),
        "{said}"
    );
    support::until("the refusal is audited", || appliance.refusals().len() == 1).await;
}

#[tokio::test]
async fn dcmtk_stores_in_every_transfer_syntax() {
    let dir = tempfile::tempdir().unwrap();
    let plain = secondary_capture_file(dir.path(), "1.2.3.4.1", 64);
    for (proposal, converter, expected) in [
        ("-x=", None, "1.2.840.10008.1.2.1"),
        ("-xe", None, "1.2.840.10008.1.2.1"),
        ("-xb", Some(("dcmconv", "+tb")), "1.2.840.10008.1.2.2"),
        ("-xi", None, "1.2.840.10008.1.2"),
        ("-xd", Some(("dcmconv", "+td")), "1.2.840.10008.1.2.1.99"),
        ("-xs", Some(("dcmcjpeg", "+e1")), "1.2.840.10008.1.2.4.70"),
        ("-xy", Some(("dcmcjpeg", "+eb")), "1.2.840.10008.1.2.4.50"),
        ("-xt", Some(("dcmcjpls", "+el")), "1.2.840.10008.1.2.4.80"),
        ("-xu", Some(("dcmcjpls", "+en")), "1.2.840.10008.1.2.4.81"),
        ("-xr", Some(("dcmcrle", "+fo")), "1.2.840.10008.1.2.5"),
    ] {
        let file = match converter {
            Some((program, option)) => converted(dir.path(), &plain, program, option).await,
            None => plain.clone(),
        };
        let appliance = Appliance::start(config()).await;
        let arguments = ["-aec", "PERICARD", "-R", proposal];
        appliance.called_by("storescu", &arguments, &[file]).await;
        let kept = appliance.kept();
        assert_eq!(kept.len(), 1, "{proposal}");
        assert_eq!(kept[0].transfer_syntax, expected, "{proposal}");
        assert_eq!(kept[0].sop_class, support::SECONDARY_CAPTURE);
        readable(dir.path(), &kept[0]).await;
    }
}

/// pynetdicom answers whether it is there, and writes down who asked.
const ANSWERER: &str = r"
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification
port, book = sys.argv[1:3]
def asked(event):
    with open(book, 'a') as file: file.write(event.assoc.requestor.ae_title + '\n')
    return 0
ae = AE('THERE'); ae.add_supported_context(Verification)
ae.start_server(('127.0.0.1', int(port)), evt_handlers=[(evt.EVT_C_ECHO, asked)], **listening)
";

/// Whether a peer is there, asked of peers that are not ours.
#[tokio::test]
async fn every_peer_says_that_it_is_there() {
    for line in Line::both() {
        let caller = Caller {
            tls: line.ours(),
            ..caller()
        };
        let there = |port| line.bound(archive::peer("there", "THERE", Some(port), Rights::STORE));
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        let book = dir.path().join("book");
        let mut answerer = python();
        answerer
            .arg("-c")
            .arg(format!("{CONTEXTS}{ANSWERER}"))
            .arg(port.to_string())
            .arg(&book)
            .args(line.files());
        let _answerer = answerer.kill_on_drop(true).spawn().unwrap();
        archive::listens("pynetdicom", port).await;
        echo(&caller, &there(port)).await.unwrap();
        assert_eq!(std::fs::read_to_string(&book).unwrap(), "SENDER\n");

        let port = free_port();
        let mut storescp = Command::new("storescp");
        storescp.args(line.dcmtk()).args(["-aet", "THERE", "-od"]);
        storescp.arg(dir.path()).arg(port.to_string());
        let _storescp = storescp.kill_on_drop(true).spawn().unwrap();
        archive::listens("storescp", port).await;
        echo(&caller, &there(port)).await.unwrap();

        let orthanc = archive::Orthanc::start_over(&line, free_port(), free_port()).await;
        echo(&caller, &there(orthanc.dicom)).await.unwrap();

        let nobody = echo(&caller, &there(free_port())).await;
        assert!(
            matches!(nobody, Err(CallError::Unreachable { .. })),
            "{}: {nobody:?}",
            line.name()
        );
    }
}

/// What may be negotiated, from the least to the most.
const PDU_SIZES: [u32; 5] = [4096, 16384, 32768, 131_072, 1024 * 1024];

/// pynetdicom sends files' bytes as they are, and says the longest PDU that it was told it may send.
const SENDER: &str = r"
from pynetdicom import AE, _config
_config.STORE_SEND_CHUNKED_DATASET = True
port, size, file = sys.argv[1:4]
ae = AE('PYTHON'); ae.add_requested_context('1.2.840.10008.5.1.4.1.1.7', '1.2.840.10008.1.2.1')
assoc = ae.associate('127.0.0.1', int(port), ae_title='PERICARD', **calling)
assert assoc.is_established
assert assoc.acceptor.maximum_length == int(size), assoc.acceptor.maximum_length
assert assoc.send_c_store(file).Status == 0
assoc.release()
";

/// pynetdicom keeps data sets as they come, and stops at a PDU that is longer than it said it takes.
const TAKER: &str = r"
import os
from pathlib import Path
from pynetdicom import AE, evt
port, size, folder = sys.argv[1:4]
def came(event):
    length = getattr(event.pdu, 'pdu_length', 0)
    if length > int(size):
        print('a PDU of', length, 'bytes', flush=True)
        os._exit(1)
def store(event):
    Path(folder, str(event.request.AffectedSOPInstanceUID)).write_bytes(event.request.DataSet.getvalue())
    return 0
ae = AE('TAKER'); ae.maximum_pdu_size = int(size)
ae.add_supported_context('1.2.840.10008.5.1.4.1.1.7', ['1.2.840.10008.1.2.1', '1.2.840.10008.1.2.4.70', '1.2.840.10008.1.2.5'])
ae.start_server(('127.0.0.1', int(port)), evt_handlers=[(evt.EVT_C_STORE, store), (evt.EVT_PDU_RECV, came)], **listening)
";

#[tokio::test]
async fn every_pdu_size_brings_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let file = secondary_capture_file(dir.path(), "1.2.3.4.2", 700);
    let expected = secondary_capture("1.2.3.4.2", 700);
    for line in Line::both() {
        for size in PDU_SIZES {
            let mut config = config();
            config.limits.pdu_bytes_max = size;
            let known = ["PYTHON", "SENDER", "STORESCU"];
            let bound =
                known.map(|title| line.bound(archive::peer(title, title, None, Rights::STORE)));
            config.peers = bound.to_vec().into();
            let appliance = Appliance::start_over(&line, config).await;
            let mut storescu = Command::new("storescu");
            storescu
                .args(line.dcmtk())
                .args(["-aec", "PERICARD", "-R", "-xe", "127.0.0.1"]);
            run_with(storescu.arg(appliance.port()).arg(&file)).await;
            let mut sender = python();
            sender.arg("-c").arg(format!("{CONTEXTS}{SENDER}"));
            sender
                .arg(appliance.port())
                .arg(size.to_string())
                .arg(&file);
            run_with(sender.args(line.files())).await;
            let mut came = 2;
            // Over TLS our own client has no certificate that a peer would have.
            if line.ours().is_none() {
                let sent = send(&appliance, std::slice::from_ref(&file)).await;
                assert_eq!(sent[0].1, FileOutcome::Stored { status: 0 }, "{size}");
                came += 1;
            }
            let at = format!("{} {size}", line.name());
            assert_eq!(appliance.kept().len(), came, "{at}");
            let least = expected.len() / size as usize;
            for kept in appliance.kept() {
                assert_eq!(kept.bytes.len(), expected.len(), "{at}");
                assert!(kept.bytes == expected, "{at}: other bytes");
                assert!(kept.pieces >= least, "{at}");
            }
        }
    }
}

/// Outward too, as they are and compressed, to peers that take no longer PDUs than that.
#[tokio::test]
async fn every_pdu_size_of_a_peer_takes_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let made = |instance: &str| secondary_capture_file(dir.path(), instance, 700);
    let files = [
        made("1.2.3.4.10"),
        converted(dir.path(), &made("1.2.3.4.11"), "dcmcjpeg", "+e1").await,
        converted(dir.path(), &made("1.2.3.4.12"), "dcmcrle", "+fo").await,
    ];
    for line in Line::both() {
        for size in PDU_SIZES {
            for peer in ["pynetdicom", "storescp"] {
                // DCMTK's longest is 128 KiB.
                if peer == "storescp" && size > 131_072 {
                    continue;
                }
                let at = format!("{peer} {} {size}", line.name());
                let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
                let mut taker = match peer {
                    "pynetdicom" => {
                        let mut taker = python();
                        taker.arg("-c").arg(format!("{CONTEXTS}{TAKER}"));
                        taker
                            .args([port.to_string(), size.to_string()])
                            .arg(folder.path());
                        taker.args(line.files());
                        taker
                    }
                    _ => {
                        let mut taker = Command::new("storescp");
                        taker
                            .args(line.dcmtk())
                            .args(["+B", "+xa", "-aet", "TAKER", "--max-pdu"]);
                        taker.arg(size.to_string()).arg("-od").arg(folder.path());
                        taker.arg(port.to_string());
                        taker
                    }
                };
                let _taker = taker.kill_on_drop(true).spawn().unwrap();
                archive::listens(peer, port).await;
                let to = line.bound(archive::peer("taker", "TAKER", Some(port), Rights::STORE));
                let sent = send_over(&line, &to, &files).await;
                let is_stored = |(_, outcome): &(PathBuf, FileOutcome)| {
                    *outcome == FileOutcome::Stored { status: 0 }
                };
                assert!(
                    sent.len() == 3 && sent.iter().all(is_stored),
                    "{at}: {sent:?}"
                );
                taken(folder.path(), &files, &at);
            }
        }
    }
}

/// Each file's data set is among those that a peer keeps, as it was sent.
fn taken(folder: &Path, sent: &[PathBuf], at: &str) {
    let kept: Vec<Vec<u8>> = archive::files_in(folder)
        .iter()
        .map(|file| data_set(&std::fs::read(file).unwrap()).to_vec())
        .collect();
    assert_eq!(kept.len(), sent.len(), "{at}");
    for file in sent {
        let whole = std::fs::read(file).unwrap();
        let found = kept.iter().any(|kept| kept == data_set(&whole));
        assert!(found, "{at}: {} came otherwise", file.display());
    }
}

/// What follows the file's header, when it has one.
fn data_set(file: &[u8]) -> &[u8] {
    if file.get(128..132) != Some(b"DICM") {
        return file;
    }
    let length = u32::from_le_bytes(file[140..144].try_into().unwrap());
    &file[144 + length as usize..]
}

#[tokio::test]
async fn dcmsend_brings_folders() {
    let dir = tempfile::tempdir().unwrap();
    for at in 0..40 {
        secondary_capture_file(dir.path(), &format!("1.2.3.5.{at}"), 32);
    }
    let appliance = Appliance::start(config()).await;
    let arguments = ["-aec", "PERICARD", "--scan-directories"];
    appliance
        .called_by("dcmsend", &arguments, &[dir.path().to_owned()])
        .await;
    assert_eq!(appliance.kept().len(), 40);
}

#[tokio::test]
async fn pynetdicom_negotiates_everything_it_can() {
    const SCRIPT: &str = r"
import sys
from pydicom import dcmread
from pynetdicom import AE, build_context, build_role
from pynetdicom.pdu_primitives import (AsynchronousOperationsWindowNegotiation, SOPClassExtendedNegotiation,
    SOPClassCommonExtendedNegotiation, UserIdentityNegotiation)
from pynetdicom.sop_class import SecondaryCaptureImageStorage as SC, Verification
ae = AE('PYTHON'); ae.maximum_pdu_size = int(sys.argv[2])
ae.add_requested_context(Verification)
ae.add_requested_context(SC, ['1.2.840.10008.1.2.1', '1.2.840.10008.1.2'])
window = AsynchronousOperationsWindowNegotiation()
window.maximum_number_operations_invoked = 5; window.maximum_number_operations_performed = 5
extended = SOPClassExtendedNegotiation(); extended.sop_class_uid = SC; extended.service_class_application_information = b'\x02\x00\x03\x00\x01\x00'
common = SOPClassCommonExtendedNegotiation(); common.sop_class_uid = SC; common.service_class_uid = '1.2.840.10008.4.2'
identity = UserIdentityNegotiation(); identity.user_identity_type = 2; identity.primary_field = b'who'; identity.secondary_field = b'secret'
assoc = ae.associate('127.0.0.1', int(sys.argv[1]), ae_title='PERICARD', max_pdu=int(sys.argv[2]),
    ext_neg=[window, extended, common, identity, build_role(SC, scu_role=True, scp_role=True)])
assert assoc.is_established
assert assoc.acceptor.asynchronous_operations == (5, 1), assoc.acceptor.asynchronous_operations
assert assoc.acceptor.implementation_version_name.startswith('PERICARD')
assert assoc.send_c_echo().Status == 0
for path in sys.argv[3:]:
    status = assoc.send_c_store(dcmread(path))
    assert status.Status == 0, status
assoc.release()
assert assoc.is_released
";
    let dir = tempfile::tempdir().unwrap();
    let files: Vec<PathBuf> = (0..3)
        .map(|at| secondary_capture_file(dir.path(), &format!("1.2.3.6.{at}"), 200))
        .collect();
    for size in ["4096", "0", "1048576"] {
        let appliance = Appliance::start(config()).await;
        let mut command = python();
        command
            .arg("-c")
            .arg(SCRIPT)
            .arg(appliance.port())
            .arg(size)
            .args(&files);
        run(command).await;
        assert_eq!(appliance.kept().len(), 3);
    }
}

#[tokio::test]
async fn files_of_every_kind_arrive_byte_for_byte() {
    // pydicom's own test files: every common transfer syntax, and objects from ECG to radiotherapy.
    const SCRIPT: &str = r"
import sys, hashlib, warnings
from pathlib import Path
warnings.simplefilter('ignore')
import pydicom
from pydicom import dcmread
from pynetdicom import AE, _config
_config.STORE_SEND_CHUNKED_DATASET = True  # the file's bytes, not what pydicom makes of them
folder = Path(pydicom.__file__).parent / 'data' / 'test_files'
by_kind = {}
for path in sorted(folder.glob('*.dcm')):
    try:
        ds = dcmread(path, stop_before_pixels=True)
        meta = ds.file_meta
        kind = (str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID))
        instance, tell = str(meta.MediaStorageSOPInstanceUID), 144 + meta.FileMetaInformationGroupLength
        if ds.get('SOPClassUID') != kind[0] or ds.get('SOPInstanceUID') != instance: continue
    except Exception:
        continue
    by_kind.setdefault(kind, []).append((path, instance, tell))
ae = AE('PYTHON')
for kind, files in by_kind.items():
    ae.requested_contexts = []
    ae.add_requested_context(*kind)
    assoc = ae.associate('127.0.0.1', int(sys.argv[1]), ae_title='PERICARD')
    assert assoc.is_established, kind
    for path, instance, tell in files:
        status = assoc.send_c_store(path)
        assert status.Status == 0, (path, status)
        data = path.read_bytes()[tell:]
        print('sent', instance, kind[1], hashlib.sha256(data).hexdigest())
    assoc.release()
";
    let appliance = Appliance::start(config()).await;
    let mut command = python();
    command.arg("-c").arg(SCRIPT).arg(appliance.port());
    let said = run(command).await;
    let sent: Vec<Vec<&str>> = said
        .lines()
        .filter_map(|l| l.strip_prefix("sent "))
        .map(|l| l.split(' ').collect())
        .collect();
    let kept = appliance.kept();
    assert!(sent.len() > 50, "only {} files: {said}", sent.len());
    assert_eq!(kept.len(), sent.len());
    for (kept, sent) in kept.iter().zip(&sent) {
        assert_eq!([kept.instance.as_str(), &kept.transfer_syntax], sent[..2]);
        assert_eq!(
            hex::encode(Sha256::digest(&kept.bytes)),
            sent[2],
            "{}",
            kept.instance
        );
    }
    let mut syntaxes: Vec<&str> = sent.iter().map(|s| s[1]).collect();
    syntaxes.sort_unstable();
    syntaxes.dedup();
    assert!(syntaxes.len() >= 10, "{syntaxes:?}");
}

#[tokio::test]
async fn what_the_door_says_the_peer_hears() {
    let dir = tempfile::tempdir().unwrap();
    let file = secondary_capture_file(dir.path(), "1.2.3.7.1", 300);
    for (refused, status) in [
        (Refused::OutOfStorage("full".into()), 0xA700),
        (Refused::Busy { retry_after_s: 1 }, 0xA701),
        (Refused::Unavailable("read-only".into()), 0xA702),
        (Refused::Mismatch("SOP class"), 0xA900),
        (Refused::Malformed("cut".into()), 0xC000),
        (Refused::TooLarge { limit_mib: 1 }, 0xC003),
    ] {
        for at_begin in [true, false] {
            let appliance = Appliance::start(config()).await;
            let slot = if at_begin {
                &appliance.door.refuse_begin
            } else {
                &appliance.door.refuse_admit
            };
            *slot.lock().unwrap() = Some(refused.clone());
            let outcomes = send(&appliance, std::slice::from_ref(&file)).await;
            let [
                (
                    _,
                    FileOutcome::Refused {
                        status: Some(heard),
                        comment,
                    },
                ),
            ] = outcomes.as_slice()
            else {
                panic!("{outcomes:?}");
            };
            assert_eq!(*heard, status, "{refused}");
            assert!(!comment.is_empty());
            assert!(appliance.kept().is_empty());
        }
    }
}

#[tokio::test]
async fn our_own_client_sends_folders_and_skips_what_is_not_dicom() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("deeper")).unwrap();
    secondary_capture_file(dir.path(), "1.2.3.8.1", 16);
    secondary_capture_file(&dir.path().join("deeper"), "1.2.3.8.2", 16);
    std::fs::write(dir.path().join("notes.txt"), "not DICOM").unwrap();
    let appliance = Appliance::start(config()).await;
    let outcomes = send(&appliance, &[dir.path().to_owned()]).await;
    let stored = |o: &&(PathBuf, FileOutcome)| o.1 == FileOutcome::Stored { status: 0 };
    assert_eq!(outcomes.iter().filter(stored).count(), 2, "{outcomes:?}");
    assert!(
        outcomes
            .iter()
            .any(|(p, o)| p.ends_with("notes.txt") && matches!(o, FileOutcome::Skipped { .. }))
    );
    assert_eq!(
        appliance.kept()[0].bytes.len(),
        secondary_capture("1.2.3.8.2", 16).len()
    );
    assert!(echo(&caller(), &peer(&appliance)).await.is_ok());
}

#[tokio::test]
async fn more_kinds_than_an_association_has_contexts_take_several() {
    // 150 transfer syntaxes that no standard has: 128 fit the first association, none is accepted.
    let dir = tempfile::tempdir().unwrap();
    for at in 0..150 {
        let path = secondary_capture_file(dir.path(), &format!("1.2.3.9.{at}"), 8);
        let file = std::fs::read(&path).unwrap();
        let (old, new) = (format!("{EXPLICIT_LE}\0"), format!("1.2.999.10008.{at:06}"));
        let at = file
            .windows(old.len())
            .position(|w| w == old.as_bytes())
            .unwrap();
        let mut file = file;
        file[at..at + old.len()].copy_from_slice(&new.as_bytes()[..old.len()]);
        std::fs::write(&path, file).unwrap();
    }
    let appliance = Appliance::start(config()).await;
    let outcomes = send(&appliance, &[dir.path().to_owned()]).await;
    assert_eq!(outcomes.len(), 150);
    assert!(
        outcomes
            .iter()
            .all(|(_, o)| matches!(o, FileOutcome::Refused { status: None, .. }))
    );
}

fn caller() -> Caller {
    Caller {
        ae_title: AeTitle::new("SENDER").unwrap(),
        tls: None,
        limits: RequestLimits::default(),
    }
}

fn peer(appliance: &Appliance) -> Peer {
    Peer::new(
        "appliance",
        AeTitle::new("PERICARD").unwrap(),
        "127.0.0.1".parse().unwrap(),
        Some(appliance.address.port()),
    )
}

async fn send(appliance: &Appliance, paths: &[PathBuf]) -> Vec<(PathBuf, FileOutcome)> {
    send_over(&Line::plain(), &peer(appliance), paths).await
}

async fn send_over(line: &Line, to: &Peer, paths: &[PathBuf]) -> Vec<(PathBuf, FileOutcome)> {
    let caller = Caller {
        tls: line.ours(),
        ..caller()
    };
    let mut told = 0;
    let progress =
        |p: SubmitProgress<'_>| told += usize::from(matches!(p, SubmitProgress::File { .. }));
    let outcomes = send_files(&caller, to, paths, progress).await.unwrap();
    assert_eq!(told, outcomes.len());
    outcomes
}

async fn converted(dir: &Path, file: &Path, program: &str, option: &str) -> PathBuf {
    let out = dir.join(format!("{program}{option}.dcm"));
    let mut command = Command::new(program);
    if option != "+fo" {
        command.arg(option);
    }
    command.arg(file).arg(&out);
    run(command).await;
    out
}

/// Runs a command to its end. Panics when it fails.
async fn run_with(command: &mut Command) {
    let (ok, said) = outcome(command).await;
    assert!(ok, "{command:?} failed:\n{said}");
}

/// What was kept is a file that DCMTK reads to its end.
async fn readable(dir: &Path, kept: &support::Kept) {
    use pericard_domain::uid::{InstanceUid, SopClassUid, TransferSyntaxUid};
    let path = dir.join("kept.dcm");
    let mut file = pericard_dicom::meta::file_meta(
        &SopClassUid::new(&kept.sop_class).unwrap(),
        &InstanceUid::new(&kept.instance).unwrap(),
        &TransferSyntaxUid::new(&kept.transfer_syntax).unwrap(),
        None,
    );
    file.extend_from_slice(&kept.bytes);
    std::fs::write(&path, file).unwrap();
    let mut command = Command::new("dcmdump");
    command
        .arg("+P")
        .arg("PatientID")
        .arg("+P")
        .arg("PixelData")
        .arg(&path);
    let said = run(command).await;
    assert!(
        said.contains("[PHANTOM]") && said.contains("PixelData"),
        "{said}"
    );
}
