//! The address of a Redis, as operators write it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use sluicegate_core::fleet::origin::Host;

/// A Redis, how it is run, and how we log in. Its text is a URL:
///
/// ```text
/// redis://[user[:password]@]host[:port][/database]
/// redis+sentinel://[user[:password]@]host[:port],…/primary[/database]
/// redis+cluster://[user[:password]@]host[:port],…
/// ```
///
/// With `rediss` instead of `redis`, the connections use TLS; `?ca=FILE` names the certificates (PEM) to trust instead
/// of the system's.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// The servers, sentinels or nodes to try first; at least one.
    pub servers: Vec<Server>,
    /// How the Redis is run.
    pub topology: Topology,
    /// The ACL user (Redis 6); `None` is the user `default`.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<String>,
    /// The database; 0 in a cluster.
    pub database: u16,
    /// TLS settings, if TLS is used.
    pub tls: Option<Tls>,
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
}

/// How a Redis is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// Keys are spread over several nodes.
    Cluster,
    /// Sentinels know which server is the primary of this name.
    Sentinel(String),
    /// A single server.
    Single,
}

/// TLS for connections to Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// A PEM file with the certificates to trust; `None` means the system's.
    pub authorities: Option<PathBuf>,
}

/// What is wrong with a URL. The text never quotes the URL, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The database is not a number that Redis has.
    #[error("the database is a whole number from 0 to 65535")]
    Database,
    /// A percent sign is not followed by two hexadecimal digits.
    #[error("a percent sign stands for a character only with two hexadecimal digits after it")]
    Escape,
    /// There is a path where none belongs.
    #[error("nothing follows the nodes of a cluster, which has one database")]
    Path,
    /// An option is unknown, or has no meaning here.
    #[error("the only option is ca=FILE, and it needs rediss")]
    Option,
    /// The name of the primary is missing.
    #[error("a sentinel URL ends in the name of its primary: redis+sentinel://host:26379/mymaster")]
    Primary,
    /// The scheme is unknown.
    #[error(
        "a Redis URL begins with redis://, redis+sentinel:// or redis+cluster://, rediss for TLS"
    )]
    Scheme,
    /// A server is not a host with a port.
    #[error("a server is host or host:port, with an IPv6 address in brackets")]
    Server,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = text.split_once("://").ok_or(AddressError::Scheme)?;
        let (secure, kind) = match scheme.split_once('+').unwrap_or((scheme, "")) {
            ("redis", kind) => (false, kind),
            ("rediss", kind) => (true, kind),
            _ => return Err(AddressError::Scheme),
        };
        let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (username, password) = user.split_once(':').unwrap_or((user, ""));
        let default_port = if kind == "sentinel" {
            SENTINEL_PORT
        } else {
            PORT
        };
        let servers: Vec<Server> = hosts
            .split(',')
            .map(|server| Server::parse(server, default_port))
            .collect::<Result<_, _>>()?;
        let (topology, database) = match kind {
            "" if servers.len() > 1 => return Err(AddressError::Server),
            "" => (Topology::Single, path),
            "cluster" if path.is_empty() => (Topology::Cluster, ""),
            "cluster" => return Err(AddressError::Path),
            "sentinel" => {
                let (primary, database) = path.split_once('/').unwrap_or((path, ""));
                let primary = Some(decoded(primary)?)
                    .filter(|primary| !primary.is_empty())
                    .ok_or(AddressError::Primary)?;
                (Topology::Sentinel(primary), database)
            }
            _ => return Err(AddressError::Scheme),
        };
        let database = match database {
            "" => 0,
            number => number.parse().map_err(|_| AddressError::Database)?,
        };
        Ok(Self {
            servers,
            topology,
            username: Some(decoded(username)?).filter(|name| !name.is_empty()),
            password: Some(decoded(password)?).filter(|word| !word.is_empty()),
            database,
            tls: tls(secure, options)?,
        })
    }
}

/// Writes the URL without the password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.tls.is_some() {
            "rediss"
        } else {
            "redis"
        })?;
        f.write_str(match self.topology {
            Topology::Cluster => "+cluster://",
            Topology::Sentinel(_) => "+sentinel://",
            Topology::Single => "://",
        })?;
        for (index, server) in self.servers.iter().enumerate() {
            f.write_str(if index > 0 { "," } else { "" })?;
            server.fmt(f)?;
        }
        if let Topology::Sentinel(primary) = &self.topology {
            write!(f, "/{primary}")?;
        }
        match self.database {
            0 => Ok(()),
            database => write!(f, "/{database}"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

impl Server {
    fn parse(text: &str, default_port: u16) -> Result<Self, AddressError> {
        let bracketed = text.starts_with('[');
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !bracketed || host.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let port = match port {
            None => default_port,
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or(AddressError::Server)?,
        };
        if !bracketed && host.contains(':') {
            return Err(AddressError::Server);
        }
        let host = host.parse().map_err(|_| AddressError::Server)?;
        Ok(Self { host, port })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(ip) if ip.is_ipv6() => write!(f, "[{ip}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

fn tls(secure: bool, options: &str) -> Result<Option<Tls>, AddressError> {
    let authorities = match options {
        "" => None,
        options => {
            let file = options.strip_prefix("ca=").filter(|file| !file.is_empty());
            Some(decoded(file.ok_or(AddressError::Option)?)?.into())
        }
    };
    match (secure, authorities) {
        (true, authorities) => Ok(Some(Tls { authorities })),
        (false, None) => Ok(None),
        (false, Some(_)) => Err(AddressError::Option),
    }
}

/// Resolves percent-escapes (RFC 3986 §2.1).
fn decoded(text: &str) -> Result<String, AddressError> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).ok_or(AddressError::Escape)?;
        let byte = u8::from_str_radix(digits, 16).map_err(|_| AddressError::Escape)?;
        bytes.push(byte);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).map_err(|_| AddressError::Escape)
}

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_shown_without_their_password() {
        let rows = [
            ("a host", "redis://cache", "redis://cache:6379"),
            (
                "a password that needs escapes",
                "redis://:p%40ss@10.0.0.1:7000/2",
                "redis://10.0.0.1:7000/2",
            ),
            (
                "a user, TLS, a private authority",
                "rediss://gate:secret@[::1]:6380?ca=/etc/ca.pem",
                "rediss://[::1]:6380",
            ),
            (
                "sentinels",
                "redis+sentinel://a,b:26380/mymaster/1",
                "redis+sentinel://a:26379,b:26380/mymaster/1",
            ),
            (
                "a cluster",
                "rediss+cluster://a,b,c",
                "rediss+cluster://a:6379,b:6379,c:6379",
            ),
        ];
        for (name, text, shown) in rows {
            let address: Address = text.parse().expect(name);
            assert_eq!(address.to_string(), shown, "{name}");
            assert!(!format!("{address:?}").contains("secret"), "{name}");
        }
        let address: Address = "redis://:p%40ss@h".parse().unwrap();
        assert_eq!(
            (address.username, address.password.as_deref()),
            (None, Some("p@ss"))
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let rows = [
            ("another scheme", "http://h", AddressError::Scheme),
            ("no scheme", "h:6379", AddressError::Scheme),
            (
                "two servers without a cluster",
                "redis://a,b",
                AddressError::Server,
            ),
            ("no host", "redis://:6379", AddressError::Server),
            (
                "an address without brackets",
                "redis://::1",
                AddressError::Server,
            ),
            ("port 0", "redis://h:0", AddressError::Server),
            (
                "a name for a database",
                "redis://h/x",
                AddressError::Database,
            ),
            (
                "a database in a cluster",
                "redis+cluster://h/1",
                AddressError::Path,
            ),
            ("no primary", "redis+sentinel://h", AddressError::Primary),
            (
                "an authority without TLS",
                "redis://h?ca=x",
                AddressError::Option,
            ),
            ("half an escape", "redis://:%4@h", AddressError::Escape),
        ];
        for (name, text, error) in rows {
            assert_eq!(text.parse::<Address>(), Err(error), "{name}");
        }
    }
}
