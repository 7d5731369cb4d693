//! The colour space of pictures on screens (sRGB) as a profile of the International Color Consortium, version 2
//! (ICC.1:2001-04), which a colour presentation state must carry (PS3.3 section C.11.15).
//!
//! Written from the standard's numbers: the primaries of IEC 61966-2-1, adapted to D50, and a gamma of 2.2.

/// Length of a profile's header, bytes.
const HEADER_BYTES: usize = 128;
/// Length of one entry in a profile's table of tags, bytes.
const ENTRY_BYTES: usize = 12;
/// The white point of the connection space, D50.
const D50: [f64; 3] = [0.9642, 1.0, 0.8249];
const RED: [f64; 3] = [0.436_07, 0.222_49, 0.013_92];
const GREEN: [f64; 3] = [0.385_15, 0.716_87, 0.097_08];
const BLUE: [f64; 3] = [0.143_07, 0.060_61, 0.714_10];
/// 2.2 in 8.8 bits.
const GAMMA: u16 = 0x0233;

/// The profile.
pub(super) fn srgb() -> Vec<u8> {
    let curve = curve();
    let tags: [(&[u8; 4], Vec<u8>); 9] = [
        (b"desc", description("sRGB")),
        (b"cprt", copyright("No copyright, use freely")),
        (b"wtpt", xyz(D50)),
        (b"rXYZ", xyz(RED)),
        (b"gXYZ", xyz(GREEN)),
        (b"bXYZ", xyz(BLUE)),
        (b"rTRC", curve.clone()),
        (b"gTRC", curve.clone()),
        (b"bTRC", curve),
    ];
    let mut offset = HEADER_BYTES + 4 + tags.len() * ENTRY_BYTES;
    let (mut table, mut data) = (Vec::new(), Vec::new());
    table.extend_from_slice(&(tags.len() as u32).to_be_bytes());
    for (name, mut value) in tags {
        table.extend_from_slice(name);
        table.extend_from_slice(&(offset as u32).to_be_bytes());
        table.extend_from_slice(&(value.len() as u32).to_be_bytes());
        value.resize(value.len().next_multiple_of(4), 0);
        offset += value.len();
        data.extend_from_slice(&value);
    }
    let mut profile = header(offset as u32);
    profile.extend_from_slice(&table);
    profile.extend_from_slice(&data);
    profile
}

fn header(length: u32) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(&length.to_be_bytes());
    header.extend_from_slice(&[0; 4]); // no preferred engine
    header.extend_from_slice(&[2, 0x10, 0, 0]);
    header.extend_from_slice(b"mntrRGB XYZ ");
    for number in [2026_u16, 1, 1, 0, 0, 0] {
        header.extend_from_slice(&number.to_be_bytes()); // when: the same for every profile
    }
    header.extend_from_slice(b"acsp");
    header.resize(68, 0);
    for number in D50 {
        header.extend_from_slice(&fixed(number));
    }
    header.resize(HEADER_BYTES, 0);
    header
}

/// A number in 16.16 bits.
fn fixed(number: f64) -> [u8; 4] {
    ((number * 65536.0).round() as i32).to_be_bytes()
}

fn xyz(place: [f64; 3]) -> Vec<u8> {
    let mut value = b"XYZ \0\0\0\0".to_vec();
    for number in place {
        value.extend_from_slice(&fixed(number));
    }
    value
}

fn curve() -> Vec<u8> {
    let mut value = b"curv\0\0\0\0\0\0\0\x01".to_vec();
    value.extend_from_slice(&GAMMA.to_be_bytes());
    value
}

fn copyright(text: &str) -> Vec<u8> {
    let mut value = b"text\0\0\0\0".to_vec();
    value.extend_from_slice(text.as_bytes());
    value.push(0);
    value
}

fn description(text: &str) -> Vec<u8> {
    /// The empty Unicode and Macintosh forms that must follow.
    const OTHER_FORMS_BYTES: usize = 8 + 3 + 67;
    let mut value = b"desc\0\0\0\0".to_vec();
    value.extend_from_slice(&(text.len() as u32 + 1).to_be_bytes());
    value.extend_from_slice(text.as_bytes());
    value.push(0);
    value.resize(value.len() + OTHER_FORMS_BYTES, 0);
    value
}
