//! Earlier studies of a patient: an analysis may wait for them, within the budget of its rule, and goes on without.
//!
//! An order is one study's wish to one peer. It is leased, carried out and ended; when its deadline comes first it is late,
//! and the analysis does not wait for it any longer. Objects of a study that is being fetched set off no analysis.

use crate::StoreError;
use crate::change::{Done, Tx};
use crate::error::Fault;
use crate::journal::Line;
use crate::settle::release;
use crate::sql::{Sql, closed, json, time, to_json, word};
use crate::store::Store;
use crate::verbs::lease::new_lease_id;
use pericard_domain::actor::Actor;
use pericard_domain::ae::AeTitle;
use pericard_domain::rule::Priors;
use pericard_domain::study::InstanceFacts;
use pericard_domain::time::Timestamp;
use pericard_domain::uid::StudyUid;
use rusqlite::Row;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;

/// An order in hand.
#[derive(Debug, Clone, PartialEq)]
pub struct PriorOrder {
    /// The row.
    pub id: i64,
    /// What tells this lease from any other of the same order.
    pub lease_id: u64,
    /// The study whose analysis waits.
    pub study: StudyUid,
    /// What its first object says.
    pub facts: InstanceFacts,
    /// Every number that the patient has had: the study's own first.
    pub patient_ids: Vec<String>,
    /// How much, at most.
    pub terms: Priors,
    /// Until when.
    pub deadline: Timestamp,
}

/// What became of one earlier study.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PriorState {
    /// It is being fetched.
    Coming,
    /// It is here.
    Here,
    /// It did not come, or not all of it.
    Failed,
}

impl PriorState {
    const fn name(self) -> &'static str {
        match self {
            Self::Coming => "coming",
            Self::Here => "here",
            Self::Failed => "failed",
        }
    }

    fn named(name: &str) -> Option<Self> {
        let all = [Self::Coming, Self::Here, Self::Failed];
        all.into_iter().find(|state| state.name() == name)
    }
}

/// What came of an order. Numbers and reasons, no patient data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriorOutcome {
    /// Earlier studies that the peer has and that the terms ask for.
    pub found: u32,
    /// Of these, here now.
    pub here: u32,
    /// Objects that came.
    pub objects: u64,
    /// Bytes that came.
    pub bytes: u64,
    /// Why not all of them are here, when they are not: one sentence.
    pub lacking: Option<String>,
}

/// An order for earlier studies, as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PriorRow {
    /// The peer that has them.
    pub source: String,
    /// For which revision of the study.
    pub revision: u32,
    /// `waiting`, `leased`, `ended` or `late`.
    pub state: String,
    /// Until when the models wait.
    pub deadline: Timestamp,
    /// What came of it.
    pub outcome: Option<PriorOutcome>,
    /// The earlier studies, and what became of each.
    pub studies: Vec<(StudyUid, PriorState)>,
}

impl Store {
    /// Leases the next order to a peer that is due.
    ///
    /// # Errors
    /// When the database failed.
    pub async fn lease_prior_order(
        &self,
        source: &str,
        lease: Duration,
    ) -> Result<Option<PriorOrder>, StoreError> {
        let source = source.to_owned();
        self.change("lease prior order", move |tx| {
            lease_order(tx, &source, lease)
        })
        .await
    }

    /// An earlier study is about to be fetched from the peer of that title: its objects set off no analysis.
    ///
    /// # Errors
    /// [`StoreError::LeaseLapsed`] when the models do not wait any longer.
    pub async fn prior_comes(
        &self,
        order: &PriorOrder,
        prior: &StudyUid,
        from: &AeTitle,
    ) -> Result<(), StoreError> {
        const COMES: &str = "-- prior comes\n\
            INSERT INTO priors (order_id, study_uid, ae_title, state) VALUES (?1, ?2, ?3, 'coming') \
            ON CONFLICT (order_id, study_uid) DO UPDATE SET state = 'coming', ae_title = ?3";
        let (order, prior, from) = (order.clone(), prior.clone(), from.to_string());
        self.change("prior comes", move |tx| {
            in_hand(tx, &order)?;
            tx.change(COMES, (order.id, prior.as_str(), from))?;
            let line = line("fetch prior", &order).with(json!({ "prior": prior }));
            Ok(Done::said((), line))
        })
        .await
    }

    /// An earlier study is here, or it is not.
    ///
    /// # Errors
    /// When the database failed.
    pub async fn prior_came(
        &self,
        order: &PriorOrder,
        prior: &StudyUid,
        state: PriorState,
    ) -> Result<(), StoreError> {
        const CAME: &str = "-- prior came\n\
            INSERT INTO priors (order_id, study_uid, ae_title, state) VALUES (?1, ?2, '', ?3) \
            ON CONFLICT (order_id, study_uid) DO UPDATE SET state = ?3";
        let (order, prior) = (order.clone(), prior.clone());
        self.change("prior came", move |tx| {
            tx.change(CAME, (order.id, prior.as_str(), state.name()))?;
            let detail = json!({ "prior": prior, "state": state.name() });
            let line = line("fetched prior", &order).with(detail);
            Ok(Done::said((), line))
        })
        .await
    }

    /// The order is carried out as far as it can be; the models begin.
    ///
    /// # Errors
    /// [`StoreError::LeaseLapsed`] when they have begun already.
    pub async fn prior_order_ended(
        &self,
        order: &PriorOrder,
        outcome: PriorOutcome,
    ) -> Result<(), StoreError> {
        let order = order.clone();
        self.change("end prior order", move |tx| {
            in_hand(tx, &order)?;
            end(tx, &order, &outcome)
        })
        .await
    }

    /// The peer cannot be asked at the moment: the order waits until then, or until its deadline.
    ///
    /// # Errors
    /// [`StoreError::LeaseLapsed`].
    pub async fn put_prior_order_off(
        &self,
        order: &PriorOrder,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        const PUT_OFF: &str = "-- put prior order off\n\
            UPDATE prior_orders SET state = 'waiting', due_at = ?2, lease_id = NULL, leased_until = NULL WHERE id = ?1";
        let order = order.clone();
        self.change("put prior order off", move |tx| {
            in_hand(tx, &order)?;
            tx.change(PUT_OFF, (order.id, until.as_millis()))?;
            Ok(Done::unchanged(()).moving_lease())
        })
        .await
    }

    /// What is still on its way when an analysis begins does not come in time: that is said, once. Gives how many orders.
    ///
    /// # Errors
    /// When the database failed.
    pub async fn go_on_without_priors(&self, study: &StudyUid) -> Result<usize, StoreError> {
        let asked = study.clone();
        let open = self.read("count open prior orders", move |sql| {
            sql.count(OPEN, [asked.as_str()])
        });
        // The rule: nothing was ordered, and nothing is to be written.
        if open.await? == 0 {
            return Ok(0);
        }
        let study = study.clone();
        self.change("go on without priors", move |tx| late(tx, &study))
            .await
    }

    /// How many orders are open and how many were late: for metrics.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn prior_counts(&self) -> Result<[(&'static str, u64); 2], StoreError> {
        const OPEN: &str = "-- count all open prior orders\n\
            SELECT count(*) FROM prior_orders WHERE state IN ('waiting', 'leased')";
        const LATE: &str = "-- count late prior orders\n\
            SELECT count(*) FROM prior_orders WHERE state = 'late'";
        self.read("count prior orders", |sql| {
            Ok([
                ("open", sql.count(OPEN, ())?),
                ("late", sql.count(LATE, ())?),
            ])
        })
        .await
    }

    /// The orders of a study, latest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn prior_orders(&self, study: &StudyUid) -> Result<Vec<PriorRow>, StoreError> {
        let study = study.clone();
        self.read("list prior orders", move |sql| rows_of(sql, &study))
            .await
    }
}

const OPEN: &str = "-- count open prior orders\n\
    SELECT count(*) FROM prior_orders o JOIN studies s ON s.id = o.study_id \
    WHERE s.uid = ?1 AND o.state IN ('waiting', 'leased')";

/// Puts an order; gives until when the models wait for it.
pub(crate) fn order(
    tx: Tx<'_>,
    (study_id, revision): (i64, u32),
    terms: &Priors,
) -> Result<Timestamp, Fault> {
    const ORDER: &str = "-- order priors\n\
        INSERT INTO prior_orders (study_id, revision, source, terms, state, deadline, due_at, created_at) \
        VALUES (?1, ?2, ?3, ?4, 'waiting', ?5, ?6, ?6) ON CONFLICT DO NOTHING";
    const OPEN_ORDER: &str = "-- find open prior order\n\
        SELECT deadline FROM prior_orders WHERE study_id = ?1 AND revision = ?2 AND source = ?3 \
            AND state IN ('waiting', 'leased')";
    let deadline = tx.now.after(Duration::from_secs(terms.wait_max_s.into()));
    let values = (
        study_id,
        revision,
        &terms.from,
        to_json(terms)?,
        deadline.as_millis(),
        tx.now.as_millis(),
    );
    if tx.change(ORDER, values)? > 0 {
        return Ok(deadline);
    }
    // Ordered for this revision already: what waits, waits as long as that, and not at all when it has ended.
    let open = tx.one(OPEN_ORDER, (study_id, revision, &terms.from), |row| {
        time(row, "deadline")
    })?;
    Ok(open.unwrap_or(tx.now))
}

/// Whether objects of that study that come from that title were sent for.
pub(crate) fn is_coming(sql: Sql<'_>, study: &StudyUid, from: &Actor) -> Result<bool, Fault> {
    const COMING: &str = "-- find prior that comes\n\
        SELECT count(*) FROM priors WHERE study_uid = ?1 AND state = 'coming' AND ae_title = ?2";
    let Actor::Peer { ae_title, .. } = from else {
        return Ok(false);
    };
    Ok(sql.count(COMING, (study.as_str(), ae_title.as_str()))? > 0)
}

fn lease_order(
    tx: Tx<'_>,
    source: &str,
    lease: Duration,
) -> Result<Done<Option<PriorOrder>>, Fault> {
    const NEXT: &str = "-- find prior order\n\
        SELECT o.*, s.uid AS study_uid, s.facts FROM prior_orders o JOIN studies s ON s.id = o.study_id \
        WHERE o.source = ?1 AND o.deadline > ?2 \
            AND ((o.state = 'waiting' AND o.due_at <= ?2) OR (o.state = 'leased' AND o.leased_until <= ?2)) \
        ORDER BY s.priority, o.due_at, o.id LIMIT 1";
    const GIVE: &str = "-- give prior order\n\
        UPDATE prior_orders SET state = 'leased', lease_id = ?2, leased_until = ?3 WHERE id = ?1";
    let lease_id = new_lease_id()?;
    let next = tx.one(NEXT, (source, tx.now.as_millis()), |row| {
        Ok(PriorOrder {
            id: row.get("id")?,
            lease_id: lease_id.cast_unsigned(),
            study: word(row, "study_uid")?,
            facts: json(row, "facts")?,
            patient_ids: Vec::new(),
            terms: json(row, "terms")?,
            deadline: time(row, "deadline")?,
        })
    })?;
    let Some(mut order) = next else {
        return Ok(Done::unchanged(None));
    };
    if let Some(patient) = &order.facts.patient_id {
        order.patient_ids = crate::patient::numbers(tx.sql, patient)?;
    }
    let until = tx.now.after(lease).as_millis();
    tx.change(GIVE, (order.id, lease_id, until))?;
    Ok(Done::unchanged(Some(order)).moving_lease())
}

fn in_hand(tx: Tx<'_>, order: &PriorOrder) -> Result<(), Fault> {
    const IN_HAND: &str = "-- find prior order in hand\n\
        SELECT count(*) FROM prior_orders WHERE id = ?1 AND state = 'leased' AND lease_id = ?2";
    match tx.count(IN_HAND, (order.id, order.lease_id.cast_signed()))? {
        1 => Ok(()),
        _ => Err(StoreError::LeaseLapsed.into()),
    }
}

fn end(tx: Tx<'_>, order: &PriorOrder, outcome: &PriorOutcome) -> Result<Done<()>, Fault> {
    const END: &str = "-- end prior order\n\
        UPDATE prior_orders SET state = 'ended', ended_at = ?2, outcome = ?3, lease_id = NULL WHERE id = ?1";
    const STUDY: &str =
        "-- find study of prior order\nSELECT study_id FROM prior_orders WHERE id = ?1";
    tx.change(END, (order.id, tx.now.as_millis(), to_json(outcome)?))?;
    let study_id: Option<i64> = tx.one(STUDY, [order.id], |row| row.get(0))?;
    if let Some(study_id) = study_id
        && tx.count(OPEN, [order.study.as_str()])? == 0
    {
        release(tx, study_id)?;
    }
    let line = line("end prior order", order).with(json!(outcome));
    Ok(Done::said((), line).waking())
}

fn late(tx: Tx<'_>, study: &StudyUid) -> Result<Done<usize>, Fault> {
    const LATE: &str = "-- prior orders late\n\
        UPDATE prior_orders SET state = 'late', ended_at = ?2, lease_id = NULL \
        WHERE state IN ('waiting', 'leased') AND study_id = (SELECT id FROM studies WHERE uid = ?1)";
    const LEFT: &str = "-- leave late priors\n\
        UPDATE priors SET state = 'failed' WHERE state = 'coming' AND order_id IN \
            (SELECT o.id FROM prior_orders o JOIN studies s ON s.id = o.study_id WHERE s.uid = ?1)";
    let count = tx.change(LATE, (study.as_str(), tx.now.as_millis()))?;
    tx.change(LEFT, [study.as_str()])?;
    if count == 0 {
        return Ok(Done::unchanged(0));
    }
    let line = Line::new(
        "go on without priors",
        format!("study {study}"),
        Actor::room("jobs"),
    );
    Ok(Done::said(count, line.with(json!({ "orders": count }))))
}

fn rows_of(sql: Sql<'_>, study: &StudyUid) -> Result<Vec<PriorRow>, Fault> {
    const ORDERS: &str = "-- list prior orders\n\
        SELECT o.* FROM prior_orders o JOIN studies s ON s.id = o.study_id WHERE s.uid = ?1 ORDER BY o.id DESC";
    const PRIORS: &str = "-- list priors\n\
        SELECT study_uid, state FROM priors WHERE order_id = ?1 ORDER BY study_uid";
    let orders = sql.all(ORDERS, [study.as_str()], |row| {
        Ok((row.get::<_, i64>("id")?, row_of(row)?))
    })?;
    let with_studies = orders.into_iter().map(|(id, mut order)| {
        order.studies = sql.all(PRIORS, [id], |row| {
            Ok((
                word(row, "study_uid")?,
                closed(row, "state", PriorState::named)?,
            ))
        })?;
        Ok(order)
    });
    with_studies.collect()
}

fn row_of(row: &Row<'_>) -> rusqlite::Result<PriorRow> {
    let outcome: Option<String> = row.get("outcome")?;
    Ok(PriorRow {
        source: row.get("source")?,
        revision: row.get("revision")?,
        state: row.get("state")?,
        deadline: time(row, "deadline")?,
        outcome: match outcome {
            Some(_) => Some(json(row, "outcome")?),
            None => None,
        },
        studies: Vec::new(),
    })
}

fn line(verb: &'static str, order: &PriorOrder) -> Line {
    let subject = format!("study {}", order.study);
    Line::new(verb, subject, Actor::room("dimse"))
}
