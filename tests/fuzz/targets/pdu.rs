//! An association PDU, as it is read once its length was checked.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pericard_dimse::fuzzing::association_pdu(bytes));
