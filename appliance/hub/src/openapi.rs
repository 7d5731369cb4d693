//! The OpenAPI document of the hub, made from the table of routes.

use crate::enrolling::{NAME_CHARS_MAX, REQUEST_BYTES_MAX};
use crate::findings::FindingKind;
use crate::reading::{
    Access, ENROLMENTS, ESTIMATES, EVALUATIONS, FINDINGS, GRANT, OPERATION, Route, WEEKS,
    WEEKS_CSV, WEEKS_PARQUET, table,
};
use crate::weeks::{COLUMNS, REVIEW_NAMES};
use pericard_frame::Stage;
use pericard_frame::layout::BINS;
use pericard_frame::plan::Metric;
use serde_json::{Map, Value, json};

/// The OpenAPI 3.1 document.
#[must_use]
pub fn document() -> Value {
    let mut paths = json!({"/hub/v1/frames": {"post": frames()}});
    for route in &table() {
        paths[route.path][route.verb] = match route.verb {
            "post" => change(route),
            _ => operation(route),
        };
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Pericard hub",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "The national side: what models do in a nation's hospitals, in numbers",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http", "scheme": "bearer",
                    "description": "A token of 'pericard hub token issue'. An admin or analyst sees every hospital, a \
                                    hospital its own, and nothing that is about all of them.",
                },
                "hospital": {"type": "mutualTLS", "description": "The certificate of an enrolment."},
            },
            "schemas": {
                "Week": week(), "Estimate": estimate(), "Estimates": estimates(), "Finding": finding(),
                "Evaluation": evaluation(), "Score": score(), "Operation": operated(), "Enrolment": enrolment(), "StageTime": stage(),
            },
        },
    })
}

fn operation(route: &Route) -> Value {
    let is_weeks = [WEEKS, WEEKS_CSV, WEEKS_PARQUET, ESTIMATES, OPERATION].contains(&route.path);
    let item = match route.path {
        WEEKS => Some("Week"),
        ESTIMATES => Some("Estimates"),
        FINDINGS => Some("Finding"),
        EVALUATIONS => Some("Evaluation"),
        ENROLMENTS => Some("Enrolment"),
        OPERATION => Some("Operation"),
        _ => None,
    };
    let schema = item.map_or_else(
        || json!({}),
        |item| json!({"schema": {"type": "array", "items": of(item)}}),
    );
    let mut operation = json!({
        "summary": route.summary,
        "responses": {"200": {"description": "OK", "content": {route.produces: schema}}},
        "security": [],
    });
    guarded(&mut operation, route.access);
    if is_weeks {
        let parameter = |name: &&str| json!({"name": name, "in": "query", "required": false, "schema": {"type": "integer", "minimum": 0}});
        let names = ["hospital", "from_week", "to_week", "model"];
        let taken = if route.path == OPERATION { 3 } else { 4 };
        operation["parameters"] = names[..taken].iter().map(parameter).collect();
        operation["responses"]["400"] = problem("A question that is none");
        if ![ESTIMATES, OPERATION].contains(&route.path) {
            operation["responses"]["422"] = problem("Too many rows");
        }
    }
    operation
}

/// Who may, and what others hear.
fn guarded(operation: &mut Value, access: Access) {
    if access != Access::Open {
        operation["security"] = json!([{"token": []}]);
        operation["responses"]["401"] = problem("No token, or one that is not good any more");
    }
    let others = match access {
        Access::Open | Access::Token => return,
        Access::National => "The token is a hospital's, and this is about all of them",
        Access::Admin => "The token is no admin's",
    };
    operation["responses"]["403"] = problem(others);
}

/// A route that changes something: enrolments.
fn change(route: &Route) -> Value {
    let content = |schema: Value| json!({"application/json": {"schema": schema}});
    let text = json!({"text/plain": {
        "schema": {"type": "string", "maxLength": REQUEST_BYTES_MAX, "description": "what `pericard egress enrol-request` prints"},
    }});
    let asked = object(json!({"number": integer("the number of the request")}));
    let granting = object(json!({
        "name": {"type": "string", "maxLength": NAME_CHARS_MAX, "description": "what the hospital is called from now on"},
        "frame_key": {"type": "string", "description": "the key of the request, as it was compared by telephone"},
    }));
    let granted = object(json!({
        "hospital": integer("the number of the hospital's appliance"),
        "note": {"type": "string", "description": "the signed note that goes back; `pericard egress enrol` takes it"},
    }));
    let (body, responses) = match route.path {
        ENROLMENTS => (
            Some(text),
            json!({
                "202": {"description": "It waits; the same request again has the same number", "content": content(asked)},
                "409": problem("As many wait as may"),
                "422": problem("It is no request, or was changed on its way"),
            }),
        ),
        GRANT => (
            Some(content(granting)),
            json!({
                "200": {"description": "The hospital is enrolled", "content": content(granted)},
                "404": problem("No request of this number waits"),
                "409": problem("The request holds another key"),
                "422": problem("No name, or no key"),
            }),
        ),
        _ => (
            None,
            json!({
                "204": {"description": "It waits no more"},
                "404": problem("No request of this number waits"),
            }),
        ),
    };
    let mut operation = json!({"summary": route.summary, "responses": responses, "security": []});
    if let Some(content) = body {
        operation["requestBody"] = json!({"required": true, "content": content});
    }
    if route.path.contains("{number}") {
        operation["parameters"] = json!([{
            "name": "number", "in": "path", "required": true, "schema": {"type": "integer", "minimum": 1},
        }]);
    }
    operation["responses"]["503"] = problem("Nothing can be written now");
    guarded(&mut operation, route.access);
    operation
}

fn frames() -> Value {
    let page = json!({"application/octet-stream": {
        "schema": {"type": "string", "format": "binary", "minLength": 4096, "maxLength": 4096},
    }});
    json!({
        "summary": "A gate sends a frame, and is answered with a reply: what became of it, a cosignature, advisories",
        "security": [{"hospital": []}],
        "requestBody": {"required": true, "content": page},
        "responses": {
            "200": {"description": "A reply, whether the frame was accepted or refused", "content": page},
            "503": problem("No frame can be taken now"),
        },
    })
}

fn problem(description: &str) -> Value {
    let document = json!({"schema": {"type": "object", "description": "RFC 9457"}});
    json!({"description": description, "content": {"application/problem+json": document}})
}

fn week() -> Value {
    let kind = |name: &str| match name {
        "carried" => json!("boolean"),
        "name" | "version" => json!(["string", "null"]),
        "done" | "failed" => json!(["integer", "null"]),
        _ => json!("integer"),
    };
    let columns = COLUMNS.iter().map(|(name, meaning)| {
        let property = json!({"type": kind(name), "description": meaning});
        ((*name).to_owned(), property)
    });
    let histogram = format!("^({})_[0-9]$", REVIEW_NAMES.join("|"));
    json!({
        "type": "object",
        "properties": columns.collect::<Map<_, _>>(),
        "patternProperties": {histogram: {
            "type": ["integer", "null"],
            "description": "inferences of this state of review and tenth of the score, with noise; null where none is \
                            told, or together fewer than 50",
        }},
    })
}

/// A reference to a schema of this document.
fn of(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

/// The same where there may be none.
fn of_or_null(schema: &str, meaning: &str) -> Value {
    json!({"description": meaning, "oneOf": [of(schema), {"type": "null"}]})
}

/// An object that always has all of these.
fn object(properties: Value) -> Value {
    let names: Vec<&String> = properties
        .as_object()
        .map_or(Vec::new(), |all| all.keys().collect());
    json!({"type": "object", "required": names, "properties": properties})
}

fn integer(meaning: &str) -> Value {
    json!({"type": "integer", "description": meaning})
}

fn number(meaning: &str) -> Value {
    json!({"type": "number", "minimum": 0, "maximum": 1, "description": meaning})
}

fn estimate() -> Value {
    object(json!({
        "value": number("the figure, a share of one"),
        "low": number("the lower end of its 95 % interval, of sampling and noise together"),
        "high": number("the upper end"),
    }))
}

fn estimates() -> Value {
    let distance = object(json!({
        "value": number("the greatest difference between two cumulated shares of scores, noised: compare it with the threshold"),
        "low": number("the lower end of an interval that holds the true one at least 95 times in 100"),
        "high": number("the upper end"),
        "threshold": number("what chance alone, of sampling and of noise, passes at most once in 500 weeks"),
    }));
    object(json!({
        "model": integer("the model's number in the catalogue"),
        "week": integer("counted from Monday 5 January 1970"),
        "hospitals": integer("how many ran it"),
        "done": integer("inferences that gave a result: the sum of the hospitals' counts that are not small"),
        "done_left_out": integer("how many hospitals' counts are left out of that, since they are 1 to 4"),
        "told_by": integer("of how many hospitals there is a histogram of the week"),
        "positivity": of_or_null("Estimate", "the share of scores of 0.5 and above; null when fewer than 50 stand behind it"),
        "concordance": of_or_null("Estimate", "the share of reviewed results that people agreed with; null likewise"),
        "distance": {
            "description": "how far scores lie from each hospital's own first weeks; null when nothing can be compared",
            "oneOf": [distance, {"type": "null"}],
        },
        "p50_bucket": {
            "type": ["integer", "null"],
            "description": "the bucket of the median duration in the middle hospital, from 1: bucket N holds what took more than \
                            2^(N-2) and at most 2^(N-1) ms; null where no hospital had 200 to tell it of",
        },
        "p95_bucket": {"type": ["integer", "null"], "description": "the same for 95 of 100"},
    }))
}

fn operated() -> Value {
    object(json!({
        "hospital": integer("the number of the hospital's appliance"),
        "week": integer("counted from Monday 5 January 1970"),
        "uptime_h": integer("hours of the week in which the appliance ran"),
        "cpu_tenths": integer("how busy its processors were, in tenths, cut off"),
        "gpu_tenths": {"type": ["integer", "null"], "description": "the same of its GPU; null without one"},
        "stages": {"type": "array", "items": of("StageTime"), "description": "how long each stage took"},
    }))
}

fn stage() -> Value {
    let stages = Stage::ALL.map(Stage::name);
    object(json!({
        "stage": {"type": "string", "enum": stages, "description": "what is timed; queue is the wait of a job that is due"},
        "p50_bucket": integer("the bucket of the median duration, from 1: bucket N holds what took more than 2^(N-2) and at most \
                               2^(N-1) ms; 0 when fewer than 200 stand behind it"),
        "p95_bucket": integer("the same for 95 of 100"),
        "p99_bucket": integer("the same for 99 of 100"),
    }))
}

fn enrolment() -> Value {
    let perhaps = |meaning| json!({"type": ["integer", "null"], "description": meaning});
    object(json!({
        "number": integer("the number of the request"),
        "frame_key": {"type": "string", "description": "what its frames would be believed by: compare it by telephone"},
        "asked_at_s": integer("when it came, seconds since 1970"),
        "hospital": perhaps("the number of the hospital's appliance; null while the request waits"),
        "granted_at_s": perhaps("when it was granted, seconds since 1970"),
        "granted_by": perhaps("the number of the admin's token"),
        "note": {"type": ["string", "null"], "description": "the signed note that goes back to the hospital"},
    }))
}

fn finding() -> Value {
    let kinds = FindingKind::ALL.map(FindingKind::word);
    let perhaps = |meaning| json!({"type": ["integer", "null"], "description": meaning});
    object(json!({
        "kind": {"type": "string", "enum": kinds, "description": "what was found, the gravest first"},
        "meaning": {"type": "string", "description": "the same for people"},
        "hospital": perhaps("the number of the hospital's appliance, when it is about one"),
        "model": perhaps("the model's number in the catalogue, when it is about one"),
        "since_week": perhaps("since which week, where that is known"),
        "why": {"type": "string", "description": "why it is believed, in a sentence of numbers"},
    }))
}

fn evaluation() -> Value {
    object(json!({
        "number": integer("the plan's number, from 1"),
        "model": integer("the model's number in the catalogue"),
        "threshold_tenth": {
            "type": "integer", "minimum": 0, "maximum": BINS - 1,
            "description": "from which tenth of the score on a case counts as positive",
        },
        "cases_min": integer("with how many cases a hospital's outcome counts at least"),
        "issued_at_s": integer("when it was issued, seconds since 1970"),
        "until_s": integer("until when it may be carried out, seconds since 1970"),
        "text": {"type": "string", "description": "what it says to people"},
        "scores": {"type": "array", "items": of("Score"), "description": "what was asked for"},
        "told_by": {"type": "array", "items": {"type": "integer"}, "description": "the hospitals that told"},
    }))
}

fn score() -> Value {
    let metrics = Metric::ALL.map(Metric::word);
    object(json!({
        "metric": {"type": "string", "enum": metrics, "description": "which metric"},
        "hospitals": integer("how many hospitals it could be computed for"),
        "clipped": integer("how many of these were clipped, since they lie far from the middle one"),
        "estimate": of_or_null("Estimate", "across hospitals, each counting alike; null from fewer than five"),
        "lowest": of_or_null("Estimate", "the lowest hospital's own; null likewise"),
        "highest": of_or_null("Estimate", "the highest hospital's own; null likewise"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_the_one_that_was_agreed() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let now = document();
        if std::env::var_os("PERICARD_UPDATE_GOLDEN").is_some() {
            std::fs::write(file, format!("{now:#}\n")).expect("the golden file can be written");
        }
        let agreed = std::fs::read_to_string(file).unwrap_or_default();
        let agreed: Value = serde_json::from_str(&agreed).unwrap_or_default();
        assert!(
            agreed == now,
            "the routes are no longer those of appliance/hub/openapi.json, which researchers rely on. If the change is \
             meant: PERICARD_UPDATE_GOLDEN=1 cargo test -p pericard-hub openapi"
        );
    }
}
