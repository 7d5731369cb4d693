//! What an object is: asked of somebody who can be lost over it. A stranger's bytes are parsed nowhere in this process.

use crate::Refused;
use pericard_domain::actor::Actor;
use pericard_domain::study::{InstanceFacts, ObjectIdentity};
use std::fs::File;
use std::pin::Pin;

/// An object whose bytes are here.
#[derive(Debug)]
pub struct Arrived {
    /// Its bytes, from the beginning: a handle that can only read.
    pub file: File,
    /// Whether what lies in it is walked in a moment: it is small, and does not inflate.
    pub takes_a_moment: bool,
}

/// What its header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// What it is.
    pub identity: ObjectIdentity,
    /// What lists and rules ask for.
    pub facts: InstanceFacts,
}

/// Why nobody says what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unscanned {
    /// It is not DICOM, or not such that it can be kept safely. No patient data is in the sentence.
    Malformed(String),
    /// Nobody could look: this says nothing about the object.
    Unavailable(String),
}

/// A scan on its way.
pub type Scan<'s> = Pin<Box<dyn Future<Output = Result<Scanned, Unscanned>> + Send + 's>>;

/// Says what objects are. Asked once for every object that arrived whole.
pub trait Scanning: Send + Sync + 'static {
    /// Scans an object that somebody brought.
    fn scan<'s>(&'s self, arrived: Arrived, from: &'s Actor) -> Scan<'s>;
}

impl From<Unscanned> for Refused {
    fn from(unscanned: Unscanned) -> Self {
        match unscanned {
            Unscanned::Malformed(why) => Self::Malformed(why),
            Unscanned::Unavailable(why) => Self::Unavailable(why),
        }
    }
}
