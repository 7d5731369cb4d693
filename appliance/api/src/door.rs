//! The appliance's door: its limits, its routes, and the audit line of whoever is turned away at it.

use crate::appliance::{Api, Appliance};
use crate::config::{ApiConfig, seconds};
use crate::router::routes;
use pericard_door::{Limits, Watch};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves HTTPS on `listener` until `stop`, then lets open requests end within `config.drain_timeout_s`.
///
/// # Errors
/// Only when the listener itself cannot be used.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    appliance: Appliance,
    config: ApiConfig,
    stop: CancellationToken,
) -> io::Result<()> {
    let limits = limits(&config);
    let api = Api::new(appliance, config);
    let behind = (routes(api.clone()), api);
    pericard_door::serve(listener, tls, behind, limits, stop).await
}

fn limits(config: &ApiConfig) -> Limits {
    Limits {
        connections_max: config.connections_max,
        connections_per_address_max: config.connections_per_address_max,
        tls_handshake_timeout: seconds(config.tls_handshake_timeout_s),
        header_timeout: seconds(config.header_timeout_s),
        header_max_kib: config.header_max_kib,
        write_stall_timeout: seconds(config.write_stall_timeout_s),
        drain_timeout: seconds(config.drain_timeout_s),
    }
}

impl Watch for Api {
    async fn turned_away(&self, why: &'static str, address: IpAddr) {
        self.note_stranger(why, address).await;
    }
}
