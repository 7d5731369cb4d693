//! `pericard egress plans` and `pericard egress accept-plan`: what the hub asks to be measured, and an officer's yes.

use super::{CommandError, ConfigFile, block_on, output, store_config};
use crate::clock::SystemClock;
use crate::config::{Config, Written};
use crate::counting;
use crate::evaluations::{Accepted, LABELS_MAX, Plans};
use crate::serve::EGRESS;
use crate::weekly::{week_of, words};
use clap::Args;
use pericard_domain::actor::Actor;
use pericard_domain::model::Package;
use pericard_domain::time::Clock as _;
use pericard_domain::uid::StudyUid;
use pericard_egress::{Books, Expected, Forecast, MODEL_WEEK_MILLI_EPSILON, Restored, Rules};
use pericard_gate::{Desk, Metric, Plan};
use pericard_registry::Registry;
use pericard_store::Store;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// The longest name of who decides, characters.
const OFFICER_MAX_CHARS: usize = 100;
/// What the audit log calls it.
const VERB: &str = "accept evaluation plan";

/// Lists the plans that the hub has signed and sent.
pub(crate) fn list(config: &ConfigFile) -> Result<(), CommandError> {
    let written = config.read()?.written;
    let (plans, kept) = (known(&written)?, plans_of(&written));
    if plans.is_empty() {
        output::line("the hub has sent no evaluation plan");
    }
    for plan in plans {
        output::line(said(&plan, kept.standing(plan.number)));
    }
    Ok(())
}

#[derive(Debug, Args)]
pub(crate) struct AcceptArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// The plan's number, from `pericard egress plans`
    plan: u32,
    /// A file of labels: a line each, a Study Instance UID, a comma, 1 with the finding or 0 without
    #[arg(long, value_name = "FILE")]
    labels: PathBuf,
    /// Whose decision it is, for the audit log: a name or a role, without line breaks
    #[arg(long, value_name = "NAME", value_parser = officer)]
    officer: Option<String>,
    /// Accept it although the year's budget then does not pay for all of its weeks: the last of them tell nothing of patients
    #[arg(long)]
    yes: bool,
}

/// Accepts a plan for the labels of a file, if the year's budget has room for it.
pub(crate) fn accept(args: &AcceptArgs) -> Result<(), CommandError> {
    let (number, labels, officer) = (args.plan, &args.labels, args.officer.as_deref());
    let config = args.config.read()?;
    let written = &config.written;
    let plan = known(written)?
        .into_iter()
        .find(|plan| plan.number == number);
    let plan = plan.ok_or_else(|| {
        CommandError::Failed(format!(
            "the hub has sent no plan {number}; `pericard egress plans` lists them"
        ))
    })?;
    let now = SystemClock.now();
    let now_s = u64::try_from(now.as_millis() / 1000).unwrap_or(0);
    if plan.until_s < now_s {
        return Err(CommandError::Failed(format!(
            "plan {number} has run out; ask the hub for another"
        )));
    }
    if is_of_a_former_life(written, &plan)? {
        return Err(CommandError::Failed(format!(
            "plan {number} was issued before this appliance was restored from a backup, and may have been answered; ask the hub for \
             another"
        )));
    }
    let model = live(written, &plan)?;
    let text = std::fs::read_to_string(labels)
        .map_err(|error| CommandError::Failed(format!("{}: {error}", labels.display())))?;
    let labels = read(&text)?;
    let count = labels.len();
    let forecast = forecast(&config, week_of(now))?;
    if !forecast.has_room() && !args.yes {
        return Err(CommandError::Failed(format!(
            "{}; so the last of them would tell nothing of patients. Raise year_milli_epsilon under [egress], or say --yes to accept \
             plan {number} all the same",
            paid(&forecast)
        )));
    }
    let is_new = plans_of(written)
        .accept(&Accepted::of(&plan, labels))
        .map_err(CommandError::failed)?;
    if !is_new {
        return Err(CommandError::Failed(format!(
            "plan {number} was accepted already, and is answered once"
        )));
    }
    let store = Store::open_beside(store_config(&config), Arc::new(SystemClock))?;
    let by = officer.map_or_else(String::new, |officer| format!(", decided by {officer}"));
    let subject = format!("plan {number}: {count} labels, {model}{by}");
    block_on(async {
        Ok(store
            .note_access(VERB, &subject, Actor::CommandLine)
            .await?)
    })?;
    output::line(format!(
        "plan {number} accepted: {count} labels for {model}"
    ));
    eprintln!(
        "it costs {} of a patient's yearly budget; the week's frame tells of it, with noise, and can be read before",
        epsilon(MODEL_WEEK_MILLI_EPSILON)
    );
    eprintln!("{}", paid(&forecast));
    Ok(())
}

/// Whether the plan is older than the last restoring from a backup: what was answered since is not known here.
fn is_of_a_former_life(written: &Written, plan: &Plan) -> Result<bool, CommandError> {
    let egress = written.appliance.data_dir.join(EGRESS);
    let restored = Restored::of(&egress).map_err(CommandError::failed)?;
    Ok(restored.is_some_and(|restored| plan.issued_at_s < restored.at_s))
}

/// What this year's budget still has to pay.
fn forecast(config: &Config, week: u16) -> Result<Forecast, CommandError> {
    let written = &config.written;
    let rules = Rules {
        year_milli_epsilon: written.egress.year_milli_epsilon,
    };
    let catalogue = counting::catalogue(config).map_err(CommandError::failed)?;
    let mut models: Vec<u16> = registered(written)?
        .iter()
        .map(|package| catalogue.id(&package.model).0)
        .filter(|id| *id > 0)
        .collect();
    models.sort_unstable();
    models.dedup();
    let expected = Expected {
        week,
        models: models.len(),
        accepted: plans_of(written).accepted().map_err(CommandError::failed)?,
    };
    let egress = written.appliance.data_dir.join(EGRESS);
    Books::forecast(&egress, rules, &expected).map_err(CommandError::failed)
}

/// What is left of the year, and what it still has to pay, in a sentence.
fn paid(forecast: &Forecast) -> String {
    let (left, weeks) = (epsilon(forecast.left_milli_epsilon), forecast.weeks);
    let weekly = epsilon(forecast.weeks_milli_epsilon);
    let evaluations = epsilon(forecast.evaluations_milli_epsilon);
    let (each, room) = (epsilon(MODEL_WEEK_MILLI_EPSILON), forecast.has_room());
    let fits = if room { "leaves room" } else { "leaves none" };
    format!(
        "of this year's epsilon {left} is left; its {weeks} weeks that are not closed cost {weekly}, evaluations that were accepted \
         before {evaluations}, and that {fits} for the {each} of this one"
    )
}

/// Thousandths of epsilon, as people say them.
fn epsilon(milli: u32) -> String {
    format!("{:.1}", f64::from(milli) / 1000.0)
}

/// Who decides, as the command line gives it.
pub(crate) fn officer(said: &str) -> Result<String, String> {
    let name = said.trim();
    let fits = !name.is_empty() && name.chars().count() <= OFFICER_MAX_CHARS;
    if fits && !name.chars().any(char::is_control) {
        Ok(name.to_owned())
    } else {
        Err(format!(
            "a name of one line, at most {OFFICER_MAX_CHARS} characters"
        ))
    }
}

fn known(written: &Written) -> Result<Vec<Plan>, CommandError> {
    let desk = Desk::at(written.egress.gate_dir.clone());
    pericard_gate::plans(&desk).map_err(CommandError::failed)
}

fn plans_of(written: &Written) -> Plans {
    Plans::of(&written.appliance.data_dir.join(EGRESS))
}

/// The live version that the plan is about.
fn live(written: &Written, plan: &Plan) -> Result<String, CommandError> {
    let live = registered(written)?;
    let meant = live
        .iter()
        .find(|package| words(package.model.digest.as_bytes()) == plan.model_digest);
    let meant = meant.ok_or_else(|| {
        let digest = plan.model_digest.map(|part| format!("{part:016x}")).concat();
        CommandError::Failed(format!("the model of this plan ({digest}) is not live here; `pericard model activate` makes it so"))
    })?;
    Ok(meant.model.to_string())
}

/// Every version that is live.
fn registered(written: &Written) -> Result<Vec<Package>, CommandError> {
    let registry = Registry::open(&written.appliance.data_dir.join("registry"));
    registry
        .and_then(|registry| registry.live())
        .map_err(CommandError::failed)
}

/// The labels of a file. What is wrong is named by its line, never by what stands there.
fn read(text: &str) -> Result<Vec<(StudyUid, bool)>, CommandError> {
    let (mut labels, mut seen) = (Vec::new(), BTreeSet::new());
    let lines = (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty());
    for (at, line) in lines {
        let wrong = |why: &str| CommandError::Failed(format!("line {at} of the labels: {why}"));
        let (study, label) = line
            .split_once(',')
            .ok_or_else(|| wrong("not a study and a label"))?;
        let study: StudyUid = study
            .trim()
            .parse()
            .map_err(|_| wrong("not a Study Instance UID"))?;
        let label = match label.trim() {
            "1" => true,
            "0" => false,
            _ => return Err(wrong("the label is neither 1 nor 0")),
        };
        if !seen.insert(study.clone()) {
            return Err(wrong("this study has a label already"));
        }
        if labels.len() == LABELS_MAX {
            return Err(wrong("too many labels"));
        }
        labels.push((study, label));
    }
    if labels.is_empty() {
        return Err(CommandError::Failed(
            "there are no labels in the file".into(),
        ));
    }
    Ok(labels)
}

fn said(plan: &Plan, (accepted, done): (bool, bool)) -> String {
    let standing = match (accepted, done) {
        (_, true) => "carried out",
        (true, false) => "accepted",
        (false, false) => "open",
    };
    let digest = plan
        .model_digest
        .map(|part| format!("{part:016x}"))
        .concat();
    let (number, model, cases) = (plan.number, plan.model, plan.cases_min);
    format!(
        "plan {number}: model {model} {digest}, at least {cases} cases, {}: {standing}",
        metrics(plan)
    )
}

/// What is to be computed, in the words of the closed list.
fn metrics(plan: &Plan) -> String {
    let asked = Metric::ALL.into_iter().filter(|metric| plan.asks(*metric));
    let names: Vec<_> = asked.map(|metric| format!("{metric:?}")).collect();
    names.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_or_named_by_their_line() {
        let labels = read("1.2.3,1\n\n1.2.4 , 0\n").expect("read");
        assert_eq!(
            labels.iter().map(|(_, label)| *label).collect::<Vec<_>>(),
            [true, false]
        );
        for (text, why) in [
            (
                "1.2.3,1\nDoe,1\n",
                "line 2 of the labels: not a Study Instance UID",
            ),
            (
                "1.2.3,2\n",
                "line 1 of the labels: the label is neither 1 nor 0",
            ),
            ("1.2.3\n", "line 1 of the labels: not a study and a label"),
            (
                "1.2.3,1\n1.2.3,0\n",
                "line 2 of the labels: this study has a label already",
            ),
            ("\n", "there are no labels in the file"),
        ] {
            assert_eq!(read(text).expect_err("refused").to_string(), why);
        }
    }
}
