//! Off by default: without an enrolled hub nothing sends, nothing listens, nothing is made. And on without a line: months
//! of frames are carried by hand.

use crate::support::{Appliance, Given, PERICARD, program, until};
use pericard_audit::hash::leaf_of;
use pericard_audit::{Frontier, Hash, proof};
use pericard_egress::{
    Books, BooksError, CatalogueId, Closing, Identity, Log, Meter, Pseudonym, Review, Seed, Week,
};
use pericard_frame::FRAME_BYTES;
use pericard_gate::{Desk, Gate, Rules, Spool, Standing, Status};
use pericard_hub::{Hub, Keys, Sent, Shown, Way, enrolment};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// Calls that make, use or wait at sockets, as strace groups them.
const NETWORK: &str = "trace=%network";

#[test]
fn without_a_hub_no_process_runs_no_socket_is_made_and_no_file_is_left() {
    let Some(strace) = program("strace") else {
        return;
    };
    let toml = "[egress]\nweekly = true\ngate_dir = '/nonexistent-gate/desk'\n";
    let Some(mut appliance) = Appliance::start(Given {
        toml,
        ..Given::default()
    }) else {
        return;
    };
    let trace = appliance.dir.path().join("trace");
    let ended = Command::new(strace)
        .args(["-f", "-qq", "-e", NETWORK, "-o"])
        .arg(&trace)
        .args([PERICARD, "egress", "run", "--config"])
        .arg(appliance.config())
        .output()
        .expect("strace");
    assert!(ended.status.success(), "{ended:?}");
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(said.starts_with("no hub is enrolled"), "{said}");
    let calls = fs::read_to_string(&trace).expect("a trace");
    assert_eq!(calls.trim(), "", "of the network");
    assert!(
        !Path::new("/nonexistent-gate").exists(),
        "a trace of a gate"
    );

    // The appliance beside it: no process that is no worker, no connection that it opened.
    let server = appliance.process().id();
    let commands = Command::new("ps")
        .args(["-eo", "ppid=,args="])
        .output()
        .expect("ps");
    let commands = String::from_utf8_lossy(&commands.stdout).into_owned();
    let children = commands
        .lines()
        .filter(|line| line.trim_start().starts_with(&format!("{server} ")));
    for child in children {
        assert!(child.contains(" worker"), "{child}");
    }
    assert_eq!(connections_of(server), 0, "it called somebody");
    // And a frame is made, to be read, and stays.
    let frame = appliance.data().join("egress/frames/00000001.frame");
    crate::support::until("a frame", || frame.exists().then_some(()));
    let ledger = appliance.pericard(&["egress", "ledger"]);
    assert!(ledger.contains("frame    1"), "{ledger}");
    assert!(!ledger.contains("waiting until"), "{ledger}");
    // What is shown of it is the file, byte by byte.
    let shown = appliance.pericard(&["egress", "preview", "--frame", "1", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    let bytes = fs::read(&frame).expect("a frame");
    assert_eq!(bytes.len(), FRAME_BYTES);
    assert_eq!(shown["frame_hex"], hex::encode(&bytes));
    let numbers = shown["numbers"].as_array().expect("numbers");
    let of = |number: &serde_json::Value, key: &str| number[key].as_u64().expect("a number");
    for number in numbers {
        let (at, wide) = (of(number, "offset_bytes"), of(number, "width_bytes"));
        let bytes = &bytes[at as usize..(at + wide) as usize];
        let value = bytes
            .iter()
            .rev()
            .fold(0, |all, byte| all << 8 | u64::from(*byte));
        assert_eq!(of(number, "value"), value, "{number}");
    }
}

/// Established connections of a process to a port that is not its own (`/proc/net/tcp`, state 01).
fn connections_of(pid: u32) -> usize {
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).expect("the table");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(1)
        .map(|l| l.split_ascii_whitespace().collect())
        .collect();
    let port = |address: &str| address.split(':').nth(1).unwrap_or_default().to_owned();
    let listens: Vec<_> = rows
        .iter()
        .filter(|r| r[3] == "0A")
        .map(|r| port(r[1]))
        .collect();
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("its descriptors")
        .flatten();
    let sockets: Vec<String> = descriptors
        .filter_map(|fd| {
            Some(
                fs::read_link(fd.path())
                    .ok()?
                    .to_string_lossy()
                    .into_owned(),
            )
        })
        .filter_map(|link| {
            Some(
                link.strip_prefix("socket:[")?
                    .trim_end_matches(']')
                    .to_owned(),
            )
        })
        .collect();
    let ours = rows
        .iter()
        .filter(|row| row[3] == "01" && sockets.iter().any(|s| s == row[9]));
    ours.filter(|row| !listens.contains(&port(row[1]))).count()
}

const FIRST_WEEK: u16 = 2_940;
const WEEKS: u16 = 26;
const NOW_S: u64 = 1_795_600_000;
const MODEL: CatalogueId = CatalogueId(300);

/// Weeks, told without a line to anybody.
pub(crate) fn weeks_without_a_line(dir: &Path, appliance: u32, weeks: u16) {
    fs::create_dir_all(dir).expect("made");
    let identity = Identity {
        appliance,
        release: [0, 1, 0],
    };
    let meter = Meter::open(dir.join("counters"), identity).expect("a meter");
    let mut lines: Vec<Hash> = Vec::new();
    for week in FIRST_WEEK..FIRST_WEEK + weeks {
        // A process that another test starts at this moment holds what is open here, until it executes.
        let mut books = until("the books", || {
            match Books::open(dir.to_owned(), pericard_egress::Rules::default()) {
                Err(BooksError::InUse) => None,
                opened => Some(opened.expect("books")),
            }
        });
        let from = books.log_from(&meter);
        lines.extend((0..40).map(|line| leaf_of(&[week as u8, line])));
        let mut inferences = Week::of(&[MODEL]);
        for patient in 0..400 {
            inferences.count(
                Pseudonym(patient),
                MODEL,
                (patient % 10) as u8,
                Review::Agreed,
            );
        }
        let frontier: Frontier = lines.iter().copied().collect();
        let words = |hash: &Hash| -> [u64; 4] {
            let (words, _) = hash.as_bytes().as_chunks::<8>();
            std::array::from_fn(|at| u64::from_be_bytes(words[at]))
        };
        let log = Log {
            size: frontier.size(),
            root: words(&frontier.root()),
            proof: proof::consistency(&lines, from)
                .unwrap_or_default()
                .iter()
                .map(words)
                .collect(),
        };
        let closing = Closing {
            week,
            inferences,
            log,
            evaluations: Vec::new(),
            seed: Seed([week as u8; 32]),
        };
        books.close(closing, &meter).expect("closed");
    }
}

#[test]
fn half_a_year_without_a_line_is_carried_by_hand_in_one_go() {
    let dir = tempfile::tempdir().expect("a folder");
    let at = |name: &str| dir.path().join(name);
    let names = Shown::Made(vec!["hub".into()]);
    let keys = Keys::open(&at("hub"), "hub.example", &names, NOW_S).expect("keys");
    let hub = Hub::open(
        &at("hub.db"),
        Arc::clone(keys.signing()),
        Arc::new(|| NOW_S),
    )
    .expect("a hub");
    let desk = Desk::at(at("desk"));
    let asked = pericard_gate::request(&desk, &[4; 32]).expect("a request");
    let nowhere = ([192, 0, 2, 1], 9).into();
    let granted = enrolment::enrol((&hub, &keys), &asked, "A clinic", nowhere).expect("granted");
    let key = keys.signing().verifier().to_string();
    let enrolled = pericard_gate::accept(&desk, &granted.note, &key).expect("enrolled");
    weeks_without_a_line(&at("spool"), enrolled.appliance, WEEKS);

    let rules = Rules { hold_days: 7 };
    let gate = Gate::open(Spool::at(at("spool")), desk.clone(), rules);
    let gate = gate.expect("opened").expect("enrolled");
    let stick = tempfile::tempdir().expect("a stick");
    assert!(
        gate.carry(stick.path(), NOW_S).expect("looked").is_empty(),
        "held for a week first"
    );
    let later = NOW_S + 7 * 86_400;
    let carried = gate.carry(stick.path(), later).expect("carried");
    assert_eq!(carried.len(), usize::from(WEEKS));
    for sequence in &carried {
        let bytes = fs::read(stick.path().join(format!("{sequence:08}.frame"))).expect("a frame");
        let way = Way::Carried;
        let replies = hub.ingest(&[Sent { bytes: &bytes, way }]).expect("durable");
        assert_eq!(
            replies[0].status(),
            Status::Accepted,
            "{:?}",
            replies[0].reason()
        );
        let reply = stick.path().join(format!("{sequence:08}.reply"));
        fs::write(&reply, replies[0].bytes()).expect("written");
        gate.take(&reply).expect("believed");
    }
    drop(gate);
    let spool = Spool::at(at("spool"));
    let standings = Gate::standings((&spool, &desk), rules, later).expect("read");
    assert!(
        standings
            .iter()
            .all(|placed| placed.standing == Standing::Accepted),
        "{standings:?}"
    );
    assert_eq!(standings.len(), usize::from(WEEKS));
}
