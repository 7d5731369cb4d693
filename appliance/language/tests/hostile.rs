//! Hostile GGUF files: a good one, bent in one place. Each is refused, and for what was bent. How confined workers refuse them:
//! tests/workers/hostile.rs.

use gguf::Gguf;
use pericard_language::Scorer;
use std::path::Path;

mod bent;
mod gguf;

/// Fewer would mean that a kind of them is no longer made.
const CASES_MIN: usize = 200;

#[test]
fn hostile_files_are_refused_for_what_is_wrong_with_them() {
    let families = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families");
    let honest = Gguf::read(&families.join("llama3.gguf"));
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("model.gguf");
    load(&path, &honest.bytes()).expect("what is not bent loads");
    let cases = bent::cases(&honest);
    eprintln!("{} hostile files", cases.len());
    assert!(cases.len() >= CASES_MIN, "{} cases", cases.len());
    for case in &cases {
        let refusal = load(&path, &case.file).expect_err(&case.what);
        assert!(refusal.contains(case.refusal), "{}: {refusal}", case.what);
    }
}

fn load(path: &Path, file: &[u8]) -> Result<(), String> {
    std::fs::write(path, file).expect("writes");
    let scorer = Scorer::load(path, 1, 1 << 24);
    scorer.map(drop).map_err(|refusal| refusal.to_string())
}
