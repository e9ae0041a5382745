//! Heads of HTTP requests and responses: what is read, what is refused, and how they are forwarded.

use std::net::IpAddr;

use proptest::prelude::*;
use sluicegate_core::http::head::{
    Body, Forwarded, HeadError, MAX_HEAD, MAX_HEADERS, RequestHead, ResponseHead, Version,
};

#[test]
fn a_request_is_read_with_what_follows_it_left_alone() {
    let input =
        b"GET /live/a.flv?token=1 HTTP/1.1\r\nHost: example.com:8080\r\nAccept:*/*  \r\n\r\nbody";
    let (head, length) = RequestHead::parse(input).unwrap().unwrap();
    assert_eq!(head.method, "GET");
    assert_eq!(head.target, "/live/a.flv?token=1");
    assert_eq!(head.version, Version::Http11);
    assert_eq!(head.host(), Some("example.com:8080"));
    assert_eq!(head.headers.text("ACCEPT"), Some("*/*"));
    assert_eq!(&input[length..], b"body");
}

#[test]
fn what_an_honest_client_may_send_is_accepted() {
    #[rustfmt::skip]
    let cases = [
        ("HTTP/1.0 without Host", "GET /a HTTP/1.0\r\n\r\n", "/a"),
        ("an empty line before", "\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n", "/a"),
        ("an empty Host", "GET /a HTTP/1.1\r\nHost:\r\n\r\n", "/a"),
        ("an IPv6 Host", "GET /a HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", "/a"),
        ("a Host with an underscore", "GET /a HTTP/1.1\r\nHost: a_b.c\r\n\r\n", "/a"),
        ("a tab before the value", "GET /a HTTP/1.1\r\nHost:\th\r\n\r\n", "/a"),
        ("an empty value", "GET /a HTTP/1.1\r\nHost: h\r\nX:\r\n\r\n", "/a"),
        ("a method nobody knows", "PATCH* /a HTTP/1.1\r\nHost: h\r\n\r\n", "/a"),
        ("OPTIONS for the server", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "*"),
        ("UTF-8 in the target", "GET /直 HTTP/1.1\r\nHost: h\r\n\r\n", "/直"),
        ("absolute form", "GET http://o.com:80/a?b HTTP/1.1\r\nHost: h\r\n\r\n", "/a?b"),
        ("absolute form without a path", "GET HTTP://o.com HTTP/1.1\r\nHost: h\r\n\r\n", "/"),
        ("absolute form with a query alone", "GET https://o.com?b HTTP/1.0\r\n\r\n", "/?b"),
        ("a colon and slashes in the query", "GET /a?u=http://x/ HTTP/1.1\r\nHost: h\r\n\r\n", "/a?u=http://x/"),
        ("a length said twice alike", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", "/a"),
    ];
    for (cause, input, target) in cases {
        let (head, length) = RequestHead::parse(input.as_bytes())
            .expect(cause)
            .expect(cause);
        assert_eq!(head.target, target, "{cause}");
        assert_eq!(length, input.len(), "{cause}");
    }
}

#[test]
fn what_two_servers_may_read_differently_is_refused() {
    #[rustfmt::skip]
    let cases: &[(&str, &[u8], HeadError)] = &[
        ("bare LF after the request line", b"GET / HTTP/1.1\nHost: h\r\n\r\n", HeadError::LineEnd),
        ("bare LF after a header", b"GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n", HeadError::LineEnd),
        ("bare LF at the end", b"GET / HTTP/1.1\r\nHost: h\r\n\n", HeadError::LineEnd),
        ("bare LF, and no end yet", b"GET / HTTP/1.1\nHost", HeadError::LineEnd),
        ("bare CR in a value", b"GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n", HeadError::LineEnd),
        ("CR twice", b"GET / HTTP/1.1\r\nHost: h\r\r\n\r\n", HeadError::LineEnd),
        ("two empty lines before", b"\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", HeadError::StartLine),
        ("a folded header", b"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n", HeadError::Folded),
        ("a folded header with a tab", b"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n\tb\r\n\r\n", HeadError::Folded),
        ("space before the first header", b"GET / HTTP/1.1\r\n Host: h\r\n\r\n", HeadError::Folded),
        ("space before the colon", b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", HeadError::Header),
        ("no colon", b"GET / HTTP/1.1\r\nHost: h\r\nX\r\n\r\n", HeadError::Header),
        ("no name", b"GET / HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n", HeadError::Header),
        ("a name that is no token", b"GET / HTTP/1.1\r\nHost: h\r\nX(y): x\r\n\r\n", HeadError::Header),
        ("NUL in a value", b"GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n", HeadError::Header),
        ("DEL in a value", b"GET / HTTP/1.1\r\nHost: h\r\nX: a\x7fb\r\n\r\n", HeadError::Header),
        ("no Host", b"GET / HTTP/1.1\r\n\r\n", HeadError::Host),
        ("Host twice", b"GET / HTTP/1.1\r\nHost: h\r\nhost: h\r\n\r\n", HeadError::Host),
        ("Host twice in HTTP/1.0", b"GET / HTTP/1.0\r\nHost: h\r\nhost: h\r\n\r\n", HeadError::Host),
        ("two hosts in one", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", HeadError::Host),
        ("a path as Host", b"GET / HTTP/1.1\r\nHost: h/x\r\n\r\n", HeadError::Host),
        ("a user in Host", b"GET / HTTP/1.1\r\nHost: u@h\r\n\r\n", HeadError::Host),
        ("a port that is no number", b"GET / HTTP/1.1\r\nHost: h:x\r\n\r\n", HeadError::Host),
        ("an open bracket", b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", HeadError::Host),
        ("text behind a bracket", b"GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", HeadError::Host),
        ("a Host above ASCII", b"GET / HTTP/1.1\r\nHost: \xc3\xbc.de\r\n\r\n", HeadError::Host),
        ("a user in absolute form", b"GET http://u@o.com/ HTTP/1.1\r\nHost: h\r\n\r\n", HeadError::Host),
        ("an empty authority", b"GET http:///a HTTP/1.1\r\nHost: h\r\n\r\n", HeadError::Host),
        ("length and chunks", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", HeadError::Length),
        ("two lengths", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", HeadError::Length),
        ("two lengths in one", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 5\r\n\r\n", HeadError::Length),
        ("a signed length", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\n", HeadError::Length),
        ("a length in hexadecimal", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x5\r\n\r\n", HeadError::Length),
        ("an empty length", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n", HeadError::Length),
        ("a length beyond 64 bits", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551616\r\n\r\n", HeadError::Length),
        ("another encoding", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", HeadError::TransferEncoding),
        ("two encodings", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", HeadError::TransferEncoding),
        ("an obfuscated encoding", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n", HeadError::TransferEncoding),
        ("chunked twice", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", HeadError::TransferEncoding),
        ("chunks in HTTP/1.0", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", HeadError::TransferEncoding),
        ("CONNECT", b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n", HeadError::Method),
        ("a star for a page", b"GET * HTTP/1.1\r\nHost: h\r\n\r\n", HeadError::Target),
        ("a target without a slash", b"GET a HTTP/1.1\r\nHost: h\r\n\r\n", HeadError::Target),
        ("a fragment", b"GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", HeadError::Target),
        ("another scheme", b"GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", HeadError::Target),
        ("a control character in the target", b"GET /\x01 HTTP/1.1\r\nHost: h\r\n\r\n", HeadError::Target),
        ("a tab in the target", b"GET /a\tb HTTP/1.1\r\nHost: h\r\n\r\n", HeadError::Target),
        ("a target that is not UTF-8", b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n", HeadError::Target),
        ("an empty target", b"GET  HTTP/1.1\r\nHost: h\r\n\r\n", HeadError::Target),
        ("two spaces", b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", HeadError::StartLine),
        ("a space in the target", b"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", HeadError::StartLine),
        ("HTTP/0.9", b"GET /\r\n\r\n", HeadError::StartLine),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\n", HeadError::Version),
        ("a version in lower case", b"GET / http/1.1\r\nHost: h\r\n\r\n", HeadError::StartLine),
        ("a version nobody speaks", b"GET / HTTP/1.2\r\nHost: h\r\n\r\n", HeadError::Version),
        ("a method that is no token", b"G\x01T / HTTP/1.1\r\nHost: h\r\n\r\n", HeadError::StartLine),
    ];
    for (cause, input, expected) in cases {
        assert_eq!(RequestHead::parse(input), Err(*expected), "{cause}");
    }
}

#[test]
fn a_head_has_limits() {
    let request = |padding: usize| {
        let mut text = b"GET / HTTP/1.1\r\nHost: h\r\nX: ".to_vec();
        text.resize(padding, b'x');
        text.extend_from_slice(b"\r\n\r\n");
        text
    };
    let longest = request(MAX_HEAD - 4);
    assert_eq!(longest.len(), MAX_HEAD);
    assert!(RequestHead::parse(&longest).unwrap().is_some());
    assert_eq!(
        RequestHead::parse(&request(MAX_HEAD - 3)),
        Err(HeadError::TooLong)
    );
    assert_eq!(RequestHead::parse(&vec![b'x'; MAX_HEAD - 1]), Ok(None));
    assert_eq!(
        RequestHead::parse(&vec![b'x'; MAX_HEAD]),
        Err(HeadError::TooLong)
    );

    let with = |count: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: h\r\n{}\r\n",
            "X: y\r\n".repeat(count - 1)
        )
    };
    assert!(
        RequestHead::parse(with(MAX_HEADERS).as_bytes())
            .unwrap()
            .is_some()
    );
    let more = with(MAX_HEADERS + 1);
    assert_eq!(
        RequestHead::parse(more.as_bytes()),
        Err(HeadError::TooManyHeaders)
    );
}

#[test]
fn the_end_of_a_request_is_known() {
    let body =
        |headers: &str| request(&format!("POST / HTTP/1.1\r\nHost: h\r\n{headers}\r\n")).body();
    assert_eq!(body(""), Body::None);
    assert_eq!(body("Content-Length: 0\r\n"), Body::None);
    assert_eq!(body("content-length: 0042\r\n"), Body::Length(42));
    assert_eq!(body("Transfer-Encoding: Chunked\r\n"), Body::Chunked);
}

#[test]
fn a_refusal_has_a_status() {
    assert_eq!(HeadError::LineEnd.status(), 400);
    assert_eq!(HeadError::TooLong.status(), 431);
    assert_eq!(HeadError::Method.status(), 501);
    assert_eq!(HeadError::Version.status(), 505);
}

#[test]
fn an_origin_hears_the_request_and_who_asked() {
    let head = request(
        "GET /live/a.flv?token=%2F+1&vhost=v HTTP/1.1\r\nHost: cdn.example.com\r\nUser-Agent: VLC\r\nRange: bytes=0-\r\n\
         Authorization: Bearer x\r\nReferer: http://p/\r\nKeep-Alive: timeout=5\r\nProxy-Authorization: y\r\n\
         TE: trailers\r\nTrailer: z\r\nUpgrade: h2c\r\nX-Hop: 1\r\nConnection: keep-alive, X-Hop, Host, X-Forwarded-For\r\n\r\n",
    );
    assert_eq!(
        forwarded(&head, false),
        "GET /live/a.flv?token=%2F+1&vhost=v HTTP/1.1\r\nHost: cdn.example.com\r\nUser-Agent: VLC\r\nRange: bytes=0-\r\n\
         Authorization: Bearer x\r\nReferer: http://p/\r\nConnection: close\r\nX-Forwarded-For: 192.0.2.1\r\n\
         X-Forwarded-Proto: http\r\nX-Forwarded-Host: cdn.example.com\r\n\r\n"
    );
}

#[test]
fn a_body_keeps_its_framing() {
    let chunked = request(
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: Transfer-Encoding\r\n\r\n",
    );
    assert!(forwarded(&chunked, false).contains("\r\nTransfer-Encoding: chunked\r\n"));
    let length = request(
        "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 05\r\nConnection: content-length\r\n\r\n",
    );
    assert!(forwarded(&length, false).contains("\r\nContent-Length: 5\r\n"));
}

#[test]
fn claims_are_believed_from_trusted_proxies_only() {
    let head = request(
        "GET /a HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.9\r\nx-forwarded-for: 10.1.1.1\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Host: site.com\r\nX-Real-IP: 203.0.113.9\r\nForwarded: for=1\r\n\r\n",
    );
    assert_eq!(
        forwarded(&head, true),
        "GET /a HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.9, 10.1.1.1, 192.0.2.1\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: site.com\r\nX-Real-IP: 203.0.113.9\r\nForwarded: for=1\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(
        forwarded(&head, false),
        "GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\n\
         X-Forwarded-Host: h\r\n\r\n"
    );
}

#[test]
fn a_v4_mapped_client_is_told_as_ipv4_and_tls_as_https() {
    let client: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
    let who = Forwarded {
        client,
        secure: true,
        trusted: false,
    };
    let mut out = Vec::new();
    request("GET /a HTTP/1.0\r\n\r\n")
        .for_origin(&who)
        .write(&mut out);
    let expected = "GET /a HTTP/1.0\r\nConnection: close\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn the_url_of_a_request_is_the_one_that_its_client_used() {
    let socket = "Connection: upgrade\r\nUpgrade: websocket\r\n";
    let told = "X-Forwarded-Proto: https\r\nX-Forwarded-Host: play.example, h\r\n";
    let plain = "X-Forwarded-Proto: http\r\n";
    #[rustfmt::skip]
    let rows = [
        ("plain", "", false, false, ("http", "h:81")),
        ("TLS", "", true, false, ("https", "h:81")),
        ("a WebSocket", socket, false, false, ("ws", "h:81")),
        ("a WebSocket over TLS", socket, true, false, ("wss", "h:81")),
        ("a client's own word", told, false, false, ("http", "h:81")),
        ("a proxy's word", told, false, true, ("https", "play.example")),
        ("a proxy that has TLS to us alone", plain, true, true, ("http", "h:81")),
        ("a proxy that says nothing", "", true, true, ("https", "h:81")),
    ];
    for (cause, fields, secure, trusted, expected) in rows {
        let head = request(&format!("GET /a HTTP/1.1\r\nHost: h:81\r\n{fields}\r\n"));
        let client = "10.0.0.1".parse().unwrap();
        let way = Forwarded {
            client,
            secure,
            trusted,
        };
        assert_eq!(head.asked_at(&way), expected, "{cause}");
    }
}

#[test]
fn a_websocket_upgrade_passes() {
    let head = request(
        "GET /live/a.flv HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
         Sec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n\r\n",
    );
    assert!(head.is_websocket());
    let text = forwarded(&head, false);
    assert!(
        text.contains("\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"),
        "{text}"
    );
    assert!(
        text.contains("\r\nSec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n"),
        "{text}"
    );
    assert!(!text.contains("close"), "{text}");

    let no_upgrades = [
        "POST /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n",
        "GET /a HTTP/1.0\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ];
    for text in no_upgrades {
        assert!(!request(text).is_websocket(), "{text}");
        assert!(
            !forwarded(&request(text), false).contains("Upgrade"),
            "{text}"
        );
    }
}

#[test]
fn a_response_is_read_with_tolerance() {
    #[rustfmt::skip]
    let cases: &[(&str, &[u8], &str)] = &[
        ("as it should be", b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n\r\n"),
        ("no reason", b"HTTP/1.1 404 \r\n\r\n", "HTTP/1.1 404 \r\n\r\n"),
        ("no reason and no space", b"HTTP/1.0 404\r\n\r\n", "HTTP/1.0 404 \r\n\r\n"),
        ("bare line feeds", b"HTTP/1.1 200 OK\nA: b\n\n", "HTTP/1.1 200 OK\r\nA: b\r\n\r\n"),
        ("a space before the colon", b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n\r\n"),
        ("a folded header", b"HTTP/1.1 200 OK\r\nA: b\r\n\t c\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b c\r\n\r\n"),
        ("a status of tomorrow", b"HTTP/1.1 799 ?\r\n\r\n", "HTTP/1.1 799 ?\r\n\r\n"),
    ];
    for (cause, input, expected) in cases {
        let (head, length) = ResponseHead::parse(input).expect(cause).expect(cause);
        let mut out = Vec::new();
        head.write(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), *expected, "{cause}");
        assert_eq!(length, input.len(), "{cause}");
    }
    #[rustfmt::skip]
    let refused: &[(&str, &[u8], HeadError)] = &[
        ("RTMP", b"\x03\n\n", HeadError::StartLine),
        ("an empty line first", b"\r\nHTTP/1.1 200 OK\r\n\r\n", HeadError::StartLine),
        ("two digits", b"HTTP/1.1 20 OK\r\n\r\n", HeadError::StartLine),
        ("a signed status", b"HTTP/1.1 +20 OK\r\n\r\n", HeadError::StartLine),
        ("a status below 100", b"HTTP/1.1 099 OK\r\n\r\n", HeadError::StartLine),
        ("HTTP/2", b"HTTP/2 200 OK\r\n\r\n", HeadError::Version),
        ("ICY", b"ICY 200 OK\r\n\r\n", HeadError::StartLine),
        ("a control character", b"HTTP/1.1 200 O\x01\r\n\r\n", HeadError::StartLine),
        ("a folded line first", b"HTTP/1.1 200 OK\r\n a\r\n\r\n", HeadError::Header),
        ("no colon", b"HTTP/1.1 200 OK\r\na\r\n\r\n", HeadError::Header),
        ("bare CR", b"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", HeadError::LineEnd),
    ];
    for (cause, input, expected) in refused {
        assert_eq!(ResponseHead::parse(input), Err(*expected), "{cause}");
    }
    assert_eq!(
        ResponseHead::parse(&vec![b'x'; MAX_HEAD]),
        Err(HeadError::TooLong)
    );
}

#[test]
fn a_client_hears_what_the_origin_said() {
    let head = response(
        "HTTP/1.1 206 Partial Content\r\nServer: SRS\r\nContent-Type: video/x-flv\r\nTransfer-Encoding: chunked\r\n\
         Connection: Keep-Alive, X-Hop\r\nKeep-Alive: 5\r\nX-Hop: 1\r\nProxy-Authenticate: x\r\nSet-Cookie: a\r\n\
         Set-Cookie: b\r\n\r\n",
    );
    assert_eq!(
        returned(&head),
        "HTTP/1.1 206 Partial Content\r\nServer: SRS\r\nContent-Type: video/x-flv\r\nTransfer-Encoding: chunked\r\n\
         Set-Cookie: a\r\nSet-Cookie: b\r\nConnection: close\r\nAccess-Control-Allow-Origin: *\r\n\
         Access-Control-Allow-Methods: *\r\nAccess-Control-Allow-Headers: *\r\nAccess-Control-Expose-Headers: *\r\n\r\n"
    );
}

#[test]
fn an_origin_that_speaks_of_cors_has_its_way() {
    let head = response(
        "HTTP/1.1 200 OK\r\naccess-control-allow-origin: https://site.com\r\nContent-Length: 5\r\n\r\n",
    );
    assert_eq!(
        returned(&head),
        "HTTP/1.1 200 OK\r\naccess-control-allow-origin: https://site.com\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
    );
}

#[test]
fn a_switch_of_protocols_is_passed_on() {
    let head = response(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s\r\n\r\n",
    );
    assert_eq!(
        returned(&head),
        "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
}

proptest! {
    #[test]
    fn a_request_reads_as_it_is_written(input in request_bytes()) {
        if let Ok(Some((head, _))) = RequestHead::parse(&input) {
            let mut out = Vec::new();
            head.write(&mut out);
            let length = out.len();
            prop_assert_eq!(RequestHead::parse(&out), Ok(Some((head, length))));
        }
    }

    #[test]
    fn a_response_reads_as_it_is_written(input in response_bytes()) {
        if let Ok(Some((head, _))) = ResponseHead::parse(&input) {
            let mut out = Vec::new();
            head.write(&mut out);
            let length = out.len();
            prop_assert_eq!(ResponseHead::parse(&out), Ok(Some((head, length))));
        }
    }

    #[test]
    fn any_split_reads_the_same(request in request_bytes(), response in response_bytes()) {
        let whole = RequestHead::parse(&request);
        for end in 0..request.len() {
            let part = RequestHead::parse(&request[..end]);
            prop_assert!(part == Ok(None) || part == whole, "{} bytes: {:?}, all: {:?}", end, part, whole);
        }
        let whole = ResponseHead::parse(&response);
        for end in 0..response.len() {
            let part = ResponseHead::parse(&response[..end]);
            prop_assert!(part == Ok(None) || part == whole, "{} bytes: {:?}, all: {:?}", end, part, whole);
        }
    }

    #[test]
    fn httparse_accepts_what_we_accept_and_reads_the_same(input in request_bytes()) {
        let Ok(Some((head, length))) = RequestHead::parse(&input) else { return Ok(()) };
        let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut other = httparse::Request::new(&mut fields);
        prop_assert_eq!(other.parse(&input), Ok(httparse::Status::Complete(length)));
        prop_assert_eq!(other.method, Some(head.method.as_str()));
        prop_assert!(other.path.is_some_and(|path| path.ends_with(head.target.trim_start_matches('/'))));
        prop_assert_eq!(other.version, Some(u8::from(head.version == Version::Http11)));
        for (name, value) in head.headers.iter() {
            // These two are rewritten by us.
            let ours = ["host", "content-length"].iter().any(|ours| name.eq_ignore_ascii_case(ours));
            let theirs = other.headers.iter().any(|field| field.name == name && field.value == value);
            prop_assert!(ours || theirs, "{}", name);
        }
    }

    #[test]
    fn what_goes_to_an_origin_is_a_strict_request(input in request_bytes(), trusted in any::<bool>()) {
        let Ok(Some((head, _))) = RequestHead::parse(&input) else { return Ok(()) };
        let client = Forwarded { client: [192, 0, 2, 1].into(), secure: false, trusted };
        let sent = head.for_origin(&client);
        let mut out = Vec::new();
        sent.write(&mut out);
        // With our own headers there may be more than a client is allowed.
        prop_assume!(sent.headers.iter().count() <= MAX_HEADERS);
        let (again, _) = RequestHead::parse(&out).expect("strict").expect("complete");
        prop_assert_eq!(&again, &sent);
        prop_assert_eq!((again.host(), again.body()), (head.host(), head.body()));
        prop_assert_eq!((again.target, again.method), (head.target, head.method));
    }
}

fn request(text: &str) -> RequestHead {
    RequestHead::parse(text.as_bytes()).unwrap().unwrap().0
}

fn response(text: &str) -> ResponseHead {
    ResponseHead::parse(text.as_bytes()).unwrap().unwrap().0
}

fn forwarded(head: &RequestHead, trusted: bool) -> String {
    let client = Forwarded {
        client: [192, 0, 2, 1].into(),
        secure: false,
        trusted,
    };
    let mut out = Vec::new();
    head.for_origin(&client).write(&mut out);
    String::from_utf8(out).unwrap()
}

fn returned(head: &ResponseHead) -> String {
    let mut out = Vec::new();
    head.for_client().write(&mut out);
    String::from_utf8(out).unwrap()
}

/// Requests that are nearly right: often accepted, often wrong in one place.
fn request_bytes() -> impl Strategy<Value = Vec<u8>> {
    #[rustfmt::skip]
    let lines = vec![
        "GET /live/a.flv?x=y HTTP/1.1", "GET / HTTP/1.0", "POST http://o.com/a HTTP/1.1", "OPTIONS * HTTP/1.1",
        "GET http://o.com HTTP/1.1", "GET /直播\"<>\\^`{|} HTTP/1.1", "CONNECT h:1 HTTP/1.1", "GET  / HTTP/1.1", "GET /",
    ];
    let first =
        prop_oneof![9 => prop::sample::select(lines).prop_map(str::to_owned), 1 => ".{0,9}"];
    let host =
        prop_oneof![8 => Just("Host: h.com:80\r\n"), 1 => Just(""), 1 => Just("host:[::1]\r\n")];
    (
        prop_oneof![9 => Just(""), 1 => Just("\r\n")],
        first,
        host,
        header_lines(),
        noise(),
    )
        .prop_map(|(before, first, host, headers, noise)| {
            noise.apply(format!("{before}{first}\r\n{host}{headers}\r\nrest"))
        })
}

fn response_bytes() -> impl Strategy<Value = Vec<u8>> {
    let lines = vec![
        "HTTP/1.1 200 OK",
        "HTTP/1.0 404",
        "HTTP/1.1 101 ",
        "HTTP/1.1 2000 OK",
        "ICY 200 OK",
    ];
    let first =
        prop_oneof![9 => prop::sample::select(lines).prop_map(str::to_owned), 1 => ".{0,9}"];
    let end = prop_oneof![Just("\r\n"), Just("\n")];
    (first, end, header_lines(), noise()).prop_map(|(first, end, headers, noise)| {
        noise.apply(format!("{first}{end}{headers}{end}rest"))
    })
}

fn header_lines() -> impl Strategy<Value = String> {
    #[rustfmt::skip]
    let known = vec![
        "Content-Length: 5", "Content-Length: 05", "content-length: 6", "Transfer-Encoding: chunked", "Connection: close, x",
        "Connection: Upgrade, Host", "Upgrade: websocket", "X: y", "x:\t y \t", "X-Forwarded-For: 1.1.1.1", "Accept: \u{e9}",
        "X:", "Access-Control-Allow-Origin: *", " folded", "X : y", "no colon", "Te: trailers",
    ];
    let line = prop_oneof![
        12 => prop::sample::select(known).prop_map(str::to_owned),
        1 => "[a-zA-Z!#$%&'*+.^_`|~-]{1,4}:[ -~\u{80}-\u{ff}]{0,6}",
        1 => "[\\x00-\\x7f]{0,6}",
    ];
    prop::collection::vec(line, 0..4)
        .prop_map(|lines| lines.iter().map(|line| format!("{line}\r\n")).collect())
}

/// Sometimes replaces one byte.
#[derive(Debug, Clone)]
struct Noise(Option<(prop::sample::Index, u8)>);

fn noise() -> impl Strategy<Value = Noise> {
    prop::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>())).prop_map(Noise)
}

impl Noise {
    fn apply(&self, text: String) -> Vec<u8> {
        let mut bytes = text.into_bytes();
        if let Some((index, byte)) = &self.0 {
            *index.get_mut(&mut bytes) = *byte;
        }
        bytes
    }
}
