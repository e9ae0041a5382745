//! Where an origin sends a client that asks it for a stream.

use std::fmt::Write;

use crate::fleet::origin::{self, Host, Target};
use crate::stream::Service;

/// The place that the URL of a redirect names, as a [`Target`] is written: `host:port`, with the usual port of
/// `service` where the URL names none. `None` for a URL without a host.
///
/// A host that nobody could dial stays as it is written: no origin is registered there, so nobody follows it.
pub fn place_of(url: &str, service: Service) -> Option<String> {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => (scheme, rest),
        // RTMP has no standard for redirects, and some servers leave out the scheme.
        _ if service == Service::Rtmp => ("", url),
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        // A colon within brackets is part of an IPv6 address (RFC 3986 §3.2.2).
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
        _ => (authority, None),
    };
    if host.is_empty() {
        return None;
    }
    let usual = || origin::usual_port(service, scheme);
    let port = port.or_else(usual).unwrap_or_else(|| usual_port(service));
    Some(match host.parse::<Host>() {
        Ok(host) => Target::plain(host, port).to_string(),
        Err(_) => format!("{host}:{port}"),
    })
}

/// What to ask for where the URL of a redirect over HTTP leads: its path and its query, as a request line may hold them; with the
/// query of `own`, the target that was redirected, where it has none.
pub fn target_of(url: &str, own: &str) -> String {
    let after_scheme = match url.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => rest,
        _ => url,
    };
    let written = after_scheme.split('#').next().unwrap_or_default();
    let begins = written.find(['/', '?']).unwrap_or(written.len());
    let written = written.get(begins..).unwrap_or_default();
    let mut target = String::with_capacity(written.len() + 1);
    if !written.starts_with('/') {
        target.push('/');
    }
    for byte in written.bytes() {
        // Nobody may end the request line, and what else no URI holds is escaped as clients do (RFC 3986 §2.1).
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
            target.push(char::from(byte));
        } else {
            let _ = write!(target, "%{byte:02X}");
        }
    }
    if let (false, Some((_, query))) = (target.contains('?'), own.split_once('?')) {
        target.push('?');
        target.push_str(query);
    }
    target
}

/// The port of a URL that names none and has no scheme of the service.
const fn usual_port(service: Service) -> u16 {
    match service {
        Service::Api | Service::Http => 80,
        Service::Rtc => 8000,  // SRS
        Service::Rtmp => 1935, // RTMP 1.0 §3
        Service::Rtsp => 554,  // RFC 2326 §3.2
        Service::Srt => 10080, // SRS
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_place_of_a_redirect() {
        let rows = [
            (
                "a whole URL",
                "rtmp://10.0.0.2:19350/live/a?k=v",
                Service::Rtmp,
                Some("10.0.0.2:19350"),
            ),
            (
                "a whole URL",
                "rtsp://10.0.0.2:8554/live/a?k=v",
                Service::Rtsp,
                Some("10.0.0.2:8554"),
            ),
            (
                "the usual port of RTMP",
                "rtmp://origin.example/live",
                Service::Rtmp,
                Some("origin.example:1935"),
            ),
            (
                "the usual port of RTSP",
                "rtsp://origin.example/live",
                Service::Rtsp,
                Some("origin.example:554"),
            ),
            (
                "the usual port of RTMPS",
                "rtmps://origin.example/live",
                Service::Rtmp,
                Some("origin.example:443"),
            ),
            (
                "the usual port of RTSPS",
                "rtsps://origin.example/live",
                Service::Rtsp,
                Some("origin.example:322"),
            ),
            (
                "an IPv6 address",
                "rtmp://[2001:db8::1]:1935/live",
                Service::Rtmp,
                Some("[2001:db8::1]:1935"),
            ),
            (
                "an IPv6 address without a port",
                "rtsp://[2001:db8::1]/a",
                Service::Rtsp,
                Some("[2001:db8::1]:554"),
            ),
            (
                "an IPv6 address in another spelling",
                "rtmp://[2001:DB8:0::1]:1935/live",
                Service::Rtmp,
                Some("[2001:db8::1]:1935"),
            ),
            (
                "a name in another spelling",
                "rtmp://Origin.Example:1935/live",
                Service::Rtmp,
                Some("origin.example:1935"),
            ),
            (
                "credentials",
                "rtsp://user:word@10.0.0.2:8554/a",
                Service::Rtsp,
                Some("10.0.0.2:8554"),
            ),
            (
                "a query without a path",
                "rtmp://10.0.0.2:19350?a=/b",
                Service::Rtmp,
                Some("10.0.0.2:19350"),
            ),
            (
                "RTMP without a scheme",
                "10.0.0.2/live",
                Service::Rtmp,
                Some("10.0.0.2:1935"),
            ),
            (
                "RTSP without a scheme",
                "10.0.0.2/live",
                Service::Rtsp,
                None,
            ),
            ("a path alone", "/live/b", Service::Rtmp, None),
            ("a path alone", "/live/b", Service::Rtsp, None),
            (
                "a URL within a path",
                "a/b://10.0.0.2/live",
                Service::Rtsp,
                None,
            ),
            ("no host", "rtmp://:1935/live", Service::Rtmp, None),
            (
                "a port that is none",
                "rtmp://10.0.0.2:0x50/live",
                Service::Rtmp,
                Some("10.0.0.2:1935"),
            ),
            (
                "a host that nobody could dial",
                "rtmp://a host/live",
                Service::Rtmp,
                Some("a host:1935"),
            ),
        ];
        for (cause, url, service, expected) in rows {
            assert_eq!(
                place_of(url, service).as_deref(),
                expected,
                "{cause}: {url}"
            );
        }
    }

    #[test]
    fn the_target_of_a_redirect() {
        let rows = [
            (
                "a token for the other",
                "http://10.0.0.2:8080/edge/x.flv?auth=1",
                "/edge/x.flv?auth=1",
            ),
            (
                "no query of its own",
                "http://10.0.0.2/edge/x.flv",
                "/edge/x.flv?tok=9",
            ),
            (
                "a query that is empty",
                "http://10.0.0.2/edge/x.flv?",
                "/edge/x.flv?",
            ),
            ("a fragment", "http://h/x.flv?k=1#t=/?", "/x.flv?k=1"),
            ("no path", "http://h:80", "/?tok=9"),
            ("a query without a path", "http://h?a=/b", "/?a=/b"),
            ("a path alone", "/x.flv?u=http://h/y", "/x.flv?u=http://h/y"),
            ("credentials", "http://user:word@h/x.flv?k=1", "/x.flv?k=1"),
            (
                "what no request line holds",
                "http://h/a b\u{e9}|.flv?k=\r\nHost: x",
                "/a%20b%C3%A9%7C.flv?k=%0D%0AHost:%20x",
            ),
        ];
        for (cause, url, expected) in rows {
            assert_eq!(target_of(url, "/live/a.flv?tok=9"), expected, "{cause}");
        }
        assert_eq!(target_of("http://h/x.flv", "/live/a.flv"), "/x.flv");
    }

    proptest! {
        #[test]
        fn every_target_is_one_word_of_a_request_line(url: String) {
            let target = target_of(&url, "/live/a.flv");
            prop_assert!(target.starts_with('/'));
            prop_assert!(target.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(target_of(&target, "/"), target.as_str(), "it is of itself");
        }

        #[test]
        fn a_target_comes_back_from_its_url(ip: IpAddr, port in 1_u16.., path in "(/[a-z?=/@:]{0,8})?") {
            let target = Target::plain(ip.into(), port);
            let url = format!("rtmp://{target}{path}");
            prop_assert_eq!(place_of(&url, Service::Rtmp), Some(target.to_string()));
        }

        #[test]
        fn every_text_has_an_answer(url: String) {
            for service in Service::ALL {
                let _ = place_of(&url, service);
            }
        }
    }
}
