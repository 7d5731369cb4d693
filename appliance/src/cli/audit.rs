//! `pericard audit`

use super::{CommandError, ConfigFile, block_on, output};
use clap::Subcommand;
use pericard_store::audit_log::{AuditLine, AuditQuery};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Show lines, oldest first
    Show {
        #[command(flatten)]
        config: ConfigFile,
        /// From this line on
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: u32,
        /// Only lines whose subject holds this: a study, an object, a job
        #[arg(long)]
        subject: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Recompute the whole log against its signed checkpoint: finds any flipped byte, dropped line or truncation
    Verify {
        #[command(flatten)]
        config: ConfigFile,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write the log as C2SP tlog-tiles, to be verified without this program, as /usr/share/pericard/audit/verify.py does
    Export {
        #[command(flatten)]
        config: ConfigFile,
        /// An empty or new directory
        dir: PathBuf,
    },
}

pub(crate) fn run(command: AuditCommand) -> Result<(), CommandError> {
    match command {
        AuditCommand::Show {
            config,
            from,
            limit,
            subject,
            json,
        } => show(
            &config,
            AuditQuery {
                from,
                limit,
                subject,
                ..AuditQuery::default()
            },
            json,
        ),
        AuditCommand::Verify { config, json } => verify(&config, json),
        AuditCommand::Export { config, dir } => {
            let store = config.store()?;
            block_on(async { Ok(store.export_audit(&dir).await?) })?;
            output::line(dir.display());
            Ok(())
        }
    }
}

fn show(config: &ConfigFile, query: AuditQuery, json: bool) -> Result<(), CommandError> {
    let store = config.store()?;
    let lines = block_on(async { Ok(store.audit(query).await?) })?;
    if json {
        return output::json(&lines);
    }
    let row = |line: &AuditLine| {
        let by = serde_json::to_string(&line.by).unwrap_or_default();
        let detail = if line.detail.is_null() {
            String::new()
        } else {
            line.detail.to_string()
        };
        vec![
            line.index.to_string(),
            line.at.to_string(),
            line.verb.clone(),
            line.subject.clone(),
            by,
            detail,
        ]
    };
    output::table(
        &["LINE", "AT", "VERB", "SUBJECT", "BY", "DETAIL"],
        &lines.iter().map(row).collect::<Vec<_>>(),
    );
    Ok(())
}

fn verify(config: &ConfigFile, json: bool) -> Result<(), CommandError> {
    let store = config.store()?;
    let verified = block_on(async { Ok(store.verify_audit().await?) })?;
    if json {
        return output::json(&verified);
    }
    output::line(format!(
        "ok: {} lines, root {}",
        verified.lines, verified.root
    ));
    output::line(verified.checkpoint.trim_end());
    Ok(())
}
