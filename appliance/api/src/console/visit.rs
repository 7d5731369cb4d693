//! Who asks for a page: the holder of a session, checked against the store at every request.

use super::{layout, login, now_s};
use crate::access::{Access, Caller, address_of};
use crate::appliance::Api;
use crate::asked::Asked;
use crate::body;
use crate::guard::let_in;
use crate::problem::Problem;
use crate::route::{Route, Verb};
use axum::extract::{FromRequest, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode};
use pericard_domain::actor::Actor;
use sha2::{Digest as _, Sha256};
use std::net::IpAddr;

/// The field in which every form brings its session's word back.
pub(super) const WORD: &str = "word";

/// Somebody who has logged in, as every page is given it.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    pub(crate) caller: Caller,
    /// What the token is called.
    pub(super) label: String,
    /// What every form of this session must bring back.
    pub(super) word: String,
}

/// Lets a request through to its page when its session allows it; what is refused is said on a page.
pub(crate) async fn guard(api: Api, route: &Route, mut request: Request, next: Next) -> Response {
    let presented = Presented {
        headers: request.headers().clone(),
        address: address_of(request.extensions()),
    };
    let visit = match visit(&api, &presented).await {
        Ok(visit) => visit,
        Err(problem) => return layout::said(problem.into_response()),
    };
    if route.verb == Verb::Post && !pericard_door::is_from_here(&presented.headers) {
        let refused = foreign(&api, route, visit, presented.address).await;
        return layout::said(refused.into_response());
    }
    let response = match (route.access, visit) {
        (Access::Open, _) => next.run(request).await,
        (_, None) => return login::first(),
        (_, Some(visit)) => {
            let caller = visit.caller.clone();
            request.extensions_mut().insert(visit);
            let_in(&api, route, caller, request, next).await
        }
    };
    layout::said(response)
}

/// What a request says of who sends it.
struct Presented {
    headers: HeaderMap,
    address: IpAddr,
}

/// Who sends a request, when there is an open session of a token that still counts.
async fn visit(api: &Api, presented: &Presented) -> Result<Option<Visit>, Problem> {
    let Some(known) = api.sessions.of(&presented.headers, now_s(api)) else {
        return Ok(None);
    };
    let Some(token) = api.rooms.store.token_by_hash(&known.token).await? else {
        api.sessions.end(&presented.headers);
        return Ok(None);
    };
    let actor = Actor::Token {
        id: token.id,
        address: presented.address,
    };
    let roles = token.roles;
    Ok(Some(Visit {
        caller: Caller { actor, roles },
        label: token.label,
        word: known.word,
    }))
}

async fn foreign(api: &Api, route: &Route, visit: Option<Visit>, address: IpAddr) -> Problem {
    const WHY: &str = "a form of another site";
    match visit {
        Some(visit) => {
            let what = format!("POST {}", route.path);
            api.note_refusal(what, WHY, visit.caller.actor).await;
        }
        None => api.note_stranger(WHY, address).await,
    }
    forged()
}

fn forged() -> Problem {
    let detail = "this form was not sent by a page of your session; open the page again";
    Problem::new(StatusCode::FORBIDDEN, "forged_form", detail)
}

/// A form of one of our own pages, sent by the session that was given it. Every page that changes something, or that is
/// asked about a patient, takes its request as this.
pub(crate) struct Posted(pub(super) Asked);

impl FromRequest<Api> for Posted {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let fields = Asked(body::form(&api.config, &parts.headers, body).await?);
        let visit = parts.extensions.get::<Visit>();
        // Digests: how far they agree says nothing about the word.
        let same = |visit: &Visit| {
            Some(Sha256::digest(&visit.word)) == fields.text(WORD).map(Sha256::digest)
        };
        match visit.is_some_and(same) {
            true => Ok(Self(fields)),
            false => Err(forged()),
        }
    }
}
