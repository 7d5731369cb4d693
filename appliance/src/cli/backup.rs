//! `pericard backup` and `pericard restore`

use super::submit::bar;
use super::{CommandError, ConfigFile, block_on, output, store_config};
use crate::serve::EGRESS;
use crate::{clock::SystemClock, journal, weekly};
use clap::Args;
use indicatif::ProgressBar;
use pericard_domain::actor::Actor;
use pericard_domain::time::{Clock as _, Timestamp};
use pericard_store::Store;
use pericard_store::backup::{self, BackedUp, BackupOptions, RestoreOptions, Restored, Told};
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// The folder that backups lie in: on another disk, best in another building
    dir: PathBuf,
    /// How many backups the folder keeps
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    keep: u16,
    /// Also read again what the folder has already, and copy anew what was altered
    #[arg(long)]
    reread: bool,
    /// Make none: read the latest backup through and compare every file with its manifest
    #[arg(long, conflicts_with_all = ["reread", "keep"])]
    check: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// The folder that backups lie in
    dir: PathBuf,
    /// Which backup, as `pericard backup` named it; the latest when not said
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Leave out objects whose copy was altered, and show them as missing
    #[arg(long)]
    accept_losses: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn back_up(args: &BackupArgs) -> Result<(), CommandError> {
    let (bar, told) = progress();
    if args.check {
        let checked = backup::check(&args.dir, &RestoreOptions::default(), &told)?;
        bar.finish_and_clear();
        return say_restored(&checked, "whole", args.json);
    }
    let store = args.config.store()?;
    let options = BackupOptions {
        kept_max: args.keep.into(),
        reread: args.reread,
    };
    let making = store.backup(&args.dir, options, (Actor::CommandLine, told));
    let made = block_on(async { Ok(making.await?) })?;
    bar.finish_and_clear();
    say_backed_up(&made, args)
}

/// Restores into the configured data directory, which must be empty, and writes that into the restored log. What may have been
/// told to the hub since the backup was made is marked first, so that no week's noise is drawn twice.
pub(crate) fn restore(args: &RestoreArgs) -> Result<(), CommandError> {
    let config = args.config.read()?;
    journal::begin("warn").map_err(CommandError::Usage)?;
    let (bar, told) = progress();
    let store_config = store_config(&config);
    let options = RestoreOptions {
        name: args.name.clone(),
        audit_origin: Some(store_config.audit_origin.clone()),
        accepts_losses: args.accept_losses,
    };
    let dir = store_config.dir.clone();
    let restored = backup::restore(&args.dir, &dir, &options, &told)?;
    bar.finish_and_clear();
    let egress = dir.join(EGRESS);
    weekly::mark_restored(&egress, made_on(&restored.name), SystemClock.now())
        .map_err(CommandError::failed)?;
    let store = Store::open_beside(store_config, Arc::new(SystemClock))?;
    let subject = format!("backup {}", restored.name);
    block_on(async {
        let noting = store.note_access("restore backup", &subject, Actor::CommandLine);
        noting.await?;
        store.verify_audit().await?;
        Ok(())
    })?;
    say_restored(&restored, "restored", args.json)
}

/// The day on which a backup was made: its name begins with it.
fn made_on(name: &str) -> Option<Timestamp> {
    let day = chrono::NaiveDate::parse_from_str(name.get(..10)?, "%Y-%m-%d").ok()?;
    let midnight = day.and_hms_opt(0, 0, 0)?.and_utc();
    Some(Timestamp::from_millis(midnight.timestamp_millis()))
}

/// A bar on a terminal, and what moves it.
fn progress() -> (ProgressBar, Told) {
    let bar = bar();
    let moving = bar.clone();
    let told = move |progress: backup::Progress| {
        moving.set_length(progress.of);
        moving.set_position(progress.files);
        moving.set_message(format!("{} MiB", progress.bytes >> 20));
    };
    (bar, Arc::new(told))
}

/// A backup without some objects is made, and is trouble all the same.
fn say_backed_up(made: &BackedUp, args: &BackupArgs) -> Result<(), CommandError> {
    if args.json {
        output::json(made)?;
    } else {
        output::line(&made.name);
        let (files, mib) = (made.files, made.bytes >> 20);
        let (copied, copied_mib) = (made.copied_files, made.copied_bytes >> 20);
        output::line(format!(
            "{files} files, {mib} MiB; {copied} of them, {copied_mib} MiB, copied now"
        ));
    }
    match made.lost.as_slice() {
        [] => Ok(()),
        lost => Err(CommandError::Failed(format!(
            "the backup is made, but {} objects are missing or altered in the data directory and are not in it: {}",
            lost.len(),
            lost.join(", ")
        ))),
    }
}

fn say_restored(restored: &Restored, how: &str, json: bool) -> Result<(), CommandError> {
    if json {
        return output::json(restored);
    }
    output::line(format!(
        "{how}: {} with {} files, {} MiB, {} lines of audit log",
        restored.name,
        restored.files,
        restored.bytes >> 20,
        restored.audit_lines
    ));
    for path in &restored.lost {
        output::line(format!("not in it: {path}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_says_by_its_name_when_it_was_made() {
        let day = made_on("2026-11-25T10-11-12-345Z.jsonl").expect("a day");
        assert_eq!(day.as_millis(), 1_795_564_800_000);
        assert_eq!(made_on("latest"), None);
    }
}
