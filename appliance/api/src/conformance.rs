//! The conformance statement of the web services, made of the tables that they run by.

use crate::dicomweb::qido::keys;
use crate::route::{Route, table};
use std::fmt::Write as _;

/// The statement, in Markdown.
fn statement() -> String {
    let mut text = String::from(
        "# DICOM conformance statement: web services\n\n\
         Written by a test from the tables that the server runs by; do not edit. The DICOM network has [its own](../dimse/CONFORMANCE.md). \
         All services are over HTTPS (TLS 1.3, HTTP/1.1 and HTTP/2), with a bearer token in every request; answers that were \
         cut short or pass something over say so in a `Warning`.\n\n",
    );
    resources(&mut text, "Studies service (PS3.18 section 10)", |path| {
        path.starts_with("/dicomweb/") && !is_worklist(path)
    });
    text.push_str(STUDIES);
    matching(&mut text);
    resources(
        &mut text,
        "Worklist service (PS3.18 section 11)",
        is_worklist,
    );
    text.push_str(WORKLIST);
    resources(&mut text, "FHIR R4", |path| path.starts_with("/fhir/"));
    text.push_str(FHIR);
    text
}

fn is_worklist(path: &str) -> bool {
    ["/dicomweb/workitems", "/dicomweb/subscribers"]
        .iter()
        .any(|p| path.starts_with(p))
}

const STUDIES: &str = "\
Objects go out as they are stored, byte for byte; another transfer syntax is refused with 406. Frames go out as they are stored \
(`transfer-syntax=*`, or the media type of their compression) or uncompressed in little endian (`application/octet-stream`, colour \
as RGB); none is compressed anew. `*/*` gives what is stored. Rendered frames are JPEG or PNG, with `viewport` (whole images only), \
`window` (linear only) and `quality`. Metadata names binary values above 1024 bytes by `BulkDataURI`, pixels always. A store to \
`/studies/{study}` refuses objects of another study (failure reason 0110). Sequences of bulk data of a whole study or series are \
not retrieved in one answer.\n\n";

const WORKLIST: &str = "\
Workitems are matched by any attribute, also within sequences (`ScheduledWorkitemCodeSequence.CodeValue`). A workitem whose \
Scheduled Workitem Code has the scheme `99PERICARD` and names a model, or the scheme `99PERICARD_RULE` and names a rule, orders an \
analysis of the study in its Input Information Sequence, with its priority (HIGH: before everything that has not begun); the \
appliance claims it once the study is complete. An order of a rule is one of all its models, after the earlier studies that the rule \
asks for: it is completed when all of them are done, and cancelled with the reasons, and with what was done, when one has failed or \
is not live. A study whose objects an open order names (Referenced SOP Sequence (0008,1199) of its inputs) is not complete before they \
are here, as long as its rules wait for it. All others are for whoever claims them. Notifications go over a WebSocket, as text \
in the DICOM JSON model, and wait for a subscriber whose channel is closed (the latest 10000 of all). Workitems that have ended \
are kept for 30 days, longer under a deletion lock.\n\n";

const FHIR: &str = "\
To read. Every report and observation is `preliminary`, marked `AIAST` (asserted by artificial intelligence), and codes are those \
of the model's manifest. A report of an earlier revision is `cancelled` and is found by its id only. A search by a parameter that is \
not in the capability statement is refused.\n";

fn resources(text: &mut String, title: &str, is_of: impl Fn(&str) -> bool) {
    let _ = writeln!(
        text,
        "## {title}\n\n| | resource | roles | media types |\n|---|---|---|---|"
    );
    for route in table().iter().filter(|route| is_of(route.path)) {
        let _ = writeln!(text, "{}", row(route)); // a String takes everything
    }
    text.push('\n');
}

fn row(route: &Route) -> String {
    let roles = match route.access {
        crate::access::Access::Roles(roles) => roles
            .iter()
            .map(|r| r.name())
            .collect::<Vec<_>>()
            .join(", "),
        _ => "any".to_owned(),
    };
    let types = if route.produces.is_empty() {
        route.consumes
    } else {
        route.produces
    };
    let types: Vec<_> = types.iter().map(|t| format!("`{t}`")).collect();
    let (verb, path, types) = (
        route.verb.name(),
        route.path.replace("{*", "{"),
        types.join(", "),
    );
    format!("| {verb} | `{path}` | {roles} | {types} |")
}

fn matching(text: &mut String) {
    text.push_str(
        "### Matching of QIDO-RS\n\n| level | attribute | tag | matching |\n|---|---|---|---|\n",
    );
    for (level, key) in keys() {
        let (keyword, tag, matching) = (key.keyword, key.tag, key.matching.name());
        let _ = writeln!(text, "| {level} | {keyword} | {tag} | {matching} |"); // a String takes everything
    }
    text.push_str(
        "\nLetters match in either case. `fuzzymatching` and attributes that are not in the table are passed over with a warning. Studies \
         come in the order in which their first objects came, the latest first, so that pages neither repeat nor miss one that changes \
         meanwhile. Nothing found is 200 with an empty list; of workitems, 204.\n\n",
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statement_is_the_one_that_was_agreed() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/CONFORMANCE.md");
        let now = statement();
        if std::env::var_os("PERICARD_UPDATE_GOLDEN").is_some() {
            std::fs::write(file, &now).expect("the statement can be written");
        }
        let agreed = std::fs::read_to_string(file).unwrap_or_default();
        assert!(
            agreed == now,
            "appliance/api/CONFORMANCE.md is not what the server does. If the change is meant, write it down with: \
             PERICARD_UPDATE_GOLDEN=1 cargo test -p pericard-api conformance"
        );
    }
}
