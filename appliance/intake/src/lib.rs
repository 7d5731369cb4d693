//! The one door in: an offered object is admitted, durably, or refused with a reason.
