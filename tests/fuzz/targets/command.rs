//! A DIMSE command set.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pericard_dimse::fuzzing::command_set(bytes));
