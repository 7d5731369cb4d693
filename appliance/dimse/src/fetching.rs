//! A patient's earlier studies, fetched within the budget of a rule: asked for by C-FIND, brought by C-GET or C-MOVE.
//!
//! They come in through the door like all else. What is too much is cancelled; what the peer does not give is said; and the
//! models do not wait beyond their deadline.

use crate::door::Door;
use crate::getting_priors::get;
use crate::inquiry::Inquiry;
use crate::peer::Fetch;
use crate::request::{CallError, Caller};
use crate::searching::{self, search};
use dicom_core::Tag;
use dicom_dictionary_std::{tags, uids};
use pericard_dicom::identifier::Identifier;
use pericard_domain::uid::StudyUid;
use pericard_store::StoreError;
use pericard_store::prior::{PriorOrder, PriorOutcome, PriorState};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

pub(crate) const MODEL: &str = uids::STUDY_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_FIND;
/// The most studies of one patient that are looked at.
const STUDIES_MAX: usize = 1000;
/// A day, for the budget's age.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The worker that fetches from one peer.
pub(crate) struct Fetcher<D>(pub(crate) Arc<Inquiry<D>>);

/// An earlier study, as the peer describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) study: StudyUid,
    /// Date and time, as they sort.
    when: String,
    /// How many objects, where it says so.
    objects: Option<u32>,
    /// The classes of its objects, where it says so.
    pub(crate) classes: Vec<String>,
}

/// How much may still come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
}

impl Budget {
    /// What is left of it after that much came.
    fn without(self, brought: &Brought) -> Self {
        Self {
            objects: self.objects.saturating_sub(brought.objects),
            bytes: self.bytes.saturating_sub(brought.bytes),
        }
    }

    const fn is_spent(self) -> bool {
        self.objects == 0 || self.bytes == 0
    }
}

/// What came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Brought {
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
    /// How many objects the peer says that it has sent, where it says so.
    pub(crate) sent: Option<u32>,
    /// Why it is not all.
    pub(crate) lacking: Option<String>,
    /// The budget is why: no other way is tried.
    pub(crate) is_over: bool,
}

impl Brought {
    /// This, and then that: how it ended is how the latter ended.
    fn and(self, then: Self) -> Self {
        Self {
            objects: self.objects.saturating_add(then.objects),
            bytes: self.bytes.saturating_add(then.bytes),
            ..then
        }
    }

    /// So far, and then the line broke.
    pub(crate) fn broken(self, error: &CallError) -> Self {
        Self {
            lacking: Some(error.to_string()),
            ..self
        }
    }

    /// As much as the budget allowed.
    pub(crate) fn over(self) -> Self {
        Self {
            lacking: Some("a study has more than the budget has left".into()),
            is_over: true,
            ..self
        }
    }
}

impl<D: Door> Fetcher<D> {
    pub(crate) async fn run(self) {
        let inquiry = &*self.0;
        let store = inquiry.archive.store.clone();
        loop {
            let wait = match self.round(&store).await {
                Ok(true) => continue,
                Ok(false) => inquiry.config.look_every,
                Err(error) => {
                    tracing::error!(peer = %inquiry.peer.name, "earlier studies: {error}");
                    inquiry.config.retry
                }
            };
            let _ = timeout(wait, store.changed()).await;
        }
    }

    /// Whether there was something to do.
    async fn round(&self, store: &pericard_store::Store) -> Result<bool, StoreError> {
        let inquiry = &*self.0;
        let lease = inquiry.config.fetch_lease;
        let Some(order) = store.lease_prior_order(&inquiry.peer.name, lease).await? else {
            return Ok(false);
        };
        let left = order.deadline.since(inquiry.clock.now());
        let carried = match timeout(left, self.carry_out(&order)).await {
            Ok(Ok(outcome)) => store.prior_order_ended(&order, outcome).await,
            Ok(Err(Trouble::Store(error))) => Err(error),
            Ok(Err(Trouble::Call(error))) => {
                tracing::warn!(peer = %inquiry.peer.name, study = %order.study, "earlier studies put off: {error}");
                let until = inquiry.clock.now().after(inquiry.config.retry);
                store.put_prior_order_off(&order, until).await
            }
            // The models go on without, and say so.
            Err(_) => Ok(()),
        };
        match carried {
            Err(StoreError::LeaseLapsed) | Ok(()) => Ok(true),
            Err(error) => Err(error),
        }
    }

    async fn carry_out(&self, order: &PriorOrder) -> Result<PriorOutcome, Trouble> {
        let inquiry = &*self.0;
        let candidates = self.candidates(order).await?;
        let mut outcome = PriorOutcome {
            found: u32::try_from(candidates.len()).unwrap_or(u32::MAX),
            ..PriorOutcome::default()
        };
        let mut left = Budget {
            objects: order.terms.objects_max.into(),
            bytes: u64::from(order.terms.size_max_mib) << 20,
        };
        for candidate in candidates {
            if self.is_here(&candidate).await? {
                outcome.here += 1;
                let store = &inquiry.archive.store;
                store
                    .prior_came(order, &candidate.study, PriorState::Here)
                    .await?;
                continue;
            }
            let is_too_many = |objects| u64::from(objects) > left.objects;
            let brought = if candidate.objects.is_some_and(is_too_many) {
                let store = &inquiry.archive.store;
                let state = PriorState::Failed;
                store.prior_came(order, &candidate.study, state).await?;
                Brought::default().over()
            } else {
                self.fetch(order, &candidate, left).await?
            };
            left = left.without(&brought);
            outcome.objects += brought.objects;
            outcome.bytes += brought.bytes;
            outcome.here += u32::from(brought.lacking.is_none());
            outcome.lacking = outcome.lacking.or(brought.lacking);
        }
        Ok(outcome)
    }

    /// Whether all that the peer has of it is here: what we received, and what of our results it took, which it counts as well.
    async fn is_here(&self, candidate: &Candidate) -> Result<bool, StoreError> {
        let inquiry = &*self.0;
        let store = &inquiry.archive.store;
        let received = match store.study(&candidate.study).await {
            Ok(study) => study.instances,
            Err(StoreError::NotFound(_)) => 0,
            Err(error) => return Err(error),
        };
        let Some(said) = candidate.objects.filter(|_| received > 0) else {
            return Ok(received > 0);
        };
        let peer = &inquiry.peer.name;
        let taken = store.results_taken(&candidate.study, peer).await?;
        Ok(received.saturating_add(taken) >= said)
    }

    /// One study, by the ways that the peer has, until one of them brings all of it. What one way brought before it failed
    /// counts, and is not there for the next any more.
    async fn fetch(
        &self,
        order: &PriorOrder,
        candidate: &Candidate,
        mut left: Budget,
    ) -> Result<Brought, Trouble> {
        let inquiry = &*self.0;
        let store = &inquiry.archive.store;
        let title = &inquiry.peer.ae_title;
        store.prior_comes(order, &candidate.study, title).await?;
        let mut brought = Brought {
            lacking: Some("the peer has no way to give it".into()),
            ..Brought::default()
        };
        for way in &inquiry.peer.fetch {
            let came = match way {
                Fetch::Get => get(inquiry, candidate, left).await,
                Fetch::Move => crate::moving_priors::have_moved(inquiry, candidate, left).await,
                Fetch::Web => crate::web::retrieve(inquiry, candidate, left).await,
            };
            let came = came.unwrap_or_else(|error| Brought::default().broken(&error));
            let came = self.looked_at(came, candidate).await?;
            left = left.without(&came);
            brought = brought.and(came);
            if brought.lacking.is_none() || brought.is_over {
                break;
            }
            if left.is_spent() {
                brought = brought.over();
                break;
            }
        }
        let state = match brought.lacking {
            None => PriorState::Here,
            Some(_) => PriorState::Failed,
        };
        store.prior_came(order, &candidate.study, state).await?;
        Ok(brought)
    }

    /// What came, beside what is here. A peer that says that it has given all of a study is believed as long as that is no
    /// less than what it said that it has, or that it has sent. Our own results count: the peer may have got them from us.
    async fn looked_at(&self, came: Brought, candidate: &Candidate) -> Result<Brought, StoreError> {
        let said = candidate.objects.max(came.sent);
        let Some(said) = said.filter(|_| came.lacking.is_none()) else {
            return Ok(came);
        };
        let here = match self.0.archive.store.study(&candidate.study).await {
            Ok(study) => study.instances.saturating_add(study.results),
            Err(StoreError::NotFound(_)) => 0,
            Err(error) => return Err(error),
        };
        let lacking = (here < said).then(|| {
            format!("{here} of {said} objects are here, though the peer says that it gave all")
        });
        Ok(Brought { lacking, ..came })
    }

    /// The patient's earlier studies that the terms ask for, the latest first.
    async fn candidates(&self, order: &PriorOrder) -> Result<Vec<Candidate>, CallError> {
        let inquiry = &*self.0;
        let Some(keys) = keys(order) else {
            return Ok(Vec::new());
        };
        let (peer, caller) = (&inquiry.peer, &inquiry.archive.caller);
        let mut found = Vec::new();
        let broken = |reason| CallError::Broken {
            name: peer.name.clone(),
            reason,
        };
        let not_accepted = || CallError::NotAccepted {
            name: peer.name.clone(),
            what: "a query for earlier studies",
        };
        let mut call = caller.call(peer, &[searching::proposal(MODEL)]).await?;
        let (context, syntax) = call.context_of(MODEL).ok_or_else(not_accepted)?;
        for patient in &order.patient_ids {
            let keys = keys.clone().with(tags::PATIENT_ID, Some(patient));
            let answered = search(&mut call, (context, &syntax), MODEL, &keys, STUDIES_MAX);
            let answered = answered.await.map_err(broken)?;
            if answered.status != 0 && !answered.is_cut {
                return Err(not_accepted());
            }
            // A peer that does not heed a key would give us another patient's studies.
            let is_same =
                |a: &&Identifier| a.text(tags::PATIENT_ID).map(str::trim) == Some(patient.as_str());
            let of_patient = answered.answers.iter().filter(is_same);
            found.extend(of_patient.filter_map(|answer| candidate(answer, order)));
        }
        let _ = call.association.release().await;
        Ok(chosen(found, order))
    }
}

/// Why an order is not carried out.
#[derive(Debug)]
pub(crate) enum Trouble {
    Store(StoreError),
    Call(CallError),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<CallError> for Trouble {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

/// What to ask, but for the patient; `None` when the study does not say when it was: nothing is earlier than that.
fn keys(order: &PriorOrder) -> Option<Identifier> {
    let date = order.facts.study_date.as_deref().filter(|d| d.len() == 8)?;
    let asked = [
        tags::STUDY_INSTANCE_UID,
        tags::STUDY_TIME,
        tags::MODALITIES_IN_STUDY,
        tags::SOP_CLASSES_IN_STUDY,
        tags::NUMBER_OF_STUDY_RELATED_INSTANCES,
    ];
    let base = Identifier::default().with(tags::QUERY_RETRIEVE_LEVEL, Some("STUDY"));
    let keys = asked
        .iter()
        .fold(base, |all, tag: &Tag| all.with(*tag, None));
    let from = earliest(date, order.terms.age_max_days).unwrap_or_default();
    Some(keys.with(tags::STUDY_DATE, Some(&format!("{from}-{date}"))))
}

/// So many days before a date, `YYYYMMDD`.
fn earliest(date: &str, days: u32) -> Option<String> {
    let number = |range: std::ops::Range<usize>| date.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(4..6)?, number(6..8)?);
    // Days since 1970 (Howard Hinnant's algorithm), so that a calendar is not needed.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let since = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let day_ms = i64::try_from(DAY.as_millis()).ok()?;
    let at = (since - i64::from(days)).checked_mul(day_ms)?;
    Some(pericard_domain::time::Timestamp::from_millis(at).dicom_date())
}

fn candidate(answer: &Identifier, order: &PriorOrder) -> Option<Candidate> {
    let text = |tag| answer.text(tag).map(str::trim);
    let study = StudyUid::new(text(tags::STUDY_INSTANCE_UID)?).ok()?;
    let modalities: Vec<&str> =
        text(tags::MODALITIES_IN_STUDY).map_or_else(Vec::new, |m| m.split('\\').collect());
    let candidate = Candidate {
        when: when(text(tags::STUDY_DATE)?, text(tags::STUDY_TIME)),
        objects: text(tags::NUMBER_OF_STUDY_RELATED_INSTANCES).and_then(|n| n.parse().ok()),
        classes: text(tags::SOP_CLASSES_IN_STUDY)
            .map_or_else(Vec::new, |c| c.split('\\').map(str::to_owned).collect()),
        study,
    };
    let now = when(
        order.facts.study_date.as_deref()?,
        order.facts.study_time.as_deref(),
    );
    let is_other = candidate.study != order.study;
    (is_other && candidate.when <= now && is_wanted(&modalities, order)).then_some(candidate)
}

/// A peer that does not say which modalities a study has is taken at its word.
fn is_wanted(modalities: &[&str], order: &PriorOrder) -> bool {
    let wanted = |modality: &&&str| {
        let own = order.facts.modality.as_deref();
        match order.terms.modalities.as_slice() {
            [] => own.is_none_or(|own| own == **modality),
            any => any.iter().any(|wanted| wanted == **modality),
        }
    };
    modalities.is_empty() || modalities.iter().any(|m| wanted(&m))
}

/// Date and time as one text that sorts.
fn when(date: &str, time: Option<&str>) -> String {
    format!("{date}{}", time.unwrap_or("000000").trim())
}

/// The latest, as many as the terms allow, each once.
fn chosen(mut found: Vec<Candidate>, order: &PriorOrder) -> Vec<Candidate> {
    found.sort_by(|a, b| {
        b.when
            .cmp(&a.when)
            .then_with(|| a.study.as_str().cmp(b.study.as_str()))
    });
    found.dedup_by(|a, b| a.study == b.study);
    found.truncate(order.terms.studies_max as usize);
    found
}

/// Whoever calls for priors.
pub(crate) fn caller<D>(inquiry: &Inquiry<D>) -> &Caller {
    &inquiry.archive.caller
}

#[cfg(test)]
mod tests {
    use super::*;
    use pericard_domain::rule::Priors;
    use pericard_domain::study::InstanceFacts;
    use pericard_domain::time::Timestamp;

    fn order(modalities: &[&str], studies_max: u32) -> PriorOrder {
        PriorOrder {
            id: 1,
            lease_id: 1,
            study: StudyUid::new("1.2.1").unwrap(),
            facts: InstanceFacts {
                study_date: Some("20260301".into()),
                study_time: Some("120000".into()),
                modality: Some("CT".into()),
                ..InstanceFacts::default()
            },
            patient_ids: vec!["P".into()],
            terms: Priors {
                from: "pacs".into(),
                modalities: modalities.iter().map(|m| (*m).to_owned()).collect(),
                age_max_days: 365,
                studies_max,
                objects_max: 100,
                size_max_mib: 1,
                wait_max_s: 60,
            },
            deadline: Timestamp::from_millis(0),
        }
    }

    fn answer(study: &str, date: &str, modalities: &str) -> Identifier {
        Identifier::default()
            .with(tags::STUDY_INSTANCE_UID, Some(study))
            .with(tags::STUDY_DATE, Some(date))
            .with(tags::STUDY_TIME, Some("090000"))
            .with(tags::MODALITIES_IN_STUDY, Some(modalities))
    }

    #[test]
    fn the_latest_earlier_ones_of_the_modality() {
        let answers = [
            answer("1.2.1", "20260301", "CT"),
            answer("1.2.2", "20250601", "CT\\SR"),
            answer("1.2.3", "20260101", "CT"),
            answer("1.2.4", "20260201", "MR"),
            answer("1.2.5", "20260302", "CT"),
            answer("1.2.6", "20260301", "CT"),
            answer("1.2.7", "20250701", ""),
        ];
        let of = |order: &PriorOrder| -> Vec<String> {
            let found = answers.iter().filter_map(|a| candidate(a, order)).collect();
            let chosen = chosen(found, order);
            chosen.iter().map(|c| c.study.to_string()).collect()
        };
        assert_eq!(of(&order(&[], 3)), ["1.2.6", "1.2.3", "1.2.7"]);
        assert_eq!(of(&order(&["MR"], 9)), ["1.2.4", "1.2.7"]);
    }

    #[test]
    fn what_came_by_a_way_that_failed_is_counted_and_spent() {
        let came = |objects, bytes, lacking: Option<&str>| Brought {
            objects,
            bytes,
            lacking: lacking.map(str::to_owned),
            ..Brought::default()
        };
        let all = came(2, 50, Some("cut")).and(came(3, 70, None));
        assert_eq!(all, came(5, 120, None));
        let budget = Budget {
            objects: 6,
            bytes: 100,
        };
        let left = budget.without(&came(2, 50, Some("cut")));
        assert_eq!((left.objects, left.bytes), (4, 50));
        assert!(!left.is_spent() && budget.without(&all).is_spent());
    }

    #[test]
    fn how_far_back() {
        for (date, days, expected) in [
            ("20260301", 1, "20260228"),
            ("20240301", 1, "20240229"),
            ("20260101", 365, "20250101"),
            ("20000301", 366, "19990301"),
        ] {
            assert_eq!(earliest(date, days).as_deref(), Some(expected), "{date}");
        }
        let keys = keys(&order(&[], 1)).unwrap();
        assert_eq!(keys.text(tags::STUDY_DATE), Some("20250301-20260301"));
    }
}
