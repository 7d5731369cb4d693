//! The limits of this room. Every one of them is a refusal somewhere.

use std::path::PathBuf;
use std::time::Duration;

/// What [`crate::serve`] and [`crate::router`] are given.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Connections that may be open at once; more wait in the kernel's backlog.
    pub connections_max: usize,
    /// Connections that one address may hold, so that one client cannot take them all. A reverse proxy is one address.
    pub connections_per_address_max: usize,
    /// How long a TLS handshake may take.
    pub tls_handshake_timeout_s: u32,
    /// How long a request's header may take, and how long a connection may rest between requests.
    pub header_timeout_s: u32,
    /// How large a request's header may be.
    pub header_max_kib: u32,
    /// How long a request's body may bring nothing.
    pub body_idle_timeout_s: u32,
    /// How long a client may take nothing of an answer that waits for it.
    pub write_stall_timeout_s: u32,
    /// How large a JSON body may be.
    pub json_max_kib: u32,
    /// How long a JSON body may take, however it trickles.
    pub json_timeout_s: u32,
    /// How much of an upload must come while it is waited for, measured over twice the time in which it may bring nothing;
    /// 0 stands for no limit.
    pub upload_kib_per_s_min: u32,
    /// How large an upload may be, all its objects together.
    pub upload_max_mib: u32,
    /// How many objects one upload may hold.
    pub upload_objects_max: usize,
    /// How large a zip archive may become when it is unpacked.
    pub archive_inflated_max_mib: u32,
    /// Where an archive lies while it is unpacked: a directory on the data disk, without access for others.
    pub spool_dir: PathBuf,
    /// How many refused identities of one address are written into the audit log a minute. More are answered with 429.
    pub refused_identities_per_minute_max: u32,
    /// How long open requests may go on after the end was announced.
    pub drain_timeout_s: u32,
    /// The address that clients use, as in `https://pericard.example-hospital:8443`, when it is not the one that they
    /// name in their requests.
    pub public_url: Option<String>,
}

impl ApiConfig {
    /// The defaults, with the directory that archives are unpacked from.
    #[must_use]
    pub fn new(spool_dir: impl Into<PathBuf>) -> Self {
        Self {
            connections_max: 1024,
            connections_per_address_max: 256,
            tls_handshake_timeout_s: 10,
            header_timeout_s: 15,
            header_max_kib: 64,
            body_idle_timeout_s: 20,
            write_stall_timeout_s: 60,
            json_max_kib: 4096,
            json_timeout_s: 30,
            upload_kib_per_s_min: 8,
            upload_max_mib: 8192,
            upload_objects_max: 20_000,
            archive_inflated_max_mib: 16_384,
            spool_dir: spool_dir.into(),
            refused_identities_per_minute_max: 30,
            drain_timeout_s: 20,
            public_url: None,
        }
    }
}

/// A number of seconds of the configuration.
pub(crate) fn seconds(s: u32) -> Duration {
    Duration::from_secs(u64::from(s))
}

/// A number of KiB of the configuration, in bytes.
pub(crate) fn kib(kib: u32) -> u64 {
    u64::from(kib) << 10
}

/// A number of MiB of the configuration, in bytes.
pub(crate) fn mib(mib: u32) -> u64 {
    u64::from(mib) << 20
}
