//! Workitems: kept, changed on the latest view of them only, and told of to whoever subscribed.

use crate::StoreError;
use crate::change::{Done, Tx};
use crate::error::Fault;
use crate::journal::Line;
use crate::prior;
use crate::queue::{Ordered, PlannedInference};
use crate::rows::{self, rank, select_jobs};
use crate::sql::{closed, json, time, to_json, word};
use crate::store::Store;
use crate::verbs::plan;
use crate::workitem::{Altered, NewWorkitem, Notice, Subscription, Told, Workitem};
use pericard_domain::actor::Actor;
use pericard_domain::job::JobId;
use pericard_domain::time::Timestamp;
use pericard_domain::uid::{InstanceUid, StudyUid};
use pericard_domain::workitem::WorkitemState;
use rusqlite::Row;
use serde_json::json;

/// Reports that are kept for subscribers who are slow to take them.
const NOTICES_KEPT_MAX: i64 = 10_000;
/// How many reports are read at a time.
const NOTICES_READ_MAX: u32 = 100;

impl Store {
    /// Keeps a new workitem.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when there is one of that UID.
    pub async fn create_workitem(
        &self,
        new: NewWorkitem,
        told: Vec<Told>,
        by: Actor,
    ) -> Result<(), StoreError> {
        self.change("create workitem", move |tx| create(tx, &new, &told, by))
            .await
    }

    /// A workitem.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn workitem(&self, uid: &InstanceUid) -> Result<Workitem, StoreError> {
        const READ: &str = "-- read workitem\nSELECT * FROM workitems WHERE uid = ?1";
        let uid = uid.clone();
        let found = self.read("read workitem", move |sql| {
            sql.one(READ, [uid.as_str()], workitem)
        });
        found.await?.ok_or(StoreError::NotFound("workitem"))
    }

    /// Workitems in the order in which they were created, the latest first; only those before `before`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn workitems(
        &self,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Workitem>, StoreError> {
        const LIST: &str = "-- list workitems\n\
            SELECT * FROM workitems WHERE ?1 IS NULL OR id < ?1 ORDER BY id DESC LIMIT ?2";
        self.read("list workitems", move |sql| {
            sql.all(LIST, (before, limit), workitem)
        })
        .await
    }

    /// Workitems that order an analysis of this appliance and have not ended, the oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn open_orders(&self, limit: u32) -> Result<Vec<Workitem>, StoreError> {
        const OPEN: &str = "-- list open orders\n\
            SELECT * FROM workitems WHERE study_uid IS NOT NULL AND state IN ('SCHEDULED', 'IN PROGRESS') \
            ORDER BY id LIMIT ?1";
        self.read("list open orders", move |sql| {
            sql.all(OPEN, [limit], workitem)
        })
        .await
    }

    /// Changes a workitem that is still as it was read.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when somebody else changed it meanwhile: read it again.
    pub async fn alter_workitem(&self, altered: Altered, by: Actor) -> Result<(), StoreError> {
        self.change("alter workitem", move |tx| alter(tx, &altered, by))
            .await
    }

    /// Plans the inferences that a workitem orders, over the study's latest revision, and notes them with the workitem; one
    /// that is planned or done already serves it. They wait for the earlier studies that the order asks for. `None` when the
    /// study is not complete yet.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] as [`Store::alter_workitem`].
    pub async fn plan_order(
        &self,
        altered: Altered,
        ordered: Ordered,
        by: Actor,
    ) -> Result<Option<Vec<JobId>>, StoreError> {
        self.change("plan order", move |tx| {
            plan_order(tx, altered, &ordered, by)
        })
        .await
    }

    /// Subscribes to a workitem, and to these besides: those that a subscription to all means by now. One that there is
    /// already is replaced.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn subscribe(
        &self,
        new: Subscription,
        besides: Vec<InstanceUid>,
        told: Vec<Told>,
        by: Actor,
    ) -> Result<(), StoreError> {
        self.change("subscribe to workitem", move |tx| {
            keep_subscription(tx, &new)?;
            for workitem in besides {
                keep_subscription(
                    tx,
                    &Subscription {
                        workitem,
                        filter: None,
                        ..new.clone()
                    },
                )?;
            }
            tell(tx, &new.workitem, &told)?;
            let detail = json!({ "ae_title": new.ae_title, "deletion_lock": new.deletion_lock });
            let line = Line::new("subscribe to workitem", subject(&new.workitem), by).with(detail);
            Ok(Done::said((), line).waking())
        })
        .await
    }

    /// Gives a subscription up; with `all`, every one of that title.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none.
    pub async fn unsubscribe(
        &self,
        ae_title: &str,
        workitem: &InstanceUid,
        all: bool,
        by: Actor,
    ) -> Result<(), StoreError> {
        const FORGET: &str = "-- forget subscription\n\
            DELETE FROM workitem_subscriptions WHERE ae_title = ?1 AND (?3 OR workitem_uid = ?2)";
        let (title, workitem) = (ae_title.to_owned(), workitem.clone());
        self.change("unsubscribe from workitem", move |tx| {
            if tx.change(FORGET, (&title, workitem.as_str(), all))? == 0 {
                return Err(StoreError::NotFound("subscription").into());
            }
            let detail = json!({ "ae_title": title, "all": all });
            let line = Line::new("unsubscribe from workitem", subject(&workitem), by).with(detail);
            Ok(Done::said((), line))
        })
        .await
    }

    /// The subscriptions to a workitem, or under one of the well-known UIDs.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn subscriptions(
        &self,
        workitem: &InstanceUid,
    ) -> Result<Vec<Subscription>, StoreError> {
        const LIST: &str = "-- list subscriptions\n\
            SELECT * FROM workitem_subscriptions WHERE workitem_uid = ?1 ORDER BY ae_title";
        let workitem = workitem.clone();
        self.read("list subscriptions", move |sql| {
            sql.all(LIST, [workitem.as_str()], |row| {
                Ok(Subscription {
                    ae_title: row.get("ae_title")?,
                    workitem: word(row, "workitem_uid")?,
                    deletion_lock: row.get("deletion_lock")?,
                    filter: row.get("filter")?,
                })
            })
        })
        .await
    }

    /// What that subscriber is still to be told, the oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn notices(&self, ae_title: &str) -> Result<Vec<Notice>, StoreError> {
        const READ: &str = "-- read notices\n\
            SELECT id, report FROM workitem_reports WHERE ae_title = ?1 ORDER BY id LIMIT ?2";
        let title = ae_title.to_owned();
        self.read("read notices", move |sql| {
            sql.all(READ, (&title, NOTICES_READ_MAX), |row| {
                Ok(Notice {
                    place: row.get("id")?,
                    report: json(row, "report")?,
                })
            })
        })
        .await
    }

    /// Lets go of what that subscriber has been told, up to that place.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn notices_told(&self, ae_title: &str, through: i64) -> Result<(), StoreError> {
        const TOLD: &str = "-- forget told notices\n\
            DELETE FROM workitem_reports WHERE ae_title = ?1 AND id <= ?2";
        let title = ae_title.to_owned();
        self.change("forget told notices", move |tx| {
            tx.change(TOLD, (&title, through))?;
            // That somebody has heard is no fact about a patient; what was told has its line.
            Ok(Done::unchanged(()).noting_care())
        })
        .await
    }

    /// Removes workitems that ended before that moment and that nobody has locked. Gives how many.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn expire_workitems(&self, before: Timestamp) -> Result<usize, StoreError> {
        const EXPIRE: &str = "-- expire workitems\n\
            DELETE FROM workitems WHERE state IN ('COMPLETED', 'CANCELED') AND changed_at < ?1 AND NOT EXISTS \
                (SELECT 1 FROM workitem_subscriptions s WHERE s.workitem_uid = uid AND s.deletion_lock = 1)";
        const FORGET: &str = "-- forget subscriptions to expired workitems\n\
            DELETE FROM workitem_subscriptions WHERE workitem_uid NOT LIKE '1.2.840.10008.5.1.4.34.5%' \
                AND NOT EXISTS (SELECT 1 FROM workitems w WHERE w.uid = workitem_uid)";
        self.change("expire workitems", move |tx| {
            let removed = tx.change(EXPIRE, [before.as_millis()])?;
            if removed == 0 {
                return Ok(Done::unchanged(0));
            }
            tx.change(FORGET, ())?;
            let line = Line::new("expire workitems", "workitems", Actor::room("store"));
            Ok(Done::said(
                removed,
                line.with(json!({ "removed": removed })),
            ))
        })
        .await
    }
}

fn subject(workitem: &InstanceUid) -> String {
    format!("workitem {workitem}")
}

fn create(tx: Tx<'_>, new: &NewWorkitem, told: &[Told], by: Actor) -> Result<Done<()>, Fault> {
    const CREATE: &str = "-- create workitem\n\
        INSERT INTO workitems (uid, state, version, study_uid, dataset, created_at, changed_at) \
        VALUES (?1, 'SCHEDULED', 1, ?2, ?3, ?4, ?4) ON CONFLICT DO NOTHING";
    let study = new.study.as_ref().map(StudyUid::as_str);
    let values = (
        new.uid.as_str(),
        study,
        to_json(&new.dataset)?,
        tx.now.as_millis(),
    );
    if tx.change(CREATE, values)? == 0 {
        return Err(StoreError::Conflict("there is a workitem of that UID already".into()).into());
    }
    for (ae_title, deletion_lock) in &new.subscribers {
        let subscription = Subscription {
            ae_title: ae_title.clone(),
            workitem: new.uid.clone(),
            deletion_lock: *deletion_lock,
            filter: None,
        };
        keep_subscription(tx, &subscription)?;
    }
    tell(tx, &new.uid, told)?;
    let line = Line::new("create workitem", subject(&new.uid), by);
    Ok(Done::said((), line.with(json!({ "study": study }))).waking())
}

fn alter(tx: Tx<'_>, altered: &Altered, by: Actor) -> Result<Done<()>, Fault> {
    const ALTER: &str = "-- alter workitem\n\
        UPDATE workitems SET state = ?3, version = version + 1, transaction_uid = ?4, job_id = ?5, \
            cancel_asked_at = CASE WHEN ?6 THEN coalesce(cancel_asked_at, ?8) END, dataset = ?7, changed_at = ?8, \
            study_uid = ?9, claimed_here = ?10, more_jobs = ?11 \
        WHERE uid = ?1 AND version = ?2";
    let item = &altered.workitem;
    let values = (
        item.uid.as_str(),
        item.version,
        item.state.name(),
        &item.transaction,
        item.jobs.first().map(|job| job.0),
        item.cancel_asked,
        to_json(&item.dataset)?,
        tx.now.as_millis(),
        item.study.as_ref().map(StudyUid::as_str),
        item.claimed_here,
        to_json(&item.jobs.get(1..).unwrap_or_default())?,
    );
    if tx.change(ALTER, values)? == 0 {
        return Err(StoreError::Conflict("the workitem was changed meanwhile".into()).into());
    }
    tell(tx, &item.uid, &altered.told)?;
    let detail = json!({ "state": item.state.name(), "jobs": item.jobs });
    let line = Line::new(altered.verb, subject(&item.uid), by).with(detail);
    Ok(Done::said((), line).waking())
}

fn plan_order(
    tx: Tx<'_>,
    mut altered: Altered,
    ordered: &Ordered,
    by: Actor,
) -> Result<Done<Option<Vec<JobId>>>, Fault> {
    const STUDY: &str = "-- find ordered study\n\
        SELECT id, revision FROM studies WHERE uid = ?1 AND state = 'complete' AND revision > 0";
    const HURRY: &str = "-- hurry ordered inference\n\
        UPDATE jobs SET priority = min(priority, ?2) WHERE id = ?1 AND state = 'waiting'";
    let study = altered.workitem.study.as_ref().map(StudyUid::as_str);
    let found = tx.one(STUDY, [study], |row| {
        Ok((row.get::<_, i64>("id")?, row.get::<_, u32>("revision")?))
    })?;
    let Some((study_id, revision)) = found else {
        return Ok(Done::unchanged(None));
    };
    let at = (study_id, revision);
    let is_new = |planned| Ok::<_, Fault>(ordered_inference(tx, at, planned)?.is_none());
    let new: Vec<bool> = ordered
        .planned
        .iter()
        .map(is_new)
        .collect::<Result<_, _>>()?;
    let mut not_before = tx.now;
    // What is planned or done already does not wait again.
    for terms in ordered.priors.iter().filter(|_| new.contains(&true)) {
        not_before = not_before.max(prior::order(tx, at, terms)?);
    }
    let mut jobs = Vec::new();
    for planned in &ordered.planned {
        plan::plan(tx, at, planned, not_before)?;
        let job = ordered_inference(tx, at, planned)?;
        let job = job.ok_or(StoreError::NotFound("planned inference"))?;
        tx.change(HURRY, (job.0, rank(planned.priority)))?;
        jobs.push(job);
    }
    altered.workitem.jobs.clone_from(&jobs);
    let mut done = alter(tx, &altered, by)?;
    let planned = ordered.planned.iter().zip(new);
    let planned = planned
        .filter(|(_, is_new)| *is_new)
        .map(|(planned, _)| plan::describe(planned));
    for line in &mut done.effects.lines {
        line.detail["planned"] = planned.clone().collect();
        line.detail["priors"] = json!(ordered.priors);
    }
    Ok(Done {
        value: Some(jobs),
        effects: done.effects,
    })
}

/// The inference of that model over that revision, when there is one.
fn ordered_inference(
    tx: Tx<'_>,
    (study_id, revision): (i64, u32),
    planned: &PlannedInference,
) -> Result<Option<JobId>, Fault> {
    const JOB: &str = select_jobs!(
        "find ordered inference",
        "WHERE j.study_id = ?1 AND j.revision = ?2 AND j.model_name = ?3 AND j.model_version = ?4 \
         AND j.model_digest = ?5 AND j.kind = 'infer'"
    );
    let model = &planned.model;
    let key = (
        study_id,
        revision,
        &model.name,
        &model.version,
        model.digest.as_bytes(),
    );
    Ok(tx.one(JOB, key, rows::job)?.map(|job| job.id))
}

fn keep_subscription(tx: Tx<'_>, new: &Subscription) -> Result<(), Fault> {
    const KEEP: &str = "-- keep subscription\n\
        INSERT INTO workitem_subscriptions (ae_title, workitem_uid, deletion_lock, filter) VALUES (?1, ?2, ?3, ?4) \
        ON CONFLICT (ae_title, workitem_uid) DO UPDATE SET deletion_lock = ?3, filter = ?4";
    let values = (
        &new.ae_title,
        new.workitem.as_str(),
        new.deletion_lock,
        &new.filter,
    );
    tx.change(KEEP, values)?;
    Ok(())
}

/// Keeps what is told, once for each subscriber, and lets go of the oldest.
fn tell(tx: Tx<'_>, workitem: &InstanceUid, told: &[Told]) -> Result<(), Fault> {
    const TELL: &str = "-- tell subscribers\n\
        INSERT INTO workitem_reports (ae_title, report, made_at) \
        SELECT ae_title, ?2, ?3 FROM workitem_subscriptions WHERE workitem_uid = ?1";
    const TELL_ONE: &str = "-- tell subscriber\n\
        INSERT INTO workitem_reports (ae_title, report, made_at) VALUES (?1, ?2, ?3)";
    const FORGET: &str = "-- forget old notices\n\
        DELETE FROM workitem_reports WHERE id <= (SELECT max(id) FROM workitem_reports) - ?1";
    for told in told {
        let (report, now) = (to_json(&told.report)?, tx.now.as_millis());
        match &told.only {
            Some(title) => tx.change(TELL_ONE, (title, report, now))?,
            None => tx.change(TELL, (workitem.as_str(), report, now))?,
        };
    }
    if !told.is_empty() {
        tx.change(FORGET, [NOTICES_KEPT_MAX])?;
    }
    Ok(())
}

fn workitem(row: &Row<'_>) -> rusqlite::Result<Workitem> {
    let study: Option<String> = row.get("study_uid")?;
    Ok(Workitem {
        place: row.get("id")?,
        uid: word(row, "uid")?,
        state: closed(row, "state", WorkitemState::named)?,
        version: row.get("version")?,
        transaction: row.get("transaction_uid")?,
        claimed_here: row.get("claimed_here")?,
        study: match study {
            Some(_) => Some(word(row, "study_uid")?),
            None => None,
        },
        jobs: {
            let first = row.get::<_, Option<i64>>("job_id")?.map(JobId);
            let more: Vec<JobId> = json(row, "more_jobs")?;
            first.into_iter().chain(more).collect()
        },
        cancel_asked: row.get::<_, Option<i64>>("cancel_asked_at")?.is_some(),
        dataset: json(row, "dataset")?,
        changed_at: time(row, "changed_at")?,
    })
}
