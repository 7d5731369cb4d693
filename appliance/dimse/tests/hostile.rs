//! Strangers call. Each is refused in the protocol's words within its time, leaves a line for the audit log and nothing
//! else, and the next caller is served.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use pericard_dimse::{DimseConfig, Peer, Rights, Unlisted};
use std::io::ErrorKind;
use std::sync::atomic::Ordering;
use std::time::Duration;
use support::archive::peer;
use support::line::{Line, Stream};
use support::{
    Appliance, AssociateRequest, EXPLICIT_LE, SECONDARY_CAPTURE, command, config, context,
    echo_request, item, pdu, pdv, secondary_capture, store_request, ui, until, us,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What a stranger ends up with.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// A-ABORT with this reason of the service provider.
    Aborted(u8),
    /// A-ASSOCIATE-RJ: result, source, reason.
    Rejected(u8, u8, u8),
}

/// Elements of a command set.
type Elements = Vec<(u16, Vec<u8>)>;

struct Stranger {
    name: &'static str,
    /// What it sends, one write each.
    sends: Vec<Vec<u8>>,
    end: End,
}

fn stranger(name: &'static str, sends: Vec<Vec<u8>>, end: End) -> Stranger {
    Stranger { name, sends, end }
}

fn asked() -> Vec<u8> {
    AssociateRequest::default().bytes()
}

fn data(pdvs: &[Vec<u8>]) -> Vec<u8> {
    pdu(4, &pdvs.concat())
}

const UNRECOGNIZED: End = End::Aborted(1);
const UNEXPECTED: End = End::Aborted(2);
const INVALID: End = End::Aborted(6);
/// Reason not specified: it was too slow.
const SLOW: End = End::Aborted(0);

/// They never get as far as an association.
fn before_the_association() -> Vec<Stranger> {
    let request = |change: fn(&mut AssociateRequest)| {
        let mut request = AssociateRequest::default();
        change(&mut request);
        vec![request.bytes()]
    };
    vec![
        stranger(
            "a web browser",
            vec![b"GET / HTTP/1.1\r\nHost: here\r\n\r\n".to_vec()],
            UNRECOGNIZED,
        ),
        stranger(
            "a TLS client",
            vec![vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc]],
            UNRECOGNIZED,
        ),
        stranger("zeros", vec![vec![0; 4096]], UNRECOGNIZED),
        stranger(
            "an association of 4 GiB",
            vec![vec![1, 0, 0xff, 0xff, 0xff, 0xff]],
            INVALID,
        ),
        stranger(
            "data of 4 GiB",
            vec![vec![4, 0, 0xff, 0xff, 0xff, 0xfe]],
            INVALID,
        ),
        stranger(
            "an association cut short by its own length",
            vec![pdu(1, &[0, 1, 0, 0])],
            INVALID,
        ),
        stranger(
            "data before the association",
            vec![data(&[pdv(1, 3, &echo_request(1))])],
            UNEXPECTED,
        ),
        stranger(
            "a release before the association",
            vec![pdu(5, &[0; 4])],
            UNEXPECTED,
        ),
        stranger(
            "an acceptance where a request belongs",
            vec![{
                let mut answer = asked();
                answer[0] = 2;
                answer
            }],
            INVALID,
        ),
        stranger(
            "1,000 contexts",
            request(|r| {
                r.contexts = (0..1000u32)
                    .map(|id| {
                        context(
                            u8::try_from(id % 256).unwrap(),
                            SECONDARY_CAPTURE,
                            &[EXPLICIT_LE],
                        )
                    })
                    .collect();
            }),
            INVALID,
        ),
        stranger(
            "an even context id",
            request(|r| {
                r.contexts = vec![context(2, SECONDARY_CAPTURE, &[EXPLICIT_LE])];
            }),
            INVALID,
        ),
        stranger(
            "a context that claims more than there is",
            request(|r| {
                r.contexts = vec![vec![0x20, 0, 0xff, 0xff, 1, 0, 0, 0]];
            }),
            INVALID,
        ),
        stranger(
            "a context without an abstract syntax",
            request(|r| {
                r.contexts = vec![item(0x20, &[1, 0, 0, 0])];
            }),
            INVALID,
        ),
        stranger(
            "a protocol version of the future",
            request(|r| r.version = 2),
            End::Rejected(1, 2, 2),
        ),
        stranger(
            "another application context",
            request(|r| r.application_context = "1.2.3"),
            End::Rejected(1, 1, 2),
        ),
        stranger(
            "another called title",
            request(|r| r.called = "SOMEBODY"),
            End::Rejected(1, 1, 7),
        ),
        stranger(
            "an empty calling title",
            request(|r| r.calling = ""),
            End::Rejected(1, 1, 3),
        ),
        stranger(
            "a listed title from another address",
            request(|r| r.calling = "PACS"),
            End::Rejected(1, 1, 3),
        ),
        stranger(
            "a maximum PDU of one byte",
            request(|r| {
                r.user_items = vec![item(0x51, &1u32.to_be_bytes())];
            }),
            End::Rejected(1, 1, 1),
        ),
        stranger("half a header, then silence", vec![vec![1, 0, 0]], SLOW),
        stranger(
            "half a request, then silence",
            vec![asked()[..100].to_vec()],
            SLOW,
        ),
    ]
}

/// They have an association, and abuse it.
fn within_the_association() -> Vec<Stranger> {
    let then = |sends: Vec<Vec<u8>>| {
        let mut all = vec![asked()];
        all.extend(sends);
        all
    };
    let store =
        |data_set: &[u8]| [pdv(3, 3, &store_request(1, "1.2.3.1")), pdv(3, 0, data_set)].concat();
    let endless = pdv(1, 1, &[0; 4000]);
    vec![
        stranger("silence after the association", then(vec![]), SLOW),
        stranger("a second association", then(vec![asked()]), UNEXPECTED),
        stranger(
            "a context that was not accepted",
            then(vec![data(&[pdv(77, 3, &echo_request(1))])]),
            INVALID,
        ),
        stranger(
            "a data set without a command",
            then(vec![data(&[pdv(3, 2, b"data")])]),
            UNEXPECTED,
        ),
        stranger(
            "a command without end",
            then(vec![data(&vec![endless; 6])]),
            INVALID,
        ),
        stranger(
            "empty fragments without end",
            then(vec![data(&vec![pdv(1, 1, b""); 100])]),
            INVALID,
        ),
        stranger(
            "a value longer than its PDU",
            then(vec![pdu(4, &[0, 0, 0xff, 0xff, 1, 3, 0, 0])]),
            INVALID,
        ),
        stranger(
            "a value of no length",
            then(vec![pdu(4, &[0, 0, 0, 0, 1, 3])]),
            INVALID,
        ),
        stranger("a cut value", then(vec![pdu(4, &[0, 0, 0])]), INVALID),
        stranger(
            "a command of garbage",
            then(vec![data(&[pdv(1, 3, &[0xaa; 64])])]),
            INVALID,
        ),
        stranger(
            "a command with a length of 4 GiB",
            then(vec![data(&[pdv(
                1,
                3,
                &[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 1, 0],
            )])]),
            INVALID,
        ),
        stranger(
            "a command without a command field",
            then(vec![data(&[pdv(1, 3, &command(&[(0x0110, us(1))]))])]),
            INVALID,
        ),
        stranger(
            "a PDU of 2 MiB",
            then(vec![vec![4, 0, 0, 0x20, 0, 0]]),
            INVALID,
        ),
        stranger(
            "a release in the middle of an object",
            then(vec![pdu(4, &store(b"half")), pdu(5, &[0; 4])]),
            UNEXPECTED,
        ),
        stranger(
            "a command in the middle of an object",
            then(vec![
                pdu(4, &store(b"half")),
                data(&[pdv(3, 3, &store_request(2, "1.2.3.2"))]),
            ]),
            UNEXPECTED,
        ),
        stranger(
            "another context in the middle of an object",
            then(vec![pdu(4, &store(b"half")), data(&[pdv(1, 2, b"rest")])]),
            INVALID,
        ),
        stranger(
            "silence in the middle of an object",
            then(vec![pdu(4, &store(b"half"))]),
            SLOW,
        ),
        stranger(
            "an object that never ends",
            then((0..40).map(|_| data(&[pdv(3, 0, &[0; 16])])).fold(
                vec![pdu(4, &store(b"half"))],
                |mut all, next| {
                    all.push(next);
                    all
                },
            )),
            SLOW,
        ),
        stranger(
            "a PDU of an unknown type",
            then(vec![pdu(9, b"what")]),
            UNRECOGNIZED,
        ),
    ]
}

/// A listed peer that is not at the strangers' address.
fn elsewhere() -> Peer {
    let title = pericard_domain::ae::AeTitle::new("PACS").unwrap();
    Peer::new("pacs", title, "192.0.2.1".parse().unwrap(), None)
}

fn hurried() -> DimseConfig {
    let mut config = config();
    config.peers = vec![elsewhere()].into();
    config.limits.artim_timeout = Duration::from_millis(300);
    config.limits.pdu_timeout = Duration::from_millis(300);
    config.limits.idle_timeout = Duration::from_millis(300);
    config.limits.message_timeout = Duration::from_millis(600);
    config
}

#[tokio::test]
async fn strangers_are_told_and_the_next_caller_is_served() {
    let appliance = Appliance::start(hurried()).await;
    let strangers: Vec<Stranger> = before_the_association()
        .into_iter()
        .chain(within_the_association())
        .collect();
    assert!(strangers.len() >= 40, "{}", strangers.len());
    for (at, stranger) in strangers.iter().enumerate() {
        let end = timeout(Duration::from_secs(10), ended(&appliance, &stranger.sends)).await;
        assert_eq!(
            end.expect("it ends in time"),
            stranger.end,
            "{}",
            stranger.name
        );
        until(stranger.name, || appliance.refusals().len() == at + 1).await;
        assert!(echoes(&appliance).await, "after {}", stranger.name);
    }
    assert!(appliance.kept().is_empty());
}

/// Of the strangers above, those of whom TLS leaves nothing to try, and why.
const NOT_BEHIND_A_HANDSHAKE: [(&str, &str); 1] = [(
    "a TLS client",
    "it begins the handshake that all of them here have made: what it sends is no longer heard as DICOM",
)];

/// Once the handshake is behind it, a stranger with a peer's certificate is heard as one without TLS is.
#[tokio::test]
async fn strangers_behind_a_handshake_are_told_too() {
    let line = Line::tls();
    let mut config = hurried();
    // A handshake takes longer than the first bytes of a stranger may.
    config.limits.artim_timeout = Duration::from_secs(5);
    let bound = line.bound(peer("stranger", "STRANGER", None, Rights::STORE));
    config.peers = vec![line.bound(elsewhere()), bound].into();
    let appliance = Appliance::start_over(&line, config).await;
    let all = before_the_association()
        .into_iter()
        .chain(within_the_association());
    let is_out = |stranger: &Stranger| {
        let mut out = NOT_BEHIND_A_HANDSHAKE.iter();
        out.any(|(name, _)| *name == stranger.name)
    };
    let (out, strangers): (Vec<_>, Vec<_>) = all.partition(is_out);
    assert_eq!(out.len(), NOT_BEHIND_A_HANDSHAKE.len());
    assert!(strangers.len() >= 39, "{}", strangers.len());
    for (at, stranger) in strangers.iter().enumerate() {
        let calling = line.connected(appliance.address).await;
        let end = timeout(Duration::from_secs(10), ended_on(calling, &stranger.sends)).await;
        let end = end.expect("it ends in time");
        assert_eq!(end, stranger.end, "{}", stranger.name);
        until(stranger.name, || appliance.refusals().len() == at + 1).await;
        let next = line.connected(appliance.address).await;
        assert!(echoes_on(next).await, "after {}", stranger.name);
    }
    assert!(appliance.kept().is_empty());
}

#[tokio::test]
async fn all_strangers_at_once_keep_nobody_out() {
    let mut config = hurried();
    // Whoever is served beside all of them, and beside other tests, needs longer than one that is alone.
    config.limits.pdu_timeout = Duration::from_secs(2);
    config.limits.idle_timeout = Duration::from_secs(2);
    config.limits.message_timeout = Duration::from_secs(2);
    let appliance = Appliance::start(config).await;
    let port = appliance.address;
    let calls: Vec<_> = before_the_association()
        .into_iter()
        .chain(within_the_association())
        .map(|stranger| {
            tokio::spawn(async move {
                let mut line = TcpStream::connect(port).await.unwrap();
                for bytes in &stranger.sends {
                    let _ = line.write_all(bytes).await;
                }
                let mut rest = Vec::new();
                let _ = line.read_to_end(&mut rest).await;
            })
        })
        .collect();
    assert!(echoes(&appliance).await);
    for call in calls {
        timeout(Duration::from_secs(10), call)
            .await
            .expect("it ends in time")
            .unwrap();
    }
    assert!(echoes(&appliance).await);
}

/// Each piece comes in time, and so would the whole: it only holds a place.
#[tokio::test]
async fn a_message_that_drips_is_ended_long_before_its_time_is_over() {
    let mut config = hurried();
    config.limits.message_timeout = Duration::from_secs(600);
    let appliance = Appliance::start(config).await;
    let store = data(&[pdv(3, 3, &store_request(1, "1.2.3.9"))]);
    let drips = [(store, pdv(3, 0, b"xx")), (Vec::new(), pdv(1, 1, b"x"))];
    for (n, (begins, piece)) in (1..).zip(drips) {
        let (mut line, _) = established(&appliance).await;
        line.write_all(&begins).await.unwrap();
        let dripping = async {
            loop {
                line.write_all(&data(std::slice::from_ref(&piece)))
                    .await
                    .unwrap();
                let heard = timeout(Duration::from_millis(50), read_pdu(&mut line));
                if let Ok(heard) = heard.await {
                    break heard.unwrap();
                }
            }
        };
        let (end, others) = tokio::join!(
            timeout(Duration::from_secs(10), dripping),
            echoes(&appliance)
        );
        assert_eq!(end.expect("it ends in time"), (7, vec![0, 0, 2, 0]));
        assert!(others, "others go on meanwhile");
        until("it is noted", || appliance.refusals().len() == n).await;
        let why = appliance.refusals().pop().unwrap();
        assert!(why.contains("so little of a message"), "{why}");
    }
    assert!(appliance.kept().is_empty());
}

#[tokio::test]
async fn bad_requests_are_answered_and_the_association_goes_on() {
    let appliance = Appliance::start(hurried()).await;
    let (mut line, _) = established(&appliance).await;
    let data_set = secondary_capture("1.2.3.9", 8);
    let class = || (0x0002, ui(SECONDARY_CAPTURE));
    let cases: Vec<(&str, u8, Elements, bool, u16)> = vec![
        (
            "a bad instance UID",
            3,
            vec![
                class(),
                (0x0100, us(1)),
                (0x0110, us(2)),
                (0x0800, us(0)),
                (0x1000, ui("../../etc/passwd")),
            ],
            true,
            0xC002,
        ),
        (
            "no instance UID",
            3,
            vec![class(), (0x0100, us(1)), (0x0110, us(2)), (0x0800, us(0))],
            true,
            0xC002,
        ),
        (
            "a UID that is no text",
            3,
            vec![
                class(),
                (0x0100, us(1)),
                (0x0110, us(2)),
                (0x0800, us(0)),
                (0x1000, vec![0xff; 8]),
            ],
            true,
            0xC002,
        ),
        (
            "another class than the context's",
            3,
            vec![
                (0x0002, ui("1.2.840.10008.5.1.4.1.1.2")),
                (0x0100, us(1)),
                (0x0110, us(2)),
                (0x0800, us(0)),
                (0x1000, ui("1.2")),
            ],
            true,
            0x0122,
        ),
        (
            "a store in the verification context",
            1,
            vec![
                class(),
                (0x0100, us(1)),
                (0x0110, us(2)),
                (0x0800, us(0)),
                (0x1000, ui("1.2")),
            ],
            true,
            0x0122,
        ),
        (
            "a store without a data set",
            3,
            vec![
                class(),
                (0x0100, us(1)),
                (0x0110, us(2)),
                (0x0800, us(0x0101)),
                (0x1000, ui("1.2")),
            ],
            false,
            0xC001,
        ),
        (
            "an echo in a storage context",
            3,
            vec![(0x0100, us(0x30)), (0x0110, us(2)), (0x0800, us(0x0101))],
            false,
            0x0122,
        ),
        (
            "an N-CREATE",
            3,
            vec![(0x0100, us(0x0140)), (0x0110, us(2)), (0x0800, us(0))],
            true,
            0x0211,
        ),
        (
            "a command of no standard",
            1,
            vec![(0x0100, us(0x0777)), (0x0110, us(2)), (0x0800, us(0x0101))],
            false,
            0x0211,
        ),
    ];
    for (name, context, elements, has_data, status) in cases {
        let mut pdvs = pdv(context, 3, &command(&elements));
        if has_data {
            pdvs.extend(pdv(context, 2, &data_set));
        }
        line.write_all(&pdu(4, &pdvs)).await.unwrap();
        assert_eq!(answered(&mut line).await, (2, status), "{name}");
    }
    // A cancellation and a response of nothing are not answered; what follows is.
    for ignored in [0x0FFF, 0x8001] {
        let elements = [(0x0100, us(ignored)), (0x0120, us(5)), (0x0800, us(0x0101))];
        line.write_all(&data(&[pdv(3, 3, &command(&elements))]))
            .await
            .unwrap();
    }
    line.write_all(&data(&[pdv(1, 3, &echo_request(9))]))
        .await
        .unwrap();
    assert_eq!(answered(&mut line).await, (9, 0));
    assert!(appliance.kept().is_empty());
}

#[tokio::test]
async fn fragments_of_any_size_make_the_same_object() {
    let appliance = Appliance::start(hurried()).await;
    let (mut line, _) = established(&appliance).await;
    let data_set = secondary_capture("1.2.3.9", 16);
    for (at, size) in [1usize, 2, 7, 100, 10_000].into_iter().enumerate() {
        let request = store_request(u16::try_from(at).unwrap(), "1.2.3.9");
        let mut pdvs = Vec::new();
        for (control, bytes) in [(1u8, &request), (0, &data_set)] {
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            for (n, piece) in pieces.iter().enumerate() {
                let last = if n + 1 == pieces.len() { 2 } else { 0 };
                pdvs.push(pdv(3, control | last, piece));
            }
        }
        // Half of them in one PDU, the rest one PDU each.
        let (together, apart) = pdvs.split_at(pdvs.len() / 2);
        let mut bytes = if together.is_empty() {
            Vec::new()
        } else {
            data(together)
        };
        apart.iter().for_each(|p| bytes.extend(pdu(4, p)));
        line.write_all(&bytes).await.unwrap();
        assert_eq!(
            answered(&mut line).await,
            (u16::try_from(at).unwrap(), 0),
            "{size}"
        );
        assert_eq!(appliance.kept()[at].bytes, data_set, "{size}");
    }
}

#[tokio::test]
async fn requests_sent_ahead_are_answered_in_their_order() {
    let appliance = Appliance::start(hurried()).await;
    let (mut line, _) = established(&appliance).await;
    let mut bytes = Vec::new();
    for id in 1..=16u16 {
        let instance = format!("1.2.3.{id}");
        bytes.extend(data(&[
            pdv(3, 3, &store_request(id, &instance)),
            pdv(3, 2, &secondary_capture(&instance, 8)),
        ]));
    }
    line.write_all(&bytes).await.unwrap();
    for id in 1..=16 {
        assert_eq!(answered(&mut line).await, (id, 0));
    }
    line.write_all(&pdu(5, &[0; 4])).await.unwrap();
    assert_eq!(read_pdu(&mut line).await.unwrap().0, 6);
    assert_eq!(appliance.kept().len(), 16);
}

#[tokio::test]
async fn an_object_cut_in_its_middle_leaves_nothing() {
    let appliance = Appliance::start(hurried()).await;
    let begun = [pdv(3, 3, &store_request(1, "1.2.3.9")), pdv(3, 0, b"half")].concat();
    for end in [pdu(7, &[0; 4]), Vec::new()] {
        let (mut line, _) = established(&appliance).await;
        line.write_all(&pdu(4, &begun)).await.unwrap();
        line.write_all(&end).await.unwrap();
        drop(line);
    }
    assert!(echoes(&appliance).await);
    assert!(appliance.kept().is_empty());
}

#[tokio::test]
async fn a_fault_of_ours_ends_one_association_only() {
    let appliance = Appliance::start(hurried()).await;
    *appliance.door.panic_at.lock().unwrap() = Some("1.2.3.13".into());
    let (mut line, _) = established(&appliance).await;
    line.write_all(&data(&[
        pdv(3, 3, &store_request(1, "1.2.3.13")),
        pdv(3, 2, b"data"),
    ]))
    .await
    .unwrap();
    assert!(read_pdu(&mut line).await.is_err());
    let (mut line, _) = established(&appliance).await;
    line.write_all(&data(&[
        pdv(3, 3, &store_request(1, "1.2.3.14")),
        pdv(3, 2, b"data"),
    ]))
    .await
    .unwrap();
    assert_eq!(answered(&mut line).await, (1, 0));
}

#[tokio::test]
async fn as_many_associations_as_may() {
    let mut config = hurried();
    config.limits.idle_timeout = Duration::from_secs(10);
    config.limits.associations_max = 5;
    config.limits.associations_per_ae_max = 3;
    let appliance = Appliance::start(config).await;
    let other = || {
        AssociateRequest {
            calling: "OTHER",
            ..AssociateRequest::default()
        }
        .bytes()
    };
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(established(&appliance).await.0);
    }
    let (per_ae, in_all) = (End::Rejected(2, 3, 2), End::Rejected(2, 3, 1));
    assert_eq!(ended(&appliance, &[asked()]).await, per_ae);
    for _ in 0..2 {
        held.push(established_as(&appliance, &other()).await.0);
    }
    assert_eq!(ended(&appliance, &[other()]).await, in_all);
    // A place that is given back is free.
    drop(held);
    until("a place is free", || appliance.refusals().len() == 2).await;
    let mut free = false;
    for _ in 0..100 {
        free = echoes(&appliance).await;
        if free {
            break;
        }
    }
    assert!(free);
}

#[tokio::test]
async fn only_the_listed_are_heard_when_the_configuration_says_so() {
    let mut config = hurried();
    config.unlisted = Unlisted::Refused;
    let appliance = Appliance::start(config).await;
    assert_eq!(ended(&appliance, &[asked()]).await, End::Rejected(1, 1, 3));
}

#[tokio::test]
async fn stopping_ends_what_is_open_after_the_message_in_hand() {
    let mut config = hurried();
    config.limits.idle_timeout = Duration::from_secs(60);
    config.limits.pdu_timeout = Duration::from_secs(60);
    let appliance = Appliance::start(config).await;
    let (mut idle, _) = established(&appliance).await;
    let (mut busy, _) = established(&appliance).await;
    busy.write_all(&data(&[pdv(1, 3, &echo_request(1))]))
        .await
        .unwrap();
    answered(&mut busy).await;
    busy.write_all(&data(&[
        pdv(3, 3, &store_request(2, "1.2.3.9")),
        pdv(3, 0, b"ha"),
    ]))
    .await
    .unwrap();
    let begun = || appliance.door.begun.load(Ordering::SeqCst) == 1;
    until("the object has begun", begun).await;
    appliance.stop.cancel();
    assert_eq!(read_pdu(&mut idle).await.unwrap(), (7, vec![0, 0, 2, 0]));
    drop(idle);
    busy.write_all(&data(&[pdv(3, 2, b"lf")])).await.unwrap();
    assert_eq!(answered(&mut busy).await, (2, 0));
    assert_eq!(read_pdu(&mut busy).await.unwrap().0, 7);
    drop(busy);
    assert_eq!(appliance.kept()[0].bytes, b"half");
    timeout(Duration::from_secs(5), appliance.ended)
        .await
        .expect("it ends in time")
        .unwrap();
    assert!(TcpStream::connect(appliance.address).await.is_err());
}

/// Sends all of it, with a pause between that the limits allow, and gives how the appliance ended it.
async fn ended(appliance: &Appliance, sends: &[Vec<u8>]) -> End {
    let line = TcpStream::connect(appliance.address).await.unwrap();
    ended_on(line, sends).await
}

async fn ended_on(mut line: impl Stream, sends: &[Vec<u8>]) -> End {
    for bytes in sends {
        if let Err(error) = line.write_all(bytes).await {
            assert!(
                matches!(
                    error.kind(),
                    ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
                ),
                "{error}"
            );
        }
        if sends.len() > 5 {
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
    loop {
        match read_pdu(&mut line)
            .await
            .expect("the appliance says why it ends")
        {
            (2, _) => {}
            (3, body) => return End::Rejected(body[1], body[2], body[3]),
            (7, body) => {
                assert_eq!(body[2], 2, "source: service provider");
                return End::Aborted(body[3]);
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn established(appliance: &Appliance) -> (TcpStream, Vec<u8>) {
    established_as(appliance, &asked()).await
}

async fn established_as(appliance: &Appliance, request: &[u8]) -> (TcpStream, Vec<u8>) {
    let mut line = TcpStream::connect(appliance.address).await.unwrap();
    line.write_all(request).await.unwrap();
    let (kind, body) = read_pdu(&mut line).await.unwrap();
    assert_eq!(kind, 2, "{body:?}");
    (line, body)
}

async fn echoes(appliance: &Appliance) -> bool {
    echoes_on(TcpStream::connect(appliance.address).await.unwrap()).await
}

async fn echoes_on(mut line: impl Stream) -> bool {
    line.write_all(&asked()).await.unwrap();
    if !matches!(read_pdu(&mut line).await, Ok((2, _))) {
        return false;
    }
    line.write_all(&data(&[pdv(1, 3, &echo_request(1))]))
        .await
        .unwrap();
    let ok = answered(&mut line).await == (1, 0);
    line.write_all(&pdu(5, &[0; 4])).await.unwrap();
    ok && read_pdu(&mut line).await.unwrap().0 == 6
}

/// The message id responded to, and the status, of the next response.
async fn answered(line: &mut impl Stream) -> (u16, u16) {
    let (kind, body) = read_pdu(line).await.unwrap();
    assert_eq!(kind, 4, "{body:?}");
    let (mut id, mut status) = (None, None);
    let mut rest = &body[6..];
    while !rest.is_empty() {
        let element = u16::from_le_bytes([rest[2], rest[3]]);
        let length = u32::from_le_bytes(rest[4..8].try_into().unwrap()) as usize;
        let value = &rest[8..8 + length];
        match element {
            0x0120 => id = Some(u16::from_le_bytes(value.try_into().unwrap())),
            0x0900 => status = Some(u16::from_le_bytes(value.try_into().unwrap())),
            _ => {}
        }
        rest = &rest[8 + length..];
    }
    (id.unwrap(), status.unwrap())
}

async fn read_pdu(line: &mut impl Stream) -> std::io::Result<(u8, Vec<u8>)> {
    let mut header = [0; 6];
    line.read_exact(&mut header).await?;
    let length = u32::from_be_bytes(header[2..].try_into().unwrap()) as usize;
    let mut body = vec![0; length];
    line.read_exact(&mut body).await?;
    Ok((header[0], body))
}
