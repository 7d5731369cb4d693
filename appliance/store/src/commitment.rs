//! Storage commitment, both ways: what peers asked us to promise, and what they are asked to promise of our results.
//!
//! A delivery to a peer that commits is not forgotten when the peer has answered it: it is asked about until the peer says
//! that it keeps the object, and sent again when the peer says that it does not.

use crate::StoreError;
use crate::change::{Done, Tx};
use crate::error::Fault;
use crate::journal::Line;
use crate::outbox::Delivery;
use crate::sql::{Sql, json, to_json, word};
use crate::store::Store;
use pericard_domain::actor::Actor;
use pericard_domain::ae::AeTitle;
use pericard_domain::time::Timestamp;
use pericard_domain::uid::{InstanceUid, SopClassUid};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;

/// An object, as commitment speaks of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Its class.
    pub sop_class: SopClassUid,
    /// Its UID.
    pub instance: InstanceUid,
}

/// What is promised of the objects of one transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    /// Transaction UID (0008,1195).
    pub transaction: String,
    /// What is kept.
    pub kept: Vec<Reference>,
    /// What is not, with the standard's reason (PS3.3 table C.14-1).
    pub not_kept: Vec<(Reference, u16)>,
}

/// A promise of which the peer is to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwedPromise {
    /// The row.
    pub id: i64,
    /// What to tell.
    pub promise: Promise,
    /// Times that it was tried, this one included.
    pub attempts: u32,
}

/// What to ask a peer to promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Transaction UID (0008,1195), new for every question.
    pub transaction: String,
    /// The objects.
    pub references: Vec<Reference>,
}

/// Failure Reason (0008,1197): no such object instance.
const NO_SUCH_INSTANCE: u16 = 0x0112;
/// Failure Reason: the object is of another class.
const CLASS_CONFLICT: u16 = 0x0119;
/// Failure Reason: the object's file is damaged.
const PROCESSING_FAILURE: u16 = 0x0110;
/// The most questions about one object of which an answer counts: more than eight days of them, one for each hour. Of those
/// that were put off, which may be one for each minute that a peer is down, only as many as leave the others their place.
const QUESTIONS_MAX: u32 = 200;

impl Store {
    /// A peer asks for commitment: what is promised of these objects, kept until the peer has heard of it. The same
    /// transaction asked again is answered anew.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`] and others: then nothing is promised.
    pub async fn promise(
        &self,
        title: &AeTitle,
        question: Question,
        by: Actor,
    ) -> Result<OwedPromise, StoreError> {
        let title = title.clone();
        self.change("promise", move |tx| promise(tx, &title, question, by))
            .await
    }

    /// The next promise that this peer is to hear of; it is not given out again before `again_after`.
    ///
    /// # Errors
    /// When the database failed.
    pub async fn owed_promise(
        &self,
        title: &AeTitle,
        again_after: Duration,
    ) -> Result<Option<OwedPromise>, StoreError> {
        const OWED: &str = "-- find owed promise\n\
            SELECT id, promise, attempts + 1 AS attempts FROM promises \
            WHERE ae_title = ?1 AND told_at IS NULL AND due_at <= ?2 ORDER BY due_at, id LIMIT 1";
        const TAKE: &str = "-- take owed promise\n\
            UPDATE promises SET attempts = attempts + 1, due_at = ?2 WHERE id = ?1";
        let title = title.to_string();
        self.change("owed promise", move |tx| {
            let owed = tx.one(OWED, (&title, tx.now.as_millis()), |row| {
                Ok(OwedPromise {
                    id: row.get("id")?,
                    promise: json(row, "promise")?,
                    attempts: row.get("attempts")?,
                })
            })?;
            if let Some(owed) = &owed {
                tx.change(TAKE, (owed.id, tx.now.after(again_after).as_millis()))?;
            }
            Ok(Done::unchanged(owed).moving_lease())
        })
        .await
    }

    /// The peer has heard.
    ///
    /// # Errors
    /// When the database failed.
    pub async fn promise_told(&self, owed: &OwedPromise) -> Result<(), StoreError> {
        const TOLD: &str = "-- promise told\nUPDATE promises SET told_at = ?2 WHERE id = ?1";
        let (id, transaction) = (owed.id, owed.promise.transaction.clone());
        self.change("promise told", move |tx| {
            tx.change(TOLD, (id, tx.now.as_millis()))?;
            let subject = format!("commitment {transaction}");
            Ok(Done::said(
                (),
                Line::new("tell promise", subject, Actor::room("dimse")),
            ))
        })
        .await
    }

    /// The peer has answered the delivery with success and is to be asked whether it keeps the object.
    ///
    /// # Errors
    /// [`StoreError::LeaseLapsed`].
    pub async fn delivered_uncommitted(&self, delivery: &Delivery) -> Result<(), StoreError> {
        let delivery = delivery.clone();
        self.change("deliver, uncommitted", move |tx| delivered(tx, &delivery))
            .await
    }

    /// What to ask the peer next, at most so many objects: it is asked again after `patience` without an answer. Until
    /// then and after, an answer to this question counts.
    ///
    /// # Errors
    /// When the database failed.
    pub async fn commitment_question(
        &self,
        destination: &str,
        references_max: u32,
        patience: Duration,
    ) -> Result<Option<Question>, StoreError> {
        let destination = destination.to_owned();
        self.change("ask for commitment", move |tx| {
            ask(tx, &destination, references_max, patience)
        })
        .await
    }

    /// The question did not reach the peer, or it does not answer such: it is asked again then. A promise in that transaction
    /// counts all the same: the peer may have heard the question, and only its answer was lost. What it has settled before, stays.
    ///
    /// # Errors
    /// When the database failed.
    pub async fn commitment_put_off(
        &self,
        question: &Question,
        why: &str,
        again_at: Timestamp,
    ) -> Result<(), StoreError> {
        const PUT_OFF: &str = "-- put commitment off\n\
            UPDATE commitments SET state = 'due', due_at = ?2 WHERE transaction_uid = ?1 AND state = 'asked'";
        const UNHEARD: &str = "-- mark question as put off\n\
            UPDATE commitment_questions SET put_off = 1 WHERE transaction_uid = ?1";
        let (transaction, why) = (question.transaction.clone(), why.to_owned());
        self.change("put commitment off", move |tx| {
            if tx.change(PUT_OFF, (&transaction, again_at.as_millis()))? == 0 {
                return Ok(Done::unchanged(()));
            }
            tx.change(UNHEARD, [&transaction])?;
            let subject = format!("commitment {transaction}");
            let line = Line::new("put commitment off", subject, Actor::room("dimse"));
            Ok(Done::said((), line.with(json!({ "reason": why }))))
        })
        .await
    }

    /// What the peer promises, in the latest transaction about an object or an earlier one. What it does not keep, or says
    /// nothing of, is sent again. What it has promised stays promised, and word that comes again (the peer may not have heard our
    /// answer) changes nothing.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when nothing was asked of this peer in that transaction.
    pub async fn settle_commitment(
        &self,
        destination: &str,
        promise: Promise,
        by: Actor,
    ) -> Result<(), StoreError> {
        let destination = destination.to_owned();
        self.change("settle commitment", move |tx| {
            settle(tx, &destination, &promise, by)
        })
        .await
    }

    /// How many deliveries to this peer it has not promised to keep yet, and how many it has.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn commitments(&self, destination: &str) -> Result<(u64, u64), StoreError> {
        const OPEN: &str = "-- count open commitments\n\
            SELECT count(*) FROM commitments WHERE destination = ?1 AND state <> 'committed'";
        const HELD: &str = "-- count commitments\n\
            SELECT count(*) FROM commitments WHERE destination = ?1 AND state = 'committed'";
        let destination = destination.to_owned();
        self.read("count commitments", move |sql| {
            Ok((
                sql.count(OPEN, [&destination])?,
                sql.count(HELD, [&destination])?,
            ))
        })
        .await
    }
}

fn promise(
    tx: Tx<'_>,
    title: &AeTitle,
    question: Question,
    by: Actor,
) -> Result<Done<OwedPromise>, Fault> {
    const KEEP: &str = "-- keep promise\n\
        INSERT INTO promises (ae_title, transaction_uid, promise, due_at) VALUES (?1, ?2, ?3, ?4) \
        ON CONFLICT (ae_title, transaction_uid) DO UPDATE SET promise = ?3, due_at = ?4, attempts = 0, told_at = NULL \
        RETURNING id";
    let mut promise = Promise {
        transaction: question.transaction,
        kept: Vec::new(),
        not_kept: Vec::new(),
    };
    for reference in question.references {
        match why_not_kept(tx.sql, &reference)? {
            None => promise.kept.push(reference),
            Some(why) => promise.not_kept.push((reference, why)),
        }
    }
    let values = (
        title.as_str(),
        &promise.transaction,
        to_json(&promise)?,
        tx.now.as_millis(),
    );
    let id = tx.one(KEEP, values, |row| row.get(0))?;
    let id = id.ok_or_else(|| StoreError::failed("keep promise", "the database gave no id"))?;
    let subject = format!("commitment {}", promise.transaction);
    let detail = json!({ "kept": promise.kept.len(), "not_kept": promise.not_kept.len() });
    let line = Line::new("promise", subject, by).with(detail);
    let owed = OwedPromise {
        id,
        promise,
        attempts: 0,
    };
    Ok(Done::said(owed, line).waking())
}

/// Why an object cannot be promised: everything that has a row is on disk, unless it was found damaged.
fn why_not_kept(sql: Sql<'_>, reference: &Reference) -> Result<Option<u16>, Fault> {
    const HELD: &str = "-- find object to promise\n\
        SELECT i.sop_class, EXISTS (SELECT 1 FROM damage d WHERE d.instance_id = i.id) AS damaged \
        FROM instances i WHERE i.uid = ?1 ORDER BY i.revision DESC LIMIT 1";
    let held = sql.one(HELD, [reference.instance.as_str()], |row| {
        Ok((
            row.get::<_, String>("sop_class")?,
            row.get::<_, bool>("damaged")?,
        ))
    })?;
    Ok(match held {
        None => Some(NO_SUCH_INSTANCE),
        Some((_, true)) => Some(PROCESSING_FAILURE),
        Some((class, false)) if class != reference.sop_class.as_str() => Some(CLASS_CONFLICT),
        Some(_) => None,
    })
}

fn delivered(tx: Tx<'_>, delivery: &Delivery) -> Result<Done<()>, Fault> {
    const DELIVERED: &str = "-- delivered, uncommitted\n\
        UPDATE outbox SET state = 'delivered', delivered_at = ?3, lease_id = NULL, leased_until = NULL \
        WHERE id = ?1 AND state = 'leased' AND lease_id = ?2";
    const DUE: &str = "-- commitment due\n\
        INSERT INTO commitments (outbox_id, destination, state, due_at) VALUES (?1, ?2, 'due', ?3) \
        ON CONFLICT (outbox_id) DO UPDATE SET state = 'due', due_at = ?3, transaction_uid = NULL";
    // What was asked was of a copy that the peer may have no more.
    const UNASK: &str =
        "-- drop commitment questions\nDELETE FROM commitment_questions WHERE outbox_id = ?1";
    let now = tx.now.as_millis();
    if tx.change(
        DELIVERED,
        (delivery.id, delivery.lease_id.cast_signed(), now),
    )? == 0
    {
        return Err(StoreError::LeaseLapsed.into());
    }
    tx.change(DUE, (delivery.id, &delivery.destination, now))?;
    tx.change(UNASK, [delivery.id])?;
    let identity = &delivery.instance.identity;
    let subject = format!(
        "delivery {} study {} instance {}",
        delivery.id, identity.study, identity.instance
    );
    let detail = json!({ "destination": delivery.destination, "attempts": delivery.attempts, "commitment": "awaited" });
    let line = Line::new("deliver", subject, Actor::room("dimse")).with(detail);
    Ok(Done::said((), line).waking())
}

fn ask(
    tx: Tx<'_>,
    destination: &str,
    references_max: u32,
    patience: Duration,
) -> Result<Done<Option<Question>>, Fault> {
    const DUE: &str = "-- find due commitments\n\
        SELECT c.outbox_id, i.uid, i.sop_class FROM commitments c \
        JOIN outbox o ON o.id = c.outbox_id JOIN instances i ON i.id = o.instance_id \
        WHERE c.destination = ?1 AND c.state <> 'committed' AND c.due_at <= ?2 ORDER BY c.due_at, c.outbox_id LIMIT ?3";
    const ASKED: &str = "-- commitment asked\n\
        UPDATE commitments SET state = 'asked', transaction_uid = ?2, due_at = ?3 WHERE outbox_id = ?1";
    const QUESTION: &str = "-- keep commitment question\n\
        INSERT INTO commitment_questions (outbox_id, transaction_uid) VALUES (?1, ?2)";
    const OLDEST: &str = "-- drop oldest commitment questions\n\
        DELETE FROM commitment_questions WHERE id IN (SELECT id FROM commitment_questions WHERE outbox_id = ?1 \
            ORDER BY put_off, id DESC LIMIT -1 OFFSET ?2)";
    let due = tx.all(
        DUE,
        (destination, tx.now.as_millis(), references_max),
        |row| {
            let reference = Reference {
                sop_class: word(row, "sop_class")?,
                instance: word(row, "uid")?,
            };
            Ok((row.get::<_, i64>("outbox_id")?, reference))
        },
    )?;
    if due.is_empty() {
        return Ok(Done::unchanged(None));
    }
    let transaction = new_transaction()?;
    let again_at = tx.now.after(patience).as_millis();
    for (id, _) in &due {
        tx.change(ASKED, (*id, &transaction, again_at))?;
        tx.change(QUESTION, (*id, &transaction))?;
        tx.change(OLDEST, (*id, QUESTIONS_MAX))?;
    }
    let subject = format!("commitment {transaction}");
    let detail = json!({ "destination": destination, "objects": due.len() });
    let line = Line::new("ask for commitment", subject, Actor::room("dimse")).with(detail);
    let question = Question {
        transaction,
        references: due.into_iter().map(|(_, reference)| reference).collect(),
    };
    Ok(Done::said(Some(question), line))
}

fn settle(tx: Tx<'_>, destination: &str, promise: &Promise, by: Actor) -> Result<Done<()>, Fault> {
    const ASKED: &str = "-- find what a transaction asked\n\
        SELECT c.outbox_id, i.uid, c.state = 'committed' AS is_settled FROM commitment_questions q JOIN commitments c ON c.outbox_id = q.outbox_id \
        JOIN outbox o ON o.id = c.outbox_id JOIN instances i ON i.id = o.instance_id \
        WHERE q.transaction_uid = ?1 AND c.destination = ?2";
    const COMMITTED: &str = "-- committed\n\
        UPDATE commitments SET state = 'committed', committed_at = ?2 WHERE outbox_id = ?1";
    const AGAIN: &str = "-- send again what is not committed\n\
        UPDATE outbox SET state = 'waiting', due_at = ?2, last_trouble = ?3 WHERE id = ?1 AND state = 'delivered'";
    const FORGET: &str = "-- drop commitment\nDELETE FROM commitments WHERE outbox_id = ?1";
    let asked = tx.all(ASKED, (&promise.transaction, destination), |row| {
        let asked = (
            row.get::<_, i64>("outbox_id")?,
            row.get::<_, String>("uid")?,
        );
        Ok((asked, row.get::<_, bool>("is_settled")?))
    })?;
    if asked.is_empty() {
        return Err(StoreError::NotFound("awaited commitment").into());
    }
    let is_awaited = |(asked, is_settled): (_, bool)| (!is_settled).then_some(asked);
    let awaited: Vec<(i64, String)> = asked.into_iter().filter_map(is_awaited).collect();
    if awaited.is_empty() {
        return Ok(Done::unchanged(()));
    }
    let (now, mut committed, mut again) = (tx.now.as_millis(), 0, 0);
    for (id, uid) in awaited {
        if promise
            .kept
            .iter()
            .any(|kept| kept.instance.as_str() == uid)
        {
            tx.change(COMMITTED, (id, now))?;
            committed += 1;
            continue;
        }
        let refused = promise
            .not_kept
            .iter()
            .find(|(r, _)| r.instance.as_str() == uid);
        let why = refused.map_or_else(
            || "the peer's commitment does not mention it".to_owned(),
            |(_, why)| format!("the peer does not keep it (reason 0x{why:04X})"),
        );
        tx.change(FORGET, [id])?;
        tx.change(AGAIN, (id, now, why))?;
        again += 1;
    }
    let subject = format!("commitment {}", promise.transaction);
    let detail =
        json!({ "destination": destination, "committed": committed, "to_send_again": again });
    Ok(Done::said((), Line::new("settle commitment", subject, by).with(detail)).waking())
}

/// A UID that nobody guesses: 128 random bits (PS3.5 section B.2).
fn new_transaction() -> Result<String, StoreError> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|error| StoreError::failed("name a transaction", error))?;
    Ok(format!("2.25.{}", u128::from_be_bytes(bits)))
}
