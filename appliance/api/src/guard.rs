//! Identity and roles: what stands before every handler.

use crate::access::{Access, Caller, address_of};
use crate::appliance::Api;
use crate::console::visit;
use crate::problem::Problem;
use crate::route::{Door, Route, Verb};
use crate::token;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use pericard_domain::actor::Actor;
use pericard_domain::time::Timestamp;
use pericard_egress::Counter;
use pericard_store::admission::Refusal;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How many addresses are counted at once; when more fail within a minute, the oldest is forgotten.
const ADDRESSES_MAX: usize = 4096;
/// The length of the window in which refused identities are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// Lets a request through to its handler when its token allows the route.
pub(crate) async fn guard(
    State((api, route)): State<(Api, Arc<Route>)>,
    request: Request,
    next: Next,
) -> Response {
    if route.door == Door::Person {
        return visit::guard(api, &route, request, next).await;
    }
    if route.access == Access::Open {
        return next.run(request).await;
    }
    match identify(&api, Presented::by(&request)).await {
        Ok(caller) => let_in(&api, &route, caller, request, next).await,
        Err(problem) => problem.into_response(),
    }
}

/// Lets somebody who is known through when the roles allow it, and writes down what is refused.
pub(crate) async fn let_in(
    api: &Api,
    route: &Route,
    caller: Caller,
    mut request: Request,
    next: Next,
) -> Response {
    if !route.access.allows(&caller.roles) {
        let what = format!("{} {}", route.verb.name(), route.path);
        return forbid(api, what, caller.actor).await.into_response();
    }
    let by = caller.actor.clone();
    request.extensions_mut().insert(caller);
    let response = next.run(request).await;
    // What was offered or asked and not taken is a refusal; a look at something that is not there is none. The code
    // only: the sentence may repeat what a stranger wrote.
    let refused = response.extensions().get::<Problem>().map(|p| p.code);
    if let (Verb::Post | Verb::Put | Verb::Delete, Some(why)) = (route.verb, refused) {
        let what = format!("{} {}", route.verb.name(), route.path);
        api.note_refusal(what, why, by).await;
    }
    response
}

/// Answers what no route is for: to nobody in particular with 401, to holders of a token with what it is.
pub(crate) async fn unrouted(api: Api, request: Request, status: StatusCode) -> Problem {
    match identify(&api, Presented::by(&request)).await {
        Err(problem) => problem,
        Ok(_) if status == StatusCode::METHOD_NOT_ALLOWED => Problem::new(
            status,
            "method_not_allowed",
            "this route does not know that method",
        ),
        Ok(_) => Problem::not_found("such route; /api/v1/openapi.json lists those there are"),
    }
}

/// What a request says of who sends it.
struct Presented {
    secret: Option<String>,
    address: IpAddr,
}

impl Presented {
    fn by(request: &Request) -> Self {
        Self {
            secret: bearer(request.headers()).map(str::to_owned),
            address: address_of(request.extensions()),
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

async fn identify(api: &Api, presented: Presented) -> Result<Caller, Problem> {
    let Presented { secret, address } = presented;
    let why = match secret.map(|secret| token::lookup_key(&secret)) {
        None => Unidentified::NoToken,
        Some(None) => Unidentified::WrongToken,
        Some(Some(key)) => match api.rooms.store.token_by_hash(&key).await? {
            None => Unidentified::WrongToken,
            Some(token) => {
                let (id, roles) = (token.id, token.roles);
                let actor = Actor::Token { id, address };
                return Ok(Caller { actor, roles });
            }
        },
    };
    Err(api.turn_away(why, address).await)
}

/// Why somebody is nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unidentified {
    NoToken,
    WrongToken,
}

impl Api {
    /// Says 401, and writes it into the audit log unless this address has filled its share of it.
    pub(crate) async fn turn_away(&self, why: Unidentified, address: IpAddr) -> Problem {
        self.rooms.meter.count(Counter::AuthUnknown);
        if !self.doorman.admits_refusal(address, self.rooms.clock.now()) {
            let detail = "too many requests without a valid token came from this address";
            return Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", detail)
                .retry_after(u32::try_from(WINDOW.as_secs()).unwrap_or(u32::MAX));
        }
        let (why, challenge) = match why {
            Unidentified::NoToken => ("no bearer token", r#"Bearer realm="pericard""#),
            Unidentified::WrongToken => (
                "an unknown, expired or revoked bearer token",
                r#"Bearer realm="pericard", error="invalid_token""#,
            ),
        };
        self.note_refusal("request".to_owned(), why, Actor::Unknown { address })
            .await;
        let detail = format!(
            "{why}; ask the security administrator for one, and send it as 'Authorization: Bearer ...'"
        );
        Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).with_header(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static(challenge),
        )
    }

    /// Writes into the audit log that a connection was ended before anything was asked, unless this address has filled
    /// its share of it.
    pub(crate) async fn note_stranger(&self, why: &str, address: IpAddr) {
        if self.doorman.admits_refusal(address, self.rooms.clock.now()) {
            let by = Actor::Unknown { address };
            self.note_refusal("connection".to_owned(), why, by).await;
        }
    }

    /// Writes a refusal into the audit log. When that fails the refusal stands, and the journal has it.
    pub(crate) async fn note_refusal(&self, what: String, why: &str, by: Actor) {
        let refusal = Refusal {
            what,
            why: why.to_owned(),
            instance: None,
        };
        if let Err(error) = self.rooms.store.refuse(refusal, by).await {
            tracing::warn!(%error, "a refusal could not be written into the audit log");
        }
    }

    /// Writes an access into the audit log. Nothing is shown that could not be written down first.
    pub(crate) async fn note_access(
        &self,
        verb: &'static str,
        subject: &str,
        caller: &Caller,
    ) -> Result<(), Problem> {
        let noted = self
            .rooms
            .store
            .note_access(verb, subject, caller.actor.clone());
        Ok(noted.await?)
    }
}

async fn forbid(api: &Api, what: String, by: Actor) -> Problem {
    api.rooms.meter.count(Counter::AuthForbidden);
    api.note_refusal(what, "the token's roles do not allow it", by)
        .await;
    let detail = "this token's roles do not allow this; the security administrator issues tokens";
    Problem::new(StatusCode::FORBIDDEN, "forbidden", detail)
}

/// Counts refused identities by address. Valid tokens are never held up: colleagues may share an address. What is held
/// down is the audit log's growth, which would otherwise be anybody's to fill the disk with.
#[derive(Debug)]
pub(crate) struct Doorman {
    per_window_max: u32,
    // A plain lock: held for one look into a map, never across an await.
    refused: Mutex<HashMap<IpAddr, (Timestamp, u32)>>,
}

impl Doorman {
    pub(crate) fn new(per_window_max: u32) -> Self {
        Self {
            per_window_max,
            refused: Mutex::default(),
        }
    }

    fn admits_refusal(&self, address: IpAddr, now: Timestamp) -> bool {
        // A panic while counting leaves a count behind, which is as good as any.
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.len() >= ADDRESSES_MAX && !refused.contains_key(&address) {
            refused.retain(|_, (since, _)| now.since(*since) < WINDOW);
            let oldest = refused
                .iter()
                .min_by_key(|(_, (since, _))| *since)
                .map(|(a, _)| *a);
            if let Some(oldest) = oldest.filter(|_| refused.len() >= ADDRESSES_MAX) {
                refused.remove(&oldest);
            }
        }
        let (since, count) = refused.entry(address).or_insert((now, 0));
        if now.since(*since) >= WINDOW {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= self.per_window_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_fails_too_often_waits_and_no_other_does() {
        let doorman = Doorman::new(3);
        let [a, b] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(IpAddr::from);
        let at = Timestamp::from_millis;
        let tries = [1, 2, 3, 4, 5].map(|ms| doorman.admits_refusal(a, at(ms)));
        assert_eq!(tries, [true, true, true, false, false]);
        assert!(doorman.admits_refusal(b, at(6)));
        assert!(!doorman.admits_refusal(a, at(60_000)));
        assert!(doorman.admits_refusal(a, at(60_001)));
    }

    #[test]
    fn many_addresses_do_not_fill_the_memory() {
        let doorman = Doorman::new(3);
        for i in 0..3 * ADDRESSES_MAX as u32 {
            let address = IpAddr::from(i.to_be_bytes());
            assert!(doorman.admits_refusal(address, Timestamp::from_millis(i64::from(i))));
        }
        assert!(doorman.refused.lock().expect("not poisoned").len() <= ADDRESSES_MAX);
    }
}
