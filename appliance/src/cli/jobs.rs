//! `pericard jobs`

use super::{CommandError, ConfigFile, block_on, output};
use clap::Subcommand;
use pericard_domain::actor::Actor;
use pericard_domain::job::{Job, JobId, JobState, Priority, Work};
use pericard_domain::order::Expected;
use pericard_domain::uid::StudyUid;
use pericard_store::queue::JobQuery;

#[derive(Debug, Subcommand)]
pub(crate) enum JobsCommand {
    /// List jobs, latest first
    List {
        #[command(flatten)]
        config: ConfigFile,
        /// Only those in this state: waiting, leased, done, failed, cancelled
        #[arg(long)]
        state: Option<String>,
        /// Only those of this study
        #[arg(long)]
        study: Option<StudyUid>,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one job: its work, its state, why it failed
    Show {
        #[command(flatten)]
        config: ConfigFile,
        /// Its number
        id: i64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List what worklists and order messages say will come, latest said first
    Expected {
        #[command(flatten)]
        config: ConfigFile,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Put a failed or cancelled job back into the queue
    Retry {
        #[command(flatten)]
        config: ConfigFile,
        /// Its number
        id: i64,
    },
    /// Cancel a waiting job
    Cancel {
        #[command(flatten)]
        config: ConfigFile,
        /// Its number
        id: i64,
    },
}

pub(crate) fn run(command: JobsCommand) -> Result<(), CommandError> {
    match command {
        JobsCommand::List {
            config,
            state,
            study,
            limit,
            json,
        } => list(
            &config,
            JobQuery {
                study,
                state,
                limit,
            },
            json,
        ),
        JobsCommand::Show { config, id, json } => {
            let store = config.store()?;
            let job = block_on(async { Ok(store.job(JobId(id)).await?) })?;
            show(&job, json)
        }
        JobsCommand::Expected {
            config,
            limit,
            json,
        } => expected(&config, limit, json),
        JobsCommand::Retry { config, id } => {
            let store = config.store()?;
            let job =
                block_on(async { Ok(store.retry_job(JobId(id), Actor::CommandLine).await?) })?;
            show(&job, false)
        }
        JobsCommand::Cancel { config, id } => {
            let store = config.store()?;
            let job =
                block_on(async { Ok(store.cancel_job(JobId(id), Actor::CommandLine).await?) })?;
            show(&job, false)
        }
    }
}

fn expected(config: &ConfigFile, limit: u32, json: bool) -> Result<(), CommandError> {
    let store = config.store()?;
    let orders = block_on(async { Ok(store.expected(limit, 0).await?) })?;
    if json {
        return output::json(&orders);
    }
    let row = |known: &Expected| {
        let order = &known.order;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        vec![
            known.state.name().into(),
            order.priority.map_or("", Priority::name).into(),
            text(&order.modality),
            text(&order.scheduled),
            text(&order.accession_number),
            order
                .study
                .as_ref()
                .map_or(String::new(), ToString::to_string),
            known.source.clone(),
        ]
    };
    let head = [
        "STATE",
        "PRIORITY",
        "MODALITY",
        "SCHEDULED",
        "ACCESSION",
        "STUDY",
        "SOURCE",
    ];
    let rows: Vec<_> = orders.iter().map(row).collect();
    output::table(&head, &rows);
    Ok(())
}

fn list(config: &ConfigFile, query: JobQuery, json: bool) -> Result<(), CommandError> {
    let store = config.store()?;
    let jobs = block_on(async { Ok(store.jobs(query).await?) })?;
    if json {
        return output::json(&jobs);
    }
    let row = |job: &Job| {
        let why = job
            .last_failure
            .as_ref()
            .map_or(String::new(), |f| f.reason.clone());
        vec![
            job.id.to_string(),
            job.state.name().into(),
            job.priority.name().into(),
            what(&job.work),
            job.work.study().to_string(),
            job.attempts.to_string(),
            why,
        ]
    };
    let head = [
        "JOB",
        "STATE",
        "PRIORITY",
        "WORK",
        "STUDY",
        "ATTEMPTS",
        "LAST FAILURE",
    ];
    output::table(&head, &jobs.iter().map(row).collect::<Vec<_>>());
    Ok(())
}

fn show(job: &Job, json: bool) -> Result<(), CommandError> {
    if json {
        return output::json(job);
    }
    output::line(format!("job       {}", job.id));
    output::line(format!("state     {}", job.state.name()));
    match &job.state {
        JobState::Waiting { due_at } => output::line(format!("due       {due_at}")),
        JobState::Leased { until } => output::line(format!("leased    until {until}")),
        JobState::Done | JobState::Failed { .. } | JobState::Cancelled => {}
    }
    output::line(format!("work      {}", what(&job.work)));
    output::line(format!("study     {}", job.work.study()));
    output::line(format!("priority  {}", job.priority.name()));
    output::line(format!("planned   {}", job.created_at));
    if let Some(ended) = job.ended_at {
        output::line(format!("ended     {ended}"));
    }
    output::line(format!("attempts  {}", job.attempts));
    if let Some(failure) = &job.last_failure {
        output::line(format!("failure   {}", failure.reason));
    }
    Ok(())
}

fn what(work: &Work) -> String {
    match work {
        Work::Assemble { .. } => "assemble".into(),
        Work::Infer {
            model,
            revision,
            rule,
            ..
        } => format!("{model} on revision {revision} (rule {rule:?})"),
    }
}
