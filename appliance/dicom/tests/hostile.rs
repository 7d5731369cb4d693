//! What a stranger may send: every cause that brought another reader down, and thousands that nobody thought of.
//! Each must end in a picture or in a sentence, and in little memory.

#[path = "hostile/corpus.rs"]
mod corpus;
#[path = "hostile/memory.rs"]
mod memory;
mod samples;

use corpus::*;
use pericard_dicom::object::read_file;
use pericard_dicom::pixels::{PixelError, Pixels};
use pericard_dicom::scan::{ScanError, ScanLimits, scan_file};
use std::io::Cursor;
use std::time::{Duration, Instant};

/// Most that any of these may take: they are all about nothing.
const SMALL_BYTES: usize = 24 * 1024 * 1024;

/// Longest that one of these may take on a busy machine. What took this long once took 6 to 10 s, the others milliseconds.
const LONG: Duration = Duration::from_secs(3);

fn scan(bytes: &[u8]) -> Result<(), ScanError> {
    scan_file(&mut Cursor::new(bytes), &ScanLimits::default()).map(drop)
}

/// Everything that the room can do with a file, first frame only.
fn everything(bytes: &[u8]) -> Result<(), PixelError> {
    let mut pixels = Pixels::from_reader(Cursor::new(bytes.to_vec()), &ScanLimits::default())?;
    pixels.frame(1)?;
    match pixels.values(1) {
        Err(PixelError::NotGrey) => Ok(()),
        other => other.map(drop),
    }
}

/// Refused, with these words, by whatever looks at it, in little memory.
fn refused(name: &str, bytes: &[u8], words: &str) {
    let (result, peak) = memory::peak(|| everything(bytes));
    let error = result.expect_err(name).to_string();
    assert!(error.contains(words), "{name}: {error}");
    let allowed = SMALL_BYTES + 2 * bytes.len();
    assert!(peak < allowed, "{name}: {peak} bytes at once");
}

/// A data set that is about its structure only: the scan itself refuses it.
fn refused_by_scan(name: &str, bytes: &[u8], words: &str) {
    let error = scan(bytes).expect_err(name).to_string();
    assert!(error.contains(words), "{name}: {error}");
    refused(name, bytes, words);
}

#[test]
fn what_is_whole_is_read() {
    for bytes in [
        structured(),
        Image::default().native(64),
        Image::default().compressed(RLE, &rle_stream()),
        Image {
            allocated: 16,
            ..Image::default()
        }
        .compressed(JPEG_EXTENDED, &jpeg_12_bit_stream()),
    ] {
        everything(&bytes).expect("decodes");
    }
}

#[test]
fn a_file_cut_anywhere_shows_no_picture() {
    let whole = structured();
    for cut in 0..whole.len() {
        let bytes = &whole[..cut];
        assert!(everything(bytes).is_err(), "cut at {cut}");
        let _ = read_file(&mut Cursor::new(bytes), &ScanLimits::default());
    }
}

#[test]
fn lengths_of_gigabytes_in_a_few_bytes() {
    const HUGE: u32 = 0xffff_fff0;
    for vr in [b"OB", b"OW", b"UN", b"UT", b"UC", b"OV", b"SQ", b"ZZ"] {
        for tag in [(8, 0x1140), (9, 0x1010), (0x28, 0x3006), (0x7fe0, 0x10)] {
            let bytes = file(
                EXPLICIT,
                &[identity(), header(tag, vr, HUGE), vec![0; 20]].concat(),
            );
            refused_by_scan("explicit", &bytes, "truncated");
        }
    }
    let implicit = file(IMPLICIT, &[bare((8, 0x1140), HUGE), vec![0; 20]].concat());
    refused_by_scan("implicit", &implicit, "truncated");
    let item = [
        identity(),
        header((8, 0x1140), b"SQ", UNDEFINED),
        bare(ITEM, HUGE),
    ];
    refused_by_scan("item", &file(EXPLICIT, &item.concat()), "truncated");
    let fragment = [
        identity(),
        header((0x7fe0, 0x10), b"OB", UNDEFINED),
        bare(ITEM, HUGE),
    ];
    refused_by_scan("fragment", &file(RLE, &fragment.concat()), "truncated");
    let inner = element((8, 0x1150), b"UI", &[b'1'; 40]);
    let too_long = [
        identity(),
        header((8, 0x1140), b"SQ", 30),
        bare(ITEM, UNDEFINED),
        inner,
    ];
    refused_by_scan(
        "longer than what holds it",
        &file(EXPLICIT, &too_long.concat()),
        "truncated",
    );
    let deflated_ = file(
        DEFLATED,
        &deflated(&[identity(), header((9, 0x10), b"UN", HUGE)].concat()),
    );
    refused_by_scan("deflated", &deflated_, "truncated");
}

#[test]
fn nesting_without_end() {
    for depth in [100, 1_000, 10_000, 1_000_000] {
        for vr in [b"SQ", b"UN"] {
            let level = [header((9, 0x1010), vr, UNDEFINED), bare(ITEM, UNDEFINED)].concat();
            let bytes = file(EXPLICIT, &[identity(), level.repeat(depth)].concat());
            refused_by_scan(
                "nested",
                &bytes,
                if *vr == *b"SQ" { "nested deeper" } else { "" },
            );
        }
        let level = [bare((8, 0x1140), UNDEFINED), bare(ITEM, UNDEFINED)].concat();
        refused_by_scan(
            "implicit",
            &file(IMPLICIT, &level.repeat(depth)),
            "nested deeper",
        );
    }
}

#[test]
fn crowds() {
    let elements = element((9, 0x1010), b"LO", b"").repeat(1_000_001);
    let bytes = file(EXPLICIT, &[identity(), elements].concat());
    assert!(
        scan(&bytes)
            .expect_err("elements")
            .to_string()
            .contains("data elements")
    );
    // Kept in memory, half of them are already too many.
    let (result, peak) =
        memory::peak(|| read_file(&mut Cursor::new(&bytes), &ScanLimits::default()));
    assert!(
        result
            .expect_err("elements")
            .to_string()
            .contains("the values of the data set")
    );
    assert!(peak < 256 << 20, "{peak} bytes at once");
    let items = [
        header((8, 0x1140), b"SQ", UNDEFINED),
        bare(ITEM, 0).repeat(500_001),
    ]
    .concat();
    let bytes = file(EXPLICIT, &[identity(), items].concat());
    assert!(
        scan(&bytes)
            .expect_err("items")
            .to_string()
            .contains("sequence items")
    );
    let fragments = [
        header((0x7fe0, 0x10), b"OB", UNDEFINED),
        bare(ITEM, 0).repeat(500_001),
    ];
    let bytes = file(RLE, &[identity(), fragments.concat()].concat());
    refused_by_scan("fragments", &bytes, "fragments");
}

#[test]
fn a_deflate_bomb() {
    let mut data_set = identity();
    data_set.extend(header((0x7fe0, 0x10), b"OW", 600 << 20));
    data_set.resize(data_set.len() + (600 << 20), 0);
    let bytes = file(DEFLATED, &deflated(&data_set));
    drop(data_set);
    refused_by_scan("bomb", &bytes, "inflates to more than");
    let garbage = file(DEFLATED, &[0xff; 300]);
    refused_by_scan("garbage", &garbage, "damaged");
}

#[test]
fn names_that_are_paths() {
    for uid in [
        &b"../../../../etc/x"[..],
        b"/etc/passwd",
        b"1.2\0.3",
        b"1..2",
        &[b'1'; 66],
        b"\xff\xfe",
    ] {
        let mut value = uid.to_vec();
        value.resize(value.len().next_multiple_of(2), 0);
        for tag in [(8, 0x18), (0x20, 0x0d), (0x20, 0x0e)] {
            let others: Vec<u8> = [(8, 0x16), (8, 0x18), (0x20, 0x0d), (0x20, 0x0e)]
                .into_iter()
                .map(|t| element(t, b"UI", if t == tag { &value } else { b"1.2\0" }))
                .collect::<Vec<_>>()
                .concat();
            refused_by_scan("a path", &file(EXPLICIT, &others), "is not a UID");
        }
    }
}

#[test]
fn representations_that_lie() {
    let odd = [
        element((0x28, 0x10), b"US", &[1, 2, 3]),
        element((0x28, 0x11), b"SQ", b""),
        element((0x28, 0x100), b"ZZ", &[1]),
        element((8, 0x60), b"FD", &[1, 2, 3]),
        element((0x28, 0x1053), b"DS", b"1e999\\nan"),
        [&[9, 0, 0x10, 0][..], &[0, 0, 4, 0, 1, 2, 3, 4]].concat(),
    ];
    for bytes in odd {
        let bytes = file(EXPLICIT, &[identity(), bytes].concat());
        let (_, peak) = memory::peak(|| (scan(&bytes), everything(&bytes).is_err()));
        assert!(peak < SMALL_BYTES);
    }
    let text = file(
        EXPLICIT,
        &[identity(), element((8, 0x1140), b"SQ", b"not an item here")].concat(),
    );
    refused_by_scan("a sequence of text", &text, "does not allow it");
    for tag in [ITEM, ITEM_END, SEQUENCE_END] {
        let bytes = file(EXPLICIT, &[identity(), bare(tag, 0)].concat());
        refused_by_scan("a delimiter at large", &bytes, "does not allow it");
    }
}

#[test]
fn texts_of_garbage() {
    let mut random = Random(7);
    for charset in [
        "",
        "ISO_IR 192",
        "GB18030",
        "\\ISO 2022 IR 87",
        "\\ISO 2022 IR 149",
        "ISO_IR 13",
        "nonsense",
    ] {
        for _ in 0..300 {
            let mut name = vec![0; 64];
            name.iter_mut().for_each(|b| {
                *b = if random.below(4) == 0 {
                    0x1b
                } else {
                    random.below(256) as u8
                }
            });
            let body = [
                element((8, 0x05), b"CS", charset.as_bytes()),
                element((0x10, 0x10), b"PN", &name),
                element((0x10, 0x20), b"LO", &name),
                identity(),
            ];
            scan(&file(EXPLICIT, &body.concat())).expect("the text is the sender's business");
        }
    }
    let long = element((0x10, 0x20), b"UT", &[b'x'; 5000]);
    refused_by_scan(
        "a long id",
        &file(EXPLICIT, &[identity(), long].concat()),
        "longer than",
    );
}

#[test]
fn images_that_lie_about_their_size() {
    let image = Image::default();
    let wrong = "make no sense";
    refused("empty", &Image { rows: 0, ..image }.native(64), wrong);
    refused(
        "huge",
        &Image {
            rows: 65535,
            columns: 65535,
            ..image
        }
        .native(64),
        "at most",
    );
    refused(
        "samples",
        &Image {
            samples: 65535,
            ..image
        }
        .native(64),
        wrong,
    );
    refused(
        "bits",
        &Image {
            allocated: 65535,
            ..image
        }
        .native(64),
        wrong,
    );
    refused(
        "bits 0",
        &Image {
            allocated: 0,
            ..image
        }
        .native(64),
        wrong,
    );
    for frames in [
        &b"99999999999 "[..],
        b"-1",
        b"1e9 ",
        b"0 ",
        b"4294967296",
        b"\xff\xff",
    ] {
        let bytes = [
            identity(),
            image.attributes(),
            element((0x28, 0x08), b"IS", frames),
        ];
        let pixels = element((0x7fe0, 0x10), b"OW", &[7; 64]);
        let bytes = file(EXPLICIT, &[bytes.concat(), pixels].concat());
        refused("frames", &bytes, wrong);
    }
    refused("short", &image.native(62), "64 bytes are needed and 62");
    let many = Image {
        frames: b"4294967295",
        ..image
    };
    everything(&many.native(64)).expect("the first frame is there");
    let mut pixels =
        Pixels::from_reader(Cursor::new(many.native(64)), &ScanLimits::default()).expect("opens");
    assert!(pixels.frame(u32::MAX).is_err());
    assert!(pixels.frame(0).is_err());
    refused(
        "fragments",
        &many.compressed(RLE, &rle_stream()),
        "fewer fragments",
    );
}

#[test]
fn streams_that_lie_about_their_size() {
    let image = Image::default();
    let rle = |at: usize, value: u32| {
        let mut stream = rle_stream();
        stream[at..at + 4].copy_from_slice(&value.to_le_bytes());
        image.compressed(RLE, &stream)
    };
    for (at, value) in [
        (0, 0),
        (0, 16),
        (0, u32::MAX),
        (0, 2),
        (4, 0),
        (4, 9999),
        (4, u32::MAX),
    ] {
        refused("rle", &rle(at, value), "RLE");
    }
    refused(
        "rle",
        &image.compressed(RLE, &[1, 2, 3]),
        "shorter than its header",
    );
    refused(
        "rle",
        &image.compressed(RLE, &rle_stream()[..70]),
        "before the frame is full",
    );
    for (syntax, marker) in [
        (JPEG, 0xc0),
        (JPEG_EXTENDED, 0xc1),
        (JPEG, 0xc2),
        (JPEG, 0xc3),
        (JPEG_LS, 0xf7),
    ] {
        for (stream, words) in [
            (sof(marker, 8, 65535, 65535, 1), "not Rows by Columns"),
            (sof(marker, 8, 8, 8, 3), "not Samples per Pixel"),
            (sof(marker, 8, 8, 8, 0), "not Samples per Pixel"),
            (sof(marker, 16, 8, 8, 1), "more bits a sample"),
            (sof(marker, 0, 8, 8, 1), "broken frame header"),
            (
                [
                    &sof(marker, 8, 8, 8, 1)[..14],
                    &sof(marker, 8, 8, 8, 1)[2..],
                ]
                .concat(),
                "",
            ),
            (sof(marker, 8, 8, 8, 1), ""),
            (vec![0xff, 0xd8], "cut off"),
            (vec![0; 40], "start of image"),
        ] {
            refused("jpeg", &image.compressed(syntax, &stream), words);
        }
    }
    for (stream, words) in [
        (siz(u32::MAX, 8, 1, 0xff), "not Rows by Columns"),
        (siz(8, 8, 16384, 0xff), "not Samples per Pixel"),
        (siz(8, 0, 1, 0xff), "broken size"),
        (siz(8, 8, 1, 0xff), ""),
        (vec![0xff, 0x4f], "cut off"),
        (vec![0; 40], "neither"),
        (b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\0".to_vec(), "neither"),
    ] {
        refused("jpeg 2000", &image.compressed(JPEG_2000, &stream), words);
    }
    let large = Image {
        rows: 4096,
        columns: 4096,
        ..image
    };
    refused(
        "tiles",
        &large.compressed(JPEG_2000, &siz(4096, 1, 1, 0xff)),
        "too many tiles",
    );
    refused(
        "precincts",
        &large.compressed(JPEG_2000, &siz(4096, 4096, 1, 0)),
        "too many precincts",
    );
}

/// Found by mutation: without a marker at its end, 8 by 8 pixels took the codec 10 seconds.
#[test]
fn a_jpeg_ls_stream_without_an_end() {
    let mut stream = sof(0xf7, 8, 8, 8, 1);
    let end = stream.len() - 2;
    stream[end] = 0xef;
    let bytes = Image::default().compressed(JPEG_LS, &stream);
    let begun = Instant::now();
    assert!(everything(&bytes).is_err());
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
}

/// Numbers that are the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        // Xorshift; anything that stirs will do.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }

    /// A few bytes changed, taken out or put in, or the end taken off.
    fn mutate(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(8) {
                0 => bytes.truncate(at.max(1)),
                1 => bytes[at] = 0xff,
                2 => bytes[at] = 0,
                3 => bytes[at] ^= 1 << self.below(8),
                4 => drop(bytes.drain(at..(at + 1 + self.below(8)).min(bytes.len()))),
                5 => bytes.insert(at, self.below(256) as u8),
                6 => bytes[at] = bytes[at].wrapping_add(1),
                _ => bytes[at] = self.below(256) as u8,
            }
            if bytes.is_empty() {
                bytes.push(0);
            }
        }
        bytes
    }
}

fn survives(name: &str, whole: &[u8], rounds: usize, allowed: usize) {
    let mut random = Random(0x5eed_0001);
    for round in 0..rounds {
        let bytes = random.mutate(whole);
        let (took, peak) = memory::peak(|| {
            let begun = Instant::now();
            let _ = scan(&bytes);
            let _ = everything(&bytes);
            begun.elapsed()
        });
        assert!(took < LONG, "{name}, round {round}: {took:?}");
        assert!(
            peak < allowed,
            "{name}, round {round}: {peak} bytes at once"
        );
    }
}

#[test]
fn mutations_of_our_own_files() {
    let sixteen = Image {
        allocated: 16,
        ..Image::default()
    };
    let deflated_ = file(DEFLATED, &deflated(&structured()[166..]));
    for (name, whole) in [
        ("structured", structured()),
        (
            "native",
            Image {
                samples: 3,
                ..Image::default()
            }
            .native(192),
        ),
        ("deflated", deflated_),
        ("rle", Image::default().compressed(RLE, &rle_stream())),
        (
            "jpeg 12 bit",
            sixteen.compressed(JPEG_EXTENDED, &jpeg_12_bit_stream()),
        ),
        (
            "jpeg",
            Image::default().compressed(JPEG, &sof(0xc0, 8, 8, 8, 1)),
        ),
        (
            "jpeg-ls",
            Image::default().compressed(JPEG_LS, &sof(0xf7, 8, 8, 8, 1)),
        ),
        (
            "jpeg 2000",
            Image::default().compressed(JPEG_2000, &siz(8, 8, 1, 0xff)),
        ),
    ] {
        // A mutated size is believed up to what one frame may have.
        survives(name, &whole, 3000, 512 << 20);
    }
}

#[test]
fn mutations_of_public_files() {
    let Some(files) = samples::files() else {
        return;
    };
    for (name, rounds) in [
        ("MR_small_jp2klossless.dcm", 300),
        ("MR_small_jpeg_ls_lossless.dcm", 300),
        ("MR_small_RLE.dcm", 300),
        ("SC_rgb_jpeg_dcmtk.dcm", 300),
        ("SC_rgb_jpeg_gdcm.dcm", 300),
        ("JPEG-lossy.dcm", 60),
        ("JPEG-LL.dcm", 60),
    ] {
        let Some(path) = files.iter().find(|f| f.ends_with(name)) else {
            continue;
        };
        let whole = std::fs::read(path).expect("readable");
        survives(name, &whole, rounds, 600 << 20);
    }
}
