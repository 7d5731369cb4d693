//! The hub without its doors: enrols, takes frames, witnesses logs, warns.

use crate::ingest::{Pace, Sent, judge};
use crate::records::{Issued, Model, Published, Received, Records, Viewer};
use crate::store::{COMMAND_LINE, Change, Grant, Lines, Place, Store, StoreError};
use crate::token::Token;
use crate::words::words_of;
use pericard_audit::{SigningKey, VerifierKey};
use pericard_frame::ADVISORY_SIGNED_AS;
use pericard_frame::layout::BINS;
use pericard_frame::plan::{Metric, PLAN_SIGNED_AS, Plan};
use pericard_frame::reply::{Advisory, Cause, Kind, Reply};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// Tells the time, seconds since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// How many requests for enrolment may wait that came over the door: anybody can send one.
pub const REQUESTS_WAITING_MAX: u32 = 64;

/// The national side, over one database and one signing key.
pub struct Hub {
    store: Store,
    key: Arc<SigningKey>,
    clock: Clock,
    turn: Mutex<Turn>,
    records: Records,
    tokens: RwLock<Arc<[Token]>>,
}

/// What only one change at a time may touch.
#[derive(Default)]
struct Turn {
    pace: Pace,
    /// How many audit lines there were when the records were last renewed.
    lines: u64,
}

/// A recall or an advisory to be issued.
#[derive(Debug, Clone)]
pub struct Warning {
    /// What it asks for.
    pub kind: Kind,
    /// The model's number in the catalogue.
    pub model: u16,
    /// Why.
    pub cause: Cause,
    /// What it says to people at the hub.
    pub text: String,
    /// The number of the token by which it is issued; `None` on the hub's own machine.
    pub by: Option<u32>,
}

/// What an evaluation plan is to ask for.
#[derive(Debug, Clone)]
pub struct Asking {
    /// The model's number in the catalogue.
    pub model: u16,
    /// What is to be computed.
    pub metrics: Vec<Metric>,
    /// From which tenth of the score on a case counts as positive, 0 to 9.
    pub threshold_tenth: u8,
    /// With how many cases the outcome is told at least.
    pub cases_min: u32,
    /// Until when it may be carried out, seconds since 1970.
    pub until_s: u64,
    /// What it says to people at the hub.
    pub text: String,
}

impl Hub {
    /// Opens the hub over this database.
    ///
    /// # Errors
    /// When the database cannot be opened or read, or the server does not answer.
    pub fn open<'p>(
        place: impl Into<Place<'p>>,
        key: impl Into<Arc<SigningKey>>,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let store = Store::open(place.into())?;
        // Before the rest is read: a change in between is read twice rather than never.
        let lines = store.lines()?;
        let records = Records::new(store.snapshot(clock())?);
        let tokens = store.tokens()?.into();
        let turn = Turn {
            lines,
            ..Turn::default()
        };
        Ok(Self {
            store,
            key: key.into(),
            clock,
            turn: Mutex::new(turn),
            records,
            tokens: RwLock::new(tokens),
        })
    }

    /// What time it is, seconds since 1970.
    #[must_use]
    pub fn now_s(&self) -> u64 {
        (self.clock)()
    }

    /// Who holds a token with this secret; `None` when nobody does, or not any more.
    #[must_use]
    pub fn viewer(&self, secret: &str) -> Option<Viewer> {
        let token = Token::key(secret).and_then(|key| self.token(&key));
        token.map(|token| token.viewer)
    }

    /// The token whose secret has this SHA-256, while it is good.
    #[must_use]
    pub fn token(&self, sha256: &[u8; 32]) -> Option<Token> {
        Token::good(&self.tokens(), sha256, self.now_s()).cloned()
    }

    /// Says in the audit log that the holder of this token came in or went out.
    ///
    /// # Errors
    /// When nothing can be written.
    pub fn note_visit(&self, verb: &'static str, token: u32) -> Result<(), StoreError> {
        self.changed(|change| change.note(verb, &format!("token {token}")))
    }

    /// Every token that was ever made.
    #[must_use]
    pub fn tokens(&self) -> Arc<[Token]> {
        Arc::clone(&self.tokens.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps a new token, and gives its number; the number in it is passed over.
    ///
    /// # Errors
    /// When it is for a hospital that is not there, or nothing can be written.
    pub fn create_token(&self, token: &Token) -> Result<u32, StoreError> {
        self.changed(|change| change.create_token(token))
    }

    /// Takes a token back.
    ///
    /// # Errors
    /// When there is none of this number, or nothing can be written.
    pub fn revoke_token(&self, number: u32) -> Result<(), StoreError> {
        self.changed(|change| change.revoke_token(number))
    }

    /// What the hub knows, in memory.
    #[must_use]
    pub const fn records(&self) -> &Records {
        &self.records
    }

    /// The database, to verify its audit log.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Enrols an appliance on the hub's own machine: its frames are believed by this key, its connections by the SHA-256 of
    /// this certificate. Gives its number.
    ///
    /// # Errors
    /// When the certificate is another appliance's, or nothing can be written.
    pub fn enrol(
        &self,
        name: &str,
        frame_key: &VerifierKey,
        certificate_sha256: &[u8; 32],
    ) -> Result<u32, StoreError> {
        let (key, by) = (frame_key.to_string(), COMMAND_LINE);
        self.changed(|change| change.enrol(name, &key, certificate_sha256, by))
    }

    /// Keeps what a hospital asks for until an admin decides on it; `by` is the token of the admin who brought it, and nothing
    /// when it came over the door, where only so many may wait. Gives its number; the same one asked again has the same.
    ///
    /// # Errors
    /// When as many wait as may, or nothing can be written.
    pub fn ask(
        &self,
        frame_key: &VerifierKey,
        csr: &[u8],
        by: Option<u32>,
    ) -> Result<u32, StoreError> {
        let (waiting_max, how) = match by {
            Some(token) => (u32::MAX, format!("by token {token}")),
            None => (REQUESTS_WAITING_MAX, "over the door".to_owned()),
        };
        let key = frame_key.to_string();
        self.changed(|change| change.ask((&key, csr), waiting_max, &how))
    }

    /// Grants a request that waits. Gives the number of the appliance.
    ///
    /// # Errors
    /// When none of this number and key waits, or nothing can be written.
    pub(crate) fn grant(&self, grant: &Grant<'_>) -> Result<u32, StoreError> {
        self.changed(|change| change.grant(grant))
    }

    /// Refuses a request that waits, by the admin with this token.
    ///
    /// # Errors
    /// When none of this number waits, or nothing can be written.
    pub fn refuse(&self, request: u32, by: u32) -> Result<(), StoreError> {
        self.changed(|change| change.refuse(request, by))
    }

    /// Refuses an appliance's frames for the time being, or takes them again.
    ///
    /// # Errors
    /// When there is no such hospital, or nothing can be written.
    pub fn suspend(&self, number: u32, suspended: bool) -> Result<(), StoreError> {
        self.changed(|change| change.suspend(number, suspended))
    }

    /// Closes an alarm that somebody has looked into: it is no finding any more, unless it is raised again.
    ///
    /// # Errors
    /// When there is none of this number, it is closed already, or nothing can be written.
    pub fn close_alarm(&self, number: u32) -> Result<(), StoreError> {
        self.changed(|change| change.close_alarm(number))
    }

    /// Adds a model to the catalogue.
    ///
    /// # Errors
    /// When its number is 0 or its words could not stand in the catalogue, when number or digest are taken, or nothing can
    /// be written.
    pub fn add_model(&self, model: &Model) -> Result<(), StoreError> {
        let is_word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
        if model.id == 0 || !is_word(&model.name) || !is_word(&model.version) {
            return Err(StoreError::Refused(
                "a model has a number from 1, and a name and a version without spaces",
            ));
        }
        self.changed(|change| change.add_model(model))
    }

    /// Issues a recall or an advisory: it goes out with every reply from now on.
    ///
    /// # Errors
    /// When the model is not in the catalogue, or nothing can be written.
    pub fn issue(&self, warning: Warning) -> Result<Issued, StoreError> {
        self.changed(|change| {
            let model = change.model(warning.model)?;
            let model = model.ok_or(StoreError::NotFound("model"))?;
            let mut advisory = Advisory {
                number: change.next_advisory()?,
                kind: warning.kind,
                model: model.id,
                model_digest: words_of(&model.digest),
                issued_at_s: (self.clock)(),
                cause: warning.cause,
                signature: [0; 64],
            };
            advisory.signature = self.key.seal(ADVISORY_SIGNED_AS, &advisory.signed_bytes());
            let issued = Issued {
                advisory,
                text: warning.text,
            };
            change.issue(&issued, warning.by)?;
            Ok(issued)
        })
    }

    /// Publishes an evaluation plan: it goes out with replies until it ends.
    ///
    /// # Errors
    /// When the model is not in the catalogue, nothing or something impossible is asked for, or nothing can be written.
    pub fn publish(&self, asking: Asking) -> Result<Published, StoreError> {
        let metrics = asking
            .metrics
            .iter()
            .fold(0, |bits, metric| bits | metric.bit());
        let possible = metrics > 0 && usize::from(asking.threshold_tenth) < BINS;
        let spec = pericard_frame::layout::reply::PLAN_CASES.spec();
        if !possible || u64::from(asking.cases_min) > spec.max || asking.until_s <= self.now_s() {
            return Err(StoreError::Refused(
                "a plan asks for at least one metric, a tenth from 0 to 9, at most a million cases, and ends in the future",
            ));
        }
        self.changed(|change| {
            let model = change.model(asking.model)?;
            let model = model.ok_or(StoreError::NotFound("model"))?;
            let mut plan = Plan {
                number: change.next_plan()?,
                model: model.id,
                model_digest: words_of(&model.digest),
                metrics,
                threshold_tenth: asking.threshold_tenth,
                cases_min: asking.cases_min,
                issued_at_s: (self.clock)(),
                until_s: asking.until_s,
                signature: [0; 64],
            };
            plan.signature = self.key.seal(PLAN_SIGNED_AS, &plan.signed_bytes());
            let published = Published {
                plan,
                text: asking.text,
            };
            change.publish(&published)?;
            Ok(published)
        })
    }

    /// Judges frames in their order, and gives a reply to each once all that was accepted is on disk. One transaction for
    /// all of them: a caller with many waiting passes them together.
    ///
    /// # Errors
    /// When nothing can be written. Then none was accepted, and no reply may be sent.
    pub fn ingest(&self, sent: &[Sent<'_>]) -> Result<Vec<Reply>, StoreError> {
        let now_s = self.now_s();
        let mut turn = self.turn();
        let (judged, lines) = self.store.change(now_s, |change| {
            let judge = |sent| judge(change, &self.key, &mut turn.pace, (sent, now_s));
            sent.iter().map(judge).collect::<Result<Vec<_>, _>>()
        })?;
        let mut replies = Vec::new();
        let mut accepted = Vec::new();
        for verdict in judged {
            replies.push(verdict.reply);
            accepted.extend(verdict.accepted.map(Arc::new));
        }
        self.renew(&mut turn, lines, accepted)?;
        Ok(replies)
    }

    /// The catalogue as a signed note, to be carried to hospitals.
    ///
    /// # Errors
    /// When a text in it cannot stand in a note.
    pub fn catalogue(&self) -> Result<String, pericard_audit::note::NoteError> {
        let mut text = String::from("pericard-catalogue/v1\n");
        for model in &self.records.snapshot().models {
            let digest = hex::encode(model.digest);
            text += &format!("{} {} {} {digest}\n", model.id, model.name, model.version);
        }
        pericard_audit::note::sign(&text, &[&self.key])
    }

    /// Reads again what another process may have changed, and what time it is.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn refresh(&self) -> Result<(), StoreError> {
        let mut turn = self.turn();
        let now = self.store.lines()?;
        let lines = Lines {
            before: now,
            after: now,
        };
        self.renew(&mut turn, lines, Vec::new())
    }

    fn changed<T>(
        &self,
        work: impl FnOnce(&mut Change<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut turn = self.turn();
        let (done, lines) = self.store.change(self.now_s(), work)?;
        self.renew(&mut turn, lines, Vec::new())?;
        Ok(done)
    }

    /// Shows what was changed. It takes the turn, so that a newer snapshot is never followed by an older one.
    fn renew(
        &self,
        turn: &mut Turn,
        lines: Lines,
        accepted: Vec<Arc<Received>>,
    ) -> Result<(), StoreError> {
        let now_s = self.now_s();
        let by_us_alone = lines.before == turn.lines;
        let snapshot = if by_us_alone {
            let before = self.records.snapshot();
            self.store.renewed(&before, accepted, now_s)?
        } else {
            self.store.snapshot(now_s)?
        };
        let tokens = self.store.tokens()?.into();
        self.records.renew(snapshot);
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = tokens;
        turn.lines = lines.after;
        Ok(())
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        // A change that panicked was rolled back, and the pace is a count that may be off by one.
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
