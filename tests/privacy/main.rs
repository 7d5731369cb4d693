//! Nothing of a patient leaves: the proof that an outsider can run. `cargo xtask test -- --test privacy`.
//!
//! - `interference`: lives of the whole appliance with the same work and other patients; every byte, length and time that
//!   is seen outside is the same.
//! - `detector`: what looks for leaks is tried on leaks that are put in on purpose, each of which must be found.
//! - `canaries`: marked patients through every door of the appliance as it is shipped; the marks are in nothing that is
//!   sent, logged, counted or answered in error.
//! - `dumps`: no process of it leaves its memory behind.
//! - `capture`: in a network of the test's own, who talks to whom, packet by packet.
//! - `off`: without a hub nothing runs and nothing listens; and months without one.
//! - `reviews`: how radiologists' opinions come in, of which frames tell with noise only.
//! - `recalls`: what a hub can do here: stop a model, where the configuration lets it.
//! - `evaluation`: what a hub may ask to be measured, and what comes of it.
//! - `federated`: the same from the hub and back to it, over the gate's own line.
//! - `closes`: weeks closed by processes that are killed at every step.
//!
//! `PERICARD_LONG=1` (`cargo xtask test --long`) takes two hundred pairs of weeks instead of twenty.

#![cfg(target_os = "linux")]

mod canaries;
mod capture;
mod closes;
mod detector;
mod dumps;
mod evaluation;
mod federated;
mod interference;
mod life;
mod national;
mod off;
mod patients;
mod recalls;
mod reviews;
mod search;
#[path = "../it/support.rs"]
#[allow(dead_code)] // shared with `it`, which uses more of it
mod support;
mod wire;

/// How many: in the short form, and in the long one.
pub(crate) fn times(short: u16, long: u16) -> u16 {
    if std::env::var_os("PERICARD_LONG").is_some() {
        long
    } else {
        short
    }
}
