//! The units that the packages install, held against systemd's own score.

use crate::support::*;
use std::collections::BTreeMap;
use std::fs;
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

/// What systemd does not understand in a drop-in it passes over, and serves on without it.
#[test]
fn systemd_understands_every_drop_in_where_it_goes() {
    let Some(analyze) = program("systemd-analyze") else {
        return;
    };
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd");
    let drop_ins: Vec<_> = files_in(&dir.join("examples"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "conf"))
        .collect();
    assert!(!drop_ins.is_empty(), "{} has no drop-in", dir.display());
    for drop_in in drop_ins {
        let name = drop_in.file_name().and_then(|name| name.to_str());
        let name = name.expect("a name");
        let text = fs::read_to_string(&drop_in).expect("it is shipped");
        let place = text.split_once("/etc/systemd/system/");
        let (unit, file) = place
            .and_then(|(_, place)| place.split_once(".d/"))
            .expect("it says where it goes");
        assert!(file.starts_with(name), "{name} goes to {unit}.d/{file}");
        let folder = tempfile::tempdir().expect("a folder");
        let shipped = fs::read_to_string(dir.join(unit)).expect("a unit of ours");
        // The program is not installed where this test runs.
        let startable = shipped.replace("/usr/bin/pericard", "/bin/true");
        let beside = folder.path().join(format!("{unit}.d"));
        fs::create_dir(&beside).expect("the drop-ins' folder");
        fs::write(beside.join(name), &text).expect("the drop-in");
        fs::write(folder.path().join(unit), startable).expect("the unit");
        let mut verify = Command::new(&analyze);
        verify
            .args(["verify", "--man=no", "--recursive-errors=no"])
            .arg(folder.path().join(unit));
        let output = ended(&mut verify);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}");
    }
}

/// Where a distribution enables nothing by itself, as RHEL does, what no preset names is gone after the first reboot.
#[test]
fn the_presets_enable_the_appliance_and_nothing_that_sends() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd");
    let mut said = BTreeMap::new();
    let mut units = Vec::new();
    for path in files_in(&dir) {
        let ending = path.extension().and_then(|ending| ending.to_str());
        let name = path.file_name().and_then(|name| name.to_str());
        match ending {
            Some("service") => units.push(name.expect("a name").to_owned()),
            Some("preset") => {
                let text = fs::read_to_string(&path).expect("it is shipped");
                let lines = text.lines().filter(|line| !line.starts_with('#'));
                for (what, unit) in lines.filter_map(|line| line.split_once(' ')) {
                    let twice = said.insert(unit.to_owned(), what.to_owned());
                    assert_eq!(twice, None, "{unit} is named twice");
                }
            }
            _ => {}
        }
    }
    assert!(!units.is_empty(), "{} has no unit", dir.display());
    for unit in units {
        let expected = match unit.as_str() {
            "pericard.service" => "enable",
            _ => "disable",
        };
        assert_eq!(
            said.get(&unit).map(String::as_str),
            Some(expected),
            "{unit}"
        );
    }
    // A preset that is in no package enables nothing.
    for package in ["pericard", "pericard-hub"] {
        let description = dir.join(format!("../nfpm/{package}.yaml"));
        let description = fs::read_to_string(description).expect("it is there");
        let installed = format!("dst: /usr/lib/systemd/system-preset/80-{package}.preset");
        assert!(description.contains(&installed), "{package}: {installed}");
    }
}
