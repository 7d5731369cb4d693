//! Federated evaluation from one end to the other: the hub publishes a plan, which goes out with the reply to a frame; a
//! hospital's officer accepts it; the appliance scores the labelled studies that it holds; the outcome leaves in the next
//! frame, through the gate; and the hub has a scorecard once five hospitals have told, and none before.

use crate::life::{Begin, Life};
use crate::patients::{Image, Patients};
use crate::support::{PERICARD, cache, needed, program, run, until};
use crate::wire::FOUNDED_S;
use pericard_audit::{Hash, SigningKey};
use pericard_egress::{Books, Closing, Evaluation, Identity, Log, Meter, Rules, Seed, Week};
use pericard_frame::layout::BINS;
use pericard_frame::{FRAME_SIGNED_AS, Frame};
use pericard_gate::{Desk, Gate, Slot, Spool, Status};
use pericard_hub::evaluation::{Scorecard, scorecard};
use pericard_hub::records::Model;
use pericard_hub::{
    Asking, Hub, Keys, Metric, Registrar, Sent, Shown, Token, Viewer, Way, enrolment,
};
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use tokio_util::sync::CancellationToken;

const CASES: u64 = 80;
const MODEL: u16 = 300;
const WEEK: u16 = 2_968;
const WEEK_S: u64 = 7 * 86_400;
const SECRET: &str = "pcd_analyst_of_the_test";
/// Those who told besides the appliance, which makes five.
const OTHERS: u8 = 4;

/// A hub that serves in this process, at a time that the test says.
struct National {
    hub: Arc<Hub>,
    keys: Arc<Keys>,
    now_s: Arc<AtomicU64>,
    at: SocketAddr,
    stop: CancellationToken,
    serves: Option<JoinHandle<()>>,
}

impl National {
    fn open(dir: &Path, model: &Model) -> Self {
        let open = || {
            let shown = Shown::Made(vec!["localhost".into()]);
            Keys::open(&dir.join("hub"), "hub.example", &shown, FOUNDED_S).expect("keys")
        };
        let (keys, now_s) = (Arc::new(open()), Arc::new(AtomicU64::new(FOUNDED_S)));
        let told = Arc::clone(&now_s);
        let clock = Arc::new(move || told.load(Ordering::SeqCst));
        let hub = Hub::open(&dir.join("hub/hub.db"), Arc::clone(keys.signing()), clock);
        let hub = Arc::new(hub.expect("a hub"));
        hub.add_model(model).expect("in the catalogue");
        let door = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = door.local_addr().expect("an address");
        door.set_nonblocking(true).expect("a door for many");
        let (stop, behind) = (CancellationToken::new(), Arc::clone(&hub));
        let ends = stop.clone();
        let serving = open();
        let serves = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(async {
                let door = tokio::net::TcpListener::from_std(door).expect("a door");
                let tls = serving.tls().expect("TLS");
                let behind = (behind, Arc::new(Registrar::new(serving, at)));
                let served = pericard_hub::serve(door, tls, behind, ends).await;
                served.expect("served");
            });
        });
        Self {
            hub,
            keys,
            now_s,
            at,
            stop,
            serves: Some(serves),
        }
    }

    fn key(&self) -> String {
        self.keys.signing().verifier().to_string()
    }

    /// Enrols the appliance whose folder this is, and carries the catalogue there.
    fn enrols(&self, dir: &Path) {
        let desk = Desk::at(dir.join("desk"));
        let asked = pericard_gate::request(&desk, &[4; 32]).expect("a request");
        let office = (&*self.hub, &*self.keys);
        let granted = enrolment::enrol(office, &asked, "A clinic", self.at).expect("granted");
        pericard_gate::accept(&desk, &granted.note, &self.key()).expect("enrolled");
        let catalogue = self.hub.catalogue().expect("a note");
        fs::write(dir.join("catalogue"), catalogue).expect("written");
    }

    /// The gate of the hospital in this folder sends the frame that is next.
    fn hears(&self, dir: &Path, sequence: u32) {
        let (spool, desk) = (
            Spool::at(dir.join("data/egress")),
            Desk::at(dir.join("desk")),
        );
        let gate = Gate::open(spool, desk, pericard_gate::Rules { hold_days: 0 });
        let gate = gate.expect("opened").expect("enrolled");
        let slot = gate.slot(self.now_s.load(Ordering::SeqCst));
        match slot.expect("a slot") {
            Slot::Sent {
                sequence: sent,
                status,
                ..
            } => assert_eq!((sent, status), (sequence, Status::Accepted)),
            other => panic!("{other:?}"),
        }
    }

    /// Another hospital tells of the plan, by a frame that somebody carries.
    fn hears_another(&self, dir: &Path, number: u8, plan: u32) {
        let key = SigningKey::from_seed("appliance", &[number; 32]).expect("a key");
        let enrolled = self.hub.enrol("Another", &key.verifier(), &[number; 32]);
        let (appliance, release) = (enrolled.expect("enrolled"), [0, 1, 0]);
        let dir = dir.join(format!("another {number}"));
        fs::create_dir_all(&dir).expect("made");
        let meter = Meter::open(dir.join("counters"), Identity { appliance, release });
        let mut books = Books::open(dir.join("egress"), Rules::default()).expect("books");
        let empty = Hash::empty_root();
        let (words, _) = empty.as_bytes().as_chunks::<8>();
        let root = std::array::from_fn(|at| u64::from_be_bytes(words[at]));
        // Of 200 with the finding 160 score high, of 200 without it 180 score low.
        let mut evaluation = Evaluation::of(plan, 50);
        for case in 0..200_u16 {
            evaluation.count(true, if case < 160 { 8 } else { 2 });
            evaluation.count(false, if case < 180 { 1 } else { 7 });
        }
        let closing = Closing {
            week: WEEK,
            inferences: Week::of(&[]),
            log: Log {
                root,
                ..Log::default()
            },
            evaluations: vec![evaluation],
            seed: Seed([number; 32]),
        };
        let told = books.close(closing, &meter.expect("a meter"));
        assert_eq!(told.expect("closed").plans_told, 1);
        let frame = fs::read(dir.join("egress/frames/00000001.frame")).expect("a frame");
        let frame = Frame::open(&frame).expect("a whole one");
        let signature = key.seal(FRAME_SIGNED_AS, frame.signed_bytes());
        let frame = frame.with_signature(signature);
        let (bytes, way) = (frame.bytes(), Way::Carried);
        let replies = self.hub.ingest(&[Sent { bytes, way }]).expect("durable");
        assert_eq!(replies[0].status(), Status::Accepted);
    }

    fn scorecard(&self) -> Scorecard {
        let snapshot = self.hub.records().snapshot();
        scorecard(&snapshot, &snapshot.plans[0].plan)
    }

    /// What the read API says of the plan.
    fn read(&self) -> serde_json::Value {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--fail", "--insecure", "--noproxy", "*"]);
        curl.args(["-H", &format!("Authorization: Bearer {SECRET}")]);
        let text = run(curl.arg(format!("https://{}/hub/v1/evaluations", self.at)));
        serde_json::from_str(&text).expect("JSON")
    }
}

impl Drop for National {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(serves) = self.serves.take() {
            let ended = serves.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the hub fell");
        }
    }
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(PERICARD);
    command
        .args(args)
        .arg("--config")
        .arg(dir.join("pericard.toml"));
    command
}

/// An officer accepts the plan with a label for each of these studies, and the appliance carries it out: the exact counts,
/// without the finding and with it, by tenth of the score.
fn carried_out(dir: &Path, images: &[Image<'_>]) -> Vec<i64> {
    let mut labels = String::new();
    for image in images {
        writeln!(labels, "{},{}", image.study_uid(), u8::from(image.has_text)).expect("a text");
    }
    let file = dir.join("labels.csv");
    fs::write(&file, labels).expect("written");
    let mut accept = command(dir, &["egress", "accept-plan", "1"]);
    accept.arg("--labels").arg(&file);
    run(accept.args(["--officer", "Head of Radiology"]));
    let outcome = dir.join("data/egress/plans/00000001.outcome");
    until("the outcome", || outcome.exists().then_some(()));
    let exact: serde_json::Value =
        serde_json::from_slice(&fs::read(&outcome).expect("counts")).expect("JSON");
    serde_json::from_value(exact["cells"].clone()).expect("numbers")
}

#[test]
fn a_plan_goes_out_is_carried_out_and_comes_back_as_a_scorecard_of_five() {
    let package = cache().join("packages/burned-in-text");
    if needed(package.clone()).is_none() || program("storescu").is_none() {
        return;
    }
    let manifest = fs::read(package.join("pericard-model.toml")).expect("a manifest");
    let model = Model {
        id: MODEL,
        name: "burned-in-text".into(),
        version: "1.0.0".into(),
        digest: <sha2::Sha256 as sha2::Digest>::digest(manifest).into(),
    };
    let dir = tempfile::tempdir().expect("a folder");
    let nation = National::open(dir.path(), &model);
    nation.enrols(dir.path());
    let token = Token {
        number: 0,
        label: "test".into(),
        sha256: Token::key(SECRET).expect("a secret"),
        viewer: Viewer::Analyst,
        created_at_s: FOUNDED_S,
        expires_at_s: FOUNDED_S + 400 * 86_400,
        revoked: false,
    };
    nation.hub.create_token(&token).expect("created");
    let asking = Asking {
        model: MODEL,
        metrics: vec![Metric::Sensitivity, Metric::Specificity],
        threshold_tenth: 5,
        cases_min: 50,
        until_s: FOUNDED_S + 400 * 86_400,
        text: "Burned-in text in ultrasound.".into(),
    };
    assert_eq!(
        nation.hub.publish(asking).expect("published").plan.number,
        1
    );

    // The plan comes with the reply to the first frame.
    let begin = Begin {
        dir: dir.path(),
        catalogue_key: &nation.key(),
        pacs: None,
        modality: "MG", // none of these images: nothing but the evaluation looks at them
    };
    let Some(life) = Life::begin(&begin, &["burned-in-text"]) else {
        return;
    };
    life.begin_week(WEEK, 1);
    let listed = || run(&mut command(dir.path(), &["egress", "plans"]));
    assert!(!listed().contains("plan 1"), "nobody was told yet");
    nation.hears(dir.path(), 1);
    assert!(listed().contains("plan 1: model 300"), "{}", listed());

    let patients = Patients { hospital: 9 };
    let everybody: Vec<_> = (0..CASES).map(|number| patients.patient(number)).collect();
    let images = (0_u64..).zip(&everybody).map(|(at, patient)| Image {
        patient,
        study: 18_000 + at,
        image: 1,
        has_text: at.is_multiple_of(2),
    });
    let images: Vec<_> = images.collect();
    life.store(&images);
    life.settle();
    let exact = carried_out(dir.path(), &images);
    assert_eq!(exact.iter().sum::<i64>(), CASES as i64, "{exact:?}");
    assert!(nation.scorecard().outcomes.is_empty(), "nothing has left");

    // The outcome leaves with the next week's frame, and no other way.
    nation.now_s.store(FOUNDED_S + WEEK_S, Ordering::SeqCst);
    life.begin_week(WEEK + 1, 2);
    nation.hears(dir.path(), 2);
    drop(life);
    let card = nation.scorecard();
    assert_eq!(card.outcomes.len(), 1);
    let told = &card.outcomes[0];
    assert_eq!((told.hospital, told.week), (1, WEEK));
    let away = (told.cases() - CASES as f64).abs();
    assert!(
        away > 0.0 && away < 5.0 * told.cases_sd(),
        "{away}: with noise"
    );
    let alone = card.scores.iter();
    assert!(
        alone
            .clone()
            .all(|s| s.estimate.is_none() && s.range.is_none())
    );
    let share = |part: &[i64], whole: &[i64]| {
        part.iter().sum::<i64>() as f64 / whole.iter().sum::<i64>() as f64
    };
    let (without, with) = exact.split_at(BINS);
    for (metric, truth) in [
        (Metric::Sensitivity, share(&with[5..], with)),
        (Metric::Specificity, share(&without[..5], without)),
    ] {
        let own = told.estimate(metric, 5).expect("enough cases");
        assert!(
            (own.low..=own.high).contains(&truth),
            "{metric:?} {truth}: {own:?}"
        );
    }
    let read = nation.read();
    assert_eq!(read[0]["told_by"], serde_json::json!([1]));
    assert!(read[0]["scores"][0]["estimate"].is_null(), "{read}");

    // Four others tell; before the last of them there is no figure.
    for number in 0..OTHERS {
        assert!(
            nation
                .scorecard()
                .scores
                .iter()
                .all(|s| s.estimate.is_none())
        );
        nation.hears_another(dir.path(), 60 + number, 1);
    }
    let card = nation.scorecard();
    for score in &card.scores {
        assert_eq!(score.hospitals, 5, "{score:?}");
        let estimate = score.estimate.expect("of five");
        assert!(estimate.low < estimate.value && estimate.value < estimate.high);
    }
    // The others' truth is 0.8 and 0.9, and clipping keeps one that lies elsewhere from moving the middle far.
    let value = |metric| {
        card.scores
            .iter()
            .find(|s| s.metric == metric)
            .and_then(|s| s.estimate)
    };
    let near = |metric, truth: f64| (value(metric).expect("asked for").value - truth).abs() < 0.12;
    assert!(
        near(Metric::Sensitivity, 0.8) && near(Metric::Specificity, 0.9),
        "{card:?}"
    );
    let read = nation.read();
    assert_eq!(read[0]["told_by"], serde_json::json!([1, 2, 3, 4, 5]));
    for score in read[0]["scores"].as_array().expect("scores") {
        assert!(
            score["estimate"]["value"].is_f64() && score["hospitals"] == 5,
            "{score}"
        );
    }
}
