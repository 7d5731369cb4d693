//! Pericard: a sovereign AI appliance for hospitals.
//!
//! This package is the composition: the command line, the configuration, and the root that opens every room and ties
//! them together. What each room does, and who may name whom, stands in `appliance/README.md`.
//!
//! - [`cli`]: the commands, one file each; `--help` is the manual.
//! - [`config`]: `pericard.toml`, as written and as meant.
//! - [`serve`]: the appliance: opens the rooms, then the doors, and closes them in order.
//! - [`reload`]: what is taken up while associations are open; `outcome`: who is told what became of it.
//! - `care`: retention, the checksum scrub and the comparison of files with rows, at their times.
//! - `console`: what it is shown of the gate's folders and of the registry.
//! - `weekly`: what a week came to becomes a frame, with [`catalogue`] numbers for models.
//! - `evaluations`: what the hub asks to be measured, when an officer accepts it, on studies of the hospital's own.
//! - `recalls`: what the hub says of models is shown, and stops them where the configuration wants it.
//! - [`rooms`]: named tasks with one stop and one grace.
//! - [`demo`]: the whole product on loopback, on real samples.
//! - [`machine`]: what the appliance is given from outside: time, chance, how busy the hardware is.
//! - [`hub`]: the national side: its configuration, and what `pericard hub serve` opens.
//! - [`tls`], [`clock`], [`load`], [`journal`], [`systemd`], [`places`]: what the machine beneath gives.

mod care;
pub mod catalogue;
pub mod cli;
pub mod clock;
pub mod config;
mod console;
mod counting;
pub mod demo;
mod dumps;
mod evaluations;
mod hl7;
pub mod hub;
pub mod journal;
pub mod load;
pub mod machine;
mod outcome;
pub mod places;
mod recalls;
pub mod reload;
pub mod rooms;
mod scanning;
pub mod serve;
mod settings;
pub mod systemd;
pub mod tls;
mod weekly;

pub use cli::run;
