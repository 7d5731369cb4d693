//! Made-up patients: what they are called, and images of them. Two hospitals' patients differ in every text, id and pixel,
//! and their images look the same to the model.

use sha2::{Digest as _, Sha256};

/// The transfer syntax of what is made here: explicit VR, little-endian.
const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";
/// Ultrasound image.
const ULTRASOUND: &str = "1.2.840.10008.5.1.4.1.1.6.1";
const WIDTH: usize = 120;
const HEIGHT: usize = 48;
/// How many pixels a dot of a digit has on each side.
const DOT: usize = 2;

/// A hospital's patients.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patients {
    /// Another number is another hospital.
    pub(crate) hospital: u64,
}

/// One of them.
#[derive(Debug, Clone)]
pub(crate) struct Patient {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) born: String,
    /// Five digits that belong to nobody else: they are burned into pixels and written into prompts, where another text
    /// would be another amount of work.
    pub(crate) digits: String,
}

impl Patients {
    pub(crate) fn patient(self, number: u64) -> Patient {
        let drawn = drawn(&[self.hospital, number]);
        let hex = hex::encode(drawn);
        Patient {
            name: format!("Q{}^{}", &hex[..8], &hex[8..12]),
            id: format!("PID{}", &hex[12..22]),
            born: format!(
                "19{:02}0{}1{}",
                10 + drawn[20] % 89,
                1 + drawn[21] % 9,
                drawn[22] % 10
            ),
            // No digit twice in a row, none that is read as a letter, and none that is another one upside down: the model turns
            // what seems to stand on its head.
            digits: digits(&drawn[24..]),
        }
    }
}

fn digits(drawn: &[u8]) -> String {
    let mut digits = String::new();
    for byte in drawn {
        let digit = char::from(b"234578"[usize::from(byte % 6)]);
        if !digits.ends_with(digit) {
            digits.push(digit);
        }
    }
    while digits.len() < 5 {
        let next = if digits.ends_with('7') { '4' } else { '7' };
        digits.push(next);
    }
    digits.truncate(5);
    digits
}

/// Bytes that follow from these numbers.
pub(crate) fn drawn(numbers: &[u64]) -> [u8; 32] {
    let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    Sha256::digest(bytes).into()
}

/// What an image is of.
#[derive(Debug, Clone)]
pub(crate) struct Image<'a> {
    pub(crate) patient: &'a Patient,
    /// The last components of its UIDs: study, and image in it.
    pub(crate) study: u64,
    pub(crate) image: u64,
    /// Whether the patient's digits are burned into it.
    pub(crate) has_text: bool,
}

impl Image<'_> {
    pub(crate) fn study_uid(&self) -> String {
        format!("1.2.826.0.1.3680043.9.7.{}", self.study)
    }

    fn uid(&self) -> String {
        format!("{}.1.{}", self.study_uid(), self.image)
    }

    /// The whole file.
    pub(crate) fn file(&self) -> Vec<u8> {
        let mut meta = Elements::default();
        meta.text(0x0002, 0x0002, "UI", ULTRASOUND);
        meta.text(0x0002, 0x0003, "UI", &self.uid());
        meta.text(0x0002, 0x0010, "UI", EXPLICIT_LE);
        meta.text(0x0002, 0x0012, "UI", "1.2.826.0.1.3680043.9.7");
        let mut file = vec![0; 128];
        file.extend(b"DICM");
        let mut length = Elements::default();
        length.element(0x0002, 0x0000, "UL", &(meta.0.len() as u32).to_le_bytes());
        file.extend(length.0);
        file.extend(meta.0);
        file.extend(self.data_set().0);
        file
    }

    fn data_set(&self) -> Elements {
        let Patient {
            name,
            id,
            born,
            digits,
        } = self.patient;
        let mut set = Elements::default();
        set.text(0x0008, 0x0005, "CS", "ISO_IR 192");
        set.text(0x0008, 0x0016, "UI", ULTRASOUND);
        set.text(0x0008, 0x0018, "UI", &self.uid());
        set.text(0x0008, 0x0020, "DA", "20250106");
        set.text(0x0008, 0x0030, "TM", "101010");
        set.text(0x0008, 0x0050, "SH", &format!("AC{digits}"));
        set.text(0x0008, 0x0060, "CS", "US");
        set.text(0x0008, 0x0080, "LO", &format!("Clinic {digits}"));
        set.text(0x0008, 0x0090, "PN", &format!("Referrer^{digits}"));
        set.text(0x0008, 0x1030, "LO", &format!("Study of {name}"));
        set.text(0x0010, 0x0010, "PN", name);
        set.text(0x0010, 0x0020, "LO", id);
        set.text(0x0010, 0x0030, "DA", born);
        set.text(0x0010, 0x4000, "LT", &format!("{name} said: {digits}"));
        set.text(0x0011, 0x0010, "LO", "PRIVATE");
        set.text(0x0011, 0x1001, "LO", &format!("private {id}"));
        set.text(0x0020, 0x000D, "UI", &self.study_uid());
        set.text(0x0020, 0x000E, "UI", &format!("{}.1", self.study_uid()));
        set.text(0x0020, 0x0010, "SH", digits);
        set.text(0x0020, 0x0011, "IS", "1");
        set.text(0x0020, 0x0013, "IS", &self.image.to_string());
        set.element(0x0028, 0x0002, "US", &1_u16.to_le_bytes());
        set.text(0x0028, 0x0004, "CS", "MONOCHROME2");
        set.element(0x0028, 0x0010, "US", &(HEIGHT as u16).to_le_bytes());
        set.element(0x0028, 0x0011, "US", &(WIDTH as u16).to_le_bytes());
        set.element(0x0028, 0x0100, "US", &8_u16.to_le_bytes());
        set.element(0x0028, 0x0101, "US", &8_u16.to_le_bytes());
        set.element(0x0028, 0x0102, "US", &7_u16.to_le_bytes());
        set.element(0x0028, 0x0103, "US", &0_u16.to_le_bytes());
        set.element(0x7FE0, 0x0010, "OB", &self.pixels());
        set
    }

    /// Dim noise that is another for every patient, and the digits on it.
    fn pixels(&self) -> Vec<u8> {
        let mut pixels = Vec::with_capacity(WIDTH * HEIGHT);
        let seed = Sha256::digest(&self.patient.id);
        let seed = u64::from_le_bytes(std::array::from_fn(|at| seed[at]));
        for block in 0..(WIDTH * HEIGHT / 32) as u64 {
            let noise = drawn(&[seed, self.study, self.image, block]);
            pixels.extend(noise.map(|byte| 16 + byte % 8));
        }
        if self.has_text {
            burn(&mut pixels, &self.patient.digits);
        }
        pixels
    }
}

/// Five by seven dots for each digit, a row a number.
const FONT: [[u8; 7]; 10] = [
    [
        0b01110, 0b10001, 0b10011, 0b10101, 0b11001, 0b10001, 0b01110,
    ],
    [
        0b00100, 0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110,
    ],
    [
        0b01110, 0b10001, 0b00001, 0b00010, 0b00100, 0b01000, 0b11111,
    ],
    [
        0b11111, 0b00010, 0b00100, 0b00010, 0b00001, 0b10001, 0b01110,
    ],
    [
        0b00010, 0b00110, 0b01010, 0b10010, 0b11111, 0b00010, 0b00010,
    ],
    [
        0b11111, 0b10000, 0b11110, 0b00001, 0b00001, 0b10001, 0b01110,
    ],
    [
        0b00110, 0b01000, 0b10000, 0b11110, 0b10001, 0b10001, 0b01110,
    ],
    [
        0b11111, 0b00001, 0b00010, 0b00100, 0b01000, 0b01000, 0b01000,
    ],
    [
        0b01110, 0b10001, 0b10001, 0b01110, 0b10001, 0b10001, 0b01110,
    ],
    [
        0b01110, 0b10001, 0b10001, 0b01111, 0b00001, 0b00010, 0b01100,
    ],
];

/// Draws with soft edges and room between digits, as machines do. Dots with hard edges are at the limit of what the model
/// reads: it found some and overlooked others, and two hospitals' scores were not the same.
fn burn(pixels: &mut [u8], text: &str) {
    let mut ink = vec![0_u8; pixels.len()];
    for (place, digit) in text.bytes().enumerate() {
        for (row, dots) in FONT[usize::from(digit - b'0')].iter().enumerate() {
            for column in (0..5).filter(|column| dots >> (4 - column) & 1 == 1) {
                let x = 20 + (place * 7 + column) * DOT;
                let y = 16 + row * DOT;
                spot(&mut ink, x, y);
            }
        }
    }
    for (pixel, ink) in pixels.iter_mut().zip(ink) {
        *pixel = ink.max(*pixel);
    }
}

/// One dot, whose every pixel wets its neighbours too.
fn spot(ink: &mut [u8], x: usize, y: usize) {
    for at in 0..DOT * DOT {
        let (x, y) = (x + at % DOT, y + at / DOT);
        for near in 0..9 {
            let place = (y + near / 3 - 1) * WIDTH + x + near % 3 - 1;
            ink[place] = ink[place].saturating_add(39);
        }
    }
}

/// Elements of a data set, as they are written.
#[derive(Debug, Default)]
pub(crate) struct Elements(pub(crate) Vec<u8>);

impl Elements {
    pub(crate) fn element(&mut self, group: u16, element: u16, vr: &str, value: &[u8]) {
        self.0.extend(group.to_le_bytes());
        self.0.extend(element.to_le_bytes());
        self.0.extend(vr.as_bytes());
        if [
            "OB", "OW", "OF", "OD", "OL", "OV", "SQ", "UC", "UN", "UR", "UT", "SV", "UV",
        ]
        .contains(&vr)
        {
            self.0.extend([0, 0]);
            self.0.extend((value.len() as u32).to_le_bytes());
        } else {
            self.0.extend((value.len() as u16).to_le_bytes());
        }
        self.0.extend(value);
    }

    pub(crate) fn text(&mut self, group: u16, element: u16, vr: &str, value: &str) {
        let mut bytes = value.as_bytes().to_vec();
        if bytes.len() % 2 == 1 {
            bytes.push(if vr == "UI" { 0 } else { b' ' });
        }
        self.element(group, element, vr, &bytes);
    }
}
