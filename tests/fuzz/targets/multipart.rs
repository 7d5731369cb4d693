//! A multipart body, as STOW-RS and uploads read it: a byte for the pieces in which it comes, a line that is its
//! `Content-Type`, and the body.
#![no_main]

use tokio::runtime::{Builder, Runtime};

thread_local! {
    /// One for all inputs: making one takes longer than an input does.
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    RUNTIME.with(|runtime| runtime.block_on(pericard_api::fuzzing::multipart(bytes)));
});
