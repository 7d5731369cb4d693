//! Frames as hospitals send them, and as they should not.

use crate::database::Database;
use pericard_audit::hash::leaf_of;
use pericard_audit::{Checkpoint, Frontier, Hash, SigningKey, cosign, proof};
use pericard_frame::layout::{self, reply as field};
use pericard_frame::plan::{Metric, PLAN_SIGNED_AS};
use pericard_frame::reply::{Cause, Kind, Reason, Status};
use pericard_frame::{ADVISORY_SIGNED_AS, Draft, FRAME_BYTES, FRAME_SIGNED_AS, Frame};
use pericard_hub::Viewer;
use pericard_hub::findings::{FindingKind, findings};
use pericard_hub::hub::{Asking, Hub, Warning};
use pericard_hub::ingest::{FRAMES_PER_HOUR_MAX, Sent, Way};
use pericard_hub::outlook::Outlook;
use pericard_hub::records::{AlarmKind, Model};
use pericard_hub::store::{Place, StoreError};
use std::sync::Arc;

/// Wednesday 25 November 2026.
const NOW_S: u64 = 1_795_600_000;
const WEEK: u16 = 2_968;

struct Nation {
    hub: Hub,
    database: Database,
}

/// An appliance: its key, its certificate's hash, and its log.
struct Sender {
    key: SigningKey,
    certificate: [u8; 32],
    number: u32,
    log: Vec<Hash>,
    witnessed: u64,
}

fn hub_key() -> SigningKey {
    SigningKey::from_seed("hub.example", &[9; 32]).expect("a key")
}

fn open(database: &Database) -> Hub {
    Hub::open(database.place(), hub_key(), Arc::new(|| NOW_S)).expect("open")
}

/// `None` where this kind of database is missing, which is said on stderr.
fn nation() -> Option<Nation> {
    let database = Database::new()?;
    let hub = open(&database);
    Some(Nation { hub, database })
}

impl Nation {
    fn sender(&self, seed: u8) -> Sender {
        let key = SigningKey::from_seed("appliance", &[seed; 32]).expect("a key");
        let certificate = [seed; 32];
        let number = self.hub.enrol("A hospital", &key.verifier(), &certificate);
        let number = number.expect("enrolled");
        let log = (0..5).map(|line| leaf_of(&[seed, line])).collect();
        Sender {
            key,
            certificate,
            number,
            log,
            witnessed: 0,
        }
    }

    fn send(&self, bytes: &[u8], way: Way) -> (Status, Reason) {
        let replies = self.hub.ingest(&[Sent { bytes, way }]).expect("durable");
        (replies[0].status(), replies[0].reason())
    }

    fn alarms(&self) -> Vec<(u32, AlarmKind, Option<u32>)> {
        let snapshot = self.hub.records().snapshot();
        let alarms = snapshot.alarms.iter();
        alarms
            .map(|alarm| (alarm.appliance, alarm.kind, alarm.sequence))
            .collect()
    }
}

impl Sender {
    fn way(&self) -> Way {
        Way::Connection(self.certificate)
    }

    fn draft(&self, sequence: u32) -> Draft<pericard_frame::ToHub> {
        let mut draft = Draft::new();
        draft.put(&layout::APPLIANCE, 0, self.number);
        draft.put(&layout::SEQUENCE, 0, sequence);
        draft.put(&layout::WEEK, 0, WEEK - 1);
        let frontier: Frontier = self.log.iter().copied().collect();
        draft.put(&layout::LOG_SIZE, 0, frontier.size());
        draft.put_all(&layout::LOG_ROOT, 0, words(frontier.root()));
        draft.put(&layout::LOG_FROM, 0, self.witnessed);
        let path = proof::consistency(&self.log, self.witnessed).unwrap_or_default();
        draft.put(&layout::PROOF_LEN, 0, path.len() as u8);
        draft.put_all(&layout::PROOF, 0, path.into_iter().flat_map(words));
        draft
    }

    fn frame(&self, sequence: u32) -> Frame {
        signed(self.draft(sequence), &self.key)
    }

    fn lives(&mut self, lines: u8) {
        self.witnessed = self.log.len() as u64;
        self.log
            .extend((0..lines).map(|line| leaf_of(&[line, 200])));
    }
}

fn words(hash: Hash) -> [u64; 4] {
    let (words, _) = hash.as_bytes().as_chunks::<8>();
    std::array::from_fn(|at| u64::from_be_bytes(words[at]))
}

fn signed(draft: Draft<pericard_frame::ToHub>, key: &SigningKey) -> Frame {
    let frame = draft.seal().expect("in range");
    let signature = key.seal(FRAME_SIGNED_AS, frame.signed_bytes());
    let mut draft = Draft::from(&frame);
    draft.put_all(&layout::SIGNATURE, 0, signature);
    draft.seal().expect("in range")
}

const ACCEPTED: (Status, Reason) = (Status::Accepted, Reason::None);
const KNOWN: (Status, Reason) = (Status::Known, Reason::None);

fn refused(reason: Reason) -> (Status, Reason) {
    (Status::Refused, reason)
}

#[test]
fn a_frame_is_kept_witnessed_and_known_when_it_comes_again() {
    let Some(nation) = nation() else { return };
    let mut sender = nation.sender(1);
    let first = sender.frame(1);
    let sent = Sent {
        bytes: first.bytes(),
        way: sender.way(),
    };
    let reply = nation.hub.ingest(&[sent]).expect("durable").remove(0);
    assert_eq!((reply.status(), reply.reason()), ACCEPTED);
    let seen = Checkpoint {
        origin: format!("pericard/{}", sender.number),
        size: 5,
        root: sender.log.iter().copied().collect::<Frontier>().root(),
    };
    let at_s = reply.get(&field::COSIGNED_AT, 0);
    assert!(cosign::opens(
        &hub_key().verifier(),
        &seen,
        at_s,
        &reply.cosignature()
    ));

    assert_eq!(nation.send(first.bytes(), sender.way()), KNOWN);
    assert_eq!(nation.send(first.bytes(), Way::Carried), KNOWN);
    sender.lives(7);
    assert_eq!(nation.send(sender.frame(2).bytes(), Way::Carried), ACCEPTED);
    let live = nation.hub.records().snapshot();
    let told = |f: &Arc<pericard_hub::records::Received>| (f.sequence, f.week, f.carried);
    let told: Vec<_> = live.frames.iter().map(told).collect();
    assert_eq!(told, [(1, WEEK - 1, false), (2, WEEK - 1, true)]);
    assert_eq!(live.witnessed[0].size, 12);
    assert_eq!(nation.alarms(), []);

    // What was answered is there after the process is gone, and so is its trace.
    let again = open(&nation.database);
    assert_eq!(again.records().snapshot().frames, live.frames);
    assert_eq!(again.store().verify_audit().expect("whole"), 3);
}

#[test]
fn a_line_that_was_changed_behind_the_hubs_back_is_found() {
    let Some(nation) = nation() else { return };
    let sender = nation.sender(1);
    assert_eq!(nation.send(sender.frame(1).bytes(), sender.way()), ACCEPTED);
    let spoiled = |sql: &str| {
        nation.database.spoil(sql);
        nation.hub.store().verify_audit().is_err()
    };
    assert_eq!(nation.hub.store().verify_audit().expect("whole"), 2);
    assert!(spoiled(
        "UPDATE audit SET record = replace(record, 'enrol', 'enroll') WHERE place = 0"
    ));
    nation
        .database
        .spoil("UPDATE audit SET record = replace(record, 'enroll', 'enrol') WHERE place = 0");
    assert_eq!(nation.hub.store().verify_audit().expect("whole again"), 2);
    assert!(spoiled("DELETE FROM audit WHERE place = 1"));
}

#[test]
fn data_without_a_version_is_of_the_first_and_data_of_a_newer_one_is_left_alone() {
    let Some(nation) = nation() else { return };
    nation.sender(1);
    let Nation { hub, database } = nation;
    drop(hub);
    // The last fails unless there is a version again.
    let [without, newer, as_before, has_one] = match database.place() {
        Place::File(_) => [
            "PRAGMA user_version = 0",
            "PRAGMA user_version = 999",
            "PRAGMA user_version = 1",
            "CREATE TEMP TABLE found (version INTEGER CHECK (version = 1)); \
             INSERT INTO found SELECT user_version FROM pragma_user_version",
        ],
        Place::Server(_) => [
            "DROP TABLE schema_version",
            "UPDATE schema_version SET version = 999",
            "UPDATE schema_version SET version = 1",
            "DO $$ BEGIN ASSERT (SELECT version FROM schema_version) = 1; END $$",
        ],
    };
    database.spoil(without);
    database.spoil("DROP TABLE plans"); // an early one had fewer tables
    let known = |hub: &Hub| hub.records().snapshot().hospitals.len();
    let hub = open(&database);
    assert_eq!(known(&hub), 1);
    drop(hub);
    database.spoil(has_one);
    database.spoil(newer);
    let refused = Hub::open(database.place(), hub_key(), Arc::new(|| NOW_S));
    let Err(StoreError::Newer {
        found,
        known: newest,
    }) = refused
    else {
        panic!("it was opened, or failed otherwise");
    };
    assert_eq!((found, newest), (999, 1));
    database.spoil(as_before);
    assert_eq!(known(&open(&database)), 1);
}

#[test]
fn two_that_write_at_once_wait_for_each_other() {
    let Some(nation) = nation() else { return };
    let beside = open(&nation.database);
    let first = &nation.hub;
    std::thread::scope(|scope| {
        for (hub, begin) in [(first, 1_u8), (&beside, 101)] {
            scope.spawn(move || {
                for seed in begin..begin + 20 {
                    let key = SigningKey::from_seed("appliance", &[seed; 32]).expect("a key");
                    hub.enrol("A hospital", &key.verifier(), &[seed; 32])
                        .expect("enrolled");
                }
            });
        }
    });
    assert_eq!(first.store().verify_audit().expect("whole"), 40);
    first.refresh().expect("read again");
    let numbers: Vec<u32> = first
        .records()
        .snapshot()
        .hospitals
        .iter()
        .map(|h| h.number)
        .collect();
    assert_eq!(
        numbers,
        (1..=40).collect::<Vec<_>>(),
        "each has a number of its own"
    );
}

#[test]
fn other_bytes_under_a_number_that_is_taken_raise_one_alarm() {
    let Some(nation) = nation() else { return };
    let sender = nation.sender(1);
    assert_eq!(nation.send(sender.frame(1).bytes(), sender.way()), ACCEPTED);
    let mut draft = sender.draft(1);
    draft.put(&layout::UPTIME_H, 0, 100_u16);
    let other = signed(draft, &sender.key);
    for _ in 0..2 {
        let said = nation.send(other.bytes(), sender.way());
        assert_eq!(said, refused(Reason::OtherBytes));
    }
    assert_eq!(
        nation.alarms(),
        [(sender.number, AlarmKind::OtherBytes, Some(1))]
    );
    assert_eq!(
        nation.hub.records().snapshot().frames[0].frame,
        sender.frame(1)
    );
}

#[test]
fn no_flipped_bit_of_a_frame_is_accepted() {
    let Some(nation) = nation() else { return };
    let sender = nation.sender(1);
    let frame = sender.frame(1);
    let end = layout::SIGNATURE.spec().end_bytes();
    let places = (0..end).step_by(13).chain([end - 1, end, FRAME_BYTES - 1]);
    for at in places {
        let mut bytes = *frame.bytes();
        bytes[at] ^= 1;
        let (status, reason) = nation.send(&bytes, Way::Carried);
        assert_eq!(status, Status::Refused, "byte {at}: {reason:?}");
    }
    assert!(nation.hub.records().snapshot().frames.is_empty());
    let kinds = nation.alarms();
    assert_eq!(
        kinds.first(),
        Some(&(sender.number, AlarmKind::Signature, Some(1)))
    );
    assert_eq!(nation.send(frame.bytes(), sender.way()), ACCEPTED);
}

#[test]
fn a_log_that_was_rolled_back_or_forked_is_an_alarm() {
    let Some(nation) = nation() else { return };
    let mut sender = nation.sender(1);
    assert_eq!(nation.send(sender.frame(1).bytes(), sender.way()), ACCEPTED);
    sender.lives(4);

    let mut rolled = sender.draft(2);
    let short: Frontier = sender.log[..3].iter().copied().collect();
    rolled.put(&layout::LOG_SIZE, 0, short.size());
    rolled.put_all(&layout::LOG_ROOT, 0, words(short.root()));
    let rolled = signed(rolled, &sender.key);
    assert_eq!(
        nation.send(rolled.bytes(), sender.way()),
        refused(Reason::Log)
    );

    let honest = sender.frame(3);
    sender.log[1] = leaf_of(b"another");
    assert_eq!(
        nation.send(sender.frame(3).bytes(), sender.way()),
        refused(Reason::Log)
    );

    // The right proof from what was witnessed, under the claim that it begins elsewhere.
    let mut claims = Draft::from(&honest);
    claims.put(&layout::LOG_FROM, 0, 4_u64);
    let claims = signed(claims, &sender.key);
    let said = nation.send(claims.bytes(), sender.way());
    assert_eq!(said, refused(Reason::Log));

    // A log that begins anew claims that nothing was witnessed.
    sender.witnessed = 0;
    assert_eq!(
        nation.send(sender.frame(4).bytes(), sender.way()),
        refused(Reason::Log)
    );
    let forks: Vec<_> = (2..5)
        .map(|at| (sender.number, AlarmKind::Fork, Some(at)))
        .collect();
    assert_eq!(nation.alarms(), forks);
    assert_eq!(nation.hub.records().snapshot().witnessed[0].size, 5);
    assert_eq!(nation.send(honest.bytes(), sender.way()), ACCEPTED);
}

#[test]
fn an_alarm_that_was_closed_is_no_finding_until_it_is_raised_again() {
    let Some(nation) = nation() else { return };
    let mut sender = nation.sender(1);
    assert_eq!(nation.send(sender.frame(1).bytes(), sender.way()), ACCEPTED);
    sender.lives(4);
    sender.witnessed = 0;
    let forked = sender.frame(2);
    let rolls_back = || nation.send(forked.bytes(), sender.way());
    let found = |hub: &Hub| {
        let snapshot = hub.records().snapshot();
        let outlook = Outlook::of(&snapshot, Viewer::Analyst);
        let found = findings(&snapshot, &outlook, Viewer::Analyst);
        found.iter().map(|f| f.kind).collect::<Vec<_>>()
    };
    assert_eq!(rolls_back(), refused(Reason::Log));
    assert_eq!(found(&nation.hub), [FindingKind::Fork]);
    // A hub of before, whose data have no place for what was closed.
    nation.database.spoil(match nation.database.place() {
        Place::File(_) => "PRAGMA user_version = 0",
        Place::Server(_) => "DROP TABLE schema_version",
    });
    nation.database.spoil("DROP TABLE closed_alarms");
    let hub = open(&nation.database);
    assert_eq!(found(&hub), [FindingKind::Fork]);
    hub.close_alarm(1).expect("closed");
    assert_eq!(found(&hub), [], "somebody has looked into it");
    let held = hub.records().snapshot().alarms.clone();
    assert_eq!(held.len(), 1, "it is known all the same");
    assert_eq!((held[0].number, held[0].closed_at_s), (1, Some(NOW_S)));
    assert!(hub.close_alarm(1).is_err(), "it is closed already");
    assert!(hub.close_alarm(9).is_err(), "there is none");

    for _ in 0..2 {
        assert_eq!(rolls_back(), refused(Reason::Log), "the same once more");
    }
    assert_eq!(found(&nation.hub), [FindingKind::Fork]);
    assert!(nation.hub.records().snapshot().alarms[0].is_open());
    let log = nation.hub.store().audit().expect("the log").concat();
    for (line, times) in [
        ("1 by command line", 1 + 1), // it was enrolled here, too
        ("\"close alarm\"", 1),
        ("\"raise alarm\"", 1),
        ("\"raise alarm again\"", 1),
    ] {
        assert_eq!(log.matches(line).count(), times, "{line}: {log}");
    }
    nation.hub.store().verify_audit().expect("whole");
}

#[test]
fn only_the_appliance_itself_is_heard_and_not_while_it_is_suspended() {
    let Some(nation) = nation() else { return };
    let (one, two) = (nation.sender(1), nation.sender(2));
    let unknown = refused(Reason::Unknown);
    let frame = one.frame(1);
    assert_eq!(
        nation.send(frame.bytes(), Way::Connection([77; 32])),
        unknown
    );
    assert_eq!(nation.alarms(), [], "a stranger raises none");
    assert_eq!(nation.send(frame.bytes(), two.way()), unknown);
    let forged = signed(one.draft(1), &two.key);
    assert_eq!(
        nation.send(forged.bytes(), one.way()),
        refused(Reason::Signature)
    );
    let alarms = [
        (two.number, AlarmKind::Unknown, Some(1)),
        (one.number, AlarmKind::Signature, Some(1)),
    ];
    assert_eq!(nation.alarms(), alarms);

    nation.hub.suspend(one.number, true).expect("suspended");
    assert_eq!(nation.send(frame.bytes(), one.way()), unknown);
    assert_eq!(nation.send(frame.bytes(), Way::Carried), unknown);
    nation.hub.suspend(one.number, false).expect("resumed");
    assert_eq!(nation.send(frame.bytes(), one.way()), ACCEPTED);
    assert!(nation.hub.suspend(99, true).is_err());
}

#[test]
fn what_is_no_frame_or_tells_of_the_future_is_refused() {
    let Some(nation) = nation() else { return };
    let sender = nation.sender(1);
    let noise: Vec<u8> = (0..FRAME_BYTES).map(|at| (at * 31 % 251) as u8).collect();
    for bytes in [
        &[][..],
        b"GET / HTTP/1.1",
        &noise,
        &noise[1..],
        &[0; FRAME_BYTES],
    ] {
        let out = refused(Reason::OutOfRange);
        assert_eq!(nation.send(bytes, sender.way()), out);
        assert_eq!(nation.send(bytes, Way::Carried), out);
    }
    for (sequence, week, said) in [
        (1, WEEK + 2, refused(Reason::OutOfRange)),
        (2, WEEK + 1, ACCEPTED),
    ] {
        let mut draft = sender.draft(sequence);
        draft.put(&layout::WEEK, 0, week);
        let frame = signed(draft, &sender.key);
        assert_eq!(nation.send(frame.bytes(), sender.way()), said);
    }
    let out = |sequence| (sender.number, AlarmKind::OutOfRange, sequence);
    assert_eq!(nation.alarms(), [out(None), out(Some(1))]);
}

#[test]
fn a_flood_is_told_to_wait_and_files_are_not() {
    let Some(nation) = nation() else { return };
    let sender = nation.sender(1);
    let frame = sender.frame(1);
    let sent = Sent {
        bytes: frame.bytes(),
        way: sender.way(),
    };
    let flood = vec![sent; FRAMES_PER_HOUR_MAX as usize + 1];
    let replies = nation.hub.ingest(&flood).expect("durable");
    let waits = |reply: &&pericard_frame::Reply| reply.reason() == Reason::Rate;
    assert_eq!(replies.iter().filter(waits).count(), 1);
    assert_eq!(nation.send(frame.bytes(), Way::Carried), KNOWN);
    assert_eq!(nation.alarms(), []);
}

#[test]
fn recalls_go_out_with_every_reply_those_of_its_own_models_first() {
    let Some(nation) = nation() else { return };
    let sender = nation.sender(1);
    for id in 1..=20 {
        let model = Model {
            id,
            name: "chest".into(),
            version: "1".into(),
            digest: [id as u8; 32],
        };
        nation.hub.add_model(&model).expect("added");
        let kind = if id == 7 {
            Kind::Advisory
        } else {
            Kind::Recall
        };
        let warning = Warning {
            kind,
            model: id,
            cause: Cause::Drift,
            text: "Stop.".into(),
            by: None,
        };
        nation.hub.issue(warning).expect("issued");
    }
    let mut draft = sender.draft(1);
    draft.put(&layout::MODEL, 1, 7_u16);
    let frame = signed(draft, &sender.key);
    let sent = Sent {
        bytes: frame.bytes(),
        way: sender.way(),
    };
    let reply = nation.hub.ingest(&[sent]).expect("durable").remove(0);
    let advisories: Vec<_> = reply.advisories().collect();
    assert_eq!(advisories.len(), 16);
    assert_eq!((advisories[0].model, advisories[1].model), (7, 20));
    for advisory in advisories {
        let hub = hub_key().verifier();
        assert!(hub.opens(
            ADVISORY_SIGNED_AS,
            &advisory.signed_bytes(),
            &advisory.signature
        ));
    }
    let asking = |metrics| Asking {
        model: 7,
        metrics,
        threshold_tenth: 5,
        cases_min: 100,
        until_s: NOW_S + 1,
        text: String::new(),
    };
    let nothing = nation.hub.publish(asking(Vec::new()));
    assert!(nothing.is_err(), "asks for nothing");
    let asked = asking(vec![Metric::Sensitivity]);
    let published = nation.hub.publish(asked).expect("published");
    let carried = Sent {
        bytes: frame.bytes(),
        way: Way::Carried,
    };
    let reply = nation.hub.ingest(&[carried]).expect("durable").remove(0);
    let plans: Vec<_> = reply.plans().collect();
    assert_eq!(plans, [published.plan]);
    let (key, plan) = (hub_key().verifier(), plans[0]);
    assert!(key.opens(PLAN_SIGNED_AS, &plan.signed_bytes(), &plan.signature));
    let bad = Model {
        id: 30,
        name: "two words".into(),
        version: "1".into(),
        digest: [0; 32],
    };
    assert!(nation.hub.add_model(&bad).is_err());
    let catalogue = nation.hub.catalogue().expect("signed");
    assert!(catalogue.starts_with(&format!(
        "pericard-catalogue/v1\n1 chest 1 {}\n",
        "01".repeat(32)
    )));
}
