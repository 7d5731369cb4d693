//! Damage: an object whose file is not what was received is marked, for everybody to see, and never passed over in
//! silence. What waits to work on it fails with that reason; sending the same object again mends it.

use super::queue::{end, subject};
use crate::StoreError;
use crate::care::{Damage, DamageKind};
use crate::change::Tx;
use crate::error::Fault;
use crate::files::file_name;
use crate::journal::Line;
use crate::rows::{self, JobRow, select_jobs};
use crate::sql::{closed, time, word};
use crate::store::Store;
use pericard_domain::actor::Actor;
use pericard_domain::digest::Digest;
use pericard_domain::job::{Failure, FailureClass};
use pericard_domain::time::Timestamp;
use pericard_domain::uid::{InstanceUid, StudyUid};
use rusqlite::Row;
use serde_json::json;

/// How many damaged objects a list has when no limit is said.
const LISTED_DAMAGES: u32 = 100;

impl Store {
    /// The objects that are known to be damaged, latest found first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn damages(&self, limit: u32) -> Result<Vec<Damage>, StoreError> {
        const DAMAGES: &str = "-- list damages\n\
            SELECT d.kind, d.found_at, i.uid, i.revision, i.digest, s.uid AS study_uid FROM damage d \
            JOIN instances i ON i.id = d.instance_id JOIN studies s ON s.id = i.study_id \
            ORDER BY d.found_at DESC, i.id LIMIT ?1";
        let limit = if limit == 0 { LISTED_DAMAGES } else { limit };
        self.read("list damages", move |sql| sql.all(DAMAGES, [limit], damage))
            .await
    }

    /// The objects of a study that are known to be damaged: what must not be given out as if it were whole.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn damaged_in(&self, study: &StudyUid) -> Result<Vec<InstanceUid>, StoreError> {
        let study = study.clone();
        self.read("list damaged objects of study", move |sql| {
            sql.all(OF_STUDY, [study.as_str()], |row| word(row, "uid"))
        })
        .await
    }
}

/// Damaged objects of one study, at their latest revision.
const OF_STUDY: &str = "-- list damaged objects of study\n\
    SELECT i.uid FROM damage d JOIN instances i ON i.id = d.instance_id JOIN studies s ON s.id = i.study_id \
    WHERE s.uid = ?1 AND i.is_latest = 1";

/// An object's row, as far as its file goes.
#[derive(Debug, Clone)]
pub(crate) struct FileRow {
    pub(crate) id: i64,
    pub(crate) uid: InstanceUid,
    pub(crate) digest: Digest,
    pub(crate) size_bytes: u64,
    pub(crate) received_at: Timestamp,
}

impl FileRow {
    /// A statement must select `id, uid, digest, size_bytes, received_at`.
    pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            uid: word(row, "uid")?,
            digest: row.get("digest").map(Digest::new)?,
            size_bytes: row.get::<_, i64>("size_bytes")?.unsigned_abs(),
            received_at: time(row, "received_at")?,
        })
    }

    /// The file's name within `objects/`.
    pub(crate) fn file(&self) -> String {
        let shelf = self.received_at.dicom_date();
        format!("{shelf}/{}", file_name(&self.digest, &self.uid))
    }
}

/// Marks an object as damaged, unless it is marked or gone, or was mended since it was looked at. Gives the lines that
/// say so.
pub(crate) fn mark(tx: Tx<'_>, found: &FileRow, kind: DamageKind) -> Result<Vec<Line>, Fault> {
    const MARK: &str = "-- mark damage\n\
        INSERT INTO damage (instance_id, kind, found_at) \
        SELECT id, ?2, ?3 FROM instances WHERE id = ?1 AND received_at = ?4 ON CONFLICT DO NOTHING";
    const ABOUT: &str = "-- name damaged object\n\
        SELECT s.uid, i.revision FROM instances i JOIN studies s ON s.id = i.study_id WHERE i.id = ?1";
    let now = tx.now.as_millis();
    let values = (found.id, kind.name(), now, found.received_at.as_millis());
    if tx.change(MARK, values)? == 0 {
        return Ok(Vec::new());
    }
    let about = tx.one(ABOUT, [found.id], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, u32>(1)?))
    })?;
    let (study, revision) = about.unwrap_or_default();
    tracing::error!(study, instance = %found.uid, kind = kind.name(), "a kept object is damaged; send it again to mend it");
    let detail = json!({
        "kind": kind.name(),
        "revision": revision,
        "sha256": found.digest,
        "file": found.file(),
    });
    let subject = format!("study {study} instance {}", found.uid);
    let line = Line::new("find damage", subject, Actor::room("store")).with(detail);
    let mut lines = vec![line];
    lines.extend(fail_inferences(tx, found, kind)?);
    hold_deliveries(tx, found, kind)?;
    Ok(lines)
}

/// Takes the mark from an object whose bytes came again; says whether there was one.
pub(crate) fn unmark(tx: Tx<'_>, instance_id: i64) -> Result<bool, Fault> {
    const UNMARK: &str = "-- unmark damage\nDELETE FROM damage WHERE instance_id = ?1";
    Ok(tx.change(UNMARK, [instance_id])? > 0)
}

/// Fails the inferences that wait for a revision which holds the object: each would only find the same.
fn fail_inferences(tx: Tx<'_>, found: &FileRow, kind: DamageKind) -> Result<Vec<Line>, Fault> {
    const WAITING: &str = select_jobs!(
        "find inferences of damaged object",
        "JOIN instances i ON i.study_id = j.study_id \
         WHERE i.id = ?1 AND j.kind = 'infer' AND j.state = 'waiting' AND i.joined_revision <= j.revision \
         AND (i.left_revision IS NULL OR i.left_revision > j.revision) ORDER BY j.id"
    );
    let failure = Failure {
        class: FailureClass::Undecodable,
        reason: format!(
            "an object of the study is {} on disk; send it again, then retry the job",
            kind.name()
        ),
    };
    let jobs: Vec<JobRow> = tx.all(WAITING, [found.id], rows::job_row)?;
    let lines = jobs.iter().map(|row| {
        end(tx, row, Some(&failure))?;
        let detail = json!({ "class": "undecodable", "reason": failure.reason });
        let by = Actor::room("store");
        Ok(Line::new("fail job", subject(&row.job), by).with(detail))
    });
    lines.collect()
}

/// Gives up the deliveries of a damaged result: what is altered must not reach a PACS. They can be retried.
fn hold_deliveries(tx: Tx<'_>, found: &FileRow, kind: DamageKind) -> Result<(), Fault> {
    const HOLD: &str = "-- hold deliveries of damaged object\n\
        UPDATE outbox SET state = 'failed', last_trouble = ?2 WHERE instance_id = ?1 AND state = 'waiting'";
    let trouble = format!("the object is {} on disk", kind.name());
    tx.change(HOLD, (found.id, trouble))?;
    Ok(())
}

fn damage(row: &Row<'_>) -> rusqlite::Result<Damage> {
    Ok(Damage {
        study: word(row, "study_uid")?,
        instance: word(row, "uid")?,
        revision: row.get("revision")?,
        sha256: row.get("digest").map(Digest::new)?,
        kind: closed(row, "kind", |name| {
            use DamageKind::{Altered, Missing, Unreadable};
            let all = [Missing, Altered, Unreadable];
            all.into_iter().find(|kind| kind.name() == name)
        })?,
        found_at: time(row, "found_at")?,
    })
}
