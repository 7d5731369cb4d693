//! The fuzz targets of `tests/fuzz`: built by the toolchain at hand, with coverage counters, and run one for each core for so
//! many seconds. What a target finds is kept beside it, with the command that shows it again.
//!
//! Counters are in our own crates, which shares all others with the tests' build; `--whole` puts them into every crate, which
//! finds more in the decoders of others and takes half an hour to build.
//!
//! Not by cargo-fuzz, which wants a nightly toolchain. What it adds (the address sanitizer) finds little in code without
//! `unsafe`; the codecs in C are where it is missed.

use crate::error::{Error, finish, run};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counters for every edge and every comparison, and the names that libFuzzer finds them by.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";
/// Our own crates, counted alone, are built soon rather than well: half a minute finds what it finds.
const SOON: &str = "-Copt-level=1";
/// What cargo hands the compiler's calls to, for our own crates.
const WRAPPER: &str = "rustc-with-counters";
/// How long one input may take: a slow one is a finding.
const INPUT_TIMEOUT_S: u32 = 10;
/// How much memory one input may take: more is a finding.
const MEMORY_MAX_MIB: u32 = 2048;
const INPUT_MAX_BYTES: u32 = 64 * 1024;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// How long each target runs.
    pub(crate) seconds: u32,
    /// Counters in every crate.
    pub(crate) whole: bool,
    /// Only this target.
    pub(crate) only: Option<&'a str>,
}

/// Builds the targets and runs them.
pub(crate) fn all(tree: &Path, target_dir: &Path, asked: Asked<'_>) -> Result<(), Error> {
    let folder = tree.join("tests/fuzz");
    let names = names(&folder)?;
    let is_asked = |name: &&String| asked.only.is_none_or(|only| only == name.as_str());
    let chosen: Vec<&String> = names.iter().filter(is_asked).collect();
    if let (Some(name), true) = (asked.only, chosen.is_empty()) {
        let (name, known) = (name.to_owned(), names.join(", "));
        return Err(Error::Target { name, known });
    }
    let built = target_dir.join("fuzz");
    let programs = programs(tree, &built, &chosen, asked.whole)?;
    let places = Places {
        folder,
        built,
        programs,
    };
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores.min(chosen.len()) {
            scope.spawn(|| {
                while let Some(name) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = one(&places, name, asked.seconds) {
                        failed
                            .lock()
                            .unwrap_or_else(std::sync::PoisonError::into_inner)
                            .get_or_insert(error);
                    }
                }
            });
        }
    });
    failed
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .map_or(Ok(()), Err)
}

/// Where targets are, and what is made of them.
struct Places {
    folder: PathBuf,
    built: PathBuf,
    programs: BTreeMap<String, PathBuf>,
}

/// Builds the targets: the program of each.
fn programs(
    tree: &Path,
    built: &Path,
    targets: &[&String],
    whole: bool,
) -> Result<BTreeMap<String, PathBuf>, Error> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build
        .current_dir(tree)
        .args(["test", "--workspace", "--no-run"])
        .args(["--features", "pericard-fuzz/coverage"])
        .arg("--message-format=json-render-diagnostics")
        .args(
            targets
                .iter()
                .flat_map(|name| ["--test".to_owned(), test(name)]),
        );
    if whole {
        // With a target named, what is run while building (build scripts, macros) has no counters, which nobody would count.
        build
            .args(["--target", &host()?])
            .env("RUSTFLAGS", FLAGS)
            .env("CARGO_TARGET_DIR", built);
    } else {
        build
            .env(
                "RUSTC_WORKSPACE_WRAPPER",
                tree.join("tests/fuzz").join(WRAPPER),
            )
            .env("PERICARD_FUZZ_FLAGS", FLAGS)
            .env("PERICARD_FUZZ_LEVEL", SOON);
    }
    executables(&mut build)
}

/// What a build says it made.
fn executables(build: &mut Command) -> Result<BTreeMap<String, PathBuf>, Error> {
    eprintln!("building the fuzz targets");
    let program = Path::new("cargo test");
    let output = build.stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| Error::cannot_run(program, error))?;
    if !output.status.success() {
        return finish(build).map(|()| BTreeMap::new()); // says what failed
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let messages = said
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let made = messages.filter_map(|message| {
        let path = message["executable"].as_str()?;
        let name = message["target"]["name"].as_str()?;
        Some((name.to_owned(), PathBuf::from(path)))
    });
    Ok(made.collect())
}

/// What cargo calls a target.
fn test(name: &str) -> String {
    format!("fuzz_{name}")
}

/// What the toolchain builds for when nothing is said.
fn host() -> Result<String, Error> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let asked = Command::new(&rustc).arg("-vV").output();
    let output = asked.map_err(|error| Error::cannot_run(Path::new(&rustc), error))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.unwrap_or_default().to_owned())
}

/// Runs one: what it learns goes to a folder that is not committed, what it begins with is in `seeds`.
fn one(places: &Places, name: &str, seconds: u32) -> Result<(), Error> {
    let corpus = places.built.join("corpus").join(name);
    let artifacts = places.folder.join("artifacts").join(name);
    for made in [&corpus, &artifacts] {
        std::fs::create_dir_all(made).map_err(Error::io("cannot make", made))?;
    }
    let Some(program) = places.programs.get(&test(name)) else {
        let (name, known) = (
            name.to_owned(),
            "what tests/fuzz/Cargo.toml lists".to_owned(),
        );
        return Err(Error::Target { name, known });
    };
    let mut command = Command::new(program);
    command.arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-timeout={INPUT_TIMEOUT_S}"));
    command.arg(format!("-rss_limit_mb={MEMORY_MAX_MIB}"));
    command.arg(format!("-max_len={INPUT_MAX_BYTES}"));
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    command
        .args(["-print_final_stats=1", "-verbosity=0", "-close_fd_mask=1"])
        .arg(corpus);
    let seeds = places.folder.join("seeds").join(name);
    if seeds.is_dir() {
        command.arg(seeds);
    }
    run(&mut command)
}

/// Each program in `targets` is one.
fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let targets = folder.join("targets");
    let cannot_read = || Error::io("cannot read", &targets);
    let mut names = Vec::new();
    for entry in targets.read_dir().map_err(cannot_read())? {
        let path: PathBuf = entry.map_err(cannot_read())?.path();
        names.extend(
            path.file_stem()
                .map(|stem| stem.to_string_lossy().into_owned()),
        );
    }
    names.sort_unstable();
    Ok(names)
}
