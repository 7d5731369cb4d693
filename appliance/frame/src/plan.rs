//! An evaluation plan: what the hub asks hospitals to measure of a model on cases of their own. Numbers only, like all that
//! comes from there. What answers it is one histogram of cases by label and score, noised; every metric is computed from it
//! at the hub.

use crate::codes::codes;

/// What stands before a plan's bytes when they are signed.
pub const PLAN_SIGNED_AS: &[u8; 28] = b"pericard-evaluation-plan-v1\n";
/// How many bytes of a plan are signed.
pub const PLAN_SIGNED_BYTES: usize = 61;

codes! {
    /// What is computed of a model's scores and the labels of its cases. Nothing else can be asked for.
    Metric: u8 {
        0 = Sensitivity, "of the cases with the finding, the share that scores at the threshold or above";
        1 = Specificity, "of the cases without the finding, the share that scores below the threshold";
        2 = PositivePredictiveValue, "of the cases at the threshold or above, the share that has the finding";
        3 = AreaUnderCurve, "how often a case with the finding scores above one without it";
        4 = CalibrationError, "how far, on average, the share with the finding in a tenth of the score is from that tenth";
    }
}

impl Metric {
    /// Its word, for programs and commands.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Sensitivity => "sensitivity",
            Self::Specificity => "specificity",
            Self::PositivePredictiveValue => "positive-predictive-value",
            Self::AreaUnderCurve => "area-under-curve",
            Self::CalibrationError => "calibration-error",
        }
    }

    /// The metric that this word names.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.word() == word)
    }

    /// The bits of all of them.
    pub const EVERY: u16 = (1 << Self::ALL.len()) - 1;

    /// Its bit in [`Plan::metrics`].
    #[must_use]
    pub const fn bit(self) -> u16 {
        1 << self.number()
    }
}

/// A plan, as it stands in a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Its number among the hub's, from 1.
    pub number: u32,
    /// The catalogue's number of the model.
    pub model: u16,
    /// SHA-256 of the model's manifest, as four numbers of eight bytes, the first bytes first.
    pub model_digest: [u64; 4],
    /// What is computed: bits of [`Metric`].
    pub metrics: u16,
    /// From which tenth of the score on a case counts as positive, 0 to 9.
    pub threshold_tenth: u8,
    /// With how many cases, as counted with noise, the outcome is told at least.
    pub cases_min: u32,
    /// When it was issued, seconds since 1970.
    pub issued_at_s: u64,
    /// Until when it may be carried out, seconds since 1970.
    pub until_s: u64,
    /// Ed25519 by the hub's advisory key.
    pub signature: [u8; 64],
}

impl Plan {
    /// Whether this is asked for.
    #[must_use]
    pub const fn asks(&self, metric: Metric) -> bool {
        self.metrics & metric.bit() != 0
    }

    /// What is signed, behind [`PLAN_SIGNED_AS`]: number, model, digest, metrics, threshold, cases, begin and end,
    /// little-endian, as in the reply.
    #[must_use]
    pub fn signed_bytes(&self) -> [u8; PLAN_SIGNED_BYTES] {
        let mut bytes = [0; PLAN_SIGNED_BYTES];
        bytes[..4].copy_from_slice(&self.number.to_le_bytes());
        bytes[4..6].copy_from_slice(&self.model.to_le_bytes());
        for (place, part) in bytes[6..38].chunks_exact_mut(8).zip(self.model_digest) {
            place.copy_from_slice(&part.to_le_bytes());
        }
        bytes[38..40].copy_from_slice(&self.metrics.to_le_bytes());
        bytes[40] = self.threshold_tenth;
        bytes[41..45].copy_from_slice(&self.cases_min.to_le_bytes());
        bytes[45..53].copy_from_slice(&self.issued_at_s.to_le_bytes());
        bytes[53..].copy_from_slice(&self.until_s.to_le_bytes());
        bytes
    }
}
