//! A model that finds names, in its worker: its golden cases, what it adds to the rules, and what it leaves alone.

use crate::losses::signal;
use crate::planted::{PLANTED, filled, is_found};
use crate::stage::{config, package};
use pericard_domain::entity::Entity;
use pericard_domain::model::{ModelRef, Package};
use pericard_runner::{RunFailure, Runner};
use pericard_scribe::deidentify::clean;

/// A runner with the model loaded, golden cases included.
async fn loaded() -> Option<(Runner, Package)> {
    let (config, package) = (config()?, package("rampart")?);
    let runner = Runner::new(config);
    let loading = (runner.clone(), package.clone());
    let load = tokio::task::spawn_blocking(move || loading.0.load(&loading.1));
    load.await.expect("a thread").expect("it loads");
    Some((runner, package))
}

async fn marked(runner: &Runner, model: &ModelRef, text: &str) -> Vec<Entity> {
    let marked = runner.mark(model, text.to_owned()).await;
    marked.expect("it reads")
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_model_as_much_is_found_as_the_readme_says() {
    let Some((runner, package)) = loaded().await else {
        return;
    };
    let readme = include_str!("../../README.md");
    for planted in PLANTED {
        let mut found = 0;
        for (value, sentence) in planted.all() {
            let marks = marked(&runner, &package.model, &filled(value, sentence)).await;
            // Whatever it marks, what the rules find goes.
            let by_rules = is_found(value, sentence, &[]);
            let with_model = is_found(value, sentence, &marks);
            assert!(with_model || !by_rules, "{sentence}");
            found += usize::from(with_model);
        }
        let kind = planted.kind;
        assert_eq!(found, planted.with_model, "{kind}");
        let row = planted.row();
        assert!(readme.contains(&row), "the README has no row {row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_model_the_medicine_stays() {
    let Some((runner, package)) = loaded().await else {
        return;
    };
    for text in [
        "No pneumothorax. Heart size is normal. A nodule of 3.5 mm in the right upper lobe (series 2, image 14).",
        "Parkinson disease, Foley catheter, T2-weighted images, L4/L5, C7, Grade 2/3, 120 kV, 1.5 T.",
        "Findings may be related to the prior study. Volume 1369.6 mL, 12 x 14 mm.",
        "BI-RADS 4. Compared with the examination of the year before.",
        "Alzheimer disease. Hill-Sachs lesion. Gleason score 7. Morbus Crohn. Whipple-Operation.",
        "The patient takes metoprolol, Xarelto, Lipitor, aspirin 100 mg and Ramipril.",
    ] {
        let marks = marked(&runner, &package.model, text).await;
        let cleaned = clean(text, &[], &marks, None).expect("clean");
        assert_eq!(cleaned.text, text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_text_is_read_to_its_end_and_a_lost_worker_is_replaced() {
    let Some((runner, package)) = loaded().await else {
        return;
    };
    let model = &package.model;
    let filling = "The lungs are clear and the heart is of normal size. ".repeat(100);
    let text = format!("{filling}Findings were passed on to Olga Petrova in the clinic. {filling}");
    let marks = marked(&runner, model, &text).await;
    let texts: Vec<&str> = marks.iter().map(|m| &text[m.start..m.end]).collect();
    assert_eq!(texts, ["Olga Petrova"]);
    assert!(marked(&runner, model, "").await.is_empty());

    signal(runner.pid(model).expect("a worker"), "KILL");
    let again = match runner.mark(model, text.clone()).await {
        // It may die while it is being asked: that is told, and costs this text only.
        Err(RunFailure::Lost(_)) => marked(&runner, model, &text).await,
        marks => marks.expect("another reads"),
    };
    assert_eq!(again, marks);
    assert!(runner.unload(model));
    let gone = runner.mark(model, text).await;
    assert!(matches!(gone, Err(RunFailure::NotLoaded(_))), "{gone:?}");
}
