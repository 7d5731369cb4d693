//! What this room needs of the door behind it.
//!
//! A seam rather than the door itself, so that tests can have one that refuses in every way that a real one hardly
//! ever does.

use bytes::Bytes;
use pericard_domain::actor::Actor;
use pericard_domain::uid::StudyUid;
use pericard_intake::{Arrival, Intake, Parcel, Refused};
use std::future::Future;

/// The door in: see [`pericard_intake::Intake`].
pub trait Door: Clone + Send + Sync + 'static {
    /// An object that is arriving.
    type Parcel: OpenParcel;

    /// Opens a parcel for an object.
    ///
    /// # Errors
    /// When nothing can be taken at the moment.
    fn begin(&self, arrival: Arrival, from: Actor) -> Result<Self::Parcel, Refused>;

    /// The door for one association: what comes through it belongs together, until this is dropped.
    #[must_use]
    fn visited(&self) -> Self {
        self.clone()
    }

    /// Something is known of a study that it may have waited for.
    fn look(&self, _study: &StudyUid) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Writes into the audit log that a peer was refused before it could offer anything.
    fn refuse(&self, what: &str, why: &str, from: Actor) -> impl Future<Output = ()> + Send;
}

/// An object that is arriving. Dropped, it is gone, and nothing was promised.
pub trait OpenParcel: Send {
    /// Takes the next bytes of the object.
    ///
    /// # Errors
    /// Why no more is taken. [`OpenParcel::admit`] then says the same.
    fn write(&mut self, bytes: &Bytes) -> Result<(), Refused>;

    /// Keeps the object. Only when this resolves may the peer be told of success.
    fn admit(self) -> impl Future<Output = Result<(), Refused>> + Send;
}

impl Door for Intake {
    type Parcel = Parcel;

    fn begin(&self, arrival: Arrival, from: Actor) -> Result<Parcel, Refused> {
        Self::begin(self, arrival, from)
    }

    fn visited(&self) -> Self {
        Self::visited(self)
    }

    async fn look(&self, study: &StudyUid) {
        Self::look(self, study).await;
    }

    async fn refuse(&self, what: &str, why: &str, from: Actor) {
        Self::refuse(self, what, why, from).await;
    }
}

impl OpenParcel for Parcel {
    fn write(&mut self, bytes: &Bytes) -> Result<(), Refused> {
        Self::write(self, bytes)
    }

    async fn admit(self) -> Result<(), Refused> {
        Self::admit(self).await.map(|_| ())
    }
}
