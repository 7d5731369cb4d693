//! A GGUF file in parts that a test can bend, one at a time, and write again.

use std::path::Path;

const STRING: u32 = 8;
const ARRAY: u32 = 9;
/// Of tensor data, where the metadata do not say otherwise.
const ALIGNMENT_BYTES: usize = 32;

/// The parts of a file of version 3, each text as it is stored: its length first.
#[derive(Clone)]
pub(crate) struct Gguf {
    pub(crate) entries: Vec<Entry>,
    pub(crate) tensors: Vec<Tensor>,
    /// What follows the header and its padding.
    data: Vec<u8>,
}

#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) key: Vec<u8>,
    pub(crate) kind: u32,
    pub(crate) value: Vec<u8>,
}

#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) name: Vec<u8>,
    pub(crate) dims: Vec<u64>,
    pub(crate) kind: u32,
    pub(crate) offset: u64,
}

impl Gguf {
    /// Reads a file that is known to be whole.
    pub(crate) fn read(path: &Path) -> Self {
        let file = std::fs::read(path).expect("the file");
        let mut rest = &file[8..];
        let (tensors, entries) = (u64_of(&mut rest), u64_of(&mut rest));
        let entries = (0..entries).map(|_| entry(&mut rest)).collect();
        let tensors = (0..tensors).map(|_| tensor(&mut rest)).collect();
        let header_bytes = file.len() - rest.len();
        Self {
            entries,
            tensors,
            data: file[header_bytes.next_multiple_of(ALIGNMENT_BYTES)..].to_vec(),
        }
    }

    /// A file that holds nothing yet.
    #[allow(dead_code, reason = "not every test writes a file of its own")]
    pub(crate) fn empty() -> Self {
        Self {
            entries: Vec::new(),
            tensors: Vec::new(),
            data: Vec::new(),
        }
    }

    /// Puts a tensor behind those that it has.
    #[allow(dead_code, reason = "not every test writes a file of its own")]
    pub(crate) fn put(&mut self, name: &str, dims: &[usize], kind: u32, bytes: &[u8]) {
        let offset = self.data.len().next_multiple_of(ALIGNMENT_BYTES);
        self.data.resize(offset, 0);
        self.data.extend(bytes);
        self.tensors.push(Tensor {
            name: text(name.as_bytes()),
            dims: dims.iter().map(|dim| *dim as u64).collect(),
            kind,
            offset: offset as u64,
        });
    }

    /// The file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut file = self.header();
        file.resize(file.len().next_multiple_of(ALIGNMENT_BYTES), 0);
        file.extend(&self.data);
        file
    }

    /// The file up to where padding and tensor data begin.
    pub(crate) fn header(&self) -> Vec<u8> {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend((self.entries.len() as u64).to_le_bytes());
        for entry in &self.entries {
            file.extend(&entry.key);
            file.extend(entry.kind.to_le_bytes());
            file.extend(&entry.value);
        }
        for tensor in &self.tensors {
            file.extend(&tensor.name);
            file.extend((tensor.dims.len() as u32).to_le_bytes());
            file.extend(tensor.dims.iter().flat_map(|dim| dim.to_le_bytes()));
            file.extend(tensor.kind.to_le_bytes());
            file.extend(tensor.offset.to_le_bytes());
        }
        file
    }
}

/// A text as it is stored.
pub(crate) fn text(of: &[u8]) -> Vec<u8> {
    claiming(of.len() as u64, of)
}

/// A text that claims to be of another length than it is.
pub(crate) fn claiming(length: u64, of: &[u8]) -> Vec<u8> {
    [&length.to_le_bytes(), of].concat()
}

fn entry(rest: &mut &[u8]) -> Entry {
    let key = text_of(rest);
    let kind = u32_of(rest);
    let before = *rest;
    skip_value(rest, kind);
    let value = before[..before.len() - rest.len()].to_vec();
    Entry { key, kind, value }
}

fn tensor(rest: &mut &[u8]) -> Tensor {
    let name = text_of(rest);
    let dims = u32_of(rest);
    Tensor {
        name,
        dims: (0..dims).map(|_| u64_of(rest)).collect(),
        kind: u32_of(rest),
        offset: u64_of(rest),
    }
}

fn skip_value(rest: &mut &[u8], kind: u32) {
    match kind {
        STRING => drop(text_of(rest)),
        ARRAY => {
            let kind = u32_of(rest);
            for _ in 0..u64_of(rest) {
                skip_value(rest, kind);
            }
        }
        0 | 1 | 7 => drop(take(rest, 1)),
        2 | 3 => drop(take(rest, 2)),
        4..=6 => drop(take(rest, 4)),
        _ => drop(take(rest, 8)),
    }
}

fn text_of(rest: &mut &[u8]) -> Vec<u8> {
    let length = u64_of(rest) as usize;
    text(&take(rest, length))
}

fn u32_of(rest: &mut &[u8]) -> u32 {
    u32::from_le_bytes(take(rest, 4).try_into().expect("four bytes"))
}

fn u64_of(rest: &mut &[u8]) -> u64 {
    u64::from_le_bytes(take(rest, 8).try_into().expect("eight bytes"))
}

fn take(rest: &mut &[u8], bytes: usize) -> Vec<u8> {
    let (taken, left) = rest.split_at(bytes);
    *rest = left;
    taken.to_vec()
}
