//! Crashes, in a binary of their own: it runs by itself, so that how soon the appliance is ready again is not a question
//! of what else is tested at the moment.

mod kill;
#[path = "../it/support.rs"]
#[allow(dead_code)] // shared with `it`, which uses more of it
mod support;
