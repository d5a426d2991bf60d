//! Requests a minute and address. Memory is bounded: past [`MAX_ADDRESSES`] the newcomers share one budget.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::is_probe;
use crate::http::problem::{Code, Problem};
use crate::http::state::AppState;

const MAX_ADDRESSES: usize = 65_536;
/// Idle addresses are forgotten every so many requests.
const SWEEP_EVERY: u32 = 4_096;
/// Whom the newcomers count as once the table is full.
const CROWD: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// A budget per address.
pub struct AddressLimit {
    limiter: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
    asked: AtomicU32,
}

impl AddressLimit {
    /// `None` where `per_minute` is 0: no limit.
    pub fn new(per_minute: u32) -> Option<Self> {
        let quota = Quota::per_minute(NonZeroU32::new(per_minute)?);
        Some(Self { limiter: RateLimiter::keyed(quota), clock: DefaultClock::default(), asked: AtomicU32::new(0) })
    }

    /// # Errors
    /// How long to wait.
    pub fn check(&self, address: IpAddr) -> Result<(), Duration> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        let key = if self.limiter.len() < MAX_ADDRESSES { network(address) } else { CROWD };
        self.limiter.check_key(&key).map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }
}

/// Whom an address belongs to: IPv6 by its /64, which is one subscriber.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

/// Answers 429 past the address's budget.
pub async fn limit_address(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    if let (Some(limit), Some(peer)) = (&state.addresses, peer)
        && !is_probe(request.uri().path())
        && let Err(wait) = limit.check(peer)
    {
        let detail = format!(
            "this address may send {} requests a minute; come back after Retry-After seconds",
            state.settings.limits.requests_per_minute_per_address
        );
        return Problem::new(Code::RateLimited, detail).retry_after(wait).into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_own_budget() {
        let limit = AddressLimit::new(2).unwrap();
        let one = IpAddr::from([10, 0, 0, 1]);
        assert!(limit.check(one).is_ok());
        assert!(limit.check(one).is_ok());
        let wait = limit.check(one).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(60));
        assert!(limit.check(IpAddr::from([10, 0, 0, 2])).is_ok());
    }

    #[test]
    fn one_subscriber_is_one_address() {
        let one = network("2001:db8:1:2:3::1".parse().unwrap());
        assert_eq!(one, network("2001:db8:1:2:ffff::9".parse().unwrap()));
        assert_ne!(one, network("2001:db8:1:3::1".parse().unwrap()));
        assert_eq!(network("::ffff:10.0.0.1".parse().unwrap()), IpAddr::from([10, 0, 0, 1]));
    }
}
