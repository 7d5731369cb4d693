//! The door itself.

use crate::Refused;
use bytes::Bytes;
use pericard_domain::actor::Actor;
use pericard_domain::study::ObjectIdentity;
use pericard_domain::uid::{InstanceUid, SopClassUid, TransferSyntaxUid};
use pericard_store::Store;
use pericard_store::admission::Admission;
use std::sync::Arc;

/// Limits of the door.
#[derive(Debug, Clone)]
pub struct IntakeConfig {
    /// The largest object that is taken.
    pub max_object_mib: u32,
    /// How many objects may be arriving at once.
    pub parcels_max: usize,
}

/// When a study that has just received an object may be complete. The one replaceable decision.
pub trait Settling: Send + Sync + 'static {}

/// How an object arrives.
#[derive(Debug, Clone)]
pub enum Arrival {
    /// A data set without its file header, as C-STORE sends it; the rest of the identity was announced.
    DataSet {
        /// Affected SOP Class UID of the command.
        sop_class: SopClassUid,
        /// Affected SOP Instance UID of the command.
        instance: InstanceUid,
        /// The transfer syntax of the presentation context.
        transfer_syntax: TransferSyntaxUid,
    },
    /// A whole Part 10 file, as STOW-RS sends it.
    File,
}

/// The door. Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    _store: Arc<Store>,
}

#[allow(unused_variables, clippy::unused_async)]
impl Intake {
    /// Opens a parcel for an object.
    ///
    /// # Errors
    /// When nothing can be taken at the moment: the peer is told before it has sent the bytes.
    pub fn begin(&self, arrival: Arrival, from: Actor) -> Result<Parcel, Refused> {
        unimplemented!()
    }

    /// Writes into the audit log that a peer was refused before it could offer anything: an association, a request.
    pub async fn refuse(&self, what: &str, why: &str, from: Actor) {
        unimplemented!()
    }
}

/// An object that is arriving. Dropped, it is gone, and nothing was promised.
pub struct Parcel {
    _private: (),
}

#[allow(unused_variables, clippy::unused_async)]
impl Parcel {
    /// Takes the next bytes of the object.
    ///
    /// # Errors
    /// [`Refused::TooLarge`], or the disk failed; the parcel is then of no more use, and `refused` says so to the audit log.
    pub fn write(&mut self, bytes: &Bytes) -> Result<(), Refused> {
        unimplemented!()
    }

    /// Scans, seals and commits the object. A refusal is written into the audit log here.
    ///
    /// # Errors
    /// Why it was not taken.
    pub async fn admit(self) -> Result<(ObjectIdentity, Admission), Refused> {
        unimplemented!()
    }
}
