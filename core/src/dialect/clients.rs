//! Which clients speak which dialect.

use std::str::FromStr;

use super::{Dialect, RtmpAsked, UnknownDialect};
use crate::access::query::Query;
use crate::place::pattern::{Pattern, PatternError};
use crate::place::rule::NameRule;
use crate::stream::{Action, StreamError, StreamUrl};

/// The dialect of every client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientDialects {
    /// That of clients for which no rule speaks.
    pub usual: Dialect,
    /// The first rule that speaks of a client counts.
    pub rules: Vec<ClientRule>,
    /// Which parameters of a query belong to a stream's name; the first rule that speaks of a stream counts.
    pub names: Vec<NameRule>,
}

/// The dialect of the clients that call one host or one port of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRule {
    scope: Scope,
    dialect: Dialect,
    action: Option<Action>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    Host(Pattern),
    Port(u16),
}

/// Why a text is not a rule for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientRuleError {
    /// A direction is something else than these two, or stands in a rule for a host.
    #[error("only a rule for a port may end in publish or play")]
    Direction,
    /// The dialect is unknown.
    #[error(transparent)]
    Dialect(#[from] UnknownDialect),
    /// It has no host or port, or no dialect.
    #[error(
        "a rule is a host or a port and a dialect, as in: *.cams.example mediamtx, or :9999 ome publish"
    )]
    Form,
    /// The host is not a pattern.
    #[error(transparent)]
    Host(#[from] PatternError),
    /// The host has a port, which is not a part of what clients call us.
    #[error(
        "a rule is for a host or for a port: write the host alone, or the port alone as in :9999"
    )]
    HostPort,
    /// The port is not a number from 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
}

impl ClientDialects {
    /// The dialect of a client that used the name `host` for us and came to `port`, and the direction of that port for
    /// protocols whose addresses need not say one.
    pub fn of(&self, host: Option<&str>, port: u16) -> (Dialect, Option<Action>) {
        let rule = self.rules.iter().find(|rule| rule.covers(host, port));
        rule.map_or((self.usual, None), |rule| (rule.dialect, rule.action))
    }

    /// The stream that an RTMP client which came to `port` asks for, by its whole name.
    ///
    /// # Errors
    /// [`StreamError`], for a name that the clients' server would not take either, and as [`named`](Self::named).
    pub fn rtmp(&self, asked: &RtmpAsked<'_>, port: u16) -> Result<StreamUrl, StreamError> {
        let (dialect, _) = self.of(asked.host(), port);
        self.named(dialect.rtmp(asked)?, &asked.queries())
    }

    /// Whether parameters of the query may belong to the name of the stream that such a client asks for.
    pub fn rtmp_names_by_parameters(&self, asked: &RtmpAsked<'_>, port: u16) -> bool {
        let (dialect, _) = self.of(asked.host(), port);
        let stream = dialect.rtmp(asked);
        stream.is_ok_and(|stream| self.names.iter().any(|rule| rule.covers(&stream)))
    }

    /// The `stream` that an address names, with those parameters of the address's `queries` that belong to its name.
    ///
    /// # Errors
    /// [`StreamError::Parameter`], for one with several values or with characters that a name cannot have there.
    pub fn named(&self, stream: StreamUrl, queries: &[&str]) -> Result<StreamUrl, StreamError> {
        let Some(rule) = self.names.iter().find(|rule| rule.covers(&stream)) else {
            return Ok(stream);
        };
        let mut parameters = String::new();
        for name in rule.parameters() {
            let given = || queries.iter().flat_map(|query| Query(query).pairs());
            let mut values = given().filter(|(key, _)| *key == name);
            let Some((_, value)) = values.next() else {
                continue;
            };
            if values.any(|(_, other)| other != value) {
                return Err(StreamError::Parameter);
            }
            let and = if parameters.is_empty() { "" } else { "&" };
            // Some clients write a slash after everything.
            parameters.extend([and, name, "=", value.trim_end_matches('/')]);
        }
        match parameters.as_str() {
            "" => Ok(stream),
            parameters => stream.with_parameters(parameters),
        }
    }
}

impl ClientRule {
    fn covers(&self, host: Option<&str>, port: u16) -> bool {
        match &self.scope {
            Scope::Host(pattern) => {
                host.is_some_and(|host| pattern.matches(&without_port(host).to_ascii_lowercase()))
            }
            Scope::Port(own) => *own == port,
        }
    }
}

impl FromStr for ClientRule {
    type Err = ClientRuleError;

    /// Reads `*.cams.example mediamtx`, `:1936 nginx-rtmp` or `:9999 ome publish`.
    fn from_str(text: &str) -> Result<Self, ClientRuleError> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let (scope, dialect, direction) = match words.as_slice() {
            [scope, dialect] => (*scope, dialect, None),
            [scope, dialect, direction] => (*scope, dialect, Some(*direction)),
            _ => return Err(ClientRuleError::Form),
        };
        let scope = match scope.strip_prefix(':') {
            Some(port) => {
                let port = port.parse().ok().filter(|port| *port != 0);
                Scope::Port(port.ok_or(ClientRuleError::Port)?)
            }
            None if without_port(scope) != scope => return Err(ClientRuleError::HostPort),
            None => Scope::Host(scope.to_ascii_lowercase().parse()?),
        };
        let action = match (direction, &scope) {
            (None, _) => None,
            (Some("publish"), Scope::Port(_)) => Some(Action::Publish),
            (Some("play"), Scope::Port(_)) => Some(Action::Play),
            (Some(_), _) => return Err(ClientRuleError::Direction),
        };
        Ok(Self {
            scope,
            dialect: dialect.parse()?,
            action,
        })
    }
}

/// A host without its port.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_for_a_client_counts() {
        let rules = [
            "*.cams.example mediamtx",
            ":9999 ome publish",
            ":1936 nginx-rtmp",
            "[::1] mediamtx",
        ];
        let dialects = ClientDialects {
            usual: Dialect::Srs,
            rules: rules.map(|rule| rule.parse().unwrap()).to_vec(),
            names: Vec::new(),
        };
        let rows = [
            ("nobody's", Some("h.example"), 1935, (Dialect::Srs, None)),
            ("no host", None, 1935, (Dialect::Srs, None)),
            (
                "a host",
                Some("A.Cams.Example:8554"),
                9999,
                (Dialect::MediaMtx, None),
            ),
            ("a port", None, 9999, (Dialect::Ome, Some(Action::Publish))),
            (
                "an IPv6 address",
                Some("[::1]:8554"),
                1935,
                (Dialect::MediaMtx, None),
            ),
            (
                "another port",
                Some("10.0.0.1"),
                1936,
                (Dialect::NginxRtmp, None),
            ),
        ];
        for (cause, host, port, expected) in rows {
            assert_eq!(dialects.of(host, port), expected, "{cause}");
        }
    }

    #[test]
    fn a_parameter_belongs_to_the_name_where_a_rule_says_so() {
        let rules = [
            "app=site-*/cam stream=realmonitor parameter=channel parameter=subtype",
            "app=site-a/cam parameter=x",
        ];
        let clients = ClientDialects {
            names: rules.map(|rule| rule.parse().unwrap()).to_vec(),
            ..ClientDialects::default()
        };
        let named = |path: &str, queries: &[&str]| {
            let stream = StreamUrl::of_path("", path).unwrap();
            let read = clients.named(stream, queries)?;
            assert_eq!(
                read.to_string().parse(),
                Ok(read.clone()),
                "it is read back"
            );
            assert_eq!(read.bare_path(), path);
            Ok(read.path().to_owned())
        };
        let cam = "site-a/cam/realmonitor";
        let rows = [
            ("one", cam, "channel=1", "site-a/cam/realmonitor/?channel=1"),
            (
                "both, in the rule's order",
                cam,
                "subtype=0&channel=1",
                "site-a/cam/realmonitor/?channel=1&subtype=0",
            ),
            (
                "beside others",
                cam,
                "token=x&channel=1&unicast=true",
                "site-a/cam/realmonitor/?channel=1",
            ),
            (
                "twice the same",
                cam,
                "channel=1&channel=1",
                "site-a/cam/realmonitor/?channel=1",
            ),
            (
                "a slash after it",
                cam,
                "channel=1/",
                "site-a/cam/realmonitor/?channel=1",
            ),
            (
                "an empty one",
                cam,
                "channel=",
                "site-a/cam/realmonitor/?channel=",
            ),
            ("none", cam, "token=x", cam),
            ("no query", cam, "", cam),
            ("the first rule counts", cam, "x=1", cam),
            (
                "another stream",
                "site-a/cam/other",
                "x=1&channel=1",
                "site-a/cam/other/?x=1",
            ),
            ("no rule", "live/a", "channel=1", "live/a"),
        ];
        for (cause, path, query, expected) in rows {
            assert_eq!(named(path, &[query]).as_deref(), Ok(expected), "{cause}");
        }
        let expected = "site-a/cam/realmonitor/?channel=1&subtype=0";
        assert_eq!(
            named(cam, &["channel=1", "subtype=0"]).as_deref(),
            Ok(expected)
        );
        for (cause, query) in [
            ("two values", "channel=1&channel=2"),
            ("one that adds another", "channel=1%26subtype=0"),
            ("a path", "channel=1/2"),
            ("a control character", "channel=%0a"),
        ] {
            assert_eq!(named(cam, &[query]), Err(StreamError::Parameter), "{cause}");
        }
        // A client cannot write such a name any other way.
        let literal = StreamUrl::from_http(None, "/site-a/cam/realmonitor/%3Fchannel=1");
        assert_eq!(literal, Err(StreamError::OddSegment));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        let rows = [
            ("nothing", "", ClientRuleError::Form),
            ("no dialect", ":9999", ClientRuleError::Form),
            (
                "an unknown dialect",
                ":9999 red5",
                ClientRuleError::Dialect(UnknownDialect),
            ),
            ("no port", ":0 ome", ClientRuleError::Port),
            (
                "a host with a port",
                "h.example:8554 ome",
                ClientRuleError::HostPort,
            ),
            (
                "an address with a port",
                "[::1]:8554 ome",
                ClientRuleError::HostPort,
            ),
            (
                "a direction for a host",
                "h ome play",
                ClientRuleError::Direction,
            ),
            ("no direction", ":1 ome both", ClientRuleError::Direction),
        ];
        for (cause, text, error) in rows {
            assert_eq!(text.parse::<ClientRule>(), Err(error), "{cause}");
        }
    }
}
