//! A zip archive, as an upload brings it.
#![no_main]

use std::fs::File;
use std::io::{Seek as _, Write as _};

thread_local! {
    /// One for all inputs, without a name.
    static FILE: File = tempfile::tempfile_in("/dev/shm").expect("a file in memory");
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    FILE.with(|mut file| {
        file.set_len(0).expect("an empty file");
        file.rewind().expect("its beginning");
        file.write_all(bytes).expect("room in memory");
        file.rewind().expect("its beginning");
        pericard_api::fuzzing::archive(file);
    });
});
