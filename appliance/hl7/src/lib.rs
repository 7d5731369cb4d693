//! HL7 v2 over MLLP: what the hospital's information system says, and what it is told.
//!
//! Protocol only. Orders (ORM^O01, OMI^O23) become what the store expects, patient administration (ADT) becomes whose number
//! is whose, what a radiologist reports of a result (ORU^R01) becomes its review, and results leave as ORU^R01. A message is acknowledged once what it says is committed, and never before;
//! one that cannot be heeded is answered with a NAK that says why.
//!
//! - [`listen`]: the door, in plain for peers at their addresses and over [`Secured`] lines for peers with certificates.
//! - [`deliver`]: results to the peers that rules name, in the order in which they were kept, until each is acknowledged.
//!
//! Inside: `frame` cuts the stream into messages, `message` takes one apart, `charset` knows MSH-18, `orders`, `patients` and
//! `reviews` say what it means, `ack` answers it; `places` says who may connect; `results` writes an ORU and `sender` brings it
//! to its peer.
//!
//! Absent on purpose: no message is kept as it came, and none is believed beyond the fields that are read.

mod ack;
mod charset;
mod frame;
#[doc(hidden)]
pub mod fuzzing;
mod heed;
mod listener;
mod message;
mod orders;
mod patients;
mod peer;
mod places;
mod results;
mod reviews;
mod sender;

pub use charset::{Charset, UnknownCharset};
pub use listener::{Doors, Hl7Config, Limits, listen};
pub use peer::{Line, Peer, Secured, Stream, Us};
pub use sender::{SendConfig, deliver};
