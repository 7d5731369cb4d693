//! Whatever is done to a log, it is found, and the entry is named.

use pericard_audit::verify::{Content, Entry, Fault};
use pericard_audit::{Broken, Checkpoint, Frontier, SigningKey, Verifier, leaf, verify};
use proptest::prelude::*;

fn key() -> SigningKey {
    SigningKey::from_seed("log.example/1", &[3; 32]).expect("a good name")
}

fn log(count: u64) -> Vec<Entry> {
    let entry = |index: u64| {
        let salt = [(index * 7 + 1) as u8; 32];
        let record = format!("record {index}").into_bytes();
        let leaf = leaf(&salt, &record);
        let content = Content::Kept { salt, record };
        Entry {
            index,
            leaf,
            content,
        }
    };
    (0..count).map(entry).collect()
}

fn signed(entries: &[Entry]) -> String {
    let frontier: Frontier = entries.iter().map(|e| e.leaf).collect();
    let checkpoint = Checkpoint {
        origin: key().name().to_owned(),
        size: frontier.size(),
        root: frontier.root(),
    };
    checkpoint.sign(&key()).expect("signed")
}

fn check(entries: Vec<Entry>, note: &str) -> Result<u64, Broken> {
    verify(entries, note, &key().verifier()).map(|v| v.checkpoint.size)
}

fn renumber(entries: &mut [Entry]) {
    for (index, entry) in (0..).zip(entries) {
        entry.index = index;
    }
}

fn kept(entry: &mut Entry) -> (&mut [u8; 32], &mut Vec<u8>) {
    match &mut entry.content {
        Content::Kept { salt, record } => (salt, record),
        Content::Erased { .. } => unreachable!("the log is made of kept entries"),
    }
}

#[test]
fn an_untouched_log_verifies_and_so_does_the_empty_one() {
    for count in [0, 1, 2, 3, 255, 256, 257] {
        let entries = log(count);
        let note = signed(&entries);
        assert_eq!(check(entries, &note), Ok(count));
    }
}

#[test]
fn erased_content_still_verifies_and_is_counted() {
    let mut entries = log(9);
    let note = signed(&entries);
    for at in [0, 4] {
        let commitment = entries[at].content.commitment();
        entries[at].content = Content::Erased { commitment };
    }
    let verified = verify(entries.clone(), &note, &key().verifier()).expect("verified");
    assert_eq!(verified.erased, 2);
    entries[4].content = Content::Erased {
        commitment: [0; 32],
    };
    assert_eq!(fault(check(entries, &note)), (4, Fault::Changed));
}

#[test]
fn older_checkpoints_narrow_down_a_rewriting_and_reveal_a_rollback() {
    let honest = log(100);
    let notes: Vec<String> = [20, 40, 60, 80]
        .map(|n| signed(&honest[..n]))
        .into_iter()
        .collect();
    let verifying = |entries: &[Entry], note: &str| {
        let notes = notes.iter().map(String::as_str);
        let mut verifier =
            Verifier::new(note, &key().verifier())?.with_older(notes, &key().verifier())?;
        for entry in entries {
            verifier.push(entry)?;
        }
        verifier.finish().map(|v| v.checkpoint.size)
    };
    assert_eq!(verifying(&honest, &signed(&honest)), Ok(100));

    // Rewritten with its leaf, and signed afresh with a stolen key.
    let mut rewritten = honest.clone();
    rewrite(&mut rewritten[47]);
    let found = verifying(&rewritten, &signed(&rewritten));
    assert_eq!(fault(found), (40, Fault::Rewritten { before: 60 }));

    let rolled_back = &honest[..70];
    let found = verifying(rolled_back, &signed(rolled_back));
    assert_eq!(fault(found), (70, Fault::Truncated { signed: 80 }));
}

#[test]
fn a_checkpoint_by_another_key_is_not_believed() {
    let entries = log(3);
    let note = signed(&entries);
    let other = SigningKey::from_seed("log.example/1", &[4; 32]).expect("a good name");
    let refused = verify(entries, &note, &other.verifier()).expect_err("refused");
    assert!(matches!(refused.what, Fault::Checkpoint(_)), "{refused}");
}

fn rewrite(entry: &mut Entry) {
    let (salt, record) = kept(entry);
    record.push(b'!');
    entry.leaf = leaf(salt, record);
}

fn fault(found: Result<u64, Broken>) -> (u64, Fault) {
    let broken = found.expect_err("the tampering was not found");
    (broken.index, broken.what)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_flipped_bit_is_found(count in 1_u64..300, at: prop::sample::Index, byte: prop::sample::Index, bit in 0_u32..8, part in 0..3) {
        let mut entries = log(count);
        let note = signed(&entries);
        let at = at.index(entries.len());
        let entry = &mut entries[at];
        if part == 0 {
            let mut bytes = *entry.leaf.as_bytes();
            bytes[byte.index(32)] ^= 1_u8 << bit;
            entry.leaf = pericard_audit::Hash::new(bytes);
        } else {
            let (salt, record) = kept(entry);
            let bytes = if part == 1 { &mut salt[..] } else { &mut record[..] };
            let byte = byte.index(bytes.len());
            bytes[byte] ^= 1_u8 << bit;
        }
        prop_assert_eq!(fault(check(entries, &note)), (at as u64, Fault::Changed));
    }

    #[test]
    fn a_truncation_is_found(count in 1_u64..300, at: prop::sample::Index) {
        let mut entries = log(count);
        let note = signed(&entries);
        let at = at.index(entries.len());
        entries.truncate(at);
        prop_assert_eq!(fault(check(entries, &note)), (at as u64, Fault::Truncated { signed: count }));
    }

    #[test]
    fn a_dropped_entry_is_found(count in 2_u64..300, at: prop::sample::Index) {
        let mut entries = log(count);
        let note = signed(&entries);
        let at = at.index(entries.len() - 1); // the last one is a truncation
        entries.remove(at);
        let missing = Fault::Missing { found: at as u64 + 1 };
        prop_assert_eq!(fault(check(entries.clone(), &note)), (at as u64, missing));
        // Numbered anew, to hide it.
        renumber(&mut entries);
        prop_assert_eq!(fault(check(entries, &note)), (count - 1, Fault::Truncated { signed: count }));
    }

    #[test]
    fn an_added_entry_is_found(count in 1_u64..300, at: prop::sample::Index, hide: bool) {
        let mut entries = log(count);
        let note = signed(&entries);
        let at = at.index(entries.len() + 1);
        let mut added = log(count + 1).swap_remove(count as usize);
        added.index = at as u64;
        entries.insert(at, added);
        if hide {
            renumber(&mut entries);
        }
        let (index, what) = fault(check(entries, &note));
        let named = matches!(what, Fault::Added { .. }) && index == count
            || matches!(what, Fault::Missing { .. }) && index == at as u64 + 1;
        prop_assert!(named, "{index}: {what}");
    }

    #[test]
    fn a_reordering_is_found(count in 2_u64..300, a: prop::sample::Index, b: prop::sample::Index, hide: bool) {
        let mut entries = log(count);
        let note = signed(&entries);
        let (a, b) = (a.index(entries.len()), b.index(entries.len()));
        prop_assume!(a != b);
        entries.swap(a, b);
        if hide {
            renumber(&mut entries);
            prop_assert_eq!(fault(check(entries, &note)), (0, Fault::Rewritten { before: count }));
        } else {
            let (first, found) = (a.min(b) as u64, a.max(b) as u64);
            prop_assert_eq!(fault(check(entries, &note)), (first, Fault::Missing { found }));
        }
    }

    #[test]
    fn a_record_rewritten_with_its_leaf_is_found(count in 1_u64..300, at: prop::sample::Index) {
        let mut entries = log(count);
        let note = signed(&entries);
        let at = at.index(entries.len());
        rewrite(&mut entries[at]);
        prop_assert_eq!(fault(check(entries, &note)), (0, Fault::Rewritten { before: count }));
    }
}
