//! The OpenAPI document of the hub, made from the table of routes.

use crate::reading::{Access, ESTIMATES, Route, WEEKS, WEEKS_CSV, WEEKS_PARQUET, table};
use crate::weeks::{COLUMNS, REVIEW_NAMES};
use serde_json::{Map, Value, json};

/// The OpenAPI 3.1 document.
#[must_use]
pub fn document() -> Value {
    let mut paths: Map<String, Value> = table()
        .iter()
        .map(|route| (route.path.to_owned(), json!({"get": operation(route)})))
        .collect();
    paths.insert("/hub/v1/frames".into(), json!({"post": frames()}));
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
                                    hospital its own.",
                },
                "hospital": {"type": "mutualTLS", "description": "The certificate of an enrolment."},
            },
            "schemas": {"Week": week()},
        },
    })
}

fn operation(route: &Route) -> Value {
    let is_weeks = [WEEKS, WEEKS_CSV, WEEKS_PARQUET, ESTIMATES].contains(&route.path);
    let schema = if route.path == WEEKS {
        json!({"schema": {"type": "array", "items": {"$ref": "#/components/schemas/Week"}}})
    } else {
        json!({})
    };
    let mut operation = json!({
        "summary": route.summary,
        "responses": {"200": {"description": "OK", "content": {route.produces: schema}}},
        "security": [],
    });
    if route.access == Access::Token {
        operation["security"] = json!([{"token": []}]);
        operation["responses"]["401"] = problem("No token, or one that is not good any more");
    }
    if is_weeks {
        let parameter = |name| json!({"name": name, "in": "query", "required": false, "schema": {"type": "integer", "minimum": 0}});
        operation["parameters"] = ["hospital", "model", "from_week", "to_week"]
            .map(parameter)
            .into();
        operation["responses"]["400"] = problem("A question that is none");
        if route.path != ESTIMATES {
            operation["responses"]["422"] = problem("Too many rows");
        }
    }
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
