//! In networks of the test's own (network namespaces, as root): the appliance in one, its gate in another, both with a way to
//! everywhere, and the hub at the end of it. Every packet is written down.
//!
//! The gate is a user of its own, as the packages make it. With a hub enrolled the gate's process talks to the hub's address and to nobody else, every other process to nobody at
//! all, and the bytes on the wire are those of the frames, the handshakes' and no more.

use crate::support::{PERICARD, needed, program, run, until, venv};
use pericard_frame::FRAME_BYTES;
use pericard_hub::{Hub, Keys, Registrar, Shown, enrolment};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;

const HUB_DIR: &str = "PERICARD_TEST_HUB_DIR";
const HUB_PORT: u16 = 9443;
/// The gate's user: nobody that this machine knows.
const GATE_UID: u32 = 64_123;
/// Of the request's head, as the gate writes it; that it is always the same is tested in its room.
const REQUEST_HEAD_BYTES: usize = 124;
/// Of the reply's head, as the hub writes it: status, length, the date, and what every answer of its door says to browsers.
const REPLY_HEAD_BYTES: usize = 408;
/// What TLS 1.3 adds to a record: the type of its content, and a tag (RFC 8446, section 5.2).
const SEALED_BYTES: usize = 17;
/// An outgoing packet (packet(7)).
const OUTGOING: u64 = 4;

/// A network of its own, gone with the test.
struct Network {
    name: String,
}

impl Network {
    fn new(name: &str) -> Self {
        let name = format!("pericard-{}-{name}", std::process::id());
        ip(&["netns", "add", &name]);
        let network = Self { name };
        network.ip(&["link", "set", "lo", "up"]);
        // No neighbour's greetings by IPv6: what is written down is what processes say.
        for key in ["all", "default"] {
            let set = format!("net.ipv6.conf.{key}.disable_ipv6=1");
            let _ = network.command("sysctl").args(["-qw", &set]).status(); // a kernel without it has none to switch off
        }
        network
    }

    fn ip(&self, args: &[&str]) {
        let inside: Vec<&str> = [&["-n", self.name.as_str()], args].concat();
        ip(&inside);
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.name])
            .arg(program)
            .stdin(Stdio::null());
        command
    }

    /// A line to another network, with a way to everywhere through it.
    fn joined_to(&self, other: &Self, net: u8) {
        let (here, there) = (format!("h{net}"), format!("t{net}"));
        ip(&[
            "link",
            "add",
            &here,
            "netns",
            &self.name,
            "type",
            "veth",
            "peer",
            "name",
            &there,
            "netns",
            &other.name,
        ]);
        for (network, link, host) in [(self, &here, 1), (other, &there, 2)] {
            network.ip(&[
                "addr",
                "add",
                &format!("10.77.{net}.{host}/24"),
                "dev",
                link,
            ]);
            network.ip(&["link", "set", link, "up"]);
        }
        self.ip(&["route", "add", "default", "via", &format!("10.77.{net}.2")]);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
    }
}

fn ip(args: &[&str]) {
    run(Command::new("ip").args(args));
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Writes down a network's packets.
struct Capture {
    _running: Running,
    file: PathBuf,
}

impl Capture {
    fn of(network: &Network, file: PathBuf) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/privacy/capture.py");
        let mut command = network.command(venv("python").expect("python"));
        command.arg(script).arg(&file).stdout(Stdio::piped());
        let mut running = Running(command.spawn().expect("a capture"));
        let said = running.0.stdout.take().expect("its output");
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line).expect("a word");
        assert_eq!(line.trim(), "ready");
        Self {
            _running: running,
            file,
        }
    }

    /// What went over lines to other networks.
    fn packets(&self) -> Vec<Packet> {
        let text = fs::read_to_string(&self.file).expect("packets");
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let outside = lines.filter(|line| line["interface"] != "lo");
        outside.filter_map(|line| Packet::of(&line)).collect()
    }
}

/// An IP packet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Packet {
    outgoing: bool,
    from: SocketAddr,
    to: SocketAddr,
    /// 6 is TCP.
    protocol: u8,
    sequence: u32,
    payload: Vec<u8>,
}

impl Packet {
    fn of(line: &Value) -> Option<Self> {
        let bytes = hex::decode(line["bytes"].as_str()?).ok()?;
        let outgoing = line["kind"].as_u64()? == OUTGOING;
        let ip = bytes.get(14..)?; // behind the Ethernet head
        match line["protocol"].as_u64()? {
            0x0806 => return None, // ARP: whose address that is
            0x0800 => {}
            other => panic!("a packet of the kind {other:#x}: {}", line["bytes"]),
        }
        let head = usize::from(ip[0] & 15) * 4;
        let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
        let address =
            |at: usize| IpAddr::V4(Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]));
        let tcp = &ip[head..total];
        let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        let protocol = ip[9];
        let (sequence, payload) = if protocol == 6 {
            let data = usize::from(tcp[12] >> 4) * 4;
            let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
            (sequence, tcp[data..].to_vec())
        } else {
            (0, tcp.to_vec())
        };
        Some(Self {
            outgoing,
            from: SocketAddr::new(address(12), port(0)),
            to: SocketAddr::new(address(16), port(2)),
            protocol,
            sequence,
            payload,
        })
    }
}

/// What each connection carried outward, or back, put together by its sequence numbers: what is sent again counts once.
fn streams(packets: &[Packet], outgoing: bool) -> Vec<Vec<u8>> {
    let mut connections: BTreeMap<u16, BTreeMap<u32, Vec<u8>>> = BTreeMap::new();
    for packet in packets
        .iter()
        .filter(|p| p.outgoing == outgoing && !p.payload.is_empty())
    {
        let ours = if outgoing { packet.from } else { packet.to };
        let held = connections.entry(ours.port()).or_default();
        held.insert(packet.sequence, packet.payload.clone());
    }
    let join = |parts: BTreeMap<u32, Vec<u8>>| {
        let (mut stream, mut next) = (Vec::new(), None);
        for (sequence, payload) in parts {
            let skip = next.map_or(0, |next: u32| next.wrapping_sub(sequence) as usize);
            stream.extend(payload.get(skip..).unwrap_or_default());
            next = Some(sequence.wrapping_add(payload.len() as u32));
        }
        stream
    };
    connections.into_values().map(join).collect()
}

/// Not a test of its own: the hub, started within its network.
#[test]
#[ignore = "a child process of the test beside it: `cargo test --test privacy capture` runs it"]
fn hub_within() {
    let Some(dir) = std::env::var_os(HUB_DIR).map(PathBuf::from) else {
        return;
    };
    let (hub, keys) = found(&dir);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let door = tokio::net::TcpListener::bind(("0.0.0.0", HUB_PORT))
            .await
            .expect("a door");
        fs::write(dir.join("open"), "").expect("written");
        let stop = CancellationToken::new();
        let (tls, at) = (
            keys.tls().expect("TLS"),
            door.local_addr().expect("an address"),
        );
        let behind = (Arc::new(hub), Arc::new(Registrar::new(keys, at)));
        let served = pericard_hub::serve(door, tls, behind, stop);
        served.await.expect("served");
    });
}

fn found(dir: &Path) -> (Hub, Keys) {
    let now_s = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    };
    let shown = Shown::Made(vec!["hub".into()]);
    let keys = Keys::open(&dir.join("hub"), "hub.example", &shown, now_s()).expect("keys");
    let clock = Arc::new(now_s);
    let hub = Hub::open(&dir.join("hub/hub.db"), Arc::clone(keys.signing()), clock).expect("a hub");
    (hub, keys)
}

fn is_root() -> bool {
    run(Command::new("id").arg("-u")).trim() == "0"
}

#[test]
fn the_gate_talks_to_the_hub_only_and_everybody_else_to_nobody() {
    if program("ip").is_none() || venv("python").is_none() {
        return;
    }
    if !is_root() {
        assert!(
            std::env::var_os("CI").is_none(),
            "networks of a test's own need root"
        );
        eprintln!("passed over: networks of a test's own need root");
        return;
    }
    if needed(crate::support::cache().join("onnxruntime/libonnxruntime.so")).is_none() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let (hospital, gate, nation) = (
        Network::new("hospital"),
        Network::new("gate"),
        Network::new("nation"),
    );
    hospital.joined_to(&nation, 1);
    gate.joined_to(&nation, 2);

    let appliance = prepared(dir.path());
    let desk = dir.path().join("desk");
    fs::create_dir(&desk).expect("made");
    chown(&desk, Some(GATE_UID), None).expect("given to the gate");
    // On the way to its own folder, and in the appliance's group to the frames: as the packages have it.
    let data = dir.path().join("data");
    fs::create_dir(&data).expect("made");
    for (folder, mode) in [(dir.path(), 0o711), (&data, 0o750)] {
        fs::set_permissions(folder, fs::Permissions::from_mode(mode)).expect("opened");
    }
    let hub_at: SocketAddr = ([10, 77, 2, 2], HUB_PORT).into();
    let (hub, keys) = found(dir.path());
    let asked = command(
        &mut gate.command(PERICARD),
        &["egress", "enrol-request"],
        &appliance,
    );
    let granted = enrolment::enrol((&hub, &keys), &asked, "A clinic", hub_at).expect("granted");
    let answer = dir.path().join("enrolment");
    fs::write(&answer, &granted.note).expect("written");
    let key = keys.signing().verifier().to_string();
    let answer = answer.to_str().expect("a path in UTF-8").to_owned();
    command(
        &mut gate.command(PERICARD),
        &["egress", "enrol", &answer, "--hub-key", &key],
        &appliance,
    );
    drop((hub, keys));

    let of_hospital = Capture::of(&hospital, dir.path().join("hospital.packets"));
    let of_gate = Capture::of(&gate, dir.path().join("gate.packets"));
    let mut within = nation.command(std::env::current_exe().expect("this program"));
    within
        .args([
            "--exact",
            "capture::hub_within",
            "--ignored",
            "--test-threads=1",
        ])
        .env(HUB_DIR, dir.path());
    let _hub = Running(
        within
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the hub"),
    );
    let log = fs::File::create(dir.path().join("log")).expect("a log");
    let mut serve = hospital.command(PERICARD);
    serve
        .args(["serve", "--config"])
        .arg(&appliance)
        .stdout(Stdio::null())
        .stderr(log);
    let mut server = Running(serve.spawn().expect("the appliance"));
    let frame = dir.path().join("data/egress/frames/00000001.frame");
    until("the first frame and the hub", || {
        assert!(
            server.0.try_wait().expect("the appliance").is_none(),
            "{}",
            said(dir.path())
        );
        (frame.exists() && dir.path().join("open").exists()).then_some(())
    });
    work_within(&hospital, dir.path());
    let sent = command(
        &mut gate.command(PERICARD),
        &["egress", "run", "--once"],
        &appliance,
    );
    assert_eq!(sent.trim(), "frame 1: accepted");
    let again = command(
        &mut gate.command(PERICARD),
        &["egress", "run", "--once"],
        &appliance,
    );
    assert_eq!(again.trim(), "the hub has every frame");

    for folder in [desk.join("sent"), desk.join("replies"), desk] {
        for file in crate::support::files_in(&folder) {
            let owner = fs::metadata(&file).expect("a file").uid();
            assert_eq!(owner, GATE_UID, "{}", file.display());
        }
    }

    let silent = of_hospital.packets();
    assert!(
        silent.is_empty(),
        "the appliance talked to somebody: {silent:?}"
    );
    let packets = of_gate.packets();
    accounted(&packets, hub_at);
    let (hub, _) = found(dir.path());
    let records = hub.records().snapshot();
    assert_eq!(records.frames.len(), 1);
    let (sent, made) = (&records.frames[0].frame, fs::read(&frame).expect("a frame"));
    let made = pericard_frame::Frame::open(&made).expect("a frame");
    assert_eq!(
        sent.signed_bytes(),
        made.signed_bytes(),
        "what was shown is what arrived"
    );
    // That the capture would see somebody who talks: a stranger in the appliance's network does.
    let _ = hospital
        .command("curl")
        .args(["--silent", "--max-time", "1", "http://10.77.1.2/"])
        .status();
    until("a stranger's packets", || {
        (!of_hospital.packets().is_empty()).then_some(())
    });
}

/// Everything that the gate said went to the hub; and it is one handshake, one request of a fixed length, and a farewell.
fn accounted(packets: &[Packet], hub: SocketAddr) {
    assert!(!packets.is_empty(), "nothing was seen");
    for packet in packets {
        assert_eq!(packet.protocol, 6, "{packet:?}");
        let other = if packet.outgoing {
            packet.to
        } else {
            packet.from
        };
        assert_eq!(other, hub, "{packet:?}");
    }
    let [sent, answered] = [true, false].map(|outgoing| {
        let streams = streams(packets, outgoing);
        assert_eq!(streams.len(), 1, "one connection for one frame");
        records_in(&streams[0])
    });
    // Hello; a byte for old machines; who the hub is; tickets, which are not used; the reply; and perhaps its end.
    let kinds: Vec<u8> = answered.iter().map(|record| record.0).collect();
    assert!(kinds.starts_with(&[22, 20, 23, 23, 23]), "{answered:?}");
    assert_eq!(answered[4].1, REPLY_HEAD_BYTES + FRAME_BYTES + SEALED_BYTES);
    let after = &answered[5..];
    assert!(
        after.is_empty() || after == [(23, 2 + SEALED_BYTES)],
        "{answered:?}"
    );
    let records = sent;
    let kinds: Vec<u8> = records.iter().map(|record| record.0).collect();
    // Hello; a byte for old machines on the way; who we are; the request; the end (RFC 8446, sections 4.1.2, 5, 6.1, D.4).
    assert_eq!(kinds, [22, 20, 23, 23, 23], "{records:?}");
    let request = REQUEST_HEAD_BYTES + FRAME_BYTES + SEALED_BYTES;
    assert_eq!(
        (records[3].1, records[4].1),
        (request, 2 + SEALED_BYTES),
        "{records:?}"
    );
}

/// The TLS records of a stream: their types and lengths (RFC 8446, section 5.1).
fn records_in(stream: &[u8]) -> Vec<(u8, usize)> {
    let (mut records, mut rest) = (Vec::new(), stream);
    while let [kind, _, _, high, low, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        records.push((*kind, length));
        rest = after.get(length..).expect("a whole record");
    }
    assert!(rest.is_empty(), "bytes that belong to no record");
    records
}

fn prepared(dir: &Path) -> PathBuf {
    let library = crate::support::cache().join("onnxruntime/libonnxruntime.so");
    let dir = dir.display();
    let text = format!(
        "[appliance]\nname = 'test'\ndata_dir = '{dir}/data'\n[https]\nlisten = '127.0.0.1:8443'\n\
         [dicom]\nlisten = '127.0.0.1:11112'\nunlisted_peers = 'loopback'\n\
         [storage]\nfree_space_floor_mib = 64\nidle_timeout_s = 1\n[models]\nonnxruntime = '{}'\n\
         [egress]\nweekly = true\nhold_days = 0\ngate_dir = '{dir}/desk'\n",
        library.display()
    );
    let path = PathBuf::from(format!("{dir}/pericard.toml"));
    fs::write(&path, text).expect("the configuration");
    path
}

/// Some work at the doors, within the appliance's own network.
fn work_within(network: &Network, dir: &Path) {
    let patient = crate::patients::Patients { hospital: 9 }.patient(1);
    let image = crate::patients::Image {
        patient: &patient,
        study: 9,
        image: 1,
        has_text: true,
    };
    let file = dir.join("image.dcm");
    fs::write(&file, image.file()).expect("written");
    if let Some(storescu) = program("storescu") {
        let mut store = network.command(storescu);
        run(store
            .args(["-aec", "PERICARD", "127.0.0.1", "11112"])
            .arg(&file));
    }
    let ask = network
        .command("curl")
        .args(["--silent", "--insecure", "https://127.0.0.1:8443/healthz"])
        .output()
        .expect("curl");
    assert!(ask.status.success());
}

fn command(command: &mut Command, args: &[&str], config: &Path) -> String {
    run(command.args(args).arg("--config").arg(config))
}

fn said(dir: &Path) -> String {
    fs::read_to_string(dir.join("log")).unwrap_or_default()
}
