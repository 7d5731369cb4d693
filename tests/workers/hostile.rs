//! Hostile GGUF files where they are loaded: in the workers of a runner, whose ends are looked at, and in those of a server that
//! goes on serving.

use crate::bent::{self, Case};
use crate::gguf::{Gguf, text};
use crate::stage::{config, quick_package, s};
use crate::support::{Appliance, Given, until};
use pericard_domain::chat::{ChatEvent, ChatRequest, Message, Prompt, Sampling};
use pericard_domain::digest::Digest;
use pericard_domain::job::Priority;
use pericard_domain::model::{ModelRef, Package};
use pericard_runner::{RunFailure, Runner};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Of all files that are made, so many, drawn by a seed.
const FILES: usize = 200;
/// What a server is given in the short form: each is a package that is imported by the command line.
const FILES_OF_A_SERVER: usize = 40;
/// The longest that a refusal may take, starting a worker included, seconds. It is some hundredths of one.
const REFUSED_S_MAX: u64 = 10;
/// Another seed draws other files.
const SEED: u64 = 20_261_201;
/// The model that goes on answering.
const GOOD: &str = "smollm2-135m-instruct";
/// How `pericard` ends when it says why it cannot do what it was told.
const ENDED_BY_ITSELF: &str = "1";

/// Starts a worker of the kind `$2` and writes down how it ended, in a process that stays when this one is killed: a worker that
/// has said that it cannot work is not waited for. Its end of the conversation is the standard input, which a shell takes away
/// from what it does not wait for.
const WITNESS: &str = r#"exec 3<&0; ( exec 0<&3 3<&-; "$0" worker "$2"; echo $? >> "$1" ) & wait"#;

/// A small model of random weights. Its merges name a token that it does not have, so it has none here: a tokenizer is made
/// before the weights are looked at.
fn honest() -> Gguf {
    const STRING: u32 = 8;
    let families =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("appliance/language/tests/golden/families");
    let mut honest = Gguf::read(&families.join("llama3.gguf"));
    let mut entries = honest.entries.iter_mut();
    let merges = entries.find(|entry| entry.key == text(b"tokenizer.ggml.merges"));
    merges.expect("the file has it").value =
        [&STRING.to_le_bytes()[..], &0_u64.to_le_bytes()].concat();
    honest
}

/// So many hostile files, of those that `may` be taken.
fn drawn(count: usize, may: impl Fn(&Case) -> bool) -> Vec<Case> {
    let given = std::env::var("PERICARD_SEED").ok();
    let mut seed = given.map_or(SEED, |seed| seed.parse().expect("a number"));
    eprintln!("PERICARD_SEED={seed}");
    let mut cases = bent::cases(&honest());
    cases.retain(may);
    for at in (1..cases.len()).rev() {
        let with = random(&mut seed) % (at as u64 + 1);
        cases.swap(at, with as usize);
    }
    cases.truncate(count);
    assert_eq!(cases.len(), count);
    cases
}

/// SplitMix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A package with these weights, which is otherwise like a good one.
fn with_weights(good: &Package, dir: &Path, weights: &[u8]) -> Package {
    let path = dir.join("model.gguf");
    let _ = std::fs::remove_file(&path); // a new one: a worker that ends may still have the former before it
    std::fs::write(path, weights).expect("writes");
    let mut package = good.clone();
    package.model = ModelRef {
        name: "hostile".to_owned(),
        version: "1.0.0".to_owned(),
        digest: Digest::new([0; 32]),
    };
    package.manifest.budget.memory_mib = 64;
    dir.clone_into(&mut package.dir);
    package
}

async fn loaded(runner: &Runner, package: &Package) -> Result<(), RunFailure> {
    let (runner, package) = (runner.clone(), package.clone());
    let loading = tokio::task::spawn_blocking(move || runner.load(&package).map(drop));
    loading.await.expect("a thread")
}

async fn said(runner: &Runner) -> String {
    let message = Message {
        role: "user".to_owned(),
        content: "Is the heart a muscle?".to_owned(),
    };
    let request = ChatRequest {
        prompt: Prompt::Messages(vec![message]),
        sampling: Sampling {
            temperature: 0.0,
            max_tokens: Some(8),
            ..Sampling::default()
        },
        priority: Priority::Routine,
        tenant: String::new(),
        scope: String::new(),
    };
    let mut talk = runner.chat(GOOD, request).expect("taken up");
    let mut text = String::new();
    while let Some(event) = talk.next().await {
        match event {
            ChatEvent::Text(piece) => text.push_str(&piece),
            ChatEvent::Failed(why) => panic!("{why}"),
            ChatEvent::Chosen(_) | ChatEvent::Finished { .. } => {}
        }
    }
    text
}

/// Each file is refused in a worker of its own, for what is wrong with it, and in time; the worker then ends by itself, with the
/// exit code that says that it could not. Meanwhile the good model's worker answers as ever.
#[tokio::test(flavor = "multi_thread")]
async fn workers_refuse_hostile_weights_and_end_by_themselves_while_others_are_answered() {
    let (Some(plain), Some(good)) = (config(), quick_package(GOOD)) else {
        return;
    };
    let dir = tempfile::tempdir().expect("a directory");
    let ends = dir.path().join("ends");
    let weights = dir.path().join("package");
    std::fs::create_dir(&weights).expect("a directory");

    let unbent = with_weights(&good, &weights, &honest().bytes());
    let other = Runner::new(plain.clone());
    loaded(&other, &unbent)
        .await
        .expect("what is not bent loads");
    drop(other);

    let mut watched = plain;
    let program = std::mem::replace(&mut watched.worker.path, "/bin/sh".into());
    watched.worker.arguments = vec![
        OsString::from("-c"),
        WITNESS.into(),
        program.into(),
        ends.clone().into(),
    ];
    let runner = Runner::new(watched);
    loaded(&runner, &good).await.expect("it loads");
    let (pid, first) = (runner.pid(&good.model), said(&runner).await);
    assert!(pid.is_some() && !first.is_empty());
    let over = Arc::new(AtomicBool::new(false));
    let client = tokio::spawn({
        let (runner, over, first) = (runner.clone(), Arc::clone(&over), first.clone());
        async move {
            let mut answered = 0;
            while !over.load(Ordering::Relaxed) {
                assert_eq!(said(&runner).await, first);
                answered += 1;
            }
            answered
        }
    });
    let mut longest = s(0);
    for case in drawn(FILES, |_| true) {
        let package = with_weights(&good, &weights, &case.file);
        let begun = Instant::now();
        let refused = loaded(&runner, &package).await;
        longest = longest.max(begun.elapsed());
        match refused {
            Err(RunFailure::Load { reason, .. }) => {
                assert!(reason.contains(case.refusal), "{}: {reason}", case.what);
            }
            other => panic!("{}: {other:?}", case.what),
        }
    }
    over.store(true, Ordering::Relaxed);
    let answered = client.await.expect("every answer is the same");
    eprintln!("{FILES} files refused, each within {longest:?}; {answered} answers meanwhile");
    assert!(longest < s(REFUSED_S_MAX) && answered > 0);
    let told = || std::fs::read_to_string(&ends).unwrap_or_default();
    let told = until("the ends of the workers", || {
        Some(told()).filter(|told| told.lines().count() >= FILES)
    });
    let others = told.lines().filter(|end| *end != ENDED_BY_ITSELF);
    assert_eq!(others.collect::<Vec<_>>(), Vec::<&str>::new());
    assert_eq!(runner.pid(&good.model), pid, "it was never replaced");
    assert_eq!(runner.loaded().len(), 1);
    assert_eq!(said(&runner).await, first);
}

/// A package on disk, as somebody brings it.
fn written(dir: &Path, name: &str, weights: &[u8]) -> PathBuf {
    let package = dir.join(name);
    std::fs::create_dir(&package).expect("a directory");
    std::fs::write(package.join("model.gguf"), weights).expect("writes");
    let digest = hex::encode(Sha256::digest(weights));
    let manifest = format!(
        "name = '{name}'\nversion = '1.0.0'\nsummary = 'Hostile'\nlicence = 'Apache-2.0'\nsource = 'a test'\ntask = 'chat'\n\
         clinical_use = false\n[intended_use]\nstatement = 'None'\n[files]\n'model.gguf' = '{digest}'\n\
         [parts]\nweights = 'model.gguf'\n[budget]\nmemory_mib = 64\ninference_timeout_s = 60\n"
    );
    std::fs::write(package.join("pericard-model.toml"), manifest).expect("writes");
    package
}

/// What the good model says over the door; `None` while it is not loaded.
fn answer(appliance: &Appliance) -> Option<String> {
    let token = format!("Authorization: Bearer {}", appliance.token);
    let question = json!({
        "model": GOOD, "temperature": 0, "max_tokens": 8,
        "messages": [{"role": "user", "content": "Is the heart a muscle?"}],
    });
    let question = question.to_string();
    let form = "Content-Type: application/json";
    let (status, body) = appliance.curl(
        &["-H", &token, "-H", form, "-d", &question],
        "/v1/chat/completions",
    );
    let answer: Value = serde_json::from_str(&body).ok()?;
    let text = answer["choices"][0]["message"]["content"].as_str();
    text.filter(|_| status == 200).map(str::to_owned)
}

/// A server whose live models are hostile but one: those before it and those after it in the order of loading are refused, each
/// with its reason in the journal and its name in `/readyz`, and the good one answers before, meanwhile and after. 200 files where
/// asked. What does not even begin as a GGUF file is not imported, so no worker sees it here.
#[test]
fn a_server_with_hostile_models_goes_on_with_the_good_one() {
    let files = match std::env::var_os("PERICARD_LONG") {
        Some(_) => FILES,
        None => FILES_OF_A_SERVER,
    };
    let dir = tempfile::tempdir().expect("a directory");
    let models = &[GOOD];
    let given = Given { toml: "", models };
    let Some(mut appliance) =
        Appliance::prepare_in(tempfile::tempdir().expect("a directory"), given)
    else {
        return;
    };
    let cases = drawn(files, |case| case.file.starts_with(b"GGUF"));
    // Models are loaded in the order of their names.
    let name = |number: usize| format!("{}-hostile-{number:03}", ["a", "z"][number % 2]);
    for (number, case) in cases.iter().enumerate() {
        let package = written(dir.path(), &name(number), &case.file);
        let package = package.to_str().expect("a path in UTF-8");
        appliance.pericard(&["model", "import", "--activate", package]);
    }
    appliance.begin();
    let pid = appliance.process().id();
    let first = until("the good model's answer", || answer(&appliance));
    let refused = |log: &str| log.matches("model not loaded").count();
    until("every refusal", || {
        assert_eq!(answer(&appliance).as_ref(), Some(&first));
        (refused(&appliance.log()) >= files).then_some(())
    });
    let log = appliance.log();
    assert_eq!(refused(&log), files);
    for (number, case) in cases.iter().enumerate() {
        let named = format!("model=\"{} 1.0.0\"", name(number));
        let line = log.lines().find(|line| line.contains(&named));
        let line = line.unwrap_or_else(|| panic!("{named} is not in the journal:\n{log}"));
        assert!(line.contains(case.refusal), "{}: {line}", case.what);
    }
    let (status, readiness) = appliance.get("/readyz");
    assert_eq!(status, 503, "{readiness}");
    let readiness: Value = serde_json::from_str(&readiness).expect("JSON");
    let ready = |name: &str| {
        let part = format!("model {name}");
        let mut parts = readiness["parts"].as_array().expect("parts").iter();
        let found = parts.find(|found| found["part"] == part.as_str());
        found.expect("it is named")["ready"].clone()
    };
    assert_eq!(ready(GOOD), true);
    assert!((0..files).all(|number| ready(&name(number)) == false));
    assert_eq!(answer(&appliance), Some(first));
    assert!(appliance.process().is_running() && appliance.process().id() == pid);
}
