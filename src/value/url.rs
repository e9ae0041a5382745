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
        if text.contains(char::is_whitespace) {
            return Err(NotAUrl::Space);
        }
        let (_, named) = text.split_once("://").ok_or(NotAUrl::Form)?;
        let authority = named.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(NotAUrl::Login);
        }
        let uri: Uri = text.parse().map_err(|_| NotAUrl::Form)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            target: server_of(&uri, None).ok_or(NotAUrl::Form)?,
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
    let named = authority.as_str().rsplit_once(':');
    let named = named.map_or("", |(_, named)| named);
    let port = match authority.port_u16() {
        Some(0) => return None,
        Some(named) => named,
        // Of an IPv6 address without a port, this is its end.
        None if named.is_empty() || named.ends_with(']') => port.unwrap_or(usual),
        None => return None,
    };
    Some(Target {
        host,
        port,
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

/// Why a text is no URL of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAUrl {
    /// It has no scheme, host or path as it should be, or a port that there is not.
    #[error(
        "write it as http://HOST:PORT/PATH or https://HOST:PORT/PATH, with a port from 1 to 65535 or none, and a host in other \
         letters as xn--…"
    )]
    Form,
    /// It has a user before its host.
    #[error(
        "a user and a password before the host are not sent: leave them out, and let the query hold what proves who asks"
    )]
    Login,
    /// It has white space, as between two URLs.
    #[error("there is a space in it: write one URL, where a space in a path is %20")]
    Space,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_can_be_asked() {
        for (cause, text, expected) in [
            (
                "plain",
                "http://10.0.0.9:8085/x",
                Ok("http://10.0.0.9:8085/x"),
            ),
            (
                "no path",
                "http://hook.example",
                Ok("http://hook.example:80/"),
            ),
            (
                "TLS",
                "https://hook.example/x",
                Ok("https://hook.example:443/x"),
            ),
            (
                "an empty port",
                "http://hook.example:/x",
                Ok("http://hook.example:80/x"),
            ),
            (
                "a scheme in capitals",
                "HTTP://hook.example/x",
                Ok("http://hook.example:80/x"),
            ),
            ("IPv6", "http://[::1]/x", Ok("http://[::1]:80/x")),
            (
                "IPv6 with a port",
                "http://[::1]:8/x",
                Ok("http://[::1]:8/x"),
            ),
            (
                "an underscore",
                "http://my_hook:8085/x",
                Ok("http://my_hook:8085/x"),
            ),
            ("a query", "http://h/x?token=s@:/", Ok("http://h:80/x")),
            ("a fragment", "http://h/x#y", Ok("http://h:80/x")),
            ("an @ in the path", "http://h/@x", Ok("http://h:80/@x")),
            ("no scheme", "hook.example/x", Err(NotAUrl::Form)),
            ("another scheme", "ftp://hook.example/x", Err(NotAUrl::Form)),
            ("no host", "http:///x", Err(NotAUrl::Form)),
            ("a port too large", "http://h:99999/x", Err(NotAUrl::Form)),
            ("port 0", "http://h:0/x", Err(NotAUrl::Form)),
            ("a word for a port", "http://h:http/x", Err(NotAUrl::Form)),
            (
                "an umlaut in the path",
                "http://h/\u{fc}",
                Ok("http://h:80/\u{fc}"),
            ),
            (
                "an umlaut in the host",
                "http://h\u{f6}st.example/",
                Err(NotAUrl::Form),
            ),
            ("a user", "http://u:p@h/x", Err(NotAUrl::Login)),
            (
                "a user with an @",
                "https://u:p@ss@h/x",
                Err(NotAUrl::Login),
            ),
            ("a space", "http://h/a b", Err(NotAUrl::Space)),
            ("two", "http://a/x http://b/y", Err(NotAUrl::Space)),
            ("nothing", "", Err(NotAUrl::Form)),
        ] {
            let read = text.parse::<Url>().map(|url| url.to_string());
            assert_eq!(read.as_deref().map_err(|error| *error), expected, "{cause}");
        }
    }
}
