//! Writes objects anew, without a process for it.

use pericard_dicom::anew::written_anew;
use pericard_dimse::{Rewriting, Rewritten};
use pericard_domain::uid::InstanceUid;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

/// Rewrites in this process: what these tests send, they made.
#[derive(Debug)]
pub(crate) struct RewrittenHere;

impl Rewriting for RewrittenHere {
    fn rewritten(&self, _: &InstanceUid, path: PathBuf, explicit: bool) -> Rewritten {
        let mut file = BufReader::new(File::open(path).unwrap());
        let rewritten = written_anew(&mut file, explicit, 1 << 20);
        Box::pin(std::future::ready(
            rewritten.map_err(|error| error.to_string()),
        ))
    }
}
