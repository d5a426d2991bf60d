//! What every request passes: its id, its log line and its metrics ([`observe`]), who may ask ([`auth`]) and how
//! often ([`rate`]). The order stands in `router`.

mod auth;
mod observe;
mod rate;

pub use auth::{KeyId, Keys, authenticate};
pub use observe::{RequestId, observe};
pub use rate::{AddressLimit, limit_address};

/// Routes that orchestrators ask: never locked, limited or logged above debug.
const PROBES: [&str; 4] = ["/livez", "/readyz", "/startupz", "/healthz"];

fn is_probe(path: &str) -> bool {
    PROBES.contains(&path)
}
