//! The independent readers and validators that judge what is written. Absent, their part of a test is skipped with the
//! reason said, and fails where `CI` is `true`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// `dciodvfy` finds no error.
pub(crate) fn assert_valid(path: &Path) {
    let Some(said) = verdict(path) else {
        return;
    };
    let errors: Vec<&str> = errors(&said).collect();
    assert!(
        errors.is_empty(),
        "{}:\n{}",
        path.display(),
        errors.join("\n")
    );
}

/// What `dciodvfy` says of all of an object, errors and warnings; `None` when it is not there.
pub(crate) fn verdict(path: &Path) -> Option<String> {
    let output = run(&venv("bin/dciodvfy"), &[path.as_os_str()])?;
    let said = text(&output);
    assert!(
        is_verdict(output.status.code(), &said),
        "{}: dciodvfy ended with {}:\n{said}",
        path.display(),
        output.status
    );
    Some(said)
}

/// What `dciodvfy` says of an object of others, at which it may crash.
pub(crate) fn complaints(path: &Path) -> Option<String> {
    run(&venv("bin/dciodvfy"), &[path.as_os_str()]).map(|output| text(&output))
}

/// Whether `dciodvfy` came to its end. It gives 1 when it has found errors, and also when it gives up; 0 when it has found none,
/// or only such as it does not count; and when it crashes, which it does in an assertion of its own, neither.
fn is_verdict(code: Option<i32>, said: &str) -> bool {
    match code {
        Some(0) => true,
        Some(1) => errors(said).next().is_some() && !said.lines().any(|l| l.starts_with("Abort")),
        _ => false,
    }
}

fn errors(said: &str) -> impl Iterator<Item = &str> {
    said.lines().filter(|line| line.starts_with("Error"))
}

#[test]
fn what_a_validator_says_before_it_crashes_is_no_verdict() {
    let (fine, error) = ("CTImage\nWarning - dubious", "CTImage\nError - missing");
    for (code, said, expected) in [
        (Some(0), fine, true),
        (Some(0), error, true),
        (Some(1), error, true),
        (Some(1), fine, false),
        (Some(1), "Abort - File open for read failed", false),
        (Some(1), "Error - missing\nAbort - no more", false),
        // By a signal, and as the shell and Python write one.
        (None, fine, false),
        (None, error, false),
        (Some(134), fine, false),
        (Some(250), error, false),
    ] {
        assert_eq!(is_verdict(code, said), expected, "{code:?}: {said}");
    }
    // And the program itself, where it is, of a file that is not.
    let nowhere = Path::new("/nowhere.dcm");
    if let Some(output) = run(&venv("bin/dciodvfy"), &[nowhere]) {
        assert!(!is_verdict(output.status.code(), &text(&output)));
    }
}

/// `dsrdump` reads the structured report without complaint, and what it prints has these parts.
pub(crate) fn assert_dumps(path: &Path, parts: &[&str]) {
    let Some(said) = dumped(path) else { return };
    // It checks values only in character sets that it knows, and says so of the others.
    let complains = |line: &&str| {
        let of_charset = line.contains("SpecificCharacterSet") || line.contains("VR checker");
        // Nor does it know the templates of every kind of document.
        let of_template = line.contains("template constraints not yet supported");
        line.starts_with("E:") || (line.starts_with("W:") && !of_charset && !of_template)
    };
    let complaints: Vec<&str> = said.lines().filter(complains).collect();
    let complaints = complaints.join("\n");
    assert!(complaints.is_empty(), "{}: {complaints}", path.display());
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
}

/// What `dsrdump` reads in a structured report; `None` when it is not there.
pub(crate) fn dumped(path: &Path) -> Option<String> {
    let output = run(Path::new("dsrdump"), &[path.as_os_str()])?;
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    Some(said)
}

/// `dcmpschk` finds nothing wrong with a presentation state.
pub(crate) fn assert_presents(path: &Path) {
    let Some(output) = run(Path::new("dcmpschk"), &[path.as_os_str()]) else {
        return;
    };
    let said = text(&output);
    let wrong = said.lines().any(|line| line.starts_with("E:"));
    assert!(said.contains("Test passed") && !wrong, "{said}");
}

/// The words of a PDF as `pdftotext` reads them; `None` when it is not there.
pub(crate) fn pdf_words(path: &Path) -> Option<String> {
    let output = run(Path::new("pdftotext"), &[path.as_os_str(), "-".as_ref()])?;
    let said = text(&output);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{said}"
    );
    Some(said)
}

/// What PixelMed's validator of structured reports says beside that it found that root template and came to its end: errors
/// and warnings, and whatever else, such as a crash of its own. `None` when it is not there.
pub(crate) fn pixelmed(path: &Path, template: &str) -> Option<Vec<String>> {
    // Its launcher sets no limits, and a current Java's own are too small for its stylesheets.
    let limits =
        "-Djdk.xml.xpathExprGrpLimit=0 -Djdk.xml.xpathExprOpLimit=0 -Djdk.xml.xpathTotalOpLimit=0";
    let output = Command::new("DicomSRValidator")
        .arg(path)
        .env("JAVA_TOOL_OPTIONS", limits)
        .output();
    let Ok(output) = output else {
        run(Path::new("DicomSRValidator"), &[path.as_os_str()]); // says that it is not there
        return None;
    };
    let said = text(&output);
    let found = format!("Found Root Template {template}");
    let steps = [
        found.as_str(),
        "Root Template Validation Complete",
        "IOD validation complete",
    ];
    for step in steps {
        assert!(
            said.lines().any(|line| line == step),
            "not {step:?}: {said}"
        );
    }
    assert!(output.status.success(), "{said}");
    let expected = |line: &&str| {
        let is_iod = line.starts_with("Found ") && line.ends_with(" IOD");
        steps.contains(line) || is_iod || line.starts_with("Picked up JAVA_TOOL_OPTIONS: ")
    };
    let more = said.lines().filter(|line| !expected(line));
    Some(more.map(str::to_owned).collect())
}

/// What a script beside this file makes of files; `None` when Python is not there.
pub(crate) fn read_by(script: &str, arguments: &[&Path]) -> Option<serde_json::Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/results")
        .join(script);
    let all: Vec<_> = std::iter::once(script.as_path())
        .chain(arguments.iter().copied())
        .map(Path::as_os_str)
        .collect();
    let output = run(&venv("bin/python"), &all)?;
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    Some(serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}")))
}

/// What `read.py` makes of files with highdicom and pydicom; `None` when Python is not there.
pub(crate) fn read(arguments: &[&Path]) -> Option<serde_json::Value> {
    read_by("read.py", arguments)
}

/// A program on the PATH or where Debian puts servers; `None` when it is not there.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = folders
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        missing(Path::new(name), "no such file");
    }
    found
}

/// Where the Python peers are: set by `cargo xtask test`.
fn venv(program: &str) -> PathBuf {
    let set = std::env::var_os("PERICARD_PEERS_VENV").map(PathBuf::from);
    let home =
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/pericard/venv");
    set.unwrap_or_else(home).join(program)
}

fn run<A: AsRef<std::ffi::OsStr>>(program: &Path, arguments: &[A]) -> Option<Output> {
    let output = Command::new(program)
        .args(arguments)
        .env("PYTHONNOUSERSITE", "1")
        .output();
    let missing = match output {
        Ok(output) if String::from_utf8_lossy(&output.stderr).contains("ModuleNotFoundError") => {
            text(&output)
        }
        Ok(output) => return Some(output),
        Err(error) => error.to_string(),
    };
    self::missing(program, &missing);
    None
}

/// Says that a program is not there, and fails where `CI` is `true`.
fn missing(program: &Path, why: &str) {
    let reason = format!(
        "{} is not there: {why}; `cargo xtask test` installs it",
        program.display()
    );
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "{reason}"
    );
    eprintln!("skipped: {reason}");
}

fn text(output: &Output) -> String {
    let (said, complained) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    format!("{said}{complained}")
}
