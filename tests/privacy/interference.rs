//! Two lives of the whole appliance: the same work, week after week, for other patients. Names, ids, texts, file names,
//! prompts and pixels differ; what leaves does not, to the byte, in no length and at no moment.

use crate::life::{Begin, Life};
use crate::patients::{Image, Patient, Patients, drawn};
use crate::support::{cache, files_in, free_port, needed, program};
use crate::times;
use crate::wire::{FOUNDED_S, Founded, Seen};
use pericard_frame::{Frame, layout};
use pericard_hub::records::Model;
use pericard_store::week::{FIRST_MONDAY_MS, Inference, WEEK_MS};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The catalogue's number of the model.
const MODEL: u16 = 300;
/// Patients of whom a week's images are.
const PATIENTS: u64 = 5;
/// So many numbers of studies are a hospital's.
const OF_A_HOSPITAL: u64 = 1_000_000;

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

/// What is done in a week, apart from whom it is done for.
struct Shape {
    studies: Vec<(u64, u64, bool)>,
    draw: [u8; 32],
}

impl Shape {
    fn of(week: u16) -> Self {
        let draw = drawn(&[u64::from(week)]);
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
fn work(life: &Life, week: u16, patients: Patients) {
    let shape = Shape::of(week);
    let patient = |number: u64| patients.patient(u64::from(week) * PATIENTS + number);
    let mut studies = Vec::new();
    for (at, (number, images, has_text)) in shape.studies.iter().enumerate() {
        let patient = patient(*number);
        let study = patients.hospital * OF_A_HOSPITAL + u64::from(week) * 10 + at as u64;
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

/// A life of so many weeks, and all that was seen of it.
struct Lived {
    outcome: Outcome,
    inferences: Vec<Inference>,
    texts: BTreeSet<String>,
}

fn live(founded: &Founded, patients: Patients, weeks: u16) -> Option<Lived> {
    let dir = tempfile::tempdir().expect("a folder");
    founded.hospital(dir.path());
    let pacs = Pacs::open(dir.path())?;
    let begin = Begin {
        dir: dir.path(),
        catalogue_key: &founded.key.to_string(),
        pacs: Some(([127, 0, 0, 1], pacs.1).into()),
        modality: "US",
    };
    let life = Life::begin(&begin, &["burned-in-text", "smollm2-135m-instruct"])?;
    let (mut frames, mut inferences) = (Vec::new(), Vec::new());
    let first = first_week();
    frames.push(life.begin_week(first, 1));
    for turn in 0..weeks {
        work(&life, first + turn, patients);
        inferences.extend(life.inferences(first + turn));
        frames.push(life.begin_week(first + turn + 1, u32::from(turn) + 2));
    }
    let texts = life.texts();
    drop(life);
    let slots = founded.sends(
        dir.path(),
        FOUNDED_S + u64::from(weeks) * WEEK_MS as u64 / 1000,
    );
    let folder = files_in(&dir.path().join("data/egress/frames"));
    assert_eq!(
        folder.len(),
        frames.len(),
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
    let weeks = times(20, 200);
    let package = cache().join("packages/burned-in-text");
    if needed(package.clone()).is_none() {
        return;
    }
    let manifest = std::fs::read(package.join("pericard-model.toml")).expect("a manifest");
    let founded = Founded::with(&Model {
        id: MODEL,
        name: "burned-in-text".into(),
        version: "1.0.0".into(),
        digest: <sha2::Sha256 as sha2::Digest>::digest(manifest).into(),
    });
    let lives = std::thread::scope(|scope| {
        let begin = |hospital| {
            scope.spawn({
                let founded = &founded;
                move || live(founded, Patients { hospital }, weeks)
            })
        };
        [begin(1), begin(2)].map(|life| life.join().expect("lived"))
    });
    let [Some(one), Some(other)] = lives else {
        return;
    };
    assert_same_work_for_others(&one, &other);
    assert_eq!(differs(&one.outcome, &other.outcome), None);
    assert_eq!(one.outcome.frames.len(), usize::from(weeks) + 1);
    assert_eq!(
        one.outcome.slots.len(),
        usize::from(weeks) + 1,
        "each frame was sent"
    );
    assert_told(&one.outcome);
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
fn assert_told(outcome: &Outcome) {
    let frames: Vec<_> = outcome
        .frames
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
        "budget_left",
    ] {
        assert!(has(name), "no frame tells of {name}");
    }
    let told = frames
        .iter()
        .filter(|f| f.get(&layout::HIST_WEEKS, 0) > 0)
        .count();
    eprintln!("{} frames, {told} of which tell of patients", frames.len());
    let different: BTreeSet<_> = outcome.frames.iter().collect();
    assert_eq!(different.len(), frames.len(), "each of another week's work");
}
