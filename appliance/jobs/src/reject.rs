//! That an analysis failed, into an object that says so in the study, and the end of the job with it: one commit.

use crate::failure::GiveUp;
use crate::infer::{blocking, evidence, held};
use crate::objects::{self, unmade};
use crate::prepare;
use crate::run::{JobsConfig, Surroundings};
use pericard_dicom::report::{ReportContext, rejection};
use pericard_domain::finding::Report;
use pericard_domain::job::{Failure, FailureClass, Work};
use pericard_store::queue::LeasedJob;

/// Ends the job as failed with an object that says so. `false` when no rule asks for one or none could be
/// made: then the caller ends the job without.
pub(crate) async fn told(
    config: &JobsConfig,
    surroundings: &Surroundings,
    job: &LeasedJob,
    failure: &Failure,
) -> bool {
    if !objects::terms(&config.rules.borrow(), job).report_failures {
        return false;
    }
    match tell(config, surroundings, job, failure).await {
        Ok(()) => true,
        Err(GiveUp::Failed(why)) => {
            tracing::warn!(
                job = job.job.id.0,
                reason = why.reason,
                "the failure could not be told in the study"
            );
            false
        }
        Err(GiveUp::Store(error)) => {
            tracing::error!(job = job.job.id.0, %error, "the failure could not be told in the study");
            false
        }
    }
}

async fn tell(
    config: &JobsConfig,
    surroundings: &Surroundings,
    job: &LeasedJob,
    failure: &Failure,
) -> Result<(), GiveUp> {
    let Work::Infer {
        study,
        revision,
        model,
        ..
    } = &job.job.work
    else {
        return Ok(());
    };
    let failure = last_word(failure, job.job.attempts);
    let package = surroundings.packages.iter().find(|p| p.model == *model);
    let held = held(surroundings, study, *revision).await?;
    // What the model is for, when the study holds any of it; else all images: it was asked about them.
    let images = |held: &[prepare::Held]| -> Vec<prepare::Held> {
        let has_pixels = |h: &&prepare::Held| h.instance.facts.rows.is_some();
        held.iter().filter(has_pixels).cloned().collect()
    };
    let suitable = package.and_then(|package| prepare::suitable(package, held.clone()).ok());
    let looked_at = suitable.unwrap_or_else(|| images(&held));
    let mut report = Report {
        study: study.clone(),
        revision: *revision,
        model: model.clone(),
        clinical_use: package.is_some_and(|package| package.manifest.clinical_use),
        evidence: Vec::new(),
        findings: Vec::new(),
        device: "none".into(),
        at: surroundings.clock.now(),
    };
    let offset_min = surroundings.clock.utc_offset_min(report.at);
    let predecessor = objects::predecessor(&surroundings.store, &report).await?;
    let (device, attempts, told) = (config.device.clone(), job.job.attempts, failure.clone());
    let mut reader = surroundings.runner.reader();
    let object = blocking(move || {
        let (read, sources) = prepare::readable_sources(&mut reader, &looked_at);
        report.evidence = read.iter().map(evidence).collect();
        let context = ReportContext {
            sources: &sources,
            device: &device,
            utc_offset_min: offset_min,
            predecessor: predecessor.as_ref(),
            segments: &[],
        };
        rejection(&report, &context, &told, attempts).map_err(unmade)
    })
    .await?;
    let files = objects::sealed(&surroundings.store, vec![object])?;
    Ok(surroundings.store.reject(job, failure, files).await?)
}

/// The failure as it is kept: a transient one that ends the job was not the first.
fn last_word(failure: &Failure, attempts: u32) -> Failure {
    let reason = match failure.class {
        FailureClass::WorkerLost | FailureClass::Internal => format!(
            "none of {attempts} attempts succeeded; the last: {}",
            failure.reason
        ),
        _ => failure.reason.clone(),
    };
    Failure {
        class: failure.class,
        reason,
    }
}
