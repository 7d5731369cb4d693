//! How much a source has of a study that arrives: whoever knows that need not wait until nothing more comes. It is asked by
//! QIDO-RS where its DICOMweb service is known, and by C-FIND where it is not, or does not answer.

use crate::door::Door;
use crate::inquiry::Inquiry;
use crate::request::{Call, CallError};
use crate::searching::{proposal, search};
use dicom_dictionary_std::{tags, uids};
use pericard_dicom::identifier::Identifier;
use pericard_domain::settling::SeriesCounts;
use pericard_domain::uid::{StudyUid, TransferSyntaxUid};
use pericard_store::StoreError;
use std::future::pending;
use std::sync::Arc;
use tokio::time::timeout;

pub(crate) const MODEL: &str = uids::STUDY_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_FIND;
/// The most series of one study.
const SERIES_MAX: usize = 10_000;

/// The worker that asks one peer.
pub(crate) struct Counter<D>(pub(crate) Arc<Inquiry<D>>);

impl<D: Door> Counter<D> {
    pub(crate) async fn run(self) {
        let inquiry = &*self.0;
        if !inquiry.peer.counts {
            return pending().await;
        }
        // A handle of its own, which remembers what it has seen.
        let store = inquiry.archive.store.clone();
        loop {
            let wait = match self.round().await {
                Ok(()) => inquiry.config.look_every,
                Err(why) => {
                    tracing::warn!(peer = %inquiry.peer.name, "not asked how much it has: {why}");
                    inquiry.config.retry
                }
            };
            let _ = timeout(wait, store.changed()).await;
        }
    }

    async fn round(&self) -> Result<(), String> {
        let inquiry = &*self.0;
        let (store, peer) = (&inquiry.archive.store, &inquiry.peer);
        let again = inquiry.config.count_again_after;
        let studies = store.studies_to_count(&peer.name, again).await;
        let studies = studies.map_err(|e: StoreError| e.to_string())?;
        if studies.is_empty() {
            return Ok(());
        }
        if peer.web.is_some() {
            match self.by_web(&studies).await {
                Ok(()) => return Ok(()),
                Err(why) => tracing::warn!(peer = %peer.name, "asked by C-FIND, since {why}"),
            }
        }
        self.by_find(&studies).await
    }

    async fn by_web(&self, studies: &[StudyUid]) -> Result<(), String> {
        for study in studies {
            let series = crate::web::counts(&self.0, study).await;
            self.counted(study, series.map_err(|e| e.to_string())?)
                .await?;
        }
        Ok(())
    }

    async fn by_find(&self, studies: &[StudyUid]) -> Result<(), String> {
        let inquiry = &*self.0;
        let said = |error: CallError| error.to_string();
        let peer = &inquiry.peer;
        let called = inquiry.archive.caller.call(peer, &[proposal(MODEL)]).await;
        let mut call = called.map_err(said)?;
        let context = call.context_of(MODEL);
        let (context, syntax) = context.ok_or("it does not accept a query")?;
        for study in studies {
            let series = counts(&mut call, (context, &syntax), study).await;
            self.counted(study, series.map_err(|e| e.to_string())?)
                .await?;
        }
        let _ = call.association.release().await;
        Ok(())
    }

    async fn counted(&self, study: &StudyUid, series: SeriesCounts) -> Result<(), String> {
        let inquiry = &*self.0;
        let store = &inquiry.archive.store;
        let counted = store.counted(study, &inquiry.peer.name, series);
        counted.await.map_err(|e: StoreError| e.to_string())?;
        inquiry.door.look(study).await;
        Ok(())
    }
}

/// What it has of each series, as far as it says.
async fn counts(
    call: &mut Call,
    context: (u8, &TransferSyntaxUid),
    study: &StudyUid,
) -> Result<SeriesCounts, crate::LinkError> {
    let keys = Identifier::default()
        .with(tags::QUERY_RETRIEVE_LEVEL, Some("SERIES"))
        .with(tags::STUDY_INSTANCE_UID, Some(study.as_str()))
        .with(tags::SERIES_INSTANCE_UID, None)
        .with(tags::NUMBER_OF_SERIES_RELATED_INSTANCES, None);
    let found = search(call, context, MODEL, &keys, SERIES_MAX).await?;
    // A list that is cut, has a gap, or ended with a failure, tells nothing.
    if !found.is_whole() || found.status != 0 {
        return Ok(SeriesCounts::new());
    }
    let of = |answer: &Identifier| {
        let uid = answer.text(tags::SERIES_INSTANCE_UID)?.trim().to_owned();
        let count = answer.text(tags::NUMBER_OF_SERIES_RELATED_INSTANCES)?;
        Some((uid, count.trim().parse().ok()?))
    };
    // One series of which it does not say how much: then it knows nothing of the whole.
    let all: Option<SeriesCounts> = found.answers.iter().map(of).collect();
    Ok(all.unwrap_or_default())
}
