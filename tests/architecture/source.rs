//! The tree's files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A source file of a room.
pub(crate) struct RoomFile {
    /// Within the tree.
    pub(crate) path: PathBuf,
    /// Which room; `src` is the composition root.
    pub(crate) room: String,
    /// Its text without comments and without its tests, which stand last. Lines keep their numbers.
    pub(crate) shipped: String,
}

/// Every source file of every room that is in what is shipped.
pub(crate) fn room_files() -> Vec<RoomFile> {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
    let appliance = tree.join("appliance");
    let mut found = Vec::new();
    for room in names_in(&appliance) {
        let folder = appliance.join(&room);
        let source = if room == "src" {
            folder
        } else {
            folder.join("src")
        };
        let mut waiting = vec![source];
        while let Some(path) = waiting.pop() {
            if path.is_dir() {
                waiting.extend(names_in(&path).into_iter().map(|name| path.join(name)));
            } else if is_shipped(&path) {
                let text = fs::read_to_string(&path).expect("source is text");
                found.push(RoomFile {
                    path: path.strip_prefix(tree).unwrap_or(&path).to_owned(),
                    room: room.clone(),
                    shipped: shipped(&text),
                });
            }
        }
    }
    assert!(found.len() > 20, "the rooms were not found");
    found
}

/// A function that other rooms can call.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// Their types.
    pub(crate) parameters: Vec<String>,
}

/// The public functions of a room, generic ones with their bounds as a parameter.
pub(crate) fn public_functions(room: &str) -> Vec<Function> {
    let files = room_files().into_iter().filter(|file| file.room == room);
    files.flat_map(|file| functions_in(&file.shipped)).collect()
}

fn functions_in(text: &str) -> Vec<Function> {
    let starts = ["pub fn ", "pub const fn ", "pub async fn "];
    let found = starts.iter().flat_map(|start| text.split(start).skip(1));
    found
        .map(|rest| {
            let (name, rest) = rest.split_once('(').expect("a function has parameters");
            let (list, _) = rest.split_once(')').expect("and they end");
            let (name, bounds) = name.split_once('<').unwrap_or((name, ""));
            let parameters = list.split(',').chain([bounds]);
            let types = parameters.map(|p| p.split_once(':').map_or(p, |(_, of)| of).trim());
            Function {
                name: name.to_owned(),
                parameters: types.filter(|t| !t.is_empty()).map(str::to_owned).collect(),
            }
        })
        .collect()
}

/// What git tracks; `None` where there is no git to ask.
pub(crate) fn tracked_files() -> Option<Vec<PathBuf>> {
    let tree = env!("CARGO_MANIFEST_DIR");
    let listed = Command::new("git")
        .args(["-C", tree, "ls-files", "-z"])
        .output()
        .ok()?;
    let listed = String::from_utf8(listed.stdout)
        .ok()
        .filter(|_| listed.status.success())?;
    Some(listed.split_terminator('\0').map(PathBuf::from).collect())
}

fn is_shipped(path: &Path) -> bool {
    let is_test = |part: &std::ffi::OsStr| part == "tests" || part == "tests.rs";
    path.extension().is_some_and(|e| e == "rs") && !path.iter().any(is_test)
}

fn shipped(text: &str) -> String {
    let before_tests = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or(text);
    let lines = before_tests.lines().map(|line| {
        let is_comment = line.trim_start().starts_with("//");
        if is_comment { "" } else { line }
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the tree is readable");
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}
