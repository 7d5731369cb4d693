//! A body in JSON, as the routes read it that take one: the first byte says which.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pericard_api::fuzzing::question(bytes));
