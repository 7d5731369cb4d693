//! The directory of imported packages: `DIR/<name>/<version>/`, and `DIR/standing.toml`, which says what each is for.

use crate::package::{self, MANIFEST, PackageError, read_package};
use crate::unpack::{unpack_tar, write_new};
use pericard_domain::model::{Manifest, ModelRef, Package};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Where packages are unpacked before they are verified.
const ARRIVING: &str = ".arriving";
/// Which versions are live and which are retired.
const STANDINGS: &str = "standing.toml";

/// What an imported version is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Here and verified, but no rule reaches it.
    #[default]
    Imported,
    /// What rules mean by the package's name.
    Live,
    /// Not to be used again.
    Retired,
}

/// A line of the list of models.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// Which.
    pub model: ModelRef,
    /// What it is for.
    pub standing: Standing,
    /// What the package says of itself.
    pub manifest: Manifest,
}

/// Why a verb of the registry did not happen. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The package is not acceptable.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// There is no such model.
    #[error("there is no model {name} {version} here; `pericard model list` shows what is")]
    Unknown {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
    },
    /// Another package of that name and version is here.
    #[error("{0} is here already with other content; a changed package needs another version")]
    Differs(ModelRef),
    /// A retired version does not come back.
    #[error("{name} {version} is retired; import another version")]
    Retired {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
    },
    /// The directory cannot be used.
    #[error("the registry in {dir}: {source}")]
    Io {
        /// The registry's directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `standing.toml` is damaged.
    #[error("{STANDINGS}: {0}")]
    Standings(String),
}

/// Versions by name, and what each is for.
type Standings = BTreeMap<String, BTreeMap<String, Standing>>;

/// The registry. Every verb reads the directory anew: the command line and the server may both use it.
#[derive(Debug, Clone)]
pub struct Registry {
    dir: PathBuf,
}

impl Registry {
    /// The registry in `dir`, which is made when it is not there.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(dir: &Path) -> Result<Self, RegistryError> {
        let registry = Self {
            dir: dir.to_owned(),
        };
        fs::create_dir_all(dir.join(ARRIVING)).map_err(|e| registry.io(e))?;
        Ok(registry)
    }

    /// Takes in a package, a directory or a tar of one: copied, verified, then put in place. The same package twice is
    /// no error.
    ///
    /// # Errors
    /// When it does not verify, or another package of that name and version is here.
    pub fn import(&self, from: &Path) -> Result<Package, RegistryError> {
        let arriving = self.dir.join(ARRIVING).join(std::process::id().to_string());
        let _ = fs::remove_dir_all(&arriving);
        let imported = self.import_through(from, &arriving);
        let _ = fs::remove_dir_all(&arriving);
        imported
    }

    /// Every imported package, by name and version. Manifests only: nothing is hashed.
    ///
    /// # Errors
    /// When a directory or a manifest cannot be read.
    pub fn list(&self) -> Result<Vec<Entry>, RegistryError> {
        let standings = self.standings()?;
        let mut entries = Vec::new();
        for name in self.names_in(&self.dir)? {
            for version in self.names_in(&self.dir.join(&name))? {
                let (manifest, digest) =
                    package::read_manifest(&self.place(&name, &version).join(MANIFEST))?;
                let standing = standing_of(&standings, &name, &version);
                let model = ModelRef {
                    name: name.clone(),
                    version,
                    digest,
                };
                entries.push(Entry {
                    model,
                    standing,
                    manifest,
                });
            }
        }
        Ok(entries)
    }

    /// One package, verified whole.
    ///
    /// # Errors
    /// When it is not here, or a byte of it is not the one that was imported.
    pub fn verified(&self, name: &str, version: &str) -> Result<Package, RegistryError> {
        self.known(name, version)?;
        Ok(read_package(&self.place(name, version))?)
    }

    /// Makes a version the live one of its name, after verifying it. The one that was live is imported again.
    ///
    /// # Errors
    /// When it is not here, does not verify, or is retired.
    pub fn activate(&self, name: &str, version: &str) -> Result<Package, RegistryError> {
        let package = self.verified(name, version)?;
        let mut standings = self.standings()?;
        if standing_of(&standings, name, version) == Standing::Retired {
            return Err(RegistryError::Retired {
                name: name.into(),
                version: version.into(),
            });
        }
        let versions = standings.entry(name.to_owned()).or_default();
        versions.retain(|_, standing| *standing != Standing::Live);
        versions.insert(version.to_owned(), Standing::Live);
        self.keep(&standings)?;
        Ok(package)
    }

    /// Takes a version out of use for good.
    ///
    /// # Errors
    /// When it is not here.
    pub fn retire(&self, name: &str, version: &str) -> Result<(), RegistryError> {
        self.known(name, version)?;
        let mut standings = self.standings()?;
        standings
            .entry(name.to_owned())
            .or_default()
            .insert(version.to_owned(), Standing::Retired);
        self.keep(&standings)
    }

    /// The live version of every name, verified whole.
    ///
    /// # Errors
    /// When one of them does not verify: a damaged model is not served, and not passed over in silence.
    pub fn live(&self) -> Result<Vec<Package>, RegistryError> {
        let mut packages = Vec::new();
        for (name, versions) in self.standings()? {
            for (version, standing) in versions {
                if standing == Standing::Live {
                    packages.push(self.verified(&name, &version)?);
                }
            }
        }
        Ok(packages)
    }

    fn import_through(&self, from: &Path, arriving: &Path) -> Result<Package, RegistryError> {
        fs::create_dir_all(arriving).map_err(|e| self.io(e))?;
        if from.is_dir() {
            copy_package(from, arriving)?
        } else {
            unpack_tar(from, arriving)?
        }
        let package = read_package(arriving)?;
        let place = self.place(&package.model.name, &package.model.version);
        if place.exists() {
            let here = read_package(&place)?;
            return if here.model == package.model {
                Ok(here)
            } else {
                Err(RegistryError::Differs(here.model))
            };
        }
        self.put_in_place(arriving, &place)
            .map_err(|e| self.io(e))?;
        Ok(Package {
            dir: place,
            ..package
        })
    }

    fn put_in_place(&self, arriving: &Path, place: &Path) -> io::Result<()> {
        let parent = place.parent().unwrap_or(&self.dir);
        fs::create_dir_all(parent)?;
        File::open(arriving)?.sync_all()?;
        fs::rename(arriving, place)?;
        File::open(parent)?.sync_all()?;
        File::open(&self.dir)?.sync_all()
    }

    fn place(&self, name: &str, version: &str) -> PathBuf {
        self.dir.join(name).join(version)
    }

    /// A name from the command line becomes a path only when the directory holds exactly it.
    fn known(&self, name: &str, version: &str) -> Result<(), RegistryError> {
        let here = self.names_in(&self.dir)?.iter().any(|n| n == name)
            && self
                .names_in(&self.dir.join(name))?
                .iter()
                .any(|v| v == version);
        if here {
            Ok(())
        } else {
            Err(RegistryError::Unknown {
                name: name.into(),
                version: version.into(),
            })
        }
    }

    fn names_in(&self, dir: &Path) -> Result<Vec<String>, RegistryError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir).map_err(|e| self.io(e))? {
            let entry = entry.map_err(|e| self.io(e))?;
            let is_dir = entry.file_type().map_err(|e| self.io(e))?.is_dir();
            match entry.file_name().into_string() {
                Ok(name) if is_dir && !name.starts_with('.') => names.push(name),
                _ => {}
            }
        }
        names.sort();
        Ok(names)
    }

    fn standings(&self) -> Result<Standings, RegistryError> {
        match fs::read_to_string(self.dir.join(STANDINGS)) {
            Ok(text) => toml::from_str(&text).map_err(|e| RegistryError::Standings(e.to_string())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Standings::new()),
            Err(e) => Err(self.io(e)),
        }
    }

    fn keep(&self, standings: &Standings) -> Result<(), RegistryError> {
        let text =
            toml::to_string(standings).map_err(|e| RegistryError::Standings(e.to_string()))?;
        self.write_whole(&text).map_err(|e| self.io(e))
    }

    /// All or nothing: a new file, synced, renamed over the old one, directory synced.
    fn write_whole(&self, text: &str) -> io::Result<()> {
        let new = self.dir.join(format!("{STANDINGS}.{}", std::process::id()));
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, self.dir.join(STANDINGS))?;
        File::open(&self.dir)?.sync_all()
    }

    fn io(&self, source: io::Error) -> RegistryError {
        RegistryError::Io {
            dir: self.dir.clone(),
            source,
        }
    }
}

fn standing_of(standings: &Standings, name: &str, version: &str) -> Standing {
    standings
        .get(name)
        .and_then(|versions| versions.get(version))
        .copied()
        .unwrap_or_default()
}

/// Copies what the manifest names, and nothing else; the copy is what is then verified.
fn copy_package(from: &Path, to: &Path) -> Result<(), PackageError> {
    for path in package::files_below(from)? {
        if path != Path::new(package::FETCH_PIN) {
            let mut file = File::open(from.join(&path)).map_err(PackageError::io(&path))?;
            write_new(&to.join(&path), &mut file).map_err(PackageError::io(&path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};
    use std::os::unix::fs::symlink;

    /// Bytes that begin as an ONNX model does.
    const NETWORK: &[u8] = &[0x08, 0x08, 0x12, 0x00];

    fn hash(bytes: &[u8]) -> String {
        Sha256::digest(bytes)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect()
    }

    fn manifest(version: &str, payload: &[u8]) -> String {
        format!(
            "name = 'probe'\nversion = '{version}'\nsummary = 's'\nlicence = 'MIT'\nsource = 's'\n\
             task = 'volume-segmentation'\nclinical_use = false\n[intended_use]\nstatement = 's'\n\
             [files]\n'model.onnx' = '{}'\n[parts]\nnetwork = 'model.onnx'\n\
             [budget]\nmemory_mib = 1\ninference_timeout_s = 1\n",
            hash(payload)
        )
    }

    fn package(dir: &Path, version: &str, payload: &[u8]) -> PathBuf {
        let place = dir.join(format!("package-{version}"));
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("model.onnx"), payload).unwrap();
        fs::write(place.join(MANIFEST), manifest(version, payload)).unwrap();
        place
    }

    #[test]
    fn imported_then_live_then_retired() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::open(&dir.path().join("registry")).unwrap();
        for version in ["1.0.0", "1.1.0"] {
            registry
                .import(&package(dir.path(), version, NETWORK))
                .unwrap();
            registry
                .import(&package(dir.path(), version, NETWORK))
                .unwrap(); // the same again is no error
        }
        assert!(
            registry.live().unwrap().is_empty(),
            "nothing is live that nobody activated"
        );
        registry.activate("probe", "1.0.0").unwrap();
        registry.activate("probe", "1.1.0").unwrap();
        let live = registry.live().unwrap();
        assert_eq!(
            live.iter()
                .map(|p| p.model.version.as_str())
                .collect::<Vec<_>>(),
            ["1.1.0"]
        );
        registry.retire("probe", "1.1.0").unwrap();
        assert!(registry.live().unwrap().is_empty());
        assert!(matches!(
            registry.activate("probe", "1.1.0"),
            Err(RegistryError::Retired { .. })
        ));
        assert!(matches!(
            registry.activate("../probe", "1.0.0"),
            Err(RegistryError::Unknown { .. })
        ));
    }

    #[test]
    fn a_changed_byte_is_found_at_every_use() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::open(&dir.path().join("registry")).unwrap();
        registry
            .import(&package(dir.path(), "1.0.0", NETWORK))
            .unwrap();
        registry.activate("probe", "1.0.0").unwrap();
        fs::write(
            dir.path().join("registry/probe/1.0.0/model.onnx"),
            [0x08, 0x08, 0x12, 0x01],
        )
        .unwrap();
        assert!(matches!(
            registry.live(),
            Err(RegistryError::Package(PackageError::WrongDigest { .. }))
        ));
        let other = package(dir.path(), "1.0.0", &[0x08, 0x09, 0x00, 0x00]);
        assert!(
            registry.import(&other).is_err(),
            "another package of the same version"
        );
    }

    #[test]
    fn hostile_packages_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::open(&dir.path().join("registry")).unwrap();
        let refused = |change: &dyn Fn(&Path), payload: &[u8]| {
            let place = package(&dir.path().join("hostile"), "1.0.0", payload);
            change(&place);
            let error = registry.import(&place).unwrap_err().to_string();
            fs::remove_dir_all(&place).unwrap();
            error
        };
        let nothing = |_: &Path| {};
        assert!(refused(&nothing, b"\x80\x04\x95pickle").contains("execute"));
        assert!(refused(&nothing, b"PK\x03\x04torch").contains("execute"));
        assert!(refused(&nothing, b"#!/bin/sh").contains("neither"));
        assert!(
            refused(&|p| fs::write(p.join("extra.so"), "x").unwrap(), NETWORK)
                .contains("does not name")
        );
        assert!(
            refused(
                &|p| symlink("/etc/passwd", p.join("link")).unwrap(),
                NETWORK
            )
            .contains("not a regular file")
        );
        let replaced = |from: &str, to: &str| {
            let (from, to) = (from.to_owned(), to.to_owned());
            move |p: &Path| {
                fs::write(
                    p.join(MANIFEST),
                    manifest("1.0.0", NETWORK).replace(&from, &to),
                )
                .unwrap()
            }
        };
        assert!(refused(&replaced("'probe'", "'../probe'"), NETWORK).contains("name:"));
        assert!(refused(&replaced("'1.0.0'", "'..'"), NETWORK).contains("version:"));
        assert!(
            refused(&replaced("'model.onnx'", "'../model.onnx'"), NETWORK).contains("plain path")
        );
        assert!(refused(&replaced("summary", "sumary"), NETWORK).contains("sumary"));
        assert_eq!(registry.list().unwrap(), []);
    }

    #[test]
    fn out_of_a_tar() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::open(&dir.path().join("registry")).unwrap();
        let place = package(dir.path(), "1.0.0", NETWORK);
        let tar = dir.path().join("probe.tar");
        let mut builder = tar::Builder::new(File::create(&tar).unwrap());
        builder.append_dir_all(".", &place).unwrap();
        builder.finish().unwrap();
        assert_eq!(registry.import(&tar).unwrap().model.name, "probe");

        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        let hostile = dir.path().join("hostile.tar");
        let mut builder = tar::Builder::new(File::create(&hostile).unwrap());
        builder
            .append_link(&mut link, "model.onnx", "/etc/passwd")
            .unwrap();
        builder.finish().unwrap();
        assert!(matches!(
            registry.import(&hostile),
            Err(RegistryError::Package(PackageError::NotAFile(_)))
        ));
    }
}
