//! Frames as bytes, for those who decode or measure themselves: as they are stored, or uncompressed.

use super::{PixelError, Pixels, Samples};

impl Pixels {
    /// A frame as it is stored: its compressed bytes, or its uncompressed ones with numbers in little endian.
    ///
    /// # Errors
    /// When there is no such frame or its bytes are not there; see [`PixelError`].
    pub fn stored_bytes(&mut self, frame: u32) -> Result<Vec<u8>, PixelError> {
        let frames = self.layout.frames;
        if frame == 0 || frame > frames {
            return Err(PixelError::NoSuchFrame { frame, frames });
        }
        let Some(all) = self.uncompressed() else {
            return self.encoded(frame);
        };
        let (mut bytes, bit) = self.cells(all, frame)?;
        let bits = self.layout.native_bits();
        if (bytes.len() as u64) * 8 < bits + u64::from(bit) {
            return Err(PixelError::Description(
                "there are fewer pixels than its size says",
            ));
        }
        if self.encoding.big_endian {
            let cell = self.layout.allocated as usize / 8;
            bytes.chunks_mut(cell.max(1)).for_each(<[u8]>::reverse);
        }
        Ok(shifted(bytes, bit, bits))
    }

    /// A frame as uncompressed bytes in little endian, whatever it is stored as: samples of Bits Allocated, pixel by pixel
    /// when they had to be decoded, and colour then as RGB.
    ///
    /// # Errors
    /// As [`Pixels::frame`].
    pub fn native_bytes(&mut self, frame: u32) -> Result<Vec<u8>, PixelError> {
        if self.uncompressed().is_some() {
            return self.stored_bytes(frame);
        }
        let stored = self.stored(frame)?;
        Ok(packed(&stored.samples, self.layout.allocated))
    }
}

/// The frame's bits from the first bit of the first byte on, and none after them.
fn shifted(mut bytes: Vec<u8>, bit: u32, bits: u64) -> Vec<u8> {
    if bit > 0 {
        for i in 0..bytes.len() {
            let next = bytes.get(i + 1).copied().unwrap_or(0);
            bytes[i] = bytes[i] >> bit | next << (8 - bit);
        }
    }
    // At most the bytes of a frame, which are there.
    bytes.truncate(bits.div_ceil(8) as usize);
    if let (Some(last), rest @ 1..) = (bytes.last_mut(), bits % 8) {
        *last &= (1 << rest) - 1;
    }
    bytes
}

/// Samples in cells of so many bits.
fn packed(samples: &Samples, allocated: u32) -> Vec<u8> {
    let numbers: Box<dyn Iterator<Item = u32>> = match samples {
        // Two's complement in as many bits as there are.
        Samples::Integer(samples) => Box::new(samples.iter().map(|s| s.cast_unsigned())),
        // Unsigned ones of 32 bits, which are whole and not negative.
        Samples::Real(samples) => Box::new(samples.iter().map(|s| *s as u32)),
    };
    match allocated {
        1 => {
            let numbers: Vec<u32> = numbers.collect();
            let byte = |eight: &[u32]| {
                let bits = eight.iter().enumerate();
                bits.fold(0, |byte, (i, bit)| byte | (u8::from(*bit != 0) << i))
            };
            numbers.chunks(8).map(byte).collect()
        }
        8 => numbers.map(|n| n as u8).collect(),
        16 => numbers.flat_map(|n| (n as u16).to_le_bytes()).collect(),
        _ => numbers.flat_map(u32::to_le_bytes).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_begins_at_its_own_bit() {
        assert_eq!(shifted(vec![0b1011_0110, 0b0000_0101], 3, 8), [0b1011_0110]);
        assert_eq!(shifted(vec![0b1111_1111], 0, 3), [0b111]);
        assert_eq!(shifted(vec![1, 2, 3], 0, 16), [1, 2]);
    }

    #[test]
    fn samples_fill_their_cells() {
        let of =
            |samples: &[i32], allocated| packed(&Samples::Integer(samples.to_vec()), allocated);
        assert_eq!(of(&[-2, 300], 16), [0xFE, 0xFF, 0x2C, 0x01]);
        assert_eq!(of(&[1, 255], 8), [1, 255]);
        assert_eq!(of(&[1, 0, 1, 0, 0, 0, 0, 0, 1], 1), [0b101, 1]);
        let wide = packed(&Samples::Real(vec![4_294_967_295.0]), 32);
        assert_eq!(wide, [255; 4]);
    }
}
