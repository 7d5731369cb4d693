//! The header of a GGUF file, walked with checked arithmetic before anything else reads the file.
//!
//! A GGUF file is a stranger's input: its lengths and counts decide how much a reader allocates and where it looks.
//! This walk allocates nothing in proportion to a claim; it only proves that every claim lies within the bytes
//! present, and finds where each tensor is. Format: GGUF versions 2 and 3, little-endian.

use candle_core::quantized::GgmlDType;
use std::collections::HashSet;

/// The most tensors a file may hold; the largest open models have a few thousand.
pub const MAX_TENSORS: u64 = 65_536;
/// The most metadata entries a file may hold.
pub const MAX_METADATA_ENTRIES: u64 = 65_536;
/// The longest name of a tensor or of a metadata entry.
pub const MAX_NAME_BYTES: u64 = 512;
/// The longest single text, which is the chat template.
pub const MAX_TEXT_BYTES: u64 = 4 << 20;
/// The most elements in all arrays together. The reader keeps 32 bytes for each, so this bounds what it allocates.
pub const MAX_ARRAY_ELEMENTS: u64 = 4 << 20;
/// The largest alignment of tensor data.
pub const MAX_ALIGNMENT_BYTES: u64 = 1 << 16;

const MAX_DIMENSIONS: u32 = 4;
const DEFAULT_ALIGNMENT_BYTES: u64 = 32;

/// What is wrong with a header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It does not begin with the four letters.
    #[error("this is not a GGUF file")]
    NotGguf,
    /// A version that is not read.
    #[error("GGUF version {0} is not read; versions 2 and 3 (little-endian) are")]
    Version(u32),
    /// The file ends within the header, or a length reaches past its end.
    #[error("the file ends within {0}; it is damaged or was not copied whole")]
    Truncated(&'static str),
    /// A count or length above its cap.
    #[error("{what} is {claimed}, more than the {limit} that are read")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        claimed: u64,
        /// How many are read.
        limit: u64,
    },
    /// A value type that the format does not know, or an array within an array.
    #[error("the metadata entry {key:?} has the unknown or nested type {kind}")]
    ValueType {
        /// Which entry.
        key: String,
        /// Its type's number.
        kind: u32,
    },
    /// A name that is not text, or that occurs twice.
    #[error("a name in the header is not text or occurs twice: {0:?}")]
    Name(String),
    /// The alignment is not a power of two or not within bounds.
    #[error(
        "the alignment of tensor data, {0}, is not a power of two from 8 to {MAX_ALIGNMENT_BYTES}"
    )]
    Alignment(u64),
    /// A tensor whose weights are stored in a form that is not computed here.
    #[error(
        "the tensor {tensor:?} is stored as {kind}, which is not supported; convert the model to Q8_0, Q4_K_M or Q4_1"
    )]
    TensorType {
        /// Which tensor.
        tensor: String,
        /// The form's name.
        kind: String,
    },
    /// A tensor with impossible dimensions.
    #[error(
        "the tensor {0:?} has dimensions that are zero, too many, overflow, or do not fill whole blocks"
    )]
    Dimensions(String),
    /// A tensor that lies outside the file, unaligned, or over another one.
    #[error("the tensor {0:?} lies outside the file, is not aligned, or overlaps another")]
    Placement(String),
}

/// Where a tensor lies and what it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorPlace {
    /// Its name.
    pub name: String,
    /// Its dimensions, the fastest-running first (a matrix: row length, then rows).
    pub dims: Vec<usize>,
    /// How its weights are stored.
    pub dtype: GgmlDType,
    /// First byte within the file.
    pub start: usize,
    /// One past its last byte.
    pub end: usize,
}

/// Walks the header of `file` and says where its tensors are.
///
/// # Errors
/// [`HeaderError`] names the first claim that does not hold.
pub fn walk(file: &[u8]) -> Result<Vec<TensorPlace>, HeaderError> {
    let mut at = Cursor { file, offset: 0 };
    if at.take(4, "its first four bytes")? != b"GGUF" {
        return Err(HeaderError::NotGguf);
    }
    let version = at.u32("its version")?;
    if !(2..=3).contains(&version) {
        return Err(HeaderError::Version(version));
    }
    let tensors = at.count("the number of tensors", MAX_TENSORS)?;
    let entries = at.count("the number of metadata entries", MAX_METADATA_ENTRIES)?;
    let alignment = walk_metadata(&mut at, entries)?;
    let claims = walk_tensors(&mut at, tensors)?;
    let base = (at.offset as u64)
        .checked_next_multiple_of(alignment)
        .ok_or(HeaderError::Truncated("the tensor data"))?;
    place(claims, base, alignment, file.len() as u64)
}

/// A tensor as the header claims it.
struct Claim {
    name: String,
    dims: Vec<usize>,
    dtype: GgmlDType,
    offset: u64,
    bytes: u64,
}

fn walk_metadata(at: &mut Cursor<'_>, entries: u64) -> Result<u64, HeaderError> {
    let mut seen = HashSet::new();
    let mut alignment = DEFAULT_ALIGNMENT_BYTES;
    let mut elements_left = MAX_ARRAY_ELEMENTS;
    for _ in 0..entries {
        let key = at.name("a metadata entry's name")?;
        let kind = at.u32("a metadata entry's type")?;
        if key == "general.alignment" && kind == U32 {
            alignment = u64::from(at.u32("the alignment")?);
        } else {
            walk_value(at, &key, kind, &mut elements_left)?;
        }
        if !seen.insert(key.clone()) {
            return Err(HeaderError::Name(key));
        }
    }
    if !alignment.is_power_of_two() || !(8..=MAX_ALIGNMENT_BYTES).contains(&alignment) {
        return Err(HeaderError::Alignment(alignment));
    }
    Ok(alignment)
}

const U32: u32 = 4;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

fn walk_value(
    at: &mut Cursor<'_>,
    key: &str,
    kind: u32,
    elements_left: &mut u64,
) -> Result<(), HeaderError> {
    const WHAT: &str = "a metadata value";
    match kind {
        STRING => at.text(WHAT).map(drop),
        ARRAY => {
            let kind = at.u32(WHAT)?;
            let count = at.count("the length of a metadata array", *elements_left)?;
            *elements_left -= count;
            match scalar_bytes(kind) {
                Some(bytes) => at.skip(count.saturating_mul(bytes), WHAT),
                None if kind == STRING => (0..count).try_for_each(|_| at.text(WHAT).map(drop)),
                None => Err(HeaderError::ValueType {
                    key: key.to_owned(),
                    kind,
                }),
            }
        }
        _ => match scalar_bytes(kind) {
            Some(bytes) => at.skip(bytes, WHAT),
            None => Err(HeaderError::ValueType {
                key: key.to_owned(),
                kind,
            }),
        },
    }
}

/// Bytes of a value of a scalar type; the numbers are the format's.
const fn scalar_bytes(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

fn walk_tensors(at: &mut Cursor<'_>, count: u64) -> Result<Vec<Claim>, HeaderError> {
    let mut seen = HashSet::new();
    let mut claims = Vec::new(); // grows with what is present, not with what is claimed
    for _ in 0..count {
        let claim = walk_tensor(at)?;
        if !seen.insert(claim.name.clone()) {
            return Err(HeaderError::Name(claim.name));
        }
        claims.push(claim);
    }
    Ok(claims)
}

fn walk_tensor(at: &mut Cursor<'_>) -> Result<Claim, HeaderError> {
    const WHAT: &str = "a tensor's description";
    let name = at.name(WHAT)?;
    let ndims = at.u32(WHAT)?;
    if !(1..=MAX_DIMENSIONS).contains(&ndims) {
        return Err(HeaderError::Dimensions(name));
    }
    let mut dims = Vec::new();
    let mut elements = 1_u64;
    for _ in 0..ndims {
        let dim = at.u64(WHAT)?;
        elements = elements.checked_mul(dim).unwrap_or(0);
        dims.push(usize::try_from(dim).unwrap_or(0));
    }
    let kind = at.u32(WHAT)?;
    let offset = at.u64(WHAT)?;
    let dtype = match tensor_type(kind) {
        Ok(dtype) => dtype,
        Err(kind) => return Err(HeaderError::TensorType { tensor: name, kind }),
    };
    // An overflow above has become zero elements.
    if elements == 0 || dims[0] % dtype.block_size() != 0 {
        return Err(HeaderError::Dimensions(name));
    }
    let Some(bytes) = (elements / dtype.block_size() as u64).checked_mul(dtype.type_size() as u64)
    else {
        return Err(HeaderError::Dimensions(name));
    };
    Ok(Claim {
        name,
        dims,
        dtype,
        offset,
        bytes,
    })
}

fn place(
    claims: Vec<Claim>,
    base: u64,
    alignment: u64,
    file_bytes: u64,
) -> Result<Vec<TensorPlace>, HeaderError> {
    let mut places = Vec::with_capacity(claims.len());
    for claim in claims {
        let start = base.checked_add(claim.offset);
        let end = start.and_then(|start| start.checked_add(claim.bytes));
        let (Some(start), Some(end)) = (start, end) else {
            return Err(HeaderError::Placement(claim.name));
        };
        if end > file_bytes || claim.offset % alignment != 0 {
            return Err(HeaderError::Placement(claim.name));
        }
        places.push(TensorPlace {
            name: claim.name,
            dims: claim.dims,
            dtype: claim.dtype,
            start: start as usize, // both are within the mapped file, whose length is a usize
            end: end as usize,
        });
    }
    let mut by_start: Vec<&TensorPlace> = places.iter().collect();
    by_start.sort_by_key(|place| place.start);
    for pair in by_start.windows(2) {
        if pair[1].start < pair[0].end {
            return Err(HeaderError::Placement(pair[1].name.clone()));
        }
    }
    Ok(places)
}

/// The storage form of a number, or its name when it is not computed here.
fn tensor_type(kind: u32) -> Result<GgmlDType, String> {
    Ok(match kind {
        0 => GgmlDType::F32,
        1 => GgmlDType::F16,
        2 => GgmlDType::Q4_0,
        3 => GgmlDType::Q4_1,
        6 => GgmlDType::Q5_0,
        7 => GgmlDType::Q5_1,
        8 => GgmlDType::Q8_0,
        10 => GgmlDType::Q2K,
        11 => GgmlDType::Q3K,
        12 => GgmlDType::Q4K,
        13 => GgmlDType::Q5K,
        14 => GgmlDType::Q6K,
        15 => GgmlDType::Q8K,
        30 => GgmlDType::BF16,
        _ => return Err(unsupported_name(kind)),
    })
}

fn unsupported_name(kind: u32) -> String {
    let name = match kind {
        9 => "Q8_1",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24..=27 => "integers",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        40 => "NVFP4",
        _ => return format!("type {kind}"),
    };
    name.to_owned()
}

struct Cursor<'a> {
    file: &'a [u8],
    offset: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, bytes: u64, what: &'static str) -> Result<&'a [u8], HeaderError> {
        let end = usize::try_from(bytes)
            .ok()
            .and_then(|bytes| self.offset.checked_add(bytes));
        let taken = end.and_then(|end| self.file.get(self.offset..end));
        let taken = taken.ok_or(HeaderError::Truncated(what))?;
        self.offset += taken.len();
        Ok(taken)
    }

    fn skip(&mut self, bytes: u64, what: &'static str) -> Result<(), HeaderError> {
        self.take(bytes, what).map(drop)
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, HeaderError> {
        let bytes = self.take(4, what)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, HeaderError> {
        let low = self.u32(what)?;
        let high = self.u32(what)?;
        Ok(u64::from(high) << 32 | u64::from(low))
    }

    fn count(&mut self, what: &'static str, limit: u64) -> Result<u64, HeaderError> {
        let claimed = self.u64(what)?;
        if claimed > limit {
            return Err(HeaderError::TooMany {
                what,
                claimed,
                limit,
            });
        }
        Ok(claimed)
    }

    fn text(&mut self, what: &'static str) -> Result<&'a [u8], HeaderError> {
        let bytes = self.count("the length of a text", MAX_TEXT_BYTES)?;
        self.take(bytes, what)
    }

    fn name(&mut self, what: &'static str) -> Result<String, HeaderError> {
        let bytes = self.count("the length of a name", MAX_NAME_BYTES)?;
        let bytes = self.take(bytes, what)?;
        match std::str::from_utf8(bytes) {
            Ok(name) if !name.is_empty() => Ok(name.to_owned()),
            _ => Err(HeaderError::Name(
                String::from_utf8_lossy(bytes).into_owned(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_tensor_where_it_is() {
        let file = Gguf::new().tensor("a", &[32, 2], 8, 0).bytes(68);
        let places = walk(&file).expect("a valid header");
        assert_eq!(places.len(), 1);
        assert_eq!(places[0].dims, [32, 2]);
        assert_eq!(places[0].end, file.len());
        assert_eq!(places[0].start % 32, 0);
    }

    #[test]
    fn every_truncation_is_refused() {
        let file = Gguf::new()
            .text("general.name", "x")
            .tensor("a", &[32, 2], 8, 0)
            .bytes(68);
        for length in 0..file.len() {
            assert!(
                walk(&file[..length]).is_err(),
                "{length} bytes were accepted"
            );
        }
    }

    #[test]
    fn no_flipped_byte_makes_it_panic_or_reach_outside() {
        let file = Gguf::new()
            .text("general.name", "x")
            .array("list", U32, 3)
            .tensor("a", &[32, 2], 8, 0)
            .tensor("b", &[32], 2, 96)
            .bytes(114);
        walk(&file).expect("a valid header");
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut hostile = file.clone();
                hostile[at] ^= 1 << bit;
                for place in walk(&hostile).unwrap_or_default() {
                    assert!(place.start <= place.end && place.end <= hostile.len());
                }
            }
        }
    }

    #[test]
    fn claims_beyond_reason_are_refused() {
        let huge = u64::MAX / 2;
        for (what, file) in [
            (
                "elements overflow",
                Gguf::new().tensor("a", &[huge, huge], 8, 0).bytes(64),
            ),
            (
                "offset overflow",
                Gguf::new().tensor("a", &[32], 8, u64::MAX - 31).bytes(64),
            ),
            (
                "zero elements",
                Gguf::new().tensor("a", &[0], 8, 0).bytes(64),
            ),
            (
                "half a block",
                Gguf::new().tensor("a", &[33], 8, 0).bytes(64),
            ),
            ("unaligned", Gguf::new().tensor("a", &[32], 8, 1).bytes(64)),
            (
                "overlap",
                Gguf::new()
                    .tensor("a", &[32, 4], 8, 0)
                    .tensor("b", &[32], 8, 32)
                    .bytes(256),
            ),
            (
                "twice",
                Gguf::new()
                    .tensor("a", &[32], 8, 0)
                    .tensor("a", &[32], 8, 64)
                    .bytes(256),
            ),
            ("nested array", Gguf::new().array("a", ARRAY, 1).bytes(64)),
            (
                "long array",
                Gguf::new().claim_array("a", u64::MAX).bytes(64),
            ),
        ] {
            assert!(walk(&file).is_err(), "{what} was accepted");
        }
    }

    #[test]
    fn an_unsupported_type_is_refused_by_name() {
        let file = Gguf::new().tensor("blk.0.x", &[256], 20, 0).bytes(512);
        let refusal = walk(&file).expect_err("IQ4_NL is not computed").to_string();
        assert!(
            refusal.contains("IQ4_NL") && refusal.contains("blk.0.x"),
            "{refusal}"
        );
    }

    /// Writes small GGUF files, honest and hostile.
    struct Gguf {
        entries: Vec<u8>,
        entry_count: u64,
        tensors: Vec<u8>,
        tensor_count: u64,
    }

    impl Gguf {
        fn new() -> Self {
            Self {
                entries: Vec::new(),
                entry_count: 0,
                tensors: Vec::new(),
                tensor_count: 0,
            }
        }

        fn text(mut self, key: &str, value: &str) -> Self {
            push_text(&mut self.entries, key);
            self.entries.extend(STRING.to_le_bytes());
            push_text(&mut self.entries, value);
            self.entry_count += 1;
            self
        }

        fn array(mut self, key: &str, kind: u32, count: u64) -> Self {
            push_text(&mut self.entries, key);
            self.entries.extend(ARRAY.to_le_bytes());
            self.entries.extend(kind.to_le_bytes());
            self.entries.extend(count.to_le_bytes());
            self.entries.extend(vec![0; count as usize * 4]);
            self.entry_count += 1;
            self
        }

        fn claim_array(mut self, key: &str, count: u64) -> Self {
            push_text(&mut self.entries, key);
            self.entries.extend(ARRAY.to_le_bytes());
            self.entries.extend(U32.to_le_bytes());
            self.entries.extend(count.to_le_bytes());
            self.entry_count += 1;
            self
        }

        fn tensor(mut self, name: &str, dims: &[u64], kind: u32, offset: u64) -> Self {
            push_text(&mut self.tensors, name);
            self.tensors.extend((dims.len() as u32).to_le_bytes());
            for dim in dims {
                self.tensors.extend(dim.to_le_bytes());
            }
            self.tensors.extend(kind.to_le_bytes());
            self.tensors.extend(offset.to_le_bytes());
            self.tensor_count += 1;
            self
        }

        fn bytes(self, data_bytes: usize) -> Vec<u8> {
            let mut file = b"GGUF".to_vec();
            file.extend(3_u32.to_le_bytes());
            file.extend(self.tensor_count.to_le_bytes());
            file.extend(self.entry_count.to_le_bytes());
            file.extend(self.entries);
            file.extend(self.tensors);
            file.resize(file.len().next_multiple_of(32) + data_bytes, 0);
            file
        }
    }

    fn push_text(bytes: &mut Vec<u8>, text: &str) {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    }
}
