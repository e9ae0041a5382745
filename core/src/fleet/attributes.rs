//! The weight, zone, labels and limits of an origin. An origin states them in its registration, and an operator states
//! them for origins that cannot.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::counted::counted;
use crate::dialect::{Dialect, Naming, UnknownDialect};
use crate::fleet::origin::Host;
use crate::place::pattern::{Pattern, PatternError};

/// What placement takes into account about an origin besides its health and its load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// Its share of new streams relative to the others: [`USUAL_WEIGHT`] by default, at most [`MAX_WEIGHT`]. With 0 it
    /// gets no new streams.
    pub weight: u32,
    /// Where it is: a data centre, a rack, a region.
    pub zone: Option<String>,
    /// What rules can ask for.
    pub labels: BTreeSet<String>,
    /// Maximum concurrent streams.
    pub max_streams: Option<u32>,
    /// Maximum concurrent sessions, publishers and players together.
    pub max_sessions: Option<u32>,
    /// Maximum megabits per second, sent and received together.
    pub max_mbps: Option<u32>,
    /// How it is asked for a stream.
    pub naming: Naming,
    /// What its certificate has to show where it speaks TLS. Only operators say this: an origin cannot vouch for itself.
    pub tls: Verify,
}

/// What the certificate of an origin has to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verify {
    /// That it is for this name or address, by the word of somebody who is trusted; `None`: for the host that is dialled.
    Name(Option<Host>),
    /// Nothing: whatever answers is believed.
    Nothing,
}

impl Default for Verify {
    fn default() -> Self {
        Self::Name(None)
    }
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            weight: USUAL_WEIGHT,
            zone: None,
            labels: BTreeSet::new(),
            max_streams: None,
            max_sessions: None,
            max_mbps: None,
            naming: Naming::default(),
            tls: Verify::default(),
        }
    }
}

/// Attributes as they were given: what is not named stays unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Given {
    weight: Option<u32>,
    zone: Option<String>,
    labels: BTreeSet<String>,
    max_streams: Option<u32>,
    max_sessions: Option<u32>,
    max_mbps: Option<u32>,
    dialect: Option<Dialect>,
    strip: Option<Box<str>>,
    prepend: Option<Box<str>>,
    tls: Option<Verify>,
}

impl Given {
    /// Sets one attribute from text: `weight=50`, `zone=eu-1`, `label=gpu`, `max_streams=1`, `max_sessions=500`,
    /// `max_mbps=900`, `dialect=mediamtx`, `strip=site-a`, `prepend=live`, `tls_name=media.example`, `tls_verify=off`. Labels
    /// add up; for all others the last value counts.
    ///
    /// # Errors
    /// [`AttributeError`] when there is no such attribute, or the value is not valid for it.
    pub fn name(&mut self, key: &str, value: &str) -> Result<(), AttributeError> {
        let number = |most: u32| -> Result<Option<u32>, AttributeError> {
            let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            let number = value
                .parse()
                .ok()
                .filter(|number| digits && *number <= most);
            number.map(Some).ok_or(AttributeError::Number(most))
        };
        match key {
            "weight" => self.weight = number(MAX_WEIGHT)?,
            "zone" => self.zone = Some(word(value)?.to_owned()),
            "label" if self.labels.len() >= MAX_LABELS => {
                return Err(AttributeError::TooManyLabels);
            }
            "label" => drop(self.labels.insert(word(value)?.to_owned())),
            "max_streams" => self.max_streams = number(MAX_LIMIT)?,
            "max_sessions" => self.max_sessions = number(MAX_LIMIT)?,
            "max_mbps" => self.max_mbps = number(MAX_LIMIT)?,
            "dialect" => self.dialect = Some(value.parse()?),
            "strip" => self.strip = Some(prefix(value)?.into()),
            "prepend" => self.prepend = Some(prefix(value)?.into()),
            "tls_name" => {
                let name = value.parse().map_err(|_| AttributeError::TlsName)?;
                self.tls = Some(Verify::Name(Some(name)));
            }
            "tls_verify" => {
                self.tls = Some(match value {
                    "off" => Verify::Nothing,
                    "on" => Verify::default(),
                    _ => return Err(AttributeError::TlsVerify),
                });
            }
            _ => return Err(AttributeError::Unknown),
        }
        Ok(())
    }

    /// Overwrites `attributes` with what was given; labels are added to the existing ones.
    pub fn lay_over(&self, attributes: &mut Attributes) {
        if let Some(weight) = self.weight {
            attributes.weight = weight;
        }
        if let Some(zone) = &self.zone {
            attributes.zone = Some(zone.clone());
        }
        attributes.labels.extend(self.labels.iter().cloned());
        attributes.max_streams = self.max_streams.or(attributes.max_streams);
        attributes.max_sessions = self.max_sessions.or(attributes.max_sessions);
        attributes.max_mbps = self.max_mbps.or(attributes.max_mbps);
        if let Some(tls) = &self.tls {
            attributes.tls = tls.clone();
        }
        let naming = &mut attributes.naming;
        naming.dialect = self.dialect.unwrap_or(naming.dialect);
        for (given, kept) in [
            (&self.strip, &mut naming.strip),
            (&self.prepend, &mut naming.prepend),
        ] {
            if given.is_some() {
                kept.clone_from(given);
            }
        }
    }

    /// Takes one field of a registration.
    pub(crate) fn take(&mut self, field: &str, value: &Value) -> Result<(), AttributeError> {
        match value {
            Value::Null => Ok(()),
            Value::Number(number) => self.name(field, &number.to_string()),
            Value::String(text) if text.is_empty() => Ok(()),
            Value::String(text) => self.name(field, text),
            Value::Array(labels) if field == "label" => labels.iter().try_for_each(|label| {
                let label = label.as_str().ok_or(AttributeError::Word)?;
                self.name(field, label)
            }),
            _ => Err(AttributeError::Kind),
        }
    }
}

/// Attributes that an operator gives to the origins whose id or label matches a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeRule {
    pattern: Pattern,
    given: Given,
}

impl AttributeRule {
    /// Overwrites `attributes` if the rule matches an origin that has any of these `names`.
    pub fn apply<'a>(&self, names: impl IntoIterator<Item = &'a str>, attributes: &mut Attributes) {
        if names.into_iter().any(|name| self.pattern.matches(name)) {
            self.given.lay_over(attributes);
        }
    }
}

impl FromStr for AttributeRule {
    type Err = AttributeError;

    /// Reads a pattern and attributes: `edge-* weight=50 zone=eu-1 label=gpu max_streams=1`.
    fn from_str(text: &str) -> Result<Self, AttributeError> {
        let mut words = text.split_ascii_whitespace();
        let pattern = words.next().unwrap_or_default().parse()?;
        let mut given = Given::default();
        for word in words {
            let (key, value) = word.split_once('=').ok_or(AttributeError::Unknown)?;
            given.name(key, value)?;
        }
        if given == Given::default() {
            return Err(AttributeError::Nothing);
        }
        Ok(Self { pattern, given })
    }
}

/// Why attributes cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// It is no dialect.
    #[error(transparent)]
    Dialect(#[from] UnknownDialect),
    /// A JSON value has the wrong type.
    #[error("a value of the wrong kind")]
    Kind,
    /// A rule gives no attribute.
    #[error("what the origins have is missing, as in: edge-* weight=50")]
    Nothing,
    /// It is not a whole number up to this maximum.
    #[error("not a whole number from 0 to {0}")]
    Number(u32),
    /// It is not a pattern for names of origins.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// It is not a path to take off or put before others.
    #[error(
        "a prefix is segments of a path, such as site-a or live/cams, in at most {MAX_WORD} letters, digits and any of - _ . ~ /"
    )]
    Prefix,
    /// It is not what the certificate of an origin can be for.
    #[error("tls_name is what its certificate is for: a domain name or an address")]
    TlsName,
    /// It is neither on nor off.
    #[error("tls_verify is on, or off to believe whatever answers")]
    TlsVerify,
    /// There are more labels than any origin needs.
    #[error("more than {MAX_LABELS} labels")]
    TooManyLabels,
    /// There is no attribute with this name.
    #[error(
        "not one of weight=, zone=, label=, max_streams=, max_sessions=, max_mbps=, dialect=, strip=, prepend=, tls_name= and tls_verify="
    )]
    Unknown,
    /// It is not a valid zone or label.
    #[error("a zone or label is 1 to {MAX_WORD} letters, digits and any of - _ . : / =")]
    Word,
}

impl fmt::Display for Attributes {
    /// Writes `weight 50, zone eu-1, labels gpu`, without what has its default.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        if self.weight != USUAL_WEIGHT {
            words.push(format!("weight {}", self.weight));
        }
        words.extend(self.zone.as_ref().map(|zone| format!("zone {zone}")));
        words.extend(self.labels.iter().map(|label| format!("label {label}")));
        let limits = [("stream", self.max_streams), ("session", self.max_sessions)];
        for (what, limit) in limits {
            words.extend(limit.map(|limit| format!("at most {}", counted(limit, what))));
        }
        words.extend(self.max_mbps.map(|limit| format!("at most {limit} Mbit/s")));
        if self.naming.dialect != Dialect::default() {
            words.push(format!("dialect {}", self.naming.dialect));
        }
        let prefixes = [
            ("without", &self.naming.strip),
            ("with", &self.naming.prepend),
        ];
        for (how, prefix) in prefixes {
            words.extend(prefix.iter().map(|prefix| format!("paths {how} {prefix}/")));
        }
        formatter.write_str(&words.join(", "))
    }
}

fn prefix(text: &str) -> Result<&str, AttributeError> {
    let text = text.trim_matches('/');
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let is_segment =
        |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(fits);
    if text.len() <= MAX_WORD && text.split('/').all(is_segment) {
        Ok(text)
    } else {
        Err(AttributeError::Prefix)
    }
}

fn word(text: &str) -> Result<&str, AttributeError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/=".contains(&byte);
    if (1..=MAX_WORD).contains(&text.len()) && text.bytes().all(fits) {
        Ok(text)
    } else {
        Err(AttributeError::Word)
    }
}

/// The default weight; it leaves room for lighter origins.
pub const USUAL_WEIGHT: u32 = 100;

/// Maximum weight: a hundred times the default.
pub const MAX_WEIGHT: u32 = 10_000;

/// Maximum of a limit on streams, sessions or megabits per second: more than a machine has ports.
const MAX_LIMIT: u32 = 10_000_000;

/// Maximum labels of one origin.
const MAX_LABELS: usize = 32;

/// Maximum bytes of a zone or label.
const MAX_WORD: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_write_over_what_an_origin_says() {
        let mut attributes = Attributes {
            weight: 7,
            labels: BTreeSet::from(["ssd".to_owned()]),
            ..Attributes::default()
        };
        let rule: AttributeRule = "edge-* weight=50 zone=eu-1 label=gpu label=tier=1 max_streams=1"
            .parse()
            .unwrap();
        rule.apply(["origin1", "core-1"], &mut attributes);
        assert_eq!(attributes.weight, 7, "it speaks of others");
        rule.apply(["vid-1", "edge-1"], &mut attributes);
        assert_eq!(
            attributes.to_string(),
            "weight 50, zone eu-1, label gpu, label ssd, label tier=1, at most 1 stream"
        );
        assert_eq!(Attributes::default().to_string(), "");
    }

    #[test]
    fn what_a_certificate_has_to_show_is_said_last() {
        let named = Verify::Name(Some("media.example".parse().unwrap()));
        for (text, expected) in [
            ("* tls_name=media.example", named),
            ("* tls_verify=off", Verify::Nothing),
            ("* tls_verify=off tls_verify=on", Verify::default()),
        ] {
            let mut attributes = Attributes::default();
            let rule: AttributeRule = text.parse().unwrap();
            rule.apply(["one"], &mut attributes);
            assert_eq!(attributes.tls, expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for (cause, text, error) in [
            ("nothing", "", AttributeError::Pattern(PatternError::Empty)),
            ("a pattern alone", "edge-*", AttributeError::Nothing),
            ("a word", "* gpu", AttributeError::Unknown),
            ("an unknown name", "* wait=1", AttributeError::Unknown),
            (
                "no number",
                "* weight=heavy",
                AttributeError::Number(MAX_WEIGHT),
            ),
            (
                "a signed number",
                "* weight=+1",
                AttributeError::Number(MAX_WEIGHT),
            ),
            (
                "too much",
                "* weight=10001",
                AttributeError::Number(MAX_WEIGHT),
            ),
            ("an empty zone", "* zone=", AttributeError::Word),
            ("a zone that is no word", "* zone=a;b", AttributeError::Word),
            ("no name", "* tls_name=a b", AttributeError::Unknown),
            ("an empty name", "* tls_name=", AttributeError::TlsName),
            ("a URL", "* tls_name=https://a", AttributeError::TlsName),
            (
                "neither on nor off",
                "* tls_verify=no",
                AttributeError::TlsVerify,
            ),
        ] {
            assert_eq!(text.parse::<AttributeRule>(), Err(error), "{cause}");
        }
        let mut given = Given::default();
        for number in 0..MAX_LABELS {
            given.name("label", &number.to_string()).unwrap();
        }
        assert_eq!(
            given.name("label", "more"),
            Err(AttributeError::TooManyLabels)
        );
    }
}
