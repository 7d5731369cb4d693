//! What is held, for those who ask for it.

use crate::request::Caller;
use pericard_store::Store;

/// What is held, and how it is sent to those who are to have it.
#[derive(Debug, Clone)]
pub struct Archive {
    /// What is held.
    pub store: Store,
    /// Who calls the destination of a C-MOVE and the peer that awaits a commitment.
    pub caller: Caller,
}
