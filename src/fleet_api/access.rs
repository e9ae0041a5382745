//! Who may ask for what all origins say.

use std::net::IpAddr;

use hyper::header::AUTHORIZATION;
use hyper::{HeaderMap, StatusCode};

use crate::config::Credential;
use crate::value::Network;

/// Credentials, networks, or both; with neither the API is off.
#[derive(Debug, Default)]
pub struct Access {
    /// What callers must show.
    pub credential: Option<Credential>,
    /// Where callers must be; none means anywhere, given credentials.
    pub allow_from: Vec<Network>,
}

/// Why a caller hears nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("your address is not in a network that may use this API (api.allow_from)")]
    Elsewhere,
    #[error("this API asks for credentials")]
    Unproven { basic: bool },
}

impl Access {
    pub(super) const fn is_on(&self) -> bool {
        self.credential.is_some() || !self.allow_from.is_empty()
    }

    pub(super) const fn wants_credentials(&self) -> bool {
        self.credential.is_some()
    }

    /// Where both are set, both count.
    pub(super) fn check(&self, peer: IpAddr, headers: &HeaderMap) -> Result<(), Refused> {
        let near = self.allow_from.iter().any(|network| network.contains(peer));
        if !near && !self.allow_from.is_empty() {
            return Err(Refused::Elsewhere);
        }
        let Some(credential) = &self.credential else {
            return if near {
                Ok(())
            } else {
                Err(Refused::Elsewhere)
            };
        };
        let shown = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        if shown.is_some_and(|shown| credential.is_in(shown)) {
            return Ok(());
        }
        let basic = credential.reveal().starts_with("Basic ");
        Err(Refused::Unproven { basic })
    }
}

impl Refused {
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::Elsewhere => StatusCode::FORBIDDEN,
            Self::Unproven { .. } => StatusCode::UNAUTHORIZED,
        }
    }

    /// RFC 9110 §11.6.1.
    pub(super) const fn challenge(self) -> Option<&'static str> {
        match self {
            Self::Elsewhere => None,
            Self::Unproven { basic: true } => Some("Basic realm=\"sluicegate\""),
            Self::Unproven { basic: false } => Some("Bearer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_both_are_set_both_count() {
        let near = || vec!["10.0.0.0/8".parse().unwrap()];
        let token = || Some(Credential::bearer("t"));
        let unproven = Err(Refused::Unproven { basic: false });
        let elsewhere = Err(Refused::Elsewhere);
        for (cause, credential, allow_from, peer, shown, expected) in [
            ("nothing is set", None, vec![], "127.0.0.1", "", elsewhere),
            ("a network alone", None, near(), "10.1.1.1", "", Ok(())),
            ("from elsewhere", None, near(), "11.1.1.1", "", elsewhere),
            (
                "a token alone",
                token(),
                vec![],
                "11.1.1.1",
                "Bearer t",
                Ok(()),
            ),
            ("no token", token(), vec![], "127.0.0.1", "", unproven),
            (
                "a wrong one",
                token(),
                vec![],
                "127.0.0.1",
                "Bearer x",
                unproven,
            ),
            ("both", token(), near(), "10.1.1.1", "bearer t", Ok(())),
            ("near without", token(), near(), "10.1.1.1", "", unproven),
            (
                "elsewhere with",
                token(),
                near(),
                "11.1.1.1",
                "Bearer t",
                elsewhere,
            ),
        ] {
            let access = Access {
                credential,
                allow_from,
            };
            let mut headers = HeaderMap::new();
            if !shown.is_empty() {
                headers.insert(AUTHORIZATION, shown.parse().unwrap());
            }
            assert_eq!(
                access.check(peer.parse().unwrap(), &headers),
                expected,
                "{cause}"
            );
        }
    }
}
