//! Logins in which a client shows that it knows a password and does not send it: Digest of RTSP (RFC 2617 §3.2.2,
//! RFC 7616) and `authmod=adobe` of RTMP.
//!
//! Both ends hash the password with a text that the server made up. Here the client's answer is read, and whether the text
//! is ours is checked; whether the password fits is for [`digests`](super::digests) to say.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::{Hmac, Mac};
use md5::{Digest, Md5};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::query::Query;
use super::signed::hex;
use crate::rtsp::rewrite::path;

/// A client's answer to a challenge of ours.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// How it was made.
    pub scheme: AnswerScheme,
    /// Who the client says that it is.
    pub user: Box<str>,
    /// What was hashed after the part that the password makes.
    pub rest: Box<str>,
    /// The hash, as the client wrote it.
    pub response: Box<str>,
}

/// How an answer is made from a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerScheme {
    /// `authmod=adobe` of RTMP.
    Adobe,
    /// Digest with MD5, which every client speaks.
    Md5,
    /// Digest with SHA-256.
    Sha256,
}

impl AnswerScheme {
    /// Its name: for Digest the one of its algorithm (RFC 7616 §3.3).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Adobe => "adobe",
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }
}

impl Answer {
    /// What an `Authorization` field of the scheme Digest answers to `nonce`, for a request of `method` and `uri`; `None`
    /// if it is of another scheme, answers somebody else, or is for another path.
    pub fn of_digest(field: &str, nonce: &str, method: &str, uri: &str) -> Option<Self> {
        let parameters = Parameters::of_digest(field)?;
        let of = |name| parameters.value(name);
        if of("nonce") != Some(nonce) || of("realm") != Some(REALM) {
            return None;
        }
        let signed = of("uri").filter(|signed| path(signed) == path(uri))?;
        let scheme = match of("algorithm") {
            None => AnswerScheme::Md5,
            Some(name) => [AnswerScheme::Md5, AnswerScheme::Sha256]
                .into_iter()
                .find(|scheme| scheme.as_str().eq_ignore_ascii_case(name))?,
        };
        let request = hash(scheme, &[method, signed]);
        let rest = match of("qop") {
            None => format!("{nonce}:{request}"),
            Some("auth") => {
                let (count, own) = (of("nc")?, of("cnonce")?);
                format!("{nonce}:{count}:{own}:auth:{request}")
            }
            Some(_) => return None,
        };
        Some(Self {
            scheme,
            user: of("username")?.into(),
            rest: rest.into(),
            response: of("response")?.into(),
        })
    }

    /// What the query of a `connect` answers to one of `nonces`, if it does.
    pub fn of_adobe(query: Query<'_>, nonces: &Nonces<'_>) -> Option<Self> {
        let user = adobe_user(query)?;
        let value = |name| {
            query
                .value(name)
                .filter(|value| value.len() <= LONGEST_NAME)
        };
        let (own, response) = (value("challenge")?, value("response")?);
        let nonce = value("opaque").filter(|nonce| nonces.made(nonce, &user))?;
        Some(Self {
            scheme: AnswerScheme::Adobe,
            user,
            rest: [&*nonce, &*own].concat().into(),
            response: response.as_ref().into(),
        })
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer(***)")
    }
}

/// The user that logs in by the query of an RTMP `connect`, with `authmod=adobe`.
pub fn adobe_user(query: Query<'_>) -> Option<Box<str>> {
    if query.value("authmod").as_deref() != Some("adobe") {
        return None;
    }
    let user = query.value("user")?;
    let is_sane = !user.is_empty() && user.len() <= LONGEST_NAME;
    (is_sane && !user.contains(|c: char| c.is_control() || "&=?".contains(c)))
        .then(|| user.as_ref().into())
}

/// What an encoder is told that has to log in and has not said as whom.
pub const WHO: &str = "[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : ";

/// What an encoder is told that said it is `user`: what to hash.
pub fn adobe_challenge(user: &str, nonce: &str) -> String {
    format!(
        "[ AccessManager.Reject ] : [ authmod=adobe ] : \
         ?reason=needauth&user={user}&salt={SALT}&challenge={nonce}&opaque={nonce}"
    )
}

/// The key under which proxies that share `key` make such texts.
pub fn nonce_secret(key: &[u8]) -> [u8; 32] {
    let mut hash =
        <Hmac<Sha256> as Mac>::new_from_slice(key).expect("HMAC takes keys of any length");
    hash.update(b"sluicegate nonces 1");
    hash.finalize().into_bytes().into()
}

/// Makes texts for one client to hash, and knows them again.
#[derive(Clone, Copy)]
pub struct Nonces<'a> {
    /// A key of this proxy, or of its cluster.
    pub secret: &'a [u8; 32],
    /// Whom they are for, such as an address.
    pub client: &'a str,
    /// Seconds since 1970.
    pub now: u64,
}

impl Nonces<'_> {
    /// A new one for `user`; `random` tells it from all others.
    pub fn make(&self, random: [u8; 8], user: &str) -> String {
        let front = [self.now.to_be_bytes(), random].concat();
        let seal = self.seal(&front, user);
        Base64UrlUnpadded::encode_string(&[front, seal.to_vec()].concat())
    }

    /// Whether `nonce` was made for this client and `user`, less than a minute ago.
    pub fn made(&self, nonce: &str, user: &str) -> bool {
        let mut bytes = [0; 32];
        let Ok(bytes) = Base64UrlUnpadded::decode(nonce, &mut bytes) else {
            return false;
        };
        let Some((front, seal)) = bytes.split_at_checked(16) else {
            return false;
        };
        let Some(Ok(time)) = front.get(..8).map(<[u8; 8]>::try_from) else {
            return false;
        };
        let age = self.now.saturating_sub(u64::from_be_bytes(time));
        let is_ours: bool = self.seal(front, user).as_slice().ct_eq(seal).into();
        is_ours && age <= LIFETIME
    }

    fn seal(&self, front: &[u8], user: &str) -> [u8; 16] {
        let mut hash = <Hmac<Sha256> as Mac>::new_from_slice(self.secret)
            .expect("HMAC takes keys of any length");
        for part in [front, self.client.as_bytes(), user.as_bytes()] {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut seal = [0; 16];
        let hash = hash.finalize().into_bytes();
        seal.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        seal
    }
}

impl fmt::Debug for Nonces<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonces(***)")
    }
}

/// The hash of texts with colons between them, in hexadecimal digits.
pub(super) fn hash(scheme: AnswerScheme, parts: &[&str]) -> String {
    let text = parts.join(":");
    match scheme {
        AnswerScheme::Sha256 => hex(&Sha256::digest(text)),
        AnswerScheme::Adobe | AnswerScheme::Md5 => hex(&Md5::digest(text)),
    }
}

/// The parameters of a challenge's answer: `name="value", name=value` (RFC 7235 §2.1).
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Those of a field of the scheme Digest.
    pub(crate) fn of_digest(field: &str) -> Option<Self> {
        let (scheme, parameters) = field.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("digest") || field.len() > LONGEST_FIELD {
            return None;
        }
        Self::read(parameters)
    }

    /// `None` where one stands twice, or is not to be read: who hashed something else did not mean this.
    fn read(text: &str) -> Option<Self> {
        let mut read = Vec::new();
        let mut rest = text.trim_matches([' ', '\t', ',']);
        while !rest.is_empty() {
            let (name, value) = rest.split_once('=')?;
            let name = name.trim().to_ascii_lowercase();
            let (value, after) = one_value(value.trim_start())?;
            if read.len() >= MOST_PARAMETERS || read.iter().any(|(known, _)| *known == name) {
                return None;
            }
            read.push((name, value));
            rest = after.trim_start_matches([' ', '\t', ',']);
        }
        Some(Self(read))
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let mut all = self.0.iter();
        let (_, value) = all.find(|(known, _)| known == name)?;
        Some(value)
    }
}

/// A token or a quoted text at the start of `text`, and what follows it.
fn one_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(',').unwrap_or(text.len());
        let (value, after) = text.split_at_checked(end)?;
        return Some((value.trim().to_owned(), after));
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => value.push(letters.next()?.1),
            letter => value.push(letter),
        }
    }
    None
}

/// The realm of every challenge: what is stored of a password holds for it.
pub const REALM: &str = "sluicegate";
/// What RTMP encoders hash with the password. It is the same for all, so that no password need be kept; the text that
/// makes an answer good once only is another.
pub(super) const SALT: &str = "sluicegate";
/// The query parameters in which an RTMP encoder answers.
pub(super) const ADOBE_PARAMETERS: [&str; 5] =
    ["authmod", "user", "challenge", "response", "opaque"];
/// Seconds that an encoder has to connect again with its answer.
const LIFETIME: u64 = 60;
/// Bytes of a user's name, and of each part of an answer.
const LONGEST_NAME: usize = 256;
/// Bytes of an `Authorization` field.
const LONGEST_FIELD: usize = 8 * 1024;
/// Parameters of an answer: RFC 7616 has 12.
const MOST_PARAMETERS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const URI: &str = "rtsp://media.example:8554/live/cam1";

    fn field(more: &str) -> String {
        format!(
            "Digest username=\"pub1\", realm=\"sluicegate\", nonce=\"5f2c9a\", uri=\"{URI}\", response=\"ab\"{more}"
        )
    }

    #[test]
    fn an_answer_is_read_for_its_own_request_only() {
        let read = |field: &str| Answer::of_digest(field, "5f2c9a", "ANNOUNCE", URI);
        let answer = read(&field("")).unwrap();
        assert_eq!((&*answer.user, &*answer.response), ("pub1", "ab"));
        assert_eq!(answer.scheme, AnswerScheme::Md5);
        let answer = read(&field(", algorithm=SHA-256")).unwrap();
        assert_eq!(answer.scheme, AnswerScheme::Sha256);
        let answer = read(&field(", qop=auth, nc=00000001, cnonce=\"0a4f\"")).unwrap();
        assert!(answer.rest.starts_with("5f2c9a:00000001:0a4f:auth:"));
        let nothing = [
            ("another scheme", "Basic cHViMTpw".to_owned()),
            ("another nonce", field("").replace("5f2c9a", "5f2c9b")),
            ("another realm", field("").replace("sluicegate", "media")),
            ("another path", field("").replace("cam1", "cam2")),
            ("another algorithm", field(", algorithm=MD5-sess")),
            ("another protection", field(", qop=auth-int")),
            ("a part of one missing", field(", qop=auth")),
            ("a parameter twice", field(", response=\"cd\"")),
            ("a quote without its end", field(", opaque=\"x")),
            ("no parameters", "Digest".to_owned()),
        ];
        for (cause, field) in nothing {
            assert_eq!(read(&field), None, "{cause}");
        }
    }

    #[test]
    fn values_may_be_quoted() {
        let read = |text: &str| {
            let parameters = Parameters::read(text)?;
            parameters.value("a").map(str::to_owned)
        };
        let rows = [
            ("a token", "a=1, b=2", Some("1")),
            ("a quoted one", "b=\"x, a=2\", A=\"1\"", Some("1")),
            ("an escape", "a=\"1\\\"2\\\\\"", Some("1\"2\\")),
            ("no value", "a", None),
            ("an empty one", "a=,b=1", Some("")),
        ];
        for (cause, text, expected) in rows {
            assert_eq!(read(text).as_deref(), expected, "{cause}");
        }
    }

    #[test]
    fn a_nonce_is_for_one_client_and_a_minute() {
        let nonces = Nonces {
            secret: &[1; 32],
            client: "192.0.2.1",
            now: 1_800_000_000,
        };
        let nonce = nonces.make([7; 8], "pub1");
        assert!(nonces.made(&nonce, "pub1"));
        let rows = [
            ("another user", nonces, "pub2", nonce.clone()),
            (
                "another client",
                Nonces {
                    client: "192.0.2.2",
                    ..nonces
                },
                "pub1",
                nonce.clone(),
            ),
            (
                "later",
                Nonces {
                    now: nonces.now + 61,
                    ..nonces
                },
                "pub1",
                nonce.clone(),
            ),
            (
                "another proxy",
                Nonces {
                    secret: &[2; 32],
                    ..nonces
                },
                "pub1",
                nonce,
            ),
            ("no nonce", nonces, "pub1", "abcd".to_owned()),
            ("nothing", nonces, "pub1", String::new()),
        ];
        for (cause, nonces, user, nonce) in rows {
            assert!(!nonces.made(&nonce, user), "{cause}");
        }
        assert_eq!(format!("{nonces:?}"), "Nonces(***)");
    }

    #[test]
    fn an_encoder_says_as_whom_it_logs_in() {
        let rows = [
            ("a user", "authmod=adobe&user=pub1", Some("pub1")),
            ("another way", "authmod=llnw&user=pub1", None),
            ("none", "authmod=adobe", None),
            ("an empty one", "authmod=adobe&user=", None),
            (
                "one that would write parameters",
                "authmod=adobe&user=a%26b",
                None,
            ),
        ];
        for (cause, query, expected) in rows {
            assert_eq!(adobe_user(Query(query)).as_deref(), expected, "{cause}");
        }
    }

    proptest! {
        #[test]
        fn no_field_is_too_strange(field in "\\PC{0,80}", tail in "[a-z\",=\\\\ ]{0,60}") {
            let _ = Answer::of_digest(&field, "n", "PLAY", URI);
            let _ = Answer::of_digest(&format!("Digest {tail}"), "n", "PLAY", URI);
        }
    }
}
