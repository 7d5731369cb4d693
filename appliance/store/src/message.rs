//! Results as messages to the hospital's information system: one row for a job and a peer that is told of it.
//!
//! A row stands until the peer has acknowledged it, or has said that it never will.

use crate::StoreError;
use crate::change::{Done, Tx};
use crate::error::Fault;
use crate::journal::Line;
use crate::outbox::DeliveryTrouble;
use crate::rows::{self, rank, select_jobs};
use crate::sql::{Sql, word};
use crate::store::{KeptReport, Store};
use crate::verbs::lease::new_lease_id;
use pericard_domain::actor::Actor;
use pericard_domain::job::Job;
use pericard_domain::order::Expected;
use pericard_domain::study::Study;
use pericard_domain::time::Timestamp;
use pericard_domain::uid::StudyUid;
use rusqlite::Row;
use serde::Serialize;
use serde_json::json;
use std::time::Duration;

/// How many rows a list has when no limit is said.
const LISTED_MESSAGES: u32 = 100;

/// A message in hand, and what it is about.
#[derive(Debug, Clone)]
pub struct Message {
    /// The row: also the message's control id, the same at every attempt.
    pub id: i64,
    /// What tells this lease from any other of the same row.
    pub lease_id: u64,
    /// The peer's name.
    pub destination: String,
    /// Attempts begun, this one included.
    pub attempts: u32,
    /// When its results were kept.
    pub created_at: Timestamp,
    /// The job that it tells of.
    pub job: Job,
    /// What was found; `None` when the job failed.
    pub report: Option<KeptReport>,
    /// The study.
    pub study: Study,
    /// The orders that are about the study.
    pub orders: Vec<Expected>,
    /// The number that the patient has by now, when the study says one.
    pub patient_id: Option<String>,
}

/// A message, as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MessageRow {
    /// The row.
    pub id: i64,
    /// The study.
    pub study: StudyUid,
    /// The peer's name.
    pub destination: String,
    /// `waiting`, `leased`, `delivered` or `failed`.
    pub state: String,
    /// Attempts begun.
    pub attempts: u32,
    /// Why the latest attempt did not deliver.
    pub last_trouble: Option<String>,
}

impl Store {
    /// Leases the oldest message to a peer that is due.
    ///
    /// # Errors
    /// When the database failed.
    pub async fn lease_message(
        &self,
        destination: &str,
        lease: Duration,
    ) -> Result<Option<Message>, StoreError> {
        let destination = destination.to_owned();
        let leased = self.change("lease message", move |tx| {
            lease_oldest(tx, &destination, lease)
        });
        let Some(leased) = leased.await? else {
            return Ok(None);
        };
        let read = self.read("read message", move |sql| of(sql, &leased));
        let Some((mut message, is_done)) = read.await? else {
            return Ok(None);
        };
        if is_done {
            let reports = self.reports(&message.study.study).await?;
            message.report = reports.into_iter().find(|kept| kept.job == message.job.id);
        }
        Ok(Some(message))
    }

    /// The peer has acknowledged it.
    ///
    /// # Errors
    /// [`StoreError::LeaseLapsed`].
    pub async fn message_delivered(&self, message: &Message) -> Result<(), StoreError> {
        const DELIVERED: &str = "-- message delivered\n\
            UPDATE messages SET state = 'delivered', delivered_at = ?2, lease_id = NULL, leased_until = NULL, \
                last_trouble = NULL WHERE id = ?1";
        let message = message.clone();
        self.change("deliver message", move |tx| {
            in_hand(tx, &message)?;
            tx.change(DELIVERED, (message.id, tx.now.as_millis()))?;
            Ok(Done::said((), line("deliver message", &message)))
        })
        .await
    }

    /// The peer has not taken it.
    ///
    /// # Errors
    /// [`StoreError::LeaseLapsed`].
    pub async fn message_not_delivered(
        &self,
        message: &Message,
        trouble: DeliveryTrouble,
    ) -> Result<(), StoreError> {
        const PUT_OFF: &str = "-- put message off\n\
            UPDATE messages SET state = ?2, due_at = coalesce(?3, due_at), last_trouble = ?4, \
                lease_id = NULL, leased_until = NULL WHERE id = ?1";
        let message = message.clone();
        self.change("put message off", move |tx| {
            in_hand(tx, &message)?;
            let (state, retry_at, reason) = match trouble {
                DeliveryTrouble::Transient { reason, retry_at } => {
                    ("waiting", Some(retry_at.as_millis()), reason)
                }
                DeliveryTrouble::Permanent { reason } => ("failed", None, reason),
            };
            tx.change(PUT_OFF, (message.id, state, retry_at, &reason))?;
            let mut line = line("message not delivered", &message);
            line.detail["reason"] = json!(reason);
            line.detail["given_up"] = json!(retry_at.is_none());
            Ok(Done::said((), line))
        })
        .await
    }

    /// How many messages wait and how many were given up: for metrics.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn message_counts(&self) -> Result<[(&'static str, u64); 2], StoreError> {
        const WAITING: &str = "-- count waiting messages\n\
            SELECT count(*) FROM messages WHERE state IN ('waiting', 'leased')";
        const FAILED: &str = "-- count failed messages\n\
            SELECT count(*) FROM messages WHERE state = 'failed'";
        self.read("count messages", |sql| {
            Ok([
                ("waiting", sql.count(WAITING, ())?),
                ("failed", sql.count(FAILED, ())?),
            ])
        })
        .await
    }

    /// Tries a message again that was given up.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn retry_message(&self, id: i64, by: Actor) -> Result<(), StoreError> {
        const RETRY: &str = "-- retry message\n\
            UPDATE messages SET state = 'waiting', due_at = ?2, attempts = 0 WHERE id = ?1 AND state = 'failed'";
        self.change("retry message", move |tx| {
            if tx.change(RETRY, (id, tx.now.as_millis()))? == 0 {
                return Err(StoreError::NotFound("message that was given up").into());
            }
            let line = Line::new("retry message", format!("message {id}"), by);
            Ok(Done::said((), line).waking())
        })
        .await
    }

    /// The messages of a study, or all that are not delivered yet; latest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn messages(
        &self,
        study: Option<&StudyUid>,
        limit: u32,
    ) -> Result<Vec<MessageRow>, StoreError> {
        const LIST: &str = "-- list messages\n\
            SELECT m.*, s.uid AS study_uid FROM messages m JOIN studies s ON s.id = m.study_id \
            WHERE s.uid = ?1 OR (?1 IS NULL AND m.state <> 'delivered') ORDER BY m.id DESC LIMIT ?2";
        let limit = if limit == 0 { LISTED_MESSAGES } else { limit };
        let study = study.cloned();
        self.read("list messages", move |sql| {
            let study = study.as_ref().map(|study| study.as_str());
            sql.all(LIST, (study, limit), row_of)
        })
        .await
    }
}

/// A job's results are told to that peer.
pub(crate) fn post(tx: Tx<'_>, row: &rows::JobRow) -> Result<(), Fault> {
    const POST: &str = "-- post message\n\
        INSERT INTO messages (study_id, job_id, destination, priority, state, due_at, created_at) \
        VALUES (?1, ?2, ?3, ?4, 'waiting', ?5, ?5) ON CONFLICT DO NOTHING";
    const HASTEN: &str = "-- hasten earlier messages\n\
        UPDATE messages SET priority = ?3 \
        WHERE study_id = ?1 AND destination = ?2 AND state IN ('waiting', 'leased') AND priority > ?3";
    let (now, priority) = (tx.now.as_millis(), rank(row.job.priority));
    for destination in &row.messages {
        let line = (row.study_id, row.job.id.0, destination, priority, now);
        tx.change(POST, line)?;
        tx.change(HASTEN, (row.study_id, destination, priority))?;
    }
    Ok(())
}

/// A lease: the row, and what tells it from others.
#[derive(Debug, Clone)]
struct Leased {
    id: i64,
    lease_id: i64,
}

fn lease_oldest(
    tx: Tx<'_>,
    destination: &str,
    lease: Duration,
) -> Result<Done<Option<Leased>>, Fault> {
    // Of one study in the order in which results were kept: a superseding one is never told before the one that it supersedes.
    const OLDEST: &str = "-- find due message\n\
        SELECT id, state, due_at, leased_until FROM messages \
        WHERE destination = ?1 AND state IN ('waiting', 'leased') ORDER BY priority, id LIMIT 1";
    const GIVE: &str = "-- give message lease\n\
        UPDATE messages SET state = 'leased', lease_id = ?2, leased_until = ?3, attempts = attempts + 1 WHERE id = ?1";
    let now = tx.now.as_millis();
    let oldest = tx.one(OLDEST, [destination], |row| {
        let is_leased = row.get::<_, String>(1)? == "leased";
        let due_at: Option<i64> = row.get(if is_leased { 3 } else { 2 })?;
        Ok((row.get::<_, i64>(0)?, due_at.unwrap_or(0)))
    })?;
    let Some((id, _)) = oldest.filter(|(_, due_at)| *due_at <= now) else {
        return Ok(Done::unchanged(None));
    };
    let lease_id = new_lease_id()?;
    let until = tx.now.after(lease).as_millis();
    tx.change(GIVE, (id, lease_id, until))?;
    Ok(Done::unchanged(Some(Leased { id, lease_id })).moving_lease())
}

/// What a leased message is about, and whether its job is done.
fn of(sql: Sql<'_>, leased: &Leased) -> Result<Option<(Message, bool)>, Fault> {
    const MESSAGE: &str = "-- read message\n\
        SELECT job_id, destination, attempts, created_at FROM messages WHERE id = ?1";
    const JOB: &str = select_jobs!("read job of message", "WHERE j.id = ?1");
    const STUDY: &str = "-- read study of message\n\
        SELECT s.* FROM studies s JOIN jobs j ON j.study_id = s.id WHERE j.id = ?1";
    let found = sql.one(MESSAGE, [leased.id], |row| {
        Ok((
            row.get::<_, i64>(0)?,
            row.get::<_, String>(1)?,
            row.get::<_, u32>(2)?,
            row.get(3).map(Timestamp::from_millis)?,
        ))
    })?;
    let Some((job_id, destination, attempts, created_at)) = found else {
        return Ok(None);
    };
    let job = sql.one(JOB, [job_id], rows::job)?;
    let study = sql.one(STUDY, [job_id], rows::study)?;
    let (Some(job), Some(study)) = (job, study) else {
        return Ok(None);
    };
    let patient = study.facts.patient_id.as_deref();
    let numbers = patient.map(|id| crate::patient::surviving(sql, id));
    let is_done = matches!(job.state, pericard_domain::job::JobState::Done);
    let message = Message {
        id: leased.id,
        lease_id: leased.lease_id.cast_unsigned(),
        destination,
        attempts,
        created_at,
        orders: crate::expect::about(sql, &study.study, &study.facts)?,
        job,
        report: None,
        patient_id: numbers.transpose()?,
        study,
    };
    Ok(Some((message, is_done)))
}

fn in_hand(tx: Tx<'_>, message: &Message) -> Result<(), Fault> {
    const IN_HAND: &str = "-- find message in hand\n\
        SELECT count(*) FROM messages WHERE id = ?1 AND state = 'leased' AND lease_id = ?2";
    match tx.count(IN_HAND, (message.id, message.lease_id.cast_signed()))? {
        1 => Ok(()),
        _ => Err(StoreError::LeaseLapsed.into()),
    }
}

fn line(verb: &'static str, message: &Message) -> Line {
    let subject = format!(
        "message {} job {} study {}",
        message.id, message.job.id, message.study.study
    );
    let detail = json!({ "destination": message.destination, "attempts": message.attempts });
    Line::new(verb, subject, Actor::room("hl7")).with(detail)
}

fn row_of(row: &Row<'_>) -> rusqlite::Result<MessageRow> {
    Ok(MessageRow {
        id: row.get("id")?,
        study: word(row, "study_uid")?,
        destination: row.get("destination")?,
        state: row.get("state")?,
        attempts: row.get("attempts")?,
        last_trouble: row.get("last_trouble")?,
    })
}
