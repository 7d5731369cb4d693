//! Workers that die, hang or are replaced: what it costs, and that nothing else is touched.

use crate::stage::{cached, config, package, quick_package, s};
use pericard_domain::chat::{ChatEvent, ChatRefusal, ChatRequest, Message, Prompt, Sampling};
use pericard_domain::image::{ImagingInput, ImagingOutput};
use pericard_domain::job::Priority;
use pericard_domain::model::Package;
use pericard_domain::uid::InstanceUid;
use pericard_runner::{RunFailure, Runner};
use std::time::{Duration, Instant};

pub(crate) fn signal(pid: u32, signal: &str) {
    let status = std::process::Command::new("kill")
        .args([&format!("-{signal}"), &pid.to_string()])
        .status();
    assert!(status.expect("kill").success());
}

fn alive(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

/// Until it has ended, also when nobody has asked how yet.
async fn until_ended(pid: u32) {
    let ended = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.map_or(true, |stat| stat.contains(") Z "))
    };
    while !ended() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The input of the package's first golden case.
fn golden_input(package: &Package) -> ImagingInput {
    let path = package.dir.join(&package.manifest.golden[0].input);
    let image = pericard_imaging::golden::read_frame(&path);
    ImagingInput::Frames(vec![image.expect("a golden frame")])
}

fn boxes(output: &ImagingOutput) -> usize {
    match output {
        ImagingOutput::Text(boxes) => boxes.len(),
        ImagingOutput::Mask(_) => panic!("a mask?"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_imaging_worker_that_dies_or_hangs_costs_one_attempt_and_is_replaced() {
    let (Some(config), Some(mut package)) = (config(), package("burned-in-text")) else {
        return;
    };
    package.manifest.budget.inference_timeout_s = 4;
    let runner = Runner::new(config);
    let loading = (runner.clone(), package.clone());
    tokio::task::spawn_blocking(move || loading.0.load(&loading.1))
        .await
        .expect("a thread")
        .expect("it loads");
    let model = package.model.clone();
    let input = golden_input(&package);
    let first = runner.infer(&model, input.clone()).await.expect("text");
    assert!(boxes(&first) > 0);

    let idle = runner.pid(&model).expect("a worker");
    signal(idle, "KILL");
    until_ended(idle).await;
    let again = runner.infer(&model, input.clone()).await.expect("text");
    assert_eq!(again, first, "nobody pays for a worker that ended idle");

    let pid = runner.pid(&model).expect("a worker");
    signal(pid, "STOP"); // so that it is killed at its work, however fast it is
    let at_work = (runner.clone(), model.clone(), input.clone());
    let asked = tokio::spawn(async move { at_work.0.infer(&at_work.1, at_work.2).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    signal(pid, "KILL");
    let lost = asked.await.expect("a task").expect_err("lost");
    assert!(
        matches!(&lost, RunFailure::Lost(why) if why.contains("killed")),
        "{lost}"
    );
    let again = runner.infer(&model, input.clone()).await.expect("text");
    assert_eq!(again, first, "the replacement sees the same");

    let pid = runner.pid(&model).expect("a worker");
    signal(pid, "STOP");
    let begun = Instant::now();
    let lost = runner.infer(&model, input.clone()).await.expect_err("lost");
    assert!(lost.to_string().contains("longer than 4 s"), "{lost}");
    assert!(begun.elapsed() < s(20) && !alive(pid));
    let again = runner.infer(&model, input).await.expect("text");
    assert_eq!(again, first);
    assert_eq!(runner.loaded().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unloaded_model_gives_all_its_memory_back() {
    let (Some(config), Some(package)) = (config(), quick_package("burned-in-text")) else {
        return;
    };
    let runner = Runner::new(config);
    let loading = (runner.clone(), package.clone());
    tokio::task::spawn_blocking(move || loading.0.load(&loading.1))
        .await
        .expect("a thread")
        .expect("it loads");
    let pid = runner.pid(&package.model).expect("a worker");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a status");
    let resident = status.lines().find(|line| line.starts_with("VmRSS"));
    eprintln!("loaded: {}", resident.unwrap_or_default());
    assert!(runner.unload(&package.model));
    assert!(
        !alive(pid),
        "its process is gone, and with it all its memory"
    );
    assert!(runner.loaded().is_empty() && !runner.unload(&package.model));
}

/// Asked for again and again, an object that ends its readers is given none for a while, and no process is started for it;
/// any other is read as ever.
#[test]
fn an_object_that_ends_its_readers_rests_and_its_neighbour_is_read() {
    /// By then the rest is far longer than an attempt takes.
    const LOSSES_MAX: usize = 10;
    let (Some(config), Some(sample)) = (config(), cached("samples/pelvis")) else {
        return;
    };
    let file = std::fs::read_dir(sample).expect("the sample").next();
    let file = file.expect("a file").expect("an entry").path();
    let uid = |text: &str| InstanceUid::new(text).expect("a UID");
    let (poison, neighbour) = (uid("1.2.3"), uid("1.2.4"));
    let runner = Runner::new(config);
    let mut losses = 0;
    let why = loop {
        let mut reader = runner.reader();
        match reader.open(&poison, &file) {
            Ok(_) => signal(reader.pid().expect("a process"), "KILL"),
            Err(RunFailure::Lost(why)) => {
                assert_eq!(reader.pid(), None, "no process is started");
                break why;
            }
            Err(other) => panic!("{other}"),
        }
        let lost = reader.frames().map(drop).expect_err("it was killed");
        assert!(matches!(lost, RunFailure::Lost(_)), "{lost}");
        losses += 1;
        assert!(losses <= LOSSES_MAX, "it never rests");
    };
    assert!(losses >= 2, "the first loss costs nothing: {why}");
    assert!(
        why.contains("1.2.3") && why.contains("tried again in"),
        "{why}"
    );
    let mut reader = runner.reader();
    assert!(reader.open(&neighbour, &file).expect("it is read") > 0);
    assert!(reader.frames().expect("it is read").is_some());
}

fn question(max_tokens: u32) -> ChatRequest {
    let message = Message {
        role: "user".into(),
        content: "Tell a very long story about a lighthouse keeper and the sea.".into(),
    };
    ChatRequest {
        prompt: Prompt::Messages(vec![message]),
        sampling: Sampling {
            temperature: 0.0,
            max_tokens: Some(max_tokens),
            ..Sampling::default()
        },
        priority: Priority::Routine,
        tenant: String::new(),
        scope: String::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_language_worker_streams_cancels_fails_aloud_and_is_replaced() {
    let (Some(config), Some(package)) = (config(), package("smollm2-135m-instruct")) else {
        return;
    };
    let runner = Runner::new(config);
    let name = package.model.name.clone();
    let loading = (runner.clone(), package.clone());
    tokio::task::spawn_blocking(move || loading.0.load(&loading.1))
        .await
        .expect("a thread")
        .expect("it loads");
    let tokens = runner
        .tokens(&name, &question(1).prompt)
        .expect("tokens")
        .len();
    let mut talk = runner.chat(&name, question(12)).expect("accepted");
    let mut text = String::new();
    loop {
        match talk.next().await.expect("an event") {
            ChatEvent::Chosen(_) => {}
            ChatEvent::Text(piece) => text.push_str(&piece),
            ChatEvent::Finished { usage, .. } => {
                assert_eq!(usage.prompt_tokens as usize, tokens);
                assert!((1..=12).contains(&usage.completion_tokens));
                break;
            }
            ChatEvent::Failed(why) => panic!("{why}"),
        }
    }
    assert!(!text.is_empty() && talk.next().await.is_none());
    let refused = runner.chat(&name, question(1_000_000)).map(drop);
    assert!(matches!(refused, Err(ChatRefusal::DoesNotFit { .. })));
    assert!(matches!(
        runner.tokens("nobody", &question(1).prompt),
        Err(ChatRefusal::UnknownModel { .. })
    ));

    // Dropped, the engine is free again at once: four long ones fill it, four more follow without waiting for their ends.
    for _ in 0..4 {
        let mut talks = Vec::new();
        for _ in 0..4 {
            let mut talk = runner.chat(&name, question(1500)).expect("accepted");
            assert!(matches!(talk.next().await, Some(ChatEvent::Text(_))));
            talks.push(talk);
        }
    }

    let mut talk = runner.chat(&name, question(1500)).expect("accepted");
    assert!(matches!(talk.next().await, Some(ChatEvent::Text(_))));
    signal(runner.pid(&package.model).expect("a worker"), "KILL");
    let end = loop {
        match talk.next().await.expect("an end") {
            ChatEvent::Chosen(_) | ChatEvent::Text(_) => {}
            end => break end,
        }
    };
    assert!(matches!(end, ChatEvent::Failed(_)), "{end:?}");
    let begun = Instant::now();
    let mut talk = loop {
        match runner.chat(&name, question(12)) {
            Ok(talk) => break talk,
            Err(ChatRefusal::Busy { .. }) => {}
            Err(refusal) => panic!("{refusal}"),
        }
        assert!(begun.elapsed() < s(120), "it is not replaced");
        tokio::time::sleep(Duration::from_millis(50)).await; // there is nothing to await: the caller is told to ask again
    };
    let mut again = String::new();
    while let Some(ChatEvent::Text(piece)) = talk.next().await {
        again.push_str(&piece);
    }
    assert_eq!(again, text, "the replacement says the same");
    let pid = runner.pid(&package.model).expect("a worker");
    assert!(runner.unload(&package.model));
    let begun = Instant::now();
    while alive(pid) {
        assert!(begun.elapsed() < s(30), "its process stays");
        tokio::time::sleep(Duration::from_millis(20)).await; // the end of another process cannot be awaited here
    }
}

/// Clients ask without a pause while the model is replaced by the next version of itself, twice: every one is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_next_version_of_a_model_costs_no_request() {
    let (Some(config), Some(package)) = (config(), quick_package("smollm2-135m-instruct")) else {
        return;
    };
    let runner = Runner::new(config);
    let load = |version: &str| {
        let (runner, mut package) = (runner.clone(), package.clone());
        package.model.version = version.to_owned();
        tokio::task::spawn_blocking(move || runner.load(&package))
    };
    load("1.0.0").await.expect("a thread").expect("it loads");
    let first = runner.pid(&package.model).expect("a worker");
    let over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let (runner, over) = (runner.clone(), over.clone());
            let name = package.model.name.clone();
            tokio::spawn(async move {
                let mut answered = 0;
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    assert!(
                        runner.loaded().iter().any(|l| l.model.name == name),
                        "it is always listed"
                    );
                    let asked = (runner.clone(), name.clone());
                    let begun =
                        tokio::task::spawn_blocking(move || asked.0.chat(&asked.1, question(3)));
                    let mut talk = begun
                        .await
                        .expect("a thread")
                        .expect("every request is taken up");
                    while let Some(event) = talk.next().await {
                        assert!(!matches!(event, ChatEvent::Failed(_)), "{event:?}");
                    }
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    for version in ["1.0.1", "1.0.2"] {
        let loaded = load(version).await.expect("a thread").expect("it loads");
        assert_eq!(loaded.model.version, version);
        tokio::time::sleep(Duration::from_millis(700)).await; // answers of both versions
    }
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    for client in clients {
        assert!(client.await.expect("no request was lost") > 1);
    }
    assert_eq!(runner.loaded().len(), 1);
    let begun = Instant::now();
    while alive(first) {
        assert!(begun.elapsed() < s(30), "the first version's process stays");
        tokio::time::sleep(Duration::from_millis(20)).await; // the end of another process cannot be awaited here
    }
}
