//! Credentials in an `Authorization` header: those that origins require for their APIs, and those that the API over all
//! origins requires of its callers.

use hyper::header::{HeaderValue, InvalidHeaderValue};

use crate::value::{Secret, ValueError};

/// The whole value of an `Authorization` header (RFC 9110 §11.6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential(Secret);

/// Credentials by origin, in the order they were written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials(Vec<(String, Credential)>);

impl Credential {
    /// A user name and a password (RFC 7617 §2).
    pub fn basic(user: &str, password: &str) -> Self {
        let pair = format!("{user}:{password}");
        Self(Secret::new(format!("Basic {}", base64(pair.as_bytes()))))
    }

    /// A token (RFC 6750 §2.1).
    pub fn bearer(token: &str) -> Self {
        Self(Secret::new(format!("Bearer {token}")))
    }

    /// A token that is sent like a user and a password, as OvenMediaEngine wants its access token.
    pub fn token(token: &str) -> Self {
        Self(Secret::new(format!("Basic {}", base64(token.as_bytes()))))
    }

    /// The header, for those that send it; no log shows its value.
    ///
    /// # Errors
    /// [`InvalidHeaderValue`] for a token with other than printable ASCII characters.
    pub fn header(&self) -> Result<HeaderValue, InvalidHeaderValue> {
        let mut value = HeaderValue::try_from(self.reveal())?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// The value of the header as text.
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }

    /// Whether a header has this value. The scheme is case-insensitive (RFC 9110 §11.1).
    pub fn is_in(&self, header: &str) -> bool {
        let (Some((scheme, shown)), Some((own, secret))) =
            (header.split_once(' '), self.reveal().split_once(' '))
        else {
            return false;
        };
        scheme.eq_ignore_ascii_case(own) && Secret::new(secret).matches(shown.trim().as_bytes())
    }
}

impl Credentials {
    /// Reads `ORIGIN=basic:USER:PASSWORD`, `ORIGIN=bearer:TOKEN` and `ORIGIN=token:TOKEN`.
    pub(super) fn parse(items: &[&str]) -> Result<Self, ValueError> {
        let read = |item: &&str| {
            let (origin, rest) = item.split_once('=')?;
            let (kind, secret) = rest.split_once(':')?;
            let credential = match kind {
                "basic" => secret
                    .split_once(':')
                    .map(|(user, password)| Credential::basic(user, password)),
                "bearer" if secret.bytes().all(|byte| byte.is_ascii_graphic()) => {
                    Some(Credential::bearer(secret)).filter(|_| !secret.is_empty())
                }
                "token" => Some(Credential::token(secret)).filter(|_| !secret.is_empty()),
                _ => None,
            };
            Some((origin.to_owned(), credential?))
        };
        items
            .iter()
            .map(|item| read(item).ok_or(ValueError::NotCredentials))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The credentials for an origin that has any of these `names`.
    pub fn of<'a>(&self, names: impl IntoIterator<Item = &'a str> + Clone) -> Option<&Credential> {
        let fits =
            |listed: &str| listed == "*" || names.clone().into_iter().any(|name| name == listed);
        let found = self.0.iter().find(|(listed, _)| fits(listed));
        found.map(|(_, credential)| credential)
    }
}

/// Base64 (RFC 4648 §4).
fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .chain(&[0; 2])
            .take(3)
            .fold(0, |group: u32, byte| group << 8 | u32::from(*byte));
        for place in 0..4 {
            let digit = (group >> (18 - 6 * place)) & 0x3F;
            let letter = DIGITS.get(digit as usize).copied().unwrap_or_default();
            text.push(if place <= chunk.len() {
                char::from(letter)
            } else {
                '='
            });
        }
    }
    text
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_the_rfc_has_it() {
        // RFC 4648 §10, and the example of RFC 7617 §2.
        for (text, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
            ("Aladdin:open sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        ] {
            assert_eq!(base64(text.as_bytes()), expected);
        }
    }

    #[test]
    fn credentials_are_found_by_any_name_of_an_origin() {
        let items = [
            "vid-1=basic:me:pass:word",
            "edge=bearer:tok=en",
            "ome=token:ome-access-token",
            "*=bearer:all",
        ];
        let credentials = Credentials::parse(&items).unwrap();
        let of = |names: &[&'static str]| credentials.of(names.iter().copied()).cloned();
        assert_eq!(of(&["vid-1"]), Some(Credential::basic("me", "pass:word")));
        assert_eq!(of(&["vid-2", "edge"]), Some(Credential::bearer("tok=en")));
        assert_eq!(of(&["vid-3"]), Some(Credential::bearer("all")));
        let ome = of(&["ome"]).unwrap();
        assert_eq!(ome.reveal(), "Basic b21lLWFjY2Vzcy10b2tlbg==");
        assert_eq!(format!("{credentials:?}").matches("***").count(), 4);
        for wrong in [
            "vid-1",
            "a=token",
            "a=digest:x",
            "a=basic:user",
            "a=bearer:",
            "a=bearer:a b",
            "a=token:",
        ] {
            assert!(Credentials::parse(&[wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_header_carries_it_or_not() {
        let basic = Credential::basic("a", "b");
        for (header, expected) in [
            ("Basic YTpi", true),
            ("basic  YTpi", true),
            ("Basic YTpj", false),
            ("Bearer YTpi", false),
            ("Basic", false),
            ("", false),
        ] {
            assert_eq!(basic.is_in(header), expected, "{header}");
        }
    }
}
