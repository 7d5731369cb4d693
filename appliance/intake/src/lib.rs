//! The one door in: an offered object is admitted, durably, or refused with a reason.
//!
//! `dimse` and `api` receive bytes and know nothing of each other; both bring them here, and both are told the same
//! [`Refused`], which each turns into its own protocol's words.
//!
//! - [`Intake::begin`] opens a [`Parcel`], into which the protocol room writes what the peer sends.
//! - [`Parcel::admit`] has it scanned ([`Scanning`]), seals it, and commits it. Only when that resolves may the peer be told of success.

mod door;
mod pace;
mod quota;
mod refused;
mod scanning;
mod settling;
mod visit;

pub use door::{Arrival, Intake, IntakeConfig, Judges, Parcel};
pub use pace::Pace;
pub use pericard_store::admission::Admission;
pub use quota::{Quota, Quotas};
pub use refused::Refused;
pub use scanning::{Arrived, Scan, Scanned, Scanning, Unscanned};
pub use settling::{AllThatIsKnown, IdleTimeout, Settled, Settling};
pub use visit::Visits;
