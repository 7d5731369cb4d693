//! The OHIF viewer, which a test shows our studies in: as its makers built it, out of their npm package, pinned by its hash.

use crate::cache::{Cache, Partial, check, sha256_of};
use crate::error::{Error, finish};
use std::fs;
use std::process::Command;

const PACKAGE: &str = "@ohif/app@3.12.10";
const ARCHIVE: &str = "ohif-app-3.12.10.tgz";
const SHA256: &str = "fbabd410be33e5b9898931b725229b9da9553aac339914b5c29796d3aa5d4b2d";
/// Two thirds of it, which nothing of ours asks for: a neural network's runtime, and the viewer of microscopes.
const LEFT_OUT: [&str; 2] = ["package/dist/ort", "package/dist/dicom-microscopy-viewer"];

/// Fetches the viewer into the cache, unless it is there. Without npm it is left out, and the test that needs it says so.
pub(crate) fn install(cache: &Cache) -> Result<(), Error> {
    let place = cache.root().join("ohif");
    if place.join("dist/index.html").exists() {
        return Ok(());
    }
    let folder = Partial::of(&place)?;
    fs::create_dir_all(folder.path()).map_err(Error::io("cannot create", folder.path()))?;
    eprintln!("fetching {PACKAGE}");
    let mut pack = Command::new("npm");
    pack.args(["pack", "--silent", PACKAGE])
        .current_dir(folder.path());
    if let Err(error) = finish(&mut pack) {
        eprintln!("{error}: the test of the OHIF viewer is skipped; install Node.js with npm");
        return Ok(());
    }
    let archive = folder.path().join(ARCHIVE);
    check(ARCHIVE, SHA256, sha256_of(&archive)?)?;
    let mut unpack = Command::new("tar");
    unpack.args(["--extract", "--strip-components=1", "--file", ARCHIVE]);
    unpack.args(LEFT_OUT.map(|path| format!("--exclude={path}")));
    finish(unpack.arg("package/dist").current_dir(folder.path()))?;
    fs::remove_file(&archive).map_err(Error::io("cannot remove", &archive))?;
    folder.keep()
}
