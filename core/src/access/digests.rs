//! Passwords that are never sent: what is kept of one is a hash, by which answers to challenges are checked.
//!
//! A line holds the password's part of each kind of answer. Anybody who has the line can answer challenges of this proxy as its
//! user can, so it is kept as secret as a password; it opens nothing elsewhere, because the realm is part of it.

use std::collections::BTreeMap;
use std::fmt;

use base64ct::{Base64, Encoding};
use md5::{Digest, Md5};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::challenge::{ADOBE_PARAMETERS, Answer, AnswerScheme, REALM, SALT, hash};
use super::identity::Identity;
use super::question::{Question, UsedHeader};
use super::signed::hex;
use super::verdict::{Denial, Grant, Verdict, Why};

/// Users, and what is kept of their passwords.
#[derive(Clone, PartialEq, Eq)]
pub struct DigestUsers {
    users: BTreeMap<Box<str>, Kept>,
    /// What RTSP clients are asked to answer with, in this order.
    pub(super) algorithms: Vec<AnswerScheme>,
}

/// What is kept of one password.
#[derive(Clone, PartialEq, Eq, Default)]
struct Kept {
    /// `user:realm:password` (RFC 7616 §3.4.2).
    md5: [u8; 16],
    sha256: [u8; 32],
    /// User, salt and password.
    adobe: [u8; 16],
}

/// Why a line is not a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// It has another form.
    #[error("not NAME:MD5:SHA256:MD5, as `sluicegate key --digest` prints it")]
    Form,
    /// More of them than one list may have.
    #[error("more than {MOST_USERS} users")]
    TooMany,
    /// A second one of the same name.
    #[error("the same user twice")]
    Twice,
}

impl Default for DigestUsers {
    fn default() -> Self {
        Self {
            users: BTreeMap::new(),
            algorithms: vec![AnswerScheme::Md5],
        }
    }
}

impl DigestUsers {
    /// Adds a user by a line: the name, and three hashes in hexadecimal digits.
    ///
    /// # Errors
    /// [`DigestError`]; it never quotes the line.
    pub fn add(&mut self, line: &str) -> Result<(), DigestError> {
        let mut parts = line.trim().rsplitn(4, ':');
        let mut part = || parts.next().ok_or(DigestError::Form);
        let (adobe, sha256, md5, name) = (part()?, part()?, part()?, part()?);
        let kept = Kept {
            md5: bytes(md5)?,
            sha256: bytes(sha256)?,
            adobe: bytes(adobe)?,
        };
        if name.is_empty() {
            return Err(DigestError::Form);
        }
        if self.users.len() >= MOST_USERS {
            return Err(DigestError::TooMany);
        }
        match self.users.insert(name.into(), kept) {
            None => Ok(()),
            Some(_) => Err(DigestError::Twice),
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.users.len()
    }

    /// Whether a client answered a challenge of ours, or shows the password itself.
    pub fn check(&self, question: &Question<'_>) -> Verdict {
        let no = |words: &str| Verdict::No(Denial::new(Why::Unknown, words));
        let granted = |user: &str, parameters: &[&'static str], header: Option<UsedHeader>| {
            Verdict::Yes(Grant {
                who: Identity::viewer(user),
                used: parameters.iter().map(|name| (*name).into()).collect(),
                headers: header.into_iter().collect(),
                ..Grant::default()
            })
        };
        if let Some(answer) = &question.credentials.answer {
            return match (self.fits(answer), answer.scheme) {
                (false, _) => no(WRONG),
                (true, AnswerScheme::Adobe) => granted(&answer.user, &ADOBE_PARAMETERS, None),
                (true, _) => granted(&answer.user, &[], Some(UsedHeader::Authorization)),
            };
        }
        let Some(login) = question.login() else {
            let words = "a user and a password are needed";
            return Verdict::No(Denial::nothing_shown(words));
        };
        // Somebody unknown takes as long.
        let nobody = Kept::default();
        let kept = self.users.get(&*login.user);
        let shown = Sha256::digest([&*login.user, REALM, &*login.password].join(":"));
        let is_it: bool = shown
            .as_slice()
            .ct_eq(&kept.unwrap_or(&nobody).sha256)
            .into();
        if is_it && kept.is_some() {
            granted(&login.user, &login.parameters, login.header)
        } else {
            no(WRONG)
        }
    }

    fn fits(&self, answer: &Answer) -> bool {
        let nobody = Kept::default();
        let known = self.users.get(&answer.user);
        let kept = known.unwrap_or(&nobody);
        let expected = match answer.scheme {
            AnswerScheme::Adobe => {
                let secret = Base64::encode_string(&kept.adobe);
                Base64::encode_string(&Md5::digest([&*secret, &*answer.rest].concat()))
            }
            AnswerScheme::Md5 => hash(AnswerScheme::Md5, &[&hex(&kept.md5), &answer.rest]),
            AnswerScheme::Sha256 => hash(AnswerScheme::Sha256, &[&hex(&kept.sha256), &answer.rest]),
        };
        let is_asked =
            answer.scheme == AnswerScheme::Adobe || self.algorithms.contains(&answer.scheme);
        let is_it: bool = expected.as_bytes().ct_eq(answer.response.as_bytes()).into();
        is_it && is_asked && known.is_some()
    }
}

impl fmt::Debug for DigestUsers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DigestUsers({})", self.users.len())
    }
}

/// The line under which `password` of `name` is kept.
pub fn line(name: &str, password: &str) -> String {
    let secret = [name, REALM, password];
    let adobe = hex(&Md5::digest([name, SALT, password].concat()));
    let (md5, sha256) = (
        hash(AnswerScheme::Md5, &secret),
        hash(AnswerScheme::Sha256, &secret),
    );
    format!("{name}:{md5}:{sha256}:{adobe}")
}

fn bytes<const N: usize>(digits: &str) -> Result<[u8; N], DigestError> {
    if digits.len() != 2 * N || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(DigestError::Form);
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        let pair = digits.get(2 * at..2 * at + 2);
        *byte = pair
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
            .ok_or(DigestError::Form)?;
    }
    Ok(bytes)
}

const WRONG: &str = "the user or the password is wrong";
/// As many as a list of people has.
const MOST_USERS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::super::challenge::Nonces;
    use super::super::credentials::{Basic, Credentials};
    use super::super::query::Query;
    use super::*;
    use crate::stream::{Action, Protocol, StreamUrl};

    fn users() -> DigestUsers {
        let mut users = DigestUsers::default();
        users.algorithms.push(AnswerScheme::Sha256);
        users.add(&line("pub1", "s3cret")).unwrap();
        users
    }

    fn judged(users: &DigestUsers, credentials: &Credentials) -> Result<Grant, String> {
        let stream: StreamUrl = "h.example/live/cam1".parse().unwrap();
        let verdict = users.check(&Question {
            stream: &stream,
            action: Action::Publish,
            protocol: Protocol::Rtsp,
            client: "192.0.2.10".parse().unwrap(),
            credentials,
        });
        match verdict {
            Verdict::Yes(grant) => Ok(grant),
            Verdict::No(denial) => Err(denial.reason),
            Verdict::Later(_) => Err("later".to_owned()),
        }
    }

    /// An answer that a client made from the same password by the words of RFC 2617, with our realm.
    fn answered(scheme: AnswerScheme, password: &str, qop: bool) -> Credentials {
        let uri = "rtsp://media.example:8554/live/cam1";
        let secret = hash(scheme, &["pub1", REALM, password]);
        let request = hash(scheme, &["ANNOUNCE", uri]);
        let (response, more) = if qop {
            (
                hash(
                    scheme,
                    &[&secret, "5f2c9a", "00000001", "0a4f113b", "auth", &request],
                ),
                ", qop=auth, nc=00000001, cnonce=\"0a4f113b\"",
            )
        } else {
            (hash(scheme, &[&secret, "5f2c9a", &request]), "")
        };
        let field = format!(
            "Digest username=\"pub1\", realm=\"{REALM}\", nonce=\"5f2c9a\", uri=\"{uri}\", \
             algorithm={}, response=\"{response}\"{more}",
            scheme.as_str()
        );
        Credentials {
            answer: Answer::of_digest(&field, "5f2c9a", "ANNOUNCE", uri).map(Box::new),
            ..Credentials::default()
        }
    }

    #[test]
    fn the_worked_example_of_rtsp_digest_holds() {
        // A realm of somebody else's, with the hashes that its client sends.
        let ha1 = hash(AnswerScheme::Md5, &["pub1", "media", "s3cret"]);
        assert_eq!(ha1, "0e9714da81681d6e82d325a539830feb");
        let rows = [
            (
                "the address that the client typed",
                "rtsp://media.example:8554/live/cam1",
                "8031fe646e1ced6682a9a62479a715a9",
            ),
            (
                "another address of the same stream",
                "rtsp://10.0.0.5:8554/live/cam1",
                "e35b9855d47e3100a9402d3afe166efd",
            ),
        ];
        for (cause, uri, expected) in rows {
            let request = hash(AnswerScheme::Md5, &["ANNOUNCE", uri]);
            let response = hash(AnswerScheme::Md5, &[&ha1, "5f2c9a", &request]);
            assert_eq!(response, expected, "{cause}");
        }
        let ha1 = hash(AnswerScheme::Sha256, &["pub1", "media", "s3cret"]);
        let request = hash(
            AnswerScheme::Sha256,
            &["DESCRIBE", "rtsp://media.example:8554/live/cam1"],
        );
        let parts = [&*ha1, "5f2c9a", "00000001", "0a4f113b", "auth", &request];
        assert_eq!(
            hash(AnswerScheme::Sha256, &parts),
            "a2d7e98532468f4d0c8db93a86f1460a391b504d3d72f4a49e70d18e7c502bfe"
        );
    }

    #[test]
    fn the_worked_example_of_adobe_holds() {
        let secret = Base64::encode_string(&Md5::digest("pub1c2FsdDE=s3cret"));
        assert_eq!(secret, "VmE4fz/ETLWuP4useLZaNg==");
        let response = |nonce: &str| {
            Base64::encode_string(&Md5::digest([&*secret, nonce, "abcd1234"].concat()))
        };
        assert_eq!(response("Y2hhbDE="), "YnxzLrJWpjsc3SHwsBdbtw==");
        assert_eq!(response("b3BhcTE="), "FP+M4yG6kvCXBmDypNi5IA==");
    }

    #[test]
    fn an_answer_fits_the_password_it_was_made_from() {
        let users = users();
        for scheme in [AnswerScheme::Md5, AnswerScheme::Sha256] {
            for qop in [false, true] {
                let granted = judged(&users, &answered(scheme, "s3cret", qop)).unwrap();
                assert_eq!(granted.who.viewer.as_deref(), Some("pub1"));
                assert_eq!(*granted.headers, [UsedHeader::Authorization]);
                let refused = judged(&users, &answered(scheme, "s3creT", qop));
                assert_eq!(refused, Err(WRONG.to_owned()));
            }
        }
        let only_md5 = DigestUsers {
            algorithms: vec![AnswerScheme::Md5],
            ..users
        };
        let weaker = judged(&only_md5, &answered(AnswerScheme::Sha256, "s3cret", true));
        assert_eq!(weaker, Err(WRONG.to_owned()), "what was not asked for");
    }

    #[test]
    fn an_encoder_answers_over_rtmp() {
        let (users, nonces) = (
            users(),
            Nonces {
                secret: &[1; 32],
                client: "192.0.2.10",
                now: 1_800_000_000,
            },
        );
        let nonce = nonces.make([7; 8], "pub1");
        let answered = |password: &str| {
            let secret = Base64::encode_string(&Md5::digest(["pub1", SALT, password].concat()));
            let response =
                Base64::encode_string(&Md5::digest([&*secret, &*nonce, "abcd1234"].concat()));
            let query = format!(
                "authmod=adobe&user=pub1&challenge=abcd1234&response={response}&opaque={nonce}"
            );
            Credentials {
                answer: Answer::of_adobe(Query(&query), &nonces).map(Box::new),
                query: Some(query.into()),
                ..Credentials::default()
            }
        };
        let granted = judged(&users, &answered("s3cret")).unwrap();
        assert!(granted.used.iter().any(|name| **name == *"response"));
        assert_eq!(judged(&users, &answered("other")), Err(WRONG.to_owned()));
    }

    #[test]
    fn a_password_that_is_sent_counts_too() {
        let users = users();
        let basic = |user: &str, password: &str| Credentials {
            basic: Some(Basic {
                user: user.into(),
                password: password.into(),
            }),
            ..Credentials::default()
        };
        assert!(judged(&users, &basic("pub1", "s3cret")).is_ok());
        for (user, password) in [("pub1", "other"), ("pub2", "s3cret"), ("pub2", "")] {
            assert_eq!(
                judged(&users, &basic(user, password)),
                Err(WRONG.to_owned())
            );
        }
        assert!(judged(&users, &Credentials::default()).is_err());
        assert_eq!(format!("{users:?}"), "DigestUsers(1)");
    }

    #[test]
    fn what_is_no_line_of_a_user_is_refused() {
        let good = line("pub1", "s3cret");
        assert!(!good.contains("s3cret"), "{good}");
        let rows = [
            ("a password in the clear", "pub1:s3cret".to_owned()),
            ("no name", good.replace("pub1", "")),
            (
                "a hash that is too short",
                good[..good.len() - 1].to_owned(),
            ),
            ("other than digits", good.replace(&good[6..8], "zz")),
            ("nothing", String::new()),
        ];
        for (cause, line) in rows {
            let added = DigestUsers::default().add(&line);
            assert_eq!(added, Err(DigestError::Form), "{cause}");
        }
        let mut twice = users();
        assert_eq!(twice.add(&good), Err(DigestError::Twice));
    }
}
