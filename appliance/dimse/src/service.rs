//! The services that are offered to whoever calls here: one table, which negotiation, the session and the conformance
//! statement all read.

use crate::classes::{self, VERIFICATION};
use crate::config::DimseConfig;
use crate::peer::Rights;
use dicom_dictionary_std::uids;

/// A service that peers may use here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// C-ECHO (PS3.4 annex A).
    Verification,
    /// C-STORE (annex B).
    Storage,
    /// C-FIND (annex C).
    Find(Root),
    /// C-MOVE (annex C).
    Move(Root),
    /// C-GET (annex C).
    Get(Root),
    /// N-ACTION and N-EVENT-REPORT (annex J).
    Commitment,
}

/// At which level an information model begins (PS3.4 section C.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Root {
    Patient,
    Study,
}

/// Every abstract syntax besides the storage classes.
pub(crate) const TABLE: [(&str, Service); 8] = [
    (VERIFICATION, Service::Verification),
    (
        uids::PATIENT_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_FIND,
        Service::Find(Root::Patient),
    ),
    (
        uids::PATIENT_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_MOVE,
        Service::Move(Root::Patient),
    ),
    (
        uids::PATIENT_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_GET,
        Service::Get(Root::Patient),
    ),
    (
        uids::STUDY_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_FIND,
        Service::Find(Root::Study),
    ),
    (
        uids::STUDY_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_MOVE,
        Service::Move(Root::Study),
    ),
    (
        uids::STUDY_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_GET,
        Service::Get(Root::Study),
    ),
    (uids::STORAGE_COMMITMENT_PUSH_MODEL, Service::Commitment),
];

impl Service {
    /// The service of an abstract syntax, when there is one.
    pub(crate) fn of(abstract_syntax: &str, config: &DimseConfig) -> Option<Self> {
        TABLE
            .iter()
            .find(|(uid, _)| *uid == abstract_syntax)
            .map(|(_, service)| *service)
            .or_else(|| classes::is_stored(abstract_syntax, config).then_some(Self::Storage))
    }

    /// Whether a peer with these rights may use it.
    pub(crate) const fn is_allowed(self, rights: Rights) -> bool {
        match self {
            Self::Verification => true,
            Self::Storage | Self::Commitment => rights.store,
            Self::Find(_) => rights.query,
            Self::Move(_) | Self::Get(_) => rights.retrieve,
        }
    }

    /// Whether it needs what is held, and not only the door.
    pub(crate) const fn needs_archive(self) -> bool {
        !matches!(self, Self::Verification | Self::Storage)
    }
}
