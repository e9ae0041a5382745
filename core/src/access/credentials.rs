//! What a client showed of itself when it asked for a stream: the parts of a request that name no stream and may say that
//! the client is allowed to have it.
//!
//! Each protocol's way to name a stream, in [`stream`](crate::stream), drops these parts, because the same stream is asked
//! for with a new token each time. Here is what was dropped. Most clients show nothing, so that the whole is one empty
//! pointer for them, see [`Credentials::boxed`].

use std::fmt;

use base64ct::{Base64, Encoding};
use subtle::ConstantTimeEq;

use super::challenge::Answer;
use super::query::{Query, strip};

/// What one client showed. [`Debug`](fmt::Debug) says which parts there are, and never what they hold.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    /// The query of the URL as it came, without its question mark. RTMP has one in its tcUrl and one in the name of the
    /// stream: they are joined with `&`, in this order. Of an SRT stream id, these are the pairs that have no meaning
    /// of their own.
    pub query: Option<Box<str>>,
    /// The URL as the client wrote it, as far as it wrote one, where it has a query: some signatures cover all of it.
    pub url: Option<Box<str>>,
    /// The token of `Authorization: Bearer` (RFC 6750 §2.1).
    pub bearer: Option<Box<str>>,
    /// The user and password of `Authorization: Basic` (RFC 7617).
    pub basic: Option<Basic>,
    /// The `Cookie` field, or several joined as one, which may hold what belongs to others.
    pub cookie: Option<Box<str>>,
    /// Who an SRT caller says that it is.
    pub srt: Option<SrtUser>,
    /// The first name in the client's certificate, where TLS asked for one and verified it: what its subject alternative
    /// names say (RFC 5280 §4.2.1.6), never its common name.
    pub tls: Option<Box<str>>,
    /// Its answer to a challenge of ours.
    pub answer: Option<Box<Answer>>,
    /// The page that it plays in, as it says: `Referer`, or `pageUrl` of RTMP. Like `agent` it is kept only where a backend is
    /// asked, and nobody is let in by it here.
    pub page: Option<Box<str>>,
    /// The program that it says it is: `User-Agent`.
    pub agent: Option<Box<str>>,
    /// What else an RTMP client says of itself. It is kept only where a backend is asked, and nobody is let in by it here.
    pub connect: Option<Box<Connect>>,
}

/// What an RTMP client says in its `connect` (RTMP 1.0 §7.2.1.1); empty where it says nothing.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Connect {
    /// `tcUrl`, as it came.
    pub tc_url: Box<str>,
    /// `flashVer`: the program, as it calls itself.
    pub flash_ver: Box<str>,
    /// `swfUrl`: the player's own address.
    pub swf_url: Box<str>,
}

/// A user and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Basic {
    /// The user.
    pub user: Box<str>,
    /// The password.
    pub password: Box<str>,
}

/// What an SRT stream id says of its caller (SRT access control guidelines, "General syntax").
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SrtUser {
    /// `u`: the name that decides which password counts.
    pub user: Option<Box<str>>,
    /// `s`: an identifier that was handed out for this one connection.
    pub key: Option<Box<str>>,
}

impl Credentials {
    /// The same without the query parameters that are called one of `names`. Among those of an SRT stream id, `s` is its
    /// key.
    #[must_use]
    pub fn without(&self, names: &[Box<str>]) -> Self {
        let names: Vec<&str> = names.iter().map(|name| &**name).collect();
        let mut left = self.clone();
        let query = left
            .query
            .as_deref()
            .map(|query| Query(query).without(&names));
        left.query = query.filter(|query| !query.is_empty()).map(Into::into);
        left.url = left.url.map(|url| strip(&url, &names).into());
        if names.contains(&SRT_KEY)
            && let Some(srt) = &mut left.srt
        {
            srt.key = None;
        }
        left
    }

    /// What is in the target of a URL: everything after its first question mark.
    pub fn of_target(target: &str) -> Self {
        let mut credentials = Self::default();
        if let Some((_, query)) = target.split_once('?') {
            credentials.add_query(query);
            credentials.url = credentials.query.is_some().then(|| kept(target)).flatten();
        }
        credentials
    }

    /// Completes the URL with what HTTP says apart from it, where it is only a target: `https` and `h.example:8443`.
    #[must_use]
    pub fn at(mut self, scheme: &str, host: &str) -> Self {
        let target = self.url.as_deref().filter(|url| url.starts_with('/'));
        if let Some(target) = target {
            self.url = kept(&format!("{scheme}://{host}{target}"));
        }
        self
    }

    /// What is in an RTMP request: the queries of its `tcUrl` and of the stream's name.
    pub fn of_rtmp(tc_url: &str, name: &str) -> Self {
        let mut credentials = Self::of_target(tc_url);
        if let Some((_, query)) = name.split_once('?') {
            credentials.add_query(query);
            // One URL of the two, as who signed it wrote it. A query in both is no URL that anybody signs.
            let base = tc_url.split('?').next().unwrap_or_default();
            credentials.url = kept(&format!("{}/{name}", base.trim_end_matches('/')));
        }
        credentials
    }

    /// What is in the pairs of an SRT stream id, each as its key and its value.
    pub fn of_srt<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut credentials = Self::default();
        let mut srt = SrtUser::default();
        for (key, value) in pairs {
            match key {
                "u" => srt.user = kept(value),
                "s" => srt.key = kept(value),
                "h" | "m" | "r" => {}
                // What is sent, in the guideline's words; any other value is a parameter of the sender's own.
                "t" if ["auth", "file", "stream"].contains(&value) => {}
                _ => credentials.add_query(&format!("{key}={value}")),
            }
        }
        credentials.srt = (srt != SrtUser::default()).then_some(srt);
        credentials
    }

    /// Adds the `Cookie` field.
    #[must_use]
    pub fn with_cookie(mut self, field: Option<&str>) -> Self {
        self.cookie = field.and_then(kept);
        self
    }

    /// Adds what an `Authorization` field says, if that is one of the schemes that are understood.
    #[must_use]
    pub fn with_authorization(mut self, field: Option<&str>) -> Self {
        let Some((scheme, value)) = field.and_then(|field| field.trim().split_once(' ')) else {
            return self;
        };
        let value = value.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            self.bearer = kept(value);
        } else if scheme.eq_ignore_ascii_case("basic") {
            self.basic = basic(value);
        }
        self
    }

    /// Adds the name of a verified certificate.
    #[must_use]
    pub fn with_certificate(mut self, name: Option<&str>) -> Self {
        self.tls = name.and_then(kept);
        self
    }

    /// Adds an answer to a challenge of ours.
    #[must_use]
    pub fn with_answer(mut self, answer: Option<Answer>) -> Self {
        self.answer = answer.map(Box::new);
        self
    }

    /// Adds the page that it plays in and the program that it says it is.
    #[must_use]
    pub fn with_surroundings(mut self, page: Option<&str>, agent: Option<&str>) -> Self {
        let short = |text: &&str| text.len() <= MAX_SURROUNDING;
        self.page = page.filter(short).and_then(kept);
        self.agent = agent.filter(short).and_then(kept);
        self
    }

    /// Adds what an RTMP client says of itself: its `tcUrl`, `flashVer` and `swfUrl`.
    #[must_use]
    pub fn with_connect(mut self, tc_url: &str, flash_ver: &str, swf_url: &str) -> Self {
        let kept = |text: &str| match text.len() <= MAX_SURROUNDING {
            true => text.into(),
            false => Box::default(),
        };
        let connect = Connect {
            tc_url: kept(tc_url),
            flash_ver: kept(flash_ver),
            swf_url: kept(swf_url),
        };
        self.connect = (connect != Connect::default()).then(|| Box::new(connect));
        self
    }

    /// Whether there is anything by which it might be let in.
    pub fn shows_something(&self) -> bool {
        let Self {
            query,
            url,
            bearer,
            basic,
            cookie,
            srt,
            tls,
            answer,
            page: _,
            agent: _,
            connect: _,
        } = self;
        let texts = [query, url, bearer, cookie, tls];
        texts.into_iter().any(Option::is_some)
            || basic.is_some()
            || srt.is_some()
            || answer.is_some()
    }

    /// Whether both show the same `Authorization`, in a time that does not tell where they differ.
    pub fn shows_the_same_authorization(&self, other: &Self) -> bool {
        let parts = |shown: &Self| {
            let basic = shown.basic.as_ref();
            let [bearer, user, password] = [
                shown.bearer.as_deref(),
                basic.map(|basic| &*basic.user),
                basic.map(|basic| &*basic.password),
            ]
            .map(|part| part.map_or_else(String::new, |part| format!("{}:{part}", part.len())));
            [bearer, user, password].join(" ")
        };
        let (one, other) = (parts(self), parts(other));
        one.as_bytes().ct_eq(other.as_bytes()).into()
    }

    /// Whether it shows an `Authorization` that is understood.
    pub const fn has_authorization(&self) -> bool {
        self.bearer.is_some() || self.basic.is_some()
    }

    /// `None` where the client showed nothing.
    pub fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }

    fn add_query(&mut self, query: &str) {
        self.query = match self.query.take() {
            Some(before) if !query.is_empty() => kept(&format!("{before}&{query}")),
            Some(before) => Some(before),
            None => kept(query),
        };
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("query", self.query.is_some()),
            ("bearer", self.bearer.is_some()),
            ("basic", self.basic.is_some()),
            ("cookie", self.cookie.is_some()),
            ("srt", self.srt.is_some()),
            ("tls", self.tls.is_some()),
            ("answer", self.answer.is_some()),
            ("page", self.page.is_some()),
            ("agent", self.agent.is_some()),
            ("connect", self.connect.is_some()),
        ];
        let shown = parts.iter().filter(|(_, is_there)| *is_there);
        f.write_str("Credentials")?;
        f.debug_set().entries(shown.map(|(name, _)| name)).finish()
    }
}

impl fmt::Debug for Basic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Basic(***)")
    }
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connect(***)")
    }
}

impl fmt::Debug for SrtUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SrtUser(***)")
    }
}

fn basic(value: &str) -> Option<Basic> {
    if value.len() > MAX_PART {
        return None;
    }
    let text = String::from_utf8(Base64::decode_vec(value).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some(Basic {
        user: user.into(),
        password: password.into(),
    })
}

/// A part that is worth keeping. One that is too long counts as not shown: half a token would be another one.
fn kept(part: &str) -> Option<Box<str>> {
    (!part.is_empty() && part.len() <= MAX_PART).then(|| part.into())
}

/// Bytes of one part: twice what the largest signed tokens take. It is kept for as long as the session.
const MAX_PART: usize = 8 * 1024;

/// Bytes of the name of a page or of a program. What is longer counts as not said.
const MAX_SURROUNDING: usize = 2 * 1024;

/// The field of an SRT stream id that holds a key (SRT access control guidelines).
pub const SRT_KEY: &str = "s";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_is_what_a_stream_is_named_without() {
        let rows = [
            ("no query", "/live/a.flv", None),
            ("an empty one", "/live/a.flv?", None),
            ("a token", "/live/a.flv?token=x", Some("token=x")),
            (
                "a question mark in it",
                "/live/a.flv?a=1?b=2",
                Some("a=1?b=2"),
            ),
        ];
        for (cause, target, expected) in rows {
            let credentials = Credentials::of_target(target);
            assert_eq!(credentials.query.as_deref(), expected, "{cause}");
            assert_eq!(credentials.boxed().is_some(), expected.is_some(), "{cause}");
        }
        let rows = [
            ("neither", "rtmp://h/live", "a", None),
            ("in the tcUrl", "rtmp://h/live?t=1", "a", Some("t=1")),
            ("in the name", "rtmp://h/live", "a?t=1", Some("t=1")),
            ("in both", "rtmp://h/live?u=1", "a?t=2", Some("u=1&t=2")),
        ];
        for (cause, tc_url, name, expected) in rows {
            let credentials = Credentials::of_rtmp(tc_url, name);
            assert_eq!(credentials.query.as_deref(), expected, "{cause}");
        }
    }

    #[test]
    fn an_authorization_is_read_by_its_scheme() {
        let read = |field: &str| Credentials::default().with_authorization(Some(field));
        assert_eq!(read("Bearer abc.def").bearer.as_deref(), Some("abc.def"));
        assert_eq!(read("bearer  abc ").bearer.as_deref(), Some("abc"));
        let basic = read("Basic dXNlcjpwYTpzcw==").basic.unwrap();
        assert_eq!((&*basic.user, &*basic.password), ("user", "pa:ss"));
        let nothing = [
            ("no value", "Bearer"),
            ("a scheme for the origin", "Digest username=\"u\""),
            ("no base64", "Basic ???"),
            ("no colon", "Basic dXNlcg=="),
            ("not UTF-8", "Basic //86Lw=="),
        ];
        for (cause, field) in nothing {
            assert_eq!(read(field).boxed(), None, "{cause}");
        }
        let long = format!("Bearer {}", "x".repeat(MAX_PART + 1));
        assert_eq!(read(&long).boxed(), None, "a part that is too long");
    }

    #[test]
    fn two_requests_show_the_same_authorization_or_another() {
        let read = |field: &str| Credentials::default().with_authorization(Some(field));
        let one = read("Bearer abc");
        assert!(one.shows_the_same_authorization(&read("bearer abc")));
        for other in ["Bearer abd", "Basic dXNlcjpwYTpzcw==", "Basic OmFiYw==", ""] {
            assert!(!one.shows_the_same_authorization(&read(other)), "{other}");
        }
        assert!(one.has_authorization() && !read("").has_authorization());
    }

    #[test]
    fn a_stream_id_says_who_calls() {
        let pairs = [
            ("r", "live/a"),
            ("u", "me"),
            ("s", "key-1"),
            ("m", "publish"),
            ("secret", "x"),
            ("t", "stream"),
            ("t", "12"),
        ];
        let credentials = Credentials::of_srt(pairs);
        let srt = credentials.srt.clone().unwrap();
        assert_eq!(
            (srt.user.as_deref(), srt.key.as_deref()),
            (Some("me"), Some("key-1"))
        );
        assert_eq!(credentials.query.as_deref(), Some("secret=x&t=12"));
        assert_eq!(Credentials::of_srt([("r", "live/a")]).boxed(), None);
    }

    #[test]
    fn a_page_and_a_program_are_nothing_to_be_let_in_by() {
        let with = |page, agent| Credentials::default().with_surroundings(page, agent);
        let shown = with(Some("https://site.example/live"), Some("player/1"));
        assert_eq!(shown.page.as_deref(), Some("https://site.example/live"));
        assert_eq!(shown.agent.as_deref(), Some("player/1"));
        assert!(!shown.shows_something());
        assert!(shown.with_authorization(Some("Bearer x")).shows_something());
        assert!(Credentials::of_target("/a?b").shows_something());
        let long = "x".repeat(MAX_SURROUNDING + 1);
        assert_eq!(with(Some(&long), Some(&long)).boxed(), None);
    }

    #[test]
    fn no_secret_is_printed() {
        let credentials = Credentials {
            query: Some("token=hidden".into()),
            bearer: Some("hidden".into()),
            tls: Some("CN=hidden".into()),
            ..Credentials::of_srt([("u", "hidden"), ("s", "hidden")])
                .with_authorization(Some("Basic aGlkZGVuOmhpZGRlbg=="))
        };
        let parts = (&credentials, &credentials.basic, &credentials.srt);
        let printed = format!("{parts:?} {parts:#?}");
        assert!(!printed.contains("hidden"), "{printed}");
        assert!(printed.contains("bearer"), "{printed}");
    }
}
