//! Receiving: an object is taken, durably, or its refusal is written down.

use super::keep::{self, Held, Placed};
use super::queue::{NewAssembly, request_assembly};
use super::{damage, removal};
use crate::StoreError;
use crate::admission::{Admission, NewObject, Refusal};
use crate::change::{Done, Tx};
use crate::error::Fault;
use crate::expect;
use crate::journal::Line;
use crate::object::Incoming;
use crate::prior;
use crate::rows::rank;
use crate::store::Store;
use crate::writer::{Placement, Settler, answered};
use pericard_domain::actor::Actor;
use pericard_domain::job::Priority;
use pericard_domain::time::Timestamp;
use serde_json::json;
use std::sync::Arc;

impl Store {
    /// Opens a file to receive an object into. Dropped without being sealed, it is gone.
    ///
    /// # Errors
    /// [`StoreError::DiskFloor`], [`StoreError::QueueFull`] and [`StoreError::ReadOnly`] before anything is written;
    /// [`StoreError::Conflict`] in a store that was opened beside the serving process.
    pub fn incoming(&self) -> Result<Incoming, StoreError> {
        if self.inner.serving.is_none() {
            let reason = "only the process that serves from the data directory receives objects";
            return Err(StoreError::Conflict(reason.into()));
        }
        self.inner.health.check_queue()?;
        Incoming::new(Arc::clone(&self.inner.files))
    }

    /// Takes a sealed object: file in place, directory synced, row, assembly job and audit line committed. Only when
    /// this resolves may the peer be told of success. Dropped while it waits, the object may be taken or not.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`] when the disk failed, [`StoreError::DiskFloor`] when it is full.
    pub async fn admit(&self, object: NewObject, from: Actor) -> Result<Admission, StoreError> {
        const NAME: &str = "admit object";
        let received_at = self.inner.clock.now();
        let sealed = object.sealed;
        let admittance = Admittance {
            placed: Placed::new(object.identity, object.facts, &sealed, received_at)?,
            assemble_at: object.assemble_at,
            priority: object.priority,
            from,
        };
        let layout = self.inner.files.layout();
        let uid = admittance.placed.identity.instance.clone();
        let to = layout.object(received_at, &sealed.digest, &uid);
        let (change, answer) = self
            .inner
            .writer
            .queued(NAME, move |tx| admit(tx, admittance))
            .await?;
        self.place(Placement {
            files: vec![Settler {
                staging: sealed.staging,
                file: sealed.file,
                to: to.clone(),
            }],
            change,
            approach: Some(sealed.approach),
        });
        let (admission, same_at) = answered(NAME, answer).await?;
        let kept_at = same_at.map(|at| layout.object(at, &sealed.digest, &uid));
        if kept_at.is_some_and(|kept| kept != to) {
            // Sent again on another day: no row names this file, and none ever will, since the UID and digest have one.
            let _ = std::fs::remove_file(&to);
        }
        Ok(admission)
    }

    /// Writes that something was refused.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`] and others, when it could not be written.
    pub async fn refuse(&self, refusal: Refusal, from: Actor) -> Result<(), StoreError> {
        self.change("refuse", move |_tx| {
            let subject = match &refusal.instance {
                Some(instance) => format!("instance {instance}"),
                None => "nothing named".to_owned(),
            };
            let detail = json!({ "what": refusal.what, "why": refusal.why });
            Ok(Done::said(
                (),
                Line::new("refuse", subject, from).with(detail),
            ))
        })
        .await
    }
}

/// An object to be admitted, prepared before the writer's turn.
struct Admittance {
    placed: Placed,
    assemble_at: Timestamp,
    priority: Priority,
    from: Actor,
}

/// What became of the object and, when the same bytes were held, when those were admitted.
type Admitted = (Admission, Option<Timestamp>);

fn admit(tx: Tx<'_>, object: Admittance) -> Result<Done<Admitted>, Fault> {
    let held = keep::held(tx, &object.placed)?;
    if let Some(held) = held.filter(|held| held.is_same) {
        if damage::unmark(tx, held.id)? {
            return mend(tx, &object, held);
        }
        let line = line(&object, "already held", held.revision);
        let admitted = (Admission::AlreadyHeld, Some(held.received_at));
        return Ok(Done::said(admitted, line));
    }
    // What comes back under the UID of one of our results is that result, changed on its way: were it taken as a new
    // image, a PACS that returns what it is sent would be answered with results without end.
    let is_result = held.is_some_and(|held| held.is_result);
    let is_prior = prior::is_coming(tx.sql, &object.placed.identity.study, &object.from)?;
    let object = as_ordered(tx, object)?;
    let study_id = keep_study(tx, &object, is_result || is_prior)?;
    keep::insert(tx, study_id, &object.placed, held, is_result)?;
    if !is_result && !is_prior {
        let assembly = NewAssembly {
            study_id,
            due_at: object.assemble_at,
        };
        request_assembly(tx, assembly)?;
    }
    let (admission, line) = describe(&object, held);
    Ok(Done::said((admission, None), line).waking())
}

/// As urgent as the orders about its study make it.
fn as_ordered(tx: Tx<'_>, mut object: Admittance) -> Result<Admittance, Fault> {
    let (study, facts) = (&object.placed.identity.study, &object.placed.facts);
    if let Some(ordered) = expect::priority(tx.sql, study, facts)? {
        object.priority = object.priority.min(ordered);
    }
    Ok(object)
}

/// The same bytes came again for an object whose file was lost or altered: from now on it is the file that came.
fn mend(tx: Tx<'_>, object: &Admittance, held: Held) -> Result<Done<Admitted>, Fault> {
    const MEND: &str = "-- mend object\nUPDATE instances SET received_at = ?2 WHERE id = ?1";
    let placed = &object.placed;
    tx.change(MEND, (held.id, placed.received_at.as_millis()))?;
    removal::cancel(tx, placed)?;
    if held.received_at.dicom_date() != placed.received_at.dicom_date() {
        removal::order(tx, held.received_at, placed)?;
    }
    let instance = &placed.identity.instance;
    tracing::info!(%instance, "a damaged object was sent again and is whole");
    let line = line(object, "mended: the kept file was damaged", held.revision);
    Ok(Done::said((Admission::AlreadyHeld, None), line))
}

fn describe(object: &Admittance, held: Option<Held>) -> (Admission, Line) {
    match held {
        None => (Admission::Stored, line(object, "stored", 1)),
        Some(held) => {
            let revision = held.revision + 1;
            let instance = &object.placed.identity.instance;
            tracing::warn!(%instance, revision, "other bytes came under a UID that is held; both are kept");
            let said = "revised: other bytes under the same UID, both kept";
            (
                Admission::Revised { revision },
                line(object, said, revision),
            )
        }
    }
}

fn line(object: &Admittance, outcome: &str, revision: u32) -> Line {
    let identity = &object.placed.identity;
    let subject = format!("study {} instance {}", identity.study, identity.instance);
    let detail = json!({
        "outcome": outcome,
        "revision": revision,
        "sha256": object.placed.digest,
        "size_bytes": object.placed.size_bytes,
    });
    Line::new("admit object", subject, object.from.clone()).with(detail)
}

/// Makes the study, or notes that it received another object; gives its id. A quiet one sets nothing off: a result of ours,
/// or an earlier study that was sent for.
fn keep_study(tx: Tx<'_>, object: &Admittance, is_quiet: bool) -> Result<i64, Fault> {
    const KEEP: &str = "-- keep study\n\
        INSERT INTO studies (uid, state, priority, first_received_at, last_received_at, facts) \
        VALUES (?1, iif(?5, 'complete', 'arriving'), ?2, ?3, ?3, ?4) \
        ON CONFLICT (uid) DO UPDATE SET \
            state = iif(?5, state, 'arriving'), \
            priority = min(priority, ?2), \
            last_received_at = iif(?5, last_received_at, ?3) \
        RETURNING id";
    let placed = &object.placed;
    let values = (
        placed.identity.study.as_str(),
        rank(object.priority),
        placed.received_at.as_millis(),
        &placed.facts_json,
        is_quiet,
    );
    let id = tx.one(KEEP, values, |row| row.get(0))?;
    Ok(id.ok_or_else(|| StoreError::failed("keep study", "the database gave no id"))?)
}
