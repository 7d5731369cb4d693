//! The OpenAPI document, made from the table of routes.

use crate::access::Access;
use crate::clinical_use;
use crate::route::{Door, Route, table};
use axum::Json;
use pericard_domain::actor::Role;
use serde_json::{Map, Value, json};

pub(crate) async fn serve() -> Json<Value> {
    Json(document())
}

/// The OpenAPI 3.1 document of every route.
#[must_use]
pub fn document() -> Value {
    let mut paths = Map::new();
    for route in table() {
        // A parameter that takes several segments is one to its readers too.
        let path = paths
            .entry(route.path.replace("{*", "{"))
            .or_insert_with(|| json!({}));
        path[route.verb.name().to_ascii_lowercase()] = operation(&route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Pericard",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "A sovereign AI appliance for hospitals",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http", "scheme": "bearer",
                    "description": "A token of 'pericard token issue'.",
                },
                "session": {
                    "type": "apiKey", "in": "cookie", "name": "__Host-pericard",
                    "description": "A session of the console: pages for people, not for programs.",
                },
            },
            "schemas": {"Problem": problem(), "OpenAiError": openai_error()},
        },
    })
}

fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "summary": route.summary,
        "tags": [tag(route.path)],
        "operationId": operation_id(route),
        "security": match (route.access, route.door) {
            (Access::Open, _) => json!([]),
            (_, Door::Program) => json!([{"token": []}]),
            (_, Door::Person) => json!([{"session": []}]),
        },
        "responses": responses(route),
    });
    let parameters = parameters(route);
    if !parameters.is_empty() {
        operation["parameters"] = Value::Array(parameters);
    }
    if !route.consumes.is_empty() {
        operation["requestBody"] = json!({"required": true, "content": content(route.consumes)});
    }
    if let Access::Roles(roles) = route.access {
        let names: Vec<_> = roles.iter().map(|r| r.name()).collect();
        operation["description"] = json!(format!("Roles: {}.", names.join(", ")));
        operation["x-roles"] = json!(names);
    } else if route.access == Access::AnyRole {
        operation["x-roles"] = json!(Role::ALL.map(Role::name));
    }
    operation
}

fn parameters(route: &Route) -> Vec<Value> {
    let in_path = route.path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        let name = name.trim_start_matches('*');
        Some(json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
    });
    let in_query = route.query.iter().map(|(name, description)| {
        json!({"name": name, "in": "query", "description": description, "schema": {"type": "string"}})
    });
    in_path.chain(in_query).collect()
}

fn responses(route: &Route) -> Value {
    let mut statuses = route.statuses.to_vec();
    match (route.access, route.door) {
        (Access::Open, _) => {}
        (_, Door::Program) => statuses.extend([401, 429]),
        (_, Door::Person) => statuses.push(303), // to the way in
    }
    if matches!(route.access, Access::Roles(_)) {
        statuses.push(403);
    }
    statuses.sort_unstable();
    statuses.dedup();
    let mut responses = Map::new();
    for status in statuses {
        let reason = http::StatusCode::from_u16(status)
            .ok()
            .and_then(|s| s.canonical_reason());
        let body = match status {
            101 | 204 => Value::Null,
            ..300 if route.produces.is_empty() => Value::Null,
            ..300 => content(route.produces),
            303 => Value::Null,
            _ if route.door == Door::Person => content(&["text/html"]),
            _ if route.path.starts_with("/v1/") => {
                json!({"application/json": {"schema": {"$ref": "#/components/schemas/OpenAiError"}}})
            }
            503 if route.path == "/readyz" => content(route.produces),
            _ if route.path.starts_with("/fhir/") => content(route.produces),
            _ => {
                json!({"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}})
            }
        };
        let mut response = json!({"description": reason.unwrap_or("Answer")});
        if !body.is_null() {
            response["content"] = body;
        }
        if status == 200 && route.by_model {
            response["headers"][clinical_use::NAME] = says_clinical_use();
        }
        responses.insert(status.to_string(), response);
    }
    Value::Object(responses)
}

fn says_clinical_use() -> Value {
    json!({
        "description": "Whether the model that answered may be used to treat patients, as its manifest says; false when none was asked",
        "required": true,
        "schema": {"type": "string", "enum": ["true", "false"]},
    })
}

fn content(media_types: &[&str]) -> Value {
    let each = media_types.iter().map(|m| ((*m).to_owned(), json!({})));
    Value::Object(each.collect())
}

fn tag(path: &str) -> &'static str {
    match path {
        p if p.starts_with("/v1/") || p == "/tokenize" || p == "/detokenize" => "OpenAI",
        p if p.starts_with("/dicomweb/") => "DICOMweb",
        p if p.starts_with("/fhir/") => "FHIR",
        p if p.starts_with("/api/") => "Operations",
        p if p == "/" || p.starts_with("/console/") => "Console",
        _ => "Monitoring",
    }
}

fn operation_id(route: &Route) -> String {
    let words = route
        .path
        .split(['/', '{', '}', '.', '_', '*'])
        .filter(|w| !w.is_empty());
    let words: Vec<_> = words.collect();
    format!(
        "{}_{}",
        route.verb.name().to_ascii_lowercase(),
        words.join("_")
    )
}

fn problem() -> Value {
    json!({
        "type": "object", "description": "RFC 9457 problem document",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string"}, "title": {"type": "string"},
            "status": {"type": "integer"}, "detail": {"type": "string"},
            "parameter": {"type": "string"},
        },
    })
}

fn openai_error() -> Value {
    json!({
        "type": "object", "required": ["error"],
        "properties": {"error": {
            "type": "object", "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"}, "type": {"type": "string"},
                "param": {"type": ["string", "null"]}, "code": {"type": ["string", "null"]},
            },
        }},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

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
            "the routes are no longer those of appliance/api/openapi.json, which clients rely on. If the change is \
             meant, write it down with: PERICARD_UPDATE_GOLDEN=1 cargo test -p pericard-api openapi"
        );
    }

    #[test]
    fn what_a_model_answers_says_whether_that_may_treat_patients() {
        let document = document();
        for path in [
            "/v1/chat/completions",
            "/v1/completions",
            "/v1/embeddings",
            "/api/v1/texts/structure",
            "/api/v1/texts/deidentify",
            "/api/v1/studies/{study}/impression",
        ] {
            let headers = &document["paths"][path]["post"]["responses"]["200"]["headers"];
            assert!(headers[clinical_use::NAME].is_object(), "{path}");
        }
    }

    #[test]
    fn every_operation_has_its_own_name() {
        let routes = table();
        let ids: BTreeSet<_> = routes.iter().map(operation_id).collect();
        assert_eq!(ids.len(), routes.len());
    }
}
