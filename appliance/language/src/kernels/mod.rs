//! The arithmetic: packed weights, matrix products, attention, and the threads that share them.
//!
//! This tree is the one place of the room where `unsafe` is allowed: vector instructions need it, and so do threads
//! that write disjoint parts of one buffer. Everything it shows to the room is safe.
//!
//! **Row-independent.** A row's result never depends on which other rows are computed with it: sums run over the
//! inner dimension in one fixed order, whatever the tiling. Integer sums are exact and the few float operations are
//! fused multiply-adds in the same order on every tier, so the tiers agree to the bit: the same seed gives the same
//! text alone, in a batch, and on another machine.
#![allow(unsafe_code)]

pub(crate) mod activation;
pub(crate) mod attention;
pub(crate) mod form;
pub(crate) mod lanes;
pub(crate) mod packed;
pub(crate) mod pages;
pub(crate) mod pool;
pub(crate) mod product;
pub(crate) mod rows;
mod scales;
mod tile_amx;
mod tile_avx2;
mod tile_avx512;
mod tile_neon;
mod tile_scalar;

#[cfg(test)]
pub(crate) mod allocations;

/// The instruction set that the products run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    /// Plain code, for every machine; the reference of the tests.
    #[cfg_attr(
        target_arch = "aarch64",
        allow(dead_code, reason = "outside tests, every such machine has more")
    )]
    Scalar,
    /// AVX2 with FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F, BW, VL, DQ and VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX-512 with VNNI, and the matrix unit (AMX) for prompts.
    #[cfg(target_arch = "x86_64")]
    Amx,
    /// NEON, of every aarch64.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// NEON with dot products of bytes.
    #[cfg(target_arch = "aarch64")]
    NeonDot,
}

impl Tier {
    /// The best tier of this machine.
    #[cfg(target_arch = "aarch64")]
    pub(crate) fn detect() -> Self {
        match std::arch::is_aarch64_feature_detected!("dotprod") {
            true => Self::NeonDot,
            false => Self::Neon,
        }
    }

    /// The best tier of this machine.
    #[cfg(not(target_arch = "aarch64"))]
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vnni");
            if avx2 && avx512 {
                return match tile_amx::lent() {
                    true => Self::Amx,
                    false => Self::Avx512,
                };
            }
            if avx2 {
                return Self::Avx2;
            }
        }
        Self::Scalar
    }

    /// Its name in logs and listings.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512-vnni",
            #[cfg(target_arch = "x86_64")]
            Self::Amx => "amx-int8",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "neon",
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot => "neon-dotprod",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    /// Every text in a source that stands between these words and the next quotation mark.
    fn quoted<'a>(source: &'a str, after: &str) -> Vec<&'a str> {
        let rests = source.split(after).skip(1);
        rests.filter_map(|rest| rest.split('"').next()).collect()
    }

    /// What a kernel is compiled for without being asked of the machine is an illegal instruction on some of them.
    #[test]
    fn every_instruction_set_that_a_kernel_is_compiled_for_is_asked_for() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kernels");
        let (mut compiled_for, mut asked_for) = (BTreeSet::new(), BTreeSet::new());
        for entry in std::fs::read_dir(dir).expect("the kernels") {
            let path = entry.expect("an entry").path();
            let source = std::fs::read_to_string(path).expect("a source");
            for sets in quoted(&source, "#[target_feature(enable = \"") {
                compiled_for.extend(sets.split(',').map(str::to_owned));
            }
            let extension = "arch_extension"; // apart from its beginning, so that this is not found itself
            for set in quoted(&source, &format!("\".{extension} ")) {
                compiled_for.insert(set.to_owned());
            }
            for question in ["is_x86_feature_detected", "is_aarch64_feature_detected"] {
                for set in quoted(&source, &format!("{question}!(\"")) {
                    asked_for.insert(set.to_owned());
                }
            }
        }
        assert!(compiled_for.contains("avx512vnni"), "{compiled_for:?}");
        assert!(compiled_for.contains("dotprod"), "{compiled_for:?}");
        let unasked: Vec<&String> = compiled_for.difference(&asked_for).collect();
        assert!(
            unasked.is_empty(),
            "{unasked:?} are not asked for in Tier::detect"
        );
    }
}
