//! Orders: what worklists and order messages say will come, and what that changes for what is here.
//!
//! An order makes the studies that it is about as urgent as it is, whichever comes first; when a study is taken as complete
//! its orders have arrived. Orders that nobody has repeated for a while are forgotten: they are patient data.

use crate::StoreError;
use crate::change::{Done, Tx};
use crate::error::Fault;
use crate::journal::Line;
use crate::rows::rank;
use crate::sql::{Sql, closed, json, to_json};
use crate::store::Store;
use pericard_domain::actor::Actor;
use pericard_domain::job::Priority;
use pericard_domain::order::{Expected, Expecting, Order};
use pericard_domain::study::InstanceFacts;
use pericard_domain::uid::StudyUid;
use rusqlite::{Row, named_params};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long an order is known after its source said it for the latest time.
const ORDER_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// The most orders that are looked at as being about one study.
const ORDERS_OF_STUDY_MAX: u32 = 256;

impl Store {
    /// What a source says is expected now, all of it. What it no longer lists is gone: done elsewhere, or never to come; its
    /// urgency still holds for what comes late. Gives how many orders are new or
    /// otherwise than before.
    ///
    /// # Errors
    /// When the database failed; then nothing is changed.
    pub async fn expect_all(
        &self,
        source: &str,
        orders: Vec<Order>,
        by: Actor,
    ) -> Result<usize, StoreError> {
        let source = source.to_owned();
        self.change("expect all", move |tx| {
            let mut lines = expect_each(tx, &source, &orders, &by)?;
            let kept: BTreeSet<&str> = orders.iter().map(|order| order.key.as_str()).collect();
            for key in listed(tx, &source)? {
                if !kept.contains(key.as_str()) {
                    lines.extend(end(tx, (&source, &key), &by)?);
                }
            }
            forget(tx)?;
            Ok(changed(lines.len(), lines))
        })
        .await
    }

    /// Part of what a source says is expected now: what it leaves out may be expected as before. Gives how many orders are
    /// new or otherwise than before.
    ///
    /// # Errors
    /// When the database failed; then nothing is changed.
    pub async fn expect_some(
        &self,
        source: &str,
        orders: Vec<Order>,
        by: Actor,
    ) -> Result<usize, StoreError> {
        let source = source.to_owned();
        self.change("expect some", move |tx| {
            let lines = expect_each(tx, &source, &orders, &by)?;
            forget(tx)?;
            Ok(changed(lines.len(), lines))
        })
        .await
    }

    /// One order, new or changed.
    ///
    /// # Errors
    /// When the database failed; then nothing is changed.
    pub async fn expect(&self, source: &str, order: Order, by: Actor) -> Result<(), StoreError> {
        let source = source.to_owned();
        self.change("expect", move |tx| {
            let lines = expect(tx, &source, &order, &by)?;
            forget(tx)?;
            Ok(changed((), lines.into_iter().collect()))
        })
        .await
    }

    /// The source takes an order back, with its steps (whose keys have the order's before a solidus): it is as if it had
    /// never been. What is not known is not missed.
    ///
    /// # Errors
    /// When the database failed.
    pub async fn expect_no_more(
        &self,
        source: &str,
        key: &str,
        by: Actor,
    ) -> Result<(), StoreError> {
        let (source, key) = (source.to_owned(), key.to_owned());
        self.change("expect no more", move |tx| {
            let line = take_back(tx, (&source, &key), &by)?;
            Ok(changed((), line.into_iter().collect()))
        })
        .await
    }

    /// Orders, the latest said first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn expected(&self, limit: u32, offset: u32) -> Result<Vec<Expected>, StoreError> {
        const LIST: &str = "-- list orders\n\
            SELECT * FROM expected ORDER BY seen_at DESC, id DESC LIMIT ?1 OFFSET ?2";
        self.read("list orders", move |sql| {
            sql.all(LIST, (limit, offset), row_of)
        })
        .await
    }

    /// How many orders are expected, have arrived, are gone: for metrics.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn expected_counts(&self) -> Result<Vec<(Expecting, u64)>, StoreError> {
        const COUNT: &str = "-- count orders\nSELECT count(*) FROM expected WHERE state = ?1";
        let states = [Expecting::Expected, Expecting::Arrived, Expecting::Gone];
        self.read("count orders", move |sql| {
            let count = |state: Expecting| Ok((state, sql.count(COUNT, [state.name()])?));
            states.into_iter().map(count).collect()
        })
        .await
    }
}

/// What changed, with a line for each order. Without any, only when its source said so for the latest time was noted.
fn changed<T>(value: T, lines: Vec<Line>) -> Done<T> {
    let is_news = !lines.is_empty();
    let done = Done::unchanged(value).and_all(lines).noting_care();
    if is_news { done.waking() } else { done }
}

/// Writes orders down; gives a line for each that is new or otherwise than before.
fn expect_each(tx: Tx<'_>, source: &str, orders: &[Order], by: &Actor) -> Result<Vec<Line>, Fault> {
    let said = orders.iter().map(|order| expect(tx, source, order, by));
    said.filter_map(Result::transpose).collect()
}

/// Writes an order down; gives a line when it is new or otherwise than before.
fn expect(tx: Tx<'_>, source: &str, order: &Order, by: &Actor) -> Result<Option<Line>, Fault> {
    const KNOWN: &str = "-- find order\nSELECT * FROM expected WHERE source = ?1 AND key = ?2";
    const KEEP: &str = "-- keep order\n\
        INSERT INTO expected (source, key, study_uid, accession_number, priority, state, seen_at, said) \
        VALUES (:source, :key, :study, :accession, :priority, 'expected', :now, :said) \
        ON CONFLICT (source, key) DO UPDATE SET study_uid = :study, accession_number = :accession, \
            priority = :priority, seen_at = :now, said = :said, \
            state = iif(state = 'gone' OR said <> :said, 'expected', state)";
    let known = tx.one(KNOWN, (source, &order.key), row_of)?;
    tx.change(
        KEEP,
        named_params! {
            ":source": source,
            ":key": order.key,
            ":study": order.study.as_ref().map(|study| study.as_str()),
            ":accession": order.accession_number,
            ":priority": order.priority.map(rank),
            ":now": tx.now.as_millis(),
            ":said": to_json(order)?,
        },
    )?;
    let is_new = known.is_none_or(|known| known.order != *order || known.state == Expecting::Gone);
    if !is_new {
        return Ok(None);
    }
    let hastened = hasten(tx, order)?;
    let detail = json!({
        "source": source,
        "modality": order.modality,
        "priority": order.priority.map(Priority::name),
        "studies_here": hastened,
    });
    let line = Line::new("expect", subject(order), by.clone());
    Ok(Some(line.with(detail)))
}

/// Numbers and names of patients' orders stay out of the log.
fn subject(order: &Order) -> String {
    match &order.study {
        Some(study) => format!("study {study}"),
        None => "an order by accession number".to_owned(),
    }
}

/// Lets what waits of the studies that are here already be as urgent as the order; gives how many studies.
fn hasten(tx: Tx<'_>, order: &Order) -> Result<usize, Fault> {
    const STUDIES: &str = "-- find studies of order\n\
        SELECT id FROM studies WHERE uid = ?1 OR (?1 IS NULL AND id IN (SELECT study_id FROM instances \
            WHERE accession_number = ?2 AND is_result = 0 AND (?3 IS NULL OR patient_id IS NULL OR patient_id = ?3)))";
    const STUDY: &str = "-- hasten study\n\
        UPDATE studies SET priority = min(priority, ?2) WHERE id = ?1";
    const JOBS: &str = "-- hasten jobs\n\
        UPDATE jobs SET priority = min(priority, ?2) WHERE study_id = ?1 AND state IN ('waiting', 'leased')";
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let study = order.study.as_ref().map(|study| study.as_str());
    let values = (
        study,
        text(&order.accession_number),
        text(&order.patient_id),
    );
    let studies: Vec<i64> = tx.all(STUDIES, values, |row| row.get(0))?;
    let Some(priority) = order.priority else {
        return Ok(studies.len());
    };
    for study in &studies {
        tx.change(STUDY, (study, rank(priority)))?;
        tx.change(JOBS, (study, rank(priority)))?;
    }
    Ok(studies.len())
}

fn listed(tx: Tx<'_>, source: &str) -> Result<Vec<String>, Fault> {
    const LISTED: &str = "-- list orders of source\n\
        SELECT key FROM expected WHERE source = ?1 AND state = 'expected'";
    tx.all(LISTED, [source], |row| row.get(0))
}

fn end(tx: Tx<'_>, (source, key): (&str, &str), by: &Actor) -> Result<Option<Line>, Fault> {
    const FIND: &str = "-- find order to end\n\
        SELECT * FROM expected WHERE source = ?1 AND key = ?2 AND state <> 'gone'";
    const END: &str = "-- end order\n\
        UPDATE expected SET state = 'gone', seen_at = ?3 WHERE source = ?1 AND key = ?2";
    let Some(known) = tx.one(FIND, (source, key), row_of)? else {
        return Ok(None);
    };
    tx.change(END, (source, key, tx.now.as_millis()))?;
    let line = Line::new("order gone", subject(&known.order), by.clone());
    Ok(Some(line.with(json!({ "source": source }))))
}

fn take_back(tx: Tx<'_>, (source, key): (&str, &str), by: &Actor) -> Result<Option<Line>, Fault> {
    const FIND: &str = "-- find order to take back\n\
        SELECT * FROM expected WHERE source = ?1 AND (key = ?2 OR key LIKE ?3 ESCAPE '!') LIMIT 1";
    const TAKE: &str = "-- take order back\n\
        DELETE FROM expected WHERE source = ?1 AND (key = ?2 OR key LIKE ?3 ESCAPE '!')";
    // The steps of an order have its number before a solidus.
    let escaped = key.replace('!', "!!").replace('%', "!%").replace('_', "!_");
    let steps = format!("{escaped}/%");
    let Some(known) = tx.one(FIND, (source, key, &steps), row_of)? else {
        return Ok(None);
    };
    tx.change(TAKE, (source, key, &steps))?;
    let line = Line::new("expect no more", subject(&known.order), by.clone());
    Ok(Some(line.with(json!({ "source": source }))))
}

fn forget(tx: Tx<'_>) -> Result<(), Fault> {
    const FORGET: &str = "-- forget orders\nDELETE FROM expected WHERE seen_at < ?1";
    let kept = i64::try_from(ORDER_KEPT.as_millis()).unwrap_or(i64::MAX);
    tx.change(FORGET, [tx.now.as_millis().saturating_sub(kept)])?;
    Ok(())
}

/// The orders that are about a study of which that is known.
pub(crate) fn about(
    sql: Sql<'_>,
    study: &StudyUid,
    facts: &InstanceFacts,
) -> Result<Vec<Expected>, Fault> {
    const OF_STUDY: &str = "-- find orders of study\n\
        SELECT * FROM expected WHERE study_uid = ?1 LIMIT ?2";
    const OF_ACCESSION: &str = "-- find orders of accession number\n\
        SELECT * FROM expected WHERE accession_number = ?1 AND study_uid IS NULL LIMIT ?2";
    let mut found = sql.all(OF_STUDY, (study.as_str(), ORDERS_OF_STUDY_MAX), row_of)?;
    if let Some(accession) = &facts.accession_number {
        found.extend(sql.all(OF_ACCESSION, (accession, ORDERS_OF_STUDY_MAX), row_of)?);
    }
    found.retain(|expected| expected.order.is_about(study, facts));
    Ok(found)
}

/// How urgent the orders about it make an object's study, when they say so.
pub(crate) fn priority(
    sql: Sql<'_>,
    study: &StudyUid,
    facts: &InstanceFacts,
) -> Result<Option<Priority>, Fault> {
    let orders = about(sql, study, facts)?;
    Ok(orders.iter().filter_map(|known| known.order.priority).min())
}

/// The orders about a study that is taken as complete have arrived.
pub(crate) fn arrived(
    tx: Tx<'_>,
    study: &StudyUid,
    facts: &InstanceFacts,
) -> Result<Option<Priority>, Fault> {
    const ARRIVED: &str = "-- order arrived\n\
        UPDATE expected SET state = 'arrived' WHERE source = ?1 AND key = ?2 AND state = 'expected'";
    let orders = about(tx.sql, study, facts)?;
    for known in &orders {
        tx.change(ARRIVED, (&known.source, &known.order.key))?;
    }
    Ok(orders.iter().filter_map(|known| known.order.priority).min())
}

fn row_of(row: &Row<'_>) -> rusqlite::Result<Expected> {
    Ok(Expected {
        order: json(row, "said")?,
        source: row.get("source")?,
        state: closed(row, "state", Expecting::named)?,
    })
}
