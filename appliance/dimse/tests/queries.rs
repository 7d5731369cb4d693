//! Strangers to the query, retrieval and commitment services: each hears the protocol's own words within its time, and
//! the next caller is served.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::time::Duration;
use support::archive::Held;
use support::line::{Line, Stream};
use support::{AssociateRequest, command, context, item, pdu, pdv, run, ui, us};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

const FIND: &str = "1.2.840.10008.5.1.4.1.2.2.1";
const MOVE: &str = "1.2.840.10008.5.1.4.1.2.2.2";
const GET: &str = "1.2.840.10008.5.1.4.1.2.2.3";
const COMMIT: &str = "1.2.840.10008.1.20.1";
const IMPLICIT: &str = "1.2.840.10008.1.2";

/// How it ends: the final status of a response, or an abort by the service provider.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Status(u16),
    Aborted,
}

fn asked() -> Vec<u8> {
    AssociateRequest {
        calling: "WS",
        contexts: vec![
            context(1, FIND, &[IMPLICIT]),
            context(3, MOVE, &[IMPLICIT]),
            context(5, GET, &[IMPLICIT]),
            context(7, COMMIT, &[IMPLICIT]),
        ],
        ..AssociateRequest::default()
    }
    .bytes()
}

fn request(class: &str, field: u16, with_data: bool) -> Vec<u8> {
    command(&[
        (0x0002, ui(class)),
        (0x0100, us(field)),
        (0x0110, us(1)),
        (0x0600, b"NOWHERE ".to_vec()),
        (0x0700, us(0)),
        (0x0800, us(if with_data { 0 } else { 0x0101 })),
    ])
}

fn action(kind: u16, instance: &str) -> Vec<u8> {
    command(&[
        (0x0003, ui(COMMIT)),
        (0x0100, us(0x0130)),
        (0x0110, us(1)),
        (0x0800, us(0)),
        (0x1001, ui(instance)),
        (0x1008, us(kind)),
    ])
}

fn event(kind: u16) -> Vec<u8> {
    command(&[
        (0x0002, ui(COMMIT)),
        (0x0100, us(0x0100)),
        (0x0110, us(1)),
        (0x0800, us(0)),
        (0x1000, ui("1.2.840.10008.1.20.1.1")),
        (0x1002, us(kind)),
    ])
}

/// An element in Implicit VR Little Endian.
fn element(group: u16, number: u16, value: &[u8]) -> Vec<u8> {
    let mut out = [group.to_le_bytes(), number.to_le_bytes()].concat();
    out.extend_from_slice(&u32::try_from(value.len()).unwrap().to_le_bytes());
    out.extend_from_slice(value);
    out
}

fn level(name: &[u8]) -> Vec<u8> {
    element(8, 0x52, name)
}

/// A command and its data set, each in a PDU of its own.
fn both(id: u8, set: &[u8], data: &[u8]) -> Vec<Vec<u8>> {
    vec![pdu(4, &pdv(id, 3, set)), pdu(4, &pdv(id, 2, data))]
}

fn strangers() -> Vec<(&'static str, Vec<Vec<u8>>, End)> {
    use End::{Aborted, Status};
    let find = || request(FIND, 0x20, true);
    let study = |uid: &[u8]| [level(b"STUDY "), element(0x20, 0x0D, uid)].concat();
    let deep = [
        8, 0, 0x99, 0x11, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0xFF, 0, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF,
    ]
    .repeat(10_000);
    let well_known = "1.2.840.10008.1.20.1.1";
    let transaction = element(8, 0x1195, b"1.2.3.4\0");
    vec![
        (
            "a query without an identifier",
            vec![pdu(4, &pdv(1, 3, &request(FIND, 0x20, false)))],
            Status(0xC001),
        ),
        (
            "a query without a level",
            both(1, &find(), &element(0x10, 0x10, b"A*")),
            Status(0xA900),
        ),
        (
            "a query at a level that is none",
            both(1, &find(), &level(b"GALAXY")),
            Status(0xA900),
        ),
        (
            "a query at the patient level of the study root",
            both(1, &find(), &level(b"PATIENT ")),
            Status(0xA900),
        ),
        (
            "an identifier of 4 GiB",
            both(
                1,
                &find(),
                &[8, 0, 0x52, 0, 0xF0, 0xFF, 0xFF, 0xFF, b'S', b'T'],
            ),
            Status(0xA900),
        ),
        (
            "an identifier nested 10,000 deep",
            both(1, &find(), &deep),
            Status(0xA900),
        ),
        (
            "an identifier that is cut",
            both(1, &find(), &[8, 0, 0x52]),
            Status(0xA900),
        ),
        (
            "an identifier of noise",
            both(1, &find(), &[0xA5; 1000]),
            Status(0xA900),
        ),
        (
            "an identifier of 5 MiB",
            {
                let mut sent = vec![pdu(4, &pdv(1, 3, &find()))];
                sent.extend(
                    (0..80)
                        .map(|at| pdu(4, &pdv(1, if at == 79 { 2 } else { 0 }, &[b' '; 65_536]))),
                );
                sent
            },
            Status(0xA900),
        ),
        (
            "a pattern that would take for ever",
            both(
                1,
                &find(),
                &[level(b"STUDY "), element(0x10, 0x10, &b"*a".repeat(5_000))].concat(),
            ),
            Status(0),
        ),
        (
            "a name that is a statement",
            both(
                1,
                &find(),
                &[
                    level(b"STUDY "),
                    element(0x10, 0x20, b"'; DROP TABLE studies; --*"),
                ]
                .concat(),
            ),
            Status(0),
        ),
        (
            "a query in the context of a move",
            both(3, &find(), &level(b"STUDY ")),
            Status(0x0122),
        ),
        (
            "a move in the context of a query",
            both(1, &request(MOVE, 0x21, true), &study(b"1.2\0")),
            Status(0x0122),
        ),
        (
            "a move to nowhere",
            both(3, &request(MOVE, 0x21, true), &study(b"1.2\0")),
            Status(0xA801),
        ),
        (
            "a get of everything",
            both(5, &request(GET, 0x10, true), &study(b"* ")),
            Status(0xA900),
        ),
        (
            "a get of a path",
            both(5, &request(GET, 0x10, true), &study(b"../../etc/passwd")),
            Status(0xA900),
        ),
        (
            "a get that names nothing",
            both(5, &request(GET, 0x10, true), &level(b"STUDY ")),
            Status(0xA900),
        ),
        (
            "a get of what is not held",
            both(5, &request(GET, 0x10, true), &study(b"1.2.3\0")),
            Status(0),
        ),
        (
            "a commitment of nothing",
            both(7, &action(1, well_known), &transaction),
            Status(0x0115),
        ),
        (
            "a commitment without a transaction",
            both(7, &action(1, well_known), &element(8, 0x1199, &[])),
            Status(0x0115),
        ),
        (
            "an action that is none",
            both(7, &action(9, well_known), &transaction),
            Status(0x0123),
        ),
        (
            "a commitment of another instance",
            both(7, &action(1, "1.2.3"), &transaction),
            Status(0x0112),
        ),
        (
            "a promise from somebody who was not asked",
            both(7, &event(1), &transaction),
            Status(0x0112),
        ),
        (
            "an event that is none",
            both(7, &event(7), &transaction),
            Status(0x0113),
        ),
        (
            "a command within an identifier",
            vec![pdu(4, &pdv(1, 3, &find())), pdu(4, &pdv(1, 3, &find()))],
            Aborted,
        ),
        (
            "an identifier that changes its context",
            vec![
                pdu(4, &pdv(1, 3, &find())),
                pdu(4, &pdv(3, 2, &level(b"STUDY "))),
            ],
            Aborted,
        ),
        (
            "a release before the identifier",
            vec![pdu(4, &pdv(1, 3, &find())), pdu(5, &[0; 4])],
            Aborted,
        ),
    ]
}

async fn ended((line, held): (&Line, &Held), sends: &[Vec<u8>]) -> End {
    let mut line = line.connected(held.address).await;
    line.write_all(&asked()).await.unwrap();
    assert_eq!(heard(&mut line).await.0, 2, "the association is accepted");
    for bytes in sends {
        // It may have been aborted before all is sent.
        if line.write_all(bytes).await.is_err() {
            break;
        }
    }
    loop {
        let (kind, body) = heard(&mut line).await;
        match kind {
            4 => {
                if let Some(status) = status_in(&body).filter(|status| *status != 0xFF00) {
                    return End::Status(status);
                }
            }
            7 => return End::Aborted,
            other => panic!("PDU {other}"),
        }
    }
}

async fn heard(line: &mut impl Stream) -> (u8, Vec<u8>) {
    let mut header = [0; 6];
    line.read_exact(&mut header).await.unwrap();
    let length = u32::from_be_bytes([header[2], header[3], header[4], header[5]]);
    let mut body = vec![0; length as usize];
    line.read_exact(&mut body).await.unwrap();
    (header[0], body)
}

/// Status (0000,0900) of a command.
fn status_in(body: &[u8]) -> Option<u16> {
    (body[5] & 1 == 1).then_some(())?;
    let tag = [0, 0, 0, 9, 2, 0, 0, 0];
    let at = body.windows(8).position(|window| window == tag)?;
    Some(u16::from_le_bytes([body[at + 8], body[at + 9]]))
}

#[tokio::test]
async fn strangers_are_told_and_the_next_caller_is_served() {
    for line in Line::both() {
        told_and_served(&line).await;
    }
}

async fn told_and_served(line: &Line) {
    let held = Held::start_over(line, vec![]).await;
    let strangers = strangers();
    assert!(strangers.len() >= 20, "{}", strangers.len());
    for (name, sends, expected) in strangers {
        let end = timeout(Duration::from_secs(10), ended((line, &held), &sends)).await;
        assert_eq!(end.expect(name), expected, "{name} over {}", line.name());
        let mut echo = Command::new("echoscu");
        echo.args(line.dcmtk());
        echo.args(["-aet", "WS", "-aec", "PERICARD", "127.0.0.1"])
            .arg(held.port());
        run(echo).await;
    }
}

/// Every window that is proposed is answered, and with one operation at a time where objects go out.
#[tokio::test]
async fn the_operations_window_is_one_where_objects_go_out() {
    let held = Held::start(vec![]).await;
    let role = |class: &str, scu: u8, scp: u8| {
        let length = u16::try_from(class.len()).unwrap().to_be_bytes();
        item(0x54, &[&length[..], class.as_bytes(), &[scu, scp]].concat())
    };
    let storage = "1.2.840.10008.5.1.4.1.1.7";
    for (roles, window) in [
        (vec![], 5),
        (vec![role(storage, 0, 1)], 1),
        (vec![role(storage, 1, 1)], 1),
    ] {
        let mut request = AssociateRequest {
            calling: "WS",
            contexts: vec![
                context(1, GET, &[IMPLICIT]),
                context(3, storage, &[IMPLICIT]),
            ],
            ..AssociateRequest::default()
        };
        request.user_items.push(item(0x53, &[0, 5, 0, 5]));
        request.user_items.extend(roles);
        let mut line = TcpStream::connect(held.address).await.unwrap();
        line.write_all(&request.bytes()).await.unwrap();
        let (kind, body) = heard(&mut line).await;
        assert_eq!(kind, 2);
        let at = body.windows(4).position(|w| w == [0x53, 0, 0, 4]).unwrap();
        assert_eq!(body[at + 4..at + 8], [0, window, 0, 1]);
    }
}
