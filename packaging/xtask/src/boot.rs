//! The packages in a booted system, where one may be booted: `packaging/boot/test` on what the tests have built.

use crate::cache::Cache;
use crate::dist;
use crate::error::{Error, run};
use crate::peers::{is_root, on_path};
use std::path::Path;
use std::process::{Command, Stdio};

/// What boots a system in a folder, what makes one, and what reads the other kind of package.
const TOOLS: [&str; 3] = ["systemd-nspawn", "mmdebstrap", "rpm"];

/// Packages the binary of the tests and does with it what a hospital does. Where nobody may boot anything, it says so.
pub(crate) fn test(tree: &Path, cache: &Cache) -> Result<(), Error> {
    if let Some(why) = cannot(cache) {
        eprintln!("the packages are not booted: {why}");
        return Ok(());
    }
    let target = crate::target(tree);
    let packages = target.join("boot-packages");
    dist::of_binary(tree, cache, &target.join("debug/pericard"), &packages)?;
    run(Command::new(tree.join("packaging/boot/test")).arg(&packages))
}

/// Why not here.
fn cannot(cache: &Cache) -> Option<String> {
    if !is_root() {
        return Some("only root may".into());
    }
    if let Some(missing) = TOOLS.iter().find(|tool| !on_path(tool)) {
        return Some(format!("{missing} is missing"));
    }
    // Any folder will do to see whether namespaces and mounts are allowed.
    let root = cache.root().join("boot-probe");
    let mut probe = Command::new("systemd-nspawn");
    probe
        .args([
            "--quiet",
            "--register=no",
            "--keep-unit",
            "--private-network",
        ])
        .args([
            "--volatile=no",
            "--bind-ro=/usr",
            "--bind-ro=/lib",
            "--bind-ro=/lib64",
            "--bind-ro=/bin",
        ])
        .arg(format!("--directory={}", root.display()))
        .arg("/usr/bin/true")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let made = std::fs::create_dir_all(root.join("usr"));
    let started = made.is_ok() && probe.status().is_ok_and(|status| status.success());
    // Left behind, it would do no harm.
    let _ = std::fs::remove_dir_all(&root);
    (!started).then(|| "systemd-nspawn starts nothing here".into())
}
