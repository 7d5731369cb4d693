//! Small objects, written byte by byte, so that any of them can lie.

pub(crate) const EXPLICIT: &str = "1.2.840.10008.1.2.1";
pub(crate) const IMPLICIT: &str = "1.2.840.10008.1.2";
pub(crate) const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
pub(crate) const RLE: &str = "1.2.840.10008.1.2.5";
pub(crate) const JPEG: &str = "1.2.840.10008.1.2.4.50";
pub(crate) const JPEG_EXTENDED: &str = "1.2.840.10008.1.2.4.51";
pub(crate) const JPEG_LS: &str = "1.2.840.10008.1.2.4.80";
pub(crate) const JPEG_2000: &str = "1.2.840.10008.1.2.4.90";

pub(crate) const UNDEFINED: u32 = u32::MAX;
pub(crate) const ITEM: (u16, u16) = (0xfffe, 0xe000);
pub(crate) const ITEM_END: (u16, u16) = (0xfffe, 0xe00d);
pub(crate) const SEQUENCE_END: (u16, u16) = (0xfffe, 0xe0dd);

/// A tag and a length in implicit VR little endian: items and delimiters everywhere.
pub(crate) fn bare((group, element): (u16, u16), length: u32) -> Vec<u8> {
    let mut bytes = group.to_le_bytes().to_vec();
    bytes.extend(element.to_le_bytes());
    bytes.extend(length.to_le_bytes());
    bytes
}

/// The header of an element in explicit VR little endian, with any length.
pub(crate) fn header((group, element): (u16, u16), vr: &[u8; 2], length: u32) -> Vec<u8> {
    let mut bytes = group.to_le_bytes().to_vec();
    bytes.extend(element.to_le_bytes());
    bytes.extend(vr);
    if matches!(
        vr,
        b"OB" | b"OW" | b"SQ" | b"UN" | b"UT" | b"UC" | b"OV" | b"ZZ"
    ) {
        bytes.extend([0, 0]);
        bytes.extend(length.to_le_bytes());
    } else {
        bytes.extend((length as u16).to_le_bytes());
    }
    bytes
}

pub(crate) fn element(tag: (u16, u16), vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
    let mut bytes = header(tag, vr, value.len() as u32);
    bytes.extend(value);
    bytes
}

/// What every object needs.
pub(crate) fn identity() -> Vec<u8> {
    [
        element((8, 0x05), b"CS", b"ISO_IR 192"),
        element((8, 0x16), b"UI", b"1.2.840.10008.5.1.4.1.1.7\0"),
        element((8, 0x18), b"UI", b"1.2.3.4\0"),
        element((8, 0x60), b"CS", b"OT"),
        element((0x10, 0x10), b"PN", b"Doe^Jane"),
        element((0x20, 0x0d), b"UI", b"1.2.3.40"),
        element((0x20, 0x0e), b"UI", b"1.2.3.41"),
    ]
    .concat()
}

/// How an image describes itself.
#[derive(Clone, Copy)]
pub(crate) struct Image {
    pub(crate) rows: u16,
    pub(crate) columns: u16,
    pub(crate) samples: u16,
    pub(crate) allocated: u16,
    pub(crate) frames: &'static [u8],
}

impl Default for Image {
    fn default() -> Self {
        Self {
            rows: 8,
            columns: 8,
            samples: 1,
            allocated: 8,
            frames: b"1 ",
        }
    }
}

impl Image {
    pub(crate) fn attributes(self) -> Vec<u8> {
        let photometric: &[u8] = if self.samples == 3 {
            b"RGB "
        } else {
            b"MONOCHROME2 "
        };
        let number = |element_, value: u16| element((0x28, element_), b"US", &value.to_le_bytes());
        [
            number(0x02, self.samples),
            element((0x28, 0x04), b"CS", photometric),
            element((0x28, 0x08), b"IS", self.frames),
            number(0x10, self.rows),
            number(0x11, self.columns),
            number(0x100, self.allocated),
            number(0x101, self.allocated),
            number(0x102, self.allocated.wrapping_sub(1)),
            number(0x103, 0),
        ]
        .concat()
    }

    /// A file with these attributes and these compressed bytes.
    pub(crate) fn compressed(self, syntax: &str, stream: &[u8]) -> Vec<u8> {
        let mut stream = stream.to_vec();
        stream.resize(stream.len().next_multiple_of(2), 0);
        let pixels = [
            header((0x7fe0, 0x10), b"OB", UNDEFINED),
            bare(ITEM, 0),
            bare(ITEM, stream.len() as u32),
            stream,
            bare(SEQUENCE_END, 0),
        ]
        .concat();
        file(syntax, &[identity(), self.attributes(), pixels].concat())
    }

    /// A file with these attributes and as many bytes of uncompressed pixels.
    pub(crate) fn native(self, bytes: usize) -> Vec<u8> {
        let pixels = element((0x7fe0, 0x10), b"OW", &vec![7; bytes]);
        file(EXPLICIT, &[identity(), self.attributes(), pixels].concat())
    }
}

/// A data set as a file.
pub(crate) fn file(syntax: &str, data_set: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 128];
    bytes.extend(b"DICM");
    let mut uid = syntax.as_bytes().to_vec();
    uid.resize(uid.len().next_multiple_of(2), 0);
    bytes.extend(element((2, 0x10), b"UI", &uid));
    bytes.extend(data_set);
    bytes
}

pub(crate) fn deflated(data_set: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data_set).expect("in memory");
    encoder.finish().expect("in memory")
}

/// A valid object with sequences of every form.
pub(crate) fn structured() -> Vec<u8> {
    let inner = element((8, 0x1150), b"UI", b"1.2\0");
    let item = [bare(ITEM, inner.len() as u32), inner.clone()].concat();
    let open = [bare(ITEM, UNDEFINED), inner, bare(ITEM_END, 0)].concat();
    let body = [
        identity(),
        element((8, 0x1140), b"SQ", &[item.clone(), open.clone()].concat()),
        header((8, 0x2112), b"SQ", UNDEFINED),
        item,
        open,
        bare(SEQUENCE_END, 0),
        header((9, 0x1010), b"UN", UNDEFINED),
        bare(ITEM, UNDEFINED),
        bare((8, 0x60), 2),
        b"CT".to_vec(),
        bare(ITEM_END, 0),
        bare(SEQUENCE_END, 0),
        element((0x28, 0x1050), b"DS", b"40\\80 "),
        element((0x28, 0x1051), b"DS", b"400 "),
        Image::default().attributes(),
        element((0x7fe0, 0x10), b"OW", &[9; 64]),
    ];
    file(EXPLICIT, &body.concat())
}

/// A valid 8 by 8 frame in RLE.
pub(crate) fn rle_stream() -> Vec<u8> {
    let mut stream = vec![0; 64];
    stream[0] = 1;
    stream[4] = 64;
    stream.extend([224, 5, 31]);
    stream.extend(0..32);
    stream.push(0);
    stream
}

/// A valid 8 by 8 frame in extended sequential JPEG, 12 bits: one flat block, as hand-made as its tables.
pub(crate) fn jpeg_12_bit_stream() -> Vec<u8> {
    let table = |class: u8| [&[0xff, 0xc4, 0, 20, class, 1][..], &[0; 15], &[0]].concat();
    [
        vec![0xff, 0xd8, 0xff, 0xdb, 0, 67, 0],
        vec![1; 64],
        vec![0xff, 0xc1, 0, 11, 12, 0, 8, 0, 8, 1, 1, 0x11, 0],
        table(0x00),
        table(0x10),
        vec![0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0],
        vec![0b0011_1111, 0xff, 0xd9],
    ]
    .concat()
}

/// A JPEG or JPEG-LS stream whose frame header says anything.
pub(crate) fn sof(marker: u8, precision: u8, rows: u16, columns: u16, components: u8) -> Vec<u8> {
    let [r1, r0] = rows.to_be_bytes();
    let [c1, c0] = columns.to_be_bytes();
    let length = 8 + 3 * components;
    let mut stream = vec![
        0xff, 0xd8, 0xff, marker, 0, length, precision, r1, r0, c1, c0, components,
    ];
    for id in 0..components {
        stream.extend([id + 1, 0x11, 0]);
    }
    stream.extend([0xff, 0xda, 0, 6 + 2 * components, components]);
    for id in 0..components {
        stream.extend([id + 1, 0]);
    }
    stream.extend([0, 0, 0, 1, 2, 3, 0xff, 0xd9]);
    stream
}

/// A JPEG 2000 codestream whose size says anything.
pub(crate) fn siz(size: u32, tile: u32, components: u16, precinct: u8) -> Vec<u8> {
    let word = |w: u32| w.to_be_bytes();
    let mut stream = vec![0xff, 0x4f, 0xff, 0x51];
    stream.extend((38 + 3 * components).to_be_bytes());
    stream.extend([0, 0]);
    for value in [size, size, 0, 0, tile, tile, 0, 0] {
        stream.extend(word(value));
    }
    stream.extend(components.to_be_bytes());
    stream.extend([7, 1, 1].repeat(usize::from(components)));
    stream.extend([0xff, 0x52, 0, 13, 1, 0, 0, 1, 0, 0, 4, 4, 0, 1, precinct]);
    stream.extend([
        0xff, 0x90, 0, 10, 0, 0, 0, 0, 0, 14, 0, 1, 0xff, 0x93, 0xff, 0xd9,
    ]);
    stream
}
