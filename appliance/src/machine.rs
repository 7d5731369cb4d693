//! The machine beneath: what the appliance is given and cannot make itself. The time, chance, how busy the hardware is,
//! which program its workers are.
//!
//! What is shipped knows one machine, [`Machine::this`]. There is no key, no variable and no argument for another, and no
//! other clock or chance in the program: those of the tests that show what leaves are made in the tests. That nothing here
//! grows a second one is held by `tests/architecture`.

use crate::clock::SystemClock;
use crate::load::{Kernel, Load};
use pericard_domain::time::Clock;
use pericard_store::{Leaves, Salted};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How often it is asked whether a week is over.
const LOOK_EVERY: Duration = Duration::from_secs(600);

/// There are no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random numbers: {0}")]
pub struct NoChance(pub String);

/// Where the noise of what leaves comes from, and the keys of a week.
pub trait Chance: Send + Sync {
    /// 32 bytes that nobody can guess.
    ///
    /// # Errors
    /// When there are none: then nothing is told.
    fn bytes(&self) -> Result<[u8; 32], NoChance>;
}

/// The kernel's random numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct KernelChance;

impl Chance for KernelChance {
    fn bytes(&self) -> Result<[u8; 32], NoChance> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| NoChance(error.to_string()))?;
        Ok(bytes)
    }
}

/// A machine for an appliance.
#[derive(Clone)]
pub struct Machine {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What noise grows from.
    pub chance: Arc<dyn Chance>,
    /// How busy it is.
    pub load: Arc<dyn Load>,
    /// How lines of the audit log become leaves.
    pub leaves: Arc<dyn Leaves>,
    /// The program that workers are started from.
    pub program: PathBuf,
    /// How often it is asked whether a week is over.
    pub look_every: Duration,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn this() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            chance: Arc::new(KernelChance),
            load: Arc::new(Kernel),
            leaves: Arc::new(Salted),
            // This very program, also after an upgrade has replaced its file.
            program: "/proc/self/exe".into(),
            look_every: LOOK_EVERY,
        }
    }
}
