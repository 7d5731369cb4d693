//! A signed note and a checkpoint, as they come back from a witness or a hospital.
#![no_main]

use pericard_audit::{Checkpoint, SigningKey};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(key) = SigningKey::from_seed("pericard.test/audit", &[7; 32]) else {
        return;
    };
    let _ = pericard_audit::note::open(text, &[key.verifier()]);
    let _ = Checkpoint::open(text, &key.verifier());
    let _ = SigningKey::from_secret_text(text);
    // What is signed here must be read here, whatever the words.
    if let Ok(signed) = pericard_audit::note::sign(text, &[&key]) {
        let opened = pericard_audit::note::open(&signed, &[key.verifier()]);
        assert_eq!(opened.expect("a note of our own").text, text);
    }
});
