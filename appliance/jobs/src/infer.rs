//! The model, then its output as findings, then the result objects, then the conclusion: one commit.

use crate::failure::GiveUp;
use crate::findings;
use crate::objects::{self, Making};
use crate::prepare::{self, Held};
use crate::run::{JobsConfig, Surroundings};
use crate::tracking;
use pericard_domain::finding::{Evidence, Finding, Report};
use pericard_domain::image::{ImagingOutput, Mask, Volume};
use pericard_domain::job::{FailureClass, Work};
use pericard_domain::model::{ModelRef, Package, Task};
use pericard_domain::uid::StudyUid;
use pericard_egress::{CatalogueId, Counter, Outcome};
use pericard_store::queue::{Conclusion, LeasedJob};
use std::sync::Arc;
use std::time::Instant;

/// What a model gave, in words, and what a segmentation is made of when it gave a mask.
struct Found {
    findings: Vec<Finding>,
    evidence: Vec<Held>,
    mask: Option<(Volume, Mask)>,
}

pub(crate) async fn infer(
    config: &JobsConfig,
    surroundings: &Surroundings,
    job: &LeasedJob,
    model: &ModelRef,
) -> Result<(), GiveUp> {
    let Work::Infer {
        study, revision, ..
    } = &job.job.work
    else {
        return Ok(());
    };
    let begun = Instant::now();
    let place = surroundings.packages.iter().position(|p| p.model == *model);
    let place = place.ok_or_else(|| gone(model))?;
    let package = Arc::new(surroundings.packages[place].clone());
    let catalogue = surroundings.catalogue.get(place);
    surroundings.store.go_on_without_priors(study).await?;
    let held = held(surroundings, study, *revision).await?;
    let mut found = look(surroundings, &package, study, held).await?;
    let earlier = tracking::earlier(&surroundings.store, (study, *revision), &model.name).await?;
    tracking::inherit((study, &model.name), &mut found.findings, &earlier);
    let device = surroundings
        .runner
        .loaded()
        .into_iter()
        .find(|l| l.model == *model)
        .map_or_else(String::new, |l| l.device);
    let report = Report {
        study: study.clone(),
        revision: *revision,
        model: model.clone(),
        clinical_use: package.manifest.clinical_use,
        evidence: found.evidence.iter().map(evidence).collect(),
        findings: found.findings,
        device,
        at: surroundings.clock.now(),
    };
    surroundings.meter.inference(
        catalogue.copied().unwrap_or(CatalogueId::NONE),
        Outcome::Done,
        begun.elapsed(),
    );
    let offset_min = surroundings.clock.utc_offset_min(report.at);
    let making = Making {
        report,
        evidence: found.evidence,
        mask: found.mask,
        offset_min,
    };
    conclude(config, surroundings, job, making).await
}

/// What the model says of these objects.
async fn look(
    surroundings: &Surroundings,
    package: &Arc<Package>,
    study: &StudyUid,
    held: Vec<Held>,
) -> Result<Found, GiveUp> {
    let model = &package.model;
    match package.manifest.task {
        Task::TextSpotting => spot_text(surroundings, Arc::clone(package), study, held).await,
        Task::VolumeSegmentation => segment(surroundings, Arc::clone(package), study, held).await,
        Task::Chat | Task::Embedding | Task::TokenClassification => Err(GiveUp::failed(
            FailureClass::UnsuitableInput,
            format!("{model} takes no images"),
        )),
    }
}

/// Scores a study that is held, as an evaluation asks for it: the highest score of what the model finds, in its worker
/// behind walls as always. Nothing is concluded, kept or sent.
///
/// # Errors
/// Why there is none, in a sentence without patient data.
pub async fn score(
    surroundings: &Surroundings,
    study: &StudyUid,
    package: &Package,
) -> Result<Option<f32>, String> {
    let scored = async {
        let held: Vec<_> = surroundings
            .store
            .instances(study)
            .await?
            .into_iter()
            .collect();
        let received = held.into_iter().filter(|instance| !instance.is_result);
        let with_path = |instance| Held {
            path: surroundings.store.object_path(&instance),
            instance,
        };
        let held = received.map(with_path).collect();
        look(surroundings, &Arc::new(package.clone()), study, held).await
    };
    match scored.await {
        Ok(found) => {
            let scores = found.findings.iter().filter_map(|finding| finding.score);
            Ok(scores.reduce(f32::max))
        }
        Err(GiveUp::Failed(failure)) => Err(failure.reason),
        Err(GiveUp::Store(error)) => Err(error.to_string()),
    }
}

pub(crate) async fn held(
    surroundings: &Surroundings,
    study: &StudyUid,
    revision: u32,
) -> Result<Vec<Held>, GiveUp> {
    let instances = surroundings.store.instances_of(study, revision).await?;
    let with_path = |instance| Held {
        path: surroundings.store.object_path(&instance),
        instance,
    };
    Ok(instances.into_iter().map(with_path).collect())
}

async fn spot_text(
    surroundings: &Surroundings,
    package: Arc<Package>,
    study: &StudyUid,
    held: Vec<Held>,
) -> Result<Found, GiveUp> {
    let suitable = prepare::suitable(&package, held)?;
    let mut boxes = Vec::new();
    let mut reader = surroundings.runner.reader();
    for held in &suitable {
        let held = held.clone();
        reader = blocking(move || prepare::open(&mut reader, &held).map(|()| reader)).await?;
        loop {
            let (portion, rest) = blocking(move || Ok((reader.frames()?, reader))).await?;
            reader = rest;
            let Some(portion) = portion else { break };
            match surroundings.runner.look(&package.model, portion).await? {
                ImagingOutput::Text(found) => boxes.extend(found),
                ImagingOutput::Mask(_) => return Err(other_output(&package)),
            }
        }
    }
    Ok(Found {
        findings: findings::of_text(&package, study, boxes)?,
        evidence: suitable,
        mask: None,
    })
}

async fn segment(
    surroundings: &Surroundings,
    package: Arc<Package>,
    study: &StudyUid,
    held: Vec<Held>,
) -> Result<Found, GiveUp> {
    let suitable = prepare::suitable(&package, held)?;
    let mut reader = surroundings.runner.reader();
    let (picture, used) = blocking(move || prepare::volume(&mut reader, &suitable)).await?;
    // Without its voxels, which only the model needs.
    let volume = picture.volume().ok_or_else(|| other_output(&package))?;
    let output = surroundings.runner.look(&package.model, picture).await?;
    let ImagingOutput::Mask(mask) = output else {
        return Err(other_output(&package));
    };
    let findings = findings::of_mask(&package, study, &volume, &mask)?;
    Ok(Found {
        findings,
        evidence: used,
        mask: Some((volume, mask)),
    })
}

async fn conclude(
    config: &JobsConfig,
    surroundings: &Surroundings,
    job: &LeasedJob,
    making: Making,
) -> Result<(), GiveUp> {
    let device = config.device.clone();
    let kinds = objects::terms(&config.rules.borrow(), job).results;
    let predecessor = objects::predecessor(&surroundings.store, &making.report).await?;
    // It starts a process only when a picture is asked for.
    let mut reader = surroundings.runner.reader();
    let (made, report) = blocking(move || {
        let made = objects::made(&making, &device, &kinds, predecessor.as_ref(), &mut reader)?;
        Ok((made, making.report))
    })
    .await?;
    let files = objects::sealed(&surroundings.store, made)?;
    let (study, model, found) = (
        report.study.clone(),
        report.model.to_string(),
        report.findings.len(),
    );
    surroundings
        .store
        .conclude(
            job,
            Conclusion {
                report,
                objects: files,
            },
        )
        .await?;
    surroundings.meter.count(Counter::JobsDone);
    tracing::info!(job = job.job.id.0, %study, model, found, "concluded");
    Ok(())
}

pub(crate) fn evidence(held: &Held) -> Evidence {
    let identity = &held.instance.identity;
    Evidence {
        instance: identity.instance.clone(),
        series: identity.series.clone(),
        sop_class: identity.sop_class.clone(),
    }
}

/// Runs blocking work on a thread of its own; a panic in it is a failed attempt and nothing else.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, GiveUp> + Send + 'static,
) -> Result<T, GiveUp> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(GiveUp::failed(
            FailureClass::WorkerLost,
            "a decoder panicked; the journal has the place",
        )),
    }
}

fn gone(model: &ModelRef) -> GiveUp {
    let reason = format!("{model} is not live any more; activate it, restart, and retry the job");
    GiveUp::failed(FailureClass::ModelUnavailable, reason)
}

fn other_output(package: &Package) -> GiveUp {
    GiveUp::failed(
        FailureClass::ModelFailed,
        format!("{} gave an output of another task", package.model),
    )
}
