//! A worker that works no more, but tries what somebody who has taken it over would try.

use crate::runner::RunnerConfig;
use crate::staff::{LOADING, Staff};
use crate::words::{Load, Share, Started};
use crate::worker::{DEVICE, IMAGING, LANGUAGE, LOAD, READER, SCANNER};
use pericard_confine::attempts::Attempted;
use pericard_confine::{Limits, Lost, Memory, Walls, Worker};
use pericard_domain::device::Device;
use pericard_domain::model::Package;
use std::fs::File;
use std::os::fd::AsFd;

/// What tells a worker to attempt.
const ATTEMPTING: &str = "--attempt";
/// What stands in the memory that it is handed.
const PICTURE: &[u8] = &[7; 4096];

/// Which kind of worker.
#[derive(Debug, Clone)]
pub enum Kind {
    /// The reader of DICOM.
    Reader,
    /// The scanner of what arrives.
    Scanner,
    /// The worker of this imaging model.
    Imaging(Package),
    /// The worker of this language model.
    Language(Package),
    /// Whichever computes on this device, with nothing loaded: no driver is asked, so that it need not be there.
    Device(Device),
}

/// A worker behind its walls, told to try them.
pub struct Prisoner {
    worker: Worker,
    walls: Walls,
    /// What it is handed beside a file.
    memory: Memory,
}

impl Prisoner {
    /// Starts a worker of this kind as the appliance does, with its model loaded, and locks it in. Golden cases are run
    /// as for any other worker.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(config: &RunnerConfig, kind: Kind) -> Result<Self, String> {
        let mut prisoner = Self::loading(config, kind)?;
        let locked = prisoner
            .worker
            .ask::<Result<Started, String>>(&LOAD, &[], LOADING);
        prisoner.walls = locked.map_err(|lost| lost.to_string())??.walls;
        Ok(prisoner)
    }

    /// Starts a worker of this kind as the appliance does, and stops it where it would begin to load: behind the first walls,
    /// which are all that holds it until it is locked.
    ///
    /// # Errors
    /// When it does not start.
    pub fn loading(config: &RunnerConfig, kind: Kind) -> Result<Self, String> {
        let mut program = config.worker.clone();
        program.arguments.push(ATTEMPTING.into());
        let (name, load) = match kind {
            Kind::Reader => (READER, Load::Reader),
            Kind::Scanner => (SCANNER, Load::Scanner),
            Kind::Imaging(package) => (
                IMAGING,
                Load::Imaging {
                    library: config.onnxruntime.clone(),
                    package,
                    threads: config.cores,
                    device: config.device,
                },
            ),
            Kind::Language(package) => (
                LANGUAGE,
                Load::Language {
                    package,
                    share: Share {
                        threads: config.cores,
                        sequences_max: config.chats_max,
                        queue_max: config.chats_waiting_max,
                        kv_form: config.kv_form,
                    },
                    device: config.device,
                },
            ),
            Kind::Device(device) => (DEVICE, Load::Device(device)),
        };
        let hired = Staff { program }.hire(name, &load);
        let (worker, started) = hired.map_err(|lost| lost.to_string())??;
        Ok(Self {
            worker,
            walls: started.walls,
            memory: Memory::holding([PICTURE].into_iter()).map_err(|e| e.to_string())?,
        })
    }

    /// Its walls.
    #[must_use]
    pub const fn walls(&self) -> &Walls {
        &self.walls
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.worker.leash().pid()
    }

    /// Lets it try one of [`pericard_confine::attempts`], for so long and with so much computing, with what a worker is
    /// handed: this file, and sealed memory.
    ///
    /// # Errors
    /// When the attempt ended it.
    pub fn attempt(&mut self, name: &str, file: &File, limits: Limits) -> Result<Attempted, Lost> {
        let handed = [file.as_fd(), self.memory.as_fd()];
        self.worker.ask(&name, &handed, limits)
    }

    /// Whether the memory that it was handed is as it was.
    #[must_use]
    pub fn is_memory_whole(&self) -> bool {
        self.memory.map().is_ok_and(|mapped| mapped[..] == *PICTURE)
    }
}
