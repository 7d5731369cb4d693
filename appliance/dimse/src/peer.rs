//! The peers that the hospital has named.

use pericard_domain::ae::AeTitle;
use pericard_domain::digest::Digest;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;
use tokio::net::lookup_host;
use tokio::time::timeout;

/// How long a name may take to resolve while a caller waits at the door.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(3);

/// A DICOM application entity that the hospital has named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// What the configuration calls it: rules name it as a destination.
    pub name: String,
    /// Its title, as it calls and as it is called.
    pub ae_title: AeTitle,
    /// Where it calls from and where it listens.
    pub address: Address,
    /// Where it listens. Without one nothing can be sent to it.
    pub port: Option<u16>,
    /// What it may do here.
    pub rights: Rights,
    /// Whether it is asked to promise that it keeps the results it was sent: until it has, they are not forgotten.
    pub commit: bool,
    /// SHA-256 of the certificates that are its own (DER). With any, it calls and is called over TLS only, and shows one of
    /// them; without, never over TLS. Several, so that a certificate can be renewed.
    pub certificates: Vec<Digest>,
    /// How often its modality worklist is read; `None` for never.
    pub worklist_every: Option<Duration>,
    /// Whether it is asked how much it has of a study that arrives.
    pub counts: bool,
    /// By which ways earlier studies are fetched from it, the first first.
    pub fetch: Vec<Fetch>,
    /// Where its DICOMweb service is, for [`Fetch::Web`].
    pub web: Option<crate::web::WebAddress>,
    /// SHA-256 of the certificates that its web server may show: mostly another machine than the one that speaks DICOM. Without
    /// any it shows one of `certificates`; without those either, one that an authority signed for the host's name.
    pub web_certificates: Vec<Digest>,
}

/// A way to fetch a study.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetch {
    /// C-GET: it comes over the association that asks for it.
    Get,
    /// C-MOVE to ourselves: it comes over an association of the peer's.
    Move,
    /// WADO-RS.
    Web,
}

/// Where a call comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) ip: IpAddr,
    /// SHA-256 of the certificate that the caller showed; `None` when it calls without TLS.
    pub(crate) certificate: Option<Digest>,
}

impl Origin {
    /// A call without TLS.
    pub(crate) const fn plain(ip: IpAddr) -> Self {
        Self {
            ip,
            certificate: None,
        }
    }
}

/// What a peer may do here, besides asking whether we are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// Send objects, and ask for their commitment.
    pub store: bool,
    /// Search what is held.
    pub query: bool,
    /// Have what is held sent to itself or to another configured peer.
    pub retrieve: bool,
}

impl Rights {
    /// Of a peer of which nothing else is said: it sends.
    pub const STORE: Self = Self {
        store: true,
        query: false,
        retrieve: false,
    };
    /// All of them.
    pub const ALL: Self = Self {
        store: true,
        query: true,
        retrieve: true,
    };
}

impl Peer {
    /// A peer that may send and, when its port is known, be sent to.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        ae_title: AeTitle,
        address: Address,
        port: Option<u16>,
    ) -> Self {
        Self {
            name: name.into(),
            ae_title,
            address,
            port,
            rights: Rights::STORE,
            commit: false,
            certificates: Vec::new(),
            worklist_every: None,
            counts: false,
            fetch: vec![Fetch::Get, Fetch::Move],
            web: None,
            web_certificates: Vec::new(),
        }
    }

    /// The host to connect to; `None` for a network or when no port is known.
    #[must_use]
    pub fn host(&self) -> Option<String> {
        match &self.address {
            Address::Ip(ip) => Some(ip.to_string()),
            Address::Host(name) => Some(name.clone()),
            Address::Network { .. } => None,
        }
    }

    /// The certificates of which its web server shows one; with none, its host's name says which is good.
    pub(crate) fn web_bound(&self) -> &[Digest] {
        if self.web_certificates.is_empty() {
            &self.certificates
        } else {
            &self.web_certificates
        }
    }

    /// Whether it is known where it listens.
    #[must_use]
    pub fn is_callable(&self) -> bool {
        self.port.is_some() && self.host().is_some()
    }

    /// Whether a call from `ip` under `title` is this peer's, as far as that tells: its certificate tells more.
    pub(crate) async fn is_calling(&self, title: &AeTitle, ip: IpAddr) -> bool {
        self.ae_title == *title && self.address.covers(ip).await
    }

    /// Whether the caller showed what this peer must show: a certificate of its own, or none at all.
    pub(crate) fn is_shown(&self, certificate: Option<Digest>) -> bool {
        certificate.map_or(self.certificates.is_empty(), |shown| {
            self.certificates.contains(&shown)
        })
    }
}

/// Where a peer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// One address.
    Ip(IpAddr),
    /// Every address that begins with the same bits.
    Network {
        /// An address of the network.
        ip: IpAddr,
        /// How many bits are the network's.
        prefix_bits: u8,
    },
    /// A host name, looked up when it is needed.
    Host(String),
}

/// Why a text is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an address is an IP address, a network as in 10.1.0.0/16, or a host name")]
pub struct AddressError;

impl Address {
    async fn covers(&self, caller: IpAddr) -> bool {
        match self {
            Self::Ip(ip) => ip.to_canonical() == caller.to_canonical(),
            Self::Network { ip, prefix_bits } => in_network(caller, *ip, *prefix_bits),
            Self::Host(name) => {
                let found = timeout(RESOLVE_TIMEOUT, lookup_host((name.as_str(), 0))).await;
                let Ok(Ok(mut all)) = found else {
                    return false;
                };
                all.any(|a| a.ip().to_canonical() == caller.to_canonical())
            }
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Ok(ip) = text.parse() {
            return Ok(Self::Ip(ip));
        }
        if let Some((ip, bits)) = text.split_once('/') {
            let ip: IpAddr = ip.parse().map_err(|_| AddressError)?;
            let prefix_bits: u8 = bits.parse().map_err(|_| AddressError)?;
            let widest = if ip.is_ipv4() { 32 } else { 128 };
            return (prefix_bits <= widest)
                .then_some(Self::Network { ip, prefix_bits })
                .ok_or(AddressError);
        }
        let in_name = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_';
        // A name of digits and full stops alone is a mistyped address, not a host.
        let is_name = text.bytes().all(in_name) && text.bytes().any(|b| b.is_ascii_alphabetic());
        (is_name && text.len() <= 253)
            .then(|| Self::Host(text.to_owned()))
            .ok_or(AddressError)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => write!(f, "{ip}"),
            Self::Network { ip, prefix_bits } => write!(f, "{ip}/{prefix_bits}"),
            Self::Host(name) => f.write_str(name),
        }
    }
}

fn in_network(caller: IpAddr, network: IpAddr, prefix_bits: u8) -> bool {
    // An IPv4 caller at a dual-stack socket shows as an IPv6 address.
    match (caller.to_canonical(), network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => same_bits(
            u128::from(a.to_bits()) << 96,
            u128::from(n.to_bits()) << 96,
            prefix_bits,
        ),
        (IpAddr::V6(a), IpAddr::V6(n)) => same_bits(a.to_bits(), n.to_bits(), prefix_bits),
        _ => false,
    }
}

fn same_bits(a: u128, b: u128, bits: u8) -> bool {
    // A shift by all 128 bits is none at all in checked arithmetic: a prefix of 0 covers everything.
    (a ^ b).checked_shr(128 - u32::from(bits)).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_is_covered() {
        for (address, caller, expected) in [
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "::ffff:10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("10.1.0.0/16", "10.1.200.9", true),
            ("10.1.0.0/16", "10.2.0.1", false),
            ("10.1.0.0/16", "::ffff:10.1.0.1", true),
            ("0.0.0.0/0", "192.0.2.7", true),
            ("10.1.2.3/32", "10.1.2.3", true),
            ("10.1.2.3/32", "10.1.2.2", false),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fe80::1", false),
            ("0.0.0.0/0", "fd12::1", false),
        ] {
            let (address, caller): (Address, IpAddr) =
                (address.parse().unwrap(), caller.parse().unwrap());
            let covers = address.covers(caller).await;
            assert_eq!(covers, expected, "{address} covers {caller}");
        }
    }

    #[test]
    fn what_is_an_address() {
        assert_eq!(
            "pacs-1.example".parse(),
            Ok(Address::Host("pacs-1.example".into()))
        );
        for bad in [
            "",
            "10.1.2",
            "10.1.2.3/33",
            "10.1.2.3/x",
            "a b",
            "fd00::/129",
        ] {
            assert_eq!(bad.parse::<Address>(), Err(AddressError), "{bad:?}");
        }
    }
}
