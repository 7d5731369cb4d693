//! The other programs that the tests talk to: DCMTK, Orthanc, Chromium, and Python's DICOM and OpenAI clients.

use crate::cache::Cache;
use crate::error::{Error, run};
use crate::python::Python;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// A program that a test starts, and the Debian package that has it.
const PROGRAMS: &[(&str, &str)] = &[
    ("storescu", "dcmtk"),
    ("storescp", "dcmtk"),
    ("findscu", "dcmtk"),
    ("echoscu", "dcmtk"),
    ("dsrdump", "dcmtk"),
    ("dcmpschk", "dcmtk"),
    ("DicomSRValidator", "pixelmed-apps"),
    ("pdftotext", "poppler-utils"),
    ("Orthanc", "orthanc"),
    (ORTHANC_DICOMWEB, "orthanc-dicomweb"),
    ("openssl", "openssl"),
    ("curl", "curl"),
    ("chromium", "chromium"),
    ("dcmdump", "dcmtk"),
    ("wlmscpfs", "dcmtk"),
    ("dcmqrscp", "dcmtk"),
    ("strace", "strace"),
    ("ip", "iproute2"),
    ("kill", "procps"),
    ("setpriv", "util-linux"),
    ("ps", "procps"),
    ("mount", "mount"),
    ("mkfs.ext4", "e2fsprogs"),
    ("e2fsck", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("xfs_io", "xfsprogs"),
    ("systemd-analyze", "systemd"),
    ("systemd-nspawn", "systemd-container"),
    ("mmdebstrap", "mmdebstrap"),
    ("rpm", "rpm"),
    ("pg_lsclusters", "postgresql"),
    ("promtool", "prometheus"),
];

/// Orthanc's plugin, which is no program but a file that Orthanc is told of.
const ORTHANC_DICOMWEB: &str = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so";

/// Asked by package managers before they start a service that they installed.
const SERVICE_POLICY: &str = "/usr/sbin/policy-rc.d";
/// 101 forbids it.
const SERVICE_POLICY_TEXT: &str = "#!/bin/sh\n\
    # Written by `cargo xtask` while it installs packages. If it stays after that was killed, remove it.\n\
    exit 101\n";

/// Installs what is missing where that may be done, and else says what to do. With `must`, missing is failure.
pub(crate) fn install(tree: &Path, cache: &Cache, must: bool) -> Result<(), Error> {
    let held = cache.lock()?; // not while the tests run: they may fetch
    Python::of(cache)?.install(&tree.join("tests/requirements.txt"))?;
    crate::ohif::install(cache)?;
    if let Err(error) = install_packages(&missing()) {
        eprintln!("{error}");
    }
    drop(held);
    let packages = missing();
    if packages.is_empty() {
        return Ok(());
    }
    let (missing, remedy) = (packages.join(", "), remedy(&packages));
    if must {
        return Err(Error::Peers { missing, remedy });
    }
    eprintln!("{missing} missing: the tests that need it are skipped. {remedy}");
    Ok(())
}

/// Installs the load generator, which only the long tests run.
pub(crate) fn install_load_generator(tree: &Path, cache: &Cache) -> Result<(), Error> {
    let _held = cache.lock()?;
    Python::of_load(cache)?.install(&tree.join("tests/requirements-load.txt"))
}

/// Installs Debian packages when this may be done here: as root, with apt.
pub(crate) fn install_packages(packages: &[&str]) -> Result<(), Error> {
    if packages.is_empty() {
        return Ok(());
    }
    let missing = || Error::Peers {
        missing: packages.join(", "),
        remedy: remedy(packages),
    };
    if !is_root() || !on_path("apt-get") {
        return Err(missing());
    }
    let _quiet = NoServices::hold();
    run(&mut apt(&["update", "--quiet"]))?;
    let mut command = vec!["install", "--quiet", "--yes", "--no-install-recommends"];
    command.extend(packages);
    run(&mut apt(&command))
}

fn apt(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn missing() -> Vec<&'static str> {
    let absent = PROGRAMS.iter().filter(|(program, _)| !on_path(program));
    let mut packages: Vec<_> = absent.map(|(_, package)| *package).collect();
    packages.dedup();
    packages
}

fn remedy(packages: &[&str]) -> String {
    format!(
        "On Debian: sudo apt-get install --no-install-recommends {}",
        packages.join(" ")
    )
}

pub(crate) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers where only root's path looks. A whole path stands for itself.
    let usual = ["/usr/sbin".into(), "/sbin".into()];
    std::env::split_paths(&path)
        .chain(usual)
        .any(|folder| folder.join(program).is_file())
}

pub(crate) fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// While this lives, an installed package does not start its service: Debian's Orthanc would take the DICOM port that a
/// developer's machine may need, and run for ever. A policy that somebody else set is left alone.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn hold() -> Self {
        let path = Path::new(SERVICE_POLICY);
        let ours = !path.exists()
            && fs::write(path, SERVICE_POLICY_TEXT).is_ok()
            && fs::set_permissions(path, fs::Permissions::from_mode(0o755)).is_ok();
        Self { ours }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            let removed = fs::remove_file(SERVICE_POLICY);
            if let Err(error) = removed {
                eprintln!("remove {SERVICE_POLICY} by hand: {error}");
            }
        }
    }
}
