//! Who did it: the subject of every audit line.

use crate::ae::AeTitle;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Whoever caused a change of state, an access or a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Actor {
    /// A DICOM peer, as it named itself in its association request.
    Peer {
        /// The calling application entity title.
        ae_title: AeTitle,
        /// Where it called from.
        address: IpAddr,
    },
    /// An HL7 application, as the configuration names it.
    Application {
        /// The name of the peer.
        name: String,
        /// Where it called from.
        address: IpAddr,
    },
    /// The holder of a bearer token.
    Token {
        /// The token's public id, never the secret.
        id: String,
        /// Where it called from.
        address: IpAddr,
    },
    /// A caller that could not be identified.
    Unknown {
        /// Where it called from.
        address: IpAddr,
    },
    /// Somebody at the server's own command line.
    CommandLine,
    /// The appliance itself: the named room.
    Room {
        /// The room's name, as in `appliance/README.md`.
        name: String,
    },
}

impl Actor {
    /// The appliance itself, acting in the named room.
    #[must_use]
    pub fn room(name: &str) -> Self {
        Self::Room {
            name: name.to_owned(),
        }
    }

    /// What the journal may say of it: only what the appliance knows by itself. The title of a peer is what that peer wrote
    /// there, be it a patient's name.
    #[must_use]
    pub fn whence(&self) -> String {
        match self {
            Self::Peer { address, .. } => format!("a peer at {address}"),
            Self::Application { name, address } => format!("the application {name} at {address}"),
            Self::Token { id, address } => format!("the token {id} at {address}"),
            Self::Unknown { address } => format!("{address}"),
            Self::CommandLine => "the command line".to_owned(),
            Self::Room { name } => format!("the room {name}"),
        }
    }
}

/// What a bearer token allows. Roles do not include each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Reads studies and results; asks the language model.
    Clinician,
    /// Sends objects.
    Modality,
    /// Imports, activates and retires models.
    MlAdmin,
    /// Reads the audit log and what could leave, holds frames back; no patient data.
    Auditor,
    /// Issues and revokes tokens and certificates, reads the system's state.
    SecurityAdmin,
    /// Reads the figures and the readiness, and nothing else: for the hospital's monitoring.
    Monitor,
}

impl Role {
    /// Every role, in the order of the manual.
    pub const ALL: [Self; 6] = [
        Self::Clinician,
        Self::Modality,
        Self::MlAdmin,
        Self::Auditor,
        Self::SecurityAdmin,
        Self::Monitor,
    ];

    /// The role's name in configuration, on the command line and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clinician => "clinician",
            Self::Modality => "modality",
            Self::MlAdmin => "ml-admin",
            Self::Auditor => "auditor",
            Self::SecurityAdmin => "security-admin",
            Self::Monitor => "monitor",
        }
    }

    /// The role of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.name() == name)
    }
}
