//! A DICOM file in the scanner; what it passes is read as attributes, and written anew in the other uncompressed syntax.
#![no_main]

use pericard_dicom::anew::written_anew;
use pericard_dicom::identifier::Identifier;
use pericard_dicom::scan::{ScanLimits, scan_file};
use std::io::Cursor;

const ANEW_BYTES_MAX: u64 = 1 << 20;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if scan_file(&mut Cursor::new(bytes), &ScanLimits::default()).is_err() {
        return;
    }
    let _ = Identifier::read_file(&mut Cursor::new(bytes));
    for explicit in [false, true] {
        let _ = written_anew(&mut Cursor::new(bytes), explicit, ANEW_BYTES_MAX);
    }
});
