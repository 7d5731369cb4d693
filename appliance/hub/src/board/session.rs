//! Who has logged in. Sessions live in memory only: a restart ends them all, and nothing on disk can be replayed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, header};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A session that is not used for so long ends.
const IDLE_S: u64 = 30 * 60;
/// No session is longer than a working day.
const WHOLE_S: u64 = 10 * 60 * 60;
/// The most sessions there are; one more ends the one that was idle for longest.
const SESSIONS_MAX: usize = 512;
/// The most that one token has, so that nobody's token can end everybody else's sessions.
const SESSIONS_PER_TOKEN_MAX: usize = 16;
/// Random bytes of a session's secret, and of the word that its forms carry.
const SECRET_BYTES: usize = 32;
/// `__Host-` binds it to this very host and to TLS.
const COOKIE: &str = "__Host-pericard-hub";

/// Every session, kept by the digest of its secret: whoever reads this memory cannot use what it finds as a cookie.
#[derive(Default)]
pub(crate) struct Sessions {
    // A plain lock: held for one look into a map, never across an await.
    open: Mutex<HashMap<[u8; 32], Session>>,
}

struct Session {
    /// Looked up at every request: a revoked token ends its sessions with its next request.
    token: [u8; 32],
    word: String,
    began_at_s: u64,
    used_at_s: u64,
}

/// What a request's session says.
pub(super) struct Known {
    pub(super) token: [u8; 32],
    /// What every form of this session must bring back.
    pub(super) word: String,
}

impl Sessions {
    /// A new session of a token that was just presented; gives the header that sets its cookie.
    pub(super) fn begin(&self, token: [u8; 32], now_s: u64) -> io::Result<HeaderValue> {
        let (secret, word) = (random()?, random()?);
        let mut open = self.held();
        open.retain(|_, session| session.is_open(now_s));
        make_room(&mut open, SESSIONS_MAX, |_| true);
        make_room(&mut open, SESSIONS_PER_TOKEN_MAX, |s| s.token == token);
        let session = Session {
            token,
            word,
            began_at_s: now_s,
            used_at_s: now_s,
        };
        open.insert(Sha256::digest(&secret).into(), session);
        let cookie = format!("{COOKIE}={secret}; Path=/; Secure; HttpOnly; SameSite=Strict");
        HeaderValue::from_str(&cookie).map_err(io::Error::other)
    }

    /// The session that a request belongs to, when it is open; it is used with that.
    pub(super) fn of(&self, headers: &HeaderMap, now_s: u64) -> Option<Known> {
        let mut open = self.held();
        let session = open.get_mut(&key(headers)?)?;
        if !session.is_open(now_s) {
            return None;
        }
        session.used_at_s = now_s;
        Some(Known {
            token: session.token,
            word: session.word.clone(),
        })
    }

    /// Ends the session that a request belongs to; gives the header that takes its cookie back.
    pub(super) fn end(&self, headers: &HeaderMap) -> HeaderValue {
        if let Some(key) = key(headers) {
            self.held().remove(&key);
        }
        HeaderValue::from_static(
            "__Host-pericard-hub=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0",
        )
    }

    fn held(&self) -> MutexGuard<'_, HashMap<[u8; 32], Session>> {
        // A panic between two looks leaves whole sessions behind.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    const fn is_open(&self, now_s: u64) -> bool {
        now_s.saturating_sub(self.used_at_s) < IDLE_S
            && now_s.saturating_sub(self.began_at_s) < WHOLE_S
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
        let oldest = counted
            .min_by_key(|(_, s)| s.used_at_s)
            .map(|(key, _)| *key);
        let Some(oldest) = oldest else { return };
        open.remove(&oldest);
    }
}

/// What a session is kept by. Of two cookies of that name, which only a confused or a hostile client sends, none counts.
fn key(headers: &HeaderMap) -> Option<[u8; 32]> {
    let sent = headers.get_all(header::COOKIE).iter();
    let texts = sent.filter_map(|value| value.to_str().ok());
    let mut secrets = texts.flat_map(|text| text.split(';')).filter_map(|pair| {
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
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Whether a request that changes something was sent by one of our own pages, as far as the browser says. The page's own
/// word is asked for besides: this is the second wall.
pub(super) fn is_from_here(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    site.is_none_or(|site| site == b"same-origin") // a browser of before 2023 says nothing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(set: &HeaderValue) -> HeaderMap {
        let text = set.to_str().expect("text");
        let pair = text.split(';').next().expect("a pair");
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, pair.parse().expect("a header"));
        headers
    }

    #[test]
    fn a_session_ends_when_it_is_idle_when_the_day_is_over_and_when_it_is_told_to() {
        let sessions = Sessions::default();
        let begin = |now_s| sent(&sessions.begin([1; 32], now_s).expect("random"));
        let cookie = begin(0);
        assert!(sessions.of(&cookie, IDLE_S - 1).is_some());
        assert!(sessions.of(&cookie, 2 * IDLE_S - 1).is_none(), "idle");
        let cookie = begin(0);
        for s in (0..WHOLE_S).step_by(600) {
            assert!(sessions.of(&cookie, s).is_some(), "{s}");
        }
        assert!(sessions.of(&cookie, WHOLE_S).is_none(), "the whole");
        let cookie = begin(0);
        sessions.end(&cookie);
        assert!(sessions.of(&cookie, 1).is_none());
        let mut twice = begin(0);
        twice.append(
            header::COOKIE,
            HeaderValue::from_static("__Host-pericard-hub=A"),
        );
        assert!(sessions.of(&twice, 1).is_none(), "two are none");
    }

    #[test]
    fn one_token_cannot_end_the_sessions_of_others() {
        let sessions = Sessions::default();
        let other = sent(&sessions.begin([2; 32], 0).expect("random"));
        let first = sent(&sessions.begin([1; 32], 1).expect("random"));
        for s in 2..2 + SESSIONS_MAX as u64 {
            sessions.begin([1; 32], 2 + s / 100).expect("random");
        }
        assert!(sessions.of(&other, 9).is_some());
        assert!(sessions.of(&first, 9).is_none(), "its own oldest");
        assert_eq!(sessions.held().len(), 1 + SESSIONS_PER_TOKEN_MAX);
    }
}
