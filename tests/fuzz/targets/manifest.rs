//! The manifest of a model package.
#![no_main]

use pericard_domain::model::Manifest;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let _ = toml::from_str::<Manifest>(text);
});
