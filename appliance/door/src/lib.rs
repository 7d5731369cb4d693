//! An HTTPS door: TLS 1.3, limits on connections and slowness, drain.
//!
//! Two products open one, the appliance and the national hub, and both want the same patience with the same strangers. What
//! is behind it is a router that somebody else made; of who comes in it says what the connection shows: a [`Visitor`].
//!
//! - [`serve`]: the accept loop.
//! - [`Limits`]: what a connection may take.
//! - [`let_by`]: a layer, so that a refused caller hears the answer however much it still sends.
//! - [`Sessions`]: who has logged in at its pages.
//! - [`tls_config`], [`tls_config_asking`]: TLS 1.3 and nothing older; the second asks clients for a certificate.
//!
//! Deliberately absent: routes, who may do what, and any knowledge of what is served.

mod door;
mod remainder;
mod session;
mod stall;
mod tls;

pub use door::{Limits, Visitor, Watch, serve};
pub use remainder::let_by;
pub use session::{Known, SessionRules, Sessions, TokenKey, is_from_here};
pub use tls::{TlsUnusable, tls_config, tls_config_asking};
