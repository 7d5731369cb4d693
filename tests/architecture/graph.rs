//! The crate graph, as cargo sees it.

use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::process::Command;

/// The crates of the workspace and all that they reach, on the platform that this runs on.
pub(crate) struct Graph {
    packages: BTreeMap<String, Package>,
}

/// A crate.
pub(crate) struct Package {
    /// As in the registry; a room without its prefix; the root package is `src`.
    pub(crate) name: String,
    /// SPDX expression.
    pub(crate) licence: String,
    /// Empty for the workspace's own.
    pub(crate) source: String,
    is_room: bool,
    /// What its Cargo.toml names, tests left out, whether or not a feature or another platform is needed for it.
    names: Vec<String>,
    /// Ids of what it is built with here, tests left out.
    built_with: Vec<String>,
    features: Vec<String>,
}

impl Graph {
    /// Asks cargo, without the network.
    pub(crate) fn read() -> Self {
        let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args([
                "metadata",
                "--format-version=1",
                "--offline",
                "--filter-platform",
                &platform,
            ])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo runs: it started this test");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cargo metadata failed: {said}");
        let metadata = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
        Self::of(&metadata)
    }

    fn of(metadata: &Value) -> Self {
        let mut packages = BTreeMap::new();
        for package in list(metadata, "packages") {
            packages.insert(text(package, "id"), Package::of(package));
        }
        for node in list(&metadata["resolve"], "nodes") {
            let package = packages
                .get_mut(&text(node, "id"))
                .expect("every node is a package");
            let edges = list(node, "deps")
                .iter()
                .filter(|edge| ships(list(edge, "dep_kinds")));
            package.built_with = edges.map(|edge| text(edge, "pkg")).collect();
            package.features = list(node, "features").iter().filter_map(string).collect();
        }
        Self { packages }
    }

    /// The rooms under `appliance/`.
    pub(crate) fn rooms(&self) -> impl Iterator<Item = &str> {
        let rooms = self.packages.values().filter(|package| package.is_room);
        rooms.map(|package| package.name.as_str())
    }

    /// The rooms that a room's Cargo.toml names.
    pub(crate) fn rooms_named_by(&self, room: &str) -> impl Iterator<Item = &str> {
        let package = self.member(room);
        let named = package.names.iter().map(String::as_str);
        named.filter(|name| self.rooms().any(|room| room == *name))
    }

    /// The workspace's crates whose Cargo.toml names a crate.
    pub(crate) fn members_naming(&self, name: &str) -> impl Iterator<Item = &str> {
        let members = self
            .packages
            .values()
            .filter(|package| package.source.is_empty());
        let naming = members.filter(move |package| package.names.iter().any(|named| named == name));
        naming.map(|package| package.name.as_str())
    }

    /// All crates that are not ours.
    pub(crate) fn outsiders(&self) -> impl Iterator<Item = &Package> {
        self.packages
            .values()
            .filter(|package| !package.source.is_empty())
    }

    /// The features that a crate is built with.
    pub(crate) fn features(&self, name: &str) -> impl Iterator<Item = &str> {
        let versions = self
            .packages
            .values()
            .filter(move |package| package.name == name);
        versions.flat_map(|package| package.features.iter().map(String::as_str))
    }

    /// The shortest road from one of ours to a crate, in names.
    pub(crate) fn road(&self, from: &str, to: &str) -> Option<Vec<&str>> {
        let start = self
            .packages
            .iter()
            .find(|(_, package)| package.is_ours(from));
        let (start, _) = start.unwrap_or_else(|| panic!("there is no room {from:?}"));
        let mut came_from = BTreeMap::from([(start.as_str(), None)]);
        let mut waiting = VecDeque::from([start.as_str()]);
        while let Some(id) = waiting.pop_front() {
            if self.packages[id].name == to {
                let back = std::iter::successors(Some(id), |id| came_from[id]);
                let mut road: Vec<_> = back.map(|id| self.packages[id].name.as_str()).collect();
                road.reverse();
                return Some(road);
            }
            for next in &self.packages[id].built_with {
                came_from.entry(next).or_insert_with(|| {
                    waiting.push_back(next);
                    Some(id)
                });
            }
        }
        None
    }

    fn member(&self, name: &str) -> &Package {
        let found = self.packages.values().find(|package| package.is_ours(name));
        found.unwrap_or_else(|| panic!("there is no room {name:?}"))
    }
}

impl Package {
    fn of(package: &Value) -> Self {
        let manifest = text(package, "manifest_path");
        let source = text(package, "source");
        let named = list(package, "dependencies")
            .iter()
            .filter(|d| d["kind"] != "dev");
        Self {
            name: room_name(&text(package, "name"), source.is_empty()),
            licence: text(package, "license"),
            is_room: source.is_empty() && manifest.contains("/appliance/"),
            names: named
                .map(|d| room_name(&text(d, "name"), d["source"].is_null()))
                .collect(),
            source,
            built_with: Vec::new(),
            features: Vec::new(),
        }
    }

    fn is_ours(&self, name: &str) -> bool {
        self.source.is_empty() && self.name == name
    }
}

/// Whether an edge is in what is shipped: not for tests only.
fn ships(kinds: &[Value]) -> bool {
    kinds.iter().any(|kind| kind["kind"].is_null())
}

fn room_name(name: &str, ours: bool) -> String {
    match name.strip_prefix("pericard-") {
        Some(room) if ours => room.to_owned(),
        None if ours && name == "pericard" => "src".to_owned(),
        _ => name.to_owned(),
    }
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value, key: &str) -> String {
    string(&value[key]).unwrap_or_default()
}

fn string(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}
