//! The DICOM network: associations (PS3.8), DIMSE messages (PS3.7), and the services on top of them (PS3.4).
//!
//! Protocol only. What arrives is carried through the [`Door`] as it comes off the wire, and the peer hears of success
//! only when the door says that the object is kept; what leaves is read from the files that the store names.
//!
//! - [`listen`], in plain and over [`Tls`]: C-ECHO, C-STORE, C-FIND, C-MOVE, C-GET and storage commitment, for peers that call here.
//! - [`deliver`]: the outbox: results go to the peers that are to have them.
//! - [`commit`]: what peers promise to keep, and what is promised to them.
//! - [`inquire`]: what we ask peers of our own accord: worklists, how much they have of a study, earlier studies.
//! - [`send_files`], [`echo`]: for a person at the command line.
//!
//! Inside, from the wire up: `wire` cuts the byte stream into PDUs and refuses lengths before it believes them,
//! `association` puts DIMSE messages together, `negotiation` and `request` are its two beginnings, `session` answers
//! what a peer asks and `sending` asks a peer to store.
//!
//! Absent on purpose: no object is ever held in memory as a whole, none is parsed here, and no answer is remembered.

mod archive;
mod association;
mod classes;
mod command;
mod commitment;
mod config;
mod conformance;
mod counting;
mod door;
mod echo;
mod fetching;
mod finding;
#[doc(hidden)]
pub mod fuzzing;
mod getting;
mod getting_priors;
mod inquiry;
mod listener;
mod matching;
mod moving;
mod moving_priors;
mod negotiation;
mod outbox;
mod part10;
mod peer;
mod peers;
mod query;
mod record;
mod request;
mod retrieval;
mod searching;
mod sending;
mod service;
mod session;
mod status;
mod submit;
mod tls;
mod web;
mod wire;
mod worklist;

pub use archive::Archive;
pub use commitment::{CommitmentConfig, commit};
pub use config::{DimseConfig, Limits, Unlisted};
pub use conformance::conformance;
pub use door::{Door, OpenParcel};
pub use echo::echo;
pub use inquiry::{InquiryConfig, inquire};
pub use listener::{Listeners, listen};
pub use outbox::{DeliveryConfig, Mail, deliver};
pub use peer::{Address, AddressError, Fetch, Peer, Rights};
pub use peers::Peers;
pub use request::{CallError, Caller, RequestLimits};
pub use sending::{Rewriting, Rewritten};
pub use submit::{FileOutcome, SubmitProgress, send_files};
pub use tls::{Tls, TlsIdentity, TlsUnusable};
pub use web::WebAddress;
pub use wire::LinkError;
