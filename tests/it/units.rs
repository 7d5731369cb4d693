//! The units that the packages install, held against systemd's own score.

use crate::support::*;
use std::path::Path;
use std::process::Command;

/// Tenths of `systemd-analyze security`'s exposure: 0 is shut, 100 is a program without walls.
const EXPOSURE_TENTHS_MAX: u32 = 15;

#[test]
fn no_unit_is_more_exposed_than_it_must_be() {
    let Some(analyze) = program("systemd-analyze") else {
        return;
    };
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd");
    let units: Vec<_> = files_in(&dir)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "service"))
        .collect();
    assert!(!units.is_empty(), "{} has no unit", dir.display());
    for unit in units {
        let mut security = Command::new(&analyze);
        security
            .args(["security", "--offline=true", "--no-pager"])
            .arg(format!("--threshold={EXPOSURE_TENTHS_MAX}"))
            .arg(&unit);
        let output = ended(&mut security);
        let table = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}: {table}", unit.display());
    }
}
