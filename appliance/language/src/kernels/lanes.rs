//! Sixteen floats at a time, with the same bits on every tier.
//!
//! Every operation is the plain one of each of the sixteen floats, so what is written once in terms of them gives the
//! same result whatever they are compiled to. All functions are inlined always: their callers are compiled for the
//! instructions, which is also what makes them safe to call there and nowhere else.

use std::array::from_fn;

/// Sixteen floats.
///
/// # Safety
/// An implementation may only be used in functions that are compiled for its instructions.
pub(crate) unsafe trait Lanes: Copy {
    fn splat(value: f32) -> Self;
    fn load(from: &[f32; 16]) -> Self;
    /// From sixteen-bit floats.
    fn widen(from: &[u16; 16]) -> Self;
    /// From whole numbers of a byte.
    fn unsigned(from: &[u8; 16]) -> Self;
    /// From whole numbers of a signed byte.
    fn signed(from: &[u8; 16]) -> Self;
    fn store(self, into: &mut [f32; 16]);
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    fn max(self, other: Self) -> Self;
    fn min(self, other: Self) -> Self;
    /// `self * factor + addend` with one rounding.
    fn fma(self, factor: Self, addend: Self) -> Self;
    /// Two to the power of the whole number that is kept as itself plus [`MAGIC`].
    fn power(self) -> Self;
    /// Zero where `self` is below `limit`, else `value`.
    fn zero_below(self, limit: Self, value: Self) -> Self;

    /// The sum, always in the same order.
    #[inline(always)]
    fn sum(self) -> f32 {
        fold(self, |a, b| a + b)
    }

    /// The largest.
    #[inline(always)]
    fn largest(self) -> f32 {
        fold(self, f32::max)
    }

    /// The exponential: exactly one at zero, exactly zero below -87, within 2 units of the last place above.
    #[inline(always)]
    fn exp(self) -> Self {
        let clamped = self.max(Self::splat(-87.0)).min(Self::splat(88.0));
        let shifted = clamped.fma(Self::splat(std::f32::consts::LOG2_E), Self::splat(MAGIC));
        let whole = shifted.sub(Self::splat(MAGIC));
        let rest = whole.fma(Self::splat(-0.693_359_4), clamped); // ln 2 in two parts, the first exact
        let rest = whole.fma(Self::splat(2.121_944_4e-4), rest);
        let sum = Self::splat(1.987_569_1e-4).fma(rest, Self::splat(1.398_2e-3));
        let sum = sum.fma(rest, Self::splat(8.333_452e-3));
        let sum = sum.fma(rest, Self::splat(4.166_579_6e-2));
        let sum = sum.fma(rest, Self::splat(1.666_666_5e-1));
        let sum = sum.fma(rest, Self::splat(0.5));
        let sum = sum.fma(rest.mul(rest), rest).add(Self::splat(1.0));
        self.zero_below(Self::splat(-87.0), sum.mul(shifted.power()))
    }
}

/// 1.5 * 2^23: a float of this size has no fraction, so adding it rounds to a whole number.
pub(crate) const MAGIC: f32 = 12_582_912.0;

/// The exponential of one float.
#[inline(always)]
pub(crate) fn exp<L: Lanes>(x: f32) -> f32 {
    let mut lane = [0.0; 16];
    L::splat(x).exp().store(&mut lane);
    lane[0]
}

/// Halves upon halves.
#[inline(always)]
fn fold<L: Lanes>(lanes: L, join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lane = [0.0; 16];
    lanes.store(&mut lane);
    let e: [f32; 8] = [
        join(lane[0], lane[8]),
        join(lane[1], lane[9]),
        join(lane[2], lane[10]),
        join(lane[3], lane[11]),
        join(lane[4], lane[12]),
        join(lane[5], lane[13]),
        join(lane[6], lane[14]),
        join(lane[7], lane[15]),
    ];
    let (a, b) = (join(e[0], e[4]), join(e[1], e[5]));
    let (c, d) = (join(e[2], e[6]), join(e[3], e[7]));
    join(join(a, c), join(b, d))
}

/// For every machine, and what the others are tested against.
#[derive(Clone, Copy)]
pub(crate) struct Plain([f32; 16]);

// SAFETY: it needs no instructions of its own.
unsafe impl Lanes for Plain {
    fn splat(value: f32) -> Self {
        Self([value; 16])
    }
    fn load(from: &[f32; 16]) -> Self {
        Self(*from)
    }
    fn widen(from: &[u16; 16]) -> Self {
        Self(from_fn(|i| half::f16::from_bits(from[i]).to_f32()))
    }
    fn unsigned(from: &[u8; 16]) -> Self {
        Self(from.map(f32::from))
    }
    fn signed(from: &[u8; 16]) -> Self {
        Self(from.map(|byte| f32::from(byte as i8)))
    }
    fn store(self, into: &mut [f32; 16]) {
        *into = self.0;
    }
    fn add(self, other: Self) -> Self {
        Self(from_fn(|i| self.0[i] + other.0[i]))
    }
    fn sub(self, other: Self) -> Self {
        Self(from_fn(|i| self.0[i] - other.0[i]))
    }
    fn mul(self, other: Self) -> Self {
        Self(from_fn(|i| self.0[i] * other.0[i]))
    }
    fn div(self, other: Self) -> Self {
        Self(from_fn(|i| self.0[i] / other.0[i]))
    }
    fn max(self, other: Self) -> Self {
        Self(from_fn(|i| self.0[i].max(other.0[i])))
    }
    fn min(self, other: Self) -> Self {
        Self(from_fn(|i| self.0[i].min(other.0[i])))
    }
    fn fma(self, factor: Self, addend: Self) -> Self {
        Self(from_fn(|i| self.0[i].mul_add(factor.0[i], addend.0[i])))
    }
    fn power(self) -> Self {
        Self(
            self.0
                .map(|value| f32::from_bits((value.to_bits() << 23).wrapping_add(0x3F80_0000))),
        )
    }
    fn zero_below(self, limit: Self, value: Self) -> Self {
        Self(from_fn(|i| {
            if self.0[i] < limit.0[i] {
                0.0
            } else {
                value.0[i]
            }
        }))
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Lanes;
    use std::arch::x86_64::*;

    /// One vector of AVX-512.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(pub(crate) __m512);

    // SAFETY (of every block): whoever uses the type is compiled for its instructions; arrays have sixteen values.
    unsafe impl Lanes for Avx512 {
        #[inline(always)]
        fn splat(value: f32) -> Self {
            Self(unsafe { _mm512_set1_ps(value) })
        }
        #[inline(always)]
        fn load(from: &[f32; 16]) -> Self {
            Self(unsafe { _mm512_loadu_ps(from.as_ptr()) })
        }
        #[inline(always)]
        fn widen(from: &[u16; 16]) -> Self {
            Self(unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) })
        }
        #[inline(always)]
        fn unsigned(from: &[u8; 16]) -> Self {
            Self(unsafe {
                let bytes = _mm_loadu_si128(from.as_ptr().cast());
                _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes))
            })
        }
        #[inline(always)]
        fn signed(from: &[u8; 16]) -> Self {
            Self(unsafe {
                let bytes = _mm_loadu_si128(from.as_ptr().cast());
                _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))
            })
        }
        #[inline(always)]
        fn store(self, into: &mut [f32; 16]) {
            unsafe { _mm512_storeu_ps(into.as_mut_ptr(), self.0) }
        }
        #[inline(always)]
        fn add(self, other: Self) -> Self {
            Self(unsafe { _mm512_add_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            Self(unsafe { _mm512_sub_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            Self(unsafe { _mm512_mul_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn div(self, other: Self) -> Self {
            Self(unsafe { _mm512_div_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn max(self, other: Self) -> Self {
            Self(unsafe { _mm512_max_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn min(self, other: Self) -> Self {
            Self(unsafe { _mm512_min_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn fma(self, factor: Self, addend: Self) -> Self {
            Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, addend.0) })
        }
        #[inline(always)]
        fn power(self) -> Self {
            unsafe {
                let shifted = _mm512_slli_epi32::<23>(_mm512_castps_si512(self.0));
                Self(_mm512_castsi512_ps(_mm512_add_epi32(
                    shifted,
                    _mm512_set1_epi32(0x3F80_0000),
                )))
            }
        }
        #[inline(always)]
        fn zero_below(self, limit: Self, value: Self) -> Self {
            unsafe {
                let keep = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(self.0, limit.0);
                Self(_mm512_maskz_mov_ps(keep, value.0))
            }
        }
    }

    /// Two vectors of AVX2.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(pub(crate) __m256, pub(crate) __m256);

    // SAFETY (of every block): as above.
    unsafe impl Lanes for Avx2 {
        #[inline(always)]
        fn splat(value: f32) -> Self {
            let half = unsafe { _mm256_set1_ps(value) };
            Self(half, half)
        }
        #[inline(always)]
        fn load(from: &[f32; 16]) -> Self {
            unsafe {
                Self(
                    _mm256_loadu_ps(from.as_ptr()),
                    _mm256_loadu_ps(from.as_ptr().add(8)),
                )
            }
        }
        #[inline(always)]
        fn widen(from: &[u16; 16]) -> Self {
            unsafe {
                let from = from.as_ptr().cast::<__m128i>();
                Self(
                    _mm256_cvtph_ps(_mm_loadu_si128(from)),
                    _mm256_cvtph_ps(_mm_loadu_si128(from.add(1))),
                )
            }
        }
        #[inline(always)]
        fn unsigned(from: &[u8; 16]) -> Self {
            unsafe {
                let from = from.as_ptr();
                let (low, high) = (
                    _mm_loadl_epi64(from.cast()),
                    _mm_loadl_epi64(from.add(8).cast()),
                );
                Self(
                    _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(low)),
                    _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(high)),
                )
            }
        }
        #[inline(always)]
        fn signed(from: &[u8; 16]) -> Self {
            unsafe {
                let from = from.as_ptr();
                let (low, high) = (
                    _mm_loadl_epi64(from.cast()),
                    _mm_loadl_epi64(from.add(8).cast()),
                );
                Self(
                    _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(low)),
                    _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(high)),
                )
            }
        }
        #[inline(always)]
        fn store(self, into: &mut [f32; 16]) {
            unsafe {
                _mm256_storeu_ps(into.as_mut_ptr(), self.0);
                _mm256_storeu_ps(into.as_mut_ptr().add(8), self.1);
            }
        }
        #[inline(always)]
        fn add(self, other: Self) -> Self {
            unsafe {
                Self(
                    _mm256_add_ps(self.0, other.0),
                    _mm256_add_ps(self.1, other.1),
                )
            }
        }
        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            unsafe {
                Self(
                    _mm256_sub_ps(self.0, other.0),
                    _mm256_sub_ps(self.1, other.1),
                )
            }
        }
        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            unsafe {
                Self(
                    _mm256_mul_ps(self.0, other.0),
                    _mm256_mul_ps(self.1, other.1),
                )
            }
        }
        #[inline(always)]
        fn div(self, other: Self) -> Self {
            unsafe {
                Self(
                    _mm256_div_ps(self.0, other.0),
                    _mm256_div_ps(self.1, other.1),
                )
            }
        }
        #[inline(always)]
        fn max(self, other: Self) -> Self {
            unsafe {
                Self(
                    _mm256_max_ps(self.0, other.0),
                    _mm256_max_ps(self.1, other.1),
                )
            }
        }
        #[inline(always)]
        fn min(self, other: Self) -> Self {
            unsafe {
                Self(
                    _mm256_min_ps(self.0, other.0),
                    _mm256_min_ps(self.1, other.1),
                )
            }
        }
        #[inline(always)]
        fn fma(self, factor: Self, addend: Self) -> Self {
            unsafe {
                Self(
                    _mm256_fmadd_ps(self.0, factor.0, addend.0),
                    _mm256_fmadd_ps(self.1, factor.1, addend.1),
                )
            }
        }
        #[inline(always)]
        fn power(self) -> Self {
            unsafe { Self(power(self.0), power(self.1)) }
        }
        #[inline(always)]
        fn zero_below(self, limit: Self, value: Self) -> Self {
            unsafe {
                let keep = _mm256_cmp_ps::<_CMP_NLT_UQ>(self.0, limit.0);
                let keep_high = _mm256_cmp_ps::<_CMP_NLT_UQ>(self.1, limit.1);
                Self(
                    _mm256_and_ps(keep, value.0),
                    _mm256_and_ps(keep_high, value.1),
                )
            }
        }
    }

    #[inline(always)]
    unsafe fn power(value: __m256) -> __m256 {
        // SAFETY: the caller's: the instructions are there.
        unsafe {
            let shifted = _mm256_slli_epi32::<23>(_mm256_castps_si256(value));
            _mm256_castsi256_ps(_mm256_add_epi32(shifted, _mm256_set1_epi32(0x3F80_0000)))
        }
    }
}

#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;

#[cfg(target_arch = "aarch64")]
mod neon {
    use super::Lanes;
    use std::arch::aarch64::*;
    use std::array::from_fn;

    /// Four vectors of NEON, which every aarch64 has.
    #[derive(Clone, Copy)]
    pub(crate) struct Neon(pub(crate) [float32x4_t; 4]);

    impl Neon {
        #[inline(always)]
        fn each(of: impl Fn(usize) -> float32x4_t) -> Self {
            Self(from_fn(of))
        }
    }

    // SAFETY (of every block): every such machine has the instructions; arrays have sixteen values.
    unsafe impl Lanes for Neon {
        #[inline(always)]
        fn splat(value: f32) -> Self {
            Self([unsafe { vdupq_n_f32(value) }; 4])
        }
        #[inline(always)]
        fn load(from: &[f32; 16]) -> Self {
            Self::each(|i| unsafe { vld1q_f32(from.as_ptr().add(4 * i)) })
        }
        #[inline(always)]
        fn widen(from: &[u16; 16]) -> Self {
            Self::each(|i| unsafe {
                vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from.as_ptr().add(4 * i))))
            })
        }
        #[inline(always)]
        fn unsigned(from: &[u8; 16]) -> Self {
            let halves = unsafe {
                let bytes = vld1q_u8(from.as_ptr());
                [vmovl_u8(vget_low_u8(bytes)), vmovl_high_u8(bytes)]
            };
            Self::each(|i| unsafe {
                let half = halves[i / 2];
                vcvtq_f32_u32(match i % 2 {
                    0 => vmovl_u16(vget_low_u16(half)),
                    _ => vmovl_high_u16(half),
                })
            })
        }
        #[inline(always)]
        fn signed(from: &[u8; 16]) -> Self {
            let halves = unsafe {
                let bytes = vld1q_s8(from.as_ptr().cast());
                [vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes)]
            };
            Self::each(|i| unsafe {
                let half = halves[i / 2];
                vcvtq_f32_s32(match i % 2 {
                    0 => vmovl_s16(vget_low_s16(half)),
                    _ => vmovl_high_s16(half),
                })
            })
        }
        #[inline(always)]
        fn store(self, into: &mut [f32; 16]) {
            for (into, lanes) in into.as_chunks_mut::<4>().0.iter_mut().zip(self.0) {
                unsafe { vst1q_f32(into.as_mut_ptr(), lanes) };
            }
        }
        #[inline(always)]
        fn add(self, other: Self) -> Self {
            Self::each(|i| unsafe { vaddq_f32(self.0[i], other.0[i]) })
        }
        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            Self::each(|i| unsafe { vsubq_f32(self.0[i], other.0[i]) })
        }
        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            Self::each(|i| unsafe { vmulq_f32(self.0[i], other.0[i]) })
        }
        #[inline(always)]
        fn div(self, other: Self) -> Self {
            Self::each(|i| unsafe { vdivq_f32(self.0[i], other.0[i]) })
        }
        #[inline(always)]
        fn max(self, other: Self) -> Self {
            Self::each(|i| unsafe { vmaxnmq_f32(self.0[i], other.0[i]) })
        }
        #[inline(always)]
        fn min(self, other: Self) -> Self {
            Self::each(|i| unsafe { vminnmq_f32(self.0[i], other.0[i]) })
        }
        #[inline(always)]
        fn fma(self, factor: Self, addend: Self) -> Self {
            Self::each(|i| unsafe { vfmaq_f32(addend.0[i], self.0[i], factor.0[i]) })
        }
        #[inline(always)]
        fn power(self) -> Self {
            Self::each(|i| unsafe {
                let shifted = vshlq_n_s32::<23>(vreinterpretq_s32_f32(self.0[i]));
                vreinterpretq_f32_s32(vaddq_s32(shifted, vdupq_n_s32(0x3F80_0000)))
            })
        }
        #[inline(always)]
        fn zero_below(self, limit: Self, value: Self) -> Self {
            Self::each(|i| unsafe {
                let below = vcltq_f32(self.0[i], limit.0[i]);
                let value = vreinterpretq_u32_f32(value.0[i]);
                vreinterpretq_f32_u32(vbicq_u32(value, below))
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_close_and_exact_where_it_must_be() {
        let exp = exp::<Plain>;
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-1000.0), 0.0);
        for step in -8_600..8_800 {
            let x = step as f32 / 100.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 3e-7, "exp({x})");
        }
    }
}
