//! Recalls and advisories: what the hub answered to frames, as the gate kept it. Shown to people, and, where the
//! configuration says so, a recalled version stops. That is all that a hub can do here: stop a model, by the digest of a
//! manifest that it signed for; it can start none, change none, and say nothing in words of its own.

use crate::config::OnRecall;
use crate::weekly::words;
use pericard_api::Notice;
use pericard_domain::actor::Actor;
use pericard_domain::model::{ModelRef, Package};
use pericard_gate::{Advisory, Desk, Kind};
use pericard_registry::Registry;
use pericard_runner::Runner;
use pericard_store::{Store, StoreError};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What the audit log calls a version that is held, and one that is retired.
const HOLD: &str = "hold model";
const RETIRE: &str = "retire model";

/// What is known of recalls, and what is done about them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Recalls {
    pub(crate) desk: Desk,
    pub(crate) policy: OnRecall,
    pub(crate) registry: PathBuf,
    pub(crate) packages: Arc<[Package]>,
    pub(crate) runner: Runner,
    pub(crate) store: Store,
    pub(crate) told: Arc<watch::Sender<Arc<[Notice]>>>,
    /// The versions that were stopped.
    pub(crate) stopped: Arc<Mutex<BTreeSet<String>>>,
}

impl Recalls {
    /// Looks for what the hub has answered, again and again until the stop.
    pub(crate) async fn run(
        self,
        every: Duration,
        stop: CancellationToken,
    ) -> Result<(), StoreError> {
        let mut beat = tokio::time::interval(every);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = beat.tick() => self.look().await,
            }
        }
    }

    /// Whether this version does no work here, because of a recall.
    pub(crate) fn stops(&self, model: &ModelRef) -> bool {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        stopped.contains(&model.to_string())
    }

    /// Takes up what the hub has answered by now. Trouble is said: it must not close a door.
    pub(crate) async fn look(&self) {
        let desk = self.desk.clone();
        let read = tokio::task::spawn_blocking(move || pericard_gate::advisories(&desk)).await;
        let advisories = match read {
            Ok(Ok(advisories)) => advisories,
            Ok(Err(error)) => return tracing::warn!(%error, "recalls cannot be read"),
            Err(error) => return tracing::warn!(%error, "recalls cannot be read"),
        };
        for advisory in advisories.iter().filter(|a| a.kind == Kind::Recall) {
            if let Some(package) = self.package(advisory)
                && let Err(error) = self.act(advisory, &package.model).await
            {
                tracing::error!(%error, model = %package.model, "a recalled model could not be stopped");
            }
        }
        let notices: Arc<[Notice]> = advisories.iter().map(|a| self.notice(a)).collect();
        self.told.send_if_modified(|told| {
            let is_news = *told != notices;
            *told = notices;
            is_news
        });
    }

    /// The version that is meant: by its digest, since numbers are the hub's to give.
    fn package(&self, advisory: &Advisory) -> Option<&Package> {
        let is_meant =
            |package: &&Package| words(package.model.digest.as_bytes()) == advisory.model_digest;
        self.packages.iter().find(is_meant)
    }

    async fn act(&self, advisory: &Advisory, model: &ModelRef) -> Result<(), StoreError> {
        if self.policy == OnRecall::Show || self.stops(model) {
            return Ok(());
        }
        self.stopped
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(model.to_string());
        self.runner.unload(model);
        let (number, cause) = (advisory.number, advisory.cause.meaning());
        tracing::warn!(%model, number, cause, "the hub recalled this model: it does no more work here");
        let verb = match self.policy {
            OnRecall::Retire => RETIRE,
            _ => HOLD,
        };
        if self.policy == OnRecall::Retire {
            self.retire(model).await;
        }
        let subject = format!("{} {}: recall {number}", model.name, model.version);
        self.store
            .note_access(verb, &subject, Actor::room("egress"))
            .await
    }

    /// For good. It is stopped already, so that a registry that cannot be written is said and tried at the next start.
    async fn retire(&self, model: &ModelRef) {
        let (dir, model) = (self.registry.clone(), model.clone());
        let retired = tokio::task::spawn_blocking(move || {
            Registry::open(&dir)?.retire(&model.name, &model.version)
        });
        match retired.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(%error, "a recalled model is stopped, and not retired")
            }
            Err(error) => tracing::error!(%error, "a recalled model is stopped, and not retired"),
        }
    }

    fn notice(&self, advisory: &Advisory) -> Notice {
        let package = self.package(advisory);
        let digest = advisory.model_digest.map(|part| format!("{part:016x}"));
        Notice {
            number: advisory.number,
            is_recall: advisory.kind == Kind::Recall,
            kind: advisory.kind.meaning(),
            cause: advisory.cause.meaning(),
            model: package.map(|package| package.model.clone()),
            digest: digest.concat(),
            issued_at_s: advisory.issued_at_s,
            stopped: package.is_some_and(|package| self.stops(&package.model)),
        }
    }
}
