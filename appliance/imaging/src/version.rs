//! The version of the loaded library, which only its entry point tells.
#![allow(unsafe_code)] // dlopen and a call through a C function pointer

use std::ffi::CStr;
use std::path::Path;

/// The version of ONNX Runtime in `library`, as in `1.32.0`. Ask only for a library that is loaded already.
pub(crate) fn of(library: &Path) -> Option<String> {
    type EntryPoint = unsafe extern "C" fn() -> *const ort::sys::OrtApiBase;
    // SAFETY: the library is loaded and initialised, so opening it again runs no code and gives the same handle; `ort`
    // has found this very entry point in it and its table to be good; the text is the library's own and stays.
    unsafe {
        let library = libloading::Library::new(library).ok()?;
        let entry: libloading::Symbol<'_, EntryPoint> = library.get(b"OrtGetApiBase\0").ok()?;
        let base = entry().as_ref()?;
        let text = (base.GetVersionString)();
        if text.is_null() {
            return None;
        }
        CStr::from_ptr(text).to_str().ok().map(str::to_owned)
    }
}
