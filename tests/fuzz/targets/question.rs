//! A question in JSON, as chat and completions read it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pericard_api::fuzzing::question(bytes));
