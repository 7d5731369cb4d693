//! What a peer says on an established association: a byte for the pieces in which it comes, and the stream.
#![no_main]

use tokio::runtime::{Builder, Runtime};

thread_local! {
    /// One for all inputs: making one takes longer than an input does.
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    RUNTIME.with(|runtime| runtime.block_on(pericard_dimse::fuzzing::association(bytes)));
});
