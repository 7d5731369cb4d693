//! A data set without a file header, read into memory: the first byte says its transfer syntax.
#![no_main]

use pericard_dicom::object::read_data_set;
use pericard_dicom::scan::ScanLimits;
use pericard_domain::uid::TransferSyntaxUid;
use std::io::Cursor;

const SYNTAXES: [&str; 4] = [
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let [which, rest @ ..] = bytes else { return };
    let syntax = TransferSyntaxUid::new(SYNTAXES[usize::from(*which) % SYNTAXES.len()]);
    if let Ok(syntax) = syntax {
        let _ = read_data_set(&mut Cursor::new(rest), &syntax, &ScanLimits::default());
    }
});
