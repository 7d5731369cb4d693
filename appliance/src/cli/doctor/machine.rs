//! The machine beneath: its files, and what its programs say. The one seam through which the doctor looks, so that a
//! recorded machine can stand in for this one.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// PCI's number of NVIDIA.
const NVIDIA: &str = "0x10de";

/// A machine, running or recorded.
pub(super) struct Machine {
    root: PathBuf,
}

/// Why there is nothing to look at.
#[derive(Debug)]
pub(super) enum Unseen {
    /// There is no such thing.
    Absent(String),
    /// It cannot be told whether it is as it should be, nor whether it is there.
    Hidden(String),
}

impl From<Unseen> for String {
    fn from(unseen: Unseen) -> Self {
        match unseen {
            Unseen::Absent(why) | Unseen::Hidden(why) => why,
        }
    }
}

impl Machine {
    /// This machine when `root` is `/`; else a recorded one.
    pub(super) fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Where a file lies that the command line names.
    pub(super) fn named(&self, file: &Path) -> PathBuf {
        if self.root == Path::new("/") {
            return file.to_owned(); // a relative path begins where the command was given
        }
        self.root.join(file.strip_prefix("/").unwrap_or(file))
    }

    /// A file's text, without white space at its ends.
    pub(super) fn text(&self, path: &str) -> Result<String, Unseen> {
        self.bytes(path)
            .map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// A file's bytes.
    pub(super) fn bytes(&self, path: &str) -> Result<Vec<u8>, Unseen> {
        fs::read(self.place(path)).map_err(|error| {
            let why = format!("{path}: {}", plain(&error));
            match error.kind() {
                ErrorKind::NotFound => Unseen::Absent(why),
                _ => Unseen::Hidden(why),
            }
        })
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

    /// What a program prints; of a recorded machine, the file `programs/<program and arguments, / as _>`, or with `.failed` at
    /// its end what it complained of.
    pub(super) fn said(&self, program: &str, arguments: &[&str]) -> Result<String, Unseen> {
        // Without the program nothing is known of what it would have looked at.
        let missing = |why: &str| Unseen::Hidden(format!("{program}: {why}"));
        if self.root != Path::new("/") {
            let name = [&[program], arguments].concat().join(" ").replace('/', "_");
            if let Ok(complaint) = self.text(&format!("/programs/{name}.failed")) {
                return Err(failed(program, &complaint));
            }
            let said = self.text(&format!("/programs/{name}"));
            return said.map_err(|_| missing("not there"));
        }
        let output = Command::new(program)
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| missing(&plain(&error)))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        let complaint = if output.stderr.is_empty() {
            output.stdout // systemctl answers "disabled" there, and fails
        } else {
            output.stderr
        };
        Err(failed(program, &String::from_utf8_lossy(&complaint)))
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

/// Why a program failed, by what it complained of in the C locale.
fn failed(program: &str, complaint: &str) -> Unseen {
    let first = complaint.lines().next().unwrap_or_default();
    let why = format!("{program} failed: {first}");
    if first.contains("No such file or directory") {
        Unseen::Absent(why)
    } else {
        Unseen::Hidden(why)
    }
}

fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "not there".into(),
        ErrorKind::PermissionDenied => "only root may look".into(),
        _ => error.to_string(),
    }
}
