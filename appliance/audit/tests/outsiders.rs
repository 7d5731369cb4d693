//! An exported log, verified with Python's standard library and openssl.

use pericard_audit::{Checkpoint, Content, Entry, Frontier, SigningKey, leaf, tiles};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Enough for three levels of tiles: 256 * 256 leaves and some.
const ENTRIES: u64 = 65_536 + 700;

#[test]
fn a_script_of_the_standard_library_verifies_an_export_and_finds_every_tampering() {
    if let Err(missing) = have("python3").and_then(|()| have("openssl")) {
        assert!(std::env::var_os("CI").is_none(), "{missing}");
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let key = SigningKey::from_seed("log.example/1", &[3; 32]).expect("a good name");
    export(dir.path(), &key);
    let key = key.verifier().to_string();

    let (ok, said) = run(dir.path(), &key);
    assert!(ok, "{said}");
    assert!(
        said.contains("66236 entries of log.example/1, 1 of them erased"),
        "{said}"
    );

    for (file, at, expected) in [
        ("records/000", 70, "entry 0: its record"),
        ("tile/entries/001", 34 * 3 + 5, "entry 259: its record"),
        ("tile/entries/001", 34 * 3 + 1, "entry 259: its length"),
        (
            "tile/0/255",
            9,
            "tile level 0: a hash above entries from 65280",
        ),
        ("tile/1/000", 9, "tile level 1: a hash above entries from 0"),
        (
            "tile/1/001.p/2",
            40,
            "tile level 1: a hash above entries from 65536",
        ),
        ("tile/2/000.p/1", 0, "tile level 2"),
        ("checkpoint", 16, "signature is wrong"),
    ] {
        let path = dir.path().join(file);
        let honest = fs::read(&path).expect(file);
        let mut forged = honest.clone();
        forged[at] ^= 1;
        fs::write(&path, &forged).expect(file);
        let (ok, said) = run(dir.path(), &key);
        assert!(!ok && said.contains(expected), "{file}: {said}");
        fs::write(&path, &honest).expect(file);
    }

    let path = dir.path().join("tile/entries/258.p/188");
    fs::remove_file(path).expect("removed");
    let (ok, said) = run(dir.path(), &key);
    assert!(!ok && said.contains("entries 66048 to 66235"), "{said}");

    let other = SigningKey::from_seed("log.example/1", &[4; 32]).expect("a good name");
    let (ok, said) = run(dir.path(), &other.verifier().to_string());
    assert!(!ok && said.contains("not signed by this key"), "{said}");
}

fn export(dir: &Path, key: &SigningKey) {
    let entry = |index: u64| {
        let salt = [index as u8; 32];
        let record = format!("record {index}").into_bytes();
        let leaf = leaf(&salt, &record);
        let mut content = Content::Kept { salt, record };
        if index == 300 {
            let commitment = content.commitment();
            content = Content::Erased { commitment };
        }
        Entry {
            index,
            leaf,
            content,
        }
    };
    let frontier: Frontier = (0..ENTRIES).map(|i| entry(i).leaf).collect();
    let checkpoint = Checkpoint {
        origin: key.name().to_owned(),
        size: frontier.size(),
        root: frontier.root(),
    };
    let note = checkpoint.sign(key).expect("signed");
    let write = |path: &str, bytes: &[u8]| {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().expect("has a folder"))?;
        fs::write(path, bytes)
    };
    tiles::export((0..ENTRIES).map(|i| Ok(entry(i))), &note, write).expect("exported");
}

fn run(dir: &Path, key: &str) -> (bool, String) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/verify.py");
    let out = Command::new("python3")
        .arg(script)
        .arg(dir)
        .arg(key)
        .output();
    let out = out.expect("python3 runs");
    let said = [out.stdout, out.stderr].concat();
    (out.status.success(), String::from_utf8_lossy(&said).into())
}

fn have(program: &str) -> Result<(), String> {
    let ran = Command::new(program).arg("--help").output();
    ran.map(drop)
        .map_err(|_| format!("{program} is missing, and this test needs it: install it"))
}
