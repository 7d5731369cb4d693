//! Planning: the inferences that a completed study gives rise to, each model once a revision.

use crate::change::Tx;
use crate::error::Fault;
use crate::queue::PlannedInference;
use crate::rows::{self, rank, select_jobs};
use crate::sql::to_json;
use pericard_domain::job::JobState;
use pericard_domain::time::Timestamp;
use rusqlite::named_params;
use serde_json::{Value, json};

/// Plans an inference. Says whether it is new: one of the same model and revision that is planned already gets the more
/// urgent priority and the destinations of both, while it waits.
pub(crate) fn plan(
    tx: Tx<'_>,
    (study_id, revision): (i64, u32),
    planned: &PlannedInference,
    not_before: Timestamp,
) -> Result<bool, Fault> {
    const PLAN: &str = "-- plan inference\n\
        INSERT INTO jobs (kind, study_id, revision, model_name, model_version, model_digest, rule, destinations, \
            messages, terms, priority, state, due_at, created_at) \
        VALUES ('infer', :study, :revision, :name, :version, :digest, :rule, :destinations, \
            :messages, :terms, :priority, 'waiting', :due, :now) \
        ON CONFLICT DO NOTHING";
    let model = &planned.model;
    let inserted = tx.change(
        PLAN,
        named_params! {
            ":study": study_id,
            ":revision": revision,
            ":name": model.name,
            ":version": model.version,
            ":digest": model.digest.as_bytes(),
            ":rule": planned.rule,
            ":destinations": to_json(&planned.destinations)?,
            ":messages": to_json(&planned.messages)?,
            ":terms": to_json(&planned.terms)?,
            ":priority": rank(planned.priority),
            ":due": not_before.as_millis(),
            ":now": tx.now.as_millis(),
        },
    )?;
    if inserted == 0 {
        join(tx, (study_id, revision), planned)?;
    }
    Ok(inserted > 0)
}

/// What an audit line says of a planned inference: which model, why, how urgently, and what becomes of its result.
pub(crate) fn describe(planned: &PlannedInference) -> Value {
    json!({
        "model": planned.model.to_string(),
        "rule": planned.rule,
        "priority": planned.priority.name(),
        "destinations": planned.destinations,
        "messages": planned.messages,
        "results": planned.terms.results,
        "report_failures": planned.terms.report_failures,
    })
}

/// Two rules ask for the same model: one inference serves both.
fn join(
    tx: Tx<'_>,
    (study_id, revision): (i64, u32),
    planned: &PlannedInference,
) -> Result<(), Fault> {
    const SAME: &str = select_jobs!(
        "find same inference",
        "WHERE j.study_id = ?1 AND j.revision = ?2 AND j.model_name = ?3 AND j.model_version = ?4 \
         AND j.model_digest = ?5 AND j.kind = 'infer'"
    );
    const JOIN: &str = "-- join inference\n\
        UPDATE jobs SET destinations = ?2, priority = min(priority, ?3), messages = ?4, terms = ?5 WHERE id = ?1";
    let model = &planned.model;
    let key = (
        study_id,
        revision,
        &model.name,
        &model.version,
        model.digest.as_bytes(),
    );
    let Some(row) = tx.one(SAME, key, rows::job_row)? else {
        return Ok(());
    };
    if !matches!(row.job.state, JobState::Waiting { .. }) {
        return Ok(());
    }
    let destinations = both(row.destinations, &planned.destinations);
    let messages = both(row.messages, &planned.messages);
    let mut terms = row.terms.unwrap_or_else(|| planned.terms.clone());
    terms.join(&planned.terms);
    let values = (
        row.job.id.0,
        to_json(&destinations)?,
        rank(planned.priority),
        to_json(&messages)?,
        to_json(&terms)?,
    );
    tx.change(JOIN, values)?;
    Ok(())
}

/// Everything of both, once.
fn both(mut one: Vec<String>, other: &[String]) -> Vec<String> {
    for name in other {
        if !one.contains(name) {
            one.push(name.clone());
        }
    }
    one
}
