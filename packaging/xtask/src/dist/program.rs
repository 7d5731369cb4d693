//! The binary, built so that where and when it is built does not show; and what it needs of the system it runs on.

use super::said;
use crate::error::{Error, run};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What every Linux that we ship to has; a name beyond these is a dependency that the packages do not declare.
const SYSTEM_LIBRARIES: [&str; 5] = [
    "libc.so.6",
    "libm.so.6",
    "libgcc_s.so.1",
    "libstdc++.so.6",
    "ld-linux-x86-64.so.2",
];

/// The newest glibc that the binary may ask for: RHEL 9 has it, and Debian 12 and Ubuntu 22.04 have newer ones.
const GLIBC_MAX: (u32, u32) = (2, 34);

/// Builds the binary that is shipped, in this target folder.
pub(super) fn build(tree: &Path, target: &Path, profile: &str) -> Result<PathBuf, Error> {
    let arguments = [
        "build",
        "--locked",
        "--package",
        "pericard",
        "--profile",
        profile,
    ];
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(tree).args(arguments);
    reproducible(&mut command, tree, target);
    run(&mut command)?;
    Ok(target.join(profile).join("pericard"))
}

/// Has a build into this target folder show neither where nor when it was made: paths of this machine are replaced, and its own
/// flags are passed over.
pub(crate) fn reproducible(build: &mut Command, tree: &Path, target: &Path) {
    let cargo_home = std::env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo"),
        PathBuf::from,
    );
    // Paths of this machine, and what stands for them. The longest first: the target folder may lie within the tree.
    let paths = [
        (target, "/build/target"),
        (tree, "/build/pericard"),
        (cargo_home.as_path(), "/build/cargo"),
    ];
    // The compiler takes the last that fits.
    let rust: Vec<String> = paths
        .iter()
        .rev()
        .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()))
        .collect();
    let c: Vec<String> = paths
        .iter()
        .rev()
        .map(|(from, to)| format!("-ffile-prefix-map={}={to}", from.display()))
        .collect();
    build
        .env("CARGO_ENCODED_RUSTFLAGS", rust.join("\u{1f}"))
        .env("CFLAGS", c.join(" "))
        .env("CXXFLAGS", c.join(" "))
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_TARGET_DIR", target)
        .env_remove("RUSTFLAGS");
}

/// The newest glibc whose symbols the binary uses, as in `2.34`. Refuses a binary that would not start on RHEL 9.
pub(super) fn glibc_floor(program: &Path) -> Result<String, Error> {
    check_libraries(program)?;
    let symbols = said(Command::new("objdump").arg("-T").arg(program))?;
    let newest = newest_glibc(&symbols).ok_or_else(|| unusable(program, "uses no glibc"))?;
    if newest > GLIBC_MAX {
        let named = symbols_of(&symbols, newest).join(", ");
        let problem = format!(
            "needs glibc {}.{} for {named}, and RHEL 9 has {}.{}",
            newest.0, newest.1, GLIBC_MAX.0, GLIBC_MAX.1
        );
        return Err(unusable(program, &problem));
    }
    Ok(format!("{}.{}", newest.0, newest.1))
}

/// The symbols of that version, which the last column names.
fn symbols_of(symbols: &str, (major, minor): (u32, u32)) -> Vec<&str> {
    let version = format!("GLIBC_{major}.{minor}");
    let is_it = |word: &str| word.trim_matches(['(', ')']) == version;
    let lines = symbols.lines();
    let lines = lines.filter(|line| line.split_whitespace().any(is_it));
    let names = lines.filter_map(|line| line.split_whitespace().next_back());
    names.collect()
}

fn newest_glibc(symbols: &str) -> Option<(u32, u32)> {
    let versions = symbols.split("GLIBC_").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| c != '.' && !c.is_ascii_digit());
        let mut parts = rest[..end.unwrap_or(rest.len())].split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    });
    versions.max()
}

/// Refuses a binary that needs what the packages do not ask for: a CUDA library, say, which would keep it from starting.
pub(crate) fn check_libraries(program: &Path) -> Result<(), Error> {
    let headers = said(Command::new("objdump").arg("-p").arg(program))?;
    let needed = headers
        .lines()
        .filter_map(|line| line.trim().strip_prefix("NEEDED"));
    for library in needed.map(str::trim) {
        if !SYSTEM_LIBRARIES.contains(&library) {
            return Err(unusable(program, &format!("needs {library}")));
        }
    }
    Ok(())
}

fn unusable(program: &Path, problem: &str) -> Error {
    Error::Failed {
        program: program.display().to_string(),
        status: problem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let symbols = "x GLIBC_2.9  a\ny (GLIBC_2.34) b\nz GLIBC_2.4.1 c\nw GLIBC_PRIVATE d";
        assert_eq!(newest_glibc(symbols), Some((2, 34)));
        assert_eq!(newest_glibc("none"), None);
    }

    #[test]
    fn what_asks_for_a_newer_glibc_is_named() {
        let symbols = "0 DF *UND* 3a4 (GLIBC_2.35) hypot\n0 DF *UND* 3 (GLIBC_2.34) dlopen\n";
        assert_eq!(newest_glibc(symbols), Some((2, 35)));
        assert_eq!(symbols_of(symbols, (2, 35)), ["hypot"]);
    }

    #[test]
    fn a_program_of_this_machine_is_looked_into() {
        let floor = glibc_floor(&std::env::current_exe().unwrap()).unwrap();
        assert!(floor.starts_with("2."), "{floor}");
        let refused = glibc_floor(Path::new("/usr/bin/openssl")).unwrap_err();
        assert!(refused.to_string().contains("libssl"), "{refused}");
    }
}
