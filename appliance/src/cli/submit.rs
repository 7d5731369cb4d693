//! `pericard submit`

use super::{CommandError, ConfigFile, block_on, output};
use crate::places::Places;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use pericard_dimse::{
    Address, Caller, FileOutcome, Peer, RequestLimits, SubmitProgress, send_files,
};
use pericard_domain::ae::AeTitle;
use pericard_domain::job::JobState;
use pericard_domain::uid::StudyUid;
use pericard_store::Store;
use pericard_store::queue::JobQuery;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the queue is looked at while waiting, beside every change that the store announces.
const LOOK_AGAIN_MS: u64 = 500;
/// Which of the sample studies is sent when somebody asks for a sample.
const SAMPLE: &str = "us1";

#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// DICOM files, or folders of them
    #[arg(required_unless_present = "sample", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Send the sample study that is shipped: an ultrasound with text in its pixels
    #[arg(long, conflicts_with = "paths")]
    sample: bool,
    /// What to call ourselves
    #[arg(long, value_name = "AE", default_value = "SUBMIT", value_parser = title)]
    ae_title: AeTitle,
    /// Wait until the studies' jobs have ended, and print their results
    #[arg(long)]
    wait: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &SubmitArgs) -> Result<(), CommandError> {
    let config = args.config.read()?;
    let listen = config.written.dicom.listen;
    let peer = Peer::new(
        "the appliance",
        config.ae_title,
        Address::Ip(listen.ip()),
        Some(listen.port()),
    );
    let caller = Caller {
        ae_title: args.ae_title.clone(),
        limits: RequestLimits::default(),
        tls: None,
    };
    let paths = if args.sample {
        vec![sample()?]
    } else {
        args.paths.clone()
    };
    let bar = bar();
    let outcomes = block_on(async {
        let sent = send_files(&caller, &peer, &paths, |progress| show(&bar, progress)).await;
        sent.map_err(CommandError::failed)
    })?;
    bar.finish_and_clear();
    let stored: Vec<&PathBuf> = outcomes
        .iter()
        .filter(|(_, o)| matches!(o, FileOutcome::Stored { .. }))
        .map(|(path, _)| path)
        .collect();
    let studies: BTreeSet<StudyUid> = stored.iter().filter_map(|path| study_of(path)).collect();
    for (path, outcome) in outcomes
        .iter()
        .filter(|(_, o)| !matches!(o, FileOutcome::Stored { .. }))
    {
        eprintln!("{}: {}", path.display(), said(outcome));
    }
    eprintln!(
        "{} of {} files stored, {} studies",
        stored.len(),
        outcomes.len(),
        studies.len()
    );
    if args.wait {
        let store = args.config.store()?;
        block_on(async { results(&store, &studies, args.json).await })?;
    }
    let taken = |outcome: &FileOutcome| {
        matches!(
            outcome,
            FileOutcome::Stored { .. } | FileOutcome::Skipped { .. }
        )
    };
    if stored.is_empty() || !outcomes.iter().all(|(_, outcome)| taken(outcome)) {
        return Err(CommandError::Failed("not every file was stored".into()));
    }
    Ok(())
}

/// Where the sample study is.
fn sample() -> Result<PathBuf, CommandError> {
    let place = Places::found().samples.join(SAMPLE);
    if place.exists() {
        return Ok(place);
    }
    Err(CommandError::Failed(format!(
        "{}: there is no sample study; the package pericard has it, and in a clone `cargo xtask fetch` gets it",
        place.display()
    )))
}

/// A bar on a terminal, nothing anywhere else.
pub(crate) fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
}

/// Moves the bar.
pub(crate) fn show(bar: &ProgressBar, progress: SubmitProgress<'_>) {
    match progress {
        SubmitProgress::Found { files, .. } => bar.set_length(files as u64),
        SubmitProgress::File { .. } => bar.inc(1),
    }
}

fn said(outcome: &FileOutcome) -> String {
    match outcome {
        FileOutcome::Stored { .. } => "stored".into(),
        FileOutcome::Refused {
            status: Some(status),
            comment,
        } => format!("refused with status 0x{status:04X}: {comment}"),
        FileOutcome::Refused {
            status: None,
            comment,
        } => format!("refused: {comment}"),
        FileOutcome::Skipped { reason } => format!("skipped: {reason}"),
        FileOutcome::Failed { reason } => format!("failed: {reason}"),
    }
}

fn study_of(path: &Path) -> Option<StudyUid> {
    let mut file = BufReader::new(File::open(path).ok()?);
    let header =
        pericard_dicom::scan::scan_file(&mut file, &pericard_dicom::scan::ScanLimits::default());
    header.ok().map(|header| header.identity.study)
}

/// Waits until nothing of these studies waits or runs, then prints what was found.
async fn results(
    store: &Store,
    studies: &BTreeSet<StudyUid>,
    json: bool,
) -> Result<(), CommandError> {
    for study in studies {
        settled(store, study).await?;
        let reports = store.reports(study).await?;
        if json {
            output::json(&reports)?;
            continue;
        }
        output::line(format!("study {study}"));
        for kept in reports.iter().filter(|kept| !kept.superseded) {
            output::line(format!(
                "  {}: {} findings",
                kept.report.model,
                kept.report.findings.len()
            ));
            for finding in &kept.report.findings {
                output::line(format!("    {}", described(finding)));
            }
            kept.objects
                .iter()
                .for_each(|object| output::line(format!("    object {object}")));
        }
        let jobs = store
            .jobs(JobQuery {
                study: Some(study.clone()),
                ..JobQuery::default()
            })
            .await?;
        for job in jobs {
            if let JobState::Failed { failure } = &job.state {
                output::line(format!("  job {} failed: {}", job.id, failure.reason));
            }
        }
    }
    Ok(())
}

/// Resolves when every job of the study has ended.
pub(crate) async fn settled(store: &Store, study: &StudyUid) -> Result<(), CommandError> {
    loop {
        let jobs = store
            .jobs(JobQuery {
                study: Some(study.clone()),
                ..JobQuery::default()
            })
            .await?;
        let open =
            |state: &JobState| matches!(state, JobState::Waiting { .. } | JobState::Leased { .. });
        if !jobs.is_empty() && !jobs.iter().any(|job| open(&job.state)) {
            return Ok(());
        }
        tokio::select! {
            () = store.changed() => {}
            () = tokio::time::sleep(Duration::from_millis(LOOK_AGAIN_MS)) => {}
        }
    }
}

/// A finding in one line.
pub(crate) fn described(finding: &pericard_domain::finding::Finding) -> String {
    let mut words = vec![finding.concept.meaning.clone()];
    words.extend(finding.text.as_ref().map(|text| format!("{text:?}")));
    words.extend(
        finding
            .measurements
            .iter()
            .map(|m| format!("{} {:.1} {}", m.concept.meaning, m.value, m.unit.value)),
    );
    words.extend(finding.score.map(|score| format!("(score {score:.2})")));
    words.join(" ")
}

fn title(text: &str) -> Result<AeTitle, String> {
    AeTitle::new(text).map_err(|e| e.to_string())
}
