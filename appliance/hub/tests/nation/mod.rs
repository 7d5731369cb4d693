//! A simulated nation: hospitals that count invented patients, draw real noise, keep real budgets and logs, sign their frames
//! and send them to a real hub. Five of them go wrong, each in its own way.
#![allow(dead_code)] // each who includes it looks at another part

use pericard_audit::hash::leaf_of;
use pericard_audit::{Frontier, Hash, SigningKey, proof};
use pericard_egress::{
    Books, CatalogueId, Closing, Evaluation, Identity, Log, Meter, Outcome, Pseudonym,
};
use pericard_egress::{Counter, Review, Rules, Seed, Week};
use pericard_frame::{Draft, FRAME_SIGNED_AS, Frame, layout};
use pericard_hub::records::Model;
use pericard_hub::store::Place;
use pericard_hub::{Asking, Hub, Metric, Sent, Way};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) const HOSPITALS: u32 = 50;
pub(crate) const WEEKS: u16 = 26;
const WEEK_S: u64 = 7 * 86_400;
const FIRST_MONDAY_S: u64 = 4 * 86_400;

/// The models, by number. The third drifts.
pub(crate) const MODELS: [(u16, &str, &str); 3] = [
    (301, "burned-in-text", "1.0.0"),
    (302, "brain-extraction", "2.1.0"),
    (DRIFTING, "chest-triage", "0.9.2"),
];
pub(crate) const DRIFTING: u16 = 303;
/// Weeks, counted from the first, in which something begins.
pub(crate) const DRIFTS_FROM: u16 = 14;
pub(crate) const CAMERA_FROM: u16 = 12;
pub(crate) const TAMPERS_FROM: u16 = 10;
pub(crate) const ROLLED_BACK_AT: u16 = 18;
pub(crate) const SILENT_FROM: u16 = 15;

/// So many labelled cases each: enough that the interval of all is narrow whatever chance makes of them.
const CASES: usize = 800;
/// The first hospitals answer the evaluation plan, in this week; sensitivity is 0.80 there, and specificity 0.88.
pub(crate) const EVALUATING: u32 = 12;
pub(crate) const EVALUATES_AT: u16 = 22;

/// The numbers of those that go wrong.
pub(crate) const BAD_CAMERA: u32 = 17;
pub(crate) const TAMPERING: u32 = 23;
pub(crate) const ROLLED_BACK: u32 = 31;
pub(crate) const SILENT: u32 = 42;

/// Chance that is the same in every run (Vigna's splitmix64).
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn bytes(&mut self) -> [u8; 32] {
        std::array::from_fn(|_| self.next() as u8)
    }
}

/// What is true of a model in a week, whatever was counted of it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Truth {
    pub(crate) week: u16,
    pub(crate) model: u16,
    pub(crate) patients: f64,
    pub(crate) positive: f64,
    pub(crate) agreement: f64,
}

pub(crate) struct Nation {
    pub(crate) hub: Arc<Hub>,
    pub(crate) clock: Arc<AtomicU64>,
    pub(crate) truths: Vec<Truth>,
    /// The number of the first week.
    pub(crate) first_week: u16,
}

struct Hospital {
    number: u32,
    key: SigningKey,
    certificate: [u8; 32],
    meter: Meter,
    books: Books,
    dir: PathBuf,
    log: Vec<Hash>,
    chance: Chance,
    /// Its own case mix, 0 to 1.
    mix: f64,
    /// Patients a week and model.
    size: f64,
}

/// How a model's scores lie in a hospital's week: the share of each tenth.
fn shares(model: u16, mix: f64, week: u16, camera: bool) -> [f64; 10] {
    const BASES: [[f64; 10]; 3] = [
        [0.30, 0.22, 0.14, 0.09, 0.06, 0.05, 0.04, 0.04, 0.03, 0.03],
        [0.04, 0.05, 0.07, 0.09, 0.12, 0.15, 0.17, 0.14, 0.10, 0.07],
        [0.24, 0.20, 0.15, 0.11, 0.08, 0.06, 0.05, 0.04, 0.04, 0.03],
    ];
    const OTHER: [f64; 10] = [0.10; 10];
    const MOVED: [f64; 10] = [0.03, 0.04, 0.05, 0.07, 0.09, 0.12, 0.15, 0.17, 0.16, 0.12];
    const BLIND: [f64; 10] = [0.55, 0.30, 0.10, 0.05, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    let base = BASES[usize::from(model - MODELS[0].0)];
    let drifts = model == DRIFTING && week >= DRIFTS_FROM;
    std::array::from_fn(|bin| {
        let usual = (1.0 - mix / 4.0) * base[bin] + mix / 4.0 * OTHER[bin];
        let moved = if drifts {
            0.7 * usual + 0.3 * MOVED[bin]
        } else {
            usual
        };
        if camera {
            0.3 * moved + 0.7 * BLIND[bin]
        } else {
            moved
        }
    })
}

fn agreement(model: u16, week: u16, camera: bool) -> f64 {
    match (model == DRIFTING && week >= DRIFTS_FROM, camera) {
        (_, true) => 0.55,
        (true, false) => 0.78,
        (false, false) => 0.92,
    }
}

fn drawn(shares: &[f64; 10], at: f64) -> u8 {
    let mut sum = 0.0;
    let found = shares.iter().position(|share| {
        sum += share;
        at < sum
    });
    found.unwrap_or(9) as u8
}

/// Lets the nation live for its weeks, with the hub's data in this place. `now_s` is when it is looked at.
pub(crate) fn live<'p>(
    place: impl Into<Place<'p>>,
    key: impl Into<Arc<SigningKey>>,
    now_s: u64,
) -> Nation {
    let now_week = ((now_s - FIRST_MONDAY_S) / WEEK_S) as u16;
    let first_week = now_week - 1 - WEEKS; // the last one was held for a week
    let begin_s = |week: u16| FIRST_MONDAY_S + u64::from(week) * WEEK_S;
    let clock = Arc::new(AtomicU64::new(begin_s(first_week)));
    let told = Arc::clone(&clock);
    let hub = Hub::open(place, key, Arc::new(move || told.load(Ordering::SeqCst)));
    let hub = Arc::new(hub.expect("a hub"));
    for (id, name, version) in MODELS {
        let digest = [id as u8; 32];
        let (name, version) = (name.to_owned(), version.to_owned());
        let model = Model {
            id,
            name,
            version,
            digest,
        };
        hub.add_model(&model).expect("added");
    }
    let asking = Asking {
        model: MODELS[0].0,
        metrics: Metric::ALL.to_vec(),
        threshold_tenth: 5,
        cases_min: 200,
        until_s: now_s + WEEK_S,
        text: "How it does on labelled cases.".into(),
    };
    assert_eq!(hub.publish(asking).expect("published").plan.number, 1);
    // Books sync each step, which a simulation on a disk would wait for.
    let memory = Path::new("/dev/shm");
    let books = match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    let books = books.expect("a folder");
    let mut hospitals: Vec<Hospital> = (1..=HOSPITALS)
        .map(|n| Hospital::enrolled(&hub, books.path(), n))
        .collect();
    let mut truths = Vec::new();
    for week in 0..WEEKS {
        truths.extend(MODELS.map(|(model, ..)| truth(&hospitals, model, (week, first_week))));
        clock.store(begin_s(first_week + week + 2) + 3600, Ordering::SeqCst);
        let mut sent: Vec<(Vec<u8>, Way)> = Vec::new();
        for hospital in &mut hospitals {
            sent.extend(hospital.week(week, first_week + week));
        }
        let sent: Vec<Sent<'_>> = sent
            .iter()
            .map(|(bytes, way)| Sent { bytes, way: *way })
            .collect();
        hub.ingest(&sent).expect("durable");
    }
    clock.store(now_s, Ordering::SeqCst);
    hub.refresh().expect("read again");
    Nation {
        hub,
        clock,
        truths,
        first_week,
    }
}

fn truth(hospitals: &[Hospital], model: u16, (week, first): (u16, u16)) -> Truth {
    let mut truth = Truth {
        week: first + week,
        model,
        ..Truth::default()
    };
    for hospital in hospitals
        .iter()
        .filter(|h| h.is_heard(week) && h.runs(model))
    {
        let camera = hospital.is_blind(week);
        let patients = hospital.patients(model, week) as f64;
        let shares = shares(model, hospital.mix, week, camera);
        truth.patients += patients;
        truth.positive += patients * shares[5..].iter().sum::<f64>();
        truth.agreement += patients * agreement(model, week, camera);
    }
    truth.positive /= truth.patients;
    truth.agreement /= truth.patients;
    truth
}

impl Hospital {
    fn enrolled(hub: &Hub, dir: &Path, seed: u32) -> Self {
        let mut chance = Chance(u64::from(seed) * 7919);
        let key = SigningKey::from_seed("appliance", &chance.bytes()).expect("a key");
        let certificate = chance.bytes();
        let name = format!("Hospital {seed:02}");
        let number = hub
            .enrol(&name, &key.verifier(), &certificate)
            .expect("enrolled");
        let dir = dir.join(number.to_string());
        let identity = Identity {
            appliance: number,
            release: [0, 1, 0],
        };
        fs::create_dir_all(&dir).expect("a folder");
        let (mix, size) = (chance.unit(), 280.0 + 500.0 * chance.unit());
        Self {
            number,
            key,
            certificate,
            meter: Meter::open(dir.join("counters"), identity).expect("a meter"),
            books: Books::open(dir.join("egress"), Rules::default()).expect("books"),
            dir,
            log: Vec::new(),
            chance,
            mix,
            size,
        }
    }

    /// The second model is in every other hospital only.
    fn runs(&self, model: u16) -> bool {
        model != MODELS[1].0 || self.number.is_multiple_of(2)
    }

    fn is_blind(&self, week: u16) -> bool {
        self.number == BAD_CAMERA && week >= CAMERA_FROM
    }

    /// Whether its frame of this week is one that the hub takes.
    fn is_heard(&self, week: u16) -> bool {
        let lost = self.number == ROLLED_BACK && week >= ROLLED_BACK_AT;
        !(lost || self.number == SILENT && week >= SILENT_FROM)
    }

    fn patients(&self, model: u16, week: u16) -> usize {
        let swing = 1.0 + 0.15 * (f64::from(week) * 0.7 + f64::from(self.number)).sin();
        let share = if model == MODELS[1].0 { 0.8 } else { 1.0 };
        (self.size * swing * share) as usize
    }

    /// What it sends of a week.
    fn week(&mut self, week: u16, number: u16) -> Vec<(Vec<u8>, Way)> {
        if self.number == SILENT && week >= SILENT_FROM {
            return Vec::new();
        }
        let inferences = self.infer(week);
        let log = self.log(week);
        let seed = Seed(self.chance.bytes());
        let closing = Closing {
            week: number,
            inferences,
            log,
            evaluations: self.measured(week),
            seed,
        };
        let entry = self.books.close(closing, &self.meter).expect("closed");
        let path = self
            .dir
            .join(format!("egress/frames/{:08}.frame", entry.sequence));
        let bytes = fs::read(path).expect("a frame");
        let frame = self.signed(&Frame::open(&bytes).expect("a frame"));
        let way = Way::Connection(self.certificate);
        let mut sent = Vec::new();
        if self.number == TAMPERING && week >= TAMPERS_FROM {
            // Fewer inferences than were signed for; what was told of an earlier week, once more and better.
            let mut changed = Draft::from(&frame);
            changed.put(&layout::MODEL_DONE, 1, 9_u32);
            sent.push((changed.seal().expect("in range").bytes().to_vec(), way));
            let mut again = Draft::from(&frame);
            again.put(&layout::SEQUENCE, 0, 3_u32);
            again.put(&layout::DRIFT, 1, 1_u8);
            let again = self.signed(&again.seal().expect("in range"));
            sent.push((again.bytes().to_vec(), way));
        }
        sent.push((frame.bytes().to_vec(), way));
        sent
    }

    fn infer(&mut self, week: u16) -> Week {
        let ids = MODELS.map(|(id, ..)| CatalogueId(id));
        let ran: Vec<CatalogueId> = ids.into_iter().filter(|id| self.runs(id.0)).collect();
        let mut told = Week::of(&ran);
        let camera = self.is_blind(week);
        for (at, id) in (0..).zip(&ran) {
            let shares = shares(id.0, self.mix, week, camera);
            let right = agreement(id.0, week, camera);
            for patient in 0..self.patients(id.0, week) as u64 {
                let tenth = drawn(&shares, self.chance.unit());
                let review = match (self.chance.unit(), self.chance.unit()) {
                    (0.4.., _) => Review::None,
                    (_, at) if at < right => Review::Agreed,
                    _ => Review::Disagreed,
                };
                told.count(Pseudonym(at << 32 | patient), *id, tenth, review);
                let took = Duration::from_millis(200 + (self.chance.unit() * 700.0) as u64);
                self.meter.inference(*id, Outcome::Done, took);
                self.meter.count(Counter::JobsDone);
            }
            let failed = if camera {
                60
            } else {
                (self.chance.unit() * 9.0) as u32
            };
            for _ in 0..failed {
                self.meter
                    .inference(*id, Outcome::Failed, Duration::from_millis(50));
            }
            self.meter.count_by(Counter::JobsUndecodable, failed);
        }
        self.meter.ran(WEEK_S, 3, 10);
        told
    }

    /// What it measured of the plan, in the week in which it answers; labelled cases of its own, also invented.
    fn measured(&mut self, week: u16) -> Vec<Evaluation> {
        const FOUND: [f64; 10] = [0.02, 0.03, 0.04, 0.05, 0.06, 0.10, 0.15, 0.20, 0.20, 0.15];
        const NOT: [f64; 10] = [0.30, 0.25, 0.15, 0.10, 0.08, 0.05, 0.03, 0.02, 0.01, 0.01];
        if self.number > EVALUATING || week != EVALUATES_AT {
            return Vec::new();
        }
        // Cases that were labelled for this: other patients than the weeks', and so a chance of their own.
        let mut chance = Chance(u64::from(self.number) * 104_729);
        let mut outcome = Evaluation::of(1, 200);
        for _ in 0..CASES {
            let has_finding = chance.unit() < 0.4;
            let shares = if has_finding { &FOUND } else { &NOT };
            outcome.count(has_finding, drawn(shares, chance.unit()));
        }
        vec![outcome]
    }

    /// Its audit log after the week, and the proof that it continues.
    fn log(&mut self, week: u16) -> Log {
        if self.number == ROLLED_BACK && week == ROLLED_BACK_AT {
            self.log.truncate(self.log.len() / 2);
        }
        let from = self.books.log_from(&self.meter);
        let lines = 40 + (self.chance.unit() * 60.0) as u64;
        let new: Vec<Hash> = (0..lines).map(|_| leaf_of(&self.chance.bytes())).collect();
        self.log.extend(new);
        let frontier: Frontier = self.log.iter().copied().collect();
        let proof = proof::consistency(&self.log, from).unwrap_or_default();
        Log {
            size: frontier.size(),
            root: words(frontier.root()),
            proof: proof.into_iter().map(words).collect(),
        }
    }

    fn signed(&self, frame: &Frame) -> Frame {
        let signature = self.key.seal(FRAME_SIGNED_AS, frame.signed_bytes());
        frame.with_signature(signature)
    }
}

fn words(hash: Hash) -> [u64; 4] {
    let (words, _) = hash.as_bytes().as_chunks::<8>();
    std::array::from_fn(|at| u64::from_be_bytes(words[at]))
}
