//! Federated evaluation, the hospital's half, from the hub's signature to the frame: a plan arrives in a reply, an officer
//! accepts it with labels, the live model scores what is held, and what the week's frame tells is noised and charged.

use crate::life::{Begin, Life};
use crate::patients::{Image, Patients};
use crate::support::{PERICARD, cache, ended, needed, program, run, until};
use crate::wire::Founded;
use pericard_frame::layout::{self, BINS, EVALUATION_CELLS, OFFSET};
use pericard_frame::plan::Metric;
use pericard_frame::{Frame, Plan};
use pericard_hub::records::Model;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

const CASES: u64 = 70;
const WEEK: u16 = 2_968;
const PLAN: u32 = 12;

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(PERICARD);
    command
        .args(args)
        .arg("--config")
        .arg(dir.join("pericard.toml"));
    command
}

#[test]
fn a_plan_that_an_officer_accepts_is_carried_out_and_told_once_with_noise() {
    let package = cache().join("packages/burned-in-text");
    if needed(package.clone()).is_none() || program("storescu").is_none() {
        return;
    }
    let manifest = fs::read(package.join("pericard-model.toml")).expect("a manifest");
    let digest: [u8; 32] = <sha2::Sha256 as sha2::Digest>::digest(manifest).into();
    let (name, version) = ("burned-in-text".to_owned(), "1.0.0".to_owned());
    let founded = Founded::with(&Model {
        id: 300,
        name,
        version,
        digest,
    });
    let dir = tempfile::tempdir().expect("a folder");
    founded.hospital(dir.path());
    let (words, _) = digest.as_chunks::<8>();
    let plan = |number| Plan {
        number,
        model: 300,
        model_digest: std::array::from_fn(|at| u64::from_be_bytes(words[at])),
        metrics: Metric::Sensitivity.bit() | Metric::AreaUnderCurve.bit(),
        threshold_tenth: 5,
        cases_min: 50,
        issued_at_s: crate::wire::FOUNDED_S,
        until_s: crate::wire::FOUNDED_S + 400 * 86_400,
        signature: [0; 64],
    };
    founded.publishes(dir.path(), &[plan(PLAN)]);
    let begin = Begin {
        dir: dir.path(),
        catalogue_key: &founded.key.to_string(),
        pacs: None,
        modality: "MG", // none of these images: nothing but the evaluation looks at them
    };
    let Some(life) = Life::begin(&begin, &["burned-in-text"]) else {
        return;
    };
    life.begin_week(WEEK, 1);
    let patients = Patients { hospital: 8 };
    let everybody: Vec<_> = (0..CASES).map(|number| patients.patient(number)).collect();
    let images = (0_u64..).zip(&everybody).map(|(at, patient)| Image {
        patient,
        study: 8_000 + at,
        image: 1,
        has_text: at.is_multiple_of(2),
    });
    let images: Vec<_> = images.collect();
    life.store(&images);
    // The first patient once more, and a study that nobody holds: neither is a case.
    let again = Image {
        study: 9_000,
        ..images[0].clone()
    };
    life.store(std::slice::from_ref(&again));
    life.settle();
    let mut labels = String::new();
    for image in images.iter().chain([&again]) {
        writeln!(labels, "{},{}", image.study_uid(), u8::from(image.has_text)).expect("a text");
    }
    labels += "1.2.3.4.5,1\n";
    let file = dir.path().join("labels.csv");
    fs::write(&file, labels).expect("written");
    let listed = run(&mut command(dir.path(), &["egress", "plans"]));
    assert!(
        listed.contains("plan 12: model 300") && listed.contains(": open"),
        "{listed}"
    );
    let number = PLAN.to_string();
    let accept = || {
        let mut accept = command(dir.path(), &["egress", "accept-plan", &number]);
        accept.arg("--labels").arg(&file);
        accept.args(["--officer", "Head of Radiology"]);
        accept
    };
    // A budget that has no room for it: it takes an officer who says so all the same.
    let config = dir.path().join("pericard.toml");
    let written = fs::read_to_string(&config).expect("the configuration");
    let tight = written.replace("[egress]", "[egress]\nyear_milli_epsilon = 400");
    fs::write(&config, tight).expect("written");
    let refused = ended(&mut accept());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    for expected in ["of this year's epsilon", "leaves none for the 0.5", "--yes"] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let sure = ended(accept().arg("--yes"));
    assert!(sure.status.success(), "{sure:?}");
    fs::write(&config, written).expect("written");
    assert_eq!(ended(&mut accept()).status.code(), Some(1), "once");
    let decided = ["audit", "show", "--subject", "decided by Head of Radiology"];
    let decided = run(&mut command(dir.path(), &decided));
    assert!(decided.contains("accept evaluation plan"), "{decided}");
    let outcome = dir.path().join("data/egress/plans/00000012.outcome");
    until("the outcome", || outcome.exists().then_some(()));
    let exact: serde_json::Value =
        serde_json::from_slice(&fs::read(&outcome).expect("counts")).expect("JSON");
    let exact: Vec<i64> = serde_json::from_value(exact["cells"].clone()).expect("numbers");
    assert_eq!(
        exact.iter().sum::<i64>(),
        CASES as i64,
        "each patient once: {exact:?}"
    );
    assert_eq!(
        exact[0],
        CASES as i64 / 2,
        "nothing is read where nothing is"
    );
    assert_eq!(exact[BINS..].iter().sum::<i64>(), CASES as i64 / 2);

    let frame = Frame::open(&life.begin_week(WEEK + 1, 2)).expect("a frame");
    assert_eq!(frame.get(&layout::EVALUATION_PLAN, 0), u64::from(PLAN));
    let told = (0..EVALUATION_CELLS)
        .map(|at| frame.get(&layout::EVALUATION, at) as i64 - i64::from(OFFSET));
    let away: Vec<i64> = told.zip(&exact).map(|(told, exact)| told - exact).collect();
    assert!(
        away.iter().any(|by| *by != 0) && away.iter().all(|by| by.abs() < 40),
        "{away:?}"
    );
    let next = Frame::open(&life.begin_week(WEEK + 2, 3)).expect("a frame");
    assert_eq!(next.get(&layout::EVALUATION_PLAN, 0), 0, "told once");
    drop(life);
    let ledger = run(&mut command(dir.path(), &["egress", "ledger", "--json"]));
    let ledger: serde_json::Value = serde_json::from_str(&ledger).expect("JSON");
    let spent: Vec<_> = (0..3)
        .map(|at| ledger[at]["spent_milli_epsilon"].as_u64())
        .collect();
    assert_eq!(spent, [Some(500), Some(1000), Some(500)], "{ledger}");
}
