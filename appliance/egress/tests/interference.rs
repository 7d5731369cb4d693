//! Two runs with the same shapes and other patients give the same bytes; and the comparison that says so finds leaks that
//! are put in on purpose.

use flate2::{Compression, write::GzEncoder};
use pericard_egress::{
    Books, CatalogueId, Closing, Counter, Log, Meter, Outcome, Pseudonym, Review, Rules, Seed,
    Stage, Week,
};
use pericard_frame::layout::{self, LAYOUT};
use pericard_frame::{FRAME_BYTES, Frame};
use sha2::{Digest as _, Sha256};
use std::io::Write as _;
use std::time::Duration;

const MODELS: [CatalogueId; 3] = [CatalogueId(3), CatalogueId(300), CatalogueId(7)];
const WEEKS: u16 = 3;
/// How far apart slots are. In each of them the gate sends one frame, in the order of their numbers; at which moments it
/// calls is tested in its room, and for whole lives in `tests/privacy`.
const SLOT_S: u64 = 3600;

/// What somebody outside sees of one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    bytes: Vec<u8>,
    /// The slot that its number gives it, seconds after the first.
    slot_s: u64,
}

/// One hospital's patients: what must not show.
struct Patients {
    seed: u64,
}

impl Patients {
    fn name(&self, patient: u64) -> String {
        let hash = Sha256::digest([self.seed.to_le_bytes(), patient.to_le_bytes()].concat());
        format!("{}^{}", hex::encode(&hash[..6]), hex::encode(&hash[6..12]))
    }

    fn pseudonym(&self, patient: u64, week: u16) -> Pseudonym {
        let text = format!("key of the week {week} {}", self.name(patient));
        let hash = Sha256::digest(text);
        Pseudonym(u64::from_le_bytes(std::array::from_fn(|at| hash[at])))
    }
}

/// What a hospital did, apart from whom it did it for.
fn shape(pair: u64, week: u16, job: u64) -> (u64, CatalogueId, u8, Review, Duration) {
    let hash = Sha256::digest([pair, u64::from(week), job].map(u64::to_le_bytes).concat());
    let patient = u64::from(hash[0]) % 200;
    let model = MODELS[usize::from(hash[1]) % MODELS.len()];
    let review = [Review::None, Review::Agreed, Review::Disagreed][usize::from(hash[2]) % 3];
    let took = Duration::from_millis(u64::from(hash[3]) * 10);
    (patient, model, hash[4] % 10, review, took)
}

/// Everything that leaves in some weeks.
fn run(pair: u64, patients: &Patients) -> Vec<Seen> {
    let dir = tempfile::tempdir().expect("a folder");
    let meter = Meter::in_memory();
    let mut books = Books::open(dir.path().into(), Rules::default()).expect("opened");
    let mut seen = Vec::new();
    for week in 2950..2950 + WEEKS {
        let mut inferences = Week::of(&MODELS);
        for job in 0..400 {
            let (patient, model, tenth, review, took) = shape(pair, week, job);
            inferences.count(patients.pseudonym(patient, week), model, tenth, review);
            meter.inference(model, Outcome::Done, took);
            meter.observe(Stage::Admit, took);
            meter.count(Counter::JobsDone);
        }
        let log = Log {
            size: u64::from(week),
            root: [pair; 4], // of salted lines: a hash that says nothing, and the same keys give the same
            proof: vec![[7; 4]; 3],
        };
        let seed = Seed([pair as u8; 32]);
        let closing = Closing {
            week,
            inferences,
            log,
            evaluations: Vec::new(),
            seed,
        };
        let entry = books.close(closing, &meter).expect("closed");
        let path = dir
            .path()
            .join(format!("frames/{:08}.frame", entry.sequence));
        let bytes = std::fs::read(path).expect("a frame");
        seen.push(Seen {
            bytes,
            slot_s: u64::from(entry.sequence) * SLOT_S,
        });
    }
    seen
}

/// What the suite says of two runs and of each frame in them.
fn is_caught(one: &[Seen], other: &[Seen]) -> bool {
    let is_frame = |seen: &Seen| Frame::open(&seen.bytes).is_ok();
    one != other || !one.iter().chain(other).all(is_frame)
}

#[test]
fn other_patients_give_the_same_bytes_of_the_same_length_in_the_same_slot() {
    let long = std::env::var_os("PERICARD_LONG").is_some();
    for pair in 0..if long { 200 } else { 20 } {
        let one = run(pair, &Patients { seed: 2 * pair });
        let other = run(pair, &Patients { seed: 2 * pair + 1 });
        assert!(!is_caught(&one, &other), "pair {pair}");
        assert!(one.iter().all(|seen| seen.bytes.len() == FRAME_BYTES));
    }
    let (one, other) = (run(0, &Patients { seed: 1 }), run(1, &Patients { seed: 1 }));
    assert_ne!(one, other, "another hospital's work is told of differently");
}

/// Writes a name in another way.
type Disguise = fn(&str) -> Vec<u8>;
/// Puts a disguised name into what is seen outside.
type Leak = fn(&mut Seen, &[u8]);

/// Ways to write a name so that nobody who looks for it finds it.
fn disguises() -> Vec<(&'static str, Disguise)> {
    vec![
        ("plain", |name| name.as_bytes().to_vec()),
        ("base64", |name| {
            // Of hexadecimal digits, so as to need no crate: six bits for each of another alphabet.
            const ALPHABET: &[u8] =
                b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            let bits: Vec<u8> = name
                .bytes()
                .flat_map(|b| (0..8).rev().map(move |at| b >> at & 1))
                .collect();
            bits.chunks(6)
                .map(|six| ALPHABET[six.iter().fold(0, |v, b| v << 1 | usize::from(*b))])
                .collect()
        }),
        ("gzip", |name| {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
            gzip.write_all(name.as_bytes()).expect("into memory");
            gzip.finish().expect("into memory")
        }),
        ("xor", |name| name.bytes().map(|byte| byte ^ 0x5A).collect()),
        ("reversed", |name| name.bytes().rev().collect()),
        ("hash", |name| Sha256::digest(name).to_vec()),
        ("one bit", |name| vec![Sha256::digest(name)[0] & 1]),
    ]
}

/// Places where a leak can be put, each given the frame and the disguised name.
fn places() -> Vec<(&'static str, Leak)> {
    fn over(seen: &mut Seen, begin: usize, secret: &[u8]) {
        for (byte, secret) in seen.bytes[begin..].iter_mut().zip(secret) {
            *byte ^= secret;
        }
    }
    vec![
        ("padding", |seen, secret| {
            over(seen, FRAME_BYTES - Frame::padding_bytes() + 5, secret)
        }),
        ("counters", |seen, secret| {
            over(seen, layout::COUNTERS.spec().offset_bytes, secret)
        }),
        ("a counter's last bit", |seen, secret| {
            let bits = secret
                .iter()
                .flat_map(|byte| (0..8).map(move |at| byte >> at & 1));
            let spec = layout::COUNTERS.spec();
            for (at, bit) in bits.enumerate().map(|(at, bit)| (at % spec.count, bit)) {
                seen.bytes[spec.offset_bytes + at * spec.width_bytes] ^= bit;
            }
        }),
        ("log root", |seen, secret| {
            over(seen, layout::LOG_ROOT.spec().offset_bytes, secret)
        }),
        ("noise", |seen, secret| {
            over(seen, layout::HIST.spec().offset_bytes, secret)
        }),
        ("an unused model", |seen, secret| {
            let unused = layout::HIST.spec().offset_bytes + 2 * 5 * layout::CELLS;
            over(seen, unused, secret);
        }),
        ("an unused proof", |seen, secret| {
            over(seen, layout::PROOF.spec().offset_bytes + 1000, secret)
        }),
        ("length", |seen, secret| {
            seen.bytes
                .extend(secret.iter().take(1 + usize::from(secret[0] & 1)))
        }),
        ("timing", |seen, secret| {
            seen.slot_s += secret.iter().map(|byte| u64::from(*byte)).sum::<u64>()
        }),
    ]
}

#[test]
fn every_leak_that_is_put_in_is_caught() {
    // Two patients whose disguises differ in every way: for one bit that takes a look at the bit.
    let names = |seed| Patients { seed }.name(1);
    let bit = |name: &str| Sha256::digest(name)[0] & 1;
    let first = names(1);
    let second = (2..)
        .map(names)
        .find(|name| bit(name) != bit(&first))
        .expect("half of all");
    let clean = run(0, &Patients { seed: 1 });
    assert!(!is_caught(&clean, &clean));
    let (mut planted, mut missed) = (0, Vec::new());
    for (disguise, disguised) in disguises() {
        for (place, put) in places() {
            let leak = |name: &str| {
                let mut seen = clean.clone();
                seen.iter_mut().for_each(|seen| put(seen, &disguised(name)));
                seen
            };
            planted += 1;
            if !is_caught(&leak(&first), &leak(&second)) {
                missed.push((disguise, place));
            }
        }
    }
    assert!(planted >= 40, "{planted}");
    assert_eq!(missed, [], "of {planted}");
    // Without the other run, ranges alone miss most: so the pairs carry the proof, not the look at one frame.
    let mut alone = clean.clone();
    let spec = LAYOUT
        .iter()
        .find(|spec| spec.name == "log_root")
        .expect("a field");
    alone[0].bytes[spec.offset_bytes] ^= 1;
    assert!(!is_caught(&alone, &alone));
}
