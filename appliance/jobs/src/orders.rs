//! Work that others order on the worklist (PS3.4 annex CC): a workitem whose code names one of our models becomes an
//! inference of the study that it names, with its priority; one that names a rule becomes an inference for each of the rule's
//! models, after the earlier studies that the rule asks for. How far that is, and what came of it, shows in the workitem.
//!
//! What a workitem should say is worked out anew from the study and its jobs each time that something changes, so nothing
//! is lost when a step is: there is no path for recovery here either.

use crate::run::{JobsConfig, Surroundings};
use pericard_domain::actor::Actor;
use pericard_domain::job::{Job, JobState, Priority, Work};
use pericard_domain::model::Package;
use pericard_domain::rule::{ResultTerms, Rule};
use pericard_domain::uid::StudyUid;
use pericard_domain::workitem::WorkitemState;
use pericard_store::queue::{Ordered, PlannedInference};
use pericard_store::workitem::{Altered, Told, Workitem};
use pericard_store::{KeptReport, Store, StoreError};
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
    if order.jobs.is_empty() {
        return begin(config, surroundings, order).await;
    }
    let mut jobs = Vec::new();
    for id in &order.jobs {
        jobs.push(store.job(*id).await?);
    }
    if order.cancel_asked {
        let waiting = |job: &&Job| matches!(job.state, JobState::Waiting { .. });
        for job in jobs.iter().filter(waiting) {
            store.cancel_job(job.id, Actor::room("jobs")).await?;
        }
    }
    match stand(&jobs) {
        Stand::Cancelled(_) if order.cancel_asked => {
            give_up(surroundings, order, &jobs, "cancelled as asked for").await
        }
        Stand::Cancelled(job) => cancelled(surroundings, order, (&jobs, job)).await,
        Stand::Open {
            percent,
            description,
        } => progress(store, order, percent, &description).await,
        Stand::Done => complete(surroundings, order, &jobs).await,
        Stand::Failed(why) => give_up(surroundings, order, &jobs, &why).await,
    }
}

/// Where the inferences of an order stand, all together.
#[derive(Debug, PartialEq)]
enum Stand<'j> {
    /// Somebody cancelled this one.
    Cancelled(&'j Job),
    /// Not all have ended.
    Open { percent: u8, description: String },
    /// All are done.
    Done,
    /// All have ended, and not all are done.
    Failed(String),
}

fn stand(jobs: &[Job]) -> Stand<'_> {
    let of = |is: fn(&JobState) -> bool| jobs.iter().filter(|job| is(&job.state)).count();
    let cancelled = |job: &&Job| job.state == JobState::Cancelled;
    let waiting = of(|state| matches!(state, JobState::Waiting { .. }));
    let in_hand = of(|state| matches!(state, JobState::Leased { .. }));
    let ended = jobs.len() - waiting - in_hand;
    if let (Some(job), 0) = (jobs.iter().find(cancelled), in_hand) {
        return Stand::Cancelled(job);
    }
    if ended < jobs.len() {
        let halves = (2 * ended + in_hand) * 50 / jobs.len();
        let description = match (jobs.len(), in_hand) {
            (1, 0) => "waiting".to_owned(),
            (1, _) => "in hand".to_owned(),
            (all, _) => format!("{ended} of {all} ended, {in_hand} in hand"),
        };
        return Stand::Open {
            percent: u8::try_from(halves).unwrap_or(u8::MAX),
            description,
        };
    }
    let why: Vec<String> = jobs.iter().filter_map(|job| failure(job, jobs)).collect();
    match why.is_empty() {
        true => Stand::Done,
        false => Stand::Failed(why.join("; ")),
    }
}

/// Why a job failed; which, when there are several.
fn failure(job: &Job, all: &[Job]) -> Option<String> {
    let JobState::Failed { failure } = &job.state else {
        return None;
    };
    Some(match &job.work {
        Work::Infer { model, .. } if all.len() > 1 => format!("{model}: {}", failure.reason),
        _ => failure.reason.clone(),
    })
}

/// A transaction UID that nobody can guess.
fn transaction() -> Result<String, StoreError> {
    let random = getrandom::u64()
        .map_err(|_| StoreError::Conflict("the system gives no random numbers".into()))?;
    Ok(format!("2.25.{random}"))
}

/// Claims it and plans its inferences, once its study is complete.
async fn begin(
    config: &JobsConfig,
    surroundings: &Surroundings,
    order: Workitem,
) -> Result<(), StoreError> {
    let rules = Arc::clone(&config.rules.borrow());
    let ordered = match ordered(&rules, &surroundings.packages, &order.dataset) {
        Ok(ordered) => ordered,
        Err(why) => return give_up(surroundings, order, &[], &why).await,
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
        .plan_order(altered, ordered, Actor::room("jobs"))
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

/// What its code and its priority ask for: all of it can be done, or there is a reason to refuse it.
fn ordered(rules: &[Rule], packages: &[Package], dataset: &Value) -> Result<Ordered, String> {
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
    let rule = if scheme == RULE_SCHEME {
        let rule = rules.iter().find(|rule| rule.name == name);
        Some(rule.ok_or("there is no rule of that name")?)
    } else {
        None
    };
    let named = [name.to_owned()];
    let models = rule.map_or(&named[..], |rule| &rule.models);
    if models.is_empty() {
        return Err("the rule names no model".into());
    }
    let planned = models.iter().map(|model| {
        let live = packages.iter().find(|p| p.model.name == *model);
        let live = live.ok_or_else(|| format!("no version of the model {model} is live"))?;
        Ok(PlannedInference {
            model: live.model.clone(),
            rule: rule.map_or_else(|| ORDERED.to_owned(), |rule| rule.name.clone()),
            priority,
            destinations: rule.map_or_else(Vec::new, |rule| rule.destinations.clone()),
            messages: rule.map_or_else(Vec::new, |rule| rule.messages.clone()),
            terms: rule.map_or_else(ResultTerms::ordered, Rule::terms),
        })
    });
    Ok(Ordered {
        planned: planned.collect::<Result<_, String>>()?,
        priors: rule
            .and_then(|rule| rule.priors.clone())
            .into_iter()
            .collect(),
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
    jobs: &[Job],
) -> Result<(), StoreError> {
    order.state = WorkitemState::Completed;
    say_state(&mut order);
    say_progress(&mut order.dataset, 100, "done");
    say_performed(surroundings, &mut order, jobs).await?;
    let told = vec![order.progress_report(), order.state_report()];
    let altered = altered(order, told, "complete workitem");
    let store = &surroundings.store;
    store.alter_workitem(altered, Actor::room("jobs")).await
}

/// Unified Procedure Step Performed Procedure Sequence (0074,1216): who did it, when, and what came of it.
async fn say_performed(
    surroundings: &Surroundings,
    order: &mut Workitem,
    jobs: &[Job],
) -> Result<(), StoreError> {
    let (Some(study), Some(begun)) = (
        jobs.first().map(|job| job.work.study()),
        jobs.iter().map(|job| job.created_at).min(),
    ) else {
        return Ok(());
    };
    let store = &surroundings.store;
    let reports = store.reports(study).await?;
    let is_of = |report: &&KeptReport| jobs.iter().any(|job| job.id == report.job);
    let reports: Vec<_> = reports.iter().filter(is_of).collect();
    let held = store.instances(study).await?;
    let made = held.iter().filter(|i| {
        let instance = &i.identity.instance;
        reports.iter().any(|r| r.objects.contains(instance))
    });
    let outputs = outputs(study, made.map(|i| &i.identity));
    let ended = jobs.iter().filter_map(|job| job.ended_at).max();
    let ended = ended.unwrap_or(begun);
    let at = |t: pericard_domain::time::Timestamp| format!("{}{}", t.dicom_date(), t.dicom_time());
    let codes = order.dataset["00404018"].clone();
    order.dataset["00741216"] = json!({"vr": "SQ", "Value": [{
        "00404028": {"vr": "SQ", "Value": [station()]},
        "00404050": {"vr": "DT", "Value": [at(begun)]},
        "00404051": {"vr": "DT", "Value": [at(ended)]},
        "00404019": codes,
        "00404033": {"vr": "SQ", "Value": outputs},
    }]});
    Ok(())
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
    (jobs, job): (&[Job], &Job),
) -> Result<(), StoreError> {
    let Work::Infer { revision, .. } = &job.work else {
        return Ok(());
    };
    let study = surroundings.store.study(job.work.study()).await?;
    if study.revision > *revision {
        order.jobs.clear();
        let altered = silently(order);
        return surroundings
            .store
            .alter_workitem(altered, Actor::room("jobs"))
            .await;
    }
    give_up(surroundings, order, jobs, "its job was cancelled here").await
}

/// It will not be done, or not all of it, and says why, and what of it was done.
async fn give_up(
    surroundings: &Surroundings,
    mut order: Workitem,
    jobs: &[Job],
    why: &str,
) -> Result<(), StoreError> {
    if jobs.iter().any(|job| job.state == JobState::Done) {
        say_performed(surroundings, &mut order, jobs).await?;
    }
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
    use crate::assemble::tests::{package, rule};
    use pericard_domain::digest::Digest;
    use pericard_domain::job::{Failure, FailureClass, JobId};
    use pericard_domain::model::ModelRef;
    use pericard_domain::rule::Priors;
    use pericard_domain::study::ObjectIdentity;
    use pericard_domain::time::Timestamp;

    fn code(scheme: &str, name: &str) -> Value {
        json!({"00741200": {"vr": "CS", "Value": ["HIGH"]}, "00404018": {"vr": "SQ", "Value": [{
            "00080100": {"vr": "SH", "Value": [name]}, "00080102": {"vr": "SH", "Value": [scheme]},
        }]}})
    }

    #[test]
    fn a_rule_is_ordered_with_all_its_models_and_its_earlier_studies() {
        let priors: Priors = serde_json::from_value(json!({"from": "archive"})).unwrap();
        let mut head = rule(
            "head",
            "CT",
            &["bones", "lungs"],
            Priority::Batch,
            &["pacs"],
        );
        head.priors = Some(priors.clone());
        let rules = [
            head,
            rule("gone", "CT", &["bones", "hearts"], Priority::Batch, &[]),
        ];
        let packages = [package("bones"), package("lungs"), package("brain")];
        let asked = ordered(&rules, &packages, &code(RULE_SCHEME, "head")).unwrap();
        let planned = |p: &PlannedInference| (p.model.name.clone(), p.rule.clone(), p.priority);
        assert_eq!(
            asked.planned.iter().map(planned).collect::<Vec<_>>(),
            ["bones", "lungs"].map(|m| (m.to_owned(), "head".to_owned(), Priority::Stat))
        );
        assert!(asked.planned.iter().all(|p| p.destinations == ["pacs"]));
        assert_eq!(asked.priors, [priors]);
        let asked = ordered(&rules, &packages, &code(MODEL_SCHEME, "brain")).unwrap();
        assert_eq!(asked.planned.len(), 1);
        assert_eq!(
            (&asked.planned[0].rule[..], &asked.priors[..]),
            (ORDERED, &[][..])
        );
        // Half of a rule is not done in silence.
        let refused = ordered(&rules, &packages, &code(RULE_SCHEME, "gone")).unwrap_err();
        assert!(refused.contains("hearts"), "{refused}");
        for (scheme, name) in [
            (RULE_SCHEME, "other"),
            (MODEL_SCHEME, "other"),
            ("DCM", "head"),
        ] {
            assert!(
                ordered(&rules, &packages, &code(scheme, name)).is_err(),
                "{name}"
            );
        }
    }

    fn job(id: i64, state: JobState) -> Job {
        let at = Timestamp::from_millis(0);
        Job {
            id: JobId(id),
            work: Work::Infer {
                study: StudyUid::new("1.2").unwrap(),
                revision: 1,
                model: ModelRef {
                    name: format!("m{id}"),
                    version: "1.0.0".into(),
                    digest: Digest::new([7; 32]),
                },
                rule: "head".into(),
            },
            priority: Priority::Routine,
            state,
            attempts: 1,
            last_failure: None,
            created_at: at,
            ended_at: None,
        }
    }

    #[test]
    fn an_order_has_ended_when_all_its_inferences_have() {
        let at = Timestamp::from_millis(0);
        let (waiting, leased) = (
            JobState::Waiting { due_at: at },
            JobState::Leased { until: at },
        );
        let failed = || JobState::Failed {
            failure: Failure {
                class: FailureClass::UnsuitableInput,
                reason: "a slice is missing".into(),
            },
        };
        let jobs = |states: &[JobState]| -> Vec<Job> {
            (1..)
                .zip(states)
                .map(|(id, state)| job(id, state.clone()))
                .collect()
        };
        let open = |percent, description: &str| Stand::Open {
            percent,
            description: description.into(),
        };
        let done = JobState::Done;
        for (states, expected) in [
            (vec![waiting.clone()], open(0, "waiting")),
            (vec![leased.clone()], open(50, "in hand")),
            (
                vec![done.clone(), waiting.clone()],
                open(50, "1 of 2 ended, 0 in hand"),
            ),
            (
                vec![done.clone(), leased.clone()],
                open(75, "1 of 2 ended, 1 in hand"),
            ),
            (
                vec![failed(), leased.clone()],
                open(75, "1 of 2 ended, 1 in hand"),
            ),
            (vec![done.clone(), done.clone()], Stand::Done),
            (vec![failed()], Stand::Failed("a slice is missing".into())),
        ] {
            assert_eq!(stand(&jobs(&states)), expected, "{states:?}");
        }
        let Stand::Failed(why) = &stand(&jobs(&[done.clone(), failed()])) else {
            panic!("half of it failed");
        };
        assert!(
            why.contains("m2 1.0.0") && why.contains("a slice is missing"),
            "{why}"
        );
        let cancelled = jobs(&[done, JobState::Cancelled, waiting]);
        assert_eq!(stand(&cancelled), Stand::Cancelled(&cancelled[1]));
        let one_in_hand = jobs(&[JobState::Cancelled, leased]);
        assert!(matches!(stand(&one_in_hand), Stand::Open { .. }));
    }

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
