//! The logits of a model after each of given tokens: rows of 32-bit floats on stdout.
//!
//! `cargo run --release -p pericard-language --example logits -- MODEL.gguf < TOKENS.json`, where the tokens are a list
//! of lists. benches/agreement.py compares them with llama.cpp's.

use pericard_language::Scorer;
use std::io::{Read, Write};
use std::path::Path;

const KV_BYTES_MAX: usize = 1 << 30;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some(weights) = std::env::args().nth(1) else {
        return Err("usage: logits MODEL.gguf < TOKENS.json".into());
    };
    let mut scorer = Scorer::load(Path::new(&weights), 2, KV_BYTES_MAX)?;
    let mut tokens = String::new();
    std::io::stdin().read_to_string(&mut tokens)?;
    let mut out = std::io::stdout().lock();
    for sequence in serde_json::from_str::<Vec<Vec<u32>>>(&tokens)? {
        let rows = scorer.logits(&sequence);
        for row in rows.ok_or("a sequence is too long or holds an unknown token")? {
            let bytes: Vec<u8> = row.iter().flat_map(|value| value.to_le_bytes()).collect();
            out.write_all(&bytes)?;
        }
    }
    Ok(())
}
