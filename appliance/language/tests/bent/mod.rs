//! Hostile GGUF files: a good one, bent in one place.

use crate::gguf::{Entry, Gguf, Tensor, claiming, text};
use pericard_language::header::MAX_ARRAY_ELEMENTS;

const ENDS: &str = "the file ends within";
const TOO_MANY: &str = "that are read";
const NAME: &str = "a name in the header is not text or occurs twice";
const VALUE_TYPE: &str = "has the unknown or nested type";
const DIMENSIONS: &str = "has dimensions that are";
const PLACEMENT: &str = "lies outside the file, is not aligned, or overlaps another";
const TENSOR_TYPE: &str = "which is not supported";
const METADATA: &str = "is missing or has the wrong type";
const TENSOR: &str = "is missing or does not have the shape";
const WIDTHS: &str = "with these head widths";

const U32: u32 = 4;
const U64: u32 = 10;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// A file and what its refusal says.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) what: String,
    pub(crate) file: Vec<u8>,
    pub(crate) refusal: &'static str,
}

/// A good file, bent in every way.
pub(crate) fn cases(honest: &Gguf) -> Vec<Case> {
    [
        beginnings(honest),
        ends(honest),
        alignments(honest),
        bent_entries(honest),
        bent_claims(honest),
        bent_tensors(honest),
    ]
    .concat()
}

/// Other letters, versions and counts than a file begins with.
fn beginnings(honest: &Gguf) -> Vec<Case> {
    let bent = |what: String, at: usize, with: &[u8], refusal| {
        let mut file = honest.bytes();
        file[at..at + with.len()].copy_from_slice(with);
        Case {
            what,
            file,
            refusal,
        }
    };
    let letters = [b"GGML", b"ggjt", b"FUGG", b"\0\0\0\0", b"\x7fELF"];
    let letters = letters.map(|with| bent(format!("{with:?}"), 0, with, "not a GGUF file"));
    let versions = [0, 1, 4, 3_u32.swap_bytes(), u32::MAX].map(|version| {
        let what = format!("version {version}");
        bent(what, 4, &version.to_le_bytes(), "is not read")
    });
    let counts = [8, 16].into_iter().flat_map(|at| {
        [65_537, 1 << 32, 1 << 63, u64::MAX].map(|count| {
            let what = format!("{count} of what is counted at {at}");
            bent(what, at, &count.to_le_bytes(), TOO_MANY)
        })
    });
    letters.into_iter().chain(versions).chain(counts).collect()
}

/// Files that were not copied whole.
fn ends(honest: &Gguf) -> Vec<Case> {
    const PARTS: usize = 24;
    let (file, header) = (honest.bytes(), honest.header().len());
    let cut = |bytes: usize, refusal| Case {
        what: format!("only the first {bytes} bytes"),
        file: file[..bytes].to_vec(),
        refusal,
    };
    let within = (1..PARTS).map(|part| cut(header * part / PARTS, ENDS));
    let after = (0..PARTS).map(|part| {
        let data = (file.len() - header) * part / PARTS;
        cut(header + data, PLACEMENT)
    });
    within.chain(after).collect()
}

fn alignments(honest: &Gguf) -> Vec<Case> {
    let claims = [0, 1, 2, 4, 7, 24, 33, 1 << 17, u32::MAX];
    claims
        .map(|claim| {
            let mut bent = honest.clone();
            bent.entries.push(Entry {
                key: text(b"general.alignment"),
                kind: U32,
                value: claim.to_le_bytes().to_vec(),
            });
            Case {
                what: format!("an alignment of {claim}"),
                file: bent.bytes(),
                refusal: "is not a power of two",
            }
        })
        .into()
}

/// What is done to one part, in words, and what the refusal says.
type Edit<Part> = (&'static str, fn(&mut Part), &'static str);

const ENTRY_EDITS: [Edit<Entry>; 10] = [
    ("an unknown type", |entry| entry.kind = 13, VALUE_TYPE),
    (
        "an array of arrays",
        |entry| claim_array(entry, ARRAY, 1),
        VALUE_TYPE,
    ),
    (
        "an array without end",
        |entry| claim_array(entry, U32, u64::MAX),
        TOO_MANY,
    ),
    (
        "texts without end",
        |entry| claim_array(entry, STRING, MAX_ARRAY_ELEMENTS + 1),
        TOO_MANY,
    ),
    (
        "an array that is not there",
        |entry| claim_array(entry, U64, MAX_ARRAY_ELEMENTS / 2),
        ENDS,
    ),
    (
        "a text without end",
        |entry| {
            entry.kind = STRING;
            entry.value = claiming(u64::MAX, b"");
        },
        TOO_MANY,
    ),
    (
        "a text that is not there",
        |entry| {
            entry.kind = STRING;
            entry.value = claiming(1 << 20, b"");
        },
        ENDS,
    ),
    ("no name", |entry| entry.key = text(b""), NAME),
    (
        "a name that is no text",
        |entry| entry.key = text(b"\xff\xfe"),
        NAME,
    ),
    (
        "a name without end",
        |entry| entry.key = claiming(u64::MAX, b""),
        TOO_MANY,
    ),
];

fn claim_array(entry: &mut Entry, kind: u32, count: u64) {
    entry.kind = ARRAY;
    entry.value = [&kind.to_le_bytes()[..], &count.to_le_bytes()].concat();
}

fn bent_entries(honest: &Gguf) -> Vec<Case> {
    let mut cases = Vec::new();
    for (at, entry) in honest.entries.iter().enumerate() {
        let name = String::from_utf8_lossy(&entry.key[8..]);
        for (what, edit, refusal) in ENTRY_EDITS {
            let mut bent = honest.clone();
            edit(&mut bent.entries[at]);
            cases.push(Case {
                what: format!("{name} with {what}"),
                file: bent.bytes(),
                refusal,
            });
        }
        let mut twice = honest.clone();
        twice.entries.push(entry.clone());
        cases.push(Case {
            what: format!("{name} twice"),
            file: twice.bytes(),
            refusal: NAME,
        });
    }
    cases
}

/// A well-formed file whose description of the model cannot be.
fn bent_claims(honest: &Gguf) -> Vec<Case> {
    let mut cases = Vec::new();
    for key in [
        "general.architecture",
        "llama.block_count",
        "llama.context_length",
        "llama.embedding_length",
        "llama.feed_forward_length",
        "llama.attention.head_count",
        "llama.attention.layer_norm_rms_epsilon",
    ] {
        let mut without = honest.clone();
        without
            .entries
            .retain(|entry| entry.key != text(key.as_bytes()));
        assert_eq!(without.entries.len() + 1, honest.entries.len(), "{key}");
        cases.push(Case {
            what: format!("no {key}"),
            file: without.bytes(),
            refusal: METADATA,
        });
    }
    for (key, claims, refusal) in [
        ("llama.block_count", &[0, 1_025, u32::MAX][..], METADATA),
        ("llama.block_count", &[3, 1_024], TENSOR),
        ("llama.context_length", &[0, u32::MAX], METADATA),
        ("llama.embedding_length", &[0, u32::MAX], METADATA),
        ("llama.embedding_length", &[33], WIDTHS),
        ("llama.embedding_length", &[96, 1 << 20], TENSOR),
        ("llama.feed_forward_length", &[0, u32::MAX], METADATA),
        ("llama.attention.head_count", &[0, u32::MAX], METADATA),
        ("llama.attention.head_count_kv", &[0, u32::MAX], METADATA),
        ("llama.attention.head_count_kv", &[3], WIDTHS),
        ("llama.attention.key_length", &[0, u32::MAX], METADATA),
        ("llama.attention.key_length", &[31, 1 << 16], WIDTHS),
        ("llama.attention.value_length", &[16], WIDTHS),
        ("llama.rope.dimension_count", &[31, 64], WIDTHS),
    ] {
        for claim in claims {
            let mut bent = honest.clone();
            let mut entries = bent.entries.iter_mut();
            let entry = entries.find(|entry| entry.key == text(key.as_bytes()));
            entry.expect("the file has it").value = claim.to_le_bytes().to_vec();
            cases.push(Case {
                what: format!("{key} of {claim}"),
                file: bent.bytes(),
                refusal,
            });
        }
    }
    cases
}

const TENSOR_EDITS: [Edit<Tensor>; 15] = [
    ("no dimensions", |tensor| tensor.dims.clear(), DIMENSIONS),
    (
        "five dimensions",
        |tensor| tensor.dims = vec![1; 5],
        DIMENSIONS,
    ),
    ("an empty row", |tensor| tensor.dims[0] = 0, DIMENSIONS),
    (
        "more elements than can be counted",
        |tensor| tensor.dims = vec![1 << 63, 2],
        DIMENSIONS,
    ),
    (
        "more bytes than can be counted",
        |tensor| tensor.dims = vec![u64::MAX - 31],
        DIMENSIONS,
    ),
    (
        "more bytes than the file",
        |tensor| tensor.dims = vec![1 << 40],
        PLACEMENT,
    ),
    ("another shape", |tensor| tensor.dims.push(1), TENSOR),
    (
        "a form not computed",
        |tensor| tensor.kind = 20,
        TENSOR_TYPE,
    ),
    (
        "a form that was given up",
        |tensor| tensor.kind = 4,
        TENSOR_TYPE,
    ),
    (
        "a form that is none",
        |tensor| tensor.kind = u32::MAX,
        TENSOR_TYPE,
    ),
    ("a crooked place", |tensor| tensor.offset += 1, PLACEMENT),
    (
        "a place past the end",
        |tensor| tensor.offset = 1 << 40,
        PLACEMENT,
    ),
    (
        "a place that cannot be counted",
        |tensor| tensor.offset = u64::MAX - 31,
        PLACEMENT,
    ),
    ("no name", |tensor| tensor.name = text(b""), NAME),
    (
        "a name without end",
        |tensor| tensor.name = claiming(u64::MAX, b""),
        TOO_MANY,
    ),
];

fn bent_tensors(honest: &Gguf) -> Vec<Case> {
    let mut cases = Vec::new();
    for (at, tensor) in honest.tensors.iter().enumerate() {
        let name = String::from_utf8_lossy(&tensor.name[8..]);
        for (what, edit, refusal) in TENSOR_EDITS {
            let mut bent = honest.clone();
            edit(&mut bent.tensors[at]);
            cases.push(Case {
                what: format!("{name} with {what}"),
                file: bent.bytes(),
                refusal,
            });
        }
        let next = &honest.tensors[(at + 1) % honest.tensors.len()];
        let (mut twice, mut over) = (honest.clone(), honest.clone());
        twice.tensors[at].name.clone_from(&next.name);
        over.tensors[at].offset = next.offset;
        for (bent, refusal) in [(twice, NAME), (over, PLACEMENT)] {
            cases.push(Case {
                what: format!("{name} as the next one"),
                file: bent.bytes(),
                refusal,
            });
        }
    }
    cases
}
