//! The reply: what the hub answers to a frame, of the same size whatever it says. Numbers only, like the frame, so that a
//! breached hub has no text to show to anybody.

use crate::codes::codes;
use crate::layout::reply::{self as field, REPLY_LAYOUT};
use crate::layout::{ADVISORIES, PLANS, REPLY_MAGIC, Spec, VERSION};
use crate::page::{Draft, Fault, Form, Line, Page, sealed};
use crate::plan::Plan;

/// What stands before an advisory's bytes when they are signed.
pub const ADVISORY_SIGNED_AS: &[u8; 21] = b"pericard-advisory-v1\n";
/// How many bytes of an advisory are signed.
pub const ADVISORY_SIGNED_BYTES: usize = 49;

/// The form of what the hub answers.
pub enum FromHub {}

/// A reply that keeps to [`REPLY_LAYOUT`].
pub type Reply = Page<FromHub>;

codes! {
    /// What became of the frame.
    Status: u8 {
        0 = Accepted, "accepted";
        1 = Known, "the hub already had these bytes";
        2 = Refused, "refused";
    }
}

codes! {
    /// Why a frame was refused.
    Reason: u8 {
        0 = None, "no reason";
        1 = Signature, "its signature is not by this appliance's key";
        2 = OutOfRange, "a number is out of range";
        3 = OtherBytes, "the hub holds other bytes under this sequence number";
        4 = Log, "the audit log does not continue the one that the hub has witnessed";
        5 = Unknown, "the hub does not know this appliance";
        6 = Rate, "too many frames; it may be sent again later";
    }
}

codes! {
    /// What an advisory asks for.
    Kind: u8 {
        1 = Recall, "recall: stop using this model";
        2 = Advisory, "advisory: mind what is said about this model";
    }
}

codes! {
    /// Why an advisory was issued.
    Cause: u16 {
        0 = Unstated, "no cause stated";
        1 = Safety, "a risk to patients";
        2 = Performance, "it performs worse than it was approved for";
        3 = Drift, "its scores drift";
        4 = Bias, "it performs worse for some patients than for others";
        5 = Security, "a weakness in its security";
        6 = Regulatory, "its approval changed";
        7 = Superseded, "a newer version replaces it";
        8 = Maker, "withdrawn by its maker";
    }
}

impl Kind {
    /// Its word, for programs and commands.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Recall => "recall",
            Self::Advisory => "advisory",
        }
    }

    /// The kind that this word names.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

impl Cause {
    /// Its word, for programs and commands.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unstated => "unstated",
            Self::Safety => "safety",
            Self::Performance => "performance",
            Self::Drift => "drift",
            Self::Bias => "bias",
            Self::Security => "security",
            Self::Regulatory => "regulatory",
            Self::Superseded => "superseded",
            Self::Maker => "maker",
        }
    }

    /// The cause that this word names.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.word() == word)
    }
}

/// A model recall or an advisory, as it stands in a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advisory {
    /// Its number among the hub's, from 1.
    pub number: u32,
    /// What it asks for.
    pub kind: Kind,
    /// The model's number in the catalogue; 0 when it is in none.
    pub model: u16,
    /// SHA-256 of the model's manifest, as four numbers of eight bytes, the first bytes first.
    pub model_digest: [u64; 4],
    /// When it was issued, seconds since 1970.
    pub issued_at_s: u64,
    /// Why.
    pub cause: Cause,
    /// Ed25519 by the hub's advisory key.
    pub signature: [u8; 64],
}

impl Advisory {
    /// What is signed, behind [`ADVISORY_SIGNED_AS`]: number, kind, model, digest, time and cause, little-endian, as in
    /// the reply.
    #[must_use]
    pub fn signed_bytes(&self) -> [u8; ADVISORY_SIGNED_BYTES] {
        let mut bytes = [0; ADVISORY_SIGNED_BYTES];
        bytes[..4].copy_from_slice(&self.number.to_le_bytes());
        bytes[4] = self.kind.number();
        bytes[5..7].copy_from_slice(&self.model.to_le_bytes());
        for (place, part) in bytes[7..39].chunks_exact_mut(8).zip(self.model_digest) {
            place.copy_from_slice(&part.to_le_bytes());
        }
        bytes[39..47].copy_from_slice(&self.issued_at_s.to_le_bytes());
        bytes[47..].copy_from_slice(&self.cause.number().to_le_bytes());
        bytes
    }
}

impl sealed::Sealed for FromHub {}

impl Form for FromHub {
    fn layout() -> &'static [&'static Spec] {
        &REPLY_LAYOUT
    }

    fn head(draft: &mut Draft<Self>) {
        draft.put(&field::MARK, 0, REPLY_MAGIC);
        draft.put(&field::LAYOUT_VERSION, 0, VERSION);
    }

    /// A place beyond the advisories or plans that are counted says nothing, and every one that is counted says what it is.
    fn agree(reply: &Reply) -> Result<(), Fault> {
        let advisories = reply.get(&field::ADVISORY_COUNT, 0) as usize;
        let plans = reply.get(&field::PLAN_COUNT, 0) as usize;
        let begins = |spec: &Spec| spec.offset_bytes;
        let keys = [
            field::NUMBER.spec(),
            field::KIND.spec(),
            field::PLAN_NUMBER.spec(),
            field::PLAN_METRICS.spec(),
        ];
        for Line { spec, at, value } in reply.lines() {
            let (held, places) = if begins(spec) > begins(field::PLAN_COUNT.spec()) {
                (plans, PLANS)
            } else if begins(spec) > begins(field::ADVISORY_COUNT.spec())
                && begins(spec) < begins(field::PLAN_COUNT.spec())
            {
                (advisories, ADVISORIES)
            } else {
                continue;
            };
            let place = at / (spec.count / places);
            let is_key = keys.iter().any(|key| begins(key) == begins(spec));
            let unused_but_told = place >= held && value != 0;
            let used_but_untold = place < held && is_key && value == 0;
            if unused_but_told || used_but_untold {
                let field = spec.name;
                return Err(Fault::Contradiction { field, at });
            }
        }
        Ok(())
    }
}

impl Reply {
    /// What became of the frame. The layout's range holds no other number.
    #[must_use]
    pub fn status(&self) -> Status {
        Status::of(self.get(&field::STATUS, 0)).unwrap_or(Status::Refused)
    }

    /// Why it was refused.
    #[must_use]
    pub fn reason(&self) -> Reason {
        Reason::of(self.get(&field::REASON, 0)).unwrap_or(Reason::None)
    }

    /// The hub's cosignature (C2SP tlog-cosignature v1) over the checkpoint that it witnessed.
    #[must_use]
    pub fn cosignature(&self) -> [u8; 64] {
        core::array::from_fn(|at| self.get(&field::COSIGNATURE, at) as u8)
    }

    /// The advisories in it. Their signatures are for the reader to check.
    pub fn advisories(&self) -> impl Iterator<Item = Advisory> {
        let held = self.get(&field::ADVISORY_COUNT, 0) as usize;
        (0..held).filter_map(|at| self.advisory(at))
    }

    /// The evaluation plans in it. Their signatures are for the reader to check.
    pub fn plans(&self) -> impl Iterator<Item = Plan> {
        let held = self.get(&field::PLAN_COUNT, 0) as usize;
        (0..held).map(|at| self.plan(at))
    }

    fn plan(&self, at: usize) -> Plan {
        Plan {
            number: self.get(&field::PLAN_NUMBER, at) as u32,
            model: self.get(&field::PLAN_MODEL, at) as u16,
            model_digest: core::array::from_fn(|part| {
                self.get(&field::PLAN_MODEL_DIGEST, 4 * at + part)
            }),
            metrics: self.get(&field::PLAN_METRICS, at) as u16,
            threshold_tenth: self.get(&field::PLAN_THRESHOLD, at) as u8,
            cases_min: self.get(&field::PLAN_CASES, at) as u32,
            issued_at_s: self.get(&field::PLAN_ISSUED, at),
            until_s: self.get(&field::PLAN_UNTIL, at),
            signature: core::array::from_fn(|byte| {
                self.get(&field::PLAN_SIGNATURE, 64 * at + byte) as u8
            }),
        }
    }

    fn advisory(&self, at: usize) -> Option<Advisory> {
        Some(Advisory {
            number: self.get(&field::NUMBER, at) as u32,
            kind: Kind::of(self.get(&field::KIND, at))?,
            model: self.get(&field::MODEL, at) as u16,
            model_digest: core::array::from_fn(|part| {
                self.get(&field::MODEL_DIGEST, 4 * at + part)
            }),
            issued_at_s: self.get(&field::ISSUED, at),
            cause: Cause::of(self.get(&field::REASON_CODE, at))?,
            signature: core::array::from_fn(|byte| {
                self.get(&field::SIGNATURE, 64 * at + byte) as u8
            }),
        })
    }
}

impl Draft<FromHub> {
    /// Adds an advisory; `false` when there is no place for another.
    pub fn put_advisory(&mut self, at: usize, advisory: &Advisory) -> bool {
        let Ok(count) = u8::try_from(at + 1) else {
            return false;
        };
        if at >= ADVISORIES {
            return false;
        }
        self.put(&field::ADVISORY_COUNT, 0, count);
        self.put(&field::NUMBER, at, advisory.number);
        self.put(&field::KIND, at, advisory.kind.number());
        self.put(&field::MODEL, at, advisory.model);
        self.put_all(&field::MODEL_DIGEST, 4 * at, advisory.model_digest);
        self.put(&field::ISSUED, at, advisory.issued_at_s);
        self.put(&field::REASON_CODE, at, advisory.cause.number());
        self.put_all(&field::SIGNATURE, 64 * at, advisory.signature);
        true
    }

    /// Adds an evaluation plan; `false` when there is no place for another.
    pub fn put_plan(&mut self, at: usize, plan: &Plan) -> bool {
        let Ok(count) = u8::try_from(at + 1) else {
            return false;
        };
        if at >= PLANS {
            return false;
        }
        self.put(&field::PLAN_COUNT, 0, count);
        self.put(&field::PLAN_NUMBER, at, plan.number);
        self.put(&field::PLAN_MODEL, at, plan.model);
        self.put_all(&field::PLAN_MODEL_DIGEST, 4 * at, plan.model_digest);
        self.put(&field::PLAN_METRICS, at, plan.metrics);
        self.put(&field::PLAN_THRESHOLD, at, plan.threshold_tenth);
        self.put(&field::PLAN_CASES, at, plan.cases_min);
        self.put(&field::PLAN_ISSUED, at, plan.issued_at_s);
        self.put(&field::PLAN_UNTIL, at, plan.until_s);
        self.put_all(&field::PLAN_SIGNATURE, 64 * at, plan.signature);
        true
    }
}
