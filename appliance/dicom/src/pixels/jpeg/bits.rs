//! Entropy-coded bits and Huffman codes (ISO/IEC 10918-1 annexes C and F.2).

use super::super::error::Fault;

pub(super) const STEP: &str = "JPEG entropy coding";

/// The bits of one restart interval. Ends at a marker; there is nothing to read beyond it.
pub(super) struct BitReader<'b> {
    rest: &'b [u8],
    buffer: u64,
    held: u32,
}

impl<'b> BitReader<'b> {
    pub(super) fn new(rest: &'b [u8]) -> Self {
        Self {
            rest,
            buffer: 0,
            held: 0,
        }
    }

    /// The next `count` bits, at most 16.
    pub(super) fn bits(&mut self, count: u32) -> Result<u32, Fault> {
        if self.held < count {
            self.fill();
            if self.held < count {
                return Err(Fault::new(STEP, "the data ends too early"));
            }
        }
        self.held -= count;
        // At most 16 bits are left of the mask.
        Ok((self.buffer >> self.held) as u32 & ((1 << count) - 1))
    }

    /// A number of `count` bits whose highest bit is its sign (figure F.12).
    pub(super) fn signed(&mut self, count: u32) -> Result<i32, Fault> {
        if count == 0 {
            return Ok(0);
        }
        let value = self.bits(count)?.cast_signed();
        let half = 1 << (count - 1);
        Ok(if value < half {
            value - 2 * half + 1
        } else {
            value
        })
    }

    /// Passes the restart marker, or says that there is none.
    pub(super) fn restart(&mut self) -> Result<(), Fault> {
        self.buffer = 0;
        self.held = 0;
        match self.rest {
            [0xFF, 0xD0..=0xD7, rest @ ..] => {
                self.rest = rest;
                Ok(())
            }
            _ => Err(Fault::new(STEP, "a restart marker is missing")),
        }
    }

    /// What comes after the entropy-coded data: a marker, or nothing.
    pub(super) fn after(self) -> &'b [u8] {
        let is_marker = |pair: &[u8]| pair[0] == 0xFF && !matches!(pair[1], 0 | 0xFF);
        match self.rest.windows(2).position(is_marker) {
            Some(at) => &self.rest[at..],
            None => &[],
        }
    }

    fn fill(&mut self) {
        while self.held <= 48 {
            let byte = match self.rest {
                [0xFF, 0, rest @ ..] => {
                    self.rest = rest;
                    0xFF
                }
                [0xFF, ..] | [] => return,
                [byte, rest @ ..] => {
                    self.rest = rest;
                    *byte
                }
            };
            self.buffer = self.buffer << 8 | u64::from(byte);
            self.held += 8;
        }
    }
}

/// A Huffman table, decoded code length by code length.
#[derive(Clone)]
pub(super) struct Huffman {
    /// For each length from 1 to 16: the first code, how many there are, and where their values begin.
    lengths: [(u32, u32, usize); 16],
    values: Vec<u8>,
}

impl Huffman {
    /// From the 16 counts and the values of a DHT segment.
    pub(super) fn new(counts: &[u8; 16], values: &[u8]) -> Result<Self, Fault> {
        let mut lengths = [(0, 0, 0); 16];
        let (mut code, mut start) = (0_u32, 0_usize);
        for (length, count) in counts.iter().enumerate() {
            lengths[length] = (code, u32::from(*count), start);
            code += u32::from(*count);
            start += usize::from(*count);
            if code > 1 << (length + 1) {
                return Err(Fault::new(STEP, "a Huffman table has too many codes"));
            }
            code <<= 1;
        }
        if values.len() != start {
            return Err(Fault::new(STEP, "a Huffman table is cut off"));
        }
        Ok(Self {
            lengths,
            values: values.to_vec(),
        })
    }

    /// The value of the next code.
    pub(super) fn decode(&self, bits: &mut BitReader<'_>) -> Result<u8, Fault> {
        let mut code = 0;
        for (first, count, start) in self.lengths {
            code = code << 1 | bits.bits(1)?;
            // Codes of one length follow each other; a shorter one would have been found before.
            if let Some(index) = code.checked_sub(first).filter(|i| *i < count) {
                return Ok(self.values[start + index as usize]);
            }
        }
        Err(Fault::new(STEP, "a code that is in no table"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes() {
        let mut counts = [0; 16];
        counts[0] = 1;
        counts[1] = 1;
        counts[2] = 2;
        let table = Huffman::new(&counts, &[5, 6, 7, 8]).expect("a table");
        let mut bits = BitReader::new(&[0b0101_1011, 0xFF, 0x00, 0xFF, 0xD9]);
        let mut next = || table.decode(&mut bits);
        assert_eq!([(); 4].map(|()| next().expect("a code")), [5, 6, 7, 8]);
        assert_eq!(next().expect("a stuffed byte"), 8);
        assert_eq!(next().expect("more of it"), 8);
        assert!(next().is_err(), "two bits and a marker");
        counts[0] = 3;
        assert!(Huffman::new(&counts, &[0; 6]).is_err());
    }

    #[test]
    fn signs() {
        for (byte, count, expected) in [
            (0b0000_0000, 3, -7),
            (0b1000_0000, 3, 4),
            (0b1110_0000, 3, 7),
            (0, 0, 0),
        ] {
            assert_eq!(
                BitReader::new(&[byte]).signed(count).expect("bits"),
                expected
            );
        }
    }
}
