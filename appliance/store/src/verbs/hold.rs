//! What is held: studies, objects, reports, and how much there is to do.

use super::review;
use crate::StoreError;
use crate::error::Fault;
use crate::rows::{self, select_instances};
use crate::sql::{Sql, json, word};
use crate::store::{Depth, KeptReport, Store};
use pericard_domain::job::JobId;
use pericard_domain::study::{Instance, Study};
use pericard_domain::uid::{InstanceUid, StudyUid};
use std::path::PathBuf;

impl Store {
    /// Studies, latest received first. `limit` at most.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn studies(&self, limit: u32, offset: u32) -> Result<Vec<Study>, StoreError> {
        const STUDIES: &str = "-- list studies\n\
            SELECT * FROM studies ORDER BY last_received_at DESC, id DESC LIMIT ?1 OFFSET ?2";
        self.read("list studies", move |sql| {
            sql.all(STUDIES, (limit, offset), rows::study)
        })
        .await
    }

    /// Studies in the order in which their first objects came, the latest first, each with its place in that order; only
    /// those before `before`. A study never changes its place, so pages of them neither repeat nor miss one.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn studies_before(
        &self,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<(i64, Study)>, StoreError> {
        const STUDIES: &str = "-- list studies in their order\n\
            SELECT * FROM studies WHERE ?1 IS NULL OR id < ?1 ORDER BY id DESC LIMIT ?2";
        self.read("list studies in their order", move |sql| {
            sql.all(STUDIES, (before, limit), |row| {
                Ok((row.get("id")?, rows::study(row)?))
            })
        })
        .await
    }

    /// A study.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn study(&self, study: &StudyUid) -> Result<Study, StoreError> {
        const STUDY: &str = "-- read study\nSELECT * FROM studies WHERE uid = ?1";
        let study = study.clone();
        let found = self.read("read study", move |sql| {
            sql.one(STUDY, [study.as_str()], rows::study)
        });
        found.await?.ok_or(StoreError::NotFound("study"))
    }

    /// The study's objects at their latest revision, our own results among them, by series and instance number.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn instances(&self, study: &StudyUid) -> Result<Vec<Instance>, StoreError> {
        const INSTANCES: &str = select_instances!(
            "list objects",
            "WHERE s.uid = ?1 AND i.is_latest = 1 \
             ORDER BY i.series_number, i.series_uid, i.instance_number, i.uid"
        );
        let study = study.clone();
        self.read("list objects", move |sql| {
            sql.all(INSTANCES, [study.as_str()], rows::instance)
        })
        .await
    }

    /// The received objects that the study was complete with at that revision, by series and instance number: what an
    /// inference of that revision is about, whatever arrived since.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn instances_of(
        &self,
        study: &StudyUid,
        revision: u32,
    ) -> Result<Vec<Instance>, StoreError> {
        const INSTANCES: &str = select_instances!(
            "list objects of revision",
            "WHERE s.uid = ?1 AND i.joined_revision <= ?2 AND (i.left_revision IS NULL OR i.left_revision > ?2) \
             ORDER BY i.series_number, i.series_uid, i.instance_number, i.uid"
        );
        let study = study.clone();
        self.read("list objects of revision", move |sql| {
            sql.all(INSTANCES, (study.as_str(), revision), rows::instance)
        })
        .await
    }

    /// An object, at its latest revision.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn instance(&self, instance: &InstanceUid) -> Result<Instance, StoreError> {
        const INSTANCE: &str = select_instances!(
            "read object",
            "WHERE i.uid = ?1 ORDER BY i.revision DESC LIMIT 1"
        );
        let uid = instance.clone();
        let found = self.read("read object", move |sql| {
            sql.one(INSTANCE, [uid.as_str()], rows::instance)
        });
        found.await?.ok_or(StoreError::NotFound("object"))
    }

    /// Where the object's file is. Read-only; it is not changed or removed while the appliance runs.
    #[must_use]
    pub fn object_path(&self, instance: &Instance) -> PathBuf {
        let uid = &instance.identity.instance;
        let layout = self.inner.files.layout();
        layout.object(instance.received_at, &instance.digest, uid)
    }

    /// What the models found in the study, latest revision of each model first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn reports(&self, study: &StudyUid) -> Result<Vec<KeptReport>, StoreError> {
        let study = study.clone();
        self.read("list reports", move |sql| reports(sql, &study))
            .await
    }

    /// How many jobs are in each state and how many deliveries wait, for readiness and metrics.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn depth(&self) -> Result<Depth, StoreError> {
        self.read("count work", depth).await
    }

    /// Why nothing can be accepted at the moment, when it cannot: for readiness.
    #[must_use]
    pub fn trouble(&self) -> Option<StoreError> {
        self.inner.health.check_space().err()
    }
}

fn reports(sql: Sql<'_>, study: &StudyUid) -> Result<Vec<KeptReport>, Fault> {
    // Superseded is not kept but asked: a late conclusion of an older revision is superseded when it arrives.
    const REPORTS: &str = "-- list reports\n\
        SELECT r.id, r.report, r.job_id, \
            EXISTS (SELECT 1 FROM reports later WHERE later.study_id = r.study_id \
                AND later.model_name = r.model_name AND later.revision > r.revision) AS superseded \
        FROM reports r JOIN studies s ON s.id = r.study_id \
        WHERE s.uid = ?1 ORDER BY r.model_name, r.revision DESC, r.id DESC";
    const OBJECTS: &str = "-- list objects of report\n\
        SELECT i.uid FROM report_objects o JOIN instances i ON i.id = o.instance_id \
        WHERE o.report_id = ?1 ORDER BY i.id";
    let mut kept = sql.all(REPORTS, [study.as_str()], |row| {
        let report = KeptReport {
            report: json(row, "report")?,
            objects: Vec::new(),
            job: JobId(row.get("job_id")?),
            superseded: row.get("superseded")?,
            reviews: Vec::new(),
        };
        Ok((row.get::<_, i64>("id")?, report))
    })?;
    for (id, report) in &mut kept {
        report.objects = sql.all(OBJECTS, [*id], |row| word(row, "uid"))?;
        report.reviews = review::of_report(sql, *id)?;
    }
    Ok(kept.into_iter().map(|(_, report)| report).collect())
}

fn depth(sql: Sql<'_>) -> Result<Depth, Fault> {
    const OPEN: &str = "-- count open jobs\n\
        SELECT priority, count(*) AS jobs FROM jobs WHERE state IN ('waiting', 'leased') GROUP BY priority";
    const FAILED: &str = "-- count failed jobs\nSELECT count(*) FROM jobs WHERE state = 'failed'";
    const UNDELIVERED: &str = "-- count undelivered\n\
        SELECT count(*) FROM outbox WHERE state IN ('waiting', 'leased')";
    const UNDELIVERABLE: &str =
        "-- count undeliverable\nSELECT count(*) FROM outbox WHERE state = 'failed'";
    let open = sql.all(OPEN, (), |row| {
        let jobs: i64 = row.get("jobs")?;
        Ok((rows::priority(row, "priority")?, jobs.unsigned_abs()))
    })?;
    Ok(Depth {
        open_jobs: open.into_iter().collect(),
        failed_jobs: sql.count(FAILED, ())?,
        undelivered: sql.count(UNDELIVERED, ())?,
        undeliverable: sql.count(UNDELIVERABLE, ())?,
    })
}
