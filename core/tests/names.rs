//! How each protocol names a stream: the table of cases, and what is true for every name.

use proptest::prelude::*;
use sluicegate_core::stream::{Action, SrtStreamId, StreamError, StreamUrl, VhostRule};

/// cause, tcUrl, name, stream
#[rustfmt::skip]
const RTMP: &[(&str, &str, &str, &str)] = &[
    ("a domain", "rtmp://example.com/live", "a", "example.com/live/a"),
    ("a domain with a port", "rtmp://example.com:1935/live", "a", "example.com/live/a"),
    ("a domain in upper case", "rtmp://Example.COM/live", "a", "example.com/live/a"),
    ("a domain with its root dot", "rtmp://example.com./live", "a", "example.com/live/a"),
    ("an IPv4 address", "rtmp://127.0.0.1/live", "a", "__defaultVhost__/live/a"),
    ("an IPv4 address with a port", "rtmp://10.0.0.1:1935/live", "a", "__defaultVhost__/live/a"),
    ("an IPv6 address", "rtmp://[2001:db8::1]/live", "a", "__defaultVhost__/live/a"),
    ("an IPv6 address with a port", "rtmp://[::1]:1935/live", "a", "__defaultVhost__/live/a"),
    ("a v4-mapped address", "rtmp://[::ffff:10.0.0.1]:1935/live", "a", "__defaultVhost__/live/a"),
    ("a host without a dot", "rtmp://localhost:1935/live", "a", "__defaultVhost__/live/a"),
    ("a host nobody can read", "rtmp://a:b:c/live", "a", "__defaultVhost__/live/a"),
    ("a host that ends in a number", "rtmp://host.1/live", "a", "__defaultVhost__/live/a"),
    ("a host with an empty label", "rtmp://a..b/live", "a", "__defaultVhost__/live/a"),
    ("the default vhost by name", "rtmp://__defaultVhost__/live", "a", "__defaultVhost__/live/a"),
    ("user and password", "rtmp://user:p@ss@example.com/live", "a", "example.com/live/a"),
    ("rtmps", "rtmps://example.com:443/live", "a", "example.com/live/a"),
    ("no scheme, so no host", "live", "a", "__defaultVhost__/live/a"),
    ("vhost in the tcUrl's query", "rtmp://10.0.0.1/live?vhost=v.com", "s", "v.com/live/s"),
    ("domain in the tcUrl's query", "rtmp://10.0.0.1/live?domain=v.com", "s", "v.com/live/s"),
    ("vhost before domain", "rtmp://10.0.0.1/live?domain=d.com&vhost=v.com", "s", "v.com/live/s"),
    ("an empty vhost is none", "rtmp://10.0.0.1/live?vhost=&domain=d.com", "s", "d.com/live/s"),
    ("vhost=__defaultVhost__ is none", "rtmp://h.com/live?vhost=__defaultVhost__", "s", "h.com/live/s"),
    ("vhost in the name's query", "rtmp://10.0.0.1/live", "s?vhost=v.com", "v.com/live/s"),
    ("the name's vhost is the last", "rtmp://h.com/live?vhost=a.com", "s?vhost=b.com", "b.com/live/s"),
    ("vhost behind a second question mark", "rtmp://h.com/live", "s?token=1?vhost=v.com", "v.com/live/s"),
    ("vhost behind a hash", "rtmp://h.com/live", "s#vhost=v.com", "v.com/live/s"),
    ("vhost in another spelling", "rtmp://10.0.0.1/live?vhost=V.com:80", "s", "v.com/live/s"),
    ("an escaped vhost", "rtmp://10.0.0.1/live?vhost=v%2Ecom", "s", "v.com/live/s"),
    ("an address as vhost", "rtmp://h.com/live?vhost=10.0.0.1", "s", "__defaultVhost__/live/s"),
    ("a word as vhost", "rtmp://h.com/live?vhost=players", "s", "__defaultVhost__/live/s"),
    ("dotted vhost, as old clients write", "rtmp://10.0.0.1/live...vhost...v.com", "s", "v.com/live/s"),
    ("dotted vhost behind the name", "rtmp://10.0.0.1/live", "s...vhost...v.com", "v.com/live/s"),
    ("dotted vhost behind a query", "rtmp://10.0.0.1/live?k=1...vhost...v.com", "s", "v.com/live/s"),
    ("FMLE: a query in the tcUrl keeps the name", "rtmp://h.com/live?token=1", "s", "h.com/live/s"),
    ("FMLE: a slash ends the query", "rtmp://10.0.0.1/live?vhost=v.com/", "s?token=1", "v.com/live/s"),
    ("a query in the name", "rtmp://h.com/live", "s?token=1", "h.com/live/s"),
    ("a slash in the query of the name", "rtmp://h.com/live", "s?token=a/b", "h.com/live/s"),
    ("a scheme in the query", "rtmp://h.com/live?from=http://x.com/y", "s", "h.com/live/s"),
    ("a trailing slash, as OBS sends", "rtmp://h.com/live/", "s", "h.com/live/s"),
    ("a leading slash in the name", "rtmp://h.com/live", "/s", "h.com/live/s"),
    ("double slashes", "rtmp://h.com//live//", "//s//", "h.com/live/s"),
    ("_definst_ in the app", "rtmp://h.com/live/_definst_", "s", "h.com/live/s"),
    ("_definst_ in the name", "rtmp://h.com/live", "_definst_/s", "h.com/live/s"),
    ("_definst_ before a query", "rtmp://h.com/live/_definst_?k=1", "s", "h.com/live/s"),
    ("an app of several levels", "rtmp://h.com/tenant/live", "s", "h.com/tenant/live/s"),
    ("a name of several levels", "rtmp://h.com/tenant", "live/0/s", "h.com/tenant/live/0/s"),
    ("no app", "rtmp://h.com", "s", "h.com/__defaultApp__/s"),
    ("no app but a slash", "rtmp://h.com/", "s", "h.com/__defaultApp__/s"),
    ("no name: the app's last segment", "rtmp://h.com/live/s", "", "h.com/live/s"),
    ("no name, token in the app", "rtmp://h.com/live/s?token=a/b", "", "h.com/live/s"),
    ("a name that is only a query", "rtmp://h.com/live/s", "?token=1", "h.com/live/s"),
    ("spaces, which SRS removes", "rtmp://h.com/ live ", " my stream ", "h.com/live/mystream"),
    ("a line break behind a typed key", "rtmp://h.com/live", "s\r\n", "h.com/live/s"),
    ("a tab before the app", "rtmp://h.com/\tlive", "s", "h.com/live/s"),
    ("an extension is part of the name", "rtmp://h.com/live", "s.flv", "h.com/live/s.flv"),
    ("a file prefix is part of the name", "rtmp://h.com/vod", "mp4:s.mp4", "h.com/vod/mp4:s.mp4"),
    ("percent-escapes", "rtmp://h.com/live", "a%2Bb", "h.com/live/a+b"),
    ("an escaped slash separates", "rtmp://h.com/live", "a%2fb", "h.com/live/a/b"),
    ("escapes are resolved once", "rtmp://h.com/live", "a%252fb", "h.com/live/a%2fb"),
    ("a percent sign for itself", "rtmp://h.com/live", "100%", "h.com/live/100%"),
    ("a percent sign before no digits", "rtmp://h.com/live", "50%zz", "h.com/live/50%zz"),
    ("UTF-8", "rtmp://h.com/live", "直播", "h.com/live/直播"),
    ("not UTF-8", "rtmp://h.com/live", "a%ffb", "h.com/live/a%FFb"),
    ("an overlong slash", "rtmp://h.com/live", "a%c0%af", "h.com/live/a%C0%AF"),
    ("UTF-8, escaped", "rtmp://h.com/live", "%E7%9B%B4%e6%92%ad", "h.com/live/直播"),
    ("case counts in names", "rtmp://h.com/Live", "S", "h.com/Live/S"),
    ("dots within a name", "rtmp://h.com/live", "a..b.", "h.com/live/a..b."),
];

/// cause, Host, target, stream
#[rustfmt::skip]
const HTTP: &[(&str, Option<&str>, &str, &str)] = &[
    ("flv, Host with a port", Some("example.com:8080"), "/live/stream.flv", "example.com/live/stream"),
    ("no port, as behind an ingress", Some("example.com"), "/a/b.m3u8", "example.com/a/b"),
    ("no Host, as HTTP/1.0", None, "/live/a.flv", "__defaultVhost__/live/a"),
    ("an empty Host", Some(""), "/live/a.flv", "__defaultVhost__/live/a"),
    ("an unreadable Host", Some("a:b:c"), "/live/a.flv", "__defaultVhost__/live/a"),
    ("an address as Host", Some("127.0.0.1:8080"), "/live/a.flv", "__defaultVhost__/live/a"),
    ("an IPv6 address as Host", Some("[::1]:8080"), "/live/a.flv", "__defaultVhost__/live/a"),
    ("Host in upper case", Some("EXAMPLE.com"), "/live/a.flv", "example.com/live/a"),
    ("vhost in the query", Some("edge.com"), "/live/a.flv?vhost=v.com", "v.com/live/a"),
    ("domain in the query", Some("edge.com"), "/live/a.ts?token=1&domain=v.com", "v.com/live/a"),
    ("vhost escaped, with a port", Some("edge.com"), "/live/a.flv?vhost=v%2ecom%3A80", "v.com/live/a"),
    ("the last vhost counts", Some("edge.com"), "/live/a.flv?vhost=a.com&vhost=b.com", "b.com/live/a"),
    ("a parameter that ends in vhost", Some("edge.com"), "/live/a.flv?xvhost=a.com", "edge.com/live/a"),
    ("ts", None, "/live/a.ts", "__defaultVhost__/live/a"),
    ("aac", None, "/live/a.aac", "__defaultVhost__/live/a"),
    ("mp3", None, "/live/a.mp3", "__defaultVhost__/live/a"),
    ("mpd", None, "/live/a.mpd", "__defaultVhost__/live/a"),
    ("mp4", None, "/live/a.mp4", "__defaultVhost__/live/a"),
    ("an extension in upper case", None, "/live/a.FLV", "__defaultVhost__/live/a"),
    ("only the last extension", None, "/live/a.ts.flv", "__defaultVhost__/live/a.ts"),
    ("a dot that starts no extension", None, "/live/v1.0", "__defaultVhost__/live/v1.0"),
    ("an extension in the app", None, "/live.flv/a", "__defaultVhost__/live.flv/a"),
    ("a page of a Unified Origin", None, "/usp/ch.isml/.m3u8?x=1", "__defaultVhost__/usp/ch.isml"),
    ("its manifest", None, "/usp/ch.isml/.MPD", "__defaultVhost__/usp/ch.isml"),
    ("its page, with no app", None, "/ch.isml/.mpd", "__defaultVhost__/__defaultApp__/ch.isml"),
    ("its page, with two apps", None, "/a/usp//ch.isml/.mpd", "__defaultVhost__/a/usp/ch.isml"),
    ("several levels", None, "/tenant/live/0/a.flv", "__defaultVhost__/tenant/live/0/a"),
    ("no app", None, "/a.flv", "__defaultVhost__/__defaultApp__/a"),
    ("double slashes", None, "//live//a.flv", "__defaultVhost__/live/a"),
    ("a trailing slash", None, "/live/a.flv/", "__defaultVhost__/live/a"),
    ("_definst_", None, "/live/_definst_/a.flv", "__defaultVhost__/live/a"),
    ("escaped space and dot", None, "/live/my%20stream%2Eflv", "__defaultVhost__/live/mystream"),
    ("escaped UTF-8", None, "/live/%E7%9B%B4%E6%92%AD.flv", "__defaultVhost__/live/直播"),
    ("an escaped question mark", None, "/live/a%3Fb.flv", "__defaultVhost__/live/a?b"),
    ("app and stream in the query", Some("example.com:8080"), "/?app=live&stream=foo", "example.com/live/foo"),
    ("stream in the query, with extension", None, "/?app=live&stream=foo.flv", "__defaultVhost__/live/foo"),
    ("stream without app", None, "/?stream=foo", "__defaultVhost__/__defaultApp__/foo"),
    ("a path outranks the query", None, "/live/a.flv?app=x&stream=y", "__defaultVhost__/live/a"),
];

/// cause, Host, target, stream
#[rustfmt::skip]
const WHIP: &[(&str, Option<&str>, &str, &str)] = &[
    ("both named", Some("h.com"), "/rtc/v1/whip/?app=live&stream=a", "h.com/live/a"),
    ("nothing named, as SRS", Some("h.com"), "/rtc/v1/whip/", "h.com/live/livestream"),
    ("no stream named", None, "/rtc/v1/whep/?app=tv", "__defaultVhost__/tv/livestream"),
    ("no app named", None, "/rtc/v1/whep/?stream=a", "__defaultVhost__/live/a"),
    ("empty values are none", None, "/rtc/v1/whep/?app=&stream=", "__defaultVhost__/live/livestream"),
    ("levels in the stream", None, "/w?app=t-1&stream=live/0/0/x", "__defaultVhost__/t-1/live/0/0/x"),
    ("the same levels in the app", None, "/w?app=t-1/live/0/0&stream=x", "__defaultVhost__/t-1/live/0/0/x"),
    ("levels, escaped", None, "/w?app=t-1%2Flive&stream=x", "__defaultVhost__/t-1/live/x"),
    ("vhost", Some("h.com"), "/w?app=live&stream=a&vhost=v.com", "v.com/live/a"),
    ("a comma is part of a name", None, "/w?app=live&stream=a,b", "__defaultVhost__/live/a,b"),
    ("an extension is part of the name", None, "/w?app=live&stream=a.flv", "__defaultVhost__/live/a.flv"),
];

/// cause, URL, stream
#[rustfmt::skip]
const RTSP: &[(&str, &str, &str)] = &[
    ("a domain", "rtsp://h.com:554/live/a", "h.com/live/a"),
    ("an address", "rtsp://10.0.0.1/live/a", "__defaultVhost__/live/a"),
    ("credentials", "rtsp://u:p@h.com/live/a", "h.com/live/a"),
    ("a query", "rtsp://h.com/live/a?token=x/y&vhost=v.com", "v.com/live/a"),
    ("a trailing slash", "rtsp://h.com/live/a/", "h.com/live/a"),
    ("no app", "rtsp://h.com/a", "h.com/__defaultApp__/a"),
    ("a path alone", "/live/a", "__defaultVhost__/live/a"),
];

/// cause, stream id, stream, action
#[rustfmt::skip]
const SRT: &[(&str, &str, &str, Action)] = &[
    ("publish", "#!::h=example.com,r=live/a,m=publish", "example.com/live/a", Action::Publish),
    ("request", "#!::h=example.com,r=live/a,m=request", "example.com/live/a", Action::Play),
    ("the mode in upper case", "#!::r=live/a,m=PUBLISH", "__defaultVhost__/live/a", Action::Publish),
    ("sends and receives", "#!::r=live/a,m=bidirectional", "__defaultVhost__/live/a", Action::Publish),
    ("no mode", "#!::r=live/a", "__defaultVhost__/live/a", Action::Play),
    ("no host", "#!::r=live/a,m=publish", "__defaultVhost__/live/a", Action::Publish),
    ("an address as host", "#!::h=10.0.0.1:10080,r=live/a", "__defaultVhost__/live/a", Action::Play),
    ("h with one slash is the path", "#!::h=live/a,m=publish", "__defaultVhost__/live/a", Action::Publish),
    ("h with two slashes holds both", "#!::h=v.com/live/a", "v.com/live/a", Action::Play),
    ("h with more slashes", "#!::h=v.com/tenant/live/a", "v.com/tenant/live/a", Action::Play),
    ("r outranks h's path", "#!::h=live/a,r=live/b", "__defaultVhost__/live/b", Action::Play),
    ("r first", "#!::r=live/b,h=v.com", "v.com/live/b", Action::Play),
    ("an empty h is none", "#!::h=,r=live/a", "__defaultVhost__/live/a", Action::Play),
    ("vhost as a parameter", "#!::r=live/a,vhost=v.com", "v.com/live/a", Action::Play),
    ("h outranks the parameter", "#!::h=h.com,r=live/a,vhost=v.com", "h.com/live/a", Action::Play),
    ("a secret behind a question mark", "#!::r=live/a?secret=1,m=publish", "__defaultVhost__/live/a", Action::Publish),
    ("keys nobody knows", "#!::u=admin,r=live/a,t=file,x", "__defaultVhost__/live/a", Action::Play),
    ("a single name", "#!::r=a,m=publish", "__defaultVhost__/live/a", Action::Publish),
    ("several levels", "#!::r=tenant/live/a", "__defaultVhost__/tenant/live/a", Action::Play),
    ("a leading slash", "#!::r=/live/a", "__defaultVhost__/live/a", Action::Play),
    ("quoted as a whole", "\"#!::r=live/a,m=publish\"", "__defaultVhost__/live/a", Action::Publish),
    ("a quoted value", "#!::r='live/a',m=\"publish\"", "__defaultVhost__/live/a", Action::Publish),
    ("escaped as in a URL", "%23!::r=live/a%2Cm=publish", "__defaultVhost__/live/a", Action::Publish),
    ("all of it escaped", "%23%21%3A%3Ar%3Dlive%2Fa%2Cm%3Dpublish", "__defaultVhost__/live/a", Action::Publish),
    ("some of it escaped", "%23!%3a%3ar=live/a,m=publish", "__defaultVhost__/live/a", Action::Publish),
    ("a plain path", "live/a", "__defaultVhost__/live/a", Action::Play),
    ("a plain name", "a", "__defaultVhost__/live/a", Action::Play),
    ("a plain path with a query", "live/a?vhost=v.com", "v.com/live/a", Action::Play),
    ("empty, as VLC sends", "", "__defaultVhost__/live/default", Action::Publish),
    ("empty in quotes", "\"\"", "__defaultVhost__/live/default", Action::Publish),
];

/// cause, tcUrl, name, problem
#[rustfmt::skip]
const REFUSED: &[(&str, &str, &str, StreamError)] = &[
    ("no stream", "rtmp://h.com/live", "", StreamError::EmptyStream),
    ("no stream but slashes", "rtmp://h.com/live/", "//", StreamError::EmptyStream),
    ("only white space", "rtmp://h.com/live", " \r\n", StreamError::EmptyStream),
    ("only a query", "rtmp://h.com/live", "?token=a/b", StreamError::EmptyStream),
    ("nothing at all", "", "", StreamError::EmptyStream),
    ("only _definst_", "rtmp://h.com/", "_definst_", StreamError::EmptyStream),
    ("parent as stream", "rtmp://h.com/live", "..", StreamError::DotSegment),
    ("parent in the app", "rtmp://h.com/live/../x", "s", StreamError::DotSegment),
    ("parent, escaped", "rtmp://h.com/live", "%2e%2E/s", StreamError::DotSegment),
    ("parent with spaces, which vanish", "rtmp://h.com/live", ". ./s", StreamError::DotSegment),
    ("the segment of here", "rtmp://h.com/./live", "s", StreamError::DotSegment),
    ("NUL", "rtmp://h.com/live", "a\0", StreamError::ControlCharacter),
    ("NUL, escaped", "rtmp://h.com/live", "a%00", StreamError::ControlCharacter),
    ("a line break within", "rtmp://h.com/live", "a\nb", StreamError::ControlCharacter),
    ("an escape sequence", "rtmp://h.com/\u{1b}[31m", "s", StreamError::ControlCharacter),
    ("DEL", "rtmp://h.com/live", "a\u{7f}", StreamError::ControlCharacter),
    ("a control character of C1", "rtmp://h.com/live", "a\u{9b}", StreamError::ControlCharacter),
    ("a control character in the host", "rtmp://h\u{1}.com/live", "s", StreamError::ControlCharacter),
    ("a control character in the vhost", "rtmp://h.com/live?vhost=v%01.com", "s", StreamError::ControlCharacter),
];

#[test]
fn an_rtmp_client_names_a_stream() {
    for (cause, tc_url, name, expected) in RTMP {
        let url = StreamUrl::from_rtmp(tc_url, name).map(|url| url.to_string());
        assert_eq!(url.as_deref(), Ok(*expected), "{cause}");
    }
}

#[test]
fn an_http_client_names_a_stream() {
    for (cause, host, target, expected) in HTTP {
        let url = StreamUrl::from_http(*host, target).map(|url| url.to_string());
        assert_eq!(url.as_deref(), Ok(*expected), "{cause}");
    }
}

#[test]
fn a_whip_client_names_a_stream() {
    for (cause, host, target, expected) in WHIP {
        let url = StreamUrl::from_whip(*host, target).map(|url| url.to_string());
        assert_eq!(url.as_deref(), Ok(*expected), "{cause}");
    }
}

#[test]
fn an_rtsp_client_names_a_stream() {
    for (cause, text, expected) in RTSP {
        let url = StreamUrl::from_rtsp(text).map(|url| url.to_string());
        assert_eq!(url.as_deref(), Ok(*expected), "{cause}");
    }
}

#[test]
fn an_srt_caller_names_a_stream_and_an_action() {
    for (cause, id, expected, action) in SRT {
        let named = SrtStreamId::parse(id, "#!::r=live/default,m=publish").unwrap();
        assert_eq!(named.stream.to_string(), *expected, "{cause}");
        assert_eq!(named.action, *action, "{cause}");
    }
}

#[test]
fn a_hostile_or_empty_name_is_refused() {
    for (cause, tc_url, name, expected) in REFUSED {
        assert_eq!(
            StreamUrl::from_rtmp(tc_url, name),
            Err(*expected),
            "{cause}"
        );
    }
    for (cause, target, expected) in [
        ("only an extension", "/live/.flv", StreamError::EmptyStream),
        (
            "an extension behind _definst_",
            "/live/_definst_.flv",
            StreamError::EmptyStream,
        ),
        (
            "an extension behind a parent",
            "/live/...flv",
            StreamError::DotSegment,
        ),
        ("a page of nothing", "/.m3u8", StreamError::EmptyStream),
        ("the root", "/", StreamError::EmptyStream),
        (
            "an app alone in the query",
            "/?app=live",
            StreamError::EmptyStream,
        ),
        (
            "parents, escaped",
            "/live/%2e%2e/%2e%2e/etc/passwd",
            StreamError::DotSegment,
        ),
    ] {
        assert_eq!(StreamUrl::from_http(None, target), Err(expected), "{cause}");
    }
    for (cause, id, default, expected) in [
        (
            "an unknown mode",
            "#!::r=live/a,m=play",
            "",
            StreamError::SrtMode,
        ),
        ("an empty mode", "#!::r=live/a,m=", "", StreamError::SrtMode),
        (
            "no resource",
            "#!::h=v.com,m=publish",
            "",
            StreamError::EmptyStream,
        ),
        (
            "an empty resource",
            "#!::r=,m=publish",
            "",
            StreamError::EmptyStream,
        ),
        ("no id and no default", "", "", StreamError::EmptyStream),
        ("a prefix alone", "#!::", "", StreamError::EmptyStream),
    ] {
        assert_eq!(SrtStreamId::parse(id, default), Err(expected), "{cause}");
    }
    for (cause, id) in [
        ("MediaMTX publishes", "publish:live/a"),
        ("MediaMTX with a login", "publish:live/a:user:pass"),
        ("MediaMTX reads", "read:live/a"),
        ("datarhei publishes", "live/a,mode:publish,token:t"),
        ("datarhei plays", "a,token:t"),
        ("OvenMediaEngine", "srt://h:1/live/a"),
        ("OvenMediaEngine, escaped", "srt%3A%2F%2Fh%3A1%2Flive%2Fa"),
        ("another URL", "rtmp://h/live/a?token=t"),
    ] {
        let read = SrtStreamId::parse(id, "");
        let is_told = matches!(read, Err(StreamError::Dialect { dialect: "srs", rule }) if rule.contains("another server"));
        assert!(is_told, "{cause}: {read:?}");
    }
    for (cause, id) in [
        ("a name that begins so", "publish"),
        ("a colon elsewhere", "live/publish:a"),
        ("a comma", "live/a,b"),
        ("a URL in the query", "live/a?back=http://h/"),
    ] {
        let read = SrtStreamId::parse(id, "").unwrap();
        assert_eq!(read.action, Action::Play, "{cause}");
    }
    let whip = StreamUrl::from_whip(None, "/w?app=live&stream=/");
    assert_eq!(whip, Err(StreamError::EmptyStream));
    let rtsp = StreamUrl::from_rtsp("rtsp://h.com/");
    assert_eq!(rtsp, Err(StreamError::EmptyStream));
}

#[test]
fn every_part_has_a_limit() {
    let length = |vhost: usize, app: usize, stream: usize| {
        let vhost = format!("{}.com", "a".repeat(vhost - ".com".len()));
        let url = format!("rtmp://{vhost}/{}", "b".repeat(app));
        StreamUrl::from_rtmp(&url, &"c".repeat(stream)).map(|url| url.to_string().len())
    };
    let too_long = |part, limit| Err(StreamError::TooLong { part, limit });
    assert_eq!(length(253, 256, 512), Ok(253 + 1 + 256 + 1 + 512));
    assert_eq!(length(254, 1, 1), too_long("vhost", 253));
    assert_eq!(length(10, 257, 1), too_long("app", 256));
    assert_eq!(length(10, 1, 513), too_long("stream", 512));
    let deep = StreamUrl::new("", &"x/".repeat(10_000), "s");
    assert_eq!(deep.map(|url| url.to_string().len()), too_long("app", 256));
}

#[test]
fn every_protocol_means_the_same_stream() {
    let expected = StreamUrl::new("example.com", "live", "a").unwrap();
    let srt = SrtStreamId::parse("#!::h=example.com,r=live/a,m=publish", "").unwrap();
    let spellings = [
        StreamUrl::from_rtmp("rtmp://example.com:1935/live", "a?token=1"),
        StreamUrl::from_http(Some("example.com"), "/live/a.flv"),
        StreamUrl::from_whip(Some("EXAMPLE.com:1985"), "/rtc/v1/whep/?app=live&stream=a"),
        StreamUrl::from_rtsp("rtsp://example.com:8554/live/a"),
        "example.com/live/a".parse(),
        Ok(srt.stream),
    ];
    for spelling in spellings {
        assert_eq!(spelling, Ok(expected.clone()));
    }
}

#[test]
fn text_that_is_no_stream_is_not_parsed() {
    for (cause, text, expected) in [
        ("nothing", "", StreamError::Incomplete),
        ("two parts", "live/a", StreamError::Incomplete),
        ("no vhost", "/live/a", StreamError::Incomplete),
        ("no app", "v.com//a", StreamError::Incomplete),
        ("no stream", "v.com/live/", StreamError::EmptyStream),
    ] {
        assert_eq!(text.parse::<StreamUrl>(), Err(expected), "{cause}");
    }
}

#[test]
fn a_vhost_counts_as_the_rule_says() {
    let domain = StreamUrl::new("a.com", "live", "s").unwrap();
    let other = StreamUrl::new("b.com", "live", "s").unwrap();
    let address = StreamUrl::new("10.0.0.1", "live", "s").unwrap();
    let listed = VhostRule::listed(["A.com."]).unwrap();
    let keys = |rule: &VhostRule| [&domain, &other, &address].map(|url| rule.key(url).to_string());

    let default = "__defaultVhost__/live/s";
    assert_eq!(keys(&VhostRule::default()), [default, default, default]);
    assert_eq!(
        keys(&VhostRule::Separate),
        ["a.com/live/s", "b.com/live/s", default]
    );
    assert_eq!(keys(&listed), ["a.com/live/s", default, default]);
    for name in ["10.0.0.1", "localhost", ""] {
        assert_eq!(
            VhostRule::listed([name]),
            Err(StreamError::NotAVhost),
            "{name:?}"
        );
    }
}

/// Text made of what has a meaning in the rules, in any order.
fn hostile_text() -> impl Strategy<Value = String> {
    #[rustfmt::skip]
    let special = vec![
        "/", "//", "?", "#", "&", "=", "%", "%2f", "%2e", "%41", "%00", ".", "..", " ", "\t", "\r\n", ":", "@", "[",
        "]", ",", "'", "\"", "://", "rtmp://", "vhost=", "domain=", "app=", "stream=", "...vhost...", "/_definst_",
        "_definst_", ".flv", ".ts", "h=", "r=", "m=", "publish", "#!::", "v.com", "10.0.0.1", "__defaultVhost__",
        "直", "\u{85}",
    ];
    let token = prop_oneof![
        4 => "[a-zA-Z0-9_.-]{1,4}",
        3 => prop::sample::select(special).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(token, 0..12).prop_map(|tokens| tokens.concat())
}

/// The streams that the functions accept from two texts.
fn accepted(one: &str, two: &str) -> Vec<StreamUrl> {
    let srt = |id: &str, default: &str| SrtStreamId::parse(id, default).map(|id| id.stream);
    let results = [
        StreamUrl::from_rtmp(one, two),
        StreamUrl::from_rtmp(&format!("rtmp://{one}"), two),
        StreamUrl::from_http(Some(one), two),
        StreamUrl::from_http(None, &format!("/?app={one}&stream={two}")),
        StreamUrl::from_whip(Some(one), two),
        StreamUrl::from_whip(None, &format!("/?app={one}&stream={two}")),
        StreamUrl::from_rtsp(one),
        srt(one, two),
        srt(&format!("#!::r={one},h={two}"), ""),
        StreamUrl::new(one, two, one),
        one.parse(),
    ];
    results.into_iter().flatten().collect()
}

proptest! {
    #[test]
    fn parsing_undoes_display(one in hostile_text(), two in hostile_text()) {
        for url in accepted(&one, &two) {
            prop_assert_eq!(url.to_string().parse(), Ok(url.clone()));
            // A path of segments alone has no parameters that are a part of the name.
            if !url.stream().starts_with('?') {
                prop_assert_eq!(StreamUrl::of_path(url.vhost(), url.path()), Ok(url.clone()));
            }
            // A path of one segment has no app, and this form gives it the default one.
            if url.path().contains('/') {
                prop_assert_eq!(StreamUrl::new(url.vhost(), url.app(), url.stream()), Ok(url));
            }
        }
    }

    #[test]
    fn whatever_is_accepted_is_clean(one in hostile_text(), two in hostile_text()) {
        for url in accepted(&one, &two) {
            let text = url.to_string();
            prop_assert!(!text.contains(|c: char| c.is_control() || c == ' '), "{:?}", text);
            prop_assert!(text.split('/').all(|part| !matches!(part, "" | "." | ".." | "_definst_")), "{:?}", text);
            prop_assert!(!url.vhost().contains('/') && !url.stream().contains('/'), "{:?}", text);
            prop_assert!(text.len() <= 253 + 256 + 512 + 2);
        }
    }

    #[test]
    fn distinct_streams_never_share_a_key(
        one in hostile_text(),
        two in hostile_text(),
        three in "[a-c/._-]{0,6}",
        four in "[a-c/._-]{0,6}",
    ) {
        let mut streams = accepted(&one, &two);
        streams.extend(accepted(&three, &four));
        for first in &streams {
            for second in &streams {
                let separate = VhostRule::Separate.key(first) == VhostRule::Separate.key(second);
                prop_assert_eq!(separate, first == second, "{} and {}", first, second);
                let ignored = VhostRule::Ignored.key(first) == VhostRule::Ignored.key(second);
                let alike = (first.app(), first.stream()) == (second.app(), second.stream());
                prop_assert_eq!(ignored, alike, "{} and {}", first, second);
            }
        }
    }
}
