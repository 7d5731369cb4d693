//! Who has logged in at a product's pages. Sessions live in memory only: a restart ends them all, and nothing on disk can be
//! replayed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, header};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The most sessions there are; one more ends the one that was idle for longest.
const SESSIONS_MAX: usize = 512;
/// The most that one token has, so that nobody's token can end everybody else's sessions.
const SESSIONS_PER_TOKEN_MAX: usize = 16;
/// Random bytes of a session's secret, and of the word that its forms carry.
const SECRET_BYTES: usize = 32;
/// What a browser takes only with `Secure`, `Path=/` and no `Domain`: no other host of the same domain can plant one.
const COOKIE_PREFIX: &str = "__Host-";

/// How a product's sessions are called, and how long they last.
#[derive(Debug, Clone, Copy)]
pub struct SessionRules {
    /// What the cookie is called, behind `__Host-`.
    pub cookie: &'static str,
    /// A session that is not used for so long ends, seconds.
    pub idle_s: u64,
    /// No session is longer than this, seconds.
    pub whole_s: u64,
}

/// SHA-256 of a token's secret. Looked up at every request: a revoked token ends its sessions with its next request, and its
/// roles are those that it has now.
pub type TokenKey = [u8; 32];

/// Every session, kept by the digest of its secret: whoever reads this memory cannot use what it finds as a cookie.
pub struct Sessions {
    rules: SessionRules,
    // A plain lock: held for one look into a map, never across an await.
    open: Mutex<HashMap<[u8; 32], Session>>,
}

struct Session {
    token: TokenKey,
    word: String,
    began_at_s: u64,
    used_at_s: u64,
}

/// What a request's session says.
#[derive(Debug, Clone)]
pub struct Known {
    /// Whose session it is.
    pub token: TokenKey,
    /// What every form of this session must bring back.
    pub word: String,
}

impl Sessions {
    /// None yet.
    #[must_use]
    pub fn new(rules: SessionRules) -> Self {
        let open = Mutex::default();
        Self { rules, open }
    }

    /// A new session of a token that was just presented, at that second; gives the header that sets its cookie.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn begin(&self, token: TokenKey, now_s: u64) -> io::Result<HeaderValue> {
        let (secret, word) = (random()?, random()?);
        let mut open = self.held();
        open.retain(|_, session| session.is_open(self.rules, now_s));
        make_room(&mut open, SESSIONS_MAX, |_| true);
        make_room(&mut open, SESSIONS_PER_TOKEN_MAX, |s| s.token == token);
        let session = Session {
            token,
            word,
            began_at_s: now_s,
            used_at_s: now_s,
        };
        open.insert(Sha256::digest(&secret).into(), session);
        let name = self.rules.cookie;
        let cookie =
            format!("{COOKIE_PREFIX}{name}={secret}; Path=/; Secure; HttpOnly; SameSite=Strict");
        HeaderValue::from_str(&cookie).map_err(io::Error::other)
    }

    /// The session that a request belongs to, when it is open; it is used with that.
    pub fn of(&self, headers: &HeaderMap, now_s: u64) -> Option<Known> {
        let mut open = self.held();
        let session = open.get_mut(&self.key(headers)?)?;
        if !session.is_open(self.rules, now_s) {
            return None;
        }
        session.used_at_s = now_s;
        Some(Known {
            token: session.token,
            word: session.word.clone(),
        })
    }

    /// Ends the session that a request belongs to; gives the header that takes its cookie back.
    pub fn end(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        if let Some(key) = self.key(headers) {
            self.held().remove(&key);
        }
        let name = self.rules.cookie;
        let cookie =
            format!("{COOKIE_PREFIX}{name}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0");
        HeaderValue::from_str(&cookie).ok()
    }

    /// What a session is kept by. Of two cookies of that name, which only a confused or a hostile client sends, none counts.
    fn key(&self, headers: &HeaderMap) -> Option<[u8; 32]> {
        let sent = headers.get_all(header::COOKIE).iter();
        let texts = sent.filter_map(|value| value.to_str().ok());
        let mut secrets = texts.flat_map(|text| text.split(';')).filter_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            (name.strip_prefix(COOKIE_PREFIX) == Some(self.rules.cookie)).then_some(value)
        });
        match (secrets.next(), secrets.next()) {
            (Some(secret), None) => Some(Sha256::digest(secret).into()),
            _ => None,
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<[u8; 32], Session>> {
        // A panic between two looks leaves whole sessions behind.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    const fn is_open(&self, rules: SessionRules, now_s: u64) -> bool {
        now_s.saturating_sub(self.used_at_s) < rules.idle_s
            && now_s.saturating_sub(self.began_at_s) < rules.whole_s
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

fn random() -> io::Result<String> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Whether a request that changes something was sent by one of our own pages, as far as the browser says. The page's own
/// word is asked for besides: this is the second wall.
#[must_use]
pub fn is_from_here(headers: &HeaderMap) -> bool {
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

    const RULES: SessionRules = SessionRules {
        cookie: "pages",
        idle_s: 900,
        whole_s: 36_000,
    };

    #[test]
    fn a_session_ends_when_it_is_idle_when_the_day_is_over_and_when_it_is_told_to() {
        let sessions = Sessions::new(RULES);
        let begin = |now_s| sent(&sessions.begin([1; 32], now_s).expect("random"));
        let cookie = begin(0);
        assert!(sessions.of(&cookie, RULES.idle_s - 1).is_some());
        assert!(sessions.of(&cookie, 2 * RULES.idle_s - 1).is_none(), "idle");
        let cookie = begin(0);
        for s in (0..RULES.whole_s).step_by(600) {
            assert!(sessions.of(&cookie, s).is_some(), "{s}");
        }
        assert!(sessions.of(&cookie, RULES.whole_s).is_none(), "the whole");
        let cookie = begin(0);
        let taken_back = sessions.end(&cookie).expect("a header");
        assert!(taken_back.to_str().expect("text").contains("Max-Age=0"));
        assert!(sessions.of(&cookie, 1).is_none());
        let made_up = sent(&HeaderValue::from_static("__Host-pages=AAAA"));
        assert!(sessions.of(&made_up, 1).is_none());
        assert!(sessions.of(&HeaderMap::new(), 1).is_none());
        let mut twice = begin(0);
        twice.append(header::COOKIE, HeaderValue::from_static("__Host-pages=A"));
        assert!(sessions.of(&twice, 1).is_none(), "two are none");
    }

    #[test]
    fn one_token_cannot_end_the_sessions_of_others() {
        let sessions = Sessions::new(RULES);
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
