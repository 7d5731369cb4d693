//! The header of a GGUF file. Every tensor that it finds must lie within the file.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = pericard_language::header::walk(bytes);
});
