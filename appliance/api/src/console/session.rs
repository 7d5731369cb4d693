//! Who has logged in. Sessions live in memory only: a restart ends them all, and nothing on disk can be replayed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, header};
use pericard_domain::time::Timestamp;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A session that is not used for so long ends: a reading room's screen is left without a word.
const IDLE: Duration = Duration::from_secs(15 * 60);
/// No session is longer than a shift.
const WHOLE: Duration = Duration::from_secs(10 * 60 * 60);
/// The most sessions there are; one more ends the one that was idle for longest.
const SESSIONS_MAX: usize = 512;
/// The most that one token has, so that nobody's token can end everybody else's sessions.
const SESSIONS_PER_TOKEN_MAX: usize = 16;
/// Random bytes of a session's secret, and of the word that its forms carry.
const SECRET_BYTES: usize = 32;
/// The prefix `__Host-` lets a browser take it only with `Secure`, `Path=/` and no `Domain`: no other host of the hospital's
/// domain can plant one.
const COOKIE: &str = "__Host-pericard";

/// Every session. Kept by the digest of its secret: whoever reads this memory's map cannot use what it finds as a cookie.
#[derive(Default)]
pub(crate) struct Sessions {
    // A plain lock: held for one look into a map, never across an await.
    open: Mutex<HashMap<[u8; 32], Session>>,
}

#[derive(Clone)]
struct Session {
    token: TokenKey,
    word: String,
    began_at: Timestamp,
    used_at: Timestamp,
}

/// SHA-256 of a token's secret, which the store finds it by. Looked up at every request: a revoked token ends its
/// sessions with its next request, and its roles are those that it has now.
pub(crate) type TokenKey = [u8; 32];

/// What a request's session says.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) token: TokenKey,
    /// What every form of this session must bring back.
    pub(crate) word: String,
}

impl Sessions {
    /// A new session of a token that was just presented; gives the header that sets its cookie.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub(crate) fn begin(&self, token: TokenKey, now: Timestamp) -> io::Result<HeaderValue> {
        let (secret, word) = (random()?, random()?);
        let mut open = self.held();
        open.retain(|_, session| session.is_open(now));
        make_room(&mut open, SESSIONS_MAX, |_| true);
        make_room(&mut open, SESSIONS_PER_TOKEN_MAX, |s| s.token == token);
        let session = Session {
            token,
            word,
            began_at: now,
            used_at: now,
        };
        open.insert(Sha256::digest(&secret).into(), session);
        let cookie = format!("{COOKIE}={secret}; Path=/; Secure; HttpOnly; SameSite=Strict");
        HeaderValue::from_str(&cookie).map_err(io::Error::other)
    }

    /// The session that a request belongs to, when it is open; it is used with that.
    pub(crate) fn of(&self, headers: &HeaderMap, now: Timestamp) -> Option<Known> {
        let mut open = self.held();
        let session = open.get_mut(&key(headers)?)?;
        if !session.is_open(now) {
            return None;
        }
        session.used_at = now;
        Some(Known {
            token: session.token,
            word: session.word.clone(),
        })
    }

    /// Ends the session that a request belongs to; gives the header that takes its cookie back.
    pub(crate) fn end(&self, headers: &HeaderMap) -> HeaderValue {
        if let Some(key) = key(headers) {
            self.held().remove(&key);
        }
        HeaderValue::from_static(
            "__Host-pericard=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0",
        )
    }

    fn held(&self) -> MutexGuard<'_, HashMap<[u8; 32], Session>> {
        // A panic between two looks leaves whole sessions behind.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    fn is_open(&self, now: Timestamp) -> bool {
        now.since(self.used_at) < IDLE && now.since(self.began_at) < WHOLE
    }
}

/// Ends those that were idle for longest until one more of these fits.
fn make_room(
    open: &mut HashMap<[u8; 32], Session>,
    most: usize,
    counts: impl Fn(&Session) -> bool,
) {
    while open.values().filter(|s| counts(s)).count() >= most {
        let counted = open.iter().filter(|(_, s)| counts(s));
        let Some(oldest) = counted.min_by_key(|(_, s)| s.used_at).map(|(key, _)| *key) else {
            return;
        };
        open.remove(&oldest);
    }
}

/// What a session is kept by. A cookie is sent once: of two of that name, which only a confused or a hostile client sends,
/// none counts.
fn key(headers: &HeaderMap) -> Option<[u8; 32]> {
    let sent = headers.get_all(header::COOKIE).iter();
    let pairs = sent
        .filter_map(|value| value.to_str().ok())
        .flat_map(|v| v.split(';'));
    let mut secrets = pairs.filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    });
    match (secrets.next(), secrets.next()) {
        (Some(secret), None) => Some(Sha256::digest(secret).into()),
        _ => None,
    }
}

fn random() -> io::Result<String> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Whether a request that changes something was sent by one of our own pages, as far as the browser says. The page's own
/// word is asked for besides: this is the second wall.
pub(crate) fn is_from_here(headers: &HeaderMap) -> bool {
    let said = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    match said("sec-fetch-site") {
        Some(site) => site == b"same-origin",
        None => true, // not a browser, or one of before 2023
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Timestamp {
        Timestamp::from_millis(0).after(Duration::from_secs(s))
    }

    fn sent(set: &HeaderValue) -> HeaderMap {
        let text = set.to_str().expect("text");
        let pair = text.split(';').next().expect("a pair");
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, pair.parse().expect("a header"));
        headers
    }

    #[test]
    fn a_session_ends_when_it_is_idle_and_when_the_shift_is_over() {
        let sessions = Sessions::default();
        let cookie = sent(&sessions.begin([1; 32], at(0)).expect("random"));
        assert!(sessions.of(&cookie, at(899)).is_some());
        assert!(sessions.of(&cookie, at(899 + 900)).is_none(), "idle");
        let cookie = sent(&sessions.begin([1; 32], at(0)).expect("random"));
        for s in (0..36_000).step_by(600) {
            assert!(sessions.of(&cookie, at(s)).is_some(), "{s}");
        }
        assert!(sessions.of(&cookie, at(36_000)).is_none(), "the whole");
    }

    #[test]
    fn one_that_was_ended_or_made_up_is_none() {
        let sessions = Sessions::default();
        let cookie = sent(&sessions.begin([1; 32], at(0)).expect("random"));
        sessions.end(&cookie);
        assert!(sessions.of(&cookie, at(1)).is_none());
        let made_up = sent(&HeaderValue::from_static("__Host-pericard=AAAA"));
        assert!(sessions.of(&made_up, at(1)).is_none());
        assert!(sessions.of(&HeaderMap::new(), at(1)).is_none());
        let mut twice = sent(&sessions.begin([1; 32], at(0)).expect("random"));
        twice.append(
            header::COOKIE,
            HeaderValue::from_static("__Host-pericard=A"),
        );
        assert!(sessions.of(&twice, at(1)).is_none(), "two are none");
    }

    #[test]
    fn one_token_cannot_end_the_sessions_of_others() {
        let sessions = Sessions::default();
        let other = sent(&sessions.begin([2; 32], at(0)).expect("random"));
        let first = sent(&sessions.begin([1; 32], at(1)).expect("random"));
        for s in 2..2 + SESSIONS_MAX as u64 {
            sessions.begin([1; 32], at(2 + s / 100)).expect("random");
        }
        assert!(sessions.of(&other, at(9)).is_some());
        assert!(sessions.of(&first, at(9)).is_none(), "its own oldest");
        assert_eq!(sessions.held().len(), 1 + SESSIONS_PER_TOKEN_MAX);
    }
}
