//! The frame: all that leaves.

use crate::layout::{
    self, BINS, CELLS, EVALUATION_CELLS, LABELS, LAYOUT, MAGIC, REVIEWS, Spec, TOLD_EVALUATIONS,
    TOLD_MODELS, VERSION,
};
use crate::page::{Draft, Fault, Form, PAGE_BYTES, Page, sealed};

/// The size of every frame.
pub const FRAME_BYTES: usize = PAGE_BYTES;
/// What stands before the bytes of a frame when they are signed, so that a signature means nothing anywhere else.
pub const FRAME_SIGNED_AS: &[u8; 18] = b"pericard-frame-v3\n";

/// The form of what the appliance sends.
pub enum ToHub {}

/// A frame that keeps to [`LAYOUT`].
pub type Frame = Page<ToHub>;

impl sealed::Sealed for ToHub {}

impl Form for ToHub {
    fn layout() -> &'static [&'static Spec] {
        &LAYOUT
    }

    fn head(draft: &mut Draft<Self>) {
        draft.put(&layout::MARK, 0, MAGIC);
        draft.put(&layout::LAYOUT_VERSION, 0, VERSION);
    }

    /// A place that is not used says nothing: what could be hidden in it is refused.
    fn agree(frame: &Frame) -> Result<(), Fault> {
        for model in 0..TOLD_MODELS {
            let used = frame.get(&layout::HIST_WEEKS, model) > 0;
            for at in model * CELLS..(model + 1) * CELLS {
                if !used && frame.get(&layout::HIST, at) != 0 {
                    return contradiction(layout::HIST.spec(), at);
                }
            }
            let others = [
                (
                    layout::HIST_MODEL.spec(),
                    frame.get(&layout::HIST_MODEL, model),
                ),
                (
                    layout::HIST_EPSILON.spec(),
                    frame.get(&layout::HIST_EPSILON, model),
                ),
            ];
            for (spec, value) in others {
                if used != (value > 0) {
                    return contradiction(spec, model);
                }
            }
        }
        for place in 0..TOLD_EVALUATIONS {
            let used = frame.get(&layout::EVALUATION_PLAN, place) > 0;
            let epsilon = frame.get(&layout::EVALUATION_EPSILON, place);
            if used != (epsilon > 0) {
                return contradiction(layout::EVALUATION_EPSILON.spec(), place);
            }
            let mut cells = place * EVALUATION_CELLS..(place + 1) * EVALUATION_CELLS;
            let hidden = cells.find(|at| !used && frame.get(&layout::EVALUATION, *at) != 0);
            if let Some(at) = hidden {
                return contradiction(layout::EVALUATION.spec(), at);
            }
        }
        let numbers = 4 * frame.get(&layout::PROOF_LEN, 0) as usize;
        let beyond = numbers..layout::PROOF.spec().count;
        match beyond
            .into_iter()
            .find(|at| frame.get(&layout::PROOF, *at) != 0)
        {
            Some(at) => contradiction(layout::PROOF.spec(), at),
            None => Ok(()),
        }
    }
}

impl Frame {
    /// What is signed, behind [`FRAME_SIGNED_AS`]: every byte before the signature.
    #[must_use]
    pub fn signed_bytes(&self) -> &[u8] {
        &self.bytes()[..layout::SIGNATURE.spec().offset_bytes]
    }

    /// The Ed25519 signature over [`Frame::signed_bytes`]; zero while nobody has signed.
    #[must_use]
    pub fn signature(&self) -> [u8; 64] {
        core::array::from_fn(|at| self.get(&layout::SIGNATURE, at) as u8)
    }

    /// The same frame with this signature. Any 64 bytes are in range, so that this cannot fail.
    #[must_use]
    pub fn with_signature(&self, signature: [u8; 64]) -> Self {
        let mut draft = Draft::from(self);
        draft.put_all(&layout::SIGNATURE, 0, signature);
        draft.seal().unwrap_or_else(|_| self.clone())
    }
}

/// The place of a cell in [`layout::HIST`]; `None` when there is none.
#[must_use]
pub const fn cell(model: usize, review: usize, bin: usize) -> Option<usize> {
    if model < TOLD_MODELS && review < REVIEWS && bin < BINS {
        Some((model * REVIEWS + review) * BINS + bin)
    } else {
        None
    }
}

/// The place of a cell in [`layout::EVALUATION`]; `None` when there is none. Label 0 is without the finding, 1 with it.
#[must_use]
pub const fn evaluation_cell(place: usize, label: usize, bin: usize) -> Option<usize> {
    if place < TOLD_EVALUATIONS && label < LABELS && bin < BINS {
        Some((place * LABELS + label) * BINS + bin)
    } else {
        None
    }
}

fn contradiction(spec: &Spec, at: usize) -> Result<(), Fault> {
    let field = spec.name;
    Err(Fault::Contradiction { field, at })
}
