//! Queries over what is held, as QIDO-RS and C-FIND ask them.

use crate::StoreError;
use crate::rows;
use crate::sql::word;
use crate::store::Store;
use pericard_domain::study::Instance;
use pericard_domain::uid::{InstanceUid, SeriesUid, SopClassUid, StudyUid, TransferSyntaxUid};
use rusqlite::params_from_iter;
use rusqlite::types::Value;

/// How many objects a query gives when no limit is said.
const FOUND_INSTANCES: u32 = 1000;

/// Which objects to find: those to which everything that is said applies. Nothing said finds all.
///
/// In `patient_id` and `patient_name`, `*` stands for any text and `?` for any character (PS3.4 C.2.2.2.4); letters of
/// the name match in either case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstanceFilter {
    /// Only this study's.
    pub study: Option<StudyUid>,
    /// Only this series'.
    pub series: Option<SeriesUid>,
    /// Only this one.
    pub instance: Option<InstanceUid>,
    /// Patient ID (0010,0020).
    pub patient_id: Option<String>,
    /// Patient's Name (0010,0010).
    pub patient_name: Option<String>,
    /// Modality (0008,0060).
    pub modality: Option<String>,
    /// Accession Number (0008,0050).
    pub accession_number: Option<String>,
    /// Study Date (0008,0020) from this day on, `YYYYMMDD`.
    pub study_date_from: Option<String>,
    /// Study Date (0008,0020) up to and with this day, `YYYYMMDD`.
    pub study_date_to: Option<String>,
    /// At most so many; 0 stands for 1000.
    pub limit: u32,
    /// Passes over so many first.
    pub offset: u32,
}

impl Store {
    /// The objects that the filter asks for, at their latest revision: latest study first, then by series and instance
    /// number.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn find_instances(
        &self,
        filter: InstanceFilter,
    ) -> Result<Vec<Instance>, StoreError> {
        const NAME: &str = "find objects";
        let (sql, values) = statement(filter);
        self.read(NAME, move |reader| {
            reader.all_of(NAME, &sql, params_from_iter(values), rows::instance)
        })
        .await
    }

    /// The studies of which at least one object is what the filter asks for: latest first. A limit of 0 stands for all.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn find_studies(&self, filter: InstanceFilter) -> Result<Vec<StudyUid>, StoreError> {
        const NAME: &str = "find studies";
        let (limit, offset) = (i64::from(filter.limit), filter.offset);
        let conditions = conditions(filter);
        let limit = if limit == 0 { -1 } else { limit };
        let sql = format!(
            "-- find studies\n\
             SELECT DISTINCT s.uid, s.last_received_at, s.id FROM instances i JOIN studies s ON s.id = i.study_id \
             WHERE i.is_latest = 1{} \
             ORDER BY s.last_received_at DESC, s.id DESC LIMIT {limit} OFFSET {offset}",
            conditions.sql
        );
        self.read(NAME, move |reader| {
            let values = params_from_iter(conditions.values);
            reader.all_of(NAME, &sql, values, |row| word(row, "uid"))
        })
        .await
    }

    /// The transfer syntaxes that objects of each class are held in, as far as the latest objects tell: the most frequent
    /// of a class first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn syntaxes_held(&self) -> Result<Vec<(SopClassUid, TransferSyntaxUid)>, StoreError> {
        const HELD: &str = "-- count transfer syntaxes\n\
            SELECT sop_class, transfer_syntax, count(*) AS held FROM \
                (SELECT sop_class, transfer_syntax FROM instances WHERE is_latest = 1 ORDER BY id DESC LIMIT 20000) \
            GROUP BY sop_class, transfer_syntax ORDER BY held DESC, transfer_syntax";
        self.read("count transfer syntaxes", |sql| {
            sql.all(HELD, (), |row| {
                Ok((word(row, "sop_class")?, word(row, "transfer_syntax")?))
            })
        })
        .await
    }
}

fn statement(filter: InstanceFilter) -> (String, Vec<Value>) {
    let limit = match filter.limit {
        0 => FOUND_INSTANCES,
        limit => limit,
    };
    let offset = filter.offset;
    let conditions = conditions(filter);
    let sql = format!(
        "-- find objects\n\
         SELECT i.*, s.uid AS study_uid FROM instances i JOIN studies s ON s.id = i.study_id \
         WHERE i.is_latest = 1{} \
         ORDER BY s.last_received_at DESC, s.id DESC, i.series_number, i.series_uid, i.instance_number, i.uid \
         LIMIT {limit} OFFSET {offset}",
        conditions.sql
    );
    (sql, conditions.values)
}

fn conditions(filter: InstanceFilter) -> Conditions {
    let mut conditions = Conditions::default();
    let text = |uid: &dyn std::fmt::Display| uid.to_string();
    conditions.are("s.uid = ?", filter.study.map(|uid| text(&uid)));
    conditions.are("i.series_uid = ?", filter.series.map(|uid| text(&uid)));
    conditions.are("i.uid = ?", filter.instance.map(|uid| text(&uid)));
    conditions.are("i.modality = ?", filter.modality);
    conditions.are("i.accession_number = ?", filter.accession_number);
    conditions.are("i.study_date >= ?", filter.study_date_from);
    conditions.are("i.study_date <= ?", filter.study_date_to);
    match filter.patient_id {
        Some(id) if has_wildcard(&id) => {
            conditions.are("i.patient_id GLOB ?", Some(glob(&id)));
        }
        id => conditions.are("i.patient_id = ?", id),
    }
    let name = filter.patient_name.map(|name| like(&name));
    conditions.are("i.patient_name LIKE ? ESCAPE '\\'", name);
    conditions
}

/// What is asked, put together. The texts come from here; what a caller says is only ever bound as a value.
#[derive(Default)]
struct Conditions {
    sql: String,
    values: Vec<Value>,
}

impl Conditions {
    fn are(&mut self, condition: &'static str, value: Option<String>) {
        if let Some(value) = value {
            self.sql.push_str(" AND ");
            self.sql.push_str(condition);
            self.values.push(Value::Text(value));
        }
    }
}

fn has_wildcard(pattern: &str) -> bool {
    pattern.contains(['*', '?'])
}

/// The pattern for GLOB, whose wildcards are DICOM's but which also has classes in brackets.
fn glob(pattern: &str) -> String {
    pattern.replace('[', "[[]")
}

/// The pattern for LIKE, which knows no difference between the cases of ASCII letters.
fn like(pattern: &str) -> String {
    let mut like = String::with_capacity(pattern.len());
    for c in pattern.chars() {
        match c {
            '*' => like.push('%'),
            '?' => like.push('_'),
            '%' | '_' | '\\' => like.extend(['\\', c]),
            c => like.push(c),
        }
    }
    like
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_are_dicoms_and_nobody_elses() {
        assert_eq!(glob("A[1]*?"), "A[[]1]*?");
        assert_eq!(like("DOE^J*_100%?\\"), "DOE^J%\\_100\\%_\\\\");
    }

    #[test]
    fn what_is_said_is_bound_and_never_spliced() {
        let filter = InstanceFilter {
            patient_id: Some("'; DROP TABLE studies; --*".into()),
            modality: Some("CT".into()),
            ..InstanceFilter::default()
        };
        let (sql, values) = statement(filter);
        assert!(!sql.contains("DROP"), "{sql}");
        assert_eq!(values.len(), 2);
        assert!(sql.contains("LIMIT 1000 OFFSET 0"), "{sql}");
    }
}
