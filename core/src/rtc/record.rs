//! What proxies that share a store tell each other about an answered call, so that any of them can take its media and
//! its DELETE.
//!
//! A check has the key and the shape that the SRS proxy uses. Fields that the SRS proxy does not know are added; it
//! ignores them. The call itself has a key of our own.

use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use super::sdp::Check;
use crate::stream::{Action, PlacementKey, StreamUrl};

/// Prefix of the key of a check; the username follows.
pub const CHECK: &str = "srs-proxy-ufrag:";
/// Prefix of the key of a call; its id follows.
pub const CALL: &str = "sluicegate-call:";

/// What a proxy writes about a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallRecord {
    /// The call is over, and no proxy may bring it back.
    Over,
    /// The call is up.
    Stands(Box<StandingCall>),
}

/// Whether a client was let in by `Authorization`, which it then has to show with every request about its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Authorized {
    /// It showed none.
    #[default]
    No,
    /// It did, and its origin gets what it shows.
    Passed,
    /// It did, and its origin does not.
    TakenOut,
}

impl Authorized {
    const fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Passed => "passed",
            Self::TakenOut => "taken_out",
        }
    }
}

/// A call that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingCall {
    /// The proxy that carries its media.
    pub carrier: String,
    /// The client that asked for the call.
    pub client: SocketAddr,
    /// Whether the client sends or receives.
    pub action: Action,
    /// Whether the origin writes entity tags without quotes.
    pub bare_tags: bool,
    /// How its client was let in.
    pub authorized: Authorized,
    /// The ICE username fragment in each media section of the offer: the client's, for an ICE restart, or the origin's if
    /// the offer is its counter-offer.
    pub fragments: Vec<Option<String>>,
    /// Where the call's media goes.
    pub media: SocketAddr,
    /// The key of the origin that answered.
    pub origin: String,
    /// The path of the call's resource at the origin, if the origin named one.
    pub resource: Option<String>,
    /// The stream.
    pub stream: StreamUrl,
}

/// Which call a check belongs to, and what signs it.
#[derive(Clone, PartialEq, Eq)]
pub struct CheckRecord {
    /// The id of its call.
    pub call: String,
    /// The origin's `ice-pwd`.
    pub password: String,
}

impl std::fmt::Debug for CheckRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CheckRecord")
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}

/// The key of a call; `None` for an id that cannot be one of ours.
pub fn call_key(id: &str) -> Option<String> {
    let ours = id.len() == ID_LETTERS && id.bytes().all(|letter| letter.is_ascii_hexdigit());
    ours.then(|| format!("{CALL}{id}"))
}

/// The key of a check; `None` for a username that no call can have (RFC 8445 §7.2.2, RFC 8839 §5.4).
pub fn check_key(username: &[u8]) -> Option<String> {
    let username = str::from_utf8(username).ok()?;
    let fits = username.len() <= LONGEST_USERNAME
        && username.contains(':')
        && username.bytes().all(|letter| letter.is_ascii_graphic());
    fits.then(|| format!("{CHECK}{username}"))
}

/// What a proxy writes about a check.
pub fn check_record(stream: &PlacementKey, check: &Check, call: &str) -> String {
    json!({
        "stream_url": stream.as_str(),
        "ufrag": check.username,
        "sluicegate_call": call,
        "sluicegate_pwd": check.password,
    })
    .to_string()
}

/// Reads what a Sluicegate proxy wrote about a check; `None` for what another kind of proxy wrote.
pub fn parse_check_record(record: &str) -> Option<CheckRecord> {
    let document: Map<String, Value> = serde_json::from_str(record).ok()?;
    let text = |name: &str| document.get(name)?.as_str().map(str::to_owned);
    Some(CheckRecord {
        call: text("sluicegate_call")?,
        password: text("sluicegate_pwd")?,
    })
}

impl CallRecord {
    /// The record as it is written.
    pub fn text(&self) -> String {
        match self {
            Self::Over => json!({"over": true}).to_string(),
            Self::Stands(call) => {
                let mut document = json!({
                "carrier": call.carrier,
                "client": call.client.to_string(),
                "action": call.action.as_str(),
                "fragments": call.fragments,
                "media": call.media.to_string(),
                "origin": call.origin,
                "resource": call.resource,
                "stream": call.stream.to_string(),
                });
                if call.authorized != Authorized::No {
                    document["authorized"] = call.authorized.as_str().into();
                }
                if call.bare_tags {
                    document["bare_tags"] = Value::Bool(true);
                }
                document.to_string()
            }
        }
    }

    /// Reads what a proxy wrote about a call.
    pub fn parse(record: &str) -> Option<Self> {
        let document: Map<String, Value> = serde_json::from_str(record).ok()?;
        if document.get("over") == Some(&Value::Bool(true)) {
            return Some(Self::Over);
        }
        let text = |name: &str| document.get(name)?.as_str();
        let fragments = document.get("fragments").and_then(Value::as_array);
        let owned = |value: &Value| value.as_str().map(str::to_owned);
        Some(Self::Stands(Box::new(StandingCall {
            carrier: text("carrier")?.to_owned(),
            client: text("client")?.parse().ok()?,
            action: match text("action")? {
                "play" => Action::Play,
                "publish" => Action::Publish,
                _ => return None,
            },
            bare_tags: document.get("bare_tags") == Some(&Value::Bool(true)),
            authorized: match text("authorized") {
                None => Authorized::No,
                Some("taken_out") => Authorized::TakenOut,
                Some(_) => Authorized::Passed,
            },
            fragments: fragments?.iter().map(owned).collect(),
            media: text("media")?.parse().ok()?,
            origin: text("origin")?.to_owned(),
            resource: text("resource").map(str::to_owned),
            stream: text("stream")?.parse().ok()?,
        })))
    }
}

/// The characters of a call's id: 128 random bits.
const ID_LETTERS: usize = 32;
/// Two fragments of 256 characters, and a colon.
const LONGEST_USERNAME: usize = 513;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::VhostRule;

    fn call() -> StandingCall {
        StandingCall {
            carrier: "a1".to_owned(),
            client: "[2001:db8::1]:4000".parse().unwrap(),
            action: Action::Publish,
            bare_tags: true,
            authorized: Authorized::TakenOut,
            fragments: vec![Some("c".to_owned()), None],
            media: "10.0.0.7:8000".parse().unwrap(),
            origin: "srs-proxy-server:a-s-1".to_owned(),
            resource: Some("/rtc/v1/whip/?action=delete&token=x".to_owned()),
            stream: "__defaultVhost__/live/a".parse().unwrap(),
        }
    }

    #[test]
    fn what_is_written_of_a_call_is_read_back() {
        let mut without = call();
        without.resource = None;
        without.action = Action::Play;
        without.bare_tags = false;
        without.authorized = Authorized::No;
        for record in [
            CallRecord::Over,
            CallRecord::Stands(Box::new(call())),
            CallRecord::Stands(Box::new(without)),
        ] {
            assert_eq!(CallRecord::parse(&record.text()), Some(record));
        }
        for nonsense in ["", "[]", "{}", r#"{"over":false}"#, r#"{"carrier":"a"}"#] {
            assert_eq!(CallRecord::parse(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_check_is_what_the_srs_proxy_looks_for_and_more() {
        let check = Check {
            username: "orig:clnt".to_owned(),
            password: "0123456789012345678901".to_owned(),
        };
        assert_eq!(
            check_key(check.username.as_bytes()).as_deref(),
            Some("srs-proxy-ufrag:orig:clnt")
        );
        let stream: StreamUrl = "__defaultVhost__/live/a".parse().unwrap();
        let text = check_record(&VhostRule::default().key(&stream), &check, "id");
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["stream_url"], "__defaultVhost__/live/a");
        assert_eq!(document["ufrag"], "orig:clnt");
        let read = parse_check_record(&text).unwrap();
        assert_eq!(
            (read.call.as_str(), &read.password),
            ("id", &check.password)
        );
        let theirs = r#"{"stream_url":"__defaultVhost__/live/a","ufrag":"orig:clnt"}"#;
        assert_eq!(parse_check_record(theirs), None);
    }

    #[test]
    fn only_what_may_stand_there_is_looked_for() {
        let rows: [(&str, &[u8], bool); 6] = [
            ("a username", b"abcd:efgh", true),
            ("one fragment", b"abcd", false),
            ("nothing", b"", false),
            ("a space", b"ab cd:e", false),
            ("no text", b"\xff\xfe:a", false),
            ("too long", &[b':'; 514], false),
        ];
        for (cause, username, expected) in rows {
            assert_eq!(check_key(username).is_some(), expected, "{cause}");
        }
        assert!(call_key("0123456789abcdef0123456789abcdef").is_some());
        for id in ["", "0", "0123456789abcdef0123456789abcde*"] {
            assert_eq!(call_key(id), None, "{id}");
        }
    }
}
