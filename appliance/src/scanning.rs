//! Strangers' objects are looked at by the runner's processes: `intake` asks what arrives, `dimse` has objects written anew, and
//! neither names the runner.

use pericard_dimse::{Rewriting, Rewritten};
use pericard_domain::actor::Actor;
use pericard_domain::uid::InstanceUid;
use pericard_intake::{Arrived, Scan, Scanned, Scanning, Unscanned};
use pericard_runner::{Haste, Runner, ScanFailure};
use std::fmt;
use std::path::PathBuf;

/// The runner, as the doors ask it.
pub(crate) struct BehindWalls(pub(crate) Runner);

impl fmt::Debug for BehindWalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BehindWalls")
    }
}

impl Rewriting for BehindWalls {
    fn rewritten(&self, instance: &InstanceUid, path: PathBuf, explicit: bool) -> Rewritten {
        let (mut reader, instance) = (self.0.reader(), instance.clone());
        Box::pin(async move {
            let rewritten = move || reader.written_anew(&instance, &path, explicit);
            let rewritten = tokio::task::spawn_blocking(rewritten).await;
            let rewritten = rewritten.map_err(|error| error.to_string())?;
            rewritten.map_err(|failure| failure.to_string())
        })
    }
}

impl Scanning for BehindWalls {
    fn scan<'s>(&'s self, arrived: Arrived, from: &'s Actor) -> Scan<'s> {
        Box::pin(async move {
            let haste = if arrived.takes_a_moment {
                Haste::Soon
            } else {
                Haste::Long
            };
            // What a peer calls itself costs it nothing to change; where it calls from does not.
            let scanned = self.0.scan(&from.whence(), arrived.file, haste).await;
            let scanned = scanned.map_err(|failure| match failure {
                ScanFailure::Malformed(why) => Unscanned::Malformed(why),
                why @ ScanFailure::Unavailable(_) => Unscanned::Unavailable(why.to_string()),
            })?;
            Ok(Scanned {
                identity: scanned.identity,
                facts: scanned.facts,
            })
        })
    }
}
