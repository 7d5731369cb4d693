//! `pericard hub evaluation`

use super::{HubFile, moment};
use crate::cli::{CommandError, output};
use clap::Subcommand;
use pericard_hub::records::Published;
use pericard_hub::{Asking, Metric};

const DAY_S: u64 = 86_400;

#[derive(Debug, Subcommand)]
pub(crate) enum EvaluationCommand {
    /// Publish a signed plan: it goes out with replies, and a hospital carries it out once its officer accepts
    Publish {
        #[command(flatten)]
        config: HubFile,
        /// The model's number in the catalogue
        #[arg(long)]
        model: u16,
        /// What is to be computed: sensitivity, specificity, positive-predictive-value, area-under-curve, calibration-error
        #[arg(long, required = true, value_delimiter = ',', value_parser = metric)]
        metrics: Vec<Metric>,
        /// From which tenth of the score on a case counts as positive
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(0..=9))]
        threshold_tenth: u8,
        /// With how many cases a hospital tells its outcome at least
        #[arg(long, default_value_t = 200)]
        cases_min: u32,
        /// For how many days it may be carried out
        #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
        /// What it says to people at the hub
        #[arg(long, default_value = "")]
        text: String,
    },
    /// List the plans
    List {
        #[command(flatten)]
        config: HubFile,
    },
}

pub(crate) fn run(command: EvaluationCommand) -> Result<(), CommandError> {
    match command {
        EvaluationCommand::Publish {
            config,
            model,
            metrics,
            threshold_tenth,
            cases_min,
            days,
            text,
        } => {
            let hub = config.open()?.hub;
            let published = hub.publish(Asking {
                model,
                metrics,
                threshold_tenth,
                cases_min,
                until_s: hub.now_s() + u64::from(days) * DAY_S,
                text,
            })?;
            output::line(published.plan.number);
            Ok(())
        }
        EvaluationCommand::List { config } => {
            let snapshot = config.open()?.hub.records().snapshot();
            let rows: Vec<_> = snapshot.plans.iter().map(row).collect();
            output::table(
                &["NUMBER", "MODEL", "ISSUED", "UNTIL", "METRICS", "TEXT"],
                &rows,
            );
            Ok(())
        }
    }
}

fn row(Published { plan, text }: &Published) -> Vec<String> {
    let metrics = Metric::ALL.into_iter().filter(|metric| plan.asks(*metric));
    let metrics: Vec<&str> = metrics.map(Metric::word).collect();
    vec![
        plan.number.to_string(),
        plan.model.to_string(),
        moment(plan.issued_at_s),
        moment(plan.until_s),
        metrics.join(","),
        text.clone(),
    ]
}

fn metric(word: &str) -> Result<Metric, String> {
    let all = || Metric::ALL.map(Metric::word).join(", ");
    Metric::named(word).ok_or_else(|| format!("no such metric; there are {}", all()))
}
