//! Modality Worklist as its user (PS3.4 annex K): what is scheduled, so that what is urgent is known before it comes.
//!
//! The patient's name is not asked for: nothing here needs it.

use crate::door::Door;
use crate::inquiry::Inquiry;
use crate::request::CallError;
use crate::searching::{proposal, search};
use dicom_core::Tag;
use dicom_dictionary_std::{tags, uids};
use pericard_dicom::identifier::Identifier;
use pericard_domain::actor::Actor;
use pericard_domain::job::Priority;
use pericard_domain::order::Order;
use pericard_domain::time::Timestamp;
use pericard_domain::uid::StudyUid;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

pub(crate) const MODEL: &str = uids::MODALITY_WORKLIST_INFORMATION_MODEL_FIND;
/// Scheduled Procedure Step Status (0040,0020) of what will not be.
const NOT_TO_BE: [&str; 3] = ["CANCELED", "CANCELLED", "DISCONTINUED"];

/// What a worklist says.
struct List {
    orders: Vec<Order>,
    /// Whether every entry of it was read.
    is_whole: bool,
}

/// The worker that reads one peer's worklist.
pub(crate) struct Reader<D>(pub(crate) Arc<Inquiry<D>>);

impl<D: Door> Reader<D> {
    pub(crate) async fn run(self) {
        let Some(every) = self.0.peer.worklist_every else {
            return pending().await;
        };
        loop {
            if let Err(error) = self.round().await {
                tracing::warn!(peer = %self.0.peer.name, "the worklist is not read: {error}");
            }
            sleep(every).await;
        }
    }

    async fn round(&self) -> Result<(), String> {
        let inquiry = &*self.0;
        let List { orders, is_whole } = self.list().await.map_err(|error| error.to_string())?;
        let (source, count) = (format!("worklist {}", inquiry.peer.name), orders.len());
        let (store, by) = (&inquiry.archive.store, Actor::room("dimse"));
        // What is missing in a part of a list is not gone.
        let changed = match is_whole {
            true => store.expect_all(&source, orders, by).await,
            false => store.expect_some(&source, orders, by).await,
        };
        let changed = changed.map_err(|error| error.to_string())?;
        tracing::debug!(peer = %inquiry.peer.name, orders = count, changed, "the worklist was read");
        Ok(())
    }

    async fn list(&self) -> Result<List, CallError> {
        let inquiry = &*self.0;
        let broken = |reason| CallError::Broken {
            name: inquiry.peer.name.clone(),
            reason,
        };
        let not_accepted = |what| CallError::NotAccepted {
            name: inquiry.peer.name.clone(),
            what,
        };
        let caller = &inquiry.archive.caller;
        let mut call = caller.call(&inquiry.peer, &[proposal(MODEL)]).await?;
        let context = call.context_of(MODEL);
        let (context, syntax) = context.ok_or_else(|| not_accepted("the modality worklist"))?;
        let keys = keys(inquiry.clock.now(), inquiry.config.worklist_days);
        let most = inquiry.config.worklist_max;
        let found = search(&mut call, (context, &syntax), MODEL, &keys, most)
            .await
            .map_err(broken)?;
        let _ = call.association.release().await;
        if found.is_cut {
            tracing::warn!(peer = %inquiry.peer.name, most, "the worklist has more entries than are read");
        }
        if found.status != 0 && !found.is_cut {
            return Err(not_accepted(
                "a query of its worklist, and ends it with a failure",
            ));
        }
        Ok(List {
            orders: found.answers.iter().filter_map(order).collect(),
            is_whole: found.is_whole(),
        })
    }
}

/// What is asked: everything scheduled from so many days ago to so many ahead.
fn keys(now: Timestamp, days: u32) -> Identifier {
    let day = Duration::from_secs(24 * 3600);
    let back = i64::try_from((day * days).as_millis()).unwrap_or(0);
    let from = Timestamp::from_millis(now.as_millis().saturating_sub(back)).dicom_date();
    let to = now.after(day * days).dicom_date();
    let step = [
        tags::MODALITY,
        tags::SCHEDULED_STATION_AE_TITLE,
        tags::SCHEDULED_PROCEDURE_STEP_START_TIME,
        tags::SCHEDULED_PROCEDURE_STEP_ID,
        tags::SCHEDULED_PROCEDURE_STEP_STATUS,
    ];
    let step = with_empty(Identifier::default(), &step).with(
        tags::SCHEDULED_PROCEDURE_STEP_START_DATE,
        Some(&format!("{from}-{to}")),
    );
    let top = [
        tags::ACCESSION_NUMBER,
        tags::PATIENT_ID,
        tags::STUDY_INSTANCE_UID,
        tags::REQUESTED_PROCEDURE_ID,
        tags::REQUESTED_PROCEDURE_PRIORITY,
    ];
    with_empty(Identifier::default(), &top)
        .with_items(tags::SCHEDULED_PROCEDURE_STEP_SEQUENCE, vec![step])
}

fn with_empty(identifier: Identifier, wanted: &[Tag]) -> Identifier {
    wanted
        .iter()
        .fold(identifier, |all, tag| all.with(*tag, None))
}

/// An entry of the list; `None` when it tells of nothing that could be known again, or of what will not be.
fn order(entry: &Identifier) -> Option<Order> {
    let text = |tag| entry.text(tag).map(str::trim).map(str::to_owned);
    let step = entry.items(tags::SCHEDULED_PROCEDURE_STEP_SEQUENCE).first();
    let of_step = |tag| step.and_then(|s| s.text(tag)).map(str::trim);
    let status = of_step(tags::SCHEDULED_PROCEDURE_STEP_STATUS).unwrap_or_default();
    if NOT_TO_BE.contains(&status) {
        return None;
    }
    let study = text(tags::STUDY_INSTANCE_UID).and_then(|uid| StudyUid::new(&uid).ok());
    let accession_number = text(tags::ACCESSION_NUMBER);
    if study.is_none() && accession_number.is_none() {
        return None;
    }
    let whose = study.as_ref().map(ToString::to_string);
    let key = [
        whose.or_else(|| accession_number.clone()),
        text(tags::REQUESTED_PROCEDURE_ID),
        of_step(tags::SCHEDULED_PROCEDURE_STEP_ID).map(str::to_owned),
    ];
    let scheduled = of_step(tags::SCHEDULED_PROCEDURE_STEP_START_DATE).map(|date| {
        let time = of_step(tags::SCHEDULED_PROCEDURE_STEP_START_TIME).unwrap_or_default();
        format!("{date}{}", time.split('.').next().unwrap_or_default())
    });
    Some(Order {
        key: key.map(Option::unwrap_or_default).join("/"),
        study,
        accession_number,
        patient_id: text(tags::PATIENT_ID),
        modality: of_step(tags::MODALITY).map(str::to_owned),
        scheduled,
        priority: text(tags::REQUESTED_PROCEDURE_PRIORITY).and_then(|word| priority(&word)),
    })
}

/// Requested Procedure Priority (0040,1003) in our classes. What is less than ordinary makes nothing wait longer.
fn priority(word: &str) -> Option<Priority> {
    match word {
        "STAT" | "HIGH" => Some(Priority::Stat),
        "ROUTINE" | "MEDIUM" => Some(Priority::Routine),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(study: &str, accession: &str, status: &str, priority: &str) -> Identifier {
        let step = Identifier::default()
            .with(tags::MODALITY, Some("CT"))
            .with(tags::SCHEDULED_PROCEDURE_STEP_START_DATE, Some("20261129"))
            .with(
                tags::SCHEDULED_PROCEDURE_STEP_START_TIME,
                Some("101500.000"),
            )
            .with(tags::SCHEDULED_PROCEDURE_STEP_STATUS, Some(status))
            .with(tags::SCHEDULED_PROCEDURE_STEP_ID, Some("S1"));
        Identifier::default()
            .with(tags::STUDY_INSTANCE_UID, Some(study))
            .with(tags::ACCESSION_NUMBER, Some(accession))
            .with(tags::REQUESTED_PROCEDURE_PRIORITY, Some(priority))
            .with_items(tags::SCHEDULED_PROCEDURE_STEP_SEQUENCE, vec![step])
    }

    #[test]
    fn entries_become_orders() {
        let found = order(&entry("1.2.3", "A1", "SCHEDULED", "STAT")).unwrap();
        assert_eq!(found.key, "1.2.3//S1");
        assert_eq!(found.scheduled.as_deref(), Some("20261129101500"));
        assert_eq!(found.modality.as_deref(), Some("CT"));
        assert_eq!(found.priority, Some(Priority::Stat));
        let found = order(&entry("", "A1", "", "LOW")).unwrap();
        assert_eq!((found.key.as_str(), found.priority), ("A1//S1", None));
        assert_eq!(order(&entry("", "", "", "")), None);
        assert_eq!(order(&entry("1.2.3", "A1", "CANCELED", "STAT")), None);
    }

    #[test]
    fn a_day_before_to_a_day_after_is_asked_for() {
        let now = Timestamp::from_millis(1_795_456_800_123); // 2026-11-23
        let keys = keys(now, 1);
        let step = &keys.items(tags::SCHEDULED_PROCEDURE_STEP_SEQUENCE)[0];
        let dates = step.text(tags::SCHEDULED_PROCEDURE_STEP_START_DATE);
        assert_eq!(dates, Some("20261122-20261124"));
        assert!(keys.get(tags::PATIENT_NAME).is_none());
    }
}
