//! The console: what people see in a browser. Pages are made here, whole, and work without a script; one small script of
//! our own lets frames and windows be changed without a new page.
//!
//! - [`Sessions`](pericard_door::Sessions): who has logged in; [`visit`]: who asks for a page; [`login`]: how one comes in and goes out.
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
pub(crate) mod settings;
pub(crate) mod study;
mod viewer;
pub(crate) mod visit;
pub(crate) mod worklist;

use pericard_door::SessionRules;
pub use settings::Setting;

/// A reading room's screen is left without a word; and nobody's shift is longer.
pub(crate) const SESSIONS: SessionRules = SessionRules {
    cookie: "pericard",
    idle_s: 15 * 60,
    whole_s: 10 * 60 * 60,
};

/// The second that sessions count by.
fn now_s(api: &crate::appliance::Api) -> u64 {
    let now_ms = api.rooms.clock.now().as_millis();
    u64::try_from(now_ms).unwrap_or_default() / 1000
}

/// The media type of a page.
pub(crate) const HTML: &str = "text/html; charset=utf-8";
