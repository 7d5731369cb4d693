//! The audit log, found whole when it is and broken when it is.

use crate::support::*;
use std::path::PathBuf;
use std::process::Command;

#[test]
fn any_flipped_byte_dropped_line_or_truncation_is_found() {
    let (Some(clean), Some(python)) = (sample("clean"), venv("python")) else {
        return;
    };
    let Some(mut appliance) = Appliance::start(Given::default()) else {
        return;
    };
    appliance.pericard(&["submit", clean.to_str().expect("a path")]);
    assert!(appliance.pericard(&["audit", "verify"]).starts_with("ok: "));
    appliance.process().signal("TERM");
    assert_eq!(appliance.process().wait(), Some(0), "{}", appliance.log());
    let data = appliance.data();
    // Every file of the database as it is now: what it has written ahead belongs to it.
    let files = std::fs::read_dir(&data)
        .expect("the data directory")
        .filter_map(|e| Some(e.ok()?.path()));
    let of_database = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with("pericard.db"))
    };
    let whole: Vec<(PathBuf, Vec<u8>)> = files
        .filter(of_database)
        .map(|path| (path.clone(), std::fs::read(path).expect("a file")))
        .collect();
    for harm in ["flip", "drop", "truncate", "swap"] {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/peers/harm_audit.py");
        run(Command::new(&python)
            .arg(script)
            .arg(data.join("pericard.db"))
            .arg(harm));
        let output = ended(&mut appliance.command(&["audit", "verify"]));
        assert_eq!(output.status.code(), Some(1), "{harm} was not found");
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("audit"),
            "{harm}: {output:?}"
        );
        for tail in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(data.join(format!("pericard.db{tail}")));
        }
        for (path, bytes) in &whole {
            std::fs::write(path, bytes).expect("the database as it was");
        }
        // The contradicted checkpoint is kept as evidence until a person has looked at it.
        for evidence in std::fs::read_dir(data.join("audit")).expect("the audit directory") {
            let path = evidence.expect("an entry").path();
            if path.to_string_lossy().contains("contradicted") {
                std::fs::rename(path, data.join("audit/checkpoint"))
                    .expect("the checkpoint as it was");
            }
        }
    }
    let verified = appliance.pericard(&["audit", "verify"]);
    assert!(verified.starts_with("ok: "), "and whole again: {verified}");
    let export = appliance.dir.path().join("export");
    appliance.pericard(&["audit", "export", export.to_str().expect("a path")]);
    assert!(export.join("checkpoint").exists());
}
