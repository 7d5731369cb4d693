//! HTTPS: OpenAI-compatible chat, DICOMweb, FHIR, operations, the console; identity and refusals.
//!
//! This room speaks protocols and decides nothing about medicine: objects go through `intake`, questions through a
//! [`Talker`], pictures through a [`Painter`], and everything else is read from `store`. It is given its listener, its
//! certificate, its limits and its end.
//!
//! - [`serve`]: the routes behind a door of `pericard-door`.
//! - [`router`]: the routes, for tests and for [`serve`]. Every route stands once, in one table (`route.rs`), which also
//!   drives authorisation and the OpenAPI document ([`openapi`]).
//! - [`mint`]: a new bearer token.
//! - [`tls_config`]: TLS 1.3 and nothing older.
//!
//! - [`Painter`]: pictures of what is held, for the console and for DICOMweb.
//! - [`Outgoing`]: the frames that wait to leave; [`Imports`]: the imported models. For the console.
//!
//! Deliberately absent: CORS (no page of another origin has business here), cookies on any route of a program (a session
//! opens the console's pages and nothing else), HTTP Strict Transport Security (it would bind every other service of the
//! same host name), and any client.

mod access;
mod appliance;
mod asked;
mod body;
mod certificate;
mod clinical_use;
mod config;
#[cfg(test)]
mod conformance;
mod console;
mod dicomweb;
mod door;
mod fhir;
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod imports;
mod multipart;
mod notice;
mod openai;
mod openapi;
mod operations;
mod origin;
mod outgoing;
mod painter;
mod problem;
mod reading;
mod reception;
mod route;
mod router;
mod talker;
mod texts;
mod token;

pub use appliance::Appliance;
pub use certificate::{Door, SUCCESSOR_DUE_DAYS, ShownCertificate};
pub use config::ApiConfig;
pub use console::Setting;
pub use door::serve;
pub use imports::{Imported, Imports, Standing};
pub use notice::Notice;
pub use openapi::document as openapi;
pub use outgoing::{ClosedFrame, FrameState, Frames, Outgoing};
pub use painter::{Kept, Painter};
pub use pericard_door::tls_config;
pub use reading::Reading;
pub use router::router;
pub use talker::{Speech, Talker};
pub use token::{Minted, mint};
