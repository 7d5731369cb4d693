//! Reviews that come as objects: what radiologists say of our results in reports and key object selections of their own.
//! Read when the study is assembled, each time anew; what was said before changes nothing.

use crate::infer::blocking;
use crate::run::Surroundings;
use pericard_dicom::agreement::{self, Agreement};
use pericard_dicom::scan::ScanLimits;
use pericard_domain::actor::Actor;
use pericard_domain::job::JobId;
use pericard_domain::study::Instance;
use pericard_domain::uid::StudyUid;
use pericard_store::StoreError;
use pericard_store::audit_log::AuditQuery;
use pericard_store::review::Verdict;
use std::fs::File;
use std::io::BufReader;

/// Takes up what these objects of a study say of our results in it. One that cannot be read says nothing: it is kept, and
/// people read it.
pub(crate) async fn take_up(
    surroundings: &Surroundings,
    study: &StudyUid,
    instances: &[Instance],
) -> Result<(), StoreError> {
    let mut said = Vec::new();
    for instance in instances {
        let may = !instance.is_result && agreement::may_hold_one(&instance.identity.sop_class);
        if may && let Some(agreement) = read(surroundings, instance).await {
            said.push((instance, agreement));
        }
    }
    if said.is_empty() {
        return Ok(());
    }
    // The latest stands: an earlier one is not taken up again only because something else arrived.
    said.sort_by_key(|(instance, _)| std::cmp::Reverse(instance.received_at));
    let reports = surroundings.store.reports(study).await?;
    let mut reviewed: Vec<(JobId, Actor)> = Vec::new();
    for (instance, Agreement { agrees, objects }) in said {
        let by = sender(surroundings, instance).await?;
        let meant = reports
            .iter()
            .filter(|kept| kept.objects.iter().any(|uid| objects.contains(uid)));
        for job in meant.map(|kept| kept.job) {
            if reviewed.contains(&(job, by.clone())) {
                continue;
            }
            let verdict = if agrees {
                Verdict::Agreed
            } else {
                Verdict::Disagreed
            };
            match surroundings
                .store
                .review(study, job, verdict, by.clone())
                .await
            {
                Ok(()) => reviewed.push((job, by.clone())),
                Err(StoreError::Conflict(why)) => {
                    tracing::warn!(%study, why, "a review is nobody's")
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

async fn read(surroundings: &Surroundings, instance: &Instance) -> Option<Agreement> {
    let path = surroundings.store.object_path(instance);
    let read = blocking(move || {
        let Ok(file) = File::open(&path) else {
            return Ok(None);
        };
        Ok(
            agreement::read(&mut BufReader::new(file), &ScanLimits::default())
                .ok()
                .flatten(),
        )
    });
    read.await.ok().flatten()
}

/// Who sent an object, as the audit log has it.
async fn sender(surroundings: &Surroundings, instance: &Instance) -> Result<Actor, StoreError> {
    let asked = AuditQuery {
        verb: Some("admit object".to_owned()),
        subject: Some(instance.identity.instance.to_string()),
        before: Some(u64::MAX >> 1),
        limit: 1,
        ..AuditQuery::default()
    };
    let lines = surroundings.store.audit(asked).await?;
    let by = lines.into_iter().next().map(|line| line.by);
    Ok(by.unwrap_or_else(|| Actor::room("jobs")))
}
