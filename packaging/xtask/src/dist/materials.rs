//! What the binary is made of, and the library that it loads: a CycloneDX bill of materials, and every licence text.

use super::said;
use crate::cuda::Linked;
use crate::error::Error;
use crate::pin::{Fetches, Pin};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The platform that is shipped.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// What licence files are called.
const LICENCE_NAMES: [&str; 6] = [
    "licen",
    "copying",
    "notice",
    "unlicense",
    "copyright",
    "patents",
];

/// Where ONNX Runtime is pinned, and its licence.
const RUNTIME_PINS: &str = "packaging/onnxruntime/fetch.toml";
const RUNTIME_LICENCE: &str = "MIT";

/// The crate that what is linked of CUDA's toolkit comes in by, and the licence that its wheels state.
const KERNELS: &str = "candle-kernels";
const TOOLKIT_LICENCE: &str = "LicenseRef-NVIDIA-Proprietary";

/// The crates that are linked into the binary, who needs whom, what else is linked, and the library that is loaded when it runs.
pub(super) struct Materials {
    crates: BTreeMap<String, Crate>,
    root: String,
    toolkit: Vec<Linked>,
    runtime: Pin,
}

struct Crate {
    name: String,
    version: String,
    licence: String,
    repository: Option<String>,
    checksum: Option<String>,
    folder: PathBuf,
    /// Ids of the crates that it is built with, those for its build and its tests left out.
    needs: BTreeSet<String>,
}

impl Materials {
    /// Asks cargo. With parts of CUDA's toolkit: of the program that has CUDA, and those.
    pub(super) fn of(tree: &Path, toolkit: Option<Vec<Linked>>) -> Result<Self, Error> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.current_dir(tree).args([
            "metadata",
            "--locked",
            "--format-version=1",
            "--filter-platform",
            PLATFORM,
        ]);
        if toolkit.is_some() {
            command.args(["--features", "pericard/cuda"]);
        }
        let metadata: Value =
            serde_json::from_str(&said(&mut command)?).map_err(|e| unreadable(e.to_string()))?;
        let checksums = checksums(tree)?;
        let mut all = BTreeMap::new();
        for package in list(&metadata["packages"]) {
            let one = Crate::of(package, &checksums);
            all.insert(text(&package["id"]), one);
        }
        for node in list(&metadata["resolve"]["nodes"]) {
            if let Some(one) = all.get_mut(&text(&node["id"])) {
                one.needs = list(&node["deps"])
                    .iter()
                    .filter(|edge| list(&edge["dep_kinds"]).iter().any(|k| k["kind"].is_null()))
                    .map(|edge| text(&edge["pkg"]))
                    .collect();
            }
        }
        let root = all.iter().find(|(_, one)| one.name == "pericard");
        let root = root.map(|(id, _)| id.clone());
        let root = root.ok_or_else(|| unreadable("no package `pericard`".into()))?;
        Ok(Self {
            crates: reached(all, &root),
            root,
            toolkit: toolkit.unwrap_or_default(),
            runtime: runtime(tree)?,
        })
    }

    /// CycloneDX 1.6. It holds no time and no random number, so that the same materials give the same bytes.
    pub(super) fn bill(&self, version: &str) -> String {
        let others = || self.crates.iter().filter(|(id, _)| **id != self.root);
        let mut components: Vec<Value> =
            others().map(|(_, one)| one.component("library")).collect();
        components.extend(self.toolkit.iter().map(part));
        components.push(shipped(&self.runtime));
        let dependencies: Vec<Value> = self
            .crates
            .iter()
            .map(|(id, one)| {
                let mut on: Vec<String> =
                    one.needs.iter().map(|id| self.crates[id].url()).collect();
                on.extend((*id == self.root).then(|| url(&self.runtime)));
                if one.name == KERNELS {
                    on.extend(self.toolkit.iter().map(part_url));
                }
                json!({ "ref": one.url(), "dependsOn": on })
            })
            .collect();
        let mut subject = self.crates[&self.root].component("application");
        subject["version"] = json!(version);
        let bill = json!({
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": { "component": subject },
            "components": components,
            "dependencies": dependencies,
        });
        format!("{bill:#}\n")
    }

    /// Every licence text once, under the names of those who use it.
    pub(super) fn licences(&self) -> Result<String, Error> {
        let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut without = Vec::new();
        for one in self.crates.values().filter(|one| one.checksum.is_some()) {
            let found = licence_files(&one.folder)?;
            if found.is_empty() {
                without.push(format!("{} {}: {}", one.name, one.version, one.licence));
            }
            for text in found {
                let users = texts.entry(text).or_default();
                users.insert(format!("{} {}", one.name, one.version));
            }
        }
        for part in &self.toolkit {
            for text in &part.licences {
                let users = texts.entry(text.clone()).or_default();
                users.insert(format!("{} {}: {}", part.package, part.version, part.what));
            }
        }
        let rule = "=".repeat(100);
        let mut page = String::from(
            "The licences of what is linked into pericard. pericard.cdx.json names each part's licence; here are the texts.\n",
        );
        for (text, users) in &texts {
            let users: Vec<&str> = users.iter().map(String::as_str).collect();
            page += &format!("\n{rule}\n{}\n{rule}\n\n{text}\n", users.join("\n"));
        }
        if !without.is_empty() {
            page += &format!(
                "\n{rule}\nPublished without a licence file; the licence is the one stated:\n{}\n",
                without.join("\n")
            );
        }
        Ok(page)
    }
}

impl Crate {
    fn of(package: &Value, checksums: &BTreeMap<(String, String), String>) -> Self {
        let (name, version) = (text(&package["name"]), text(&package["version"]));
        let manifest = PathBuf::from(text(&package["manifest_path"]));
        Self {
            checksum: checksums.get(&(name.clone(), version.clone())).cloned(),
            licence: text(&package["license"]).replace('/', " OR "),
            repository: package["repository"].as_str().map(str::to_owned),
            folder: manifest.parent().unwrap_or(Path::new("/")).to_owned(),
            needs: BTreeSet::new(),
            name,
            version,
        }
    }

    fn url(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version)
    }

    fn component(&self, kind: &str) -> Value {
        let mut component = json!({
            "type": kind,
            "bom-ref": self.url(),
            "name": self.name,
            "version": self.version,
            "purl": self.url(),
            "licenses": [{ "expression": self.licence }],
        });
        if let Some(sum) = &self.checksum {
            component["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
        }
        if let Some(url) = &self.repository {
            component["externalReferences"] = json!([{ "type": "vcs", "url": url }]);
        }
        component
    }
}

/// The pin of the library itself; its licences are pinned beside it.
fn runtime(tree: &Path) -> Result<Pin, Error> {
    let path = tree.join(RUNTIME_PINS);
    let mut pins = Fetches::read(&path)?.fetch.into_iter();
    let library = pins.find(|pin| pin.to.extension().is_some_and(|kind| kind == "so"));
    library.ok_or_else(|| Error::Pin {
        path,
        problem: "no pin of a shared library".into(),
    })
}

fn url(pin: &Pin) -> String {
    format!("pkg:pypi/{}@{}", pin.package, pin.version)
}

/// A library that is shipped as its authors built it. The hash is that of the file itself.
fn shipped(pin: &Pin) -> Value {
    json!({
        "type": "library",
        "bom-ref": url(pin),
        "name": pin.package,
        "version": pin.version,
        "purl": url(pin),
        "licenses": [{ "expression": RUNTIME_LICENCE }],
        "hashes": [{ "alg": "SHA-256", "content": pin.sha256 }],
    })
}

fn part_url(part: &Linked) -> String {
    format!("pkg:pypi/{}@{}", part.package, part.version)
}

/// What is linked of a wheel of CUDA's toolkit. The hash is that of the wheel.
fn part(part: &Linked) -> Value {
    json!({
        "type": "library",
        "bom-ref": part_url(part),
        "name": part.package,
        "version": part.version,
        "description": format!("linked: {}", part.what),
        "purl": part_url(part),
        "licenses": [{ "expression": TOOLKIT_LICENCE }],
        "hashes": [{ "alg": "SHA-256", "content": part.sha256 }],
    })
}

fn reached(mut all: BTreeMap<String, Crate>, root: &str) -> BTreeMap<String, Crate> {
    let mut waiting = VecDeque::from([root.to_owned()]);
    let mut kept = BTreeMap::new();
    while let Some(id) = waiting.pop_front() {
        if let Some(one) = all.remove(&id) {
            waiting.extend(one.needs.iter().cloned());
            kept.insert(id, one);
        }
    }
    kept
}

fn checksums(tree: &Path) -> Result<BTreeMap<(String, String), String>, Error> {
    let path = tree.join("Cargo.lock");
    let lock = fs::read_to_string(&path).map_err(Error::io("cannot read", &path))?;
    let lock: toml::Table = toml::from_str(&lock).map_err(|e| unreadable(e.to_string()))?;
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let known = packages.into_iter().flatten().filter_map(|package| {
        let field = |name| Some(package.get(name)?.as_str()?.to_owned());
        Some(((field("name")?, field("version")?), field("checksum")?))
    });
    Ok(known.collect())
}

fn licence_files(folder: &Path) -> Result<Vec<String>, Error> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("cannot read", folder))? {
        let path = entry.map_err(Error::io("cannot read", folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.to_lowercase();
        if path.is_file() && LICENCE_NAMES.iter().any(|start| name.starts_with(start)) {
            let bytes = fs::read(&path).map_err(Error::io("cannot read", &path))?;
            let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
            texts.push(text.trim_end().to_owned());
        }
    }
    texts.sort_unstable();
    Ok(texts)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn unreadable(problem: String) -> Error {
    Error::Failed {
        program: "cargo metadata".into(),
        status: problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_stands_in_the_bill_and_what_only_builds_or_tests_it_does_not() {
        let materials = Materials::of(&crate::tree(), None).unwrap();
        let bill = materials.bill("1.2.3");
        assert_eq!(bill, materials.bill("1.2.3"), "the same bytes each time");
        let bill: Value = serde_json::from_str(&bill).unwrap();
        assert_eq!(bill["metadata"]["component"]["version"], "1.2.3");
        let components = list(&bill["components"]);
        let names: BTreeSet<String> = components.iter().map(|c| text(&c["name"])).collect();
        for linked in [
            "rustls",
            "rusqlite",
            "ort",
            "pericard-store",
            "libsqlite3-sys",
            "onnxruntime",
        ] {
            assert!(names.contains(linked), "{linked} is not in the bill");
        }
        for apart in [
            "clap_mangen",
            "proptest",
            "cmake",
            "xtask",
            "cudarc",
            KERNELS,
        ] {
            assert!(!names.contains(apart), "{apart} is not linked");
        }
        let outside = |c: &&Value| !text(&c["name"]).starts_with("pericard");
        for component in components.iter().filter(outside) {
            let sum = text(&component["hashes"][0]["content"]);
            assert_eq!(sum.len(), 64, "{component}");
            assert!(component["licenses"][0]["expression"] != "", "{component}");
        }
        let runtime = components.iter().find(|c| c["name"] == "onnxruntime");
        let pins = fs::read_to_string(crate::tree().join(RUNTIME_PINS)).unwrap();
        let sum = text(&runtime.unwrap()["hashes"][0]["content"]);
        let file = format!("to = \"libonnxruntime.so\"\nsha256 = \"{sum}\"");
        assert!(pins.contains(&file), "{sum} is not the library's");
        let refs: BTreeSet<String> = components.iter().map(|c| text(&c["bom-ref"])).collect();
        for line in list(&bill["dependencies"]) {
            for on in list(&line["dependsOn"]) {
                assert!(refs.contains(&text(on)), "{on} is needed and not listed");
            }
        }
        let licences = materials.licences().unwrap();
        assert!(licences.contains("rustls ") && licences.contains("MIT"));
    }

    #[test]
    fn the_bill_of_a_program_with_cuda_names_what_is_linked_for_it() {
        let runtime = Linked {
            package: "nvidia-cuda-runtime".into(),
            version: "13.0.96".into(),
            sha256: "0a".repeat(32),
            what: "libcudart_static.a".into(),
            licences: vec!["The toolkit's agreement.".into()],
        };
        let materials = Materials::of(&crate::tree(), Some(vec![runtime])).unwrap();
        let bill: Value = serde_json::from_str(&materials.bill("1.2.3")).unwrap();
        let components = list(&bill["components"]);
        let named = |name: &str| components.iter().find(|c| c["name"] == name);
        for linked in ["cudarc", KERNELS, "libloading", "onnxruntime"] {
            assert!(named(linked).is_some(), "{linked} is not in the bill");
        }
        for apart in ["cudaforge", "proptest"] {
            assert!(named(apart).is_none(), "{apart} is not linked");
        }
        let part = named("nvidia-cuda-runtime").expect("the toolkit's part");
        assert_eq!(part["description"], "linked: libcudart_static.a");
        assert_eq!(part["licenses"][0]["expression"], TOOLKIT_LICENCE);
        assert_eq!(part["hashes"][0]["content"], "0a".repeat(32));
        let of_kernels = |line: &&Value| text(&line["ref"]).contains("/candle-kernels@");
        let mut lines = list(&bill["dependencies"]).iter();
        let line = lines.find(of_kernels).expect("the kernels' line");
        assert!(
            list(&line["dependsOn"]).contains(&part["bom-ref"]),
            "{line}"
        );
        let licences = materials.licences().unwrap();
        let stands = "nvidia-cuda-runtime 13.0.96: libcudart_static.a\n";
        assert!(licences.contains(stands) && licences.contains("The toolkit's agreement."));
    }
}
