//! The appliance's own care of what it keeps: files compared with rows, checksums read again, retention. What it finds is
//! marked, audited and counted by the store; here is only when.

use crate::config::Config;
use pericard_domain::time::{Clock, Timestamp};
use pericard_store::care::{DiskLevel, RetentionRule};
use pericard_store::{Store, StoreError};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How often the disk is looked at for its low mark, and the orders to remove files are carried out.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How much the scrub reads in one step. After each its place is kept, which costs a commit.
const STEP_MIB: u32 = 64;
/// How long the scrub rests after a step that failed.
const REST_AFTER_TROUBLE: Duration = Duration::from_secs(600);
const DAY: Duration = Duration::from_secs(86_400);

/// How long a workitem that has ended can still be asked for, days; longer when a subscriber locked it.
const WORKITEMS_KEPT_DAYS: u32 = 30;

/// When and how fast.
#[derive(Debug, Clone)]
pub(crate) struct CareConfig {
    rules: Vec<RetentionRule>,
    retention_interval: Duration,
    audit_kept_days: u32,
    scrub_mib_per_s: u32,
    scrub_interval: Duration,
}

impl CareConfig {
    pub(crate) fn of(config: &Config) -> Self {
        let (storage, retention) = (&config.written.storage, &config.written.retention);
        let rules = retention.iter().map(|rule| RetentionRule {
            name: rule.name.clone(),
            modalities: rule.modalities.clone(),
            images_kept_days: rule.images_kept_days,
            results_kept_days: rule.results_kept_days,
        });
        Self {
            rules: rules.collect(),
            retention_interval: Duration::from_secs(60) * storage.retention_interval_min,
            audit_kept_days: storage.audit_kept_days,
            scrub_mib_per_s: storage.scrub_mib_per_s,
            scrub_interval: DAY * storage.scrub_interval_days,
        }
    }
}

/// Cares until the stop. Trouble is said and tried again later: it must not close a door.
pub(crate) async fn run(
    config: CareConfig,
    store: Store,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> Result<(), StoreError> {
    let both = async {
        tokio::join!(
            keep_by_rule(&config, &store, clock.as_ref()),
            scrub(&config, &store, clock.as_ref())
        );
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = both => {}
    }
    Ok(())
}

/// Retention at its interval, and at once when the disk is low. What a former process left unfinished comes first.
async fn keep_by_rule(config: &CareConfig, store: &Store, clock: &dyn Clock) {
    match store.reconcile().await {
        Ok(found) if found == Default::default() => tracing::debug!("every older file has its row"),
        Ok(found) => tracing::warn!(?found, "files and rows are not the same"),
        Err(error) => tracing::warn!(%error, "files and rows were not compared"),
    }
    let mut done_at: Option<Instant> = None;
    let mut was_low = false;
    loop {
        let is_low = store.disk().is_ok_and(|disk| disk.level > DiskLevel::Ample);
        if is_low && !was_low {
            tracing::warn!("the disk is low: batch work is refused, and retention hurries");
        }
        was_low = is_low;
        let is_due = done_at.is_none_or(|at| at.elapsed() >= config.retention_interval);
        if is_due || is_low {
            done_at = Some(Instant::now());
            if let Err(error) = expire(config, store, clock).await {
                tracing::warn!(%error, "what is kept no longer was not removed");
            }
        } else if let Err(error) = store.remove_ordered().await {
            // What was erased from the command line, beside this process.
            tracing::warn!(%error, "erased files were not removed");
        }
        // What the command line erased is removed here: only this process knows which files are just coming.
        if let Err(error) = store.remove_ordered().await {
            tracing::warn!(%error, "files were not removed");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn expire(config: &CareConfig, store: &Store, clock: &dyn Clock) -> Result<(), StoreError> {
    let expired = store.expire(&config.rules).await?;
    if expired.studies > 0 || expired.withheld > 0 {
        tracing::info!(?expired, "retention by rule");
    }
    if config.audit_kept_days > 0 {
        store.expire_audit(config.audit_kept_days).await?;
    }
    let kept = DAY * WORKITEMS_KEPT_DAYS;
    let before = clock.now().as_millis() - i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
    store
        .expire_workitems(Timestamp::from_millis(before))
        .await?;
    Ok(())
}

/// One pass over every object, then rest until the next is due; after a restart it goes on where it was.
async fn scrub(config: &CareConfig, store: &Store, clock: &dyn Clock) {
    if config.scrub_mib_per_s == 0 {
        return;
    }
    loop {
        let step = match rest_left(config, store, clock).await {
            Ok(rest) if rest.is_zero() => store.scrub(u64::from(STEP_MIB) << 20).await,
            Ok(rest) => {
                tokio::time::sleep(rest).await;
                continue;
            }
            Err(error) => Err(error),
        };
        let rest = match step {
            Ok(step) => {
                Duration::from_secs(step.bytes.div_ceil(u64::from(config.scrub_mib_per_s) << 20))
            }
            Err(error) => {
                tracing::warn!(%error, "kept objects could not be read again");
                REST_AFTER_TROUBLE
            }
        };
        tokio::time::sleep(rest).await;
    }
}

async fn rest_left(
    config: &CareConfig,
    store: &Store,
    clock: &dyn Clock,
) -> Result<Duration, StoreError> {
    let Some(ended) = store.care().await?.scrubbed_at else {
        return Ok(Duration::ZERO);
    };
    Ok(config
        .scrub_interval
        .saturating_sub(clock.now().since(ended)))
}
