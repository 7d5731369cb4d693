//! How much of what identifies somebody the rules find, on values and sentences that were made up. The figures stand in the README; a
//! rule that changes them changes them there, too. What a model adds is measured where models run: `tests/workers/marks.rs`.

mod planted;

use planted::{PLANTED, is_found};

#[test]
fn the_rules_find_as_much_as_the_readme_says() {
    let readme = include_str!("../../../README.md");
    for planted in PLANTED {
        let found = planted
            .all()
            .filter(|(value, sentence)| is_found(value, sentence, &[]));
        let kind = planted.kind;
        assert_eq!(found.count(), planted.found, "{kind}");
        let row = planted.row();
        assert!(readme.contains(&row), "the README has no row {row}");
    }
}
