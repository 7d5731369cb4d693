//! Proofs of a stranger against a log, and our own proofs against themselves.
#![no_main]

use pericard_audit::proof::{check_consistency, check_inclusion, consistency, inclusion};
use pericard_audit::{Frontier, Hash};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let [size, at, rest @ ..] = bytes else { return };
    let (size, at) = (u64::from(*size % 65), u64::from(*at));
    let leaves: Vec<Hash> = (0..size).map(|n| Hash::new([n as u8; 32])).collect();
    let root = leaves.iter().copied().collect::<Frontier>().root();
    let claimed: Vec<Hash> = rest
        .as_chunks::<32>()
        .0
        .iter()
        .map(|bytes| Hash::new(*bytes))
        .collect();
    let leaf = Hash::new([at as u8; 32]);
    let _ = check_inclusion(leaf, u64::MAX - at, (u64::MAX, root), &claimed);
    let forged = check_inclusion(Hash::new([0xFE; 32]), at, (size, root), &claimed);
    assert!(forged.is_err(), "a leaf that is not in the log was proved");
    let _ = check_consistency((at, leaf), (u64::MAX, root), &claimed);
    if let Ok(proof) = inclusion(&leaves, at) {
        check_inclusion(leaf, at, (size, root), &proof).expect("a proof of our own");
    }
    if let Ok(proof) = consistency(&leaves, at) {
        let earlier = leaves[..at as usize]
            .iter()
            .copied()
            .collect::<Frontier>()
            .root();
        check_consistency((at, earlier), (size, root), &proof).expect("a proof of our own");
    }
});
