//! What a payload really is, told by its first bytes.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Formats that a payload may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// GGUF: weights and metadata, nothing to execute.
    Gguf,
    /// ONNX: a protobuf whose first field is the IR version. Its operators are checked when it is loaded.
    Onnx,
    /// safetensors: a JSON header and raw numbers.
    Safetensors,
    /// A JSON object: what a tokenizer or a configuration is written in. It has nothing to execute.
    Json,
    /// A pickle, or an archive that may hold one (TorchScript, Keras, `.pt`): it can execute code when it is loaded.
    Executable,
    /// None of these.
    Other,
}

/// How many bytes tell a format.
const MAGIC_BYTES: usize = 16;

pub(crate) fn content_of(path: &Path) -> io::Result<Content> {
    let mut head = Vec::with_capacity(MAGIC_BYTES);
    File::open(path)?
        .take(MAGIC_BYTES as u64)
        .read_to_end(&mut head)?;
    Ok(match head.as_slice() {
        [b'G', b'G', b'U', b'F', ..] => Content::Gguf,
        // No opcode of a pickle is a brace that opens, and none follows it that JSON has.
        [b'{', rest @ ..] if matches!(rest.trim_ascii_start(), [b'"' | b'}', ..]) => Content::Json,
        // Field 1 (ir_version), a varint below 128: every ONNX model that an exporter writes begins so.
        [0x08, version, ..] if *version < 0x80 => Content::Onnx,
        // A little-endian length below 100 MB, then the JSON header.
        [_, _, _, _, 0, 0, 0, 0, b'{', ..] => Content::Safetensors,
        // Pickle protocols 2 to 5; zip archives; gzip; HDF5; ELF; Python bytecode is caught by not being any payload.
        [0x80, 2..=5, ..]
        | [b'P', b'K', ..]
        | [0x1f, 0x8b, ..]
        | [0x89, b'H', b'D', b'F', ..]
        | [0x7f, b'E', b'L', b'F', ..] => Content::Executable,
        _ => Content::Other,
    })
}
