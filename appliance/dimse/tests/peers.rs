//! Real peers call: DCMTK and pynetdicom, in every transfer syntax and PDU size that they know.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use pericard_dimse::{Caller, FileOutcome, Peer, RequestLimits, SubmitProgress, echo, send_files};
use pericard_domain::ae::AeTitle;
use pericard_intake::Refused;
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use support::{
    Appliance, EXPLICIT_LE, config, outcome, python, run, secondary_capture, secondary_capture_file,
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

#[tokio::test]
async fn every_pdu_size_brings_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let file = secondary_capture_file(dir.path(), "1.2.3.4.2", 700);
    let expected = secondary_capture("1.2.3.4.2", 700);
    for size in [4096, 16384, 32768, 131_072, 1024 * 1024] {
        let mut config = config();
        config.limits.pdu_bytes_max = size;
        let appliance = Appliance::start(config).await;
        let arguments = ["-aec", "PERICARD", "-R", "-xe"];
        appliance
            .called_by("storescu", &arguments, std::slice::from_ref(&file))
            .await;
        send(&appliance, std::slice::from_ref(&file)).await;
        for kept in appliance.kept() {
            assert_eq!(kept.bytes.len(), expected.len(), "{size}");
            assert!(kept.bytes == expected, "{size}: other bytes");
        }
        let least = expected.len() / size as usize;
        assert!(appliance.kept().iter().all(|k| k.pieces >= least), "{size}");
    }
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
    let mut told = 0;
    let progress =
        |p: SubmitProgress<'_>| told += usize::from(matches!(p, SubmitProgress::File { .. }));
    let outcomes = send_files(&caller(), &peer(appliance), paths, progress)
        .await
        .unwrap();
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
