//! The detector, detected: leaks that are put in on purpose, written in every way and put in every place. Each must be
//! found by the search for marks or by the comparison of two lives, as the other tests use them.

use crate::interference::{Outcome, differs};
use crate::search::{Search, based, mark};
use crate::wire::Seen;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use pericard_frame::{Draft, FRAME_BYTES, Frame, ToHub, layout};
use sha2::{Digest as _, Sha256};
use std::io::Write as _;

/// Writes a mark in another way.
type Disguise = fn(&[u8]) -> Vec<u8>;
/// Puts it into what is seen of a life.
type Leak = fn(&mut Outcome, &[u8]);

const SEED: u64 = 0x9E37_79B9_7F4A_7C15;

fn disguises() -> Vec<(&'static str, Disguise)> {
    vec![
        ("plain", |mark| mark.to_vec()),
        ("lower case", |mark| mark.to_ascii_lowercase()),
        ("base64", |mark| based(64, mark).into_bytes()),
        ("base64, one in", |mark| {
            based(64, &[b"x", mark].concat()).into_bytes()
        }),
        ("base64, two in", |mark| {
            based(64, &[b"xy", mark].concat()).into_bytes()
        }),
        ("base32", |mark| based(32, mark).into_bytes()),
        ("hexadecimal", |mark| hex::encode(mark).into_bytes()),
        ("percent", |mark| {
            mark.iter()
                .flat_map(|b| format!("%{b:02X}").into_bytes())
                .collect()
        }),
        ("UTF-16", |mark| mark.iter().flat_map(|b| [*b, 0]).collect()),
        ("reversed", |mark| mark.iter().rev().copied().collect()),
        ("gzip", |mark| {
            let mut packed = GzEncoder::new(Vec::new(), Compression::best());
            packed.write_all(mark).expect("into memory");
            packed.finish().expect("into memory")
        }),
        ("zlib", |mark| {
            let mut packed = ZlibEncoder::new(Vec::new(), Compression::default());
            packed.write_all(mark).expect("into memory");
            packed.finish().expect("into memory")
        }),
        ("deflate", |mark| {
            let mut packed = DeflateEncoder::new(Vec::new(), Compression::best());
            packed.write_all(mark).expect("into memory");
            packed.finish().expect("into memory")
        }),
        ("gzip of base64", |mark| {
            let mut packed = GzEncoder::new(Vec::new(), Compression::best());
            packed
                .write_all(based(64, mark).as_bytes())
                .expect("into memory");
            packed.finish().expect("into memory")
        }),
        ("XOR 0x5A", |mark| {
            mark.iter().map(|byte| byte ^ 0x5A).collect()
        }),
        ("XOR 0xFF", |mark| mark.iter().map(|byte| !byte).collect()),
        ("each byte one more", |mark| {
            mark.iter().map(|byte| byte.wrapping_add(1)).collect()
        }),
        ("shifted by three bits", |mark| {
            let padded = [mark, &[0]].concat();
            let first = [padded[0] >> 3];
            let rest = padded.windows(2).map(|two| two[0] << 5 | two[1] >> 3);
            first.into_iter().chain(rest).collect()
        }),
        ("fragments of four", |mark| {
            mark.chunks(4)
                .flat_map(|four| [four, b"\0\x07\0"].concat())
                .collect()
        }),
        ("every second byte", |mark| {
            mark.iter().flat_map(|byte| [*byte, 0x11]).collect()
        }),
        ("lowest bits", |mark| {
            let bits = mark
                .iter()
                .flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1));
            bits.map(|bit| 0x40 | bit).collect()
        }),
        // From here on nobody who looks for the mark can find it: the pairs must.
        ("XOR with a long key", |mark| {
            let key = Sha256::digest(b"a key");
            mark.iter().zip(key).map(|(byte, key)| byte ^ key).collect()
        }),
        ("hash", |mark| Sha256::digest(mark).to_vec()),
        ("keyed hash, two bytes", |mark| {
            Sha256::digest([b"key", mark].concat())[..2].to_vec()
        }),
        ("one bit", |mark| vec![Sha256::digest(mark)[0] & 1]),
    ]
}

/// Those that a search alone must see, in a place that nothing compares.
const SEARCHED: usize = 21;

fn over(bytes: &mut [u8], begin: usize, secret: &[u8]) {
    for (byte, secret) in bytes[begin..].iter_mut().zip(secret) {
        *byte ^= secret;
    }
}

fn bits(secret: &[u8]) -> impl Iterator<Item = u8> + '_ {
    secret
        .iter()
        .flat_map(|byte| (0..8).map(move |at| byte >> at & 1))
}

fn places() -> Vec<(&'static str, Leak)> {
    vec![
        ("padding", |seen, secret| {
            over(
                &mut seen.frames[0],
                FRAME_BYTES - Frame::padding_bytes() + 5,
                secret,
            )
        }),
        ("counters", |seen, secret| {
            over(
                &mut seen.frames[0],
                layout::COUNTERS.spec().offset_bytes,
                secret,
            )
        }),
        ("a counter's last bit", |seen, secret| {
            let spec = layout::COUNTERS.spec();
            for (at, bit) in bits(secret).enumerate() {
                let at = at % spec.count;
                seen.frames[0][spec.offset_bytes + at * spec.width_bytes] ^= bit;
            }
        }),
        ("the root of the log", |seen, secret| {
            over(
                &mut seen.frames[0],
                layout::LOG_ROOT.spec().offset_bytes,
                secret,
            )
        }),
        ("noise", |seen, secret| {
            let spec = layout::HIST.spec();
            for (at, bit) in bits(secret).enumerate() {
                let at = at % layout::CELLS;
                seen.frames[0][spec.offset_bytes + at * spec.width_bytes] ^= bit;
            }
        }),
        ("an unused evaluation", |seen, secret| {
            over(
                &mut seen.frames[0],
                layout::EVALUATION.spec().offset_bytes,
                secret,
            )
        }),
        ("an unused proof", |seen, secret| {
            over(
                &mut seen.frames[0],
                layout::PROOF.spec().offset_bytes + 1000,
                secret,
            )
        }),
        ("the signature's place", |seen, secret| {
            over(
                &mut seen.frames[0],
                layout::SIGNATURE.spec().offset_bytes,
                secret,
            )
        }),
        ("more frames", |seen, secret| {
            let frame = seen.frames[0].clone();
            seen.frames
                .extend(bits(secret).filter(|bit| *bit == 1).map(|_| frame.clone()));
        }),
        ("a frame's length", |seen, secret| {
            let more = 1 + usize::from(secret[0] & 1);
            seen.frames[0].extend(secret.iter().cycle().take(more));
        }),
        ("the length of a record", |seen, secret| {
            let sum: usize = secret.iter().map(|byte| usize::from(*byte)).sum();
            seen.slots[0].out[1].1 += sum;
        }),
        ("more records", |seen, secret| {
            let empty = (23, 17);
            seen.slots[0]
                .out
                .extend(bits(secret).filter(|bit| *bit == 1).map(|_| empty));
        }),
        ("the moment of a slot", |seen, secret| {
            seen.slots[0].at_ms += secret.iter().map(|byte| u64::from(*byte)).sum::<u64>()
        }),
        ("the order of slots", |seen, secret| {
            let by = secret.iter().fold(0, |all, byte| all ^ byte);
            seen.slots[0].at_ms ^= u64::from(by) << 1;
            seen.slots[1].at_ms ^= u64::from(by & 1);
        }),
    ]
}

/// What a life without a leak shows.
fn clean() -> Outcome {
    let frame = |sequence: u32| {
        let mut draft = Draft::<ToHub>::new();
        draft.put(&layout::SEQUENCE, 0, sequence);
        draft.put(&layout::APPLIANCE, 0, 17_u32);
        for at in 0..pericard_frame::Counter::ALL.len() {
            draft.put(&layout::COUNTERS, at, 1000 + at as u32);
        }
        draft.put(&layout::HIST_MODEL, 0, 300_u16);
        draft.put(&layout::HIST_WEEKS, 0, 1_u8);
        draft.put(&layout::HIST_EPSILON, 0, 500_u16);
        draft.put_all(
            &layout::HIST,
            0,
            (0..layout::CELLS as u16).map(|at| 8192 + at),
        );
        draft.seal().expect("in range").bytes().to_vec()
    };
    let slot = |at_ms| Seen {
        at_ms,
        out: vec![(22, 1500), (23, 800), (23, 4245), (23, 19)],
        back: vec![(22, 1200), (23, 900), (23, 4300)],
    };
    Outcome {
        frames: vec![frame(1), frame(2)],
        slots: vec![slot(3617), slot(7217)],
    }
}

/// Two marks of which every disguise differs in each of the sums that a place makes of it: else nothing would be told.
fn pair() -> (Vec<u8>, Vec<u8>) {
    let first = mark(1).into_bytes();
    let differ = |other: &Vec<u8>| {
        disguises().iter().all(|(_, disguised)| {
            let (one, other) = (sums(&disguised(&first)), sums(&disguised(other)));
            (0..3).all(|at| one[at] != other[at])
        })
    };
    let other = (2..).map(|place| mark(place).into_bytes()).find(differ);
    (first, other.expect("one of many"))
}

fn sums(bytes: &[u8]) -> [u64; 3] {
    let add = bytes.iter().map(|byte| u64::from(*byte)).sum();
    let ones = bits(bytes).map(u64::from).sum();
    [
        add,
        ones,
        bytes.iter().fold(0, |all, byte| all ^ u64::from(*byte)),
    ]
}

#[test]
fn every_leak_into_what_leaves_is_found() {
    let (first, other) = pair();
    let marks = [&first, &other].map(|mark| String::from_utf8(mark.clone()).expect("a text"));
    let search = Search::of(&marks);
    assert!(differs(&clean(), &clean()).is_none(), "of nothing");
    let (mut planted, mut missed) = (0, Vec::new());
    for (disguise, disguised) in disguises() {
        for (place, put) in places() {
            let leaking = |mark: &[u8]| {
                let mut outcome = clean();
                put(&mut outcome, &disguised(mark));
                outcome
            };
            let (one, two) = (leaking(&first), leaking(&other));
            let searched = one.frames.iter().find_map(|frame| search.any(frame));
            planted += 1;
            if searched.is_none() && differs(&one, &two).is_none() {
                missed.push((disguise, place));
            }
        }
    }
    eprintln!("{planted} leaks into frames, lengths and moments");
    assert!(planted >= 40, "{planted}");
    assert_eq!(missed, [], "of {planted}");
}

/// In a log, in metrics and in answers there is nothing to compare: what looks for marks must find them there.
#[test]
fn every_disguise_that_can_be_seen_is_seen_in_a_log() {
    let marks = [mark(1), mark(2)];
    let search = Search::of(&marks);
    let line = |number: u64| {
        let drawn = Sha256::digest(number.to_le_bytes());
        format!(
            "2026-11-29T11:00:{:02}Z INFO pericard_jobs: job {number} done digest={}\n",
            number % 60,
            hex::encode(drawn)
        )
    };
    let log: String = (0..40).map(line).collect();
    assert_eq!(search.any(log.as_bytes()), None, "of nothing");
    let mut random = Vec::new();
    (0..512_u64).for_each(|block| random.extend(crate::patients::drawn(&[SEED, block])));
    assert_eq!(search.any(&random), None, "of noise");
    let mut missed = Vec::new();
    for (disguise, disguised) in &disguises()[..SEARCHED] {
        for begin in [0, 1, 777, 1002] {
            let mut leaking = log.clone().into_bytes();
            let secret = disguised(marks[1].as_bytes());
            leaking.splice(begin..begin, secret);
            if search.any(&leaking).is_none() {
                missed.push((*disguise, begin));
            }
        }
    }
    assert_eq!(missed, []);
}
