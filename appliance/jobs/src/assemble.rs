//! A study that may be complete: which rules match, which models run. Decided once for each revision, and recorded.

use crate::failure::GiveUp;
use crate::run::{JobsConfig, Surroundings};
use pericard_domain::job::{Failure, FailureClass, RULES_JOINED_BY};
use pericard_domain::model::Package;
use pericard_domain::rule::{Priors, Rule};
use pericard_domain::settling::Verdict;
use pericard_domain::study::Instance;
use pericard_domain::uid::StudyUid;
use pericard_store::StoreError;
use pericard_store::queue::{Completion, LeasedJob, PlannedInference};
use std::sync::Arc;

pub(crate) async fn assemble(
    config: &JobsConfig,
    surroundings: &Surroundings,
    job: &LeasedJob,
    study: &StudyUid,
) -> Result<(), GiveUp> {
    let now = surroundings.clock.now();
    let Some(standing) = surroundings.store.standing(study).await? else {
        return Err(GiveUp::Store(StoreError::NotFound("study")));
    };
    let because = match surroundings.completeness.verdict(&standing, now) {
        Verdict::Complete(because) => because,
        Verdict::Wait { until, why } => {
            tracing::debug!(%study, %until, ?why, "the study is waited for");
            return Ok(surroundings.store.postpone(job, until).await?);
        }
    };
    let instances = standing.instances;
    crate::agree::take_up(surroundings, study, &instances).await?;
    let rules = Arc::clone(&config.rules.borrow());
    let (planned, lacks) = plan(&rules, &surroundings.packages, &instances);
    if let Some(failure) = &lacks {
        tracing::warn!(%study, reason = failure.reason, "not every analysis could be planned");
        surroundings
            .meter
            .count(crate::failure::counter(failure.class));
    }
    let (models, names) = (
        planned.len(),
        planned
            .iter()
            .map(|p| p.rule.clone())
            .collect::<Vec<_>>()
            .join(", "),
    );
    let completion = Completion {
        planned,
        priors: priors(&rules, &instances),
        because: Some(because.clone()),
        lacks,
    };
    let revision = surroundings.store.complete_study(job, completion).await?;
    tracing::info!(%study, revision, models, names, ?because, "the study is complete");
    Ok(())
}

/// What runs on a study of these objects: one inference for each model, asked for by all matching rules that name it; of
/// these the most urgent priority and every destination. What names a model that is not live keeps nothing else from
/// running; it is told beside.
fn plan(
    rules: &[Rule],
    packages: &[Package],
    instances: &[Instance],
) -> (Vec<PlannedInference>, Option<Failure>) {
    let mut planned: Vec<PlannedInference> = Vec::new();
    let mut lacking: Vec<String> = Vec::new();
    for rule in rules
        .iter()
        .filter(|rule| instances.iter().any(|i| rule.when.matches(i)))
    {
        for name in &rule.models {
            let Some(package) = packages.iter().find(|p| p.model.name == *name) else {
                lacking.push(format!("rule {:?} names the model {name:?}", rule.name));
                continue;
            };
            match planned.iter_mut().find(|p| p.model == package.model) {
                Some(earlier) => merge(earlier, rule),
                None => planned.push(PlannedInference {
                    model: package.model.clone(),
                    rule: rule.name.clone(),
                    priority: rule.priority,
                    destinations: rule.destinations.clone(),
                    messages: rule.messages.clone(),
                    terms: rule.terms(),
                }),
            }
        }
    }
    let lacks = (!lacking.is_empty()).then(|| not_live(&lacking));
    (planned, lacks)
}

fn merge(earlier: &mut PlannedInference, rule: &Rule) {
    earlier.rule = [&earlier.rule, rule.name.as_str()].join(RULES_JOINED_BY);
    earlier.priority = earlier.priority.min(rule.priority);
    let join = |mine: &mut Vec<String>, theirs: &[String]| {
        for name in theirs {
            if !mine.contains(name) {
                mine.push(name.clone());
            }
        }
    };
    join(&mut earlier.destinations, &rule.destinations);
    join(&mut earlier.messages, &rule.messages);
    earlier.terms.join(&rule.terms());
}

/// The earlier studies that the rules of a study of these objects ask for: of each peer once, as much as any asks for.
fn priors(rules: &[Rule], instances: &[Instance]) -> Vec<Priors> {
    let mut asked: Vec<Priors> = Vec::new();
    for terms in rules
        .iter()
        .filter(|rule| instances.iter().any(|i| rule.when.matches(i)))
        .filter_map(|rule| rule.priors.clone())
    {
        match asked.iter_mut().find(|earlier| earlier.from == terms.from) {
            Some(earlier) => *earlier = earlier.clone().joined(&terms),
            None => asked.push(terms),
        }
    }
    asked
}

fn not_live(lacking: &[String]) -> Failure {
    Failure {
        class: FailureClass::ModelUnavailable,
        reason: format!(
            "{}, of which no version is live; `pericard model activate` one, restart, and retry the job",
            lacking.join(" and ")
        ),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use pericard_domain::digest::Digest;
    use pericard_domain::job::Priority;
    use pericard_domain::model::{Budget, IntendedUse, Manifest, ModelRef, Task};
    use pericard_domain::rule::{Match, ResultKind};
    use pericard_domain::study::{InstanceFacts, ObjectIdentity};
    use pericard_domain::time::Timestamp;
    use pericard_domain::uid::{InstanceUid, SeriesUid, SopClassUid, TransferSyntaxUid};
    use std::collections::BTreeMap;

    pub(crate) fn package(name: &str) -> Package {
        let model = ModelRef {
            name: name.into(),
            version: "1.0.0".into(),
            digest: Digest::new([7; 32]),
        };
        let manifest = Manifest {
            name: name.into(),
            version: "1.0.0".into(),
            summary: String::new(),
            licence: String::new(),
            source: String::new(),
            task: Task::TextSpotting,
            clinical_use: false,
            intended_use: IntendedUse::default(),
            files: BTreeMap::new(),
            parts: BTreeMap::new(),
            outputs: BTreeMap::new(),
            parameters: BTreeMap::new(),
            budget: Budget {
                memory_mib: 1,
                inference_timeout_s: 1,
            },
            golden: Vec::new(),
        };
        Package {
            model,
            manifest,
            dir: "/".into(),
        }
    }

    fn instance(modality: &str, is_result: bool) -> Instance {
        Instance {
            identity: ObjectIdentity {
                study: StudyUid::new("1.2").unwrap(),
                series: SeriesUid::new("1.3").unwrap(),
                instance: InstanceUid::new("1.4").unwrap(),
                sop_class: SopClassUid::new("1.5").unwrap(),
                transfer_syntax: TransferSyntaxUid::new("1.2.840.10008.1.2").unwrap(),
            },
            facts: InstanceFacts {
                modality: Some(modality.into()),
                ..InstanceFacts::default()
            },
            digest: Digest::new([1; 32]),
            size_bytes: 1,
            revision: 1,
            received_at: Timestamp::from_millis(0),
            is_result,
        }
    }

    pub(crate) fn rule(
        name: &str,
        modality: &str,
        models: &[&str],
        priority: Priority,
        to: &[&str],
    ) -> Rule {
        let owned = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        Rule {
            name: name.into(),
            when: Match {
                modalities: vec![modality.into()],
                ..Match::default()
            },
            models: owned(models),
            priority,
            idle_timeout_s: 1,
            requires: Vec::new(),
            wait_max_s: 1,
            priors: None,
            messages: Vec::new(),
            destinations: owned(to),
            results: ResultKind::usual(),
            report_failures: true,
        }
    }

    #[test]
    fn one_inference_for_each_model_with_the_best_of_its_rules() {
        let rules = [
            rule("any us", "US", &["text"], Priority::Batch, &["pacs"]),
            rule(
                "urgent us",
                "US",
                &["text", "other"],
                Priority::Stat,
                &["pacs", "archive"],
            ),
            rule("mr", "MR", &["brain"], Priority::Routine, &[]),
        ];
        let packages = ["text", "other", "brain"].map(package);
        let (planned, lacks) = plan(
            &rules,
            &packages,
            &[instance("US", false), instance("MR", true)],
        );
        assert_eq!(lacks, None);
        let words: Vec<_> = planned
            .iter()
            .map(|p| (p.model.name.as_str(), p.rule.as_str(), p.priority))
            .collect();
        assert_eq!(
            words,
            [
                ("text", "any us, urgent us", Priority::Stat),
                ("other", "urgent us", Priority::Stat)
            ]
        );
        assert_eq!(planned[0].destinations, ["pacs", "archive"]);
    }

    #[test]
    fn a_model_that_is_not_live_is_said_and_keeps_no_other_from_running() {
        let rules = [rule("us", "US", &["gone", "text"], Priority::Routine, &[])];
        let packages = [package("text")];
        let (planned, lacks) = plan(&rules, &packages, &[instance("US", false)]);
        let names: Vec<_> = planned.iter().map(|p| p.model.name.as_str()).collect();
        assert_eq!(names, ["text"]);
        let failure = lacks.expect("something is lacking");
        assert_eq!(failure.class, FailureClass::ModelUnavailable);
        assert!(failure.reason.contains("\"gone\""));
        let nothing = plan(&rules, &[], &[instance("CT", false)]);
        assert_eq!(nothing, (vec![], None));
    }
}
