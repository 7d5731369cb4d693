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

/// The GPUs whose machine code is shipped: 80 is A100, 86 and 89 are workstations', 90 is H100 and H200.
const ARCHITECTURES: &str = "80 86 89 90";

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
    #[arg(long, value_name = "LIST", default_value = ARCHITECTURES)]
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
            let program = build(tree, &crate::target(tree), cache, arguments)?;
            eprintln!("{}", program.display());
            Ok(())
        }
    }
}

/// The binary with CUDA that is shipped, built below this target folder.
pub(crate) fn shipped(
    tree: &Path,
    target: &Path,
    cache: &Cache,
    profile: &str,
) -> Result<PathBuf, Error> {
    let arguments = BuildArguments {
        profile: profile.to_owned(),
        architectures: ARCHITECTURES.to_owned(),
        stand_in: false,
    };
    build(tree, target, cache, &arguments)
}

/// A part of the toolkit that is in the program.
pub(crate) struct Linked {
    pub(crate) package: String,
    pub(crate) version: String,
    /// Of the wheel.
    pub(crate) sha256: String,
    /// What of it.
    pub(crate) what: String,
    /// Under which terms.
    pub(crate) licences: Vec<String>,
}

/// What of the toolkit is in the program that is built with it.
pub(crate) fn linked(tree: &Path, cache: &Cache) -> Result<Vec<Linked>, Error> {
    let place = toolkit(tree, cache)?;
    let (pins, _) = pins(tree)?;
    let mut linked = Vec::new();
    for pin in pins.wheel {
        let Some(what) = pin.linked else {
            continue;
        };
        let folder = place.join(LICENCES).join(&pin.package);
        let mut licences = Vec::new();
        for file in crate::fetch::files(&folder)? {
            let file = folder.join(file);
            let text = fs::read_to_string(&file).map_err(Error::io("cannot read", &file))?;
            licences.push(text.replace("\r\n", "\n").trim_end().to_owned());
        }
        if licences.is_empty() {
            // What is shipped without its terms must not be shipped.
            return Err(Error::Pin {
                path: folder,
                problem: format!("the wheel of {} has no licence", pin.package),
            });
        }
        linked.push(Linked {
            package: pin.package,
            version: pin.version,
            sha256: pin.sha256,
            what,
            licences,
        });
    }
    Ok(linked)
}

/// Where in the toolkit the wheels' licences are put, each in a folder of its wheel's.
const LICENCES: &str = "licences";

/// The pins, and the text that they were read from.
fn pins(tree: &Path) -> Result<(Toolkit, String), Error> {
    let path = tree.join("packaging/cuda/toolkit.toml");
    let text = fs::read_to_string(&path).map_err(Error::io("cannot read", &path))?;
    let pins = toml::from_str(&text).map_err(|error| Error::Pin {
        path,
        problem: error.to_string(),
    })?;
    Ok((pins, text))
}

/// The toolkit in the cache, put together when it is not there.
fn toolkit(tree: &Path, cache: &Cache) -> Result<PathBuf, Error> {
    let (pins, text) = pins(tree)?;
    let place = cache.root().join(format!("cuda-{}", pins.version));
    let stamp = place.join(".made-of");
    if fs::read_to_string(&stamp).is_ok_and(|made_of| made_of == text) {
        return Ok(place);
    }
    let _alone = cache.lock()?;
    let partial = Partial::of(&place)?;
    for pin in &pins.wheel {
        wheel::unpack(pin, "nvidia/cu13/", partial.path(), cache)?;
        // A wheel's name in the registry, as its own folders write it.
        let name = pin.package.replace('-', "_");
        let below = format!("{name}-{}.dist-info/licenses/", pin.version);
        let licences = partial.path().join(LICENCES).join(&pin.package);
        wheel::unpack(pin, &below, &licences, cache)?;
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
fn build(
    tree: &Path,
    target: &Path,
    cache: &Cache,
    arguments: &BuildArguments,
) -> Result<PathBuf, Error> {
    let toolkit = toolkit(tree, cache)?;
    let target = target.join("cuda");
    let mut build = command(tree, &target, &toolkit, arguments);
    build.env("PERICARD_NVCC_CACHE", cache.root().join("kernels"));
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

/// The command that builds it: where and when shows no more than without CUDA.
fn command(tree: &Path, target: &Path, toolkit: &Path, arguments: &BuildArguments) -> Command {
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
        .args(["--profile", &arguments.profile]);
    dist::reproducible(&mut build, tree, target);
    build
        .env("RUSTC_WRAPPER", tree.join("packaging/cuda/rustc"))
        .env("CUDA_HOME", toolkit)
        .env("PERICARD_NVCC", toolkit.join("bin/nvcc"))
        .env("PERICARD_NVCC_CODE", &arguments.architectures)
        .env_remove("NVCC_APPEND_FLAGS")
        .env_remove("NVCC_PREPEND_FLAGS");
    if arguments.stand_in {
        // Made for no GPU: where there is one, it is refused.
        build.env("PERICARD_NVCC_STAND_IN", "1");
    } else {
        build.env("PERICARD_CUDA_ARCHITECTURES", &arguments.architectures);
    }
    compiler(tree, &mut build);
    build
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
    use std::collections::BTreeMap;
    use std::ffi::OsStr;

    #[test]
    fn the_pins_are_whole() {
        let (pins, _) = pins(&crate::tree()).unwrap();
        assert!(pins.wheel.iter().all(|pin| pin.sha256.len() == 64));
        // The library that is linked statically is in the bill.
        let is_it = |what: &str| what.contains("libcudart_static.a");
        let linked = pins.wheel.iter().filter_map(|pin| pin.linked.as_deref());
        assert_eq!(linked.filter(|what| is_it(what)).count(), 1);
    }

    #[test]
    fn a_build_with_cuda_shows_no_more_of_its_machine_than_one_without() {
        let (tree, target) = (Path::new("/some/tree"), Path::new("/other/target/cuda"));
        let mut without = Command::new("cargo");
        dist::reproducible(&mut without, tree, target);
        let arguments = BuildArguments {
            profile: "dist".into(),
            architectures: ARCHITECTURES.into(),
            stand_in: false,
        };
        let with = command(tree, target, Path::new("/toolkit"), &arguments);
        let with: BTreeMap<_, _> = with.get_envs().collect();
        for (name, value) in without.get_envs() {
            assert_eq!(with.get(name), Some(&value), "{}", name.display());
        }
        let flags = with[OsStr::new("CARGO_ENCODED_RUSTFLAGS")].unwrap();
        let flags = flags.to_string_lossy();
        for remapped in [
            "/some/tree=/build/pericard",
            "/other/target/cuda=/build/target",
        ] {
            let flag = format!("--remap-path-prefix={remapped}");
            assert!(flags.contains(&flag), "{flags}");
        }
        // What this machine would add to every kernel is left out.
        assert_eq!(with[OsStr::new("NVCC_APPEND_FLAGS")], None);
    }

    /// Stands in for the compiler: writes down what it was asked for, as its output.
    const COMPILER: &str = r#"#!/bin/sh
[ "$1" = --version ] && echo 13.0 && exit
said=
while [ $# -gt 0 ]; do
    case $1 in
        -o) out=$2; shift ;;
        --keep-dir) [ -d "$2" ] || exit 1; shift ;;
        *) said="$said $1" ;;
    esac
    shift
done
echo "$said" >"$out"
"#;

    #[test]
    fn a_kernel_is_asked_for_in_the_same_words_wherever_its_crate_lies() {
        let dir = tempfile::tempdir().unwrap();
        let compiler = dir.path().join("compiler");
        fs::write(&compiler, COMPILER).unwrap();
        fs::set_permissions(&compiler, fs::Permissions::from_mode(0o755)).unwrap();
        let made = ["one", "the-other/further-below"].map(|place| {
            let place = dir.path().join(place);
            let source = place.join("src/parts/kernel.cu");
            fs::create_dir_all(source.parent().unwrap()).unwrap();
            fs::write(&source, "").unwrap();
            let mut wrapper = Command::new(crate::tree().join("packaging/cuda/nvcc"));
            wrapper
                .current_dir(&place)
                .args([
                    "-gencode=arch=compute_80,code=sm_80",
                    "-c",
                    "-o",
                    "kernel.o",
                ])
                .arg(&source)
                .env("PERICARD_NVCC", &compiler)
                .env("PERICARD_NVCC_CACHE", place.join("cache"))
                .env("PERICARD_NVCC_CODE", "80 90")
                .env_remove("PERICARD_NVCC_STAND_IN");
            run(&mut wrapper).unwrap();
            fs::read_to_string(place.join("kernel.o")).unwrap()
        });
        assert_eq!(made[0], made[1]);
        assert!(made[0].contains(" --keep "), "{}", made[0]);
        assert!(
            made[0].trim_end().ends_with(" src/parts/kernel.cu"),
            "{}",
            made[0]
        );
        assert!(
            made[0].contains("arch=compute_90,code=sm_90"),
            "{}",
            made[0]
        );
    }
}
