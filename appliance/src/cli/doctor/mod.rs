//! `pericard doctor`: compares this machine with its profile in `firmware-config/`. It never changes anything.

mod configured;
mod machine;
mod probe;
mod profile;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod tests;

use super::{CommandError, ConfigFile, output};
use clap::Args;
use configured::Configured;
use machine::Machine;
use profile::{Check, Profile, Severity};
use serde::Serialize;
use std::path::PathBuf;

/// The least memory of a card that the profiles for 80 GB are for, as the driver says it.
const LARGE_CARD_MIB_MIN: u64 = 79_000;

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// What this machine should be: clinic-cpu, gpu-24gb, gpu-80gb, gpu-mig, apple-silicon; guessed from its GPUs
    /// when not given
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Look at a recorded machine instead: /proc, /sys, /etc, /dev and /usr below DIR, and what programs said in DIR/programs
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// Print JSON, for fleet tools
    #[arg(long)]
    json: bool,
}

/// How a line of the profile came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One line: what was looked at, what was found, and what to do.
#[derive(Debug, Serialize)]
struct Line {
    verdict: Verdict,
    name: String,
    found: String,
    why: String,
    mend: String,
}

#[derive(Debug, Serialize)]
struct Report {
    profile: String,
    guessed: bool,
    ok: usize,
    warn: usize,
    fail: usize,
    lines: Vec<Line>,
}

/// # Errors
/// Wrong usage when there is no such profile; failure when a line of it fails.
pub(crate) fn run(args: &DoctorArgs) -> Result<(), CommandError> {
    let machine = Machine::at(&args.root);
    let name = args.profile.clone().unwrap_or_else(|| guessed(&machine));
    let profile = Profile::named(&name).map_err(CommandError::Usage)?;
    // Root stays root, unlike in commands that touch the data: others may not look at the firewall.
    let profile = profile.about(&Configured::read(&machine, &args.config.file));
    let report = examine(&machine, &profile, args.profile.is_none());
    if args.json {
        output::json(&report)?;
    } else {
        print(&report, &profile);
    }
    if report.fail > 0 {
        return Err(CommandError::Failed(format!(
            "{} of {} lines of the profile {name} fail",
            report.fail,
            report.lines.len()
        )));
    }
    Ok(())
}

fn examine(machine: &Machine, profile: &Profile, guessed: bool) -> Report {
    let lines: Vec<Line> = profile.checks.iter().map(|c| line(machine, c)).collect();
    let count = |verdict| lines.iter().filter(|line| line.verdict == verdict).count();
    Report {
        profile: profile.name.clone(),
        guessed,
        ok: count(Verdict::Ok),
        warn: count(Verdict::Warn),
        fail: count(Verdict::Fail),
        lines,
    }
}

fn line(machine: &Machine, check: &Check) -> Line {
    let (verdict, found) = match check.probe.look(machine) {
        Ok(found) => (Verdict::Ok, found),
        Err(found) => match check.severity {
            Severity::Warn => (Verdict::Warn, found),
            Severity::Fail => (Verdict::Fail, found),
        },
    };
    Line {
        verdict,
        name: check.name.clone(),
        found,
        why: check.why.clone(),
        mend: check.mend.clone(),
    }
}

/// Which profile fits the cards that are in the machine, whether or not their driver runs.
fn guessed(machine: &Machine) -> String {
    if machine.text("/proc/version").is_err() {
        return "apple-silicon".into(); // no Linux
    }
    let memory = machine.said(
        "nvidia-smi",
        &["--query-gpu=memory.total", "--format=csv,noheader,nounits"],
    );
    let cards: Vec<u64> = memory
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.trim().parse().ok())
        .collect();
    let all_large = cards.iter().all(|mib| *mib >= LARGE_CARD_MIB_MIN);
    match cards.len() {
        0 if machine.has_nvidia_card() => "gpu-24gb",
        0 => "clinic-cpu",
        1 if all_large => "gpu-80gb",
        _ if all_large => "gpu-mig",
        _ => "gpu-24gb",
    }
    .into()
}

fn print(report: &Report, profile: &Profile) {
    let how = if report.guessed {
        " (guessed; --profile says otherwise)"
    } else {
        ""
    };
    output::line(format!("{}: {}{how}", profile.name, profile.summary));
    for line in &report.lines {
        let verdict = match line.verdict {
            Verdict::Ok => "ok  ",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        output::line(format!("{verdict}  {}: {}", line.name, line.found));
        if line.verdict != Verdict::Ok {
            output::line(format!("      why   {}", line.why));
            output::line(format!("      mend  {}", line.mend));
        }
    }
    output::line(format!(
        "{} ok, {} warn, {} fail; nothing was changed",
        report.ok, report.warn, report.fail
    ));
}
