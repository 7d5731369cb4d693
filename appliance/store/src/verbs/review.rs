//! Review: what people say of a result is kept beside it, and counted.

use crate::StoreError;
use crate::change::{Done, Tx};
use crate::error::Fault;
use crate::journal::Line;
use crate::review::{Concordance, Review, Verdict};
use crate::sql::{Sql, closed, time};
use crate::store::Store;
use crate::week::{FIRST_MONDAY_MS, WEEK_MS};
use pericard_domain::actor::Actor;
use pericard_domain::digest::Digest;
use pericard_domain::job::JobId;
use pericard_domain::model::ModelRef;
use pericard_domain::time::Timestamp;
use pericard_domain::uid::StudyUid;
use serde_json::json;

const REVIEW: &str = "review result";

impl Store {
    /// Keeps what somebody said of the result that this job gave. The same verdict of the same reviewer again changes
    /// nothing; another one takes its place, and the audit log has both.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when that job gave no result of that study; [`StoreError::Conflict`] when whoever says
    /// it is nobody that could be named: reviewers are holders of tokens, DICOM peers and HL7 applications.
    pub async fn review(
        &self,
        study: &StudyUid,
        job: JobId,
        verdict: Verdict,
        by: Actor,
    ) -> Result<(), StoreError> {
        let reviewer = reviewer(&by)?;
        let said = Said {
            study: study.clone(),
            job,
            verdict,
            reviewer,
            by,
        };
        self.change(REVIEW, move |tx| review(tx, said)).await
    }

    /// How people judged the results that were kept from one moment until before another, by model and week, the latest
    /// week first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn concordance(
        &self,
        from: Timestamp,
        before: Timestamp,
    ) -> Result<Vec<Concordance>, StoreError> {
        const COUNT: &str = "-- count verdicts\n\
            SELECT model_name, model_version, model_digest, (kept_at - ?3) / ?4 AS week, \
                sum(verdict IS 'agreed') AS agreed, sum(verdict IS 'disagreed') AS disagreed, \
                sum(verdict IS NULL) AS unreviewed \
            FROM (SELECT r.*, (SELECT v.verdict FROM reviews v WHERE v.report_id = r.id \
                ORDER BY v.reviewed_at DESC, v.reviewer LIMIT 1) AS verdict \
                FROM reports r WHERE r.kept_at >= ?1 AND r.kept_at < ?2) \
            GROUP BY model_name, model_version, model_digest, week \
            ORDER BY week DESC, model_name, model_version";
        let times = (from.as_millis(), before.as_millis());
        self.read("count verdicts", move |sql| {
            let values = (times.0, times.1, FIRST_MONDAY_MS, WEEK_MS);
            sql.all(COUNT, values, |row| {
                let count = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
                let week: i64 = row.get("week")?;
                Ok(Concordance {
                    model: ModelRef {
                        name: row.get("model_name")?,
                        version: row.get("model_version")?,
                        digest: row.get("model_digest").map(Digest::new)?,
                    },
                    week_begins: Timestamp::from_millis(FIRST_MONDAY_MS + week * WEEK_MS),
                    agreed: count("agreed")?,
                    disagreed: count("disagreed")?,
                    unreviewed: count("unreviewed")?,
                })
            })
        })
        .await
    }
}

/// The verdicts that stand of a report, the latest first.
pub(crate) fn of_report(sql: Sql<'_>, report_id: i64) -> Result<Vec<Review>, Fault> {
    const OF_REPORT: &str = "-- list reviews of report\n\
        SELECT * FROM reviews WHERE report_id = ?1 ORDER BY reviewed_at DESC, reviewer";
    sql.all(OF_REPORT, [report_id], |row| {
        Ok(Review {
            reviewer: row.get("reviewer")?,
            verdict: closed(row, "verdict", Verdict::named)?,
            at: time(row, "reviewed_at")?,
        })
    })
}

/// A verdict, prepared before the writer's turn.
struct Said {
    study: StudyUid,
    job: JobId,
    verdict: Verdict,
    reviewer: String,
    by: Actor,
}

/// The reviewer's name in the database. Where somebody called from is no part of it: the verdict is the same from the
/// next room.
fn reviewer(by: &Actor) -> Result<String, StoreError> {
    match by {
        Actor::Token { id, .. } => Ok(format!("token {id}")),
        Actor::Peer { ae_title, .. } => Ok(format!("peer {ae_title}")),
        Actor::Application { name, .. } => Ok(format!("application {name}")),
        Actor::Unknown { .. } | Actor::CommandLine | Actor::Room { .. } => {
            let reason =
                "only the holder of a token, a DICOM peer or an HL7 application reviews results";
            Err(StoreError::Conflict(reason.into()))
        }
    }
}

fn review(tx: Tx<'_>, said: Said) -> Result<Done<()>, Fault> {
    const RESULT: &str = "-- find result to review\n\
        SELECT r.id, r.revision, r.model_name, r.model_version FROM reports r JOIN studies s ON s.id = r.study_id \
        WHERE s.uid = ?1 AND r.job_id = ?2";
    const BEFORE: &str = "-- find earlier verdict\n\
        SELECT verdict FROM reviews WHERE report_id = ?1 AND reviewer = ?2";
    const KEEP: &str = "-- keep verdict\n\
        INSERT INTO reviews (report_id, reviewer, verdict, reviewed_at) VALUES (?1, ?2, ?3, ?4) \
        ON CONFLICT (report_id, reviewer) DO UPDATE SET verdict = ?3, reviewed_at = ?4";
    let result = tx.one(RESULT, (said.study.as_str(), said.job.0), |row| {
        let model: (String, String) = (row.get("model_name")?, row.get("model_version")?);
        let revision: u32 = row.get("revision")?;
        Ok((row.get::<_, i64>("id")?, revision, model))
    })?;
    let (report_id, revision, (model, version)) =
        result.ok_or(StoreError::NotFound("result of that job"))?;
    let replaces = tx.one(BEFORE, (report_id, &said.reviewer), |row| {
        closed(row, "verdict", Verdict::named)
    })?;
    if replaces == Some(said.verdict) {
        return Ok(Done::unchanged(()));
    }
    let now = tx.now.as_millis();
    let values = (report_id, &said.reviewer, said.verdict.name(), now);
    tx.change(KEEP, values)?;
    let detail = json!({
        "verdict": said.verdict, "replaces": replaces, "revision": revision, "model": model, "version": version,
    });
    let subject = format!("job {} study {}", said.job, said.study);
    Ok(Done::said(
        (),
        Line::new(REVIEW, subject, said.by).with(detail),
    ))
}
