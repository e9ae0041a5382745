//! What the proxies of a cluster tell each other about themselves and about their operators' orders: records in the
//! store that they share, and the token by which they authenticate.

use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::{Hmac, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;

use crate::fleet::origin::{Security, Target};
use crate::stream::StreamUrl;

/// Prefix of the key of a proxy; its id follows.
pub const PROXY: &str = "sluicegate-proxy:";
/// Prefix of the key of a duty; the id of the origin follows.
pub const DUTY: &str = "sluicegate-duty:";
/// Prefix of the key of a report; the placement key follows.
pub const REPORT: &str = "sluicegate-published:";

/// A proxy, as the other proxies see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerRecord {
    /// The address of its system API; `None` if it has no address that others can use.
    pub system: Option<Target>,
    /// When it started (RFC 3339).
    pub started: String,
    /// Its version.
    pub version: String,
}

/// What an operator wants of an origin, on all proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DutyRecord {
    /// When that was ordered, in milliseconds since 1970. A later order wins.
    pub at: u64,
    /// The order.
    pub wanted: Wanted,
}

/// What an operator can order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The origin takes new streams.
    Active,
    /// The origin takes no new clients.
    Disabled,
    /// The origin was deregistered, and no proxy has sessions on it.
    Gone,
    /// The origin was deregistered, and some proxy may have sessions on it: it takes no new streams until no proxy says
    /// so any more.
    Leaving,
    /// The origin takes no new streams; its sessions are ended from this moment on, in milliseconds since 1970.
    Draining(Option<u64>),
}

/// An origin's report that a stream is published on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportRecord {
    /// The key of the origin.
    pub origin: String,
    /// The stream.
    pub stream: StreamUrl,
}

impl PeerRecord {
    /// The record as it is written.
    pub fn text(&self) -> String {
        json!({
            "system": self.system.as_ref().map(written),
            "started": self.started,
            "version": self.version,
        })
        .to_string()
    }

    /// Reads what a proxy wrote.
    pub fn parse(record: &str) -> Option<Self> {
        let document = object(record)?;
        let text = |name: &str| document.get(name)?.as_str();
        Some(Self {
            system: text("system").and_then(target),
            started: text("started")?.to_owned(),
            version: text("version")?.to_owned(),
        })
    }
}

impl DutyRecord {
    /// The record as it is written.
    pub fn text(&self) -> String {
        let (duty, deadline) = match self.wanted {
            Wanted::Active => ("active", None),
            Wanted::Disabled => ("disabled", None),
            Wanted::Gone => ("gone", None),
            Wanted::Leaving => ("leaving", None),
            Wanted::Draining(deadline) => ("draining", deadline),
        };
        json!({"duty": duty, "at": self.at, "deadline": deadline}).to_string()
    }

    /// Reads what a proxy wrote.
    pub fn parse(record: &str) -> Option<Self> {
        let document = object(record)?;
        let deadline = document.get("deadline").and_then(Value::as_u64);
        Some(Self {
            at: document.get("at")?.as_u64()?,
            wanted: match document.get("duty")?.as_str()? {
                "active" => Wanted::Active,
                "disabled" => Wanted::Disabled,
                "gone" => Wanted::Gone,
                "leaving" => Wanted::Leaving,
                "draining" => Wanted::Draining(deadline),
                _ => return None,
            },
        })
    }
}

impl ReportRecord {
    /// The record as it is written; equal reports are equal text.
    pub fn text(&self) -> String {
        json!({"origin": self.origin, "stream": self.stream.to_string()}).to_string()
    }

    /// Reads what a proxy wrote.
    pub fn parse(record: &str) -> Option<Self> {
        let document = object(record)?;
        let text = |name: &str| document.get(name)?.as_str();
        Some(Self {
            origin: text("origin")?.to_owned(),
            stream: text("stream")?.parse().ok()?,
        })
    }
}

/// The token that proxies of one cluster send to the system API of `proxy`. It is valid nowhere else. So if an attacker
/// wrote an address into the store, it learns only the token for itself.
pub fn token(cluster_key: &[u8], proxy: &str) -> String {
    let mut hash =
        <Hmac<Sha256> as Mac>::new_from_slice(cluster_key).expect("HMAC takes keys of any length");
    hash.update(b"sluicegate system api: ");
    hash.update(proxy.as_bytes());
    Base64UrlUnpadded::encode_string(&hash.finalize().into_bytes())
}

/// Writes the address of a system API: `HOST:PORT`, after `https://` where it is reached by TLS. An earlier build makes
/// nothing of the latter, as of a proxy without an address.
fn written(target: &Target) -> String {
    match target.security {
        Security::Plain => target.to_string(),
        Security::Tls(_) | Security::Unverified => format!("{SECURE}{target}"),
    }
}

/// Reads `HOST:PORT`, perhaps after `http://` or `https://`; an IPv6 address has brackets.
pub fn target(text: &str) -> Option<Target> {
    let (text, security) = match text.strip_prefix(SECURE) {
        Some(text) => (text, Security::Tls(None)),
        None => (text.strip_prefix(PLAIN).unwrap_or(text), Security::Plain),
    };
    let (host, port) = text.rsplit_once(':')?;
    if host.contains(':') && !host.starts_with('[') {
        return None;
    }
    let port = port.parse().ok().filter(|port| *port != 0)?;
    Some(Target {
        host: host.parse().ok()?,
        port,
        security,
    })
}

const PLAIN: &str = "http://";
const SECURE: &str = "https://";

fn object(record: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(record).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let secure = target("https://gate-1.example:12025");
        for system in [
            None,
            target("10.0.0.5:12025"),
            target("[2001:db8::1]:1"),
            secure,
        ] {
            let record = PeerRecord {
                system,
                started: "2026-11-21T00:00:00Z".to_owned(),
                version: "0.1.0".to_owned(),
            };
            assert_eq!(PeerRecord::parse(&record.text()), Some(record));
        }
        let wanted = [
            Wanted::Active,
            Wanted::Disabled,
            Wanted::Gone,
            Wanted::Leaving,
            Wanted::Draining(None),
            Wanted::Draining(Some(9)),
        ];
        for wanted in wanted {
            let record = DutyRecord { at: 7, wanted };
            assert_eq!(DutyRecord::parse(&record.text()), Some(record));
        }
        let report = ReportRecord {
            origin: "srs-proxy-server:a-s-1".to_owned(),
            stream: "__defaultVhost__/live/a".parse().unwrap(),
        };
        assert_eq!(ReportRecord::parse(&report.text()), Some(report));
        for nonsense in ["", "[]", "{}", r#"{"duty":"x","at":1}"#] {
            assert_eq!(PeerRecord::parse(nonsense), None, "{nonsense}");
            assert_eq!(DutyRecord::parse(nonsense), None, "{nonsense}");
            assert_eq!(ReportRecord::parse(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_token_is_for_one_proxy_of_one_cluster() {
        let one = token(b"key", "a");
        assert_eq!(one, token(b"key", "a"));
        assert_eq!(one.len(), 43);
        assert_ne!(one, token(b"key", "b"));
        assert_ne!(one, token(b"other", "a"));
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        let rows = [
            ("an address", "10.0.0.5:12025", Some("10.0.0.5:12025")),
            ("a name", "gate-1.example:80", Some("gate-1.example:80")),
            ("IPv6", "[::1]:80", Some("[::1]:80")),
            ("IPv6 without brackets", "2001:db8::1:80", None),
            ("no port", "10.0.0.5", None),
            ("port 0", "10.0.0.5:0", None),
            ("a URL", "http://10.0.0.5:80", Some("10.0.0.5:80")),
            ("a URL with TLS", "https://[::1]:80", Some("[::1]:80")),
            ("a URL with a path", "http://10.0.0.5:80/", None),
        ];
        for (cause, text, expected) in rows {
            let read = target(text).map(|target| target.to_string());
            assert_eq!(read.as_deref(), expected, "{cause}");
        }
    }
}
