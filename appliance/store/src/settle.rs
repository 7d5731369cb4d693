//! What is known of a study that may be complete, and the end of its waiting.

use crate::StoreError;
use crate::change::{Done, Tx};
use crate::error::Fault;
use crate::expect;
use crate::rows::{self, select_instances};
use crate::sql::{Sql, json, to_json, word};
use crate::store::Store;
use crate::workitem;
use pericard_domain::settling::{SeriesCounts, Standing};
use pericard_domain::study::Study;
use pericard_domain::uid::StudyUid;
use std::time::Duration;

/// The most open orders of one study whose inputs are counted, the latest first.
const ORDERS_MAX: u32 = 64;
/// The most studies that a source is asked about in one round.
const ASKED_MAX: u32 = 64;

impl Store {
    /// What is known of a study: objects, orders, counts at its sources. `None` when it is not here.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn standing(&self, study: &StudyUid) -> Result<Option<Standing>, StoreError> {
        let study = study.clone();
        self.read("read standing", move |sql| standing(sql, &study))
            .await
    }

    /// Lets the assembly of a study be due now: there is nothing left to wait for. Only who is at work changes by that.
    ///
    /// # Errors
    /// When the database failed.
    pub async fn hasten_assembly(&self, study: &StudyUid) -> Result<(), StoreError> {
        const HASTEN: &str = "-- hasten assembly\n\
            UPDATE jobs SET due_at = ?2 WHERE kind = 'assemble' AND state = 'waiting' AND due_at > ?2 \
            AND study_id = (SELECT id FROM studies WHERE uid = ?1)";
        let study = study.clone();
        self.change("hasten assembly", move |tx| {
            let moved = tx.change(HASTEN, (study.as_str(), tx.now.as_millis()))?;
            let done = Done::unchanged(()).moving_lease();
            Ok(if moved > 0 { done.waking() } else { done })
        })
        .await
    }

    /// Studies that still arrive and about which that source has not been asked since their latest object came, nor for
    /// so long.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn studies_to_count(
        &self,
        source: &str,
        again_after: Duration,
    ) -> Result<Vec<StudyUid>, StoreError> {
        const UNCOUNTED: &str = "-- list studies to count\n\
            SELECT s.uid FROM studies s JOIN jobs j ON j.study_id = s.id \
            LEFT JOIN source_counts c ON c.study_id = s.id AND c.source = ?1 \
            WHERE j.kind = 'assemble' AND j.state = 'waiting' AND (c.asked_at IS NULL OR c.asked_at <= ?2) \
            ORDER BY s.priority, j.due_at LIMIT ?3";
        let before = self.inner.clock.now().as_millis();
        let wait = i64::try_from(again_after.as_millis()).unwrap_or(i64::MAX);
        let source = source.to_owned();
        self.read("list studies to count", move |sql| {
            let values = (&source, before.saturating_sub(wait), ASKED_MAX);
            sql.all(UNCOUNTED, values, |row| word(row, "uid"))
        })
        .await
    }

    /// How many objects of a study are here, and how many bytes they have.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn weight(&self, study: &StudyUid) -> Result<(u64, u64), StoreError> {
        const WEIGHT: &str = "-- weigh study\n\
            SELECT count(*), coalesce(sum(i.size_bytes), 0) FROM instances i JOIN studies s ON s.id = i.study_id \
            WHERE s.uid = ?1 AND i.is_latest = 1 AND i.is_result = 0";
        let study = study.clone();
        self.read("weigh study", move |sql| {
            let weight = sql.one(WEIGHT, [study.as_str()], |row| {
                let number = |at: usize| row.get::<_, i64>(at).map(i64::unsigned_abs);
                Ok((number(0)?, number(1)?))
            });
            Ok(weight?.unwrap_or_default())
        })
        .await
    }

    /// What a source has of a study. Kept as long as the study, and no state of anything: what follows from it has its
    /// line.
    ///
    /// # Errors
    /// When the database failed.
    pub async fn counted(
        &self,
        study: &StudyUid,
        source: &str,
        series: SeriesCounts,
    ) -> Result<(), StoreError> {
        const KEEP: &str = "-- keep source counts\n\
            INSERT INTO source_counts (study_id, source, asked_at, series) \
            SELECT id, ?2, ?3, ?4 FROM studies WHERE uid = ?1 \
            ON CONFLICT (study_id, source) DO UPDATE SET asked_at = ?3, series = ?4";
        let (study, source) = (study.clone(), source.to_owned());
        self.change("count at source", move |tx| {
            let values = (
                study.as_str(),
                &source,
                tx.now.as_millis(),
                to_json(&series)?,
            );
            tx.change(KEEP, values)?;
            Ok(Done::unchanged(()).noting_care())
        })
        .await
    }
}

fn standing(sql: Sql<'_>, study: &StudyUid) -> Result<Option<Standing>, Fault> {
    const STUDY: &str = "-- read study that settles\nSELECT * FROM studies WHERE uid = ?1";
    const INSTANCES: &str = select_instances!(
        "list objects of study that settles",
        "WHERE s.uid = ?1 AND i.is_latest = 1 ORDER BY i.id"
    );
    const COUNTS: &str = "-- read source counts\n\
        SELECT c.source, c.series FROM source_counts c JOIN studies s ON s.id = c.study_id WHERE s.uid = ?1";
    let Some(held) = sql.one(STUDY, [study.as_str()], rows::study)? else {
        return Ok(None);
    };
    let Study {
        last_received_at,
        facts,
        ..
    } = held;
    const ORDERS: &str = "-- list open orders of study\n\
        SELECT uid, dataset FROM workitems WHERE study_uid = ?1 AND state IN ('SCHEDULED', 'IN PROGRESS') \
        ORDER BY id DESC LIMIT ?2";
    let mut counts = sql.all(COUNTS, [study.as_str()], |row| {
        Ok((row.get("source")?, json::<SeriesCounts>(row, "series")?))
    })?;
    let orders = sql.all(ORDERS, (study.as_str(), ORDERS_MAX), |row| {
        let uid: String = row.get("uid")?;
        let inputs = workitem::inputs_of(&json(row, "dataset")?, study);
        Ok((format!("workitem {uid}"), inputs))
    })?;
    counts.extend(orders.into_iter().filter(|(_, inputs)| !inputs.is_empty()));
    Ok(Some(Standing {
        study: study.clone(),
        instances: sql.all(INSTANCES, [study.as_str()], rows::instance)?,
        last_received_at,
        expected: expect::about(sql, study, &facts)?,
        counts: counts.into_iter().collect(),
    }))
}

/// When the study's waiting inferences may begin at the earliest, put forward to now.
pub(crate) fn release(tx: Tx<'_>, study_id: i64) -> Result<usize, Fault> {
    const RELEASE: &str = "-- release inferences\n\
        UPDATE jobs SET due_at = ?2 \
        WHERE study_id = ?1 AND kind = 'infer' AND state = 'waiting' AND attempts = 0 AND due_at > ?2";
    tx.change(RELEASE, (study_id, tx.now.as_millis()))
}
