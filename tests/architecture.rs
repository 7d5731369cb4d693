//! The walls of the house, as data. Every failure says which wall, why it stands, and what to do instead.
//!
//! A room is a crate under `appliance/`. A new room must buy a forbidden edge, keep a heavy dependency in one place, or
//! part two callers; its reason stands in [`ROOMS`].

#[path = "architecture/graph.rs"]
mod graph;
#[path = "architecture/licence.rs"]
mod licence;
#[path = "architecture/source.rs"]
mod source;
#[path = "architecture/walls.rs"]
mod walls;

use graph::Graph;
use std::collections::BTreeSet;
use std::path::Path;
use walls::{
    EGRESS_OPENS, EGRESS_TAKES, KEYS, NO_CLIENT, NOBODY, ROOMS, SEALED, SEAMS, TOP, WORDS,
};

/// Tracked files are text and small golden cases; weights and volumes are fetched by hash.
const MAX_TRACKED_FILE_BYTES: u64 = 1 << 20;

#[test]
fn every_room_is_in_the_table_and_every_line_of_the_table_is_a_room() {
    let graph = Graph::read();
    let built: BTreeSet<&str> = graph.rooms().collect();
    let told: BTreeSet<&str> = ROOMS.iter().map(|room| room.name).collect();
    let untold: Vec<_> = built.difference(&told).collect();
    assert!(
        untold.is_empty(),
        "{untold:?} under appliance/ are not in ROOMS (tests/architecture/walls.rs). A new room must buy a forbidden edge, \
         keep a heavy dependency in one place, or part two callers: say which in its line, or put the code into a room \
         that is there."
    );
    let gone: Vec<_> = told.difference(&built).collect();
    assert!(
        gone.is_empty(),
        "{gone:?} are in ROOMS and not under appliance/: remove their lines."
    );
}

#[test]
fn rooms_name_only_the_rooms_that_they_may() {
    let graph = Graph::read();
    for room in ROOMS {
        for named in graph.rooms_named_by(room.name) {
            assert!(
                room.may.contains(&named),
                "`{0}` names `{named}` in its Cargo.toml, and may name only {may:?}. `{0}` is: {what} \
                 Hand it what it needs as a value or a trait of its own, and let a room that may name both bring them \
                 together; or change ROOMS, with the reason.",
                room.name,
                may = room.may,
                what = room.what,
            );
        }
    }
}

#[test]
fn only_the_keepers_name_what_is_kept_in_one_place() {
    let graph = Graph::read();
    for key in KEYS {
        for name in key.crates {
            for room in graph.members_naming(name) {
                assert!(
                    key.keepers.contains(&room),
                    "`{room}` names the crate `{name}`, which only {:?} may: {} Ask a keeper for what you need, in words \
                     of `domain`.",
                    key.keepers,
                    key.reason,
                );
            }
        }
    }
}

#[test]
fn sealed_rooms_reach_nothing_forbidden_by_any_road() {
    let graph = Graph::read();
    for seal in SEALED {
        for room in seal.rooms {
            for forbidden in seal.never {
                let road = graph.road(room, forbidden);
                assert!(
                    road.is_none(),
                    "`{room}` reaches `{forbidden}` by the road {}. It must not: {}",
                    road.unwrap_or_default().join(" > "),
                    seal.reason,
                );
            }
        }
    }
}

#[test]
fn nothing_that_is_shipped_can_call_out() {
    let graph = Graph::read();
    for name in NOBODY {
        let road = graph.road("src", name);
        assert!(
            road.is_none(),
            "the binary contains `{name}` by the road {}. Nothing leaves the building but through `egress`, so no HTTP \
             client and no telemetry is linked: find the feature that brings it in and switch it off.",
            road.unwrap_or_default().join(" > "),
        );
    }
    for name in NO_CLIENT {
        let client: Vec<_> = graph
            .features(name)
            .filter(|f| f.contains("client"))
            .collect();
        assert!(
            client.is_empty(),
            "`{name}` is built with {client:?}: an HTTP server needs no client. Switch the feature off."
        );
    }
}

#[test]
fn every_dependency_comes_from_the_registry_under_a_licence_that_we_may_ship() {
    let graph = Graph::read();
    for package in graph.outsiders() {
        assert!(
            package.source.starts_with("registry+"),
            "`{}` comes from {}. A release must be built again years later from packages that cannot change: use a \
             published version.",
            package.name,
            package.source,
        );
        assert!(
            licence::is_allowed(&package.licence)
                || licence::is_looked_at(&package.name, &package.licence),
            "`{}` is under {:?}, which ALLOWED (tests/architecture/licence.rs) and .deny.toml do not hold. Use another \
             crate, or have the licence looked at and add it to both.",
            package.name,
            package.licence,
        );
    }
}

#[test]
fn rooms_are_given_their_values_their_time_and_their_doors() {
    for file in source::room_files() {
        for word in WORDS {
            if word.rooms.contains(&file.room.as_str()) {
                continue;
            }
            let found = word.texts.iter().find_map(|text| {
                let at = file.shipped.find(text)?;
                Some((text, file.shipped[..at].lines().count().max(1)))
            });
            if let Some((text, line)) = found {
                panic!(
                    "{}:{line} says `{text}`, which only {:?} may: {}",
                    file.path.display(),
                    word.rooms,
                    word.reason
                );
            }
        }
    }
}

#[test]
fn what_tests_may_replace_has_one_answer_in_what_is_shipped() {
    let files = source::room_files();
    for (text, places) in SEAMS {
        let said = files.iter().filter(|file| file.shipped.contains(text));
        let said: BTreeSet<_> = said.map(|file| file.path.display().to_string()).collect();
        let known: BTreeSet<_> = places.iter().map(|place| (*place).to_owned()).collect();
        assert_eq!(
            said, known,
            "`{text}` is a seam for tests of what leaves: what is shipped has one clock, one chance and one kind of leaves, \
             and no key, variable or argument for another. Make another in the test, or change SEAMS, with the reason."
        );
    }
}

#[test]
fn egress_is_told_only_closed_enums_and_integers() {
    let functions = source::public_functions("egress");
    assert!(
        functions.len() >= 8,
        "the functions were not found: {functions:?}"
    );
    for function in functions {
        for parameter in &function.parameters {
            let known = EGRESS_TAKES.contains(&parameter.as_str());
            let place = EGRESS_OPENS.contains(&(function.name.as_str(), parameter.as_str()));
            assert!(
                known || place,
                "`{}` of `egress` takes `{parameter}`. It may take only {EGRESS_TAKES:?}: what can carry a text can carry \
                 a patient. Add a variant to a closed enum instead.",
                function.name,
            );
        }
    }
}

#[test]
fn at_the_top_stands_only_what_belongs_there_and_nothing_tracked_is_large() {
    let Some(tracked) = source::tracked_files() else {
        assert!(
            std::env::var_os("CI").is_none(),
            "git is missing: install it"
        );
        return; // an unpacked release has no git to ask
    };
    for file in &tracked {
        let top = file.components().next().expect("a path has a part");
        let top = top.as_os_str().to_string_lossy();
        assert!(
            top.starts_with('.') || TOP.contains(&top.as_ref()),
            "{} is tracked, and at the top stand only {TOP:?} and dot-files: put it into one of the folders.",
            file.display(),
        );
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let bytes = path.metadata().map_or(0, |meta| meta.len());
        assert!(
            bytes <= MAX_TRACKED_FILE_BYTES,
            "{} has {bytes} bytes, and a tracked file has at most {MAX_TRACKED_FILE_BYTES}: pin it by hash in a \
             fetch.toml or samples.toml, or generate it in the test.",
            file.display(),
        );
    }
}

#[test]
fn the_checks_can_fail() {
    let graph = Graph::read();
    assert!(
        graph.road("src", "rusqlite").is_some(),
        "no road from the binary to its database?"
    );
    assert!(graph.road("frame", "serde").is_none());
    assert!(graph.members_naming("rusqlite").any(|room| room == "store"));
    assert!(graph.rooms_named_by("egress").any(|room| room == "frame"));
    for (licence, allowed) in [
        ("MIT", true),
        ("MIT/Apache-2.0", true),
        ("GPL-3.0-only", false),
        ("GPL-3.0-only OR MIT", true),
        ("GPL-3.0-only AND MIT", false),
        ("(MIT OR GPL-3.0-only) AND (ISC)", true),
        ("MIT AND", false),
        ("", false),
    ] {
        assert_eq!(licence::is_allowed(licence), allowed, "{licence:?}");
    }
}
