//! What the patient administration says of patients: who they are, and which numbers are one person's.

use crate::StoreError;
use crate::change::{Done, Tx};
use crate::error::Fault;
use crate::journal::Line;
use crate::sql::Sql;
use crate::store::Store;
use pericard_domain::actor::Actor;
use serde_json::json;
use std::collections::BTreeSet;

/// How often one number may have been merged into the next before it is taken for a circle.
const MERGES_MAX: usize = 16;
/// The most numbers of one patient.
const NUMBERS_MAX: usize = 64;

/// A patient as the administration knows them. Absent is unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patient {
    /// Patient ID (0010,0020).
    pub patient_id: String,
    /// As a DICOM name, its components parted by carets.
    pub name: Option<String>,
    /// `YYYYMMDD`.
    pub birth_date: Option<String>,
    /// `F`, `M` or `O`.
    pub sex: Option<String>,
}

impl Store {
    /// A patient is as this says; what it leaves out stays as it was.
    ///
    /// # Errors
    /// When the database failed.
    pub async fn patient_said(&self, patient: Patient, by: Actor) -> Result<(), StoreError> {
        const SAY: &str = "-- patient said\n\
            INSERT INTO patients (patient_id, name, birth_date, sex, said_at) VALUES (?1, ?2, ?3, ?4, ?5) \
            ON CONFLICT (patient_id) DO UPDATE SET name = coalesce(?2, name), \
                birth_date = coalesce(?3, birth_date), sex = coalesce(?4, sex), said_at = ?5";
        self.change("patient said", move |tx| {
            let Patient {
                patient_id,
                name,
                birth_date,
                sex,
            } = patient;
            let values = (patient_id, name, birth_date, sex, tx.now.as_millis());
            tx.change(SAY, values)?;
            Ok(Done::said((), Line::new("patient said", "a patient", by)))
        })
        .await
    }

    /// The number `from` is `into`'s from now on.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the two are one already the other way round.
    pub async fn patients_merged(
        &self,
        from: &str,
        into: &str,
        by: Actor,
    ) -> Result<(), StoreError> {
        let (from, into) = (from.to_owned(), into.to_owned());
        self.change("merge patients", move |tx| merge(tx, &from, &into, by))
            .await
    }

    /// The number that a patient's number is by now.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn patient_number(&self, patient_id: &str) -> Result<String, StoreError> {
        let patient_id = patient_id.to_owned();
        self.read("read patient number", move |sql| {
            surviving(sql, &patient_id)
        })
        .await
    }
}

fn merge(tx: Tx<'_>, from: &str, into: &str, by: Actor) -> Result<Done<()>, Fault> {
    const MERGE: &str = "-- merge patients\n\
        INSERT INTO patients (patient_id, merged_into, said_at) VALUES (?1, ?2, ?3) \
        ON CONFLICT (patient_id) DO UPDATE SET merged_into = ?2, said_at = ?3";
    if from == into || surviving(tx.sql, into)? == from {
        let reason = "a patient's number cannot be merged into itself";
        return Err(StoreError::Conflict(reason.into()).into());
    }
    tx.change(MERGE, (from, into, tx.now.as_millis()))?;
    let line = Line::new("merge patients", "two patients' numbers", by);
    Ok(Done::said((), line.with(json!({ "now_one": true }))))
}

/// The number at the end of the merges.
pub(crate) fn surviving(sql: Sql<'_>, patient_id: &str) -> Result<String, Fault> {
    const INTO: &str = "-- read merged number\n\
        SELECT merged_into FROM patients WHERE patient_id = ?1 AND merged_into IS NOT NULL";
    let mut number = patient_id.to_owned();
    for _ in 0..MERGES_MAX {
        match sql.one(INTO, [&number], |row| row.get::<_, String>(0))? {
            Some(into) => number = into,
            None => break,
        }
    }
    Ok(number)
}

/// Every number that the patient of this one has had, this one first.
pub(crate) fn numbers(sql: Sql<'_>, patient_id: &str) -> Result<Vec<String>, Fault> {
    const FROM: &str = "-- list merged numbers\n\
        SELECT patient_id FROM patients WHERE merged_into = ?1 ORDER BY patient_id";
    let mut found = vec![patient_id.to_owned(), surviving(sql, patient_id)?];
    let mut at = 0;
    while at < found.len() && found.len() < NUMBERS_MAX {
        found.extend(sql.all(FROM, [&found[at]], |row| row.get::<_, String>(0))?);
        at += 1;
    }
    let mut seen = BTreeSet::new();
    found.retain(|number| seen.insert(number.clone()));
    found.truncate(NUMBERS_MAX);
    Ok(found)
}
