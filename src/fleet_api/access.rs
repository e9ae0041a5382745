//! Who may ask for what all origins say.

use hyper::header::AUTHORIZATION;
use hyper::{HeaderMap, StatusCode};
use sluicegate_core::http::caller::{Caller, OwnNames, Terms, Unwelcome};

use crate::config::Credential;
use crate::value::Network;

/// Credentials, networks, or both; with neither the API is off.
#[derive(Debug, Default)]
pub struct Access {
    /// What callers must show.
    pub credential: Option<Credential>,
    /// Where callers must be; none means anywhere, given credentials.
    pub allow_from: Vec<Network>,
    /// How callers on this machine may call it.
    pub names: OwnNames,
}

/// Why a caller hears nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("your address is not in a network that may use this API (api.allow_from)")]
    Elsewhere,
    #[error("this API asks for credentials")]
    Unproven { basic: bool },
    #[error("{0}")]
    Unwelcome(Unwelcome),
}

impl Access {
    pub(super) const fn is_on(&self) -> bool {
        self.credential.is_some() || !self.allow_from.is_empty()
    }

    pub(super) const fn wants_credentials(&self) -> bool {
        self.credential.is_some()
    }

    /// Where both are set, both count. A page of another site may ask with credentials alone.
    pub(super) fn check(
        &self,
        caller: &Caller,
        headers: &HeaderMap,
        starts_work: bool,
    ) -> Result<(), Refused> {
        let is_proven = self.is_proven(headers);
        let terms = Terms {
            is_proven,
            goes_by_address: self.credential.is_none(),
            starts_work,
            opens_to_pages: true,
        };
        caller.check(terms).map_err(Refused::Unwelcome)?;
        let near = caller.is_in(|ip| self.allow_from.iter().any(|network| network.contains(ip)));
        if !near && !self.allow_from.is_empty() {
            return Err(Refused::Elsewhere);
        }
        match &self.credential {
            Some(_) if is_proven => Ok(()),
            Some(credential) => Err(Refused::Unproven {
                basic: credential.reveal().starts_with("Basic "),
            }),
            None if near => Ok(()),
            None => Err(Refused::Elsewhere),
        }
    }

    fn is_proven(&self, headers: &HeaderMap) -> bool {
        let shown = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        self.credential
            .as_ref()
            .zip(shown)
            .is_some_and(|(credential, shown)| credential.is_in(shown))
    }
}

impl Refused {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Elsewhere => StatusCode::FORBIDDEN,
            Self::Unproven { .. } => StatusCode::UNAUTHORIZED,
            Self::Unwelcome(unwelcome) => {
                StatusCode::from_u16(unwelcome.status()).unwrap_or(StatusCode::FORBIDDEN)
            }
        }
    }

    /// RFC 9110 §11.6.1.
    pub(super) const fn challenge(self) -> Option<&'static str> {
        match self {
            Self::Elsewhere | Self::Unwelcome(_) => None,
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
                names: OwnNames::default(),
            };
            let mut headers = HeaderMap::new();
            if !shown.is_empty() {
                headers.insert(AUTHORIZATION, shown.parse().unwrap());
            }
            let caller = Caller::of(peer.parse().unwrap(), None, [], &access.names);
            assert_eq!(access.check(&caller, &headers, false), expected, "{cause}");
        }
    }
}
