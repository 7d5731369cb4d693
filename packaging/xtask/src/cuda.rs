//! CUDA in the same binary: its toolkit put together from pinned wheels, the build, and what must be true of what it gives.
//!
//! The crates that compute on GPUs are linked against CUDA's libraries, and a program that needs them does not start without a
//! driver. One of them can also open them at run time; `packaging/cuda/rustc` tells it to. The toolkit's `lib` has names to link
//! against, of which the linker then needs none, and the one static library that is meant.

use crate::cache::{Cache, Partial};
use crate::dist;
use crate::error::{Error, run};
use crate::wheel::{self, WholePin};
use serde::Deserialize;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the crates ask to be linked against and open at run time: names without contents.
const NAMES: [(&str, &str); 5] = [
    ("libcuda.so", "libcuda.so.1"),
    ("libcublas.so", "libcublas.so.13"),
    ("libcublasLt.so", "libcublasLt.so.13"),
    ("libcurand.so", "libcurand.so.10"),
    ("libnvrtc.so", "libnvrtc.so.13"),
];

/// What is asked for.
#[derive(clap::Subcommand)]
pub(crate) enum CudaCommand {
    /// Put the toolkit together in the cache
    Toolkit,
    /// Whether what is written for GPUs compiles, without compiling a kernel
    Check,
    /// Build the binary with CUDA, and refuse it when it needs a CUDA library to start
    Build(BuildArguments),
}

/// How it is built.
#[derive(clap::Args)]
pub(crate) struct BuildArguments {
    /// `dist` is what is shipped, `quick` is not optimized, for checks
    #[arg(long, value_name = "NAME", default_value = "dist")]
    profile: String,
    /// The GPUs whose machine code is made: 80 is A100, 86 and 89 are workstations', 90 is H100 and H200
    #[arg(long, value_name = "LIST", default_value = "80 86 89 90")]
    architectures: String,
    /// Compile no kernel: each is there by name and does nothing. Whether the rest compiles, links and starts; never to be shipped
    #[arg(long)]
    stand_in: bool,
}

/// `packaging/cuda/toolkit.toml`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Toolkit {
    version: String,
    wheel: Vec<WholePin>,
}

pub(crate) fn do_it(tree: &Path, cache: &Cache, command: &CudaCommand) -> Result<(), Error> {
    match command {
        CudaCommand::Toolkit => toolkit(tree, cache).map(|place| eprintln!("{}", place.display())),
        CudaCommand::Check => check(tree),
        CudaCommand::Build(arguments) => {
            let program = build(tree, cache, arguments)?;
            eprintln!("{}", program.display());
            Ok(())
        }
    }
}

/// The toolkit in the cache, put together when it is not there.
fn toolkit(tree: &Path, cache: &Cache) -> Result<PathBuf, Error> {
    let path = tree.join("packaging/cuda/toolkit.toml");
    let text = fs::read_to_string(&path).map_err(Error::io("cannot read", &path))?;
    let pins: Toolkit = toml::from_str(&text).map_err(|error| Error::Pin {
        path: path.clone(),
        problem: error.to_string(),
    })?;
    let place = cache.root().join(format!("cuda-{}", pins.version));
    let stamp = place.join(".made-of");
    if fs::read_to_string(&stamp).is_ok_and(|made_of| made_of == text) {
        return Ok(place);
    }
    let _alone = cache.lock()?;
    let partial = Partial::of(&place)?;
    for pin in &pins.wheel {
        wheel::unpack(pin, "nvidia/cu13/", partial.path(), cache)?;
    }
    settle(partial.path())?;
    let stamp = partial.path().join(".made-of");
    fs::write(&stamp, &text).map_err(Error::io("cannot write", &stamp))?;
    partial.keep()?;
    Ok(place)
}

/// Makes of unpacked wheels what build scripts expect of a toolkit.
fn settle(toolkit: &Path) -> Result<(), Error> {
    for folder in ["bin", "nvvm/bin"] {
        for file in crate::fetch::files(&toolkit.join(folder))? {
            let file = toolkit.join(folder).join(file);
            let runnable = fs::Permissions::from_mode(0o755);
            fs::set_permissions(&file, runnable)
                .map_err(Error::io("cannot make runnable", &file))?;
        }
    }
    let lib = toolkit.join("lib");
    let link = |from: &str, to: &Path| symlink(from, to).map_err(Error::io("cannot link", to));
    link("lib", &toolkit.join("lib64"))?;
    // The static one under the name that is asked for, and no other of that name.
    link("libcudart_static.a", &lib.join("libcudart.a"))?;
    let source = lib.join("nothing.c");
    fs::write(&source, "").map_err(Error::io("cannot write", &source))?;
    for (name, soname) in NAMES {
        run(Command::new("cc")
            .args(["-shared", "-nostdlib", "-o"])
            .arg(lib.join(name))
            .arg(format!("-Wl,-soname,{soname}"))
            .arg(&source))?;
    }
    Ok(())
}

/// Lints the device's code as it is with CUDA. No kernel is compiled: empty files stand in for them, and nothing is linked.
fn check(tree: &Path) -> Result<(), Error> {
    let mut clippy = cargo(tree);
    clippy
        .args(["clippy", "--locked", "--package", "pericard-language"])
        .args(["--features", "cuda", "--", "-D", "warnings"])
        .env("PERICARD_NVCC_STAND_IN", "1");
    compiler(tree, &mut clippy);
    run(&mut clippy)
}

/// The binary, built beside the other builds of this tree.
fn build(tree: &Path, cache: &Cache, arguments: &BuildArguments) -> Result<PathBuf, Error> {
    let toolkit = toolkit(tree, cache)?;
    let target = crate::target(tree).join("cuda");
    let mut build = cargo(tree);
    build
        .args([
            "build",
            "--locked",
            "--package",
            "pericard",
            "--features",
            "cuda",
        ])
        .args(["--profile", &arguments.profile])
        .env("CARGO_TARGET_DIR", &target)
        .env("RUSTC_WRAPPER", tree.join("packaging/cuda/rustc"))
        .env("CUDA_HOME", &toolkit)
        .env("PERICARD_NVCC", toolkit.join("bin/nvcc"))
        .env("PERICARD_NVCC_CACHE", cache.root().join("kernels"))
        .env("PERICARD_NVCC_CODE", &arguments.architectures);
    if arguments.stand_in {
        // Made for no GPU: where there is one, it is refused.
        build.env("PERICARD_NVCC_STAND_IN", "1");
    } else {
        build.env("PERICARD_CUDA_ARCHITECTURES", &arguments.architectures);
    }
    compiler(tree, &mut build);
    run(&mut build)?;
    let folder = if arguments.profile == "dev" {
        "debug"
    } else {
        &arguments.profile
    };
    let program = target.join(folder).join("pericard");
    // A program that needs CUDA to start would start in no hospital without a GPU.
    dist::check_libraries(&program)?;
    Ok(program)
}

/// What the kernels' build script is told. Its PTX is for the first generation that all that we ship to have.
fn compiler(tree: &Path, command: &mut Command) {
    command
        .env("NVCC", tree.join("packaging/cuda/nvcc"))
        .env("CUDA_COMPUTE_CAP", "80")
        .env("CUDARC_CUDA_VERSION", "13000");
}

fn cargo(tree: &Path) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(tree);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pins_are_whole() {
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let text = fs::read_to_string(tree.join("packaging/cuda/toolkit.toml")).unwrap();
        let pins: Toolkit = toml::from_str(&text).unwrap();
        assert!(pins.wheel.iter().all(|pin| pin.sha256.len() == 64));
    }
}
