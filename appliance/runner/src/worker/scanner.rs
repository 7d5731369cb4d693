//! The scanner: what each object is that arrives. Its memory is one caller's.

use super::contained;
use crate::words::{Scan, ScanAnswer, Scanned};
use pericard_confine::Channel;
use pericard_dicom::scan::{ScanLimits, scan_file};
use std::fs::File;
use std::os::fd::OwnedFd;

/// Scans until nobody asks any more. That an object is none is an answer like another; after a panic it ends.
pub(super) fn work(channel: &Channel) {
    while let Ok((Scan, descriptors)) = channel.receive_with() {
        let answer = contained(|| scan(descriptors));
        let last = answer.is_err();
        let answer = answer.unwrap_or_else(ScanAnswer::Panicked);
        if channel.send(&answer).is_err() || last {
            return;
        }
    }
}

fn scan(descriptors: Vec<OwnedFd>) -> ScanAnswer {
    let Some(file) = descriptors.into_iter().next() else {
        return ScanAnswer::Malformed("there is no file".into());
    };
    match scan_file(&mut File::from(file), &ScanLimits::default()) {
        Ok(header) => ScanAnswer::Scanned(Box::new(Scanned {
            identity: header.identity,
            facts: header.facts,
        })),
        Err(error) => ScanAnswer::Malformed(error.to_string()),
    }
}
