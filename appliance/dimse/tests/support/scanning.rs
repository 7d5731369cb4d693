//! Says what objects are, without a process for it.

use pericard_dicom::scan::{ScanLimits, scan_file};
use pericard_domain::actor::Actor;
use pericard_intake::{Arrived, Scan, Scanned, Scanning, Unscanned};

/// Scans in this process: what these tests send, they made.
pub(crate) struct ScannedHere;

impl Scanning for ScannedHere {
    fn scan<'s>(&'s self, arrived: Arrived, _: &'s Actor) -> Scan<'s> {
        let mut file = arrived.file;
        let scanned = scan_file(&mut file, &ScanLimits::default());
        let scanned = scanned.map_err(|error| Unscanned::Malformed(error.to_string()));
        Box::pin(std::future::ready(scanned.map(|header| Scanned {
            identity: header.identity,
            facts: header.facts,
        })))
    }
}
