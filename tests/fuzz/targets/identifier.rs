//! The identifier of a query, or the information of a commitment: the first byte says its transfer syntax. What was read is
//! written again, and must then be read as the same.
#![no_main]

use pericard_dicom::identifier::Identifier;
use pericard_domain::uid::TransferSyntaxUid;

const SYNTAXES: [&str; 3] = [
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
];
const UNICODE: &str = "ISO_IR 192";

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let [which, rest @ ..] = bytes else { return };
    let syntax = TransferSyntaxUid::new(SYNTAXES[usize::from(*which) % SYNTAXES.len()]);
    let Ok(syntax) = syntax else { return };
    if let Ok(read) = Identifier::read(rest, &syntax) {
        let written = read.encoded(&syntax, UNICODE);
        let _ = Identifier::read(&written, &syntax).expect("what we write we read");
    }
});
