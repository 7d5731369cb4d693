//! What a package holds and the tree does not, made ready: compressed pages, the bill, licences, samples, the runtime.

use super::flavour::Flavour;
use super::materials::Materials;
use super::program;
use crate::cache::Cache;
use crate::error::{Error, run};
use crate::pin::Fetches;
use crate::{cuda, fetch};
use serde::Deserialize;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

/// The sample studies that are shipped: what `pericard submit --sample` sends.
const SAMPLES: [&str; 1] = ["us1"];

/// Debian's statement of copyrights, and what a program with CUDA has in it besides.
const COPYRIGHTS: &[&str] = &["packaging/copyright.txt"];
const COPYRIGHTS_WITH_CUDA: &[&str] = &["packaging/copyright.txt", "packaging/cuda/copyright.txt"];

/// What goes into /usr/share/pericard as it stands in the tree.
const SHARED: [(&str, &str); 3] = [
    ("firmware-config", "firmware-config"),
    ("packaging/monitoring", "monitoring"),
    ("packaging/systemd/examples", "examples"),
];

/// What is packaged.
pub(super) struct Shipped<'a> {
    pub(super) program: &'a Path,
    pub(super) flavour: Flavour,
    pub(super) version: &'a str,
}

/// A filled stage, and what the descriptions ask for by name.
pub(super) struct Stage {
    pub(super) folder: PathBuf,
    package: &'static str,
    glibc_floor: String,
    version: String,
    onnxruntime_version: String,
}

impl Stage {
    /// The variables of `packaging/nfpm/*.yaml`.
    pub(super) fn variables(&self) -> [(&'static str, &OsStr); 6] {
        [
            ("STAGE", self.folder.as_os_str()),
            ("PACKAGE", OsStr::new(self.package)),
            ("PACKAGE_ARCH", OsStr::new("amd64")),
            ("PACKAGE_VERSION", OsStr::new(&self.version)),
            ("GLIBC_FLOOR", OsStr::new(&self.glibc_floor)),
            ("ONNXRUNTIME_VERSION", OsStr::new(&self.onnxruntime_version)),
        ]
    }
}

/// Fills the stage.
pub(super) fn fill(
    tree: &Path,
    cache: &Cache,
    shipped: &Shipped<'_>,
    folder: &Path,
) -> Result<Stage, Error> {
    let (program, version) = (shipped.program, shipped.version);
    let package = shipped.flavour.package();
    fs::create_dir_all(folder).map_err(Error::io("cannot create", folder))?;
    let staged = folder.join("pericard");
    copy(program, &staged)?;
    // A development build carries its line tables; they are not shipped, and are gone already from a shipped build.
    run(Command::new("strip").arg("--strip-unneeded").arg(&staged))?;
    let (toolkit, copyrights) = match shipped.flavour {
        Flavour::Processor => (None, COPYRIGHTS),
        Flavour::Cuda => (Some(cuda::linked(tree, cache)?), COPYRIGHTS_WITH_CUDA),
    };
    let materials = Materials::of(tree, toolkit)?;
    write(&folder.join("pericard.cdx.json"), &materials.bill(version))?;
    write(
        &folder.join("third-party-licences.txt"),
        &materials.licences()?,
    )?;
    let mut copyright = String::new();
    for part in copyrights {
        let part = tree.join(part);
        copyright += &fs::read_to_string(&part).map_err(Error::io("cannot read", &part))?;
    }
    write(&folder.join("copyright"), &copyright)?;
    copy(
        &tree.join("packaging/man/pericard.1"),
        &folder.join("pericard.1"),
    )?;
    compress(&folder.join("pericard.1"))?;
    let pins = Fetches::read(&tree.join("packaging/onnxruntime/fetch.toml"))?;
    let onnxruntime_version = pins.fetch.first().map(|pin| pin.version.clone());
    let onnxruntime_version = onnxruntime_version.unwrap_or_default();
    for (name, package, version) in [
        ("changelog", package, version),
        ("changelog-hub", "pericard-hub", version),
        (
            "changelog-onnxruntime",
            "pericard-onnxruntime",
            onnxruntime_version.as_str(),
        ),
    ] {
        write(&folder.join(name), &changelog(package, version))?;
        compress(&folder.join(name))?;
    }
    let shared = folder.join("tree");
    for sample in SAMPLES {
        let to = shared.join("samples").join(sample);
        copy_folder(&cache.samples().join(sample), &to)?;
    }
    for (from, to) in SHARED {
        copy_folder(&tree.join(from), &shared.join(to))?;
    }
    copy_folder(&cache.onnxruntime(), &folder.join("onnxruntime"))?;
    Ok(Stage {
        folder: folder.to_owned(),
        package,
        glibc_floor: program::glibc_floor(program)?,
        version: version.to_owned(),
        onnxruntime_version,
    })
}

/// One tar for each model, as `pericard model import` takes it: sorted, of one time, nobody's in particular.
pub(super) fn model_packages(
    tree: &Path,
    cache: &Cache,
    out: &Path,
    epoch_s: u64,
) -> Result<(), Error> {
    for model in fetch::folders(&tree.join("models"))? {
        let folder = cache.package(model.file_name().unwrap_or_default());
        let manifest = folder.join("pericard-model.toml");
        let text = fs::read_to_string(&manifest).map_err(Error::io("cannot read", &manifest))?;
        let Manifest { name, version } = toml::from_str(&text).map_err(|e| Error::Pin {
            path: manifest.clone(),
            problem: e.to_string(),
        })?;
        let path = out.join(format!("pericard-model-{name}-{version}.tar"));
        tar_of(&folder, &path, epoch_s).map_err(Error::io("cannot write", &path))?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct Manifest {
    name: String,
    version: String,
}

fn tar_of(folder: &Path, path: &Path, epoch_s: u64) -> std::io::Result<()> {
    let mut tar = tar::Builder::new(File::create(path)?);
    let files = fetch::files(folder).map_err(std::io::Error::other)?; // sorted
    for file in files {
        let mut content = File::open(folder.join(&file))?;
        let mut header = tar::Header::new_gnu();
        header.set_size(content.metadata()?.len());
        header.set_mode(0o644);
        header.set_mtime(epoch_s);
        tar.append_data(&mut header, &file, &mut content)?;
    }
    tar.finish()
}

/// Debian's form. The packages have no history of their own: it is the tree's.
fn changelog(package: &str, version: &str) -> String {
    format!(
        "{package} ({version}-1) stable; urgency=medium\n\n  * What changed is in the history of the source tree.\n\n \
         -- The Pericard developers <pericard@localhost.localdomain>  Thu, 01 Jan 2026 00:00:00 +0000\n"
    )
}

fn compress(file: &Path) -> Result<(), Error> {
    run(Command::new("gzip")
        .args(["--best", "--no-name", "--force"])
        .arg(file))
}

/// Gives every file and folder below one time: the packager keeps the time of what it takes as a tree.
pub(super) fn settle(folder: &Path, epoch_s: u64) -> Result<(), Error> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(epoch_s);
    let mut waiting = vec![folder.to_owned()];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).map_err(Error::io("cannot read", &path))?;
            waiting.extend(entries.filter_map(|entry| entry.ok().map(|e| e.path())));
        }
        let set = File::open(&path).and_then(|file| file.set_modified(time));
        set.map_err(Error::io("cannot set the time of", &path))?;
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), Error> {
    for file in fetch::files(from)? {
        copy(&from.join(&file), &to.join(&file))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    let parent = to.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(Error::io("cannot create", parent))?;
    fs::copy(from, to).map_err(Error::io("cannot copy", from))?;
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::io("cannot write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tar_is_the_same_wherever_and_whenever_it_is_made() {
        let dir = tempfile::tempdir().unwrap();
        for side in ["one", "two"] {
            let folder = dir.path().join(side);
            // In another order, and with other permissions.
            let names = if side == "one" {
                ["b/x", "a"]
            } else {
                ["a", "b/x"]
            };
            for name in names {
                let path = folder.join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, name).unwrap();
            }
            tar_of(&folder, &dir.path().join(format!("{side}.tar")), 7).unwrap();
        }
        let read = |name: &str| fs::read(dir.path().join(name)).unwrap();
        assert_eq!(read("one.tar"), read("two.tar"));
        assert!(read("one.tar").len() > 1024);
    }
}
