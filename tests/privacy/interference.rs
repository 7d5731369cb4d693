//! Pairs of weeks of the whole appliance: the same work, for other patients. Names, ids, texts, file names, prompts and
//! pixels differ; what leaves does not, to the byte, in no length and at no moment.
//!
//! Each pair has its own work, its own two hospitals' patients, and noise and a week's key of its own. A start takes longer
//! than a week, so that a few pairs share each, one after the other: what the two lives told of before differs too. One pair
//! has as many patients as a hospital, so that its frame tells of drift, of scores, of an evaluation that the hub asked for,
//! and of how long things took. These times are the machine's, which no test owns: they are told in both lives, and everything
//! beside them is compared.

use crate::life::{Begin, Life};
use crate::patients::{Image, Patient, Patients, drawn};
use crate::support::{cache, files_in, free_port, needed, program};
use crate::times;
use crate::wire::{FOUNDED_S, Founded, SLOT_S, Seen};
use pericard_egress::{
    Books, CatalogueId, Closing, Log, Meter, Pseudonym, Review, Rules, Seed, Week,
};
use pericard_frame::plan::Metric;
use pericard_frame::{Draft, Frame, Plan, ToHub, layout};
use pericard_hub::records::Model;
use pericard_store::week::{FIRST_MONDAY_MS, Inference, WEEK_MS};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The catalogue's number of the model.
const MODEL: u16 = 300;
/// Patients of whom a week's images are.
const PATIENTS: u64 = 5;
/// Patients of the week that has many: drift and durations are told of 200 and more.
const MANY: u64 = 205;
/// Patients of the week before it: too few to be told of by themselves, and with those of the next enough, whatever the noise.
const FEW: u64 = 130;
/// So many numbers of studies are a hospital's, and so many of them a pair's.
const OF_A_HOSPITAL: u64 = 1_000_000;
const OF_A_PAIR: u64 = 1_000;
/// So many pairs share a start.
const PAIRS_A_START: u16 = 10;
/// So many starts are lived through side by side: they wait most of their time.
const STARTS_AT_ONCE: usize = 3;
/// So many weeks were told of before the week of many: the reference that drift is judged by, and one of few.
const WEEKS_BEFORE: u16 = 5;

/// All that somebody outside sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Every frame, in its order.
    pub(crate) frames: Vec<Vec<u8>>,
    /// Every slot in which one was sent.
    pub(crate) slots: Vec<Seen>,
}

/// What is wrong with two outcomes that should be one: the first difference, or a frame that is none.
pub(crate) fn differs(one: &Outcome, other: &Outcome) -> Option<String> {
    let broken = [one, other].into_iter().flat_map(|outcome| &outcome.frames);
    for (at, frame) in broken.enumerate() {
        if let Err(fault) = Frame::open(frame) {
            return Some(format!("frame {at}: {fault}"));
        }
    }
    if one.frames.len() != other.frames.len() || one.slots.len() != other.slots.len() {
        return Some("the numbers of frames or slots".to_owned());
    }
    let mut frames = one.frames.iter().zip(&other.frames).enumerate();
    if let Some((at, (one, other))) = frames.find(|(_, (one, other))| one != other) {
        return Some(format!("frame {at}: {:?}", between(one, other)));
    }
    let mut slots = one.slots.iter().zip(&other.slots).enumerate();
    let slot = slots.find(|(_, (one, other))| one != other);
    slot.map(|(at, (one, other))| format!("slot {at}: {one:?} and {other:?}"))
}

/// Which numbers differ.
fn between(one: &[u8], other: &[u8]) -> Vec<String> {
    let (Ok(one), Ok(other)) = (Frame::open(one), Frame::open(other)) else {
        return vec!["no frame".to_owned()];
    };
    let pairs = one.lines().zip(other.lines());
    pairs
        .filter(|(one, other)| one != other)
        .map(|(one, other)| {
            format!(
                "{}[{}]: {} and {}",
                one.spec.name, one.at, one.value, other.value
            )
        })
        .collect()
}

/// A pair of weeks. What the two share and what they do not grows from its number.
#[derive(Debug, Clone, Copy)]
struct Pair {
    number: u16,
}

impl Pair {
    /// The patients of its one hospital, or of its other.
    fn patients(self, side: u64) -> Patients {
        let hospital = 2 * u64::from(self.number) + side;
        Patients { hospital }
    }

    fn study(self, side: u64, at: u64) -> u64 {
        let hospital = self.patients(side).hospital;
        hospital * OF_A_HOSPITAL + u64::from(self.number) * OF_A_PAIR + at
    }
}

/// Pairs that share a start of the appliance.
#[derive(Debug)]
struct Start {
    pairs: Vec<Pair>,
    has_many: bool,
}

impl Start {
    /// Those that so many pairs need, the one with many patients among them.
    fn of(pairs: u16) -> Vec<Self> {
        let many = Pair { number: 0 };
        let all: Vec<_> = (1..pairs).map(|number| Pair { number }).collect();
        let usual = all.chunks(PAIRS_A_START.into()).map(|pairs| Self {
            pairs: pairs.to_vec(),
            has_many: false,
        });
        let has_many = Self {
            pairs: vec![many],
            has_many: true,
        };
        [has_many].into_iter().chain(usual).collect()
    }

    /// How many frames were told of before.
    fn before(&self) -> u16 {
        if self.has_many { WEEKS_BEFORE } else { 0 }
    }
}

/// What is done in a week, apart from whom it is done for.
struct Shape {
    studies: Vec<(u64, u64, bool)>,
    draw: [u8; 32],
}

impl Shape {
    fn of(pair: Pair) -> Self {
        let draw = drawn(&[pair.number.into()]);
        let studies = 1 + u64::from(draw[0] % 3);
        let study = |at: u64| {
            let byte = draw[1 + at as usize];
            (
                u64::from(byte) % PATIENTS,
                1 + u64::from(byte >> 4) % 2,
                byte & 8 > 0,
            )
        };
        Self {
            studies: (0..studies).map(study).collect(),
            draw,
        }
    }

    fn chance(&self, at: usize) -> u8 {
        self.draw[at]
    }
}

/// Does a week's work.
fn work(life: &Life, pair: Pair, side: u64) {
    let shape = Shape::of(pair);
    let patient = |number: u64| pair.patients(side).patient(number);
    let mut studies = Vec::new();
    for (at, (number, images, has_text)) in shape.studies.iter().enumerate() {
        let patient = patient(*number);
        let study = pair.study(side, at as u64);
        let image = |image| Image {
            patient: &patient,
            study,
            image,
            has_text: *has_text,
        };
        let images: Vec<_> = (1..=*images).map(image).collect();
        studies.push(images[0].study_uid());
        life.store(&images);
    }
    let someone = patient(0);
    knock(life, &shape, &someone);
    life.settle();
    for (at, study) in studies.iter().enumerate() {
        let verdict = ["agreed", "disagreed"].get(usize::from(shape.chance(10 + at) % 3));
        if let Some(verdict) = verdict {
            let job = life.inference_of(study);
            let body = format!("{{\"job\": {job}, \"verdict\": \"{verdict}\"}}");
            let path = format!("/api/v1/studies/{study}/reviews");
            assert_eq!(life.post(&path, "application/json", body.as_bytes()), 200);
        }
    }
}

/// What the hub asks the hospital of many patients to measure.
fn evaluation_plan(model: &Model) -> Plan {
    let (words, _) = model.digest.as_chunks::<8>();
    Plan {
        number: 12,
        model: model.id,
        model_digest: std::array::from_fn(|at| u64::from_be_bytes(words[at])),
        metrics: Metric::Sensitivity.bit() | Metric::AreaUnderCurve.bit(),
        threshold_tenth: 5,
        cases_min: 50,
        issued_at_s: FOUNDED_S,
        until_s: FOUNDED_S + 400 * 86_400,
        signature: [0; 64],
    }
}

/// Does the week's work of the pair with many patients: an image of each, and an evaluation on all of them.
fn work_for_many(life: &Life, pair: Pair, side: u64, plan: &Plan) {
    let everybody: Vec<_> = (0..MANY)
        .map(|number| pair.patients(side).patient(number))
        .collect();
    let images = (0..).zip(&everybody).map(|(at, patient)| Image {
        patient,
        study: pair.study(side, at),
        image: 1,
        has_text: at.is_multiple_of(3),
    });
    let images: Vec<_> = images.collect();
    life.store(&images);
    life.settle();
    // An officer is wrong here and there: some are counted where the model finds nothing, and the other way round.
    let label = |(at, image): (usize, &Image<'_>)| {
        let is_wrong = at.is_multiple_of(10);
        (image.study_uid(), image.has_text != is_wrong)
    };
    let labels: Vec<_> = images.iter().enumerate().map(label).collect();
    life.evaluates(plan, &labels);
}

/// Tells of the weeks before, all but the last with as many patients, half of them with the highest score.
fn tell_of_weeks_before(spool: &Path) {
    std::fs::create_dir_all(spool).expect("made");
    let mut books = Books::open(spool.to_owned(), Rules::default()).expect("books");
    let ended = first_week() - 1;
    for week in ended - WEEKS_BEFORE..ended {
        let mut inferences = Week::of(&[CatalogueId(MODEL)]);
        let patients = if week + 1 < ended { MANY } else { FEW };
        for patient in 0..patients {
            let tenth = if patient.is_multiple_of(2) { 9 } else { 0 };
            let (who, model) = (Pseudonym(patient), CatalogueId(MODEL));
            inferences.count(who, model, tenth, Review::None);
        }
        let closing = Closing {
            week,
            inferences,
            log: Log::default(),
            evaluations: Vec::new(),
            seed: Seed(drawn(&[week.into()])),
        };
        books.close(closing, &Meter::in_memory()).expect("closed");
    }
}

/// What else comes to the doors: questions, things that are refused, and a chat.
fn knock(life: &Life, shape: &Shape, someone: &Patient) {
    let Patient {
        name, id, digits, ..
    } = someone;
    let token = life.token();
    if shape.chance(20) & 1 == 1 {
        let path = format!("/dicomweb/studies?PatientID={id}");
        assert!((200..300).contains(&life.curl(&[], &path, token)));
    }
    if shape.chance(21) & 1 == 1 {
        assert_eq!(
            life.curl(&[], "/dicomweb/studies", &format!("prc_{name}")),
            401
        );
    }
    if shape.chance(22) & 1 == 1 {
        let header = format!("X-Patient: {name}");
        assert_eq!(
            life.curl(&["-H", &header], &format!("/patients/{id}"), token),
            404
        );
    }
    if shape.chance(23) & 1 == 1 {
        let bad = format!("{name} is no DICOM file");
        let status = life.post("/api/v1/studies", "application/dicom", bad.as_bytes());
        assert!((400..500).contains(&status), "{status}");
    }
    if shape.chance(24) & 3 == 3 {
        // As many digits, as many tokens; and one is generated, whatever it is.
        let ask = format!(
            "{{\"model\": \"smollm2-135m-instruct\", \"max_tokens\": 1, \"temperature\": 0, \
             \"messages\": [{{\"role\": \"user\", \"content\": \"Patient {digits}?\"}}]}}"
        );
        assert_eq!(
            life.post("/v1/chat/completions", "application/json", ask.as_bytes()),
            200
        );
    }
}

/// A PACS that takes everything.
struct Pacs(Child, u16);

impl Pacs {
    fn open(dir: &Path) -> Option<Self> {
        let port = free_port();
        let mut command = Command::new(program("storescp")?);
        command
            .args(["-aet", "PACS", "--ignore", &port.to_string()])
            .current_dir(dir);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Some(Self(child.expect("storescp"), port))
    }
}

impl Drop for Pacs {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A life of a week for each pair, and all that was seen of it.
struct Lived {
    outcome: Outcome,
    inferences: Vec<Inference>,
    texts: BTreeSet<String>,
}

fn live(founded: &Founded, start: &Start, side: u64, plan: &Plan) -> Option<Lived> {
    let dir = tempfile::tempdir().expect("a folder");
    founded.hospital(dir.path());
    if start.has_many {
        tell_of_weeks_before(&dir.path().join("data/egress"));
    }
    let pacs = Pacs::open(dir.path())?;
    let begin = Begin {
        dir: dir.path(),
        catalogue_key: &founded.key.to_string(),
        pacs: Some(([127, 0, 0, 1], pacs.1).into()),
        modality: "US",
    };
    let models = ["burned-in-text", "smollm2-135m-instruct"];
    let life = Life::begin(&begin, &models[..if start.has_many { 1 } else { 2 }])?;
    let (mut frames, mut inferences) = (Vec::new(), Vec::new());
    let (mut week, mut sequence) = (first_week(), u32::from(start.before()) + 1);
    frames.push(life.begin_week(week, sequence));
    for pair in &start.pairs {
        life.draws_from(pair.number.into());
        if start.has_many {
            work_for_many(&life, *pair, side, plan);
        } else {
            work(&life, *pair, side);
        }
        inferences.extend(life.inferences(week));
        (week, sequence) = (week + 1, sequence + 1);
        frames.push(life.begin_week(week, sequence));
    }
    let texts = life.texts();
    drop(life);
    // One gate is busier than the other: that moves nothing.
    let busy = Duration::from_millis(if side == 1 { 310 } else { 7_900 });
    let now_ms = FIRST_MONDAY_MS + i64::from(week) * WEEK_MS;
    let slots = founded.sends(dir.path(), now_ms as u64 / 1000, busy);
    let folder = files_in(&dir.path().join("data/egress/frames"));
    assert_eq!(
        folder.len(),
        frames.len() + usize::from(start.before()),
        "the frames that lie there are those that were seen"
    );
    Some(Lived {
        outcome: Outcome { frames, slots },
        inferences,
        texts,
    })
}

fn first_week() -> u16 {
    let weeks = (FOUNDED_S as i64 * 1000 - FIRST_MONDAY_MS) / WEEK_MS;
    u16::try_from(weeks).expect("a week")
}

#[test]
fn other_patients_give_the_same_bytes_lengths_and_moments() {
    let pairs = times(20, 200);
    let package = cache().join("packages/burned-in-text");
    if needed(package.clone()).is_none() {
        return;
    }
    let manifest = std::fs::read(package.join("pericard-model.toml")).expect("a manifest");
    let model = Model {
        id: MODEL,
        name: "burned-in-text".into(),
        version: "1.0.0".into(),
        digest: <sha2::Sha256 as sha2::Digest>::digest(manifest).into(),
    };
    let (starts, mut compared) = (Start::of(pairs), 0);
    let mut told = Vec::new();
    for starts in starts.chunks(STARTS_AT_ONCE) {
        for (start, lives) in starts.iter().zip(lives_of(starts, &model)) {
            let [Some(one), Some(other)] = lives else {
                return;
            };
            assert_pairs(start, &one, &other);
            compared += start.pairs.len();
            told.extend(one.outcome.frames);
        }
    }
    assert_eq!(compared, usize::from(pairs));
    assert_told(&told);
}

/// Both lives of each of these starts, side by side.
fn lives_of(starts: &[Start], model: &Model) -> Vec<[Option<Lived>; 2]> {
    let founded: Vec<_> = starts.iter().map(|_| Founded::with(model)).collect();
    let plan = &evaluation_plan(model);
    std::thread::scope(|scope| {
        let begun: Vec<_> = starts
            .iter()
            .zip(&founded)
            .map(|(start, founded)| {
                [1, 2].map(|side| scope.spawn(move || live(founded, start, side, plan)))
            })
            .collect();
        let ended = begun
            .into_iter()
            .map(|lives| lives.map(|life| life.join().expect("lived")));
        ended.collect()
    })
}

/// The two lives of a start show the same, week by week.
fn assert_pairs(start: &Start, one: &Lived, other: &Lived) {
    assert_same_work_for_others(one, other);
    let weeks = start.pairs.len() + 1;
    for lived in [one, other] {
        assert_eq!(lived.outcome.frames.len(), weeks);
        assert_eq!(lived.outcome.slots.len(), weeks, "each frame was sent");
        let different: BTreeSet<_> = lived.outcome.frames.iter().collect();
        assert_eq!(different.len(), weeks, "each of another week's work");
        for two in lived.outcome.slots.windows(2) {
            assert_eq!(two[1].at_ms - two[0].at_ms, SLOT_S * 1000, "one a slot");
        }
    }
    let (one, other) = if start.has_many {
        (timeless(&one.outcome), timeless(&other.outcome))
    } else {
        (one.outcome.clone(), other.outcome.clone())
    };
    assert_eq!(differs(&one, &other), None, "{start:?}");
}

/// What is seen, without how long things took. That it is told in the one life as in the other is looked at here.
fn timeless(outcome: &Outcome) -> Outcome {
    let mut timeless = outcome.clone();
    let mut durations = 0;
    for bytes in &mut timeless.frames {
        let frame = Frame::open(bytes).expect("a frame");
        let mut draft = Draft::<ToHub>::from(&frame);
        for field in [
            &layout::LATENCY_P50,
            &layout::LATENCY_P95,
            &layout::LATENCY_P99,
            &layout::MODEL_P50,
            &layout::MODEL_P95,
        ] {
            for at in 0..field.spec().count {
                durations += usize::from(frame.get(field, at) > 0);
                draft.put(field, at, 0_u8);
            }
        }
        *bytes = draft.seal().expect("in range").bytes().to_vec();
    }
    // Of objects, inferences, results on their way and jobs that wait; and of the model.
    assert_eq!(durations, 4 * 3 + 2, "durations are told");
    timeless
}

/// The two lives are what the proof needs: as much work, the same scores, and no patient in both.
fn assert_same_work_for_others(one: &Lived, other: &Lived) {
    let told = |lived: &Lived| -> Vec<_> {
        let tenth = |score: Option<f32>| (score.unwrap_or(0.0) * 10.0).clamp(0.0, 9.0) as u8;
        let each = lived.inferences.iter();
        let mut told: Vec<_> = each
            .map(|i| (work_of(i), tenth(i.score), i.verdict, i.model.clone()))
            .collect();
        told.sort_by_key(|(work, ..)| *work); // studies of one moment end in any order
        told
    };
    assert_eq!(told(one), told(other), "the same scores");
    assert!(
        one.inferences.iter().any(|i| i.score.is_some()),
        "with text in some"
    );
    assert!(
        one.inferences.iter().any(|i| i.score.is_none()),
        "and none in others"
    );
    let whose = |lived: &Lived| -> BTreeSet<_> {
        let each = lived.inferences.iter();
        each.flat_map(|i| [i.patient.clone().unwrap_or_default(), i.study.to_string()])
            .collect()
    };
    assert!(whose(one).is_disjoint(&whose(other)), "other patients");
    assert!(
        !one.texts.is_empty() && one.texts != other.texts,
        "other texts were read"
    );
}

/// Which study of which week it was, in whichever hospital.
fn work_of(inference: &Inference) -> u64 {
    let study = inference.study.as_str();
    let number = study
        .rsplit('.')
        .next()
        .and_then(|last| last.parse::<u64>().ok());
    number.expect("a number") % OF_A_HOSPITAL
}

/// The frames say enough for the comparison to mean something.
fn assert_told(frames: &[Vec<u8>]) {
    let frames: Vec<_> = frames
        .iter()
        .map(|f| Frame::open(f).expect("a frame"))
        .collect();
    let has = |name: &str| {
        frames.iter().any(|frame| {
            let mut lines = frame.lines();
            lines.any(|line| line.spec.name == name && line.value > 0)
        })
    };
    for name in [
        "log_root",
        "log_size",
        "proof",
        "model_done",
        "count",
        "hist",
        "hist_weeks",
        "budget_left",
        "latency_p50",
        "latency_p99",
        "model_p95",
        "drift",
        "evaluation_plan",
        "evaluation_epsilon",
        "evaluation",
    ] {
        assert!(has(name), "no frame tells of {name}");
    }
    let told = frames
        .iter()
        .filter(|f| f.get(&layout::HIST_WEEKS, 0) > 0)
        .count();
    eprintln!("{} frames, {told} of which tell of patients", frames.len());
}
