//! Worker processes: their walls tried from inside, their losses, that they answer as the model would without them.
//!
//! A binary of its own: every test starts processes of the program as it is shipped.

#![cfg(target_os = "linux")]

mod answers;
#[path = "../../appliance/language/tests/bent/mod.rs"]
mod bent;
mod device;
mod escapes;
#[path = "../../appliance/language/tests/gguf/mod.rs"]
#[allow(dead_code)] // shared with the tests of `language`, which use more of it
mod gguf;
mod hostile;
mod jobs;
mod losses;
mod marks;
#[path = "../../appliance/scribe/tests/planted/mod.rs"]
mod planted;
mod scans;
mod stage;
#[path = "../it/support.rs"]
#[allow(dead_code)] // shared with `it`, which uses more of it
mod support;
mod unit;
