//! What the hub knows, in memory, as pages and exports read it. Nobody who reads it speaks SQL or waits for a disk.

use pericard_frame::Frame;
use pericard_frame::plan::Plan;
use pericard_frame::reply::Advisory;
use std::sync::{Arc, PoisonError, RwLock};

/// An enrolled hospital: one appliance of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hospital {
    /// The number that the hub gave its appliance.
    pub number: u32,
    /// Its name, as the national admin wrote it.
    pub name: String,
    /// When it was enrolled, seconds since 1970.
    pub enrolled_at_s: u64,
    /// Whether its frames are refused for the time being.
    pub suspended: bool,
}

/// What a hospital's officer asked for, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolmentRequest {
    /// Its number among the requests.
    pub number: u32,
    /// What the appliance's frames would be believed by: to be compared by telephone before it is granted.
    pub frame_key: String,
    /// What is to be certified (PKCS#10, DER).
    pub csr: Vec<u8>,
    /// When it came, seconds since 1970.
    pub asked_at_s: u64,
    /// What it was granted; nothing while it waits for an admin.
    pub granted: Option<Granted>,
}

/// An enrolment that an admin granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// The number of the appliance.
    pub hospital: u32,
    /// When, seconds since 1970.
    pub at_s: u64,
    /// The number of the admin's token.
    pub by: u32,
    /// The certificate (DER).
    pub certificate: Vec<u8>,
}

/// A frame that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Whose it is.
    pub appliance: u32,
    /// Its number among that appliance's.
    pub sequence: u32,
    /// The week that it tells of, counted from Monday 5 January 1970.
    pub week: u16,
    /// When it was accepted, seconds since 1970.
    pub received_at_s: u64,
    /// Whether it came as a file that somebody carried.
    pub carried: bool,
    /// What it says.
    pub frame: Frame,
}

/// Declares the kinds of alarm with their words: what the database keeps, and what people read.
macro_rules! alarms {
    ($($(#[doc = $meaning:literal])+ $name:ident = $word:literal,)+) => {
        /// What was wrong with something that was sent.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum AlarmKind { $($(#[doc = $meaning])+ $name,)+ }

        impl AlarmKind {
            /// Every kind.
            pub const ALL: [Self; [$(Self::$name),+].len()] = [$(Self::$name),+];

            /// Its closed word, for programs.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }

            /// What it means, for people.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($meaning),+).trim_ascii(),)+ }
            }
        }
    };
}

alarms! {
    /// The audit log does not continue the one that was witnessed: it was rolled back, or there are two of them.
    Fork = "fork",
    /// The signature is not by this appliance's key.
    Signature = "signature",
    /// Other bytes came under a sequence number that is taken.
    OtherBytes = "other_bytes",
    /// A number is out of its range, or a week lies in the future.
    OutOfRange = "out_of_range",
    /// A frame was sent in the name of another appliance.
    Unknown = "unknown",
}

impl AlarmKind {
    /// The kind that this word names.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// Something that was refused and that a person should look into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// Its number, from 1.
    pub number: u32,
    /// Whose certificate or key it came with.
    pub appliance: u32,
    /// When, seconds since 1970.
    pub at_s: u64,
    /// What was wrong.
    pub kind: AlarmKind,
    /// The number of the frame, where it could be read.
    pub sequence: Option<u32>,
    /// When an admin closed it, seconds since 1970; nothing while it is open.
    pub closed_at_s: Option<u64>,
}

impl Alarm {
    /// Whether somebody still has to look into it.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.closed_at_s.is_none()
    }
}

/// How far the hub has witnessed an appliance's audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Witnessed {
    /// Whose.
    pub appliance: u32,
    /// How many lines.
    pub size: u64,
    /// The hash of the log at that size.
    pub root: [u8; 32],
    /// When the hub signed it, seconds since 1970.
    pub cosigned_at_s: u64,
}

/// A model and its version in the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Its number, from 1.
    pub id: u16,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its manifest.
    pub digest: [u8; 32],
}

/// A recall or an advisory that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// What goes out in replies.
    pub advisory: Advisory,
    /// What it says to people; stays with the hub, since replies hold numbers only.
    pub text: String,
}

/// An evaluation plan that was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// What goes out in replies.
    pub plan: Plan,
    /// What it says to people; stays with the hub.
    pub text: String,
}

/// All of it, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// By number.
    pub hospitals: Vec<Hospital>,
    /// By number.
    pub requests: Vec<EnrolmentRequest>,
    /// By appliance, then sequence. A nation of 50 hospitals over ten years is 26 000 of them, 106 MB.
    pub frames: Vec<Arc<Received>>,
    /// By time.
    pub alarms: Vec<Alarm>,
    /// By appliance.
    pub witnessed: Vec<Witnessed>,
    /// By number.
    pub models: Vec<Model>,
    /// By number.
    pub advisories: Vec<Issued>,
    /// By number.
    pub plans: Vec<Published>,
    /// When it was taken, seconds since 1970.
    pub now_s: u64,
}

/// Who looks: a person with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Viewer {
    /// The national administration: everything.
    Admin,
    /// Reads everything, changes nothing.
    Analyst,
    /// Sees its own hospital only.
    Hospital(u32),
}

impl Viewer {
    /// Whether this viewer may see what is told of one hospital.
    #[must_use]
    pub fn sees(self, appliance: u32) -> bool {
        match self {
            Self::Admin | Self::Analyst => true,
            Self::Hospital(own) => own == appliance,
        }
    }

    /// Whether this viewer may see what is told of all hospitals together.
    #[must_use]
    pub const fn is_national(self) -> bool {
        matches!(self, Self::Admin | Self::Analyst)
    }
}

/// The newest snapshot. Readers keep theirs for as long as they look at it; the writer puts another in its place.
#[derive(Debug, Default)]
pub struct Records(RwLock<Arc<Snapshot>>);

impl Records {
    /// Begins with this snapshot.
    #[must_use]
    pub fn new(snapshot: Snapshot) -> Self {
        Self(RwLock::new(Arc::new(snapshot)))
    }

    /// What the hub knows now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        // A writer that panicked left the whole old value or the whole new one.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a newer snapshot in its place.
    pub fn renew(&self, snapshot: Snapshot) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
    }
}
