//! The hub without its doors: enrols, takes frames, witnesses logs, warns.

use crate::ingest::{Pace, Sent, judge};
use crate::records::{Issued, Model, Records};
use crate::store::{Store, StoreError};
use crate::words::words_of;
use pericard_audit::{SigningKey, VerifierKey};
use pericard_frame::ADVISORY_SIGNED_AS;
use pericard_frame::reply::{Advisory, Cause, Kind, Reply};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Tells the time, seconds since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The national side, over one database and one signing key.
pub struct Hub {
    store: Store,
    key: SigningKey,
    clock: Clock,
    pace: Mutex<Pace>,
    records: Records,
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
}

impl Hub {
    /// Opens the hub over this database.
    ///
    /// # Errors
    /// When the database cannot be opened or read.
    pub fn open(path: &Path, key: SigningKey, clock: Clock) -> Result<Self, StoreError> {
        let store = Store::open(path)?;
        let records = Records::new(store.snapshot(clock())?);
        Ok(Self {
            store,
            key,
            clock,
            pace: Mutex::default(),
            records,
        })
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

    /// Enrols an appliance: its frames are believed by this key, its connections by the SHA-256 of this certificate.
    /// Gives its number.
    ///
    /// # Errors
    /// When the certificate is another appliance's, or nothing can be written.
    pub fn enrol(
        &self,
        name: &str,
        frame_key: &VerifierKey,
        certificate_sha256: &[u8; 32],
    ) -> Result<u32, StoreError> {
        self.changed(|change| change.enrol(name, &frame_key.to_string(), certificate_sha256))
    }

    /// Refuses an appliance's frames for the time being, or takes them again.
    ///
    /// # Errors
    /// When there is no such hospital, or nothing can be written.
    pub fn suspend(&self, number: u32, suspended: bool) -> Result<(), StoreError> {
        self.changed(|change| change.suspend(number, suspended))
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
            change.issue(&issued)?;
            Ok(issued)
        })
    }

    /// Judges frames in their order, and gives a reply to each once all that was accepted is on disk. One transaction for
    /// all of them: a caller with many waiting passes them together.
    ///
    /// # Errors
    /// When nothing can be written. Then none was accepted, and no reply may be sent.
    pub fn ingest(&self, sent: &[Sent<'_>]) -> Result<Vec<Reply>, StoreError> {
        let now_s = (self.clock)();
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let judged = self.store.change(now_s, |change| {
            let judge = |sent| judge(change, &self.key, &mut pace, (sent, now_s));
            sent.iter().map(judge).collect::<Result<Vec<_>, _>>()
        })?;
        // Under the lock of the pace, so that a newer snapshot is never followed by an older one.
        let mut replies = Vec::new();
        let mut accepted = Vec::new();
        for verdict in judged {
            replies.push(verdict.reply);
            accepted.extend(verdict.accepted.map(Arc::new));
        }
        self.records.renew(
            self.store
                .renewed(&self.records.snapshot(), accepted, now_s)?,
        );
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

    fn changed<T>(
        &self,
        work: impl FnOnce(&mut crate::store::Change<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let now_s = (self.clock)();
        let _turn = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let done = self.store.change(now_s, work)?;
        let renewed = self
            .store
            .renewed(&self.records.snapshot(), Vec::new(), now_s)?;
        self.records.renew(renewed);
        Ok(done)
    }
}
