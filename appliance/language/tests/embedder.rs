//! Texts into vectors, with the real encoder.

mod package;

use pericard_domain::chat::ChatRefusal;
use pericard_domain::model::{GoldenCase, Package};
use pericard_language::{Embedder, LoadError};
use std::path::Path;

fn package(dir: &Path) -> Package {
    package::described(&dir.join("pericard-model.toml"), dir)
}

#[test]
fn the_golden_case_holds_and_can_fail() {
    let Some(dir) = package::dir_of("all-minilm-l6-v2") else {
        return;
    };
    let package = package(&dir);
    let embedder = Embedder::load(&package).expect("loads");
    let case = &package.manifest.golden[0];
    embedder.golden(&dir, case).expect("numpy's vectors");
    let strict = GoldenCase {
        tolerance: 1e-9,
        ..case.clone()
    };
    let off = embedder
        .golden(&dir, &strict)
        .expect_err("floats are not that exact");
    assert!(off.contains("off"), "{off}");
}

#[test]
fn a_vector_does_not_depend_on_what_else_is_asked() {
    let Some(dir) = package::dir_of("all-minilm-l6-v2") else {
        return;
    };
    let embedder = Embedder::load(&package(&dir)).expect("loads");
    let text = |words: usize| "effusion ".repeat(words);
    let alone = embedder.embed(&[text(20)]).expect("embeds");
    let among = embedder
        .embed(&[text(3), text(20), text(100)])
        .expect("embeds");
    assert_eq!(alone.vectors[0], among.vectors[1], "to the bit");
    let length: f32 = among.vectors[2].iter().map(|v| v * v).sum();
    assert!((length - 1.0).abs() < 1e-5 && among.vectors[2].len() == 384);

    let refused = embedder.embed(&[text(3), text(600)]).expect_err("too long");
    let ChatRefusal::TextTooLong {
        index,
        tokens,
        tokens_max,
    } = refused
    else {
        panic!("{refused}");
    };
    assert!((index, tokens_max) == (1, 512) && tokens > 512, "{tokens}");
    assert_eq!(embedder.tokens(0, "Hi").expect("short").len(), 3);
}

#[test]
fn what_is_not_its_form_is_refused() {
    let Some(dir) = package::dir_of("all-minilm-l6-v2") else {
        return;
    };
    let copy = tempfile::tempdir().expect("a directory");
    for file in [
        "config.json",
        "pooling.json",
        "tokenizer.json",
        "model.safetensors",
    ] {
        std::os::unix::fs::symlink(dir.join(file), copy.path().join(file)).expect("a link");
    }
    let mut package = package(&dir);
    package.dir = copy.path().to_owned();
    assert!(Embedder::load(&package).is_ok());
    let put = |file: &str, content: &[u8]| {
        std::fs::remove_file(copy.path().join(file)).expect("there");
        std::fs::write(copy.path().join(file), content).expect("writes");
        let refused = Embedder::load(&package).err().expect("refused");
        std::fs::remove_file(copy.path().join(file)).expect("there");
        std::os::unix::fs::symlink(dir.join(file), copy.path().join(file)).expect("a link");
        refused
    };
    let config = std::fs::read_to_string(dir.join("config.json")).expect("reads");
    let wider = config.replace("\"hidden_size\": 384", "\"hidden_size\": 768");
    assert!(matches!(
        put("config.json", wider.as_bytes()),
        LoadError::Tensor { .. }
    ));
    let other = config.replace("\"bert\"", "\"deberta\"");
    assert!(matches!(
        put("config.json", other.as_bytes()),
        LoadError::Architecture(_)
    ));
    let pooling = br#"{"pooling_mode_mean_tokens": false}"#;
    assert!(matches!(
        put("pooling.json", pooling),
        LoadError::Architecture(_)
    ));
    assert!(matches!(
        put("model.safetensors", b"not tensors"),
        LoadError::Read { .. }
    ));
    assert!(matches!(
        put("tokenizer.json", b"{}"),
        LoadError::Tokenizer(_)
    ));
}
