//! Reviews that come as objects: what radiologists say of our results in reports and key object selections of their own.
//! Read when the study is assembled, each time anew; what was said before changes nothing.

use crate::infer::blocking;
use crate::run::Surroundings;
use pericard_dicom::agreement::{self, Agreement};
use pericard_domain::actor::Actor;
use pericard_domain::job::JobId;
use pericard_domain::study::Instance;
use pericard_domain::uid::StudyUid;
use pericard_store::StoreError;
use pericard_store::audit_log::AuditQuery;
use pericard_store::review::Verdict;

/// Takes up what these objects of a study say of our results in it. One that cannot be read says nothing: it is kept, and
/// people read it.
pub(crate) async fn take_up(
    surroundings: &Surroundings,
    study: &StudyUid,
    instances: &[Instance],
) -> Result<(), StoreError> {
    let may = |instance: &&Instance| {
        !instance.is_result && agreement::may_hold_one(&instance.identity.sop_class)
    };
    let may: Vec<_> = instances.iter().filter(may).cloned().collect();
    if may.is_empty() {
        return Ok(());
    }
    let mut said = read(surroundings, may).await;
    if said.is_empty() {
        return Ok(());
    }
    // The latest stands: an earlier one is not taken up again only because something else arrived.
    said.sort_by_key(|(instance, _)| std::cmp::Reverse(instance.received_at));
    let reports = surroundings.store.reports(study).await?;
    let mut reviewed: Vec<(JobId, Actor)> = Vec::new();
    for (instance, Agreement { agrees, objects }) in said {
        let by = sender(surroundings, &instance).await?;
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

/// Those that say something, and what.
async fn read(surroundings: &Surroundings, may: Vec<Instance>) -> Vec<(Instance, Agreement)> {
    let mut reader = surroundings.runner.reader();
    let store = surroundings.store.clone();
    let read = blocking(move || {
        let said = may.into_iter().filter_map(|instance| {
            let path = store.object_path(&instance);
            let read = reader.agreement(&instance.identity.instance, &path);
            Some((instance, read.ok().flatten()?))
        });
        Ok(said.collect())
    });
    read.await.unwrap_or_default()
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
