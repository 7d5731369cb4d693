//! Keeping an object: the rows that both admission and conclusion write.

use super::removal;
use crate::StoreError;
use crate::change::Tx;
use crate::error::Fault;
use crate::sql::to_json;
use pericard_domain::digest::Digest;
use pericard_domain::study::{InstanceFacts, ObjectIdentity};
use pericard_domain::time::Timestamp;
use rusqlite::named_params;

/// An object whose file is in its place, with what was worked out before the writer's turn.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) identity: ObjectIdentity,
    pub(crate) facts: InstanceFacts,
    pub(crate) facts_json: String,
    pub(crate) digest: Digest,
    pub(crate) size_bytes: u64,
    /// When it was admitted, which says on what shelf its file is.
    pub(crate) received_at: Timestamp,
}

impl Placed {
    pub(crate) fn new(
        identity: ObjectIdentity,
        facts: InstanceFacts,
        sealed: &crate::object::Sealed,
        received_at: Timestamp,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            facts_json: to_json(&facts)?,
            identity,
            facts,
            digest: sealed.digest,
            size_bytes: sealed.size_bytes,
            received_at,
        })
    }
}

/// An object that was here before under the same UID.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) id: i64,
    pub(crate) received_at: Timestamp,
    pub(crate) revision: u32,
    pub(crate) is_same: bool,
    pub(crate) is_result: bool,
}

/// What is held under that UID: the same bytes if they are there, the latest revision otherwise.
pub(crate) fn held(tx: Tx<'_>, object: &Placed) -> Result<Option<Held>, Fault> {
    const HELD: &str = "-- find held revision\n\
        SELECT id, received_at, revision, digest = ?2 AS same, is_result FROM instances WHERE uid = ?1 \
        ORDER BY same DESC, revision DESC LIMIT 1";
    let uid = object.identity.instance.as_str();
    tx.one(HELD, (uid, object.digest.as_bytes()), |row| {
        Ok(Held {
            id: row.get(0)?,
            received_at: row.get(1).map(Timestamp::from_millis)?,
            revision: row.get(2)?,
            is_same: row.get(3)?,
            is_result: row.get(4)?,
        })
    })
}

/// Writes the object as the revision after `held`; gives its id.
pub(crate) fn insert(
    tx: Tx<'_>,
    study_id: i64,
    object: &Placed,
    held: Option<Held>,
    is_result: bool,
) -> Result<i64, Fault> {
    const INSERT: &str = "-- keep object\n\
        INSERT INTO instances (study_id, uid, revision, series_uid, sop_class, transfer_syntax, digest, size_bytes, \
            received_at, is_result, is_latest, modality, study_date, accession_number, patient_id, patient_name, \
            series_number, instance_number, facts) \
        VALUES (:study, :uid, :revision, :series, :class, :syntax, :digest, :size, \
            :at, :result, 1, :modality, :date, :accession, :patient_id, :patient_name, \
            :series_number, :instance_number, :facts)";
    removal::cancel(tx, object)?;
    let was_counted = held.is_some() && replace_latest(tx, study_id, object)?;
    let (identity, facts) = (&object.identity, &object.facts);
    let id = tx.insert(
        INSERT,
        named_params! {
            ":study": study_id,
            ":uid": identity.instance.as_str(),
            ":revision": held.map_or(1, |held| held.revision + 1),
            ":series": identity.series.as_str(),
            ":class": identity.sop_class.as_str(),
            ":syntax": identity.transfer_syntax.as_str(),
            ":digest": object.digest.as_bytes(),
            ":size": object.size_bytes.cast_signed(),
            ":at": object.received_at.as_millis(),
            ":result": is_result,
            ":modality": facts.modality,
            ":date": facts.study_date,
            ":accession": facts.accession_number,
            ":patient_id": facts.patient_id,
            ":patient_name": facts.patient_name,
            ":series_number": number(facts.series_number.as_deref()),
            ":instance_number": number(facts.instance_number.as_deref()),
            ":facts": object.facts_json,
        },
    )?;
    if !was_counted {
        count(tx, study_id, is_result)?;
    }
    Ok(id)
}

/// Takes the mark of the latest from the revision before, within the study. Another study that was sent the same UID
/// keeps its own: an object is never taken from a study by a message about another one.
fn replace_latest(tx: Tx<'_>, study_id: i64, object: &Placed) -> Result<bool, Fault> {
    const REPLACE: &str = "-- replace latest revision\n\
        UPDATE instances SET is_latest = 0 WHERE uid = ?1 AND study_id = ?2 AND is_latest = 1";
    let uid = object.identity.instance.as_str();
    Ok(tx.change(REPLACE, (uid, study_id))? > 0)
}

fn count(tx: Tx<'_>, study_id: i64, is_result: bool) -> Result<(), Fault> {
    const COUNT: &str = "-- count object\n\
        UPDATE studies SET instances = instances + ?2, results = results + ?3 WHERE id = ?1";
    tx.change(COUNT, (study_id, !is_result, is_result))?;
    Ok(())
}

/// An integer string (value representation IS), when it is one.
fn number(text: Option<&str>) -> Option<i64> {
    text.and_then(|text| text.trim().parse().ok())
}
