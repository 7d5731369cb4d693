//! The outbox: one line for every result object and destination, leased like jobs.

use super::lease::new_lease_id;
use crate::StoreError;
use crate::change::{Done, Tx};
use crate::error::Fault;
use crate::journal::Line;
use crate::outbox::{Delivery, DeliveryRow, DeliveryTrouble};
use crate::rows::{self, rank, select_instances};
use crate::sql::{time_if, word};
use crate::store::Store;
use pericard_domain::actor::Actor;
use pericard_domain::job::Priority;
use pericard_domain::study::Instance;
use pericard_domain::time::Timestamp;
use pericard_domain::uid::StudyUid;
use rusqlite::Row;
use serde_json::json;
use std::time::Duration;

/// How many deliveries a list has when no limit is said.
const LISTED_DELIVERIES: u32 = 100;

impl Store {
    /// Leases a delivery to `destination` that is due, or whose lease lapsed: of the most urgent ones the oldest.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`] and others, when the database failed.
    pub async fn lease_delivery(
        &self,
        destination: &str,
        lease: Duration,
    ) -> Result<Option<Delivery>, StoreError> {
        self.look();
        let destination = destination.to_owned();
        self.change("lease delivery", move |tx| {
            lease_next(tx, &destination, lease)
        })
        .await
    }

    /// When the next delivery to `destination` is due, or its next lease lapses.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn next_delivery_due(
        &self,
        destination: &str,
    ) -> Result<Option<Timestamp>, StoreError> {
        const NEXT: &str = "-- next delivery due\n\
            SELECT min(at) FROM ( \
                SELECT min(due_at) AS at FROM outbox WHERE state = 'waiting' AND destination = ?1 \
                UNION ALL SELECT min(leased_until) FROM outbox WHERE state = 'leased' AND destination = ?1)";
        let destination = destination.to_owned();
        self.read("next delivery due", move |sql| {
            let at = sql.one(NEXT, [destination], |row| row.get::<_, Option<i64>>(0))?;
            Ok(at.flatten().map(Timestamp::from_millis))
        })
        .await
    }

    /// The peer has it.
    ///
    /// # Errors
    /// [`StoreError::LeaseLapsed`].
    pub async fn delivered(&self, delivery: &Delivery) -> Result<(), StoreError> {
        const DELIVERED: &str = "-- delivered\n\
            UPDATE outbox SET state = 'delivered', delivered_at = ?2, lease_id = NULL, leased_until = NULL WHERE id = ?1";
        let delivery = delivery.clone();
        self.change("deliver", move |tx| {
            in_hand(tx, &delivery)?;
            tx.change(DELIVERED, (delivery.id, tx.now.as_millis()))?;
            Ok(Done::said((), line("deliver", &delivery)))
        })
        .await
    }

    /// The peer does not have it: later, or never.
    ///
    /// # Errors
    /// [`StoreError::LeaseLapsed`].
    pub async fn not_delivered(
        &self,
        delivery: &Delivery,
        trouble: DeliveryTrouble,
    ) -> Result<(), StoreError> {
        let delivery = delivery.clone();
        self.change("not delivered", move |tx| put_off(tx, &delivery, &trouble))
            .await
    }

    /// Tries a delivery again that was given up.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such line that was given up.
    pub async fn retry_delivery(&self, id: i64, by: Actor) -> Result<(), StoreError> {
        const RETRY: &str = "-- retry delivery\n\
            UPDATE outbox SET state = 'waiting', due_at = ?2 WHERE id = ?1 AND state = 'failed'";
        self.change("retry delivery", move |tx| {
            if tx.change(RETRY, (id, tx.now.as_millis()))? == 0 {
                return Err(StoreError::NotFound("delivery that was given up").into());
            }
            let line = Line::new("retry delivery", format!("delivery {id}"), by);
            Ok(Done::said((), line).waking())
        })
        .await
    }

    /// The outbox lines of a study, or all that are not delivered yet; latest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn deliveries(
        &self,
        study: Option<&StudyUid>,
        limit: u32,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        const OF_STUDY: &str = "-- list deliveries of study\n\
            SELECT o.*, i.uid, s.uid AS study_uid FROM outbox o \
            JOIN instances i ON i.id = o.instance_id JOIN studies s ON s.id = o.study_id \
            WHERE s.uid = ?1 ORDER BY o.id DESC LIMIT ?2";
        const OPEN: &str = "-- list open deliveries\n\
            SELECT o.*, i.uid, s.uid AS study_uid FROM outbox o \
            JOIN instances i ON i.id = o.instance_id JOIN studies s ON s.id = o.study_id \
            WHERE o.state <> 'delivered' ORDER BY o.id DESC LIMIT ?1";
        let limit = if limit == 0 { LISTED_DELIVERIES } else { limit };
        let study = study.cloned();
        self.read("list deliveries", move |sql| match study {
            Some(study) => sql.all(OF_STUDY, (study.as_str(), limit), row_of),
            None => sql.all(OPEN, [limit], row_of),
        })
        .await
    }

    /// How many of a study's results this peer has taken.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn results_taken(
        &self,
        study: &StudyUid,
        destination: &str,
    ) -> Result<u32, StoreError> {
        const TAKEN: &str = "-- count results taken\n\
            SELECT count(*) FROM outbox o JOIN studies s ON s.id = o.study_id \
            WHERE s.uid = ?1 AND o.destination = ?2 AND o.state = 'delivered'";
        let (study, destination) = (study.to_string(), destination.to_owned());
        self.read("count results taken", move |sql| {
            let taken = sql.count(TAKEN, (&study, &destination))?;
            Ok(u32::try_from(taken).unwrap_or(u32::MAX))
        })
        .await
    }
}

fn lease_next(
    tx: Tx<'_>,
    destination: &str,
    lease: Duration,
) -> Result<Done<Option<Delivery>>, Fault> {
    const LAPSE: &str = "-- lapse delivery leases\n\
        UPDATE outbox SET state = 'waiting', lease_id = NULL, leased_until = NULL \
        WHERE destination = ?1 AND state = 'leased' AND leased_until <= ?2";
    const OLDEST: &str = "-- find due delivery\n\
        SELECT id, instance_id, attempts, created_at FROM outbox \
        WHERE destination = ?1 AND state = 'waiting' AND priority = ?3 AND due_at <= ?2 ORDER BY due_at, id LIMIT 1";
    const GIVE: &str = "-- give delivery lease\n\
        UPDATE outbox SET state = 'leased', lease_id = ?2, leased_until = ?3, attempts = attempts + 1 WHERE id = ?1";
    let now = tx.now.as_millis();
    tx.change(LAPSE, (destination, now))?;
    let oldest_of = |priority| {
        tx.one(OLDEST, (destination, now, rank(priority)), |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, i64>(1)?,
                row.get::<_, u32>(2)?,
                row.get::<_, i64>(3)?,
            ))
        })
    };
    let mut due = None;
    for priority in Priority::ALL {
        due = oldest_of(priority)?;
        if due.is_some() {
            break;
        }
    }
    let Some((id, instance_id, attempts, created_at)) = due else {
        // A lapsed line may have been put back for later, and that must be kept.
        return Ok(Done::unchanged(None).moving_lease());
    };
    let lease_id = new_lease_id()?;
    let until = tx.now.after(lease).as_millis();
    tx.change(GIVE, (id, lease_id, until))?;
    let delivery = Delivery {
        id,
        lease_id: lease_id.cast_unsigned(),
        destination: destination.to_owned(),
        instance: instance(tx, instance_id)?,
        attempts: attempts + 1,
        waiting_since: Timestamp::from_millis(created_at),
    };
    Ok(Done::unchanged(Some(delivery)).moving_lease())
}

fn instance(tx: Tx<'_>, id: i64) -> Result<Instance, Fault> {
    const INSTANCE: &str = select_instances!("find posted object", "WHERE i.id = ?1");
    let found = tx.one(INSTANCE, [id], rows::instance)?;
    Ok(found.ok_or(StoreError::NotFound("object"))?)
}

fn in_hand(tx: Tx<'_>, delivery: &Delivery) -> Result<(), Fault> {
    const IN_HAND: &str = "-- find delivery in hand\n\
        SELECT count(*) FROM outbox WHERE id = ?1 AND state = 'leased' AND lease_id = ?2";
    let lease_id = delivery.lease_id.cast_signed();
    if tx.count(IN_HAND, (delivery.id, lease_id))? == 1 {
        Ok(())
    } else {
        Err(StoreError::LeaseLapsed.into())
    }
}

fn put_off(tx: Tx<'_>, delivery: &Delivery, trouble: &DeliveryTrouble) -> Result<Done<()>, Fault> {
    const PUT_OFF: &str = "-- put delivery off\n\
        UPDATE outbox SET state = ?2, due_at = coalesce(?3, due_at), last_trouble = ?4, \
            lease_id = NULL, leased_until = NULL \
        WHERE id = ?1";
    in_hand(tx, delivery)?;
    let (state, retry_at, reason) = match trouble {
        DeliveryTrouble::Transient { reason, retry_at } => {
            ("waiting", Some(retry_at.as_millis()), reason)
        }
        DeliveryTrouble::Permanent { reason } => ("failed", None, reason),
    };
    tx.change(PUT_OFF, (delivery.id, state, retry_at, reason))?;
    let mut line = line("not delivered", delivery);
    line.detail["reason"] = json!(reason);
    line.detail["given_up"] = json!(retry_at.is_none());
    Ok(Done::said((), line).waking())
}

fn line(verb: &'static str, delivery: &Delivery) -> Line {
    let identity = &delivery.instance.identity;
    let subject = format!(
        "delivery {} study {} instance {}",
        delivery.id, identity.study, identity.instance
    );
    let detail = json!({
        "destination": delivery.destination,
        "attempts": delivery.attempts,
        "sha256": delivery.instance.digest,
    });
    Line::new(verb, subject, Actor::room("dimse")).with(detail)
}

fn row_of(row: &Row<'_>) -> rusqlite::Result<DeliveryRow> {
    Ok(DeliveryRow {
        id: row.get("id")?,
        study: word(row, "study_uid")?,
        instance: word(row, "uid")?,
        destination: row.get("destination")?,
        state: row.get("state")?,
        attempts: row.get("attempts")?,
        last_trouble: row.get("last_trouble")?,
        delivered_at: time_if(row, "delivered_at")?,
    })
}
