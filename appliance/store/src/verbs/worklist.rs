//! The worklist.

use crate::StoreError;
use crate::rows;
use crate::sql::closed;
use crate::store::Store;
use crate::worklist::{Progress, WorklistQuery, WorklistRow};

impl Store {
    /// Studies and where the work on them stands, latest received first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn worklist(&self, query: WorklistQuery) -> Result<Vec<WorklistRow>, StoreError> {
        const WORKLIST: &str = "-- list work\n\
            SELECT * FROM (SELECT s.*, CASE \
                WHEN s.state = 'arriving' THEN 'arriving' \
                WHEN EXISTS (SELECT 1 FROM jobs j WHERE j.study_id = s.id AND j.state IN ('waiting', 'leased')) \
                    THEN 'working' \
                WHEN EXISTS (SELECT 1 FROM jobs j WHERE j.study_id = s.id AND j.state = 'failed' \
                    AND (j.revision IS NULL OR j.revision = s.revision)) THEN 'failed' \
                WHEN EXISTS (SELECT 1 FROM jobs j WHERE j.study_id = s.id AND j.kind = 'infer' AND j.state = 'done') \
                    THEN 'done' \
                ELSE 'held' END AS progress FROM studies s \
                WHERE (?1 IS NULL OR s.priority = ?1) \
                AND (?2 IS NULL OR json_extract(s.facts, '$.modality') = ?2) \
                AND (?3 IS NULL OR instr(lower(json_extract(s.facts, '$.patient_name')), lower(?3)) > 0 \
                    OR json_extract(s.facts, '$.patient_id') = ?3 \
                    OR json_extract(s.facts, '$.accession_number') = ?3)) \
            WHERE ?4 IS NULL OR progress = ?4 ORDER BY last_received_at DESC, id DESC LIMIT ?5 OFFSET ?6";
        self.read("list work", move |sql| {
            let priority = query.priority.map(rows::rank);
            let progress = query.progress.map(Progress::name);
            let said = (priority, query.modality, query.patient, progress);
            let values = (said.0, said.1, said.2, said.3, query.limit, query.offset);
            sql.all(WORKLIST, values, |row| {
                Ok(WorklistRow {
                    study: rows::study(row)?,
                    priority: rows::priority(row, "priority")?,
                    progress: closed(row, "progress", Progress::named)?,
                })
            })
        })
        .await
    }
}
