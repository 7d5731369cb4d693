//! A whole DICOM file, from the scan to the picture that a model would be given.
#![no_main]

use pericard_dicom::pixels::Pixels;
use pericard_dicom::scan::ScanLimits;
use std::io::Cursor;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(mut pixels) = Pixels::from_reader(Cursor::new(bytes.to_vec()), &ScanLimits::default())
    else {
        return;
    };
    for frame in [1, 2, pixels.frames()] {
        let _ = pixels.frame(frame);
        let _ = pixels.values(frame);
    }
});
