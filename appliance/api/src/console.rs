//! The console: what people see in a browser. Pages are made here, whole, and work without a script; one small script of
//! our own lets frames and windows be changed without a new page.
//!
//! - [`session`]: who has logged in; [`visit`]: who asks for a page; [`login`]: how one comes in and goes out.
//! - [`layout`]: what every page has; [`pieces`]: what several have; [`asset`]: the style sheet and the script.
//! - One file a page. The routes and who may use them stand with all others in `route.rs`.
//!
//! It is a part of this room, not a room of its own: it needs the same door, the same store and the same one table of who
//! may do what, and buys no forbidden edge.
//!
//! Deliberately absent: anything that is loaded from elsewhere, anything about a patient in an address (a search for a
//! patient is posted), and any page that a program would need: programs have `/api/v1`.

pub(crate) mod asset;
pub(crate) mod audit;
pub(crate) mod concordance;
pub(crate) mod egress;
pub(crate) mod jobs;
mod layout;
pub(crate) mod login;
pub(crate) mod models;
pub(crate) mod overview;
pub(crate) mod picture;
mod pieces;
mod session;
pub(crate) mod settings;
pub(crate) mod study;
mod viewer;
pub(crate) mod visit;
pub(crate) mod worklist;

pub(crate) use session::Sessions;
pub use settings::Setting;

/// The media type of a page.
pub(crate) const HTML: &str = "text/html; charset=utf-8";
