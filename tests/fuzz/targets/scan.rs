//! A DICOM file in the scanner.
#![no_main]

use pericard_dicom::scan::{ScanLimits, scan_file};
use std::io::Cursor;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = scan_file(&mut Cursor::new(bytes), &ScanLimits::default());
});
