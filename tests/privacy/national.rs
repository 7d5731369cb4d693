//! A hub as it is shipped, by its commands, and hospitals that are enrolled with it.

use crate::support::{PERICARD, free_port, run};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A hub that is founded, and served by whoever wants it served.
pub(crate) struct National {
    dir: tempfile::TempDir,
    at: SocketAddr,
}

impl National {
    /// Founds one that logs like this.
    pub(crate) fn new(log_level: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let at = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let hub = Self { dir, at };
        let text = format!(
            "[hub]\nname = 'hub.test'\ndata_dir = '{}'\nlog_level = '{log_level}'\n[https]\nlisten = '{at}'\n",
            hub.data().display()
        );
        fs::write(hub.config(), text).expect("written");
        hub
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("hub.toml")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("hub")
    }

    /// `pericard hub` with these arguments.
    pub(crate) fn run(&self, args: &[&str]) -> String {
        let mut command = Command::new(PERICARD);
        let config = self.config();
        run(command.arg("hub").args(args).arg("--config").arg(config))
    }

    /// Whether its door is open.
    pub(crate) fn is_open(&self) -> bool {
        TcpStream::connect(self.at).is_ok()
    }

    /// Enrols the hospital of this configuration: two files, and a key.
    pub(crate) fn enrol(&self, hospital: &Path) {
        let egress = |args: &[&str]| {
            let mut command = Command::new(PERICARD);
            run(command
                .arg("egress")
                .args(args)
                .arg("--config")
                .arg(hospital))
        };
        let [request, granted] = ["request", "enrolment"].map(|name| self.dir.path().join(name));
        let [asked, given] = [&request, &granted].map(|path| path.to_str().expect("a path"));
        fs::write(&request, egress(&["enrol-request"])).expect("written");
        fs::write(&granted, self.run(&["enrol", asked, "--name", "A clinic"])).expect("written");
        egress(&["enrol", given, "--hub-key", self.run(&["key"]).trim()]);
    }
}
