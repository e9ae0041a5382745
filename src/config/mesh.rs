//! The addresses of the proxies of a mesh.

use std::net::{IpAddr, SocketAddr};

use crate::value::{ValueError, parse_port};

/// Reads a seed and adds the default port, in the form in which names are looked up: `proxies.example:12027`,
/// `10.0.0.1:12027`, `[2001:db8::1]:12027`.
pub(super) fn seed(text: &str, port: u16) -> Result<String, ValueError> {
    let address = match text.parse::<IpAddr>() {
        Ok(ip) => Ok(SocketAddr::new(ip, port)),
        Err(_) => text.parse(),
    };
    if let Ok(address) = address {
        let able = address.port() != 0 && !address.ip().is_unspecified();
        return able
            .then(|| address.to_string())
            .ok_or(ValueError::NotASeed);
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, parse_port(port)?),
        None => (text, port),
    };
    let is_name = !host.is_empty()
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if !is_name || port == 0 {
        return Err(ValueError::NotASeed);
    }
    Ok(format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_get_the_port_they_do_not_name() {
        for (text, expected) in [
            ("proxies.default.svc", Ok("proxies.default.svc:7")),
            ("proxies:12027", Ok("proxies:12027")),
            ("10.0.0.1", Ok("10.0.0.1:7")),
            ("10.0.0.1:9", Ok("10.0.0.1:9")),
            ("2001:db8::1", Ok("[2001:db8::1]:7")),
            ("[2001:db8::1]:9", Ok("[2001:db8::1]:9")),
            ("", Err(ValueError::NotASeed)),
            ("a b", Err(ValueError::NotASeed)),
            ("a:0", Err(ValueError::NotASeed)),
            ("10.0.0.1:0", Err(ValueError::NotASeed)),
            ("udp://a:9", Err(ValueError::NotAPort)),
        ] {
            assert_eq!(seed(text, 7), expected.map(str::to_owned), "{text}");
        }
    }
}
