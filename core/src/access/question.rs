//! What a verdict is made from.

use std::borrow::Cow;
use std::net::IpAddr;

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::challenge::Answer;
use super::credentials::{Basic, Connect, Credentials, SRT_KEY, SrtUser};
use super::query::Query;
use crate::stream::{Action, DEFAULT_APP, Protocol, StreamUrl};

/// Everything that a verdict may depend on, besides the rules and the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question<'a> {
    /// The stream that is asked for.
    pub stream: &'a StreamUrl,
    /// Whether the client sends or receives.
    pub action: Action,
    /// What it speaks.
    pub protocol: Protocol,
    /// Where it is.
    pub client: IpAddr,
    /// What it showed.
    pub credentials: &'a Credentials,
}

/// Names a question among others: equal for equal questions, and for no two others that anybody can find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QuestionKey([u8; 16]);

impl<'a> Question<'a> {
    /// The key under which a verdict on this question may be kept. It covers every part of the question, so what a
    /// verdict is made from cannot change without it. `secret` is a random key of this process: what is kept does not
    /// show what was asked.
    pub fn key(&self, secret: &[u8; 32]) -> QuestionKey {
        // Taken apart by name, so that a part that is added later has to be covered here.
        let Self {
            stream,
            action,
            protocol,
            client,
            credentials,
        } = self;
        let Credentials {
            query,
            url,
            bearer,
            basic,
            cookie,
            srt,
            tls,
            answer,
            page,
            agent,
            connect,
        } = credentials;
        let connect = connect.as_deref().map(|connect| {
            let Connect {
                tc_url,
                flash_ver,
                swf_url,
            } = connect;
            [tc_url, flash_ver, swf_url].map(|part| &**part)
        });
        let said = |part: usize| connect.as_ref().and_then(|parts| parts.get(part).copied());
        let (user, password) = match basic {
            Some(Basic { user, password }) => (Some(&**user), Some(&**password)),
            None => (None, None),
        };
        let (srt_user, srt_key) = match srt {
            Some(SrtUser { user, key }) => (user.as_deref(), key.as_deref()),
            None => (None, None),
        };
        let answer = answer.as_deref().map(|answer| {
            let Answer {
                scheme,
                user,
                rest,
                response,
            } = answer;
            [scheme.as_str(), user, rest, response]
        });
        let answered = |part: usize| answer.as_ref().and_then(|parts| parts.get(part).copied());
        let address = client.to_string();
        let parts = [
            Some(stream.as_str()),
            Some(action.as_str()),
            Some(protocol.as_str()),
            Some(&address),
            query.as_deref(),
            url.as_deref(),
            bearer.as_deref(),
            user,
            password,
            cookie.as_deref(),
            srt_user,
            srt_key,
            tls.as_deref(),
            answered(0),
            answered(1),
            answered(2),
            answered(3),
            page.as_deref(),
            agent.as_deref(),
            said(0),
            said(1),
            said(2),
        ];
        let mut hash =
            <Hmac<Sha256> as Mac>::new_from_slice(secret).expect("HMAC takes keys of any length");
        for part in parts {
            // The length first, so that no two lists of parts are the same bytes; a part that is absent is not empty.
            let length = part.map_or(u64::MAX, |part| part.len() as u64);
            hash.update(&length.to_be_bytes());
            hash.update(part.unwrap_or_default().as_bytes());
        }
        let hash = hash.finalize().into_bytes();
        let mut key = [0; 16];
        key.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        QuestionKey(key)
    }

    /// The parameters of the client's URL.
    pub fn query(&self) -> Query<'a> {
        Query(self.credentials.query.as_deref().unwrap_or_default())
    }

    /// The stream as servers without vhosts write it: `live/a`, or only `a` where no app was named.
    pub fn path(&self) -> String {
        path_of(self.stream)
    }

    /// The path of the client's URL as it was written, up to the question mark, with its leading slash; put together
    /// from the stream where the client sent no URL of its own.
    pub fn uri(&self) -> String {
        let Some(url) = self.credentials.url.as_deref() else {
            return format!("/{}", self.path());
        };
        let rest = url.split_once("://").map_or(url, |(_, rest)| {
            rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
        });
        let path = rest.split('?').next().unwrap_or_default();
        if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        }
    }
}

/// A text that a client showed, which may be a key or a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown<'a> {
    /// The text.
    pub text: Cow<'a, str>,
    /// The query parameter that it stood in, or the field of an SRT stream id.
    pub parameter: Option<&'a str>,
    /// The header that it stood in.
    pub header: Option<UsedHeader>,
}

/// A header in which a client shows who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UsedHeader {
    /// `Authorization`.
    Authorization,
    /// The cookie of this name, among others.
    Cookie(Box<str>),
}

/// A user and a password, wherever the protocol has room for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login<'a> {
    /// The user.
    pub user: Cow<'a, str>,
    /// The password.
    pub password: Cow<'a, str>,
    /// The query parameters or the fields of an SRT stream id that they stood in.
    pub parameters: Vec<&'static str>,
    /// The header that they stood in.
    pub header: Option<UsedHeader>,
}

impl<'a> Question<'a> {
    /// What may be a key or a token, in the order in which it counts: `Authorization`, the password, the SRT key, the
    /// query parameters of these names, the cookies of these names.
    pub fn shown<'p: 'a>(&self, parameters: &'p [Box<str>]) -> impl Iterator<Item = Shown<'a>> {
        let credentials = self.credentials;
        let authorized = |text: &'a str| Shown {
            text: Cow::Borrowed(text),
            parameter: None,
            header: Some(UsedHeader::Authorization),
        };
        let srt = credentials.srt.as_ref().and_then(|srt| srt.key.as_deref());
        let fields = [
            credentials.bearer.as_deref(),
            credentials.basic.as_ref().map(|basic| &*basic.password),
        ];
        let in_id = srt.map(|text| Shown {
            text: Cow::Borrowed(text),
            parameter: Some(SRT_KEY),
            header: None,
        });
        let query = self.query();
        let in_query = parameters.iter().filter_map(move |name| {
            Some(Shown {
                text: query.value(name)?,
                parameter: Some(&**name),
                header: None,
            })
        });
        let cookies = credentials.cookie.as_deref().unwrap_or_default();
        let in_cookies = cookies.split(';').filter_map(move |pair| {
            let (name, value) = pair.trim().split_once('=')?;
            let is_wanted = parameters.iter().any(|wanted| **wanted == *name);
            is_wanted.then(|| Shown {
                text: Cow::Borrowed(value),
                parameter: None,
                header: Some(UsedHeader::Cookie(name.into())),
            })
        });
        let all = fields
            .into_iter()
            .flatten()
            .map(authorized)
            .chain(in_id)
            .chain(in_query);
        all.chain(in_cookies).filter(|shown| !shown.text.is_empty())
    }

    /// The user and password: of `Authorization`, of an SRT stream id, or the query's `user` and `pass`.
    pub fn login(&self) -> Option<Login<'a>> {
        let query = self.query();
        let login = |user: &'a str, password: &'a str| Login {
            user: user.into(),
            password: password.into(),
            parameters: Vec::new(),
            header: None,
        };
        if let Some(Basic { user, password }) = &self.credentials.basic {
            return Some(Login {
                header: Some(UsedHeader::Authorization),
                ..login(user, password)
            });
        }
        if let Some(SrtUser {
            user: Some(user),
            key,
        }) = &self.credentials.srt
        {
            return match key {
                Some(key) => Some(Login {
                    parameters: vec![SRT_KEY],
                    ..login(user, key)
                }),
                None => Some(Login {
                    password: query.value("pass")?,
                    parameters: vec!["pass"],
                    ..login(user, "")
                }),
            };
        }
        Some(Login {
            user: query.value("user")?,
            password: query.value("pass")?,
            parameters: vec!["user", "pass"],
            header: None,
        })
    }
}

/// `live/a`, or only `a` where no app was named.
pub fn path_of(stream: &StreamUrl) -> String {
    match stream.app() {
        DEFAULT_APP => stream.stream().to_owned(),
        app => format!("{app}/{}", stream.stream()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::challenge::AnswerScheme;
    use super::*;
    use proptest::prelude::*;

    /// A question with what it borrows.
    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Asked {
        stream: StreamUrl,
        action: Action,
        protocol: Protocol,
        client: IpAddr,
        credentials: Credentials,
    }

    impl Asked {
        fn key(&self) -> QuestionKey {
            let question = Question {
                stream: &self.stream,
                action: self.action,
                protocol: self.protocol,
                client: self.client,
                credentials: &self.credentials,
            };
            question.key(&[7; 32])
        }
    }

    prop_compose! {
        fn credentials()(
            parts in proptest::collection::vec(proptest::option::of("[ab]{0,2}"), 17),
        ) -> Credentials {
            let part = |index: usize| parts[index].as_deref().map(Into::into);
            let pair = |first: usize, second: usize| Some((part(first)?, part(second)?));
            Credentials {
                query: part(0),
                url: part(1),
                bearer: part(2),
                basic: pair(3, 4).map(|(user, password)| Basic { user, password }),
                cookie: part(5),
                srt: Some(SrtUser { user: part(6), key: part(7) })
                    .filter(|srt| *srt != SrtUser::default()),
                tls: part(8),
                answer: part(9).map(|user| {
                    Box::new(Answer {
                        scheme: AnswerScheme::Md5,
                        user,
                        rest: part(10).unwrap_or_default(),
                        response: part(11).unwrap_or_default(),
                    })
                }),
                page: part(12),
                agent: part(13),
                connect: Some(Connect {
                    tc_url: part(14).unwrap_or_default(),
                    flash_ver: part(15).unwrap_or_default(),
                    swf_url: part(16).unwrap_or_default(),
                })
                .filter(|connect| *connect != Connect::default())
                .map(Box::new),
            }
        }
    }

    prop_compose! {
        fn asked()(
            credentials in credentials(),
            stream in "[ab]/[ab]",
            publish: bool,
            protocol in proptest::sample::select(Protocol::ALL.to_vec()),
            client in proptest::sample::select(vec!["10.0.0.1", "10.0.0.2", "::1"]),
        ) -> Asked {
            Asked {
                stream: format!("__defaultVhost__/{stream}").parse().unwrap(),
                action: if publish { Action::Publish } else { Action::Play },
                protocol,
                client: client.parse().unwrap(),
                credentials,
            }
        }
    }

    proptest! {
        #[test]
        fn a_key_covers_all_that_a_verdict_is_made_from(one in asked(), other in asked()) {
            prop_assert_eq!(one.key() == other.key(), one == other);
        }

        /// Few random questions differ in one part only, so each part is changed by itself.
        #[test]
        fn each_part_counts(one in asked(), other in asked(), part in 0..15usize) {
            let mut changed = one.clone();
            let (to, from) = (&mut changed.credentials, other.credentials);
            match part {
                0 => changed.stream = other.stream,
                1 => changed.action = other.action,
                2 => changed.protocol = other.protocol,
                3 => changed.client = other.client,
                4 => to.query = from.query,
                5 => to.url = from.url,
                6 => to.bearer = from.bearer,
                7 => to.basic = from.basic,
                8 => to.cookie = from.cookie,
                9 => to.srt = from.srt,
                10 => to.tls = from.tls,
                11 => to.answer = from.answer,
                12 => to.page = from.page,
                13 => to.agent = from.agent,
                _ => {}
            }
            prop_assert_eq!(one.key() == changed.key(), one == changed);
        }
    }

    #[test]
    fn the_uri_is_the_path_that_the_client_wrote() {
        let stream: StreamUrl = "h.example/live/a".parse().unwrap();
        let rows = [
            ("no URL", None, "/live/a"),
            ("a target", Some("/live/a.flv?t=1"), "/live/a.flv"),
            (
                "a whole URL",
                Some("rtmp://h.example:1935/live/a?t=1"),
                "/live/a",
            ),
            ("no path", Some("rtsp://h.example"), "/"),
            ("no slash", Some("live/a?t=1"), "/live/a"),
        ];
        for (cause, url, expected) in rows {
            let credentials = Credentials {
                url: url.map(Into::into),
                ..Credentials::default()
            };
            let question = Question {
                stream: &stream,
                action: Action::Play,
                protocol: Protocol::Rtmp,
                client: "10.0.0.1".parse().unwrap(),
                credentials: &credentials,
            };
            assert_eq!(question.uri(), expected, "{cause}");
        }
    }
}
