//! An HL7 message, as the MLLP door reads it: taken apart, understood, answered.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pericard_hl7::fuzzing::message(bytes));
