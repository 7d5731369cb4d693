//! The way to the hub as somebody outside sees it: when a frame goes, and how long every record of it is.

use pericard_audit::VerifierKey;
use pericard_frame::{Draft, FromHub, PLAN_SIGNED_AS, Plan};
use pericard_gate::{Desk, Gate, GateError, Rules, Slot, Spool, Status, Watch};
use pericard_hub::records::Model;
use pericard_hub::{Hub, Keys, Registrar, Shown, enrolment};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The hub's time when hospitals are enrolled: certificates are checked against the machine's own clock too.
pub(crate) const FOUNDED_S: u64 = 1_795_600_000;
const RULES: Rules = Rules { hold_days: 7 };
/// How far apart slots are.
pub(crate) const SLOT_S: u64 = 3600;
/// No frame waits for longer than its hold period and one slot for each of those before it.
const SLOTS_WAITED_MAX: usize = 8 * 24;

/// What somebody outside sees of one slot in which there was a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// When it came, milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// The kind and the length of every TLS record that went out, and that came back.
    pub(crate) out: Vec<(u8, usize)>,
    pub(crate) back: Vec<(u8, usize)>,
}

/// A hub with one hospital enrolled, on disk: whoever copies it has the same keys.
pub(crate) struct Founded {
    dir: tempfile::TempDir,
    /// Where the hospital's gate calls: whoever holds this sees all that goes to the hub.
    door: TcpListener,
    /// Held by whoever sends: two gates would call at one door.
    turn: Mutex<()>,
    /// The hub's key.
    pub(crate) key: VerifierKey,
}

impl Founded {
    /// Founds one whose catalogue has this model.
    pub(crate) fn with(model: &Model) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let door = TcpListener::bind("127.0.0.1:0").expect("a port");
        let made = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        let params = rcgen::CertificateParams::new(vec!["hub".to_owned()]).expect("a name");
        let chain = params.self_signed(&made).expect("a certificate");
        fs::write(dir.path().join("chain.pem"), chain.pem()).expect("written");
        fs::write(dir.path().join("key.pem"), made.serialize_pem()).expect("written");
        let keys = keys(dir.path());
        let hub = open(dir.path(), &keys, Arc::new(|| FOUNDED_S));
        hub.add_model(model).expect("in the catalogue");
        fs::write(
            dir.path().join("catalogue"),
            hub.catalogue().expect("a note"),
        )
        .expect("written");
        let desk = Desk::at(dir.path().join("desk"));
        let asked = pericard_gate::request(&desk, &[4; 32]).expect("a request");
        let at = door.local_addr().expect("an address");
        let granted = enrolment::enrol((&hub, &keys), &asked, "A clinic", at).expect("granted");
        let key = keys.signing().verifier();
        pericard_gate::accept(&desk, &granted.note, &key.to_string()).expect("enrolled");
        Self {
            dir,
            door,
            turn: Mutex::new(()),
            key,
        }
    }

    /// Puts the hospital's half into a folder: the gate's desk and the hub's catalogue.
    pub(crate) fn hospital(&self, to: &Path) {
        copy(&self.dir.path().join("desk"), &to.join("desk"));
        fs::copy(self.dir.path().join("catalogue"), to.join("catalogue")).expect("copied");
    }

    /// Puts a reply with these plans, signed by the hub, where the hospital's gate keeps what it was answered.
    pub(crate) fn publishes(&self, hospital: &Path, plans: &[Plan]) {
        let keys = keys(self.dir.path());
        let mut draft = Draft::<FromHub>::new();
        for (at, plan) in plans.iter().enumerate() {
            let signature = keys.signing().seal(PLAN_SIGNED_AS, &plan.signed_bytes());
            assert!(
                draft.put_plan(at, &Plan { signature, ..*plan }),
                "a place for it"
            );
        }
        let reply = draft.seal().expect("in range");
        let replies = hospital.join("desk/replies");
        fs::create_dir_all(&replies).expect("made");
        fs::write(replies.join("99999999.reply"), reply.bytes()).expect("written");
    }

    /// Opens the hub on a copy of what was founded, and has the gate of the hospital in this folder send all that there is
    /// to send, from that moment on, slot by slot, as its process does. Each slot keeps it busy for so long.
    pub(crate) fn sends(&self, hospital: &Path, from_s: u64, busy: Duration) -> Vec<Seen> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let copied = tempfile::tempdir().expect("a folder");
        copy(self.dir.path(), copied.path());
        let now_ms = Arc::new(AtomicU64::new(from_s * 1000));
        let stop = CancellationToken::new();
        let (behind, serving) = self.serve(copied.path(), &now_ms, &stop);
        let (spool, desk) = (hospital.join("data/egress"), hospital.join("desk"));
        let gate = Gate::open(Spool::at(spool), Desk::at(desk), RULES);
        let gate = gate.expect("opened").expect("enrolled");
        let place_s = u64::from(gate.enrolment().appliance) % SLOT_S;
        let is_over = Arc::new(AtomicBool::new(false));
        let relays = relays(&self.door, behind, (&now_ms, &is_over));
        let mut watch = Passing {
            now_ms,
            busy,
            waited: 0,
        };
        gate.run(SLOT_S, &mut watch);
        is_over.store(true, Ordering::SeqCst);
        let door = self.door.local_addr().expect("an address");
        drop(TcpStream::connect(door)); // so that it is looked whether it is over
        let seen = relays.join().expect("relayed");
        stop.cancel();
        serving.join().expect("served");
        for call in &seen {
            assert_eq!(call.at_ms / 1000 % SLOT_S, place_s, "a slot of its own");
        }
        seen
    }

    fn serve(
        &self,
        dir: &Path,
        now_ms: &Arc<AtomicU64>,
        stop: &CancellationToken,
    ) -> (SocketAddr, JoinHandle<()>) {
        let keys = keys(dir);
        let now_ms = Arc::clone(now_ms);
        let hub = Arc::new(open(
            dir,
            &keys,
            Arc::new(move || now_ms.load(Ordering::SeqCst) / 1000),
        ));
        let door = TcpListener::bind("127.0.0.1:0").expect("a port");
        let behind = door.local_addr().expect("an address");
        door.set_nonblocking(true).expect("a door for many");
        let stop = stop.clone();
        let serving = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(async {
                let door = tokio::net::TcpListener::from_std(door).expect("a door");
                let tls = keys.tls().expect("TLS");
                let registrar = Arc::new(Registrar::new(keys, behind));
                pericard_hub::serve(door, tls, (hub, registrar), stop)
                    .await
                    .expect("served");
            });
        });
        (behind, serving)
    }
}

fn keys(dir: &Path) -> Keys {
    let shown = Shown::Given {
        chain: dir.join("chain.pem"),
        key: dir.join("key.pem"),
    };
    Keys::open(&dir.join("hub"), "hub.example", &shown, FOUNDED_S).expect("keys")
}

fn open(dir: &Path, keys: &Keys, clock: pericard_hub::Clock) -> Hub {
    Hub::open(&dir.join("hub/hub.db"), Arc::clone(keys.signing()), clock).expect("a hub")
}

/// The time of a gate's process: it passes when it is waited for, and while a slot is worked on.
struct Passing {
    now_ms: Arc<AtomicU64>,
    busy: Duration,
    /// Slots in a row in which the frame that is next might not go.
    waited: usize,
}

impl Passing {
    fn pass(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).expect("not for ever");
        self.now_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Watch for Passing {
    fn now(&self) -> Duration {
        Duration::from_millis(self.now_ms.load(Ordering::SeqCst))
    }

    fn wait(&mut self, time: Duration) {
        self.pass(time);
    }

    fn heard(&mut self, slot: Result<Slot, GateError>) -> ControlFlow<()> {
        self.pass(self.busy);
        match slot.expect("a slot") {
            Slot::Sent { status, .. } => {
                assert_eq!(status, Status::Accepted);
                self.waited = 0;
            }
            Slot::Waits(placed) => {
                self.waited += 1;
                assert!(self.waited <= SLOTS_WAITED_MAX, "{placed:?}");
            }
            Slot::Nothing => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }
}

/// Passes connections on, one after the other, and keeps when each came and what passed, until it is over.
fn relays(
    door: &TcpListener,
    to: SocketAddr,
    (now_ms, is_over): (&Arc<AtomicU64>, &Arc<AtomicBool>),
) -> JoinHandle<Vec<Seen>> {
    let door = door.try_clone().expect("the same door");
    let (now_ms, is_over) = (Arc::clone(now_ms), Arc::clone(is_over));
    std::thread::spawn(move || {
        let mut seen = Vec::new();
        loop {
            let (caller, _) = door.accept().expect("a call");
            if is_over.load(Ordering::SeqCst) {
                return seen;
            }
            let at_ms = now_ms.load(Ordering::SeqCst);
            let (out, back) = relayed(caller, to);
            seen.push(Seen {
                at_ms,
                out: records(&out),
                back: records(&back),
            });
        }
    })
}

/// What went out, and what came back.
fn relayed(caller: TcpStream, to: SocketAddr) -> (Vec<u8>, Vec<u8>) {
    let called = TcpStream::connect(to).expect("the hub");
    let both = [&caller, &called].map(|socket| socket.try_clone().expect("the same"));
    let out = std::thread::spawn(move || pass(caller, called));
    let [caller, called] = both;
    let back = pass(called, caller);
    (out.join().expect("passed"), back)
}

fn pass(mut from: TcpStream, mut to: TcpStream) -> Vec<u8> {
    let (mut passed, mut buffer) = (Vec::new(), [0; 16_384]);
    loop {
        match from.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(read) => {
                passed.extend(&buffer[..read]);
                if to.write_all(&buffer[..read]).is_err() {
                    break;
                }
            }
        }
    }
    let _ = to.shutdown(Shutdown::Write); // the other side may have ended already
    passed
}

/// The TLS records in a stream: their types and lengths (RFC 8446, section 5.1).
fn records(stream: &[u8]) -> Vec<(u8, usize)> {
    let (mut records, mut rest) = (Vec::new(), stream);
    while let [kind, _, _, high, low, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        assert!(after.len() >= length, "half a record");
        records.push((*kind, length));
        rest = &after[length..];
    }
    assert!(rest.is_empty(), "half a record's head");
    records
}

/// Copies a folder.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("a folder") {
        let path: PathBuf = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("copied");
        }
    }
}
