//! The machine beneath: its files, and what its programs say. The one seam through which the doctor looks, so that a
//! recorded machine can stand in for this one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// PCI's number of NVIDIA.
const NVIDIA: &str = "0x10de";

/// A machine, running or recorded.
pub(super) struct Machine {
    root: PathBuf,
}

impl Machine {
    /// This machine when `root` is `/`; else a recorded one.
    pub(super) fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// A file's text, without white space at its ends.
    pub(super) fn text(&self, path: &str) -> Result<String, String> {
        self.bytes(path)
            .map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// A file's bytes.
    pub(super) fn bytes(&self, path: &str) -> Result<Vec<u8>, String> {
        fs::read(self.place(path)).map_err(|error| format!("{path}: {}", plain(&error)))
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.place(path).exists()
    }

    /// What a directory holds, sorted; nothing when it is not there.
    pub(super) fn names(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.place(directory)).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        names
    }

    /// What a program prints; of a recorded machine, the file `programs/<program and arguments, / as _>`.
    pub(super) fn said(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        if self.root != Path::new("/") {
            let name = [&[program], arguments].concat().join(" ").replace('/', "_");
            return self.text(&format!("/programs/{name}"));
        }
        let output = Command::new(program)
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{program}: {}", plain(&error)))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let first = said.lines().next().unwrap_or_default();
        Err(format!("{program} failed: {first}"))
    }

    /// Whether a card is in the machine, with or without its driver.
    pub(super) fn has_nvidia_card(&self) -> bool {
        self.names("/sys/bus/pci/devices").iter().any(|device| {
            let read = |what| self.text(&format!("/sys/bus/pci/devices/{device}/{what}"));
            let display = read("class").is_ok_and(|class| class.starts_with("0x03"));
            display && read("vendor").is_ok_and(|vendor| vendor == NVIDIA)
        })
    }

    /// Whether a block device, as `MAJOR:MINOR`, or one that it lies on, is encrypted by the kernel.
    pub(super) fn is_encrypted(&self, device: &str) -> bool {
        let place = format!("/sys/dev/block/{device}");
        if self
            .text(&format!("{place}/dm/uuid"))
            .is_ok_and(|uuid| uuid.starts_with("CRYPT-"))
        {
            return true;
        }
        // A volume on several disks is encrypted when all of them are.
        let below: Vec<String> = self
            .names(&format!("{place}/slaves"))
            .iter()
            .filter_map(|name| self.text(&format!("{place}/slaves/{name}/dev")).ok())
            .collect();
        !below.is_empty() && below.iter().all(|device| self.is_encrypted(device))
    }

    fn place(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "not there".into(),
        std::io::ErrorKind::PermissionDenied => "only root may look".into(),
        _ => error.to_string(),
    }
}
