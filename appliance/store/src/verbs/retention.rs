//! Retention by rule, and erasure on purpose.

use super::removal::{take_out, take_study_out};
use crate::StoreError;
use crate::care::{Erased, Expired, RetentionRule};
use crate::change::{Done, Tx};
use crate::error::Fault;
use crate::journal::{self, Line};
use crate::sql::Sql;
use crate::store::Store;
use pericard_domain::actor::Actor;
use pericard_domain::time::Timestamp;
use pericard_domain::uid::StudyUid;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
/// How many studies one round removes something of.
const MAX_STUDIES_PER_ROUND: usize = 256;

impl Store {
    /// Removes what the rules do not keep any longer: of each study the first rule that it matches decides. Never of a
    /// study of which something is not processed or not delivered: such are counted as withheld.
    ///
    /// # Errors
    /// When the database or a file failed.
    pub async fn expire(&self, rules: &[RetentionRule]) -> Result<Expired, StoreError> {
        const NAME: &str = "expire study";
        let mut all = Expired::default();
        let now = self.inner.clock.now();
        let (asked, mut after) = (rules.to_vec(), (i64::MIN, 0));
        loop {
            let rules = asked.clone();
            let page = self
                .read(NAME, move |sql| due(sql, &rules, now, after))
                .await?;
            after = page.after;
            for (study_id, part) in page.due {
                let done = self
                    .change(NAME, move |tx| expire(tx, study_id, &part))
                    .await?;
                all.studies += u64::from(done.studies > 0);
                all.objects += done.objects;
                all.bytes += done.bytes;
                all.withheld += done.withheld;
            }
            if page.is_last || all.studies as usize >= MAX_STUDIES_PER_ROUND {
                break;
            }
        }
        self.remove_ordered().await?;
        Ok(all)
    }

    /// Erases a study on purpose: its objects, results, reports and jobs, whatever state they are in. `with_audit` also
    /// erases what the audit log says of it: the lines keep their places, and the log still verifies; the line of the
    /// erasure then names the study by the SHA-256 of its UID only.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; others when the database or a file failed.
    pub async fn erase_study(
        &self,
        study: &StudyUid,
        with_audit: bool,
        by: Actor,
    ) -> Result<Erased, StoreError> {
        let uid = study.clone();
        // Found before the writer's turn: the whole log must be read for it.
        let about = match with_audit {
            true => {
                self.read("find audit lines", move |sql| lines_about(sql, &uid, 0))
                    .await?
            }
            false => Vec::new(),
        };
        let study = study.clone();
        let erasing = self.change("erase study", move |tx| {
            let about = with_audit.then_some(about);
            erase(tx, &study, about, by)
        });
        let erased = erasing.await?;
        self.remove_ordered().await?;
        Ok(erased)
    }

    /// Erases the content of the audit lines that are older than so many days. Their places in the tree stay, and the
    /// log still verifies. Gives how many.
    ///
    /// # Errors
    /// When the database failed.
    pub async fn expire_audit(&self, kept_days: u32) -> Result<u64, StoreError> {
        const OLD: &str = "-- find old audit lines\n\
            SELECT idx FROM audit_entries WHERE record IS NOT NULL AND json_extract(record, '$.at') < ?1 \
            ORDER BY idx LIMIT ?2";
        let cutoff = before(self.inner.clock.now(), kept_days).as_millis();
        let mut all = 0;
        loop {
            let old = self.read("find old audit lines", move |sql| {
                sql.all(OLD, (cutoff, LINES_PER_ROUND), |row| row.get::<_, i64>(0))
            });
            let old = old.await?;
            if old.is_empty() {
                return Ok(all);
            }
            all += self
                .change("expire audit", move |tx| {
                    let erased = journal::erase(tx.sql, &old)?;
                    let line = Line::new("expire audit", "log", Actor::room("store"));
                    Ok(Done::said(
                        erased,
                        line.with(json!({ "lines": erased, "kept_days": kept_days })),
                    ))
                })
                .await?;
        }
    }
}

/// How many audit lines are erased in one transaction.
const LINES_PER_ROUND: u32 = 4096;

/// What is due of a study.
#[derive(Debug, Clone)]
struct Part {
    rule: String,
    whole: bool,
    /// As it was when it was found due: an object that came since has put it off.
    last_received_at: i64,
}

struct Page {
    due: Vec<(i64, Part)>,
    after: (i64, i64),
    is_last: bool,
}

fn before(now: Timestamp, days: u32) -> Timestamp {
    let back = i64::from(days).saturating_mul(DAY.as_millis() as i64);
    Timestamp::from_millis(now.as_millis().saturating_sub(back))
}

/// The next studies that a rule does not keep any longer, oldest first.
fn due(
    sql: Sql<'_>,
    rules: &[RetentionRule],
    now: Timestamp,
    after: (i64, i64),
) -> Result<Page, Fault> {
    const OLD: &str = "-- list old studies\n\
        SELECT id, last_received_at, \
            EXISTS (SELECT 1 FROM instances i WHERE i.study_id = studies.id AND i.is_result = 0) AS has_images \
        FROM studies WHERE last_received_at <= ?1 AND (last_received_at, id) > (?2, ?3) \
        ORDER BY last_received_at, id LIMIT ?4";
    // What its first object was is still known when its images are gone.
    const MODALITIES: &str = "-- list modalities of study\n\
        SELECT modality FROM instances WHERE study_id = ?1 AND modality IS NOT NULL AND is_result = 0 \
        UNION SELECT json_extract(facts, '$.modality') FROM studies \
            WHERE id = ?1 AND json_extract(facts, '$.modality') IS NOT NULL";
    let Some(shortest) = rules.iter().map(|rule| rule.images_kept_days).min() else {
        return Ok(Page {
            due: Vec::new(),
            after,
            is_last: true,
        });
    };
    let values = (
        before(now, shortest).as_millis(),
        after.0,
        after.1,
        MAX_STUDIES_PER_ROUND as i64,
    );
    let old = sql.all(OLD, values, |row| {
        Ok((
            row.get::<_, i64>(0)?,
            row.get::<_, i64>(1)?,
            row.get::<_, bool>(2)?,
        ))
    })?;
    let mut page = Page {
        due: Vec::new(),
        after: old.last().map_or(after, |last| (last.1, last.0)),
        is_last: old.len() < MAX_STUDIES_PER_ROUND,
    };
    for (id, last_received_at, has_images) in old {
        let has: Vec<String> = sql.all(MODALITIES, [id], |row| row.get(0))?;
        let fits = |rule: &&RetentionRule| {
            rule.modalities.is_empty() || rule.modalities.iter().any(|m| has.contains(m))
        };
        let Some(rule) = rules.iter().find(fits) else {
            continue;
        };
        let is_over = |days| last_received_at <= before(now, days).as_millis();
        let whole = rule.results_kept_days.is_some_and(is_over);
        if whole || (has_images && is_over(rule.images_kept_days)) {
            let rule = rule.name.clone();
            page.due.push((
                id,
                Part {
                    rule,
                    whole,
                    last_received_at,
                },
            ));
        }
    }
    Ok(page)
}

fn expire(tx: Tx<'_>, study_id: i64, part: &Part) -> Result<Done<Expired>, Fault> {
    const STUDY: &str = "-- find study to expire\n\
        SELECT uid FROM studies WHERE id = ?1 AND last_received_at = ?2";
    const COUNT: &str = "-- count no images\nUPDATE studies SET instances = 0 WHERE id = ?1";
    let found = tx.one(STUDY, (study_id, part.last_received_at), |row| {
        row.get::<_, String>(0)
    })?;
    let Some(uid) = found else {
        return Ok(Done::unchanged(Expired::default()));
    };
    if !is_finished(tx, study_id)? {
        return Ok(Done::unchanged(Expired {
            withheld: 1,
            ..Expired::default()
        }));
    }
    let (objects, bytes) = if part.whole {
        take_study_out(tx, study_id)?
    } else {
        tx.change(COUNT, [study_id])?;
        take_out(tx, study_id, false)?
    };
    let detail = json!({
        "rule": part.rule,
        "results_too": part.whole,
        "objects": objects,
        "size_bytes": bytes,
    });
    let line = Line::new("expire study", format!("study {uid}"), Actor::room("store"));
    let expired = Expired {
        studies: 1,
        objects,
        bytes,
        withheld: 0,
    };
    Ok(Done::said(expired, line.with(detail)))
}

/// Whether everything of the study is processed and delivered: it is complete, nothing of it waits or is in hand, its
/// latest revision has no failure but such as come of the study itself, no delivery was given up, and whoever is asked to
/// promise that it keeps a result has promised it.
fn is_finished(tx: Tx<'_>, study_id: i64) -> Result<bool, Fault> {
    const UNFINISHED: &str = "-- count what is unfinished\n\
        SELECT (SELECT count(*) FROM studies WHERE id = ?1 AND state <> 'complete') \
            + (SELECT count(*) FROM jobs j WHERE j.study_id = ?1 AND (j.state IN ('waiting', 'leased') \
                OR (j.state = 'failed' AND j.failure_class NOT IN ('unsuitable_input', 'undecodable') \
                    AND coalesce(j.revision, s.revision) = s.revision))) \
            + (SELECT count(*) FROM outbox WHERE study_id = ?1 AND state <> 'delivered') \
            + (SELECT count(*) FROM commitments c JOIN outbox o ON o.id = c.outbox_id \
                WHERE o.study_id = ?1 AND c.state <> 'committed') \
            + (SELECT count(*) FROM messages WHERE study_id = ?1 AND state <> 'delivered') \
        FROM studies s WHERE s.id = ?1";
    Ok(tx.count(UNFINISHED, [study_id])? == 0)
}

fn erase(
    tx: Tx<'_>,
    study: &StudyUid,
    about: Option<Vec<i64>>,
    by: Actor,
) -> Result<Done<Erased>, Fault> {
    const STUDY: &str = "-- find study to erase\nSELECT id FROM studies WHERE uid = ?1";
    let study_id = tx.one(STUDY, [study.as_str()], |row| row.get(0))?;
    let study_id: i64 = study_id.ok_or(StoreError::NotFound("study"))?;
    let (objects, bytes) = take_study_out(tx, study_id)?;
    let mut erased = Erased {
        objects,
        bytes,
        audit_lines: 0,
    };
    let mut subject = format!("study {study}");
    if let Some(mut lines) = about {
        // Those that were written since.
        let next = lines.last().map_or(0, |last| last + 1);
        lines.extend(lines_about(tx.sql, study, next)?);
        erased.audit_lines = journal::erase(tx.sql, &lines)?;
        let digest = Sha256::digest(study.as_str());
        subject = format!("study sha256:{}", hex::encode(digest));
    }
    let line = Line::new("erase study", subject, by).with(json!(erased));
    Ok(Done::said(erased, line))
}

/// The lines that name the study, from a place on.
fn lines_about(sql: Sql<'_>, study: &StudyUid, from: i64) -> Result<Vec<i64>, Fault> {
    // In the subject after the word, up to a space or the end: one study's UID may begin another's.
    const ABOUT: &str = "-- find audit lines about study\n\
        SELECT idx FROM audit_entries WHERE idx >= ?1 AND record IS NOT NULL \
        AND instr(' ' || json_extract(record, '$.subject') || ' ', ?2) > 0 ORDER BY idx";
    sql.all(ABOUT, (from, format!(" {study} ")), |row| row.get(0))
}
