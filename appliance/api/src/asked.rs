//! What a request asks for in its path and its query.

use crate::problem::Problem;
use axum::extract::{FromRequestParts, Query};
use http::request::Parts;
use std::str::FromStr;

/// The longest list that one answer holds.
pub(crate) const LIMIT_MAX: u32 = 1000;

/// A query's parameters, in their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked(pub(crate) Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(pairs)| Self(pairs))
            .map_err(|_| Problem::bad_request("the query is not well formed"))
    }
}

impl Asked {
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(n, _)| n == name);
        found
            .map(|(_, value)| value.as_str())
            .filter(|v| !v.is_empty())
    }

    /// A parameter that must be readable when it is there.
    pub(crate) fn value<T: FromStr>(&self, name: &str) -> Result<Option<T>, Problem> {
        let read = |text: &str| {
            let wrong = || Problem::parameter(name, format!("the parameter {name} cannot be read"));
            text.parse().map_err(|_| wrong())
        };
        self.text(name).map(read).transpose()
    }

    /// How many are asked for: 100 when nothing is said, never more than [`LIMIT_MAX`].
    pub(crate) fn limit(&self) -> Result<u32, Problem> {
        Ok(self.value("limit")?.unwrap_or(100).min(LIMIT_MAX))
    }

    pub(crate) fn offset(&self) -> Result<u32, Problem> {
        Ok(self.value("offset")?.unwrap_or(0))
    }
}

/// An id of the path. One that cannot be an id is nowhere.
///
/// # Errors
/// 404.
pub(crate) fn id<T: FromStr>(what: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::not_found(what))
}
