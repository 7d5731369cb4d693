//! Licences under which a dependency may be shipped with an Apache-2.0 product: permissive ones only.
//! `.deny.toml` holds the same list, for the tool that checks more than this.

const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "IJG",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates under a licence that is none of these, and was looked at. The Mozilla Public License is about the crate's own files:
/// who gets the binary must be able to get them, and they are the published crate's, unchanged (packaging/copyright.txt).
const LOOKED_AT: &[(&str, &str)] = &[("prio", "MPL-2.0 AND Apache-2.0 AND MIT")];

/// Whether this crate may be shipped under this licence although it is none of those that any may be under.
pub(crate) fn is_looked_at(name: &str, expression: &str) -> bool {
    LOOKED_AT.contains(&(name, expression))
}

/// Whether an SPDX expression leaves a way that is allowed. An expression that cannot be read does not.
pub(crate) fn is_allowed(expression: &str) -> bool {
    // Older crates write a slash for OR.
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    either(&mut rest) == Some(true) && rest.is_empty()
}

fn either(rest: &mut &[&str]) -> Option<bool> {
    let mut allowed = both(rest)?;
    while skip(rest, "OR") {
        allowed |= both(rest)?;
    }
    Some(allowed)
}

fn both(rest: &mut &[&str]) -> Option<bool> {
    let mut allowed = one(rest)?;
    while skip(rest, "AND") {
        allowed &= one(rest)?;
    }
    Some(allowed)
}

fn one(rest: &mut &[&str]) -> Option<bool> {
    if skip(rest, "(") {
        let allowed = either(rest)?;
        return skip(rest, ")").then_some(allowed);
    }
    let (name, after) = rest.split_first()?;
    *rest = after;
    if !skip(rest, "WITH") {
        return Some(ALLOWED.contains(name));
    }
    let (exception, after) = rest.split_first()?;
    *rest = after;
    Some(ALLOWED.contains(&format!("{name} WITH {exception}").as_str()))
}

fn skip(rest: &mut &[&str], word: &str) -> bool {
    let found = rest.first() == Some(&word);
    if found {
        *rest = &rest[1..];
    }
    found
}
