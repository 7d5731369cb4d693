//! A worker that works no more, but tries what somebody who has taken it over would try.

use crate::runner::RunnerConfig;
use crate::staff::Staff;
use crate::words::{Load, Share};
use crate::worker::{IMAGING, LANGUAGE, READER};
use pericard_confine::attempts::Attempted;
use pericard_confine::{Limits, Lost, Walls, Worker};
use pericard_domain::model::Package;

/// What a worker tells a worker to attempt.
const ATTEMPTING: &str = "--attempt";
/// Which kind of worker.
#[derive(Debug, Clone)]
pub enum Kind {
    /// The reader of DICOM.
    Reader,
    /// The worker of this imaging model.
    Imaging(Package),
    /// The worker of this language model.
    Language(Package),
}

/// A worker behind its walls, told to try them.
pub struct Prisoner {
    worker: Worker,
    walls: Walls,
}

impl Prisoner {
    /// Starts a worker of this kind as the appliance does, with its model loaded, and locks it in. Golden cases are run
    /// as for any other worker.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(config: &RunnerConfig, kind: Kind) -> Result<Self, String> {
        let mut program = config.worker.clone();
        program.arguments.push(ATTEMPTING.into());
        let (name, load) = match kind {
            Kind::Reader => (READER, Load::Reader),
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
                    },
                    device: config.device,
                },
            ),
        };
        let hired = Staff { program }.hire(name, &load);
        let (worker, started) = hired.map_err(|lost| lost.to_string())??;
        Ok(Self {
            worker,
            walls: started.walls,
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

    /// Lets it try one of [`pericard_confine::attempts`], for so long and with so much computing.
    ///
    /// # Errors
    /// When the attempt ended it.
    pub fn attempt(&mut self, name: &str, limits: Limits) -> Result<Attempted, Lost> {
        self.worker.ask(&name, &[], limits)
    }
}
