//! The loop: leases what is due, a named number at once, until the stop.

use crate::failure::{GiveUp, retry_at};
use crate::{assemble, infer};
use pericard_dicom::report::Device;
use pericard_domain::job::{Failure, Work};
use pericard_domain::model::Package;
use pericard_domain::rule::Rule;
use pericard_domain::settling::Completeness;
use pericard_domain::time::Clock;
use pericard_egress::{CatalogueId, Counter, Meter, Outcome, Stage};
use pericard_runner::Runner;
use pericard_store::queue::{LeaseTerms, LeasedJob};
use pericard_store::{Store, StoreError};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The longest wait between two looks at the queue when nothing wakes the loop: a clock that was put back is noticed.
const LOOK_AGAIN_S: u64 = 30;
/// How long the loop rests after the store failed to lease, so that a full disk does not become a full journal.
const REST_AFTER_TROUBLE_S: u64 = 5;

/// How work is done.
#[derive(Debug, Clone)]
pub struct JobsConfig {
    /// How long a job may be silent before it is taken up again. Renewed while work goes on.
    pub lease: Duration,
    /// How many attempts a job has.
    pub attempts_max: u32,
    /// How many jobs may be in hand at once.
    pub concurrent_max: usize,
    /// Which studies go to which models, by now: what is planned stays planned.
    pub rules: watch::Receiver<Arc<[Rule]>>,
    /// How the appliance names itself in results.
    pub device: Device,
}

/// What this room works with. Cheap to clone.
#[derive(Clone)]
pub struct Surroundings {
    /// What is kept.
    pub store: Store,
    /// The models.
    pub runner: Runner,
    /// The live packages, verified.
    pub packages: Arc<[Package]>,
    /// The closed counters.
    pub meter: Meter,
    /// The hub's numbers of the live packages, in their order.
    pub catalogue: Arc<[CatalogueId]>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Whether a study is complete: whoever stands at the door knows what may still come.
    pub completeness: Arc<dyn Completeness>,
}

/// Works until the stop, then lets what is in hand end. What does not end in time lapses and is taken up again.
///
/// # Errors
/// Never for one job's sake: a job that fails is concluded as failed.
pub async fn run(
    config: JobsConfig,
    surroundings: Surroundings,
    stop: CancellationToken,
) -> Result<(), StoreError> {
    let config = Arc::new(config);
    let mut in_hand = JoinSet::new();
    let orders = crate::orders::run(Arc::clone(&config), surroundings.clone(), stop.clone());
    let orders = tokio::spawn(orders);
    loop {
        while let Some(ended) = in_hand.try_join_next() {
            note_panic(ended);
        }
        if in_hand.len() >= config.concurrent_max {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = in_hand.join_next() => note_panic(ended),
            }
            continue;
        }
        if stop.is_cancelled() {
            break;
        }
        // Registered before the look: a change between the look and the wait is not missed.
        let changed = surroundings.store.changed();
        let terms = LeaseTerms {
            lease: config.lease,
            attempts_max: config.attempts_max,
        };
        match surroundings.store.lease(terms).await {
            Ok(Some(job)) => {
                let work = step(Arc::clone(&config), surroundings.clone(), job);
                in_hand.spawn(work);
            }
            Ok(None) => {
                let rest = until_due(&surroundings).await;
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = changed => {}
                    () = tokio::time::sleep(rest) => {}
                    Some(ended) = in_hand.join_next(), if !in_hand.is_empty() => note_panic(ended),
                }
            }
            Err(error) => {
                tracing::error!(%error, "no job can be leased");
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(Duration::from_secs(REST_AFTER_TROUBLE_S)) => {}
                }
            }
        }
    }
    while let Some(ended) = in_hand.join_next().await {
        note_panic(ended);
    }
    note_panic(orders.await);
    Ok(())
}

async fn until_due(surroundings: &Surroundings) -> Duration {
    let longest = Duration::from_secs(LOOK_AGAIN_S);
    match surroundings.store.next_due().await {
        // A millisecond beyond, so that what is due then is due when we look.
        Ok(Some(due)) => {
            (due.since(surroundings.clock.now()) + Duration::from_millis(1)).min(longest)
        }
        _ => longest,
    }
}

/// One job from lease to conclusion, its lease renewed meanwhile.
async fn step(config: Arc<JobsConfig>, surroundings: Surroundings, job: LeasedJob) {
    // An inference is due when it is planned; a later attempt has waited for its turn, not for the queue.
    if matches!(job.job.work, Work::Infer { .. }) && job.job.attempts == 1 {
        let waited = surroundings.clock.now().since(job.job.created_at);
        surroundings.meter.observe(Stage::Queue, waited);
    }
    let begun = Instant::now();
    let work = async {
        match &job.job.work {
            Work::Assemble { study } => {
                assemble::assemble(&config, &surroundings, &job, study).await
            }
            Work::Infer { model, .. } => infer::infer(&config, &surroundings, &job, model).await,
        }
    };
    let ended = tokio::select! {
        ended = work => ended,
        lapsed = keep(&surroundings.store, &job, config.lease) => Err(GiveUp::Store(lapsed)),
    };
    if let Err(give_up) = ended {
        end_badly(&config, &surroundings, (&job, begun.elapsed()), give_up).await;
    }
}

/// Renews the lease three times within its length; ends when that is refused.
async fn keep(store: &Store, job: &LeasedJob, lease: Duration) -> StoreError {
    loop {
        tokio::time::sleep(lease / 3).await;
        if let Err(error) = store.renew(job, lease).await {
            return error;
        }
    }
}

async fn end_badly(
    config: &JobsConfig,
    surroundings: &Surroundings,
    (job, took): (&LeasedJob, Duration),
    give_up: GiveUp,
) {
    let id = job.job.id.0;
    let failure = match give_up {
        // Somebody else has it, or will: nothing to conclude.
        GiveUp::Store(StoreError::LeaseLapsed) => {
            tracing::warn!(job = id, "the lease lapsed; the job is taken up again");
            return;
        }
        GiveUp::Store(error) => GiveUp::internal(&error),
        GiveUp::Failed(failure) => failure,
    };
    tracing::warn!(job = id, attempt = job.job.attempts, class = ?failure.class, reason = failure.reason, "the job failed");
    let again = failure.class.is_transient() && job.job.attempts < config.attempts_max;
    let retry = again.then(|| retry_at(surroundings.clock.now(), job.job.attempts));
    count(surroundings, (job, took), &failure, again);
    if !again && crate::reject::told(config, surroundings, job, &failure).await {
        return;
    }
    if let Err(error) = surroundings.store.fail(job, failure, retry).await {
        tracing::error!(job = id, %error, "the failure could not be written; the lease will lapse");
    }
}

/// Counts a failure: of the job when it is given up, and of the model that was to do it.
fn count(
    surroundings: &Surroundings,
    (job, took): (&LeasedJob, Duration),
    failure: &Failure,
    again: bool,
) {
    let meter = &surroundings.meter;
    if again {
        meter.count(Counter::JobsRetried);
        return;
    }
    meter.count(crate::failure::counter(failure.class));
    if let Work::Infer { model, .. } = &job.job.work {
        let place = surroundings.packages.iter().position(|p| p.model == *model);
        let catalogue = place.and_then(|place| surroundings.catalogue.get(place));
        let catalogue = catalogue.copied().unwrap_or(CatalogueId::NONE);
        meter.inference(catalogue, Outcome::Failed, took);
    }
}

fn note_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a job's task panicked; its lease will lapse");
    }
}
