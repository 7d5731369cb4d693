//! The hub behind its door, and the gate that hospitals run: enrolment by notes, frames over TLS, and who may read.

use pericard_frame::{Draft, ToHub, layout};
use pericard_gate::{Desk, Gate, Line, Reason, Rules, Slot, Spool, Status};
use pericard_hub::{Hub, Keys, Registrar, Shown, enrolment};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The certificates are checked against the machine's own clock, so that they must be good by it for some years.
const NOW_S: u64 = 1_795_600_000;
const WEEK: u16 = 2_967;
const RULES: Rules = Rules { hold_days: 0 };

/// A gate of its own folder, asked for by its own keys.
fn gate(dir: &Path, (hub, keys): (&Hub, &Keys), door: std::net::SocketAddr) -> Gate {
    let (desk, spool) = (Desk::at(dir.join("desk")), Spool::at(dir.join("spool")));
    let seed = [dir.as_os_str().len() as u8; 32];
    let asked = pericard_gate::request(&desk, &seed).expect("a request");
    let changed = asked.replace("frame_key pericard", "frame_key pericord");
    assert!(enrolment::enrol((hub, keys), &changed, "Nobody", door).is_err());
    let granted = enrolment::enrol((hub, keys), &asked, "A clinic", door).expect("granted");
    let again = enrolment::enrol((hub, keys), &asked, "A clinic", door).expect("renewed");
    assert_eq!(
        again.number, granted.number,
        "the same key keeps its number"
    );
    let key = keys.signing().verifier().to_string();
    pericard_gate::accept(&desk, &again.note, &key).expect("enrolled");
    let mut draft = Draft::<ToHub>::new();
    draft.put(&layout::APPLIANCE, 0, again.number);
    draft.put(&layout::SEQUENCE, 0, 1_u32);
    draft.put(&layout::WEEK, 0, WEEK);
    let root = pericard_audit::Hash::empty_root();
    let (words, _) = root.as_bytes().as_chunks::<8>();
    draft.put_all(
        &layout::LOG_ROOT,
        0,
        words.iter().map(|word| u64::from_be_bytes(*word)),
    );
    fs::create_dir_all(dir.join("spool/frames")).expect("made");
    let frame = draft.seal().expect("in range");
    fs::write(dir.join("spool/frames/00000001.frame"), frame.bytes()).expect("written");
    Gate::open(spool, desk, RULES)
        .expect("opened")
        .expect("enrolled")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_is_heard_over_its_own_certificate_and_over_no_other() {
    let dir = tempfile::tempdir().expect("a folder");
    let names = Shown::Made(vec!["localhost".into()]);
    let data = dir.path().join("hub");
    let keys = Keys::open(&data, "hub.example", &names, NOW_S).expect("keys");
    let again = Keys::open(&data, "hub.example", &names, NOW_S).expect("the same keys");
    assert_eq!(
        keys.spki_sha256().expect("a pin"),
        again.spki_sha256().expect("a pin")
    );
    assert!(
        Keys::open(&data, "other.example", &names, NOW_S).is_err(),
        "a name is for ever"
    );
    let (key, clock) = (Arc::clone(keys.signing()), Arc::new(|| NOW_S));
    let hub = Arc::new(Hub::open(&data.join("hub.db"), key, clock).expect("a hub"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let door = listener.local_addr().expect("an address");
    let first = gate(&dir.path().join("a"), (&hub, &keys), door);
    let second = gate(&dir.path().join("second"), (&hub, &keys), door);
    let stop = CancellationToken::new();
    let tls = keys.tls().expect("a door");
    let registrar = Arc::new(Registrar::new(keys, door));
    let served = tokio::spawn(pericard_hub::serve(
        listener,
        tls,
        (Arc::clone(&hub), registrar),
        stop.clone(),
    ));

    let sent = |status, reason| Slot::Sent {
        sequence: 1,
        status,
        reason,
    };
    let tls_key = fs::read(dir.path().join("second/desk/tls.key")).expect("a key");
    let other = Line::to(second.enrolment(), tls_key).expect("a line");
    let said = tokio::task::spawn_blocking(move || {
        let slot = first.slot(NOW_S).expect("a slot");
        (slot, first.slot(NOW_S).expect("a slot"))
    });
    let (slot, then) = said.await.expect("no panic");
    assert_eq!(slot, sent(Status::Accepted, Reason::None));
    assert_eq!(then, Slot::Nothing);

    // The first one's number, over the second one's connection.
    let snapshot = hub.records().snapshot();
    let stolen = *snapshot.frames[0].frame.bytes();
    let reply = tokio::task::spawn_blocking(move || other.send(&stolen)).await;
    let reply = pericard_gate::Reply::open(&reply.expect("no panic").expect("answered"));
    assert_eq!(reply.expect("a reply").reason(), Reason::Unknown);
    hub.suspend(2, true).expect("suspended");
    let slot = tokio::task::spawn_blocking(move || second.slot(NOW_S).expect("a slot")).await;
    assert_eq!(
        slot.expect("no panic"),
        sent(Status::Refused, Reason::Unknown)
    );

    stop.cancel();
    served.await.expect("no panic").expect("served to the end");
    assert_eq!(
        Arc::strong_count(&hub),
        1,
        "nothing goes on behind a closed door"
    );
}
