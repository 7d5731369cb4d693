//! `pericard egress`, the sending half: enrolment, the gate's process, holds, frames carried by hand.

use super::{CommandError, ConfigFile, block_on, output, owner};
use crate::clock::SystemClock;
use crate::config::{Config, Written};
use crate::journal;
use crate::serve::EGRESS;
use clap::Subcommand;
use pericard_domain::actor::Actor;
use pericard_domain::time::Clock as _;
use pericard_gate::{
    Desk, Enrolment, Gate, GateError, Placed, Rules, Slot, Spool, Standing, Status, Watch,
};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub(crate) enum GateCommand {
    /// Make the gate's keys and print the request that is carried to the hub
    EnrolRequest {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Install what the hub gave back, after checking that the hub's key signed it and that it answers our request
    Enrol {
        #[command(flatten)]
        config: ConfigFile,
        /// The file that was carried back
        enrolment: PathBuf,
        /// The hub's key as its operator reads it out, by telephone
        #[arg(long, value_name = "KEY")]
        hub_key: String,
    },
    /// Send to the hub, one frame in each slot; without an enrolled hub it ends at once and opens no socket
    Run {
        #[command(flatten)]
        config: ConfigFile,
        /// Take one slot now, then end
        #[arg(long)]
        once: bool,
    },
    /// Hold frames back: one, or all, those to come too. Those behind a frame that is held wait for it
    Hold {
        #[command(flatten)]
        config: ConfigFile,
        /// Only this one
        #[arg(long)]
        frame: Option<u32>,
    },
    /// Take a hold away: that of one frame, or that of all
    Release {
        #[command(flatten)]
        config: ConfigFile,
        /// Only this one
        #[arg(long)]
        frame: Option<u32>,
    },
    /// Write every signed frame that may go into a folder, to be carried to the hub by hand
    Carry {
        #[command(flatten)]
        config: ConfigFile,
        /// The folder, which the gate's user may write
        dir: PathBuf,
    },
    /// Take the hub's replies that were carried back, after checking their signatures
    Take {
        #[command(flatten)]
        config: ConfigFile,
        /// NNNNNNNN.reply
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

pub(crate) fn run(command: GateCommand) -> Result<(), CommandError> {
    match command {
        GateCommand::EnrolRequest { config } => enrol_request(&as_gate(&config)?),
        GateCommand::Enrol {
            config,
            enrolment,
            hub_key,
        } => enrol(&as_gate(&config)?, &enrolment, &hub_key),
        GateCommand::Run { config, once } => send(&as_gate(&config)?, once),
        GateCommand::Hold { config, frame } => {
            let written = &config.read()?.written;
            spool(written).hold(frame).map_err(CommandError::failed)?;
            output::line(format!("{} held", named(frame)));
            // Afterwards: what keeps a frame back needs nothing else to work.
            note(&config, "hold frame", frame)
        }
        GateCommand::Release { config, frame } => {
            // Before: nothing is let go that the log does not know.
            note(&config, "release frame", frame)?;
            let spool = spool(&config.read()?.written);
            let was_held = spool.release(frame).map_err(CommandError::failed)?;
            let said = if was_held { "released" } else { "not held" };
            output::line(format!("{} {said}", named(frame)));
            Ok(())
        }
        GateCommand::Carry { config, dir } => carry(&as_gate(&config)?, &dir),
        GateCommand::Take { config, files } => take(&as_gate(&config)?, &files),
    }
}

/// Writes into the audit log what was done to the frames.
fn note(config: &ConfigFile, verb: &'static str, frame: Option<u32>) -> Result<(), CommandError> {
    let store = config.store()?;
    block_on(async {
        let subject = named(frame);
        Ok(store
            .note_access(verb, &subject, Actor::CommandLine)
            .await?)
    })
}

/// Where each frame stands, for who reads the ledger; `None` while no hub is enrolled.
pub(crate) fn standings(written: &Written) -> Result<Option<Vec<Placed>>, CommandError> {
    let (spool, desk) = (spool(written), desk(written));
    if Enrolment::read(&desk)
        .map_err(CommandError::failed)?
        .is_none()
    {
        return Ok(None);
    }
    let standings = Gate::standings((&spool, &desk), rules(written), now_s());
    standings.map(Some).map_err(CommandError::failed)
}

/// Where a frame stands, with the time of this machine's zone.
pub(crate) fn stands(standing: Standing) -> String {
    let Standing::Waiting { until_s } = standing else {
        return standing.to_string();
    };
    let until = i64::try_from(until_s).ok();
    let until = until.and_then(|at| chrono::DateTime::from_timestamp(at, 0));
    until.map_or_else(
        || standing.to_string(),
        |at| {
            let at = at.with_timezone(&chrono::Local);
            format!("waiting until {}", at.format("%Y-%m-%d %H:%M %:z"))
        },
    )
}

/// The recalls and advisories that the hub answered with, one a line.
pub(crate) fn advisories(written: &Written) -> Result<Vec<String>, CommandError> {
    let advisories = pericard_gate::advisories(&desk(written)).map_err(CommandError::failed)?;
    let said = advisories.iter().map(|advisory| {
        let digest = advisory.model_digest.map(|part| format!("{part:016x}"));
        let (kind, cause) = (advisory.kind.meaning(), advisory.cause.meaning());
        let (number, model) = (advisory.number, advisory.model);
        format!(
            "{kind}; number {number}, model {model} {}: {cause}",
            digest.concat()
        )
    });
    Ok(said.collect())
}

fn enrol_request(written: &Written) -> Result<(), CommandError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(CommandError::failed)?;
    let request = pericard_gate::request(&desk(written), &seed).map_err(CommandError::failed)?;
    output::line(request.trim_end());
    eprintln!("carry this to the hub, and read its frame_key to the hub's operator by telephone");
    Ok(())
}

fn enrol(written: &Written, file: &Path, hub_key: &str) -> Result<(), CommandError> {
    let signed = std::fs::read_to_string(file)
        .map_err(|error| CommandError::Failed(format!("{}: {error}", file.display())))?;
    let enrolled = pericard_gate::accept(&desk(written), &signed, hub_key);
    let Enrolment {
        appliance,
        address,
        hub,
        ..
    } = enrolled.map_err(CommandError::failed)?;
    output::line(format!(
        "appliance {appliance} of {} at {address}",
        hub.name()
    ));
    eprintln!(
        "frames carry this number from the next start of the appliance on. To send them: let the gate reach that address \
         and no other (IPAddressAllow={} in a drop-in, see /usr/share/pericard/examples/hub-address.conf), then \
         `systemctl enable --now pericard-egress`",
        address.ip()
    );
    Ok(())
}

/// The gate's process. A signal ends it at any moment: what a slot began, the next one finishes.
fn send(written: &Written, once: bool) -> Result<(), CommandError> {
    let Some(gate) = open(written)? else {
        output::line(
            "no hub is enrolled, so that nothing is sent; `pericard egress enrol-request` begins",
        );
        return Ok(());
    };
    if once {
        let slot = gate.slot(now_s()).map_err(CommandError::failed)?;
        output::line(said(slot));
        return Ok(());
    }
    journal::begin(&written.appliance.log_level).map_err(CommandError::Usage)?;
    gate.run(60 * u64::from(written.egress.slot_minutes), &mut Endless);
    Ok(())
}

/// This machine's time, and the journal; there is always another slot.
struct Endless;

impl Watch for Endless {
    fn now(&self) -> Duration {
        now()
    }

    fn wait(&mut self, time: Duration) {
        std::thread::sleep(time);
    }

    fn heard(&mut self, slot: Result<Slot, GateError>) -> ControlFlow<()> {
        match slot {
            Ok(slot) => tracing::info!("{}", said(slot)),
            Err(error) => {
                tracing::warn!(%error, "this slot came to nothing; the next one tries again")
            }
        }
        ControlFlow::Continue(())
    }
}

fn carry(written: &Written, dir: &Path) -> Result<(), CommandError> {
    let carried = enrolled(written)?.carry(dir, now_s());
    let carried = carried.map_err(CommandError::failed)?;
    for sequence in &carried {
        output::line(dir.join(format!("{sequence:08}.frame")).display());
    }
    if carried.is_empty() {
        eprintln!("no frame may go now; `pericard egress ledger` says why");
    }
    Ok(())
}

fn take(written: &Written, files: &[PathBuf]) -> Result<(), CommandError> {
    let gate = enrolled(written)?;
    for file in files {
        let (sequence, reply) = gate.take(file).map_err(CommandError::failed)?;
        let (status, reason) = (reply.status(), reply.reason());
        output::line(said(Slot::Sent {
            sequence,
            status,
            reason,
        }));
    }
    Ok(())
}

fn said(slot: Slot) -> String {
    match slot {
        Slot::Sent {
            sequence,
            status: Status::Refused,
            reason,
        } => format!("frame {sequence}: refused: {}", reason.meaning()),
        Slot::Sent {
            sequence, status, ..
        } => format!("frame {sequence}: {}", status.meaning()),
        Slot::Waits(Placed { sequence, standing }) => {
            format!("frame {sequence}: {}", stands(standing))
        }
        Slot::Nothing => "the hub has every frame".to_owned(),
    }
}

fn named(frame: Option<u32>) -> String {
    frame.map_or_else(|| "all frames".to_owned(), |frame| format!("frame {frame}"))
}

fn enrolled(written: &Written) -> Result<Gate, CommandError> {
    let none = "no hub is enrolled; `pericard egress enrol-request` begins";
    open(written)?.ok_or_else(|| CommandError::Failed(none.into()))
}

fn open(written: &Written) -> Result<Option<Gate>, CommandError> {
    let opened = Gate::open(spool(written), desk(written), rules(written));
    opened.map_err(|error: GateError| CommandError::failed(error))
}

/// The configuration; root has become the user whom the gate's folder belongs to, in the group that may read frames. (The
/// folder itself has the appliance's group, which is shown what the hub answered.)
fn as_gate(config: &ConfigFile) -> Result<Written, CommandError> {
    let written = Config::read(&config.file)?.written;
    let spool = written.appliance.data_dir.join(EGRESS);
    owner::become_owner_in_group_of(&written.egress.gate_dir, &spool)?;
    Ok(written)
}

fn spool(written: &Written) -> Spool {
    Spool::at(written.appliance.data_dir.join(EGRESS))
}

fn desk(written: &Written) -> Desk {
    Desk::at(written.egress.gate_dir.clone())
}

fn rules(written: &Written) -> Rules {
    Rules {
        hold_days: written.egress.hold_days,
    }
}

fn now_s() -> u64 {
    now().as_secs()
}

fn now() -> Duration {
    Duration::from_millis(u64::try_from(SystemClock.now().as_millis()).unwrap_or(0))
}
