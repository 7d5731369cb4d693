//! A door that keeps objects in memory, an appliance's DICOM door in front of it, and peers to call it.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test binary uses a part of this; a test may panic"
)]

pub(crate) mod archive;
pub(crate) mod line;
pub(crate) mod rewriting;
pub(crate) mod scanning;

use bytes::Bytes;
use line::Line;
use pericard_dicom::meta::file_meta;
use pericard_dimse::{DimseConfig, Door, Listeners, OpenParcel, listen};
use pericard_domain::actor::Actor;
use pericard_domain::ae::AeTitle;
use pericard_domain::uid::{InstanceUid, SopClassUid, TransferSyntaxUid};
use pericard_intake::{Arrival, Refused};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";
pub(crate) const SECONDARY_CAPTURE: &str = "1.2.840.10008.5.1.4.1.1.7";

/// An object as it came through the door.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) sop_class: String,
    pub(crate) instance: String,
    pub(crate) transfer_syntax: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) pieces: usize,
}

/// A door that keeps everything in memory, or refuses as it is told.
#[derive(Clone, Default)]
pub(crate) struct MemoryDoor {
    pub(crate) kept: Arc<Mutex<Vec<Kept>>>,
    pub(crate) refusals: Arc<Mutex<Vec<(String, String, Actor)>>>,
    /// How many objects have begun.
    pub(crate) begun: Arc<AtomicUsize>,
    /// Refuse every object at its beginning.
    pub(crate) refuse_begin: Arc<Mutex<Option<Refused>>>,
    /// Refuse every object at its end.
    pub(crate) refuse_admit: Arc<Mutex<Option<Refused>>>,
    /// Panic while this instance is admitted.
    pub(crate) panic_at: Arc<Mutex<Option<String>>>,
}

pub(crate) struct MemoryParcel {
    door: MemoryDoor,
    kept: Kept,
}

impl Door for MemoryDoor {
    type Parcel = MemoryParcel;

    fn begin(&self, arrival: Arrival, _from: Actor) -> Result<MemoryParcel, Refused> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        if let Some(refused) = self.refuse_begin.lock().unwrap().clone() {
            return Err(refused);
        }
        let Arrival::DataSet {
            sop_class,
            instance,
            transfer_syntax,
        } = arrival
        else {
            return Err(Refused::Malformed("not a data set".into()));
        };
        Ok(MemoryParcel {
            door: self.clone(),
            kept: Kept {
                sop_class: sop_class.to_string(),
                instance: instance.to_string(),
                transfer_syntax: transfer_syntax.to_string(),
                bytes: Vec::new(),
                pieces: 0,
            },
        })
    }

    async fn refuse(&self, what: &str, why: &str, from: Actor) {
        self.refusals
            .lock()
            .unwrap()
            .push((what.into(), why.into(), from));
    }
}

impl OpenParcel for MemoryParcel {
    fn write(&mut self, bytes: &Bytes) -> Result<(), Refused> {
        self.kept.bytes.extend_from_slice(bytes);
        self.kept.pieces += 1;
        Ok(())
    }

    async fn admit(self) -> Result<(), Refused> {
        let poison = self.door.panic_at.lock().unwrap().clone();
        assert!(
            poison.as_deref() != Some(&self.kept.instance),
            "as the test asked for"
        );
        if let Some(refused) = self.door.refuse_admit.lock().unwrap().clone() {
            return Err(refused);
        }
        self.door.kept.lock().unwrap().push(self.kept);
        Ok(())
    }
}

/// A DICOM door on loopback.
pub(crate) struct Appliance {
    pub(crate) door: MemoryDoor,
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) ended: JoinHandle<()>,
}

pub(crate) fn config() -> DimseConfig {
    DimseConfig::new(AeTitle::new("PERICARD").unwrap())
}

impl Appliance {
    pub(crate) async fn start(config: DimseConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (door, stop) = (MemoryDoor::default(), CancellationToken::new());
        let ended = tokio::spawn(listen(listener, config, door.clone(), stop.clone()));
        Self {
            door,
            address,
            stop,
            ended,
        }
    }

    /// Over that line, on which the peers of `config` are bound.
    pub(crate) async fn start_over(line: &Line, config: DimseConfig) -> Self {
        let Some(tls) = line.ours() else {
            return Self::start(config).await;
        };
        let bind = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (plain, secured) = (bind().await, bind().await);
        let address = secured.local_addr().unwrap();
        let listeners = Listeners {
            plain,
            tls: Some((secured, tls)),
        };
        let (door, stop) = (MemoryDoor::default(), CancellationToken::new());
        let ended = tokio::spawn(listen(listeners, config, door.clone(), stop.clone()));
        Self {
            door,
            address,
            stop,
            ended,
        }
    }

    pub(crate) fn port(&self) -> String {
        self.address.port().to_string()
    }

    pub(crate) fn kept(&self) -> Vec<Kept> {
        self.door.kept.lock().unwrap().clone()
    }

    pub(crate) fn refusals(&self) -> Vec<String> {
        let refusals = self.door.refusals.lock().unwrap();
        refusals.iter().map(|(_, why, _)| why.clone()).collect()
    }

    /// Runs a DCMTK client against this door; its output is part of the panic when it fails.
    pub(crate) async fn called_by(&self, program: &str, arguments: &[&str], files: &[PathBuf]) {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .arg("127.0.0.1")
            .arg(self.port())
            .args(files);
        run(command).await;
    }
}

/// Runs a command to its end and gives what it said. Panics when it fails.
pub(crate) async fn run(mut command: Command) -> String {
    let (ok, said) = outcome(&mut command).await;
    assert!(ok, "{command:?} failed:\n{said}");
    said
}

/// Runs a command to its end: whether it succeeded, and what it said.
pub(crate) async fn outcome(command: &mut Command) -> (bool, String) {
    // DCMTK leaves Nagle's algorithm on otherwise, and every object then costs 40 ms.
    command.env("TCP_NODELAY", "1").kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(120), command.output())
        .await
        .expect("a peer ends in time")
        .expect("the peer is installed");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// The Python that has pynetdicom: the test command's own environment, or the system's.
pub(crate) fn python() -> Command {
    let venv = std::env::var_os("PERICARD_PEERS_VENV").map(|v| PathBuf::from(v).join("bin/python"));
    let mut command = Command::new(venv.unwrap_or_else(|| "python3".into()));
    command.env_remove("PYTHONPATH");
    command
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Waits until `is` holds; for what happens after a peer was told.
pub(crate) async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !is() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A Secondary Capture object of `side` x `side` grey pixels, Explicit VR Little Endian, without a file header.
pub(crate) fn secondary_capture(instance: &str, side: u16) -> Vec<u8> {
    let mut out = Vec::new();
    let mut put = |group: u16, element: u16, vr: &[u8; 2], value: &[u8], padding: u8| {
        let mut value = value.to_vec();
        if value.len() % 2 == 1 {
            value.push(padding);
        }
        out.extend_from_slice(&group.to_le_bytes());
        out.extend_from_slice(&element.to_le_bytes());
        out.extend_from_slice(vr);
        if vr == b"OB" || vr == b"OW" {
            out.extend_from_slice(&[0, 0]);
            out.extend_from_slice(&u32::try_from(value.len()).unwrap().to_le_bytes());
        } else {
            out.extend_from_slice(&u16::try_from(value.len()).unwrap().to_le_bytes());
        }
        out.extend_from_slice(&value);
    };
    put(0x0008, 0x0016, b"UI", SECONDARY_CAPTURE.as_bytes(), 0);
    put(0x0008, 0x0018, b"UI", instance.as_bytes(), 0);
    put(0x0008, 0x0060, b"CS", b"OT", b' ');
    put(0x0010, 0x0010, b"PN", b"Test^Phantom", b' ');
    put(0x0010, 0x0020, b"LO", b"PHANTOM", b' ');
    put(0x0020, 0x000d, b"UI", b"1.2.826.0.1.3680043.10.1", 0);
    put(0x0020, 0x000e, b"UI", b"1.2.826.0.1.3680043.10.2", 0);
    put(0x0020, 0x0013, b"IS", b"1", b' ');
    put(0x0028, 0x0002, b"US", &1u16.to_le_bytes(), 0);
    put(0x0028, 0x0004, b"CS", b"MONOCHROME2", b' ');
    put(0x0028, 0x0010, b"US", &side.to_le_bytes(), 0);
    put(0x0028, 0x0011, b"US", &side.to_le_bytes(), 0);
    put(0x0028, 0x0100, b"US", &8u16.to_le_bytes(), 0);
    put(0x0028, 0x0101, b"US", &8u16.to_le_bytes(), 0);
    put(0x0028, 0x0102, b"US", &7u16.to_le_bytes(), 0);
    put(0x0028, 0x0103, b"US", &0u16.to_le_bytes(), 0);
    let seed: u32 = instance.bytes().map(u32::from).sum();
    let pixels: Vec<u8> = (0..u32::from(side) * u32::from(side))
        .map(|at| (at.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 20) as u8)
        .collect();
    put(0x7fe0, 0x0010, b"OB", &pixels, 0);
    out
}

/// The same as a file.
pub(crate) fn secondary_capture_file(dir: &Path, instance: &str, side: u16) -> PathBuf {
    let path = dir.join(format!("{instance}.dcm"));
    let mut file = file_meta(
        &SopClassUid::new(SECONDARY_CAPTURE).unwrap(),
        &InstanceUid::new(instance).unwrap(),
        &TransferSyntaxUid::new(EXPLICIT_LE).unwrap(),
        None,
    );
    file.extend_from_slice(&secondary_capture(instance, side));
    std::fs::write(&path, file).unwrap();
    path
}

/// Frames a PDU.
pub(crate) fn pdu(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, 0];
    out.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
    out.extend_from_slice(body);
    out
}

/// Frames a presentation data value. `control`: 1 is a command, 2 is the last.
pub(crate) fn pdv(context: u8, control: u8, data: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(data.len() + 2)
        .unwrap()
        .to_be_bytes()
        .to_vec();
    out.extend_from_slice(&[context, control]);
    out.extend_from_slice(data);
    out
}

/// An item or sub-item of an association PDU.
pub(crate) fn item(kind: u8, data: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, 0];
    out.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
    out.extend_from_slice(data);
    out
}

/// An A-ASSOCIATE-RQ from scratch.
pub(crate) struct AssociateRequest {
    pub(crate) version: u16,
    pub(crate) called: &'static str,
    pub(crate) calling: &'static str,
    pub(crate) application_context: &'static str,
    pub(crate) contexts: Vec<Vec<u8>>,
    pub(crate) user_items: Vec<Vec<u8>>,
}

impl Default for AssociateRequest {
    fn default() -> Self {
        Self {
            version: 1,
            called: "PERICARD",
            calling: "STRANGER",
            application_context: "1.2.840.10008.3.1.1.1",
            contexts: vec![
                context(1, "1.2.840.10008.1.1", &["1.2.840.10008.1.2"]),
                context(3, SECONDARY_CAPTURE, &[EXPLICIT_LE]),
            ],
            user_items: vec![item(0x51, &16384u32.to_be_bytes()), item(0x52, b"1.2.3")],
        }
    }
}

impl AssociateRequest {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut body = self.version.to_be_bytes().to_vec();
        body.extend_from_slice(&[0, 0]);
        body.extend_from_slice(format!("{:16}{:16}", self.called, self.calling).as_bytes());
        body.extend_from_slice(&[0; 32]);
        body.extend_from_slice(&item(0x10, self.application_context.as_bytes()));
        body.extend_from_slice(&self.contexts.concat());
        body.extend_from_slice(&item(0x50, &self.user_items.concat()));
        pdu(1, &body)
    }
}

/// A proposed presentation context.
pub(crate) fn context(id: u8, abstract_syntax: &str, transfer_syntaxes: &[&str]) -> Vec<u8> {
    let mut data = vec![id, 0, 0, 0];
    data.extend_from_slice(&item(0x30, abstract_syntax.as_bytes()));
    for syntax in transfer_syntaxes {
        data.extend_from_slice(&item(0x40, syntax.as_bytes()));
    }
    item(0x20, &data)
}

/// A command set; values must be of even length.
pub(crate) fn command(elements: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (element, value) in elements {
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&element.to_le_bytes());
        out.extend_from_slice(&u32::try_from(value.len()).unwrap().to_le_bytes());
        out.extend_from_slice(value);
    }
    out
}

pub(crate) fn us(value: u16) -> Vec<u8> {
    value.to_le_bytes().to_vec()
}

pub(crate) fn ui(uid: &str) -> Vec<u8> {
    let mut value = uid.as_bytes().to_vec();
    value.resize(value.len() + value.len() % 2, 0);
    value
}

/// A C-STORE-RQ of a Secondary Capture.
pub(crate) fn store_request(message_id: u16, instance: &str) -> Vec<u8> {
    command(&[
        (0x0002, ui(SECONDARY_CAPTURE)),
        (0x0100, us(1)),
        (0x0110, us(message_id)),
        (0x0700, us(0)),
        (0x0800, us(0)),
        (0x1000, ui(instance)),
    ])
}

/// A C-ECHO-RQ.
pub(crate) fn echo_request(message_id: u16) -> Vec<u8> {
    command(&[
        (0x0002, ui("1.2.840.10008.1.1")),
        (0x0100, us(0x30)),
        (0x0110, us(message_id)),
        (0x0800, us(0x0101)),
    ])
}
