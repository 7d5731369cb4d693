//! `pericard doctor` on recorded machines: what is planted is found, and nothing where nothing is wrong.

use crate::recorded::{PLANTED, Recorded};
use crate::support::*;
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

/// The profiles of servers; that of a developer's Mac has no recorded machine.
const PROFILES: [&str; 4] = ["clinic-cpu", "gpu-24gb", "gpu-80gb", "gpu-mig"];

/// The exit code, and the report.
fn doctor(machine: &Recorded, more: &[&str]) -> (Option<i32>, Value) {
    let mut command = Command::new(PERICARD);
    let root = ["doctor", "--json", "--root"];
    let output = ended(command.args(root).arg(machine.root()).args(more));
    let report = serde_json::from_slice(&output.stdout);
    let report =
        report.unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), report)
}

/// The lines that are not ok, by name.
fn wrong(report: &Value) -> BTreeSet<&str> {
    let lines = report["lines"].as_array().expect("lines").iter();
    let wrong = lines.filter(|line| line["verdict"] != "ok");
    wrong
        .map(|line| {
            let said = |key: &str| line[key].as_str().unwrap_or_default();
            assert!(
                ["found", "why", "mend"]
                    .iter()
                    .all(|key| !said(key).is_empty()),
                "{line}"
            );
            said("name")
        })
        .collect()
}

#[test]
fn a_good_machine_has_nothing_wrong_and_its_profile_is_guessed() {
    for profile in PROFILES {
        let (code, report) = doctor(&Recorded::good(profile), &[]);
        assert_eq!(code, Some(0), "{profile}: {report}");
        assert_eq!(wrong(&report), BTreeSet::new(), "{profile}");
        assert_eq!(
            (&report["profile"], &report["guessed"]),
            (&profile.into(), &true.into())
        );
        let lines = report["lines"].as_array().map_or(0, Vec::len);
        assert_eq!(report["ok"], lines, "{profile}");
        assert!(lines >= 25, "{profile}: {lines} lines");
    }
}

#[test]
fn the_data_is_looked_at_where_the_named_configuration_keeps_it() {
    let machine = Recorded::with_data_elsewhere();
    let (code, report) = doctor(&machine, &[]);
    assert_eq!((code, wrong(&report)), (Some(0), BTreeSet::new()));
    let (code, report) = doctor(&machine, &["--config", "/etc/pericard/elsewhere.toml"]);
    let expected = BTreeSet::from([
        "data has its own volume",
        "data encrypted at rest",
        "who may read the data",
        "who may read the key",
        "free space",
    ]);
    assert_eq!((code, wrong(&report)), (Some(1), expected));
}

#[test]
fn every_planted_fault_of_a_machine_is_found_at_once() {
    let mut found = 0;
    for profile in PROFILES {
        let machine = Recorded::good(profile);
        let planted = PLANTED.iter().filter(|(of, ..)| *of == profile);
        let mut expected = BTreeSet::new();
        for (_, file, text, line) in planted {
            machine.write(file, text);
            expected.insert(*line);
        }
        let (code, report) = doctor(&machine, &["--profile", profile]);
        assert_eq!(wrong(&report), expected, "{profile}");
        assert_eq!(code, Some(1), "{profile}");
        assert_eq!(report["guessed"], false, "{profile}");
        found += expected.len();
    }
    assert!(found >= 12, "only {found}");
}
