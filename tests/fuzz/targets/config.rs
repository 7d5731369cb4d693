//! The configuration file.
#![no_main]

use pericard::config::{Config, Written};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(written) = toml::from_str::<Written>(text) {
        let _ = Config::meant(written);
    }
});
