//! Rules for streams: which origins may hold them, where cooperative clients are redirected, whose answers are shared, which
//! viewers share a pull, and which parameters belong to a name.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use crate::fleet::attributes::Attributes;
use crate::http::sharing::{NotAShare, Share};
use crate::media::fanout::{Mode, NotAMode};
use crate::place::pattern::{Pattern, PatternError, VhostPattern};
use crate::stream::StreamUrl;

/// A set of streams by vhost, app and name; a part that is not named matches anything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Streams {
    vhost: Option<VhostPattern>,
    app: Option<Pattern>,
    stream: Option<Pattern>,
}

impl Streams {
    /// Whether the set contains `url`.
    pub fn include(&self, url: &StreamUrl) -> bool {
        let names = |pattern: &Option<Pattern>, text| {
            let pattern = pattern.as_ref();
            pattern.is_none_or(|pattern| pattern.matches(text))
        };
        let vhost = self.vhost.as_ref();
        vhost.is_none_or(|pattern| pattern.matches(url.vhost()))
            && names(&self.app, url.app())
            && names(&self.stream, url.stream())
    }

    /// Takes a word of a rule; returns `false` if it is about something else.
    fn take(&mut self, key: &str, value: &str) -> Result<bool, RuleError> {
        match key {
            "vhost" => self.vhost = Some(value.parse()?),
            "app" => self.app = Some(Pattern::of_app(value)?),
            "stream" => self.stream = Some(Pattern::of_stream(value)?),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// A set of origins that may hold a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pool {
    labels: BTreeSet<String>,
    zone: Option<String>,
}

impl Pool {
    /// Whether an origin is in the pool: it has every label, and is in the zone if one is named.
    pub fn allows(&self, attributes: &Attributes) -> bool {
        self.labels.is_subset(&attributes.labels)
            && (self.zone.is_none() || self.zone == attributes.zone)
    }
}

/// Streams, and the origins that may hold them: `app=live stream=vip-* label=gpu zone=eu-1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolRule {
    text: String,
    streams: Streams,
    /// The origins that may hold them.
    pub pool: Pool,
}

impl PoolRule {
    /// Whether the rule covers `url`.
    pub fn covers(&self, url: &StreamUrl) -> bool {
        self.streams.include(url)
    }

    /// The rule as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for PoolRule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let (mut streams, mut pool) = (Streams::default(), Pool::default());
        for word in words(text)? {
            let (key, value) = word?;
            match key {
                "label" => drop(pool.labels.insert(value.to_owned())),
                "zone" => pool.zone = Some(value.to_owned()),
                _ if streams.take(key, value)? => {}
                _ => {
                    return Err(RuleError::Unknown(
                        "vhost=, app=, stream=, label= and zone=",
                    ));
                }
            }
        }
        if pool == Pool::default() {
            return Err(RuleError::Incomplete("label= or zone="));
        }
        let text = text.trim().to_owned();
        Ok(Self {
            text,
            streams,
            pool,
        })
    }
}

/// Streams whose clients are redirected: `app=live via=http url=http://{ip}:{http}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectRule {
    text: String,
    streams: Streams,
    via: BTreeSet<Via>,
    url: String,
}

/// Clients that can be redirected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Via {
    /// HTTP clients, with a 302.
    Http,
    /// SRS edges over RTMP, with the redirect that SRS origins use.
    Rtmp,
}

/// The values for the words in braces of a [`RedirectRule`]. An IPv6 address has its brackets.
#[derive(Debug, Clone, Copy)]
pub struct RedirectTo<'a> {
    /// `{id}`
    pub id: &'a str,
    /// `{label}`
    pub label: &'a str,
    /// `{zone}`
    pub zone: &'a str,
    /// `{ip}`
    pub ip: &'a str,
    /// `{http}`
    pub http: Option<u16>,
    /// `{rtmp}`
    pub rtmp: Option<u16>,
}

impl RedirectRule {
    /// Whether the rule covers clients of this kind for `url`.
    pub fn covers(&self, url: &StreamUrl, via: Via) -> bool {
        self.via.contains(&via) && self.streams.include(url)
    }

    /// The base of the URL to redirect to, without a slash at its end; `None` if it names a port that the origin does
    /// not have.
    pub fn base(&self, place: &RedirectTo<'_>) -> Option<String> {
        let port = |port: Option<u16>| port.map(|port| port.to_string());
        let mut base = String::with_capacity(self.url.len() + 32);
        let mut rest = self.url.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}')?;
            base.push_str(before);
            base.push_str(&match name {
                "id" => place.id.to_owned(),
                "label" => place.label.to_owned(),
                "zone" => place.zone.to_owned(),
                "ip" => place.ip.to_owned(),
                "http" => port(place.http)?,
                "rtmp" => port(place.rtmp)?,
                _ => return None,
            });
            rest = after;
        }
        base.push_str(rest);
        Some(base)
    }

    /// The rule as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for RedirectRule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let mut rule = Self {
            text: text.trim().to_owned(),
            streams: Streams::default(),
            via: BTreeSet::new(),
            url: String::new(),
        };
        for word in words(text)? {
            let (key, value) = word?;
            match key {
                "via" => drop(rule.via.insert(via(value)?)),
                "url" => value.trim_end_matches('/').clone_into(&mut rule.url),
                _ if rule.streams.take(key, value)? => {}
                _ => return Err(RuleError::Unknown("vhost=, app=, stream=, via= and url=")),
            }
        }
        if rule.via.is_empty() {
            return Err(RuleError::Incomplete("via=http or via=rtmp"));
        }
        let fits = |via: &Via| match via {
            Via::Http => rule.url.starts_with("http://") || rule.url.starts_with("https://"),
            Via::Rtmp => rule.url.starts_with("rtmp://"),
        };
        if !rule.via.iter().all(fits) {
            return Err(RuleError::Url);
        }
        let everything = RedirectTo {
            id: "",
            label: "",
            zone: "",
            ip: "",
            http: Some(1),
            rtmp: Some(1),
        };
        rule.base(&everything).ok_or(RuleError::Braces)?;
        Ok(rule)
    }
}

/// Streams whose answers over HTTP are shared in another way than all others': `app=vod share=all`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareRule {
    streams: Streams,
    /// What holds for them.
    pub share: Share,
}

impl ShareRule {
    /// Whether it speaks of `url`.
    pub fn covers(&self, url: &StreamUrl) -> bool {
        self.streams.include(url)
    }
}

impl FromStr for ShareRule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let (mut streams, mut share) = (Streams::default(), None);
        for word in words(text)? {
            let (key, value) = word?;
            match key {
                "share" => share = Some(value.parse()?),
                _ if streams.take(key, value)? => {}
                _ => return Err(RuleError::Unknown("vhost=, app=, stream= and share=")),
            }
        }
        let share = share.ok_or(RuleError::Incomplete("share="))?;
        Ok(Self { streams, share })
    }
}

/// Streams whose viewers share pulls in another way than all others': `app=live mode=open`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FanoutRule {
    streams: Streams,
    /// What holds for them.
    pub mode: Mode,
}

impl FanoutRule {
    /// Whether it speaks of `url`.
    pub fn covers(&self, url: &StreamUrl) -> bool {
        self.streams.include(url)
    }
}

impl FromStr for FanoutRule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let (mut streams, mut mode) = (Streams::default(), None);
        for word in words(text)? {
            let (key, value) = word?;
            match key {
                "mode" => mode = Some(value.parse()?),
                _ if streams.take(key, value)? => {}
                _ => return Err(RuleError::Unknown("vhost=, app=, stream= and mode=")),
            }
        }
        let mode = mode.ok_or(RuleError::Incomplete("mode="))?;
        Ok(Self { streams, mode })
    }
}

/// How long clients of a stream are held that lost what they were joined with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HoldTimes {
    /// A publisher without an origin.
    pub publishers: Duration,
    /// Viewers without their pull.
    pub viewers: Duration,
    /// Viewers without a publisher.
    pub publisher_away: Duration,
}

/// Streams whose clients are held for other times: `app=live stream=vip-* publishers=30s viewers=1m`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldRule {
    streams: Streams,
    publishers: Option<Duration>,
    viewers: Option<Duration>,
    publisher_away: Option<Duration>,
}

impl HoldRule {
    /// Reads a rule, whose times `duration` understands.
    ///
    /// # Errors
    /// [`RuleError`]
    pub fn read(
        text: &str,
        duration: impl Fn(&str) -> Option<Duration>,
    ) -> Result<Self, RuleError> {
        let mut rule = Self {
            streams: Streams::default(),
            publishers: None,
            viewers: None,
            publisher_away: None,
        };
        for word in words(text)? {
            let (key, value) = word?;
            let time = match key {
                "publishers" => &mut rule.publishers,
                "viewers" => &mut rule.viewers,
                "publisher_away" => &mut rule.publisher_away,
                _ if rule.streams.take(key, value)? => continue,
                _ => return Err(RuleError::Unknown(HOLD_WORDS)),
            };
            *time = Some(duration(value).ok_or(RuleError::Unknown(HOLD_TIMES))?);
        }
        let says = [rule.publishers, rule.viewers, rule.publisher_away];
        match says.iter().any(Option::is_some) {
            true => Ok(rule),
            false => Err(RuleError::Incomplete(
                "publishers=, viewers= or publisher_away=",
            )),
        }
    }
}

/// How long clients are held: in general, and by streams; the first rule that fits counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HoldRules {
    /// What counts where no rule fits, or the rule that does says nothing.
    pub general: HoldTimes,
    /// In order.
    pub rules: Vec<HoldRule>,
}

impl HoldRules {
    /// The times for the clients of `url`.
    pub fn of(&self, url: &StreamUrl) -> HoldTimes {
        let general = self.general;
        let rule = self.rules.iter().find(|rule| rule.streams.include(url));
        rule.map_or(general, |rule| HoldTimes {
            publishers: rule.publishers.unwrap_or(general.publishers),
            viewers: rule.viewers.unwrap_or(general.viewers),
            publisher_away: rule.publisher_away.unwrap_or(general.publisher_away),
        })
    }

    /// Whether any publisher may be held.
    pub fn hold_publishers(&self) -> bool {
        let mut all = self.rules.iter().filter_map(|rule| rule.publishers);
        !self.general.publishers.is_zero() || all.any(|time| !time.is_zero())
    }
}

const HOLD_WORDS: &str = "vhost=, app=, stream=, publishers=, viewers= and publisher_away=";
const HOLD_TIMES: &str = "times such as publishers=30s or viewers=0s";

/// Streams of whose name parameters of a query are a part: `app=*/cam stream=realmonitor parameter=channel`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameRule {
    streams: Streams,
    /// In the order in which the name has them.
    parameters: Vec<Box<str>>,
}

impl NameRule {
    /// Whether it speaks of `url`.
    pub fn covers(&self, url: &StreamUrl) -> bool {
        self.streams.include(url)
    }

    /// The names of the parameters.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.parameters.iter().map(|name| &**name)
    }
}

impl FromStr for NameRule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let (mut streams, mut parameters) = (Streams::default(), Vec::<Box<str>>::new());
        for word in words(text)? {
            let (key, value) = word?;
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
            match key {
                "parameter" if value.is_empty() || !value.bytes().all(plain) => {
                    return Err(RuleError::Parameter);
                }
                "parameter" => parameters.push(value.into()),
                _ if streams.take(key, value)? => {}
                _ => return Err(RuleError::Unknown("vhost=, app=, stream= and parameter=")),
            }
        }
        if parameters.is_empty() {
            return Err(RuleError::Incomplete("parameter="));
        }
        Ok(Self {
            streams,
            parameters,
        })
    }
}

/// Why a rule cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// A word in braces has no meaning.
    #[error("braces stand for {{id}}, {{label}}, {{zone}}, {{ip}}, {{http}} and {{rtmp}} only")]
    Braces,
    /// A required part is missing.
    #[error("the rule says nothing without {0}")]
    Incomplete(&'static str),
    /// `mode=` has another value.
    #[error("mode= is off, checked or open")]
    Mode(#[from] NotAMode),
    /// `parameter=` has a value that is no parameter's name.
    #[error("parameter= is the name of a parameter: letters, digits and . _ ~ -")]
    Parameter,
    /// A part is not a pattern for a vhost, app or stream.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// `share=` has another value.
    #[error("share= is off, said or all")]
    Share(#[from] NotAShare),
    /// A word is unknown.
    #[error("a rule is made of {0}")]
    Unknown(&'static str),
    /// The URL is not one for such clients.
    #[error("url= is http:// or https:// for via=http, and rtmp:// for via=rtmp")]
    Url,
    /// `via` is neither `http` nor `rtmp`.
    #[error("via= is http or rtmp")]
    Via,
}

type Word<'a> = Result<(&'a str, &'a str), RuleError>;

/// The words of a rule, each with a name and a value.
fn words(text: &str) -> Result<impl Iterator<Item = Word<'_>>, RuleError> {
    if text.trim().is_empty() {
        return Err(RuleError::Incomplete("a word"));
    }
    Ok(text.split_ascii_whitespace().map(|word| {
        word.split_once('=')
            .ok_or(RuleError::Unknown("words such as app=live"))
    }))
}

fn via(text: &str) -> Result<Via, RuleError> {
    match text {
        "http" => Ok(Via::Http),
        "rtmp" => Ok(Via::Rtmp),
        _ => Err(RuleError::Via),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> StreamUrl {
        text.parse().unwrap()
    }

    #[test]
    fn holds_are_as_long_as_the_first_rule_that_fits_says() {
        let seconds = |text: &str| {
            text.strip_suffix('s')?
                .parse()
                .ok()
                .map(Duration::from_secs)
        };
        let read = |text: &str| HoldRule::read(text, seconds);
        let rules = HoldRules {
            general: HoldTimes {
                publishers: Duration::from_secs(10),
                viewers: Duration::from_secs(30),
                publisher_away: Duration::from_secs(10),
            },
            rules: vec![
                read("app=live stream=vip-* publishers=60s").unwrap(),
                read("app=live viewers=0s publisher_away=5s").unwrap(),
            ],
        };
        for (cause, stream, expected) in [
            ("no rule", "h/vod/1", (10, 30, 10)),
            ("the first that fits", "h/live/vip-1", (60, 30, 10)),
            ("the next", "h/live/1", (10, 0, 5)),
        ] {
            let times = rules.of(&url(stream));
            let [publishers, viewers, away] =
                [times.publishers, times.viewers, times.publisher_away].map(|time| time.as_secs());
            assert_eq!((publishers, viewers, away), expected, "{cause}");
        }
        assert!(rules.hold_publishers());
        let none = |publishers: &str| HoldRules {
            rules: vec![read(publishers).unwrap()],
            ..HoldRules::default()
        };
        assert!(!none("app=live publishers=0s").hold_publishers());
        assert!(none("app=live publishers=1s").hold_publishers());
        for (cause, text) in [
            ("nothing", ""),
            ("no time", "app=live"),
            ("a time that is none", "app=live viewers=long"),
            ("another word", "app=live players=3s"),
        ] {
            assert!(read(text).is_err(), "{cause}");
        }
    }

    #[test]
    fn pools_are_for_streams_by_their_parts() {
        let rule: PoolRule = "vhost=*.example.com app=live stream=vip-* label=gpu zone=eu"
            .parse()
            .unwrap();
        for (cause, stream, expected) in [
            ("all of it", "a.example.com/live/vip-1", true),
            ("another vhost", "example.org/live/vip-1", false),
            ("another app", "a.example.com/vod/vip-1", false),
            ("another stream", "a.example.com/live/1", false),
        ] {
            assert_eq!(rule.covers(&url(stream)), expected, "{cause}");
        }
        let origin = |zone: &str, labels: &[&str]| Attributes {
            zone: Some(zone.to_owned()),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            ..Attributes::default()
        };
        assert!(rule.pool.allows(&origin("eu", &["gpu", "ssd"])));
        assert!(!rule.pool.allows(&origin("us", &["gpu"])));
        assert!(!rule.pool.allows(&origin("eu", &["ssd"])));
        for (cause, text) in [
            ("nothing", ""),
            ("no pool", "app=live"),
            ("a word", "live label=gpu"),
            ("an unknown word", "path=live label=gpu"),
            ("an empty pattern", "app= label=gpu"),
        ] {
            assert!(text.parse::<PoolRule>().is_err(), "{cause}");
        }
    }

    #[test]
    fn sharing_is_for_streams_by_their_parts() {
        let rule: ShareRule = "app=vod stream=film-* share=all".parse().unwrap();
        assert_eq!(rule.share, Share::All);
        assert!(rule.covers(&url("v/vod/film-1")));
        assert!(!rule.covers(&url("v/vod/clip-1")));
        assert!(!rule.covers(&url("v/live/film-1")));
        for (cause, text, error) in [
            ("no share", "app=vod", RuleError::Incomplete("share=")),
            (
                "another word",
                "app=vod share=some",
                RuleError::Share(NotAShare),
            ),
            (
                "what is another rule's",
                "share=all label=gpu",
                RuleError::Unknown("vhost=, app=, stream= and share="),
            ),
        ] {
            assert_eq!(text.parse::<ShareRule>(), Err(error), "{cause}");
        }
    }

    #[test]
    fn redirects_name_a_place() {
        let place = RedirectTo {
            id: "vid-1",
            label: "left",
            zone: "eu",
            ip: "[::1]",
            http: Some(8080),
            rtmp: None,
        };
        let base = |text: &str| text.parse::<RedirectRule>().unwrap().base(&place);
        assert_eq!(
            base("app=live via=http url=http://{ip}:{http}/").as_deref(),
            Some("http://[::1]:8080")
        );
        assert_eq!(
            base("via=http url=https://{id}.{zone}.example.com/{label}").as_deref(),
            Some("https://vid-1.eu.example.com/left")
        );
        assert_eq!(
            base("via=rtmp url=rtmp://{ip}:{rtmp}"),
            None,
            "no such port"
        );
        for (cause, text, error) in [
            (
                "no client",
                "url=http://a",
                RuleError::Incomplete("via=http or via=rtmp"),
            ),
            ("no url", "via=http", RuleError::Url),
            ("another scheme", "via=rtmp url=http://a", RuleError::Url),
            (
                "both with one url",
                "via=http via=rtmp url=http://a",
                RuleError::Url,
            ),
            (
                "a client that follows nothing",
                "via=srt url=srt://a",
                RuleError::Via,
            ),
            (
                "strange braces",
                "via=http url=http://{host}",
                RuleError::Braces,
            ),
            (
                "an open brace",
                "via=http url=http://{ip",
                RuleError::Braces,
            ),
        ] {
            assert_eq!(text.parse::<RedirectRule>(), Err(error), "{cause}");
        }
    }
}
