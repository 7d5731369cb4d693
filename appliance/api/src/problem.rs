//! What is said when something is refused: RFC 9457 problem documents on our own routes, OpenAI's error object under
//! `/v1`. No sentence here ever holds patient data; what the journal needs beyond it, is logged where it happens.

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use pericard_domain::chat::ChatRefusal;
use pericard_intake::Refused;
use pericard_store::StoreError;
use serde_json::{Value, json};

/// The media type of a problem document.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// A refusal, on its way to whoever asked.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    /// A closed word that programs may depend on.
    pub(crate) code: &'static str,
    /// What was wrong and what to do.
    pub(crate) detail: String,
    /// The parameter that was wrong.
    pub(crate) param: Option<String>,
    /// A header of its own. Boxed, as few have one, so that every `Result` here stays small.
    pub(crate) header: Option<Box<(HeaderName, HeaderValue)>>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            param: None,
            header: None,
        }
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    /// A parameter that makes no sense or is not supported.
    pub(crate) fn parameter(name: &str, detail: impl Into<String>) -> Self {
        Self {
            param: Some(name.to_owned()),
            ..Self::new(StatusCode::BAD_REQUEST, "invalid_parameter", detail)
        }
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("there is no {what} here"),
        )
    }

    pub(crate) fn unsupported_media(expected: &str) -> Self {
        let detail = format!("the body's Content-Type is not one that is taken here: {expected}");
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            detail,
        )
    }

    pub(crate) fn not_acceptable(offered: &str) -> Self {
        let detail = format!("the Accept header allows nothing that is offered here: {offered}");
        Self::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", detail)
    }

    pub(crate) fn internal() -> Self {
        let detail = "the appliance failed; its journal says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// Says when to try again.
    pub(crate) fn retry_after(self, seconds: u32) -> Self {
        self.with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some(Box::new((name, value)));
        self
    }

    fn document(&self) -> Value {
        let mut document = json!({
            "type": format!("urn:pericard:problem:{}", self.code),
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some(param) = &self.param {
            document["parameter"] = json!(param);
        }
        document
    }

    /// The same refusal as OpenAI's clients read it.
    pub(crate) fn openai_error(&self) -> Value {
        let kind = match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        json!({"error": {
            "message": self.detail, "type": kind, "param": self.param, "code": self.code,
        }})
    }

    /// The same refusal under `/v1`.
    pub(crate) fn into_openai_response(self) -> Response {
        let body = self.openai_error();
        self.respond(&body, "application/json")
    }

    /// The same refusal as FHIR's clients read it.
    fn operation_outcome(&self) -> Value {
        let code = match self.status.as_u16() {
            401 => "login",
            403 => "forbidden",
            404 => "not-found",
            406 => "not-supported",
            429 | 503 => "throttled",
            400..500 => "invalid",
            _ => "exception",
        };
        json!({
            "resourceType": "OperationOutcome",
            "issue": [{"severity": "error", "code": code, "diagnostics": self.detail}],
        })
    }

    /// The same refusal under `/fhir`.
    pub(crate) fn into_fhir_response(self) -> Response {
        let body = self.operation_outcome();
        self.respond(&body, crate::fhir::FHIR_JSON)
    }

    fn respond(self, body: &Value, media_type: &'static str) -> Response {
        let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static(media_type))];
        let mut response = (self.status, content_type, body.to_string()).into_response();
        if let Some((name, value)) = self.header.as_deref().cloned() {
            response.headers_mut().insert(name, value);
        }
        // For the outermost layer, which knows which protocol the route speaks.
        response.extensions_mut().insert(self);
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = self.document();
        self.respond(&body, PROBLEM_JSON)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(what) => Self::not_found(what),
            StoreError::Conflict(why) => Self::new(StatusCode::CONFLICT, "conflict", why),
            StoreError::DiskFloor { .. } => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "out_of_storage",
                error.to_string(),
            ),
            StoreError::ReadOnly(_) => {
                tracing::error!(%error, "the store is read-only");
                let detail = "the appliance is read-only since a disk error; its journal says more";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "read_only", detail)
            }
            error => {
                tracing::error!(%error, "the store failed");
                Self::internal()
            }
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let detail = refused.to_string();
        match refused {
            Refused::Malformed(_) => Self::new(StatusCode::BAD_REQUEST, "malformed_object", detail),
            Refused::Mismatch(_) | Refused::OtherStudy(_) => {
                Self::new(StatusCode::CONFLICT, "mismatch", detail)
            }
            Refused::TooLarge { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
            }
            Refused::OutOfStorage(_) => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "out_of_storage", detail)
            }
            Refused::Busy { retry_after_s } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail)
                    .retry_after(retry_after_s)
            }
            Refused::QueueFull { retry_after_s, .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "queue_full", detail)
                    .retry_after(retry_after_s)
            }
            Refused::OverQuota { retry_after_s, .. } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "over_quota", detail)
                    .retry_after(retry_after_s)
            }
            Refused::Unavailable(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
            }
        }
    }
}

impl From<ChatRefusal> for Problem {
    fn from(refusal: ChatRefusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            ChatRefusal::UnknownModel { .. } => Self {
                param: Some("model".to_owned()),
                ..Self::new(StatusCode::NOT_FOUND, "model_not_found", detail)
            },
            ChatRefusal::DoesNotFit { .. } => Self {
                param: Some("messages".to_owned()),
                ..Self::new(StatusCode::BAD_REQUEST, "context_length_exceeded", detail)
            },
            ChatRefusal::TextTooLong { .. } => Self {
                param: Some("input".to_owned()),
                ..Self::new(StatusCode::BAD_REQUEST, "context_length_exceeded", detail)
            },
            ChatRefusal::Busy { retry_after_s } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", detail)
                    .retry_after(retry_after_s)
            }
            ChatRefusal::Invalid(_) => {
                Self::new(StatusCode::BAD_REQUEST, "invalid_request", detail)
            }
            ChatRefusal::Closing => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "closing", detail).retry_after(10)
            }
        }
    }
}
