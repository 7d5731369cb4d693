//! Storage commitment both ways, in plain and over TLS, with Orthanc and pynetdicom at the other end.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use pericard_dimse::{Archive, CommitmentConfig, DeliveryConfig, Peer, Rights, commit, deliver};
use pericard_domain::uid::{InstanceUid, SopClassUid, StudyUid};
use std::time::Duration;
use support::archive::{Held, Orthanc, listens, peer, result_for};
use support::line::{CONTEXTS, Line};
use support::{SECONDARY_CAPTURE, python, run, secondary_capture_file};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

const STUDY: &str = "1.2.826.0.1.3680043.10.1";
/// How long an answer is waited for on the association that asked: longer than pynetdicom's threads are ever kept from their turn,
/// and not so long that Orthanc, which answers elsewhere, is waited for in vain until the test gives up.
const LINGER: Duration = Duration::from_secs(5);

async fn with_objects(line: &Line, peers: Vec<Peer>, count: usize) -> Held {
    let held = Held::start_over(line, peers).await;
    let dir = tempfile::tempdir().unwrap();
    for at in 0..count {
        let file = secondary_capture_file(dir.path(), &format!("1.2.5.{at}"), 8);
        held.admit(&std::fs::read(file).unwrap()).await;
    }
    held
}

/// Runs the room of commitment, and the outbox, until the guard is dropped.
fn open(held: &Held, peers: &[Peer], delivers: bool) -> impl Drop + use<> {
    open_lingering(held, peers, delivers, LINGER)
}

fn open_lingering(
    held: &Held,
    peers: &[Peer],
    delivers: bool,
    linger: Duration,
) -> impl Drop + use<> {
    let stop = CancellationToken::new();
    let archive = Archive {
        store: held.store.clone(),
        caller: held.caller.clone(),
    };
    let config = CommitmentConfig {
        look_every: Duration::from_millis(100),
        linger,
        ..CommitmentConfig::default()
    };
    tokio::spawn(commit(
        config,
        archive,
        peers.to_vec().into(),
        held.clock.clone(),
        stop.clone(),
    ));
    if delivers {
        let mail = (held.store.clone(), held.clock.clone() as _);
        let delivery = DeliveryConfig {
            look_every: Duration::from_millis(100),
            ..DeliveryConfig::default()
        };
        tokio::spawn(deliver(
            delivery,
            held.caller.clone(),
            peers.to_vec().into(),
            mail,
            stop.clone(),
        ));
    }
    stop.drop_guard()
}

/// Waits for what another process or the disk does.
async fn until_async(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !is().await {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn orthanc_peer(line: &Line, port: u16) -> Peer {
    line.bound(Peer {
        commit: true,
        ..peer("pacs", "ORTHANC", Some(port), Rights::ALL)
    })
}

#[tokio::test]
async fn orthanc_is_asked_and_promises_over_an_association_of_its_own() {
    for line in Line::both() {
        asked_and_promises(&line).await;
    }
}

async fn asked_and_promises(line: &Line) {
    let dicom = support::free_port();
    let pacs = orthanc_peer(line, dicom);
    let held = with_objects(line, vec![pacs.clone()], 1).await;
    let orthanc = Orthanc::start_over(line, dicom, held.address.port()).await;
    result_for(&held, "pacs", &["1.2.6.1"]).await;
    let _open = open(&held, std::slice::from_ref(&pacs), true);
    until_async("it is committed", async || {
        held.store.commitments("pacs").await.unwrap() == (0, 1)
    })
    .await;
    let count = orthanc.asked("/statistics", None).await;
    assert_eq!(count["CountInstances"], 1);
    let audited = held.audited().await;
    assert!(
        audited.contains("ask for commitment") && audited.contains("settle commitment"),
        "{audited}"
    );
}

#[tokio::test]
async fn what_the_archive_lost_is_sent_again() {
    for line in Line::both() {
        lost_and_sent_again(&line).await;
    }
}

async fn lost_and_sent_again(line: &Line) {
    let dicom = support::free_port();
    let pacs = orthanc_peer(line, dicom);
    let held = with_objects(line, vec![pacs.clone()], 1).await;
    let orthanc = Orthanc::start_over(line, dicom, held.address.port()).await;
    result_for(&held, "pacs", &["1.2.6.1"]).await;
    // Delivered, and then lost by the archive before anybody asks.
    let mail = (held.store.clone(), held.clock.clone() as _);
    let stop = CancellationToken::new();
    tokio::spawn(deliver(
        DeliveryConfig::default(),
        held.caller.clone(),
        vec![pacs.clone()].into(),
        mail,
        stop.clone(),
    ));
    until_async("it is delivered", async || {
        held.store.commitments("pacs").await.unwrap() == (1, 0)
    })
    .await;
    stop.cancel();
    let instances = orthanc.asked("/instances", None).await;
    let lost = format!(
        "http://127.0.0.1:{}/instances/{}",
        orthanc.http,
        instances[0].as_str().unwrap()
    );
    let mut delete = Command::new("curl");
    delete.args(["-s", "--fail", "--noproxy", "*", "-X", "DELETE", &lost]);
    run(delete).await;
    let _open = open(&held, std::slice::from_ref(&pacs), true);
    until_async("it is committed", async || {
        held.store.commitments("pacs").await.unwrap() == (0, 1)
    })
    .await;
    let count = orthanc.asked("/statistics", None).await;
    assert_eq!(count["CountInstances"], 1, "sent again");
    let deliveries = held
        .store
        .deliveries(Some(&StudyUid::new(STUDY).unwrap()), 0)
        .await
        .unwrap();
    assert_eq!(
        (deliveries[0].state.as_str(), deliveries[0].attempts),
        ("delivered", 2)
    );
    assert!(held.audited().await.contains("\"to_send_again\":1"));
}

/// A PACS that promises over the association that asked it, and calls nobody: what it has lost of what it was sent, it says once.
/// Writes down what it hears.
const PROMISES: &str = r"
import json, sys, threading
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel as PUSH, StorageCommitmentPushModelInstance as INSTANCE
port, lost, book = int(sys.argv[1]), [uid for uid in sys.argv[2].split(',') if uid], sys.argv[3]
asked, due = [], []
def noted(what, value):
    with open(book, 'a') as file: file.write(json.dumps([what, value]) + '\n')
def stored(event):
    noted('stored', event.request.AffectedSOPInstanceUID)
    return 0
def action(event):
    asked.append(event.action_information)
    noted('asked', sorted(i.ReferencedSOPInstanceUID for i in asked[-1].ReferencedSOPSequence))
    return 0, None
def answered(event):
    if type(event.message).__name__ == 'N_ACTION_RSP': due.append(asked.pop())
def left(event):
    # Only once the answer to the question has left, and in a thread of its own: this one sends.
    if due and type(event.pdu).__name__ == 'P_DATA_TF':
        threading.Thread(target=report, args=(event.assoc, due.pop())).start()
def report(assoc, question):
    said, kept, failed = Dataset(), [], []
    for item in question.ReferencedSOPSequence:
        if item.ReferencedSOPInstanceUID in lost:
            lost.remove(item.ReferencedSOPInstanceUID); item.FailureReason = 0x0112; failed.append(item)
        else: kept.append(item)
    said.TransactionUID = question.TransactionUID
    if kept: said.ReferencedSOPSequence = kept
    if failed: said.FailedSOPSequence = failed
    status, _ = assoc.send_n_event_report(said, 2 if failed else 1, PUSH, INSTANCE)
    noted('told', status.Status)
ae = AE('PACS'); ae.add_supported_context(PUSH); ae.add_supported_context('1.2.840.10008.5.1.4.1.1.7')
ae.start_server(('127.0.0.1', port), **listening, evt_handlers=[
    (evt.EVT_C_STORE, stored), (evt.EVT_N_ACTION, action), (evt.EVT_DIMSE_SENT, answered), (evt.EVT_PDU_SENT, left)])
";

#[tokio::test]
async fn a_peer_promises_over_the_association_that_asked() {
    for line in Line::both() {
        promises_where_it_was_asked(&line, "", &[1, 1]).await;
        promises_where_it_was_asked(&line, "1.2.6.2", &[1, 2]).await;
    }
}

/// It loses one of two objects or none; `attempts` is how often each was sent.
async fn promises_where_it_was_asked(line: &Line, lost: &str, attempts: &[u32]) {
    let dicom = support::free_port();
    let pacs = line.bound(Peer {
        commit: true,
        ..peer("pacs", "PACS", Some(dicom), Rights::STORE)
    });
    let held = with_objects(line, vec![pacs.clone()], 1).await;
    let dir = tempfile::tempdir().unwrap();
    let book = dir.path().join("book");
    let mut command = python();
    command
        .kill_on_drop(true)
        .args(["-c", &format!("{CONTEXTS}{PROMISES}")])
        .arg(dicom.to_string())
        .arg(lost)
        .arg(&book)
        .args(line.files());
    let _provider = command.spawn().unwrap();
    listens("pynetdicom", dicom).await;
    let both = ["1.2.6.1", "1.2.6.2"];
    result_for(&held, "pacs", &both).await;
    let stop = CancellationToken::new();
    tokio::spawn(deliver(
        DeliveryConfig::default(),
        held.caller.clone(),
        vec![pacs.clone()].into(),
        (held.store.clone(), held.clock.clone() as _),
        stop.clone(),
    ));
    until_async("both are delivered", async || {
        held.store.commitments("pacs").await.unwrap() == (2, 0)
    })
    .await;
    stop.cancel(); // so that one question is about both of them
    let _open = open(&held, std::slice::from_ref(&pacs), true);
    until_async("both are committed", async || {
        held.store.commitments("pacs").await.unwrap() == (0, 2)
    })
    .await;
    let study = StudyUid::new(STUDY).unwrap();
    let deliveries = held.store.deliveries(Some(&study), 0).await.unwrap();
    let mut rows: Vec<_> = deliveries
        .iter()
        .map(|row| (row.instance.as_str(), row.state.as_str(), row.attempts))
        .collect();
    rows.sort_unstable();
    let expected = [0, 1].map(|at| (both[at], "delivered", attempts[at]));
    assert_eq!(rows, expected, "over {}", line.name());

    // The store knows by then; that the peer has our answer, it writes down only after.
    let noted = |what: &str| {
        let book = std::fs::read_to_string(&book).unwrap_or_default();
        let lines = book
            .lines()
            .map(|line| serde_json::from_str::<(String, serde_json::Value)>(line).unwrap());
        let values: Vec<_> = lines.filter(|(kind, _)| kind == what).collect();
        values.into_iter().map(|(_, v)| v).collect::<Vec<_>>()
    };
    let (mut asked, mut stored) = (vec![serde_json::json!(both)], both.to_vec());
    if !lost.is_empty() {
        asked.push(serde_json::json!([lost]));
        stored.push(lost);
    }
    until_async("every report of the peer is answered", async || {
        noted("told").len() == asked.len()
    })
    .await;
    assert!(noted("told").iter().all(|status| *status == 0));
    assert_eq!(noted("asked"), asked, "over {}", line.name());
    assert_eq!(noted("stored"), stored, "over {}", line.name());
    let again = u8::from(!lost.is_empty());
    let audited = held.audited().await;
    assert!(
        audited.contains(&format!("\"to_send_again\":{again}")),
        "{audited}"
    );
}

/// A PACS that reports on the first question before it answers it, over the association that asked (`here`) or one of its own
/// (`elsewhere`), or only once it is told to (`late`), and then answers, refuses (`refused`) or hangs up without a word (`cut`).
/// Later questions it answers like any other, with a report ahead. Writes down what it hears.
const HASTY: &str = r"
import json, os, sys, threading, time
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import StorageCommitmentPushModel as PUSH, StorageCommitmentPushModelInstance as INSTANCE
port, appliance, way, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split(), sys.argv[4]
asked = []
def noted(what, value):
    with open(folder + '/book', 'a') as file: file.write(json.dumps([what, value]) + '\n')
def report(assoc, question):
    said = Dataset()
    said.TransactionUID, said.ReferencedSOPSequence = question.TransactionUID, question.ReferencedSOPSequence
    status, _ = assoc.send_n_event_report(said, 1, PUSH, INSTANCE)
    noted('told', status.Status)
def elsewhere(question):
    assoc = ae.associate('127.0.0.1', appliance, ae_title='PERICARD', ext_neg=[build_role(PUSH, scp_role=True)], **calling)
    assert assoc.is_established
    report(assoc, question)
    assoc.release()
def late(question):
    while not os.path.exists(folder + '/go'): time.sleep(0.02)
    elsewhere(question)
def action(event):
    question = event.action_information
    first = not asked
    asked.append(question.TransactionUID)
    noted('asked', [question.TransactionUID] + [i.ReferencedSOPInstanceUID for i in question.ReferencedSOPSequence])
    if first and 'here' in way: report(event.assoc, question)
    if 'elsewhere' in way or not first: elsewhere(question)
    if first and 'late' in way: threading.Thread(target=late, args=(question,)).start()
    if first and 'cut' in way:
        event.assoc.abort()
        event.assoc.is_established = False # so that no answer follows
    return (0x0110 if first and 'refused' in way else 0), None
ae = AE('PACS'); ae.add_requested_context(PUSH)
ae.add_supported_context(PUSH); ae.add_supported_context('1.2.840.10008.5.1.4.1.1.7')
ae.start_server(('127.0.0.1', port), **listening, evt_handlers=[(evt.EVT_C_STORE, lambda _: 0), (evt.EVT_N_ACTION, action)])
";

/// One object for a PACS of that kind.
struct Hasty {
    held: Held,
    peer: Peer,
    folder: tempfile::TempDir,
    _provider: tokio::process::Child,
}

impl Hasty {
    async fn start(line: &Line, way: &str) -> Self {
        let dicom = support::free_port();
        let pacs = line.bound(Peer {
            commit: true,
            ..peer("pacs", "PACS", Some(dicom), Rights::STORE)
        });
        let held = with_objects(line, vec![pacs.clone()], 1).await;
        let folder = tempfile::tempdir().unwrap();
        let mut command = python();
        command
            .kill_on_drop(true)
            .args(["-c", &format!("{CONTEXTS}{HASTY}")])
            .arg(dicom.to_string())
            .arg(held.port())
            .arg(way)
            .arg(folder.path())
            .args(line.files());
        let provider = command.spawn().unwrap();
        listens("pynetdicom", dicom).await;
        result_for(&held, "pacs", &["1.2.6.1"]).await;
        Self {
            held,
            peer: pacs,
            folder,
            _provider: provider,
        }
    }

    fn noted(&self, what: &str) -> Vec<serde_json::Value> {
        let book = std::fs::read_to_string(self.folder.path().join("book")).unwrap_or_default();
        let lines = book
            .lines()
            .map(|line| serde_json::from_str::<(String, serde_json::Value)>(line).unwrap());
        let of_kind = lines.filter(|(kind, _)| kind == what);
        of_kind.map(|(_, value)| value).collect()
    }

    async fn put_off(&self) {
        until_async("the question is put off", async || {
            self.held.audited().await.contains("put commitment off")
        })
        .await;
    }

    /// So many questions were put, the last was reported on, and nothing is left to ask.
    async fn is_committed_after(&self, questions: usize, way: &str) {
        until_async(way, async || {
            self.held.store.commitments("pacs").await.unwrap() == (0, 1)
        })
        .await;
        until_async("the peer hears that its report is taken", async || {
            self.noted("told") == [0]
        })
        .await;
        let asked = self.noted("asked");
        assert_eq!(asked.len(), questions, "{way}: {asked:?}");
        assert!(asked.iter().all(|about| about[1] == "1.2.6.1"), "{asked:?}");
    }
}

#[tokio::test]
async fn a_report_that_comes_before_the_answer_to_its_question_counts() {
    for line in Line::both() {
        for way in [
            "here",
            "elsewhere",
            "here refused",
            "elsewhere refused",
            "here cut",
            "elsewhere cut",
        ] {
            let pacs = Hasty::start(&line, way).await;
            let _open = open(&pacs.held, std::slice::from_ref(&pacs.peer), true);
            pacs.is_committed_after(1, way).await;
        }
    }
}

#[tokio::test]
async fn a_report_on_a_question_that_was_put_off_counts() {
    for line in Line::both() {
        for way in ["late cut", "late refused"] {
            let pacs = Hasty::start(&line, way).await;
            let _open = open(&pacs.held, std::slice::from_ref(&pacs.peer), true);
            pacs.put_off().await;
            std::fs::write(pacs.folder.path().join("go"), "").unwrap();
            pacs.is_committed_after(1, way).await;
        }
    }
}

#[tokio::test]
async fn a_question_that_failed_is_put_again_soon() {
    for line in Line::both() {
        for way in ["refused", "cut"] {
            let pacs = Hasty::start(&line, way).await;
            let _open = open(&pacs.held, std::slice::from_ref(&pacs.peer), true);
            pacs.put_off().await;
            assert_eq!(pacs.noted("asked").len(), 1);
            // Far from the hour that a peer may take which has heard the question.
            pacs.held.clock.advance(CommitmentConfig::default().retry);
            pacs.is_committed_after(2, way).await;
            let asked = pacs.noted("asked");
            assert_ne!(asked[0][0], asked[1][0], "a transaction of its own");
        }
    }
}

/// A PACS of bare sockets, which may do what libraries do not. It reports at once, or `late`: once it is asked for a release, and
/// before it grants that. If it is `bare`, it reports before that without information, ahead of its answer to the question.
/// Writes down what it hears.
const SOCKETS: &str = r"
import io, json, socket, sys
from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode, encode
PUSH, INSTANCE = '1.2.840.10008.1.20.1', '1.2.840.10008.1.20.1.1'
port, way, book = int(sys.argv[1]), sys.argv[2], sys.argv[3]
DATA, RELEASE, RELEASED = 4, 5, 6
def noted(what, value=None):
    with open(book, 'a') as file: file.write(json.dumps([what, value]) + '\n')
def item(kind, data): return bytes([kind, 0]) + len(data).to_bytes(2, 'big') + data
class Peer:
    def __init__(self, line): self.line, self.reader = line, line.makefile('rb')
    def send(self, kind, body): self.line.sendall(bytes([kind, 0]) + len(body).to_bytes(4, 'big') + body)
    def pdu(self):
        head = self.reader.read(6)
        return (head[0], self.reader.read(int.from_bytes(head[2:], 'big'))) if head else (None, b'')
    def say(self, command, information=None):
        parts = [(3, encode(command, True, True))]
        if information: parts.append((2, encode(information, True, True)))
        self.send(DATA, b''.join((len(data) + 2).to_bytes(4, 'big') + bytes([1, control]) + data for control, data in parts))
    def hear(self):
        command, information = b'', b''
        while True:
            kind, body = self.pdu()
            assert kind == DATA, kind
            while body:
                length, control = int.from_bytes(body[:4], 'big'), body[5]
                if control & 1: command += body[6:4 + length]
                else: information += body[6:4 + length]
                body = body[4 + length:]
                if control & 2:
                    said = decode(io.BytesIO(command), True, True)
                    if not control & 1: return said, decode(io.BytesIO(information), True, True)
                    if said.CommandDataSetType == 0x0101: return said, None
def command(field, has_information=False, **values):
    made = Dataset()
    made.AffectedSOPClassUID, made.AffectedSOPInstanceUID = PUSH, INSTANCE
    made.CommandField, made.CommandDataSetType = field, 0 if has_information else 0x0101
    for keyword, value in values.items(): setattr(made, keyword, value)
    return made
def serve(peer):
    kind, asked = peer.pdu()
    if kind is None: return # somebody who looks whether anybody listens
    peer.send(2, asked[:68] + item(0x10, b'1.2.840.10008.3.1.1.1')
        + item(0x21, bytes([1, 0, 0, 0]) + item(0x40, b'1.2.840.10008.1.2'))
        + item(0x50, item(0x51, (16384).to_bytes(4, 'big')) + item(0x52, b'1.2.3')))
    action, question = peer.hear()
    noted('asked', [i.ReferencedSOPInstanceUID for i in question.ReferencedSOPSequence])
    if way == 'bare':
        peer.say(command(0x0100, MessageID=6, EventTypeID=1))
        noted('answered', peer.hear()[0].Status)
    peer.say(command(0x8130, MessageIDBeingRespondedTo=action.MessageID, Status=0, ActionTypeID=1))
    report = Dataset()
    report.TransactionUID, report.ReferencedSOPSequence = question.TransactionUID, question.ReferencedSOPSequence
    if way == 'late': noted('pdu', peer.pdu()[0])
    peer.say(command(0x0100, True, MessageID=7, EventTypeID=1), report)
    if way != 'late':
        noted('answered', peer.hear()[0].Status)
        noted('pdu', peer.pdu()[0])
    peer.send(RELEASED, bytes(4))
    if way == 'late': noted('pdu', peer.pdu()[0])
door = socket.create_server(('127.0.0.1', port))
while True:
    line, _ = door.accept()
    try: serve(Peer(listening['ssl_context'].wrap_socket(line, server_side=True) if over_tls else line))
    except OSError: pass # who only looks whether anybody listens shakes no hands
";

/// What a PACS of sockets hears which is asked about one object and, as it says, keeps it.
async fn heard_by_sockets(line: &Line, way: &str, linger: Duration, lines: usize) -> String {
    let dicom = support::free_port();
    let pacs = line.bound(Peer {
        commit: true,
        ..peer("pacs", "PACS", Some(dicom), Rights::STORE)
    });
    let held = with_objects(line, vec![pacs.clone()], 1).await;
    result_for(&held, "pacs", &["1.2.6.1"]).await;
    let lease = Duration::from_secs(60);
    let delivery = held.store.lease_delivery("pacs", lease).await.unwrap();
    let delivery = delivery.expect("it is due");
    held.store.delivered_uncommitted(&delivery).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let book = folder.path().join("book");
    let mut command = python();
    command
        .kill_on_drop(true)
        .args(["-c", &format!("{CONTEXTS}{SOCKETS}")])
        .arg(dicom.to_string())
        .arg(way)
        .arg(&book)
        .args(line.files());
    let _provider = command.spawn().unwrap();
    listens("the sockets", dicom).await;
    let _open = open_lingering(&held, std::slice::from_ref(&pacs), false, linger);
    until_async(way, async || {
        held.store.commitments("pacs").await.unwrap() == (0, 1)
    })
    .await;
    let heard = || std::fs::read_to_string(&book).unwrap_or_default();
    until_async("the peer has heard all of it", async || {
        heard().lines().count() >= lines
    })
    .await;
    heard()
}

#[tokio::test]
async fn a_report_without_information_is_answered_with_a_failure() {
    for line in Line::both() {
        let heard = heard_by_sockets(&line, "bare", LINGER, 4).await;
        let invalid_argument = 0x0115;
        let expected = format!(
            "[\"asked\", [\"1.2.6.1\"]]\n[\"answered\", {invalid_argument}]\n[\"answered\", 0]\n[\"pdu\", 5]\n"
        );
        assert_eq!(heard, expected, "over {}", line.name());
    }
}

/// Who has asked for a release may hear until it is granted, and say nothing (PS3.8 table 9-10, states 7 and 8).
#[tokio::test]
async fn a_report_that_crosses_with_our_release_counts() {
    for line in Line::both() {
        let heard = heard_by_sockets(&line, "late", Duration::ZERO, 3).await;
        let expected = "[\"asked\", [\"1.2.6.1\"]]\n[\"pdu\", 5]\n[\"pdu\", null]\n";
        assert_eq!(heard, expected, "over {}", line.name());
    }
}

#[tokio::test]
async fn orthanc_asks_and_is_told_over_an_association_of_ours() {
    for line in Line::both() {
        asks_and_is_told(&line).await;
    }
}

async fn asks_and_is_told(line: &Line) {
    let dicom = support::free_port();
    let pacs = line.bound(peer("pacs", "ORTHANC", Some(dicom), Rights::ALL));
    let held = with_objects(line, vec![pacs.clone()], 2).await;
    let orthanc = Orthanc::start_over(line, dicom, held.address.port()).await;
    let _open = open(&held, &[pacs], false);
    for (instances, expected) in [
        (vec!["1.2.5.0", "1.2.5.1"], "Success"),
        (vec!["1.2.5.0", "1.2.5.99"], "Failure"),
    ] {
        let instances: Vec<_> = instances.iter().map(|i| [SECONDARY_CAPTURE, *i]).collect();
        let body = serde_json::json!({"DicomInstances": instances});
        let asked = orthanc
            .asked("/modalities/pericard/storage-commitment", Some(body))
            .await;
        let path = asked["Path"].as_str().unwrap().to_owned();
        until_async("Orthanc is told", async || {
            orthanc.asked(&path, None).await["Status"] != "Pending"
        })
        .await;
        let report = orthanc.asked(&path, None).await;
        assert_eq!(report["Status"], expected, "{report}");
        let failed = report["Failures"].as_array().unwrap().len();
        assert_eq!(failed, usize::from(expected == "Failure"), "{report}");
    }
}

/// Asks about two objects that are held and two that are not, one of those under another class.
const ASKS: &str = r"
import sys, threading
from pydicom.dataset import Dataset
from pynetdicom import AE, evt, build_role
from pynetdicom.sop_class import StorageCommitmentPushModel as PUSH, StorageCommitmentPushModelInstance as INSTANCE
port, title, own = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
told, events = threading.Event(), []
def handle(event):
    events.append((event.event_type, event.event_information)); told.set()
    return 0, None
ae = AE(title)
ae.add_supported_context(PUSH, scu_role=False, scp_role=True)
if own: server = ae.start_server(('127.0.0.1', own), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, handle)], **listening)
ae.add_requested_context(PUSH)
assoc = ae.associate('127.0.0.1', port, ae_title='PERICARD', evt_handlers=[(evt.EVT_N_EVENT_REPORT, handle)], **calling)
assert assoc.is_established
ds = Dataset(); ds.TransactionUID = '1.2.3.4'; ds.ReferencedSOPSequence = []; bare = Dataset(); bare.TransactionUID = '1.2.3.4'
for cls, uid in ('1.2.840.10008.5.1.4.1.1.7', '1.2.5.0'), ('1.2.840.10008.5.1.4.1.1.7', '1.2.5.1'), ('1.2.840.10008.5.1.4.1.1.7', '1.2.5.99'), ('1.2.840.10008.5.1.4.1.1.2', '1.2.5.1'):
    item = Dataset(); item.ReferencedSOPClassUID = cls; item.ReferencedSOPInstanceUID = uid
    ds.ReferencedSOPSequence.append(item)
for action, instance, information, expected in (2, INSTANCE, ds, 0x0123), (1, '1.2.3', ds, 0x0112), (1, INSTANCE, bare, 0x0115), (1, INSTANCE, ds, 0):
    status, _ = assoc.send_n_action(information, action, PUSH, instance)
    assert status.Status == expected, (action, hex(status.Status), expected)
if own: assoc.release()
assert told.wait(20), 'never told'
kind, said = events[0]
assert kind == 2 and said.TransactionUID == '1.2.3.4', said
assert [i.ReferencedSOPInstanceUID for i in said.ReferencedSOPSequence] == ['1.2.5.0', '1.2.5.1'], said
assert [(i.ReferencedSOPInstanceUID, i.FailureReason) for i in said.FailedSOPSequence] == [('1.2.5.99', 0x0112), ('1.2.5.1', 0x0119)], said
if not own: assoc.release()
if own: server.shutdown()
";

#[tokio::test]
async fn pynetdicom_is_told_where_it_asked_or_where_it_listens() {
    for line in Line::both() {
        told_where_it_asked_or_listens(&line).await;
    }
}

async fn told_where_it_asked_or_listens(line: &Line) {
    let own = support::free_port();
    let listening = line.bound(peer("listening", "LISTENS", Some(own), Rights::STORE));
    let held = with_objects(line, vec![listening.clone()], 2).await;
    let _open = open(&held, &[listening], false);
    for (title, own) in [("WS", 0), ("LISTENS", own)] {
        let mut command = python();
        command
            .arg("-c")
            .arg(format!("{CONTEXTS}{ASKS}"))
            .arg(held.port())
            .arg(title)
            .arg(own.to_string())
            .args(line.files());
        run(command).await;
    }
}

#[tokio::test]
async fn a_promise_survives_until_the_peer_can_hear_it() {
    let own = support::free_port();
    let listening = peer("listening", "ORTHANC", Some(own), Rights::STORE);
    let held = with_objects(&Line::plain(), vec![listening.clone()], 1).await;
    let title = listening.ae_title.clone();
    let question = pericard_store::commitment::Question {
        transaction: "1.2.3.4".into(),
        references: vec![pericard_store::commitment::Reference {
            sop_class: SopClassUid::new(SECONDARY_CAPTURE).unwrap(),
            instance: InstanceUid::new("1.2.5.0").unwrap(),
        }],
    };
    let by = pericard_domain::actor::Actor::CommandLine;
    held.store.promise(&title, question, by).await.unwrap();
    let retry = Duration::from_secs(60);
    let owed = held
        .store
        .owed_promise(&title, retry)
        .await
        .unwrap()
        .expect("owed");
    assert_eq!(owed.promise.kept.len(), 1);
    assert_eq!(
        held.store.owed_promise(&title, retry).await.unwrap(),
        None,
        "not twice at once"
    );
    held.clock.advance(Duration::from_secs(61));
    let again = held
        .store
        .owed_promise(&title, retry)
        .await
        .unwrap()
        .expect("still owed");
    assert_eq!(again.attempts, 2);
    held.store.promise_told(&again).await.unwrap();
    held.clock.advance(Duration::from_secs(61));
    assert_eq!(held.store.owed_promise(&title, retry).await.unwrap(), None);
}
