//! Who asks for a page: the holder of a session, whose token is looked up at every request.

use super::layout::{Page, bare, refusal};
use super::{LOGIN, layout};
use crate::outlook::Outlook;
use crate::records::{Snapshot, Viewer};
use crate::site::Site;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use http::{HeaderMap, StatusCode};
use pericard_door::is_from_here;
use std::sync::Arc;

/// The hidden field that every form carries.
pub(super) const WORD: &str = "word";

/// Who may see a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// Whoever has logged in; each sees what it may.
    Everybody,
    /// Who sees the whole nation.
    National,
    /// Who may change something.
    Admin,
}

impl Who {
    pub(super) const fn allows(self, viewer: Viewer) -> bool {
        match self {
            Self::Everybody => true,
            Self::National => viewer.is_national(),
            Self::Admin => matches!(viewer, Viewer::Admin),
        }
    }
}

/// A request by somebody who has logged in.
#[derive(Debug, Clone)]
pub(super) struct Visit {
    pub(super) viewer: Viewer,
    pub(super) label: String,
    pub(super) token: u32,
    word: String,
}

impl Visit {
    /// What forms carry.
    pub(super) fn word(&self) -> &str {
        &self.word
    }

    /// Whether a form was filled in on a page of this session.
    pub(super) fn wrote(&self, headers: &HeaderMap, word: &str) -> bool {
        is_from_here(headers) && word == self.word
    }

    /// What is known now, and what it comes to for this viewer.
    pub(super) fn look(&self, site: &Site) -> (Arc<Snapshot>, Outlook) {
        let snapshot = site.hub().records().snapshot();
        let outlook = Outlook::of(&snapshot, self.viewer);
        (snapshot, outlook)
    }
}

/// Lets through who may see the page; sends others to where they show a token, or says that it is not for them.
pub(super) async fn guard(
    State((site, who)): State<(Site, Who)>,
    mut request: Request,
    next: Next,
) -> Response {
    let now_s = site.hub().now_s();
    let known = site.sessions().of(request.headers(), now_s);
    let visit = known.and_then(|known| {
        let token = site.hub().token(&known.token)?;
        Some(Visit {
            viewer: token.viewer,
            label: token.label,
            token: token.number,
            word: known.word,
        })
    });
    let Some(visit) = visit else {
        return Redirect::to(LOGIN).into_response();
    };
    if !who.allows(visit.viewer) {
        return refused(StatusCode::FORBIDDEN, "This page is not for your role.").into_response();
    }
    request.extensions_mut().insert(visit);
    next.run(request).await
}

/// A refusal on a page of its own.
pub(super) fn refused(status: StatusCode, why: &str) -> Page {
    let title = status.canonical_reason().unwrap_or("Refused");
    bare(title, refusal(title, why)).with(status)
}

/// That there is no such page, or not for this viewer: one answer for both.
pub(super) fn nothing_there() -> Page {
    refused(
        StatusCode::NOT_FOUND,
        "There is no such page, or it is not for your role.",
    )
}

/// That a form was not filled in on a page of ours.
pub(super) fn stranger() -> layout::Page {
    let why = "This form was not sent by a page of your session. Go back, load the page again, and repeat it.";
    refused(StatusCode::FORBIDDEN, why)
}
