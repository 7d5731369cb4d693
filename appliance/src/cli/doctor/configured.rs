//! Where the configuration puts what the doctor looks at. A profile has words for it, since a hospital may keep its data on
//! any volume.

use super::machine::Machine;
use crate::config::{Config, Written};
use std::path::{Path, PathBuf};

/// The configured paths, each with its word.
pub(super) struct Configured([(&'static str, String); 4]);

impl Configured {
    /// As the file says. Where it cannot be read, which a line of the profile says, as it would be without one.
    pub(super) fn read(machine: &Machine, file: &Path) -> Self {
        let (written, own) = match Config::read(&machine.named(file)) {
            Ok(config) => (config.written, config.certificate),
            Err(_) => (Written::default(), None),
        };
        let data = &written.appliance.data_dir;
        // Without a certificate of the hospital's, one is made there at the first start.
        let key = own.map_or_else(|| data.join("tls").join("server.key"), |own| own.key);
        let onnxruntime = written.models.onnxruntime.parent();
        Self([
            ("{config}", plain(file)),
            ("{data}", plain(data)),
            ("{key}", plain(&key)),
            ("{onnxruntime}", onnxruntime.map(plain).unwrap_or_default()),
        ])
    }

    /// A text with the paths in the places of their words.
    pub(super) fn filled(&self, text: &str) -> String {
        let words = self.0.iter();
        words.fold(text.to_owned(), |text, (word, path)| {
            text.replace(word, path)
        })
    }
}

/// A path as the kernel's list of mounts has it: no slash at its end.
fn plain(path: &Path) -> String {
    path.components().collect::<PathBuf>().display().to_string()
}
