//! What a week's frame is made of.

use crate::StoreError;
use crate::care::LogHead;
use crate::journal;
use crate::review::Verdict;
use crate::sql::{closed_if, json};
use crate::store::Store;
use crate::week::{Continuation, Inference};
use pericard_audit::{Frontier, Hash, proof};
use pericard_domain::finding::Report;
use pericard_domain::time::Timestamp;
use pericard_domain::uid::StudyUid;

const CONTINUE: &str = "prove that the audit log continues";

impl Store {
    /// The inferences whose results were kept from one moment until before another, the first first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn inferences(
        &self,
        from: Timestamp,
        before: Timestamp,
    ) -> Result<Vec<Inference>, StoreError> {
        const INFERENCES: &str = "-- list inferences\n\
            SELECT r.report, json_extract(s.facts, '$.patient_id') AS patient, \
                (SELECT v.verdict FROM reviews v WHERE v.report_id = r.id \
                    ORDER BY v.reviewed_at DESC, v.reviewer LIMIT 1) AS verdict \
            FROM reports r JOIN studies s ON s.id = r.study_id \
            WHERE r.kept_at >= ?1 AND r.kept_at < ?2 ORDER BY r.id";
        let values = (from.as_millis(), before.as_millis());
        self.read("list inferences", move |sql| {
            sql.all(INFERENCES, values, |row| {
                let report: Report = json(row, "report")?;
                let scores = report.findings.iter().filter_map(|finding| finding.score);
                Ok(Inference {
                    patient: row.get("patient")?,
                    score: scores.reduce(f32::max),
                    verdict: closed_if(row, "verdict", Verdict::named)?,
                    study: report.study,
                    model: report.model,
                })
            })
        })
        .await
    }

    /// The Patient ID of a study, as its first object says it; `None` when it says none.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such study.
    pub async fn patient_of(&self, study: &StudyUid) -> Result<Option<String>, StoreError> {
        const PATIENT: &str = "-- find a study's patient\n\
            SELECT json_extract(facts, '$.patient_id') FROM studies WHERE uid = ?1";
        let study = study.clone();
        let found = self.read("find a study's patient", move |sql| {
            sql.one(PATIENT, [study.as_str()], |row| row.get(0))
        });
        found.await?.ok_or(StoreError::NotFound("study"))
    }

    /// The audit log as it is now, and the proof that it holds its first `earlier` lines as they were. Reads the log's
    /// leaves: 32 bytes a line.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn continuation(&self, earlier: u64) -> Result<Continuation, StoreError> {
        const LEAVES: &str = "-- read leaves to prove\n\
            SELECT leaf FROM audit_leaves WHERE idx < ?1 ORDER BY idx";
        self.read(CONTINUE, move |sql| {
            let head = journal::head(sql)?;
            let (frontier, checkpoint) = head.ok_or(StoreError::NotFound("audit log"))?;
            let frontier = Frontier::from_bytes(&frontier)
                .map_err(|error| StoreError::failed(CONTINUE, error))?;
            // Cut at the size that the head says: a line that comes meanwhile is not of this log yet.
            let size = i64::try_from(frontier.size()).unwrap_or(i64::MAX);
            let leaves = sql.all(LEAVES, [size], |row| row.get(0).map(Hash::new))?;
            let proof = proof::consistency(&leaves, earlier).unwrap_or_default();
            Ok(Continuation {
                head: LogHead {
                    size: frontier.size(),
                    root: *frontier.root().as_bytes(),
                    checkpoint,
                },
                proof: proof.iter().map(|hash| *hash.as_bytes()).collect(),
            })
        })
        .await
    }
}
