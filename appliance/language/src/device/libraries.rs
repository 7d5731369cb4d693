//! Whether CUDA's libraries are there. The crate that loads them panics when one is missing; here it is said by name.
//!
//! The one place beside the kernels where `unsafe` is allowed: opening a library runs its initialisers.
#![allow(unsafe_code)]

use libloading::Library;

/// What a device needs, and who has it.
const NEEDED: [(&str, &str); 3] = [
    ("libcuda.so.1", "the NVIDIA driver"),
    ("libcublas.so.13", "cuBLAS of CUDA 13"),
    ("libcurand.so.10", "cuRAND of CUDA 13"),
];

/// Names the first that cannot be opened.
pub(super) fn check() -> Result<(), String> {
    for (name, whose) in NEEDED {
        // SAFETY: these are NVIDIA's own libraries, found where the system's loader looks; their initialisers are made to be
        // run by whoever opens them, and the crate that computes opens the very same ones next.
        let opened = unsafe { Library::new(name) };
        if let Err(error) = opened {
            return Err(format!(
                "{name} cannot be opened; install {whose} ({error})"
            ));
        }
    }
    Ok(())
}
