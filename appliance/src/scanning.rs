//! What arrives is scanned by the runner's processes: `intake` asks, and the runner answers, and neither names the other.

use pericard_domain::actor::Actor;
use pericard_intake::{Arrived, Scan, Scanned, Scanning, Unscanned};
use pericard_runner::{Haste, Runner, ScanFailure};

/// The runner, as the door asks it.
pub(crate) struct BehindWalls(pub(crate) Runner);

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
