//! The cookie that proves a caller's address without any stored state.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Makes and checks cookies. All shards of a listener use the same secret, because the kernel may give a caller's
/// second packet to another shard.
#[derive(Clone)]
pub struct Cookies {
    key: [u8; 32],
    since: Instant,
}

impl std::fmt::Debug for Cookies {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Cookies").finish_non_exhaustive()
    }
}

impl Cookies {
    /// Cookies of the secret `key`; windows are counted from `since`.
    pub const fn new(key: [u8; 32], since: Instant) -> Self {
        Self { key, since }
    }

    /// The cookie for `client` at `now`. It is never 0, which callers send before they have a cookie.
    pub fn make(&self, now: Instant, client: SocketAddr) -> u32 {
        self.of(self.window(now), client)
    }

    /// Whether `cookie` was made for `client` in the current window or the one before.
    pub fn check(&self, now: Instant, client: SocketAddr, cookie: u32) -> bool {
        let window = self.window(now);
        let before = window.checked_sub(1);
        cookie == self.of(window, client)
            || before.is_some_and(|before| cookie == self.of(before, client))
    }

    /// A number derived from the secret, unknown to everybody else.
    pub(super) fn salt(&self) -> u32 {
        self.of(u64::MAX, SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    fn window(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.since).as_secs() / WINDOW_SECONDS
    }

    fn of(&self, window: u64, client: SocketAddr) -> u32 {
        let mut mac =
            <Hmac<Sha256> as Mac>::new_from_slice(&self.key).expect("a key of any length will do");
        mac.update(&window.to_be_bytes());
        match client.ip().to_canonical() {
            IpAddr::V4(ip) => mac.update(&ip.octets()),
            IpAddr::V6(ip) => mac.update(&ip.octets()),
        }
        mac.update(&client.port().to_be_bytes());
        let [a, b, c, d, ..] = <[u8; 32]>::from(mac.finalize().into_bytes());
        u32::from_be_bytes([a, b, c, d]).max(1)
    }
}

/// Length of a window; a cookie is valid for one to two of them.
const WINDOW_SECONDS: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a test needs some moment to start from"
    )]
    fn a_cookie_is_for_one_address_and_one_to_two_minutes() {
        let start = Instant::now();
        let cookies = Cookies::new([7; 32], start);
        let client: SocketAddr = "192.0.2.1:5000".parse().unwrap();
        let cookie = cookies.make(start, client);
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(cookies.check(after(119), client, cookie));
        assert!(!cookies.check(after(120), client, cookie));
        assert!(cookies.check(start, "[::ffff:192.0.2.1]:5000".parse().unwrap(), cookie));
        for (why, other) in [
            ("another port", "192.0.2.1:5001"),
            ("another address", "192.0.2.2:5000"),
        ] {
            assert!(
                !cookies.check(start, other.parse().unwrap(), cookie),
                "{why}"
            );
        }
        assert!(
            !Cookies::new([8; 32], start).check(start, client, cookie),
            "another secret"
        );
        assert!(!cookies.check(start, client, 0x418d_5e4e), "a constant");
    }
}
