//! Where a document is.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;
use sluicegate_core::fleet::origin::{Host, Security, Target};

/// Where a document is: `http://HOST[:PORT]/PATH[?QUERY]`, or the same with `https`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    target: Target,
    path: String,
}

impl Url {
    /// The document at `path` of a server.
    pub fn of(target: &Target, path: &str) -> Self {
        Self {
            target: target.clone(),
            path: path.to_owned(),
        }
    }
}

impl Url {
    /// The document at `path` of the same server, beneath this one.
    #[must_use]
    pub fn join(&self, path: &str) -> Self {
        Self {
            target: self.target.clone(),
            path: format!("{}{path}", self.path.trim_end_matches('/')),
        }
    }
}

impl Url {
    /// The server that has the document.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// The document's path and query.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl FromStr for Url {
    type Err = NotAUrl;

    fn from_str(text: &str) -> Result<Self, NotAUrl> {
        let uri: Uri = text.parse().map_err(|_| NotAUrl)?;
        let authority = uri.authority().ok_or(NotAUrl)?;
        if authority.as_str().contains('@') {
            return Err(NotAUrl);
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            target: server_of(&uri, None).ok_or(NotAUrl)?,
            path: path.to_owned(),
        })
    }
}

impl fmt::Display for Url {
    /// Without its query, which may hold a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{}://{}{path}", scheme(&self.target), self.target)
    }
}

/// The server that a URL names, where its scheme is `http` or `https`. `port` is for one that names none; otherwise that of
/// the scheme counts.
pub(crate) fn server_of(uri: &Uri, port: Option<u16>) -> Option<Target> {
    let authority = uri.authority()?;
    let (security, usual) = match uri.scheme_str()? {
        "http" => (Security::Plain, 80),
        "https" => (Security::Tls(None), 443),
        _ => return None,
    };
    let host: Host = authority.host().parse().ok()?;
    Some(Target {
        host,
        port: authority.port_u16().or(port).unwrap_or(usual),
        security,
    })
}

/// The scheme of a URL on a server.
pub(crate) const fn scheme(server: &Target) -> &'static str {
    match server.security {
        Security::Plain => "http",
        Security::Tls(_) | Security::Unverified => "https",
    }
}

/// Text that is no URL of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write it as http://HOST:PORT/PATH or https://HOST:PORT/PATH")]
pub struct NotAUrl;
