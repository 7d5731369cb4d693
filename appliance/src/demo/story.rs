//! What is shown, and what is printed of it.
#![allow(clippy::print_stdout)] // the demonstration is its output

use super::DemoArgs;
use super::hub::{Shown, Told};
use super::line::{Request, post};
use super::pacs::Pacs;
use super::stage::Stage;
use crate::cli::CommandError;
use crate::cli::submit::{bar, described, settled, show};
use crate::serve::Open;
use pericard_dicom::scan::{ScanLimits, scan_file};
use pericard_dimse::FileOutcome;
use pericard_domain::job::{Job, JobState, Work};
use pericard_domain::time::Timestamp;
use pericard_domain::uid::StudyUid;
use pericard_store::outbox::DeliveryRow;
use pericard_store::queue::JobQuery;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// What the language model is asked.
const QUESTION: &str = "What does a radiologist do? Answer in two sentences.";
/// The studies that are shown: an ultrasound with text in its pixels, another, a chest without, a T1 head series.
const STUDIES: [&str; 4] = ["us1", "adult-echo", "chest", "t1-head"];
/// The most findings of one report that are printed.
const FINDINGS_SHOWN_MAX: usize = 12;
/// How long a delivery may take before the story goes on without it.
const DELIVERY_PATIENCE_S: u64 = 20;
/// How long models may take to load.
const LOADING_PATIENCE_S: u64 = 180;

/// Tells the whole story.
pub(super) async fn tell(
    stage: &Stage,
    open: &Open,
    args: &DemoArgs,
    hub: Option<(Shown, JoinHandle<Told>)>,
) -> Result<(), CommandError> {
    let token = stage
        .announce(open, hub.as_ref().map(|(shown, _)| shown))
        .await?;
    println!(
        "Pericard {} in {}",
        env!("CARGO_PKG_VERSION"),
        stage.dir.display()
    );
    println!(
        "  https  https://{}   certificate SHA-256 {}",
        stage.https, open.fingerprint
    );
    println!("  dicom  {} as {}", stage.dicom, stage.config.ae_title);
    if let Some((shown, nation)) = hub {
        nation_told(&shown, nation).await?;
    }
    if !args.no_samples {
        loaded(open).await?;
        for (number, folder) in studies_in(&stage.samples)?.into_iter().enumerate() {
            one_study(stage, open, &token, &folder, number).await?;
        }
        chat(stage, open, &token).await?;
    }
    if !args.exit {
        println!("\nThe appliance stays up. Try:");
        println!("  export TOKEN={token}");
        println!(
            "  curl --cacert {} -H \"Authorization: Bearer $TOKEN\" https://{}/api/v1/studies",
            stage.ca().display(),
            stage.https
        );
        println!(
            "  storescu -aec {} {} {} FILE.dcm",
            stage.config.ae_title,
            stage.dicom.ip(),
            stage.dicom.port()
        );
        println!(
            "  pericard jobs list --config {}",
            stage.dir.join("pericard.toml").display()
        );
        println!(
            "  pericard audit verify --config {}",
            stage.dir.join("pericard.toml").display()
        );
        println!("Stop it with Ctrl-C.");
    }
    Ok(())
}

/// Waits until the simulated hospitals have told of their weeks, and says where that is seen.
async fn nation_told(shown: &Shown, nation: JoinHandle<Told>) -> Result<(), CommandError> {
    let frames = nation.await.map_err(CommandError::failed)??;
    println!(
        "  hub    https://{}/   the national dashboard; {frames} frames of simulated hospitals came in",
        shown.hub
    );
    println!("         log in with {}", shown.hub_token);
    println!("         certificate authority {}", shown.hub_ca.display());
    Ok(())
}

/// Waits until every live model is loaded, and says how long each took.
async fn loaded(open: &Open) -> Result<(), CommandError> {
    let begun = Instant::now();
    while open.runner.loaded().len() < open.packages.len() {
        if begun.elapsed() > Duration::from_secs(LOADING_PATIENCE_S) {
            return Err(CommandError::Failed(
                "a model did not load; the lines above say why".into(),
            ));
        }
        tokio::time::sleep(Duration::from_millis(20)).await; // there is nothing to await: loading is a thread's work
    }
    for model in open.runner.loaded() {
        println!(
            "  model  {} on {}, loaded and checked in {} ms",
            model.model, model.device, model.load_ms
        );
    }
    Ok(())
}

fn studies_in(samples: &Path) -> Result<Vec<PathBuf>, CommandError> {
    let folders = STUDIES.map(|name| samples.join(name));
    match folders.iter().find(|folder| !folder.is_dir()) {
        Some(missing) => {
            let missing = missing.display();
            Err(CommandError::Failed(format!(
                "{missing} is not there; `cargo xtask fetch` gets the samples"
            )))
        }
        None => Ok(folders.to_vec()),
    }
}

async fn one_study(
    stage: &Stage,
    open: &Open,
    token: &str,
    folder: &Path,
    number: usize,
) -> Result<(), CommandError> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let files = files_in(folder)?;
    let study = files.first().and_then(|file| study_of(file));
    let study = study
        .ok_or_else(|| CommandError::Failed(format!("{}: no DICOM file", folder.display())))?;
    let begun = Instant::now();
    // The first by STOW-RS, the others over the DICOM network: both doors are real.
    let road = if number == 0 {
        stow(stage, token, &files).await?;
        "STOW-RS"
    } else {
        let bar = bar();
        let sent = stage
            .pacs
            .send(folder, |progress| show(&bar, progress))
            .await
            .map_err(CommandError::failed)?;
        bar.finish_and_clear();
        let refused = sent
            .iter()
            .find(|(_, outcome)| !matches!(outcome, FileOutcome::Stored { .. }));
        if let Some((path, outcome)) = refused {
            return Err(CommandError::Failed(format!(
                "{}: {outcome:?}",
                path.display()
            )));
        }
        "C-STORE"
    };
    println!(
        "\n{name}: {} objects sent by {road} in {} ms",
        files.len(),
        begun.elapsed().as_millis()
    );
    println!("  study      {study}");
    settled(&open.store, &study).await?;
    print_steps(open, &study).await?;
    print_results(stage, open, &study).await
}

async fn stow(stage: &Stage, token: &str, files: &[PathBuf]) -> Result<(), CommandError> {
    const BOUNDARY: &str = "pericard-demonstration-part";
    let mut body = Vec::new();
    for file in files {
        body.extend_from_slice(
            format!("--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n").as_bytes(),
        );
        body.extend(fs::read(file).map_err(CommandError::failed)?);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    let request = Request {
        path: "/dicomweb/studies",
        token,
        content_type: &format!(
            "multipart/related; type=\"application/dicom\"; boundary={BOUNDARY}"
        ),
        accept: "application/dicom+json",
        body: &body,
    };
    let mut answer = post(stage.https, &stage.ca(), request).await?;
    match answer.status {
        200 => Ok(()),
        status => Err(CommandError::Failed(format!(
            "STOW-RS was answered with {status}: {}",
            answer.rest().await
        ))),
    }
}

/// When each step of the study's way was done.
async fn print_steps(open: &Open, study: &StudyUid) -> Result<(), CommandError> {
    let received = open.store.study(study).await?.last_received_at;
    let mut jobs = open
        .store
        .jobs(JobQuery {
            study: Some(study.clone()),
            ..JobQuery::default()
        })
        .await?;
    jobs.reverse();
    let mut before = received;
    for job in jobs {
        let Some(ended) = job.ended_at else { continue };
        println!(
            "  {:<10} {}, {} ms{}",
            job.state.name(),
            step(&job),
            after(before, ended),
            why(&job)
        );
        before = ended;
    }
    Ok(())
}

fn step(job: &Job) -> String {
    match &job.work {
        Work::Assemble { .. } => "study complete (2 s without a new object), models chosen".into(),
        Work::Infer { model, rule, .. } => format!("{model} (rule {rule:?})"),
    }
}

fn why(job: &Job) -> String {
    match &job.state {
        JobState::Failed { failure } => format!(": {}", failure.reason),
        _ => String::new(),
    }
}

fn after(before: Timestamp, ended: Timestamp) -> u128 {
    ended.since(before).as_millis()
}

async fn print_results(stage: &Stage, open: &Open, study: &StudyUid) -> Result<(), CommandError> {
    for kept in open.store.reports(study).await? {
        let report = &kept.report;
        println!(
            "  found      {} finding(s) by {}",
            report.findings.len(),
            report.model
        );
        for finding in report.findings.iter().take(FINDINGS_SHOWN_MAX) {
            println!("             {}", described(finding));
        }
        if report.findings.len() > FINDINGS_SHOWN_MAX {
            println!(
                "             and {} more",
                report.findings.len() - FINDINGS_SHOWN_MAX
            );
        }
        if !report.clinical_use {
            println!("             NOT FOR CLINICAL USE");
        }
    }
    for row in delivered(open, study).await? {
        let path = stage.pacs.dir.join(format!("{}.dcm", row.instance));
        match row.delivered_at {
            Some(_) => println!(
                "  delivered  to {} by C-STORE: {}",
                Pacs::name(),
                path.display()
            ),
            None => println!(
                "  delivery   {} to {}: {}",
                row.state,
                Pacs::name(),
                row.last_trouble.unwrap_or_default()
            ),
        }
        println!(
            "  over HTTPS https://{}/dicomweb/studies/{study}/series",
            stage.https
        );
    }
    Ok(())
}

/// The study's outbox lines, when all are delivered or patience is over.
async fn delivered(open: &Open, study: &StudyUid) -> Result<Vec<DeliveryRow>, CommandError> {
    let begun = Instant::now();
    loop {
        let rows = open.store.deliveries(Some(study), 100).await?;
        let under_way = rows
            .iter()
            .any(|row| row.delivered_at.is_none() && row.state != "failed");
        if !under_way || begun.elapsed() > Duration::from_secs(DELIVERY_PATIENCE_S) {
            return Ok(rows);
        }
        tokio::select! {
            () = open.store.changed() => {}
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
    }
}

async fn chat(stage: &Stage, open: &Open, token: &str) -> Result<(), CommandError> {
    let Some(model) = open
        .runner
        .loaded()
        .into_iter()
        .find(|loaded| loaded.context_tokens.is_some())
    else {
        return Ok(());
    };
    println!("\nchat with {}: {QUESTION}", model.model);
    let body = serde_json::json!({
        "model": model.model.name,
        "messages": [{ "role": "user", "content": QUESTION }],
        "temperature": 0,
        "max_tokens": 96,
        "stream": true,
        "stream_options": { "include_usage": true },
    });
    let body = serde_json::to_vec(&body).map_err(CommandError::failed)?;
    let begun = Instant::now();
    let request = Request {
        path: "/v1/chat/completions",
        token,
        content_type: "application/json",
        accept: "text/event-stream",
        body: &body,
    };
    let mut answer = post(stage.https, &stage.ca(), request).await?;
    if answer.status != 200 {
        let (status, why) = (answer.status, answer.rest().await);
        return Err(CommandError::Failed(format!(
            "the chat was answered with {status}: {why}"
        )));
    }
    print!("  ");
    let (mut first, mut tokens) = (None, 0);
    while let Some(line) = answer.line().await? {
        let Some(data) = line.strip_prefix("data: ").filter(|data| *data != "[DONE]") else {
            continue;
        };
        let chunk: serde_json::Value = serde_json::from_str(data).map_err(CommandError::failed)?;
        if let Some(text) = chunk["choices"][0]["delta"]["content"]
            .as_str()
            .filter(|text| !text.is_empty())
        {
            first.get_or_insert_with(|| begun.elapsed());
            print!("{}", text.replace('\n', "\n  "));
            let _ = std::io::stdout().flush(); // a closed terminal is nobody to show it to
        }
        tokens = chunk["usage"]["completion_tokens"]
            .as_u64()
            .unwrap_or(tokens);
    }
    let took = begun.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
    let first_ms = first.unwrap_or_default().as_millis();
    println!(
        "\n  {tokens} tokens in {took:.1} s ({:.0} tokens/s), the first after {first_ms} ms",
        tokens as f64 / took
    );
    Ok(())
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>, CommandError> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .map_err(CommandError::failed)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    Ok(files)
}

fn study_of(file: &Path) -> Option<StudyUid> {
    let mut file = std::io::BufReader::new(fs::File::open(file).ok()?);
    scan_file(&mut file, &ScanLimits::default())
        .ok()
        .map(|header| header.identity.study)
}
