//! Work that others order on the worklist (PS3.4 annex CC): a workitem whose code names one of our models or rules becomes
//! an inference of the study that it names, with its priority; how far that is, and what came of it, shows in the workitem.
//!
//! What a workitem should say is worked out anew from the study and its jobs each time that something changes, so nothing
//! is lost when a step is: there is no path for recovery here either.

use crate::run::{JobsConfig, Surroundings};
use pericard_domain::actor::Actor;
use pericard_domain::job::{Job, JobState, Priority};
use pericard_domain::rule::{ResultTerms, Rule};
use pericard_domain::uid::StudyUid;
use pericard_domain::workitem::WorkitemState;
use pericard_store::queue::PlannedInference;
use pericard_store::workitem::{Altered, Told, Workitem};
use pericard_store::{Store, StoreError};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How many open orders are looked at in one round.
const ORDERS_MAX: u32 = 500;
/// The longest wait between two rounds.
const LOOK_AGAIN_S: u64 = 30;
/// How long a round waits for more of the same news.
const ROUND_REST_MS: u64 = 100;
/// Codes of models, by name.
const MODEL_SCHEME: &str = "99PERICARD";
/// Codes of rules, by name.
const RULE_SCHEME: &str = "99PERICARD_RULE";
/// What stands in a job for a rule when a model was ordered by its name.
const ORDERED: &str = "ordered on the worklist";

/// Follows the orders until the stop.
pub(crate) async fn run(
    config: Arc<JobsConfig>,
    surroundings: Surroundings,
    stop: CancellationToken,
) {
    loop {
        let changed = surroundings.store.changed();
        if let Err(error) = round(&config, &surroundings).await {
            tracing::error!(%error, "the orders on the worklist cannot be followed");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = async {
                changed.await;
                tokio::time::sleep(Duration::from_millis(ROUND_REST_MS)).await;
            } => {}
            () = tokio::time::sleep(Duration::from_secs(LOOK_AGAIN_S)) => {}
        }
    }
}

async fn round(config: &JobsConfig, surroundings: &Surroundings) -> Result<(), StoreError> {
    for order in surroundings.store.open_orders(ORDERS_MAX).await? {
        let uid = order.uid.clone();
        match follow(config, surroundings, order).await {
            // Somebody else changed it at the same time: the next round sees what it is then.
            Ok(()) | Err(StoreError::Conflict(_) | StoreError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        tracing::debug!(%uid, "an order was looked at");
    }
    Ok(())
}

async fn follow(
    config: &JobsConfig,
    surroundings: &Surroundings,
    order: Workitem,
) -> Result<(), StoreError> {
    let store = &surroundings.store;
    // Whoever else claimed it does it.
    if order.state == WorkitemState::InProgress && !order.claimed_here {
        return Ok(());
    }
    let Some(id) = order.job else {
        return begin(config, surroundings, order).await;
    };
    let job = store.job(id).await?;
    match &job.state {
        JobState::Waiting { .. } if order.cancel_asked => {
            store.cancel_job(id, Actor::room("jobs")).await.map(drop)
        }
        JobState::Waiting { .. } => progress(store, order, 0, "waiting").await,
        JobState::Leased { .. } => progress(store, order, 50, "in hand").await,
        JobState::Done => complete(surroundings, order, &job).await,
        JobState::Failed { failure } => give_up(surroundings, order, &failure.reason).await,
        JobState::Cancelled if order.cancel_asked => {
            give_up(surroundings, order, "cancelled as asked for").await
        }
        JobState::Cancelled => cancelled(surroundings, order, &job).await,
    }
}

/// A transaction UID that nobody can guess.
fn transaction() -> Result<String, StoreError> {
    let random = getrandom::u64()
        .map_err(|_| StoreError::Conflict("the system gives no random numbers".into()))?;
    Ok(format!("2.25.{random}"))
}

/// Claims it and plans its inference, once its study is complete.
async fn begin(
    config: &JobsConfig,
    surroundings: &Surroundings,
    order: Workitem,
) -> Result<(), StoreError> {
    let planned = match planned(config, surroundings, &order.dataset) {
        Ok(planned) => planned,
        Err(why) => return give_up(surroundings, order, &why).await,
    };
    let store = &surroundings.store;
    let is_claimed = order.state == WorkitemState::InProgress;
    let altered = if is_claimed {
        // Its study went on to another revision.
        silently(order)
    } else {
        claimed(order)?
    };
    store
        .plan_order(altered, planned, Actor::room("jobs"))
        .await
        .map(drop)
}

fn claimed(mut order: Workitem) -> Result<Altered, StoreError> {
    order.transaction = Some(transaction()?);
    order.claimed_here = true;
    order.state = WorkitemState::InProgress;
    say_state(&mut order);
    say_progress(&mut order.dataset, 0, "waiting");
    let told = vec![order.state_report()];
    Ok(altered(order, told, "claim workitem"))
}

fn silently(order: Workitem) -> Altered {
    altered(order, Vec::new(), "plan workitem again")
}

fn altered(workitem: Workitem, told: Vec<Told>, verb: &'static str) -> Altered {
    Altered {
        workitem,
        told,
        verb,
    }
}

/// What its code and its priority ask for.
fn planned(
    config: &JobsConfig,
    surroundings: &Surroundings,
    dataset: &Value,
) -> Result<PlannedInference, String> {
    let priority = match text(dataset, "00741200") {
        Some("HIGH") => Priority::Stat,
        Some("LOW") => Priority::Batch,
        _ => Priority::Routine,
    };
    let codes = dataset["00404018"]["Value"].as_array();
    let ours = codes.into_iter().flatten().find_map(|code| {
        let scheme = text(code, "00080102")?;
        let name = text(code, "00080100").or_else(|| text(code, "00080119"))?;
        [MODEL_SCHEME, RULE_SCHEME]
            .contains(&scheme)
            .then_some((scheme, name))
    });
    let (scheme, name) = ours.ok_or("its code names no work of ours")?;
    let rules = Arc::clone(&config.rules.borrow());
    let rule = if scheme == RULE_SCHEME {
        let rule = rules.iter().find(|rule| rule.name == name);
        Some(rule.ok_or("there is no rule of that name")?)
    } else {
        None
    };
    let model = match rule {
        Some(rule) => rule
            .models
            .first()
            .ok_or("the rule names no model")?
            .clone(),
        None => name.to_owned(),
    };
    let live = surroundings.packages.iter().find(|p| p.model.name == model);
    let live = live.ok_or("no version of that model is live")?;
    Ok(PlannedInference {
        model: live.model.clone(),
        rule: rule.map_or_else(|| ORDERED.to_owned(), |rule| rule.name.clone()),
        priority,
        destinations: rule.map_or_else(Vec::new, |rule| rule.destinations.clone()),
        messages: rule.map_or_else(Vec::new, |rule| rule.messages.clone()),
        terms: rule.map_or_else(ResultTerms::ordered, Rule::terms),
    })
}

async fn progress(
    store: &Store,
    mut order: Workitem,
    percent: u8,
    description: &str,
) -> Result<(), StoreError> {
    let before = order.dataset["00741002"]["Value"][0]["00741006"]["Value"][0].clone();
    if before == json!(description) {
        return Ok(());
    }
    say_progress(&mut order.dataset, percent, description);
    let told = vec![order.progress_report()];
    let altered = altered(order, told, "report workitem progress");
    store.alter_workitem(altered, Actor::room("jobs")).await
}

/// Its results are there: it is done, and says where they are.
async fn complete(
    surroundings: &Surroundings,
    mut order: Workitem,
    job: &Job,
) -> Result<(), StoreError> {
    let store = &surroundings.store;
    let study = job.work.study();
    let reports = store.reports(study).await?;
    let report = reports.iter().find(|report| report.job == job.id);
    let held = store.instances(study).await?;
    let made = held.iter().filter(|i| {
        let instance = &i.identity.instance;
        report.is_some_and(|r| r.objects.contains(instance))
    });
    let outputs = outputs(study, made.map(|i| &i.identity));
    order.state = WorkitemState::Completed;
    say_state(&mut order);
    say_progress(&mut order.dataset, 100, "done");
    let (begun, ended) = (job.created_at, job.ended_at.unwrap_or(job.created_at));
    let at = |t: pericard_domain::time::Timestamp| format!("{}{}", t.dicom_date(), t.dicom_time());
    let codes = order.dataset["00404018"].clone();
    order.dataset["00741216"] = json!({"vr": "SQ", "Value": [{
        "00404028": {"vr": "SQ", "Value": [station()]},
        "00404050": {"vr": "DT", "Value": [at(begun)]},
        "00404051": {"vr": "DT", "Value": [at(ended)]},
        "00404019": codes,
        "00404033": {"vr": "SQ", "Value": outputs},
    }]});
    let told = vec![order.progress_report(), order.state_report()];
    let altered = altered(order, told, "complete workitem");
    store.alter_workitem(altered, Actor::room("jobs")).await
}

/// The appliance as a station, in a code.
fn station() -> Value {
    json!({
        "00080100": {"vr": "SH", "Value": ["PERICARD"]},
        "00080102": {"vr": "SH", "Value": [MODEL_SCHEME]},
        "00080104": {"vr": "LO", "Value": ["Pericard appliance"]},
    })
}

/// Output Information Sequence (0040,4033): one item for each series (PS3.3 table C.30.3-1).
fn outputs<'i>(
    study: &StudyUid,
    made: impl Iterator<Item = &'i pericard_domain::study::ObjectIdentity>,
) -> Vec<Value> {
    let mut by_series: Vec<(String, Vec<Value>)> = Vec::new();
    for identity in made {
        let reference = json!({
            "00081150": {"vr": "UI", "Value": [identity.sop_class.as_str()]},
            "00081155": {"vr": "UI", "Value": [identity.instance.as_str()]},
        });
        let series = identity.series.as_str();
        match by_series.iter_mut().find(|(of, _)| of == series) {
            Some((_, all)) => all.push(reference),
            None => by_series.push((series.to_owned(), vec![reference])),
        }
    }
    let item = |(series, references): (String, Vec<Value>)| {
        json!({
            "0040E020": {"vr": "CS", "Value": ["DICOM"]},
            "0020000D": {"vr": "UI", "Value": [study.as_str()]},
            "0020000E": {"vr": "UI", "Value": [series]},
            "00081199": {"vr": "SQ", "Value": references},
        })
    };
    by_series.into_iter().map(item).collect()
}

/// A job that somebody else cancelled: the study went on, and the order with it, or nobody wants it any more.
async fn cancelled(
    surroundings: &Surroundings,
    mut order: Workitem,
    job: &Job,
) -> Result<(), StoreError> {
    let pericard_domain::job::Work::Infer { revision, .. } = &job.work else {
        return Ok(());
    };
    let study = surroundings.store.study(job.work.study()).await?;
    if study.revision > *revision {
        order.job = None;
        let altered = silently(order);
        return surroundings
            .store
            .alter_workitem(altered, Actor::room("jobs"))
            .await;
    }
    give_up(surroundings, order, "its job was cancelled here").await
}

/// It will not be done, and says why.
async fn give_up(
    surroundings: &Surroundings,
    mut order: Workitem,
    why: &str,
) -> Result<(), StoreError> {
    if order.transaction.is_none() {
        order.transaction = Some(transaction()?);
    }
    order.state = WorkitemState::Canceled;
    say_state(&mut order);
    let now = surroundings.clock.now();
    let at = format!("{}{}", now.dicom_date(), now.dicom_time());
    order.dataset["00741002"] = json!({"vr": "SQ", "Value": [{
        "00404052": {"vr": "DT", "Value": [at]},
        "00741238": {"vr": "LT", "Value": [why]},
    }]});
    order.dataset["00741238"] = json!({"vr": "LT", "Value": [why]});
    let told = vec![order.state_report()];
    let altered = altered(order, told, "give workitem up");
    surroundings
        .store
        .alter_workitem(altered, Actor::room("jobs"))
        .await
}

fn say_state(order: &mut Workitem) {
    order.dataset["00741000"] = json!({"vr": "CS", "Value": [order.state.name()]});
}

/// Procedure Step Progress Information Sequence (0074,1002).
fn say_progress(dataset: &mut Value, percent: u8, description: &str) {
    dataset["00741002"] = json!({"vr": "SQ", "Value": [{
        "00741004": {"vr": "DS", "Value": [percent]},
        "00741006": {"vr": "ST", "Value": [description]},
    }]});
}

fn text<'d>(dataset: &'d Value, tag: &str) -> Option<&'d str> {
    let value = dataset.get(tag)?.get("Value")?.get(0)?.as_str()?;
    Some(value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pericard_domain::study::ObjectIdentity;

    #[test]
    fn outputs_are_grouped_by_series() {
        let identity = |series: &str, instance: &str| ObjectIdentity {
            study: StudyUid::new("1.2").unwrap(),
            series: series.parse().unwrap(),
            instance: instance.parse().unwrap(),
            sop_class: "1.5".parse().unwrap(),
            transfer_syntax: "1.2.840.10008.1.2.1".parse().unwrap(),
        };
        let made = [
            identity("1.3", "1.4"),
            identity("1.6", "1.7"),
            identity("1.3", "1.8"),
        ];
        let outputs = outputs(&made[0].study, made.iter());
        let count = |n: usize| outputs[n]["00081199"]["Value"].as_array().map(Vec::len);
        assert_eq!((outputs.len(), count(0), count(1)), (2, Some(2), Some(1)));
        assert_eq!(outputs[0]["0020000E"]["Value"], json!(["1.3"]));
    }

    #[test]
    fn a_transaction_uid_is_one_and_never_the_same() {
        let uid = transaction().unwrap();
        assert!(pericard_domain::uid::InstanceUid::new(&uid).is_ok());
        assert_ne!(uid, transaction().unwrap());
    }
}
