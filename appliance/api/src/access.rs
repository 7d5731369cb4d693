//! Who may use a route, and who uses it.

use http::Extensions;
use pericard_domain::actor::{Actor, Role};
use pericard_door::Visitor;
use std::net::{IpAddr, Ipv4Addr};

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody, also without a token.
    Open,
    /// Every holder of a valid token, of whatever role: nothing there is about a patient, or of use to whoever found the
    /// token of the hospital's monitoring.
    AnyRole,
    /// Holders of a token with one of these roles.
    Roles(&'static [Role]),
}

impl Access {
    /// Whether a valid token with these roles is enough.
    pub(crate) fn allows(self, roles: &[Role]) -> bool {
        match self {
            Self::Open | Self::AnyRole => true,
            Self::Roles(allowed) => allowed.iter().any(|role| roles.contains(role)),
        }
    }
}

/// Who uses it: the holder of a valid token. A handler that is given one may rely on it.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) actor: Actor,
    pub(crate) roles: Vec<Role>,
}

/// Where the request came from that has these extensions; nowhere when it came through no connection.
pub(crate) fn address_of(extensions: &Extensions) -> IpAddr {
    extensions
        .get()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |visitor: &Visitor| {
            visitor.address
        })
}
