//! Federated evaluation, the hospital's half. The hub signs a plan; an officer of the hospital accepts it with labels for
//! studies of its own; the live model scores them in its worker, behind walls as always; and what the week's frame tells of
//! it is one noised histogram, within the budget. Labels, scores and exact counts stay here.
//!
//! A plan is a file after the other in `DATA/egress/plans`: `accepted` is what the officer said, `outcome` the exact counts.

use crate::weekly::{tenth, words};
use pericard_domain::actor::Actor;
use pericard_domain::model::Package;
use pericard_domain::uid::StudyUid;
use pericard_egress::Evaluation;
use pericard_gate::Plan;
use pericard_jobs::Surroundings;
use pericard_store::StoreError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The most labels of one plan.
pub(crate) const LABELS_MAX: usize = 100_000;
/// What the audit log calls it.
const VERB: &str = "evaluate model";

/// An evaluation is not done yet; it is tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("its counts cannot be kept: {0}")]
    Io(#[from] io::Error),
}

/// What an officer accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Accepted {
    pub(crate) plan: u32,
    pub(crate) cases_min: u32,
    /// SHA-256 of the model's manifest, as four numbers.
    pub(crate) model_digest: [u64; 4],
    /// Studies, and whether the finding is in them.
    pub(crate) labels: Vec<(StudyUid, bool)>,
}

impl Accepted {
    pub(crate) fn of(plan: &Plan, labels: Vec<(StudyUid, bool)>) -> Self {
        Self {
            plan: plan.number,
            cases_min: plan.cases_min,
            model_digest: plan.model_digest,
            labels,
        }
    }
}

/// The exact counts of a plan, as they are kept here.
#[derive(Debug, Serialize, Deserialize)]
struct Outcome {
    plan: u32,
    cases_min: u32,
    cells: Vec<u32>,
}

/// The folder of plans.
#[derive(Debug, Clone)]
pub(crate) struct Plans {
    dir: PathBuf,
}

impl Plans {
    /// Those in this folder of what leaves.
    pub(crate) fn of(egress: &Path) -> Self {
        Self {
            dir: egress.join("plans"),
        }
    }

    fn path(&self, plan: u32, kind: &str) -> PathBuf {
        self.dir.join(format!("{plan:08}.{kind}"))
    }

    /// Keeps what an officer accepted; `false` when the plan was accepted already: what is asked twice is answered once.
    pub(crate) fn accept(&self, accepted: &Accepted) -> io::Result<bool> {
        let path = self.path(accepted.plan, "accepted");
        if path.exists() {
            return Ok(false);
        }
        self.keep(&path, &serde_json::to_vec(accepted)?)?;
        Ok(true)
    }

    /// Whether an officer accepted it, and whether it was carried out.
    pub(crate) fn standing(&self, plan: u32) -> (bool, bool) {
        (
            self.path(plan, "accepted").exists(),
            self.path(plan, "outcome").exists(),
        )
    }

    /// The numbers of those that an officer accepted, carried out or not.
    pub(crate) fn accepted(&self) -> io::Result<Vec<u32>> {
        let number = |path: &PathBuf| path.file_stem()?.to_str()?.parse().ok();
        Ok(self.files("accepted")?.iter().filter_map(number).collect())
    }

    /// Those that were accepted and are not carried out.
    fn open(&self) -> io::Result<Vec<Accepted>> {
        let accepted = self.files("accepted")?.into_iter();
        let open = accepted.filter(|path| !path.with_extension("outcome").exists());
        open.map(|path| -> io::Result<Accepted> { Ok(serde_json::from_slice(&fs::read(path)?)?) })
            .collect()
    }

    /// What is to be told of, when the budget allows it: every outcome, the first plan first.
    pub(crate) fn outcomes(&self) -> io::Result<Vec<Evaluation>> {
        let read = |path: PathBuf| -> io::Result<Evaluation> {
            let outcome: Outcome = serde_json::from_slice(&fs::read(path)?)?;
            let mut evaluation = Evaluation::of(outcome.plan, outcome.cases_min);
            for (cell, count) in evaluation.cells.iter_mut().zip(outcome.cells) {
                *cell = count;
            }
            Ok(evaluation)
        };
        self.files("outcome")?.into_iter().map(read).collect()
    }

    fn conclude(&self, evaluation: &Evaluation) -> io::Result<()> {
        let outcome = Outcome {
            plan: evaluation.plan,
            cases_min: evaluation.cases_min,
            cells: evaluation.cells.to_vec(),
        };
        let path = self.path(evaluation.plan, "outcome");
        self.keep(&path, &serde_json::to_vec(&outcome)?)
    }

    fn files(&self, kind: &str) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut files = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<_>>>()?;
        files.retain(|path| path.extension().is_some_and(|found| found == kind));
        files.sort();
        Ok(files)
    }

    /// All of it or nothing, on disk when this returns, and for nobody else to read: labels are patients'.
    fn keep(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        let new = path.with_extension("new");
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(&self.dir)?.sync_all()
    }
}

/// Carries out what officers accepted, until the stop.
pub(crate) async fn run(
    plans: Plans,
    surroundings: Surroundings,
    every: Duration,
    stop: CancellationToken,
) -> Result<(), StoreError> {
    let mut beat = tokio::time::interval(every);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = beat.tick() => {}
        }
        let open = match plans.open() {
            Ok(open) => open,
            Err(error) => {
                tracing::warn!(%error, "evaluation plans cannot be read");
                continue;
            }
        };
        for accepted in open {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                done = carry_out(&plans, &surroundings, &accepted) => {
                    if let Err(error) = done {
                        tracing::warn!(%error, plan = accepted.plan, "an evaluation is not done yet");
                    }
                }
            }
        }
    }
}

/// Scores every labelled study that is held, and keeps the counts. What is cut off begins anew.
async fn carry_out(
    plans: &Plans,
    surroundings: &Surroundings,
    accepted: &Accepted,
) -> Result<(), Trouble> {
    let is_meant = |p: &&Package| words(p.model.digest.as_bytes()) == accepted.model_digest;
    let Some(package) = surroundings.packages.iter().find(is_meant) else {
        tracing::warn!(
            plan = accepted.plan,
            "the model of this plan is not live here"
        );
        return Ok(());
    };
    if !surroundings
        .runner
        .loaded()
        .iter()
        .any(|l| l.model == package.model)
    {
        return Ok(()); // it is still loading
    }
    let mut evaluation = Evaluation::of(accepted.plan, accepted.cases_min);
    let (mut patients, mut scored) = (BTreeSet::new(), 0_u32);
    for (study, has_finding) in &accepted.labels {
        let patient = match surroundings.store.patient_of(study).await {
            Ok(patient) => patient.filter(|id| !id.trim().is_empty()),
            Err(StoreError::NotFound(_)) => continue,
            Err(error) => return Err(error.into()),
        };
        // One case of each patient: what one can add to the histogram is one.
        let whose =
            patient.map_or_else(|| study.to_string(), |id| format!("patient {}", id.trim()));
        if patients.contains(&whose) {
            continue;
        }
        match pericard_jobs::score(surroundings, study, package).await {
            Ok(score) => {
                evaluation.count(*has_finding, tenth(score));
                patients.insert(whose);
                scored += 1;
            }
            Err(why) => tracing::info!(plan = accepted.plan, why, "a case cannot be scored"),
        }
    }
    plans.conclude(&evaluation)?;
    let (plan, labelled) = (accepted.plan, accepted.labels.len());
    let subject = format!("plan {plan}: {scored} cases of {labelled} labels");
    surroundings
        .store
        .note_access(VERB, &subject, Actor::room("egress"))
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_accepted_once_carried_out_once_and_its_counts_come_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let plans = Plans::of(dir.path());
        assert!(
            plans.open().expect("none").is_empty() && plans.outcomes().expect("none").is_empty()
        );
        let accepted = Accepted {
            plan: 7,
            cases_min: 200,
            model_digest: [1, 2, 3, u64::MAX],
            labels: vec![("1.2.3".parse().expect("a UID"), true)],
        };
        assert!(plans.accept(&accepted).expect("kept"));
        assert!(!plans.accept(&accepted).expect("told"), "once");
        assert_eq!(plans.accepted().expect("one"), [7]);
        assert_eq!(plans.open().expect("one"), [accepted]);
        assert_eq!(plans.standing(7), (true, false));
        let mut evaluation = Evaluation::of(7, 200);
        evaluation.count(true, 9);
        plans.conclude(&evaluation).expect("kept");
        assert!(plans.open().expect("none").is_empty());
        assert_eq!(plans.outcomes().expect("one"), [evaluation]);
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(plans.path(7, "accepted"))
            .expect("a file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
