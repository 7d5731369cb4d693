//! The gate against a hub of the test's own, over TLS: what goes on the wire, what comes back, and what is believed.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use pericard_audit::{Checkpoint, Hash, SigningKey, cosign, note};
use pericard_frame::layout::{self, reply as field};
use pericard_frame::reply::{Cause, Kind};
use pericard_frame::{
    ADVISORY_SIGNED_AS, Advisory, Draft, FRAME_BYTES, FRAME_SIGNED_AS, Frame, FromHub, Reply, ToHub,
};
use pericard_gate::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use sha2::{Digest as _, Sha256};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

const DAY_S: u64 = 86_400;
const NOW_S: u64 = 1_795_000_000;
const APPLIANCE: u32 = 17;
const RULES: Rules = Rules { hold_days: 7 };

/// What the hub does with the next connection.
enum Does {
    /// Reads a whole request and answers with these bytes.
    Answers(Vec<u8>),
    /// Hangs up after so many bytes of it.
    HangsUp(usize),
}

struct Hub {
    key: SigningKey,
    authority: Issuer<'static, KeyPair>,
    spki: String,
    tls: Arc<ServerConfig>,
    listener: TcpListener,
}

impl Hub {
    fn new() -> Self {
        let authority_key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&authority_key).expect("an authority");
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).expect("a root");
        let key = KeyPair::generate().expect("a key");
        let own = CertificateParams::new(vec!["hub.example".into()]).expect("parameters");
        let own = own.self_signed(&key).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let tls = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_client_cert_verifier(verifier.build().expect("a verifier"))
            .with_single_cert(
                vec![own.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
            );
        Self {
            key: SigningKey::from_seed("hub.example", &[9; 32]).expect("a key"),
            authority: Issuer::new(params, authority_key),
            spki: hex::encode(Sha256::digest(
                rcgen::PublicKeyData::subject_public_key_info(&key),
            )),
            tls: Arc::new(tls.expect("a server")),
            listener: TcpListener::bind("127.0.0.1:0").expect("a port"),
        }
    }

    /// The note that enrols the gate whose request this is, with this pin.
    fn enrol(&self, request: &str, spki: &str) -> String {
        let said = |name: &str| {
            let line = request.lines().find_map(|line| line.strip_prefix(name));
            line.expect("a line").trim().to_owned()
        };
        let csr = BASE64_STANDARD.decode(said("csr")).expect("base64");
        let csr =
            CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr));
        let certificate: CertificateDer<'_> = csr
            .expect("a request")
            .signed_by(&self.authority)
            .expect("signed")
            .into();
        let (own, address) = (
            self.key.verifier(),
            self.listener.local_addr().expect("an address"),
        );
        let text = format!(
            "pericard-enrolment/v1\nappliance {APPLIANCE}\naddress {address}\nhub_spki {spki}\nframe_key {}\n\
             cosigner {own}\nadvisories {own}\ncatalogue {own}\ncertificate {}\n",
            said("frame_key"),
            BASE64_STANDARD.encode(&certificate)
        );
        note::sign(&text, &[&self.key]).expect("signed")
    }

    /// Takes one connection; gives what it read of the request.
    fn once(&self, does: Does) -> JoinHandle<Vec<u8>> {
        let (listener, tls) = (
            self.listener.try_clone().expect("a listener"),
            Arc::clone(&self.tls),
        );
        thread::spawn(move || {
            let (socket, _) = listener.accept().expect("a connection");
            let connection = ServerConnection::new(tls).expect("a server");
            let mut stream = StreamOwned::new(connection, socket);
            let mut request = Vec::new();
            let (limit, answer) = match does {
                Does::Answers(answer) => (usize::MAX, Some(answer)),
                Does::HangsUp(after) => (after, None),
            };
            let whole = |request: &[u8]| {
                let head = request.windows(4).position(|end| end == b"\r\n\r\n");
                head.is_some_and(|head| request.len() == head + 4 + FRAME_BYTES)
            };
            while request.len() < limit && !whole(&request) {
                let mut byte = [0];
                match stream.read(&mut byte) {
                    Ok(1) => request.push(byte[0]),
                    _ => return request, // a handshake that failed, or the other end left
                }
            }
            if let Some(answer) = answer {
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
                    answer.len()
                );
                let answered = stream.write_all(&[head.as_bytes(), &answer].concat());
                answered.and_then(|()| stream.flush()).expect("answered");
            }
            request
        })
    }

    /// The answer that accepts a frame, with a recall, cosigned by this key.
    fn accepts(&self, frame: &Frame, witness: &SigningKey) -> Vec<u8> {
        let root: [u64; 4] = std::array::from_fn(|at| frame.get(&layout::LOG_ROOT, at));
        let bytes: Vec<u8> = root.iter().flat_map(|part| part.to_be_bytes()).collect();
        let seen = Checkpoint {
            origin: format!("pericard/{APPLIANCE}"),
            size: frame.get(&layout::LOG_SIZE, 0),
            root: Hash::new(bytes.try_into().expect("32 bytes")),
        };
        let mut draft = Draft::<FromHub>::new();
        draft.put(&field::LOG_SIZE, 0, seen.size);
        draft.put_all(&field::LOG_ROOT, 0, root);
        draft.put(&field::COSIGNED_AT, 0, NOW_S);
        draft.put_all(
            &field::COSIGNATURE,
            0,
            cosign::cosign(witness, &seen, NOW_S),
        );
        draft.put_advisory(0, &self.recall());
        draft.seal().expect("a reply").bytes().to_vec()
    }

    fn recall(&self) -> Advisory {
        let mut recall = Advisory {
            number: 3,
            kind: Kind::Recall,
            model: 300,
            model_digest: [1, 2, 3, 4],
            issued_at_s: NOW_S,
            cause: Cause::Safety,
            signature: [0; 64],
        };
        recall.signature = self.key.seal(ADVISORY_SIGNED_AS, &recall.signed_bytes());
        recall
    }
}

fn refuses() -> Vec<u8> {
    let mut draft = Draft::<FromHub>::new();
    draft.put(&field::STATUS, 0, Status::Refused.number());
    draft.put(&field::REASON, 0, Reason::Rate.number());
    draft.seal().expect("a reply").bytes().to_vec()
}

fn frame(sequence: u32, appliance: u32) -> Frame {
    let mut draft = Draft::<ToHub>::new();
    draft.put(&layout::SEQUENCE, 0, sequence);
    draft.put(&layout::APPLIANCE, 0, appliance);
    draft.put(&layout::LOG_SIZE, 0, 100 * u64::from(sequence));
    draft.put_all(&layout::LOG_ROOT, 0, [u64::from(sequence), 5, 6, 7]);
    draft.seal().expect("a frame")
}

/// A hospital's side: a spool of three frames, the first from before the enrolment, and a desk.
struct Hospital {
    dir: tempfile::TempDir,
    spool: Spool,
    desk: Desk,
}

impl Hospital {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let (spool, desk) = (dir.path().join("spool"), dir.path().join("desk"));
        std::fs::create_dir_all(spool.join("frames")).expect("made");
        let hospital = Self {
            dir,
            spool: Spool::at(spool),
            desk: Desk::at(desk),
        };
        for (sequence, appliance) in [(1, 0), (2, APPLIANCE), (3, APPLIANCE)] {
            hospital.put(sequence, &frame(sequence, appliance));
        }
        hospital
    }

    fn put(&self, sequence: u32, frame: &Frame) {
        let path = self
            .dir
            .path()
            .join(format!("spool/frames/{sequence:08}.frame"));
        std::fs::write(path, frame.bytes()).expect("written");
    }

    fn enrolled(hub: &Hub) -> Self {
        let hospital = Self::new();
        let asked = request(&hospital.desk, &[4; 32]).expect("a request");
        let key = hub.key.verifier().to_string();
        accept(&hospital.desk, &hub.enrol(&asked, &hub.spki), &key).expect("enrolled");
        hospital
    }

    /// The gate as a new process has it.
    fn gate(&self) -> Gate {
        let gate = Gate::open(self.spool.clone(), self.desk.clone(), RULES);
        gate.expect("opened").expect("enrolled")
    }

    /// One that has seen every frame a hold period ago.
    fn patient_gate(&self) -> Gate {
        let gate = self.gate();
        gate.slot(NOW_S - 7 * DAY_S).expect("looked");
        gate
    }

    fn standings(&self, now_s: u64) -> Vec<Standing> {
        let placed = Gate::standings((&self.spool, &self.desk), RULES, now_s).expect("read");
        placed.iter().map(|placed| placed.standing).collect()
    }
}

fn sent(sequence: u32, status: Status, reason: Reason) -> Slot {
    Slot::Sent {
        sequence,
        status,
        reason,
    }
}

#[test]
fn without_a_hub_there_is_no_gate() {
    let hospital = Hospital::new();
    let gate = Gate::open(hospital.spool.clone(), hospital.desk.clone(), RULES).expect("told");
    assert!(gate.is_none());
    assert!(!hospital.desk.dir().exists(), "and no trace of one");
}

#[test]
fn a_frame_waits_its_days_is_held_and_released_then_goes_in_its_order() {
    use Standing::{Accepted, Due, Foreign, Held, Unseen, Waiting};
    let hub = Hub::new();
    let hospital = Hospital::enrolled(&hub);
    assert_eq!(hospital.standings(NOW_S), [Foreign, Unseen, Unseen]);
    let gate = hospital.gate();
    let first = NOW_S - 7 * DAY_S;
    let waits = Waiting { until_s: NOW_S };
    let slot = gate.slot(first).expect("a slot");
    assert_eq!(
        slot,
        Slot::Waits(Placed {
            sequence: 2,
            standing: waits
        })
    );
    assert_eq!(hospital.standings(NOW_S - 1), [Foreign, waits, waits]);
    assert_eq!(hospital.standings(NOW_S), [Foreign, Due, Due]);

    hospital.spool.hold(Some(2)).expect("held");
    let slot = gate.slot(NOW_S).expect("a slot");
    assert_eq!(
        slot,
        Slot::Waits(Placed {
            sequence: 2,
            standing: Held
        }),
        "and 3 behind it"
    );
    assert!(hospital.spool.release(Some(2)).expect("released"));

    let mut requests = Vec::new();
    for sequence in [2, 3] {
        let answer = hub.accepts(&frame(sequence, APPLIANCE), &hub.key);
        let connection = hub.once(Does::Answers(answer));
        let slot = gate.slot(NOW_S).expect("a slot");
        assert_eq!(slot, sent(sequence, Status::Accepted, Reason::None));
        requests.push(connection.join().expect("a request"));
    }
    assert_eq!(gate.slot(NOW_S).expect("a slot"), Slot::Nothing);
    assert_eq!(hospital.standings(NOW_S), [Foreign, Accepted, Accepted]);
    assert_eq!(requests[0].len(), requests[1].len());
    let head = requests[0].len() - FRAME_BYTES;
    assert_eq!(
        requests[0][..head],
        requests[1][..head],
        "a head tells nothing"
    );
    let on_the_wire = Frame::open(&requests[0][head..]).expect("a frame");
    let key = &gate.enrolment().frame_key;
    assert!(key.opens(
        FRAME_SIGNED_AS,
        on_the_wire.signed_bytes(),
        &on_the_wire.signature()
    ));
    assert_eq!(
        on_the_wire.signed_bytes(),
        frame(2, APPLIANCE).signed_bytes()
    );
    assert_eq!(advisories(&hospital.desk).expect("read"), [hub.recall()]);
}

/// Time that passes only when it is waited for, and while a slot is worked on; and what the hub does in each slot.
struct Passing<'a> {
    hub: &'a Hub,
    now: Duration,
    /// How long each slot keeps the gate busy.
    busy: Duration,
    /// What the hub does with the calls to come, one a slot.
    does: std::collections::VecDeque<Does>,
    /// The call that the hub waits for now.
    awaited: Option<JoinHandle<Vec<u8>>>,
    slots: Vec<Duration>,
    calls: Vec<Duration>,
}

impl Watch for Passing<'_> {
    fn now(&self) -> Duration {
        self.now
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.slots.push(self.now);
        self.awaited = self.does.pop_front().map(|does| self.hub.once(does));
    }

    fn heard(&mut self, slot: Result<Slot, GateError>) -> ControlFlow<()> {
        if let Some(called) = self.awaited.take() {
            called.join().expect("a call");
            self.calls.push(self.now);
        }
        assert!(!matches!(
            slot,
            Ok(Slot::Sent {
                status: Status::Refused,
                ..
            })
        ));
        self.now += self.busy;
        if self.slots.len() == SLOTS {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

const SLOTS: usize = 8;
const SLOT_S: u64 = 3600;

/// The moments of slots, and those of calls, when so many frames wait and the gate's process begins and works like that.
fn moments(
    hub: &Hub,
    frames: u32,
    fails: usize,
    (begun, busy): (Duration, Duration),
) -> (Vec<Duration>, Vec<Duration>) {
    let hospital = Hospital::enrolled(hub);
    for sequence in [2, 3] {
        let path = format!("spool/frames/{sequence:08}.frame");
        std::fs::remove_file(hospital.dir.path().join(path)).expect("removed");
    }
    let mut does: std::collections::VecDeque<_> = (0..fails).map(|_| Does::HangsUp(1)).collect();
    for sequence in 2..2 + frames {
        let frame = frame(sequence, APPLIANCE);
        hospital.put(sequence, &frame);
        does.push_back(Does::Answers(hub.accepts(&frame, &hub.key)));
    }
    let gate = hospital.patient_gate();
    let mut watch = Passing {
        hub,
        now: Duration::from_secs(NOW_S) + begun,
        busy,
        does,
        awaited: None,
        slots: Vec::new(),
        calls: Vec::new(),
    };
    gate.run(SLOT_S, &mut watch);
    assert_eq!(gate.slot(NOW_S).expect("a slot"), Slot::Nothing);
    (watch.slots, watch.calls)
}

#[test]
fn the_gate_calls_at_moments_of_its_own_whatever_waits_fails_or_takes_long() {
    let hub = Hub::new();
    // At last until a second before the next slot: one that is begun late is left out.
    let [none, more, long] = [0, 7_300, 3_598_999].map(Duration::from_millis);
    let (slots, calls) = moments(&hub, 0, 0, (none, none));
    assert_eq!((slots.len(), calls.len()), (SLOTS, 0));
    for pair in slots.windows(2) {
        assert_eq!(pair[1] - pair[0], Duration::from_secs(SLOT_S));
    }
    assert_eq!(slots[0].as_secs() % SLOT_S, u64::from(APPLIANCE));
    for (frames, fails, time) in [
        (1, 0, (more, none)),
        (1, 3, (none, more)),
        (5, 0, (none, none)),
        (5, 2, (more, long)),
    ] {
        let said = format!("{frames} frames, {fails} failures, {time:?}");
        let expected = frames as usize + fails;
        let (again, calls) = moments(&hub, frames, fails, time);
        assert_eq!(again, slots, "{said}");
        assert_eq!(calls, slots[..expected], "{said}");
    }
}

#[test]
fn a_gate_that_was_cut_off_sends_the_very_same_bytes() {
    let hub = Hub::new();
    let hospital = Hospital::enrolled(&hub);
    drop(hospital.patient_gate());
    let mut partial = Vec::new();
    for after in [1, 150, 2000] {
        let connection = hub.once(Does::HangsUp(after));
        let broken = hospital.gate().slot(NOW_S);
        assert!(
            matches!(broken, Err(GateError::Line(LineError::Broken(_)))),
            "{broken:?}"
        );
        partial.push(connection.join().expect("a request"));
    }
    let answer = hub.accepts(&frame(2, APPLIANCE), &hub.key);
    let connection = hub.once(Does::Answers(answer));
    hospital.gate().slot(NOW_S).expect("a slot");
    let whole = connection.join().expect("a request");
    for part in partial {
        assert!(!part.is_empty() && whole.starts_with(&part));
    }
}

#[test]
fn what_was_signed_under_a_number_is_all_that_is_ever_sent_under_it() {
    let hub = Hub::new();
    let hospital = Hospital::enrolled(&hub);
    let gate = hospital.patient_gate();
    let connection = hub.once(Does::HangsUp(1));
    assert!(gate.slot(NOW_S).is_err());
    connection.join().expect("a request");
    let mut other = Draft::<ToHub>::from(&frame(2, APPLIANCE));
    other.put(&layout::UPTIME_H, 0, 9_u16);
    hospital.put(2, &other.seal().expect("a frame"));
    assert!(matches!(gate.slot(NOW_S), Err(GateError::OtherBytes(2))));
}

#[test]
fn only_the_hub_of_the_pin_is_spoken_to_and_only_to_it_we_are_known() {
    let hub = Hub::new();
    let hospital = Hospital::new();
    let asked = request(&hospital.desk, &[4; 32]).expect("a request");
    let again = request(&hospital.desk, &[5; 32]).expect("again");
    assert_eq!(again.lines().nth(1), asked.lines().nth(1), "the same key");
    let key = hub.key.verifier().to_string();
    let elsewhere = Hub::new();
    let enrolment = hub.enrol(&asked, &elsewhere.spki);
    accept(&hospital.desk, &enrolment, &key).expect("enrolled");
    let connection = hub.once(Does::Answers(refuses()));
    let broken = hospital.patient_gate().slot(NOW_S);
    assert!(
        matches!(broken, Err(GateError::Line(LineError::Broken(_)))),
        "{broken:?}"
    );
    assert!(
        connection.join().expect("ended").is_empty(),
        "not a byte of the frame"
    );

    // Another hub's certificate for us is none to this one.
    let hospital = Hospital::new();
    let asked = request(&hospital.desk, &[4; 32]).expect("a request");
    let known_elsewhere = Hub {
        key: SigningKey::from_seed("hub.example", &[9; 32]).expect("a key"),
        listener: hub.listener.try_clone().expect("the same port"),
        ..elsewhere
    };
    accept(
        &hospital.desk,
        &known_elsewhere.enrol(&asked, &hub.spki),
        &key,
    )
    .expect("enrolled");
    let connection = hub.once(Does::Answers(refuses()));
    let broken = hospital.patient_gate().slot(NOW_S);
    assert!(
        matches!(broken, Err(GateError::Line(LineError::Broken(_)))),
        "{broken:?}"
    );
    assert!(connection.join().expect("ended").is_empty());
}

#[test]
fn a_refusal_is_shown_and_tried_again_and_a_forged_answer_is_none() {
    let hub = Hub::new();
    let hospital = Hospital::enrolled(&hub);
    let gate = hospital.patient_gate();
    let stranger = SigningKey::from_seed("hub.example", &[8; 32]).expect("a key");
    let mut forged_recall =
        Reply::open(&hub.accepts(&frame(2, APPLIANCE), &hub.key)).expect("a reply");
    let mut draft = Draft::from(&forged_recall);
    draft.put_all(&field::MODEL_DIGEST, 0, [9_u64]);
    forged_recall = draft.seal().expect("a reply");
    for (answer, why) in [
        (
            hub.accepts(&frame(2, APPLIANCE), &stranger),
            ReplyError::Cosignature,
        ),
        (
            hub.accepts(&frame(3, APPLIANCE), &hub.key),
            ReplyError::Cosignature,
        ),
        (forged_recall.bytes().to_vec(), ReplyError::Advisory(3)),
    ] {
        let connection = hub.once(Does::Answers(answer));
        let slot = gate.slot(NOW_S);
        assert!(
            matches!(slot, Err(GateError::Reply { error, .. }) if error == why),
            "{slot:?}"
        );
        connection.join().expect("a request");
        assert_eq!(hospital.standings(NOW_S)[1], Standing::Due);
    }
    let connection = hub.once(Does::Answers(refuses()));
    assert_eq!(
        gate.slot(NOW_S).expect("a slot"),
        sent(2, Status::Refused, Reason::Rate)
    );
    connection.join().expect("a request");
    assert_eq!(
        hospital.standings(NOW_S)[1],
        Standing::Refused(Reason::Rate)
    );
    let connection = hub.once(Does::Answers(hub.accepts(&frame(2, APPLIANCE), &hub.key)));
    assert_eq!(
        gate.slot(NOW_S).expect("a slot"),
        sent(2, Status::Accepted, Reason::None)
    );
    connection.join().expect("a request");
}

#[test]
fn frames_are_carried_out_and_answers_back_with_the_same_signatures() {
    let hub = Hub::new();
    let hospital = Hospital::enrolled(&hub);
    let gate = hospital.patient_gate();
    let stick = tempfile::tempdir().expect("a folder");
    assert_eq!(
        gate.carry(stick.path(), NOW_S - 1).expect("too early"),
        [0_u32; 0]
    );
    assert_eq!(gate.carry(stick.path(), NOW_S).expect("carried"), [2, 3]);
    let path = |name: &str| stick.path().join(name);
    let carried = std::fs::read(path("00000002.frame")).expect("a frame");
    let carried = Frame::open(&carried).expect("a frame");
    let key = &gate.enrolment().frame_key;
    assert!(key.opens(
        FRAME_SIGNED_AS,
        carried.signed_bytes(),
        &carried.signature()
    ));

    let write = |name: &str, bytes: &[u8]| std::fs::write(path(name), bytes).expect("written");
    write(
        "00000002.reply",
        &hub.accepts(&frame(3, APPLIANCE), &hub.key),
    );
    assert!(matches!(
        gate.take(&path("00000002.reply")),
        Err(GateError::Reply { .. })
    ));
    write("00000002.reply", &hub.accepts(&carried, &hub.key));
    let (sequence, reply) = gate.take(&path("00000002.reply")).expect("taken");
    assert_eq!((sequence, reply.status()), (2, Status::Accepted));
    // An older refusal that is carried in late does not take the frame back.
    write("00000002.reply", &refuses());
    gate.take(&path("00000002.reply")).expect("heard");
    assert_eq!(
        hospital.standings(NOW_S)[1..],
        [Standing::Accepted, Standing::Due]
    );
    write("00000009.reply", &refuses());
    assert!(matches!(
        gate.take(&path("00000009.reply")),
        Err(GateError::NotSent(9))
    ));
    assert!(matches!(
        gate.take(Path::new("/reply")),
        Err(GateError::Name(_))
    ));
}

#[test]
fn an_enrolment_is_the_hubs_for_our_key_and_once() {
    let hub = Hub::new();
    let hospital = Hospital::enrolled(&hub);
    let asked = request(&hospital.desk, &[0; 32]).expect("the same request");
    let key = hub.key.verifier().to_string();
    let good = hub.enrol(&asked, &hub.spki);
    accept(&hospital.desk, &good, &key).expect("once more");
    let changed = good.replace("appliance 17", "appliance 18");
    let refused = accept(&hospital.desk, &changed, &key);
    assert!(
        matches!(refused, Err(EnrolmentError::Unsigned(_))),
        "{refused:?}"
    );
    let unsigned = good.split("\n\n").next().expect("the text").to_owned() + "\n";
    let resigned = |text: &str| note::sign(text, &[&hub.key]).expect("signed");
    let refused = accept(
        &hospital.desk,
        &resigned(&unsigned.replace("appliance 17", "appliance 18")),
        &key,
    );
    assert!(
        matches!(refused, Err(EnrolmentError::Enrolled(17))),
        "{refused:?}"
    );
    let refused = accept(
        &hospital.desk,
        &resigned(&unsigned.replace("address 127", "address h")),
        &key,
    );
    assert!(
        matches!(refused, Err(EnrolmentError::Line("address"))),
        "{refused:?}"
    );
    let refused = accept(&hospital.desk, &resigned(&(unsigned + "more 1\n")), &key);
    assert!(
        matches!(refused, Err(EnrolmentError::Line(_))),
        "{refused:?}"
    );

    let other = Hospital::new();
    request(&other.desk, &[6; 32]).expect("a request");
    assert!(matches!(
        accept(&other.desk, &good, &key),
        Err(EnrolmentError::OtherKey)
    ));
    use std::os::unix::fs::PermissionsExt as _;
    for secret in ["frame.key", "tls.key"] {
        let mode = std::fs::metadata(other.desk.dir().join(secret))
            .expect("a key")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
}
