//! What the head of an origin's answer says of places: redirects, other documents, and where cookies belong. Clients are to
//! find these where they find what pages list.

use std::net::IpAddr;

use super::page::{Page, Whereto, split_port};

/// The headers that name places, in small letters.
pub const HEADERS: [&str; 4] = ["content-location", "link", "location", "set-cookie"];

/// The value of one of the [`HEADERS`] as clients get it; `None` where it stays as it is.
///
/// A redirect, and what `Link` says to fetch ahead, get the page's link where it `may_link`: a head that several viewers get
/// may not hold the link of one of them.
pub fn header(name: &str, value: &[u8], page: &Page<'_>, may_link: bool) -> Option<Vec<u8>> {
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    let written = if is("location") {
        redirect(value.trim_ascii(), page, may_link)
    } else if is("content-location") {
        place(value.trim_ascii(), page, false)
    } else if is("link") {
        links(value, page, may_link)
    } else if is("set-cookie") {
        return cookie(value, page);
    } else {
        return None;
    };
    (written != value).then_some(written)
}

/// A `Link` in an answer to a call, without what only an origin could answer: it is at no path of ours. `is_within` says whether a
/// URI names a machine of the fleet, by whatever port. `None` where nothing is left of it.
///
/// ICE servers stay: clients are meant to reach them where they are.
pub fn links_of_call(
    value: &[u8],
    page: &Page<'_>,
    is_within: impl Fn(&str) -> bool,
) -> Option<Vec<u8>> {
    let is_elsewhere = |one: &&[u8]| {
        let uri = one
            .strip_prefix(b"<")
            .and_then(|uri| uri.split(|&byte| byte == b'>').next());
        let within = |uri| std::str::from_utf8(uri).is_ok_and(&is_within);
        uri.is_some_and(|uri| page.whereto(uri) == Whereto::Elsewhere && !within(uri))
    };
    let links = values(value).map(<[u8]>::trim_ascii);
    let left: Vec<&[u8]> = links.filter(is_elsewhere).collect();
    (!left.is_empty()).then(|| left.join(b", ".as_slice()))
}

/// How an origin names itself that knows its own port, and the rest from its client: by our host, which clients named, and that
/// port.
pub fn at_port(host: &str, port: u16) -> String {
    format!("{}:{port}", split_port(host).0)
}

/// A redirect. One that names us by `https` keeps its scheme and host: it may be meant to leave plain HTTP. Any other scheme is
/// what the origin saw of our own connection to it, which says nothing of the client's.
fn redirect(uri: &[u8], page: &Page<'_>, may_link: bool) -> Vec<u8> {
    let origins = Page {
        host: "",
        site: "",
        ..*page
    };
    match (origins.whereto(uri), page.whereto(uri)) {
        (Whereto::Elsewhere, Whereto::Origin(target)) if is_https(uri) => {
            let authority = uri.len() - target.len();
            let mut out = uri.get(..authority).unwrap_or_default().to_vec();
            let rooted = match target {
                [b'/', ..] => target.to_vec(),
                target => [b"/".as_slice(), target].concat(),
            };
            out.extend(place(&rooted, page, may_link));
            out
        }
        _ => place(uri, page, may_link),
    }
}

fn is_https(uri: &[u8]) -> bool {
    let scheme = uri.split_first_chunk::<6>();
    scheme.is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case(b"https:"))
}

fn place(uri: &[u8], page: &Page<'_>, may_link: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(uri.len() * 2);
    match may_link {
        true => page.write_uri(uri, &mut out),
        false => page.write_bare(uri, &mut out),
    }
    out
}

/// The links of a `Link` (RFC 8288 §3).
fn links(value: &[u8], page: &Page<'_>, may_link: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() * 2);
    for (number, one) in values(value).enumerate() {
        if number > 0 {
            out.push(b',');
        }
        let opened = one.iter().position(|&byte| byte == b'<');
        let opened = opened.map_or(one.len(), |at| at + 1);
        let (before, uri) = one.split_at_checked(opened).unwrap_or((one, b""));
        let end = uri.iter().position(|&byte| byte == b'>').unwrap_or(0);
        let (uri, parameters) = uri.split_at_checked(end).unwrap_or((b"", uri));
        out.extend(before);
        if !uri.is_empty() {
            out.extend(place(uri, page, may_link && is_fetched_ahead(parameters)));
        }
        out.extend(parameters);
    }
    out
}

/// The values between the commas of a header, of which those within quotes or a URI are none. There is at least one.
fn values(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped, mut in_uri) = (false, false, false);
    header.split(move |&byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if !in_uri => quoted = !quoted,
            b'<' if !quoted => in_uri = true,
            b'>' if !quoted => in_uri = false,
            b',' => return !quoted && !in_uri,
            _ => {}
        }
        false
    })
}

fn is_fetched_ahead(parameters: &[u8]) -> bool {
    let parameters = parameters.to_ascii_lowercase();
    [b"preload".as_slice(), b"prefetch"].iter().any(|relation| {
        let mut windows = parameters.windows(relation.len());
        windows.any(|window| window == *relation)
    })
}

/// A `Set-Cookie` (RFC 6265 §4.1.1): its path gets the folder that clients know, and a domain that is not the client's name for
/// us goes, because browsers keep no such cookie (§5.3).
fn cookie(cookie: &[u8], page: &Page<'_>) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(cookie).ok()?;
    let attribute = |part: &str| {
        let (name, value) = part.split_once('=')?;
        Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
    };
    let is_foreign = |part: &str| {
        attribute(part)
            .is_some_and(|(name, domain)| name == "domain" && !covers(&domain, page.host))
    };
    let (named, attributes) = text.split_once(';')?;
    let attributes = attributes.split(';').filter(|part| !is_foreign(part));
    let mut kept: Vec<String> = attributes.map(str::to_owned).collect();
    let path = |part: &str| {
        let (_, path) = attribute(part).filter(|(name, _)| name == "path")?;
        let is_ours = path.starts_with('/') && !path.starts_with("//");
        (is_ours && !page.base.is_empty()).then(|| format!(" Path={}{path}", page.base))
    };
    // Of several the last one counts (§5.2.4).
    if let Some(last) = kept.iter_mut().rev().find(|part| path(part).is_some())
        && let Some(placed) = path(last)
    {
        *last = placed;
    }
    kept.insert(0, named.to_owned());
    let written = kept.join(";").into_bytes();
    (written != cookie).then_some(written)
}

/// Whether a cookie for `domain` is kept by a client that knows us as `host` (RFC 6265 §5.1.3).
fn covers(domain: &str, host: &str) -> bool {
    let domain = domain.strip_prefix('.').unwrap_or(domain);
    let (host, _) = split_port(host);
    if host.eq_ignore_ascii_case(domain) || domain.is_empty() {
        return true;
    }
    let is_address = host.parse::<IpAddr>().is_ok() || host.starts_with('[');
    let before = host.len().checked_sub(domain.len());
    let within = before.and_then(|before| Some((host.get(..before)?, host.get(before..)?)));
    within.is_some_and(|(before, end)| {
        !is_address && before.ends_with('.') && end.eq_ignore_ascii_case(domain)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGE: Page<'_> = Page::EXAMPLE;
    const BELOW: Page<'_> = Page {
        base: "/media",
        ..PAGE
    };

    fn told(name: &str, value: &str, page: &Page<'_>, may_link: bool) -> String {
        let written = header(name, value.as_bytes(), page, may_link);
        written.map_or_else(
            || value.to_owned(),
            |written| String::from_utf8(written).unwrap(),
        )
    }

    #[test]
    fn a_redirect_leads_to_us_with_the_link() {
        // A description; the place; with the link; without it.
        let rows = [
            ("relative", "b.m3u8", "b.m3u8?spbhid=LINK", "b.m3u8"),
            (
                "a query",
                "?cookieCheck=1",
                "?cookieCheck=1&spbhid=LINK",
                "?cookieCheck=1",
            ),
            (
                "from the root",
                "/live/b.m3u8?x=1",
                "/live/b.m3u8?x=1&spbhid=LINK",
                "/live/b.m3u8?x=1",
            ),
            (
                "the origin in full",
                "http://10.0.0.1:8080/live/b.m3u8",
                "/live/b.m3u8?spbhid=LINK",
                "/live/b.m3u8",
            ),
            (
                "without a scheme",
                "//10.0.0.1:8080//b.m3u8",
                "/.//b.m3u8?spbhid=LINK",
                "/.//b.m3u8",
            ),
            (
                "us, by another scheme",
                "https://play.example.com/live/a.m3u8",
                "https://play.example.com/live/a.m3u8?spbhid=LINK",
                "https://play.example.com/live/a.m3u8",
            ),
            (
                "us, by the scheme that the origin saw",
                "http://play.example.com/live/b.m3u8?x=1",
                "/live/b.m3u8?x=1&spbhid=LINK",
                "/live/b.m3u8?x=1",
            ),
            (
                "us, in other letters",
                "HTTP://Play.Example.com/live/b.m3u8",
                "/live/b.m3u8?spbhid=LINK",
                "/live/b.m3u8",
            ),
            (
                "us without a scheme",
                "//play.example.com/live/b.m3u8",
                "/live/b.m3u8?spbhid=LINK",
                "/live/b.m3u8",
            ),
            (
                "us by name, and a path of two slashes",
                "http://play.example.com//b.m3u8",
                "/.//b.m3u8?spbhid=LINK",
                "/.//b.m3u8",
            ),
            (
                "us and no path",
                "https://play.example.com",
                "https://play.example.com/?spbhid=LINK",
                "https://play.example.com/",
            ),
            (
                "a stranger",
                "https://cdn.example/live/a.m3u8",
                "https://cdn.example/live/a.m3u8",
                "https://cdn.example/live/a.m3u8",
            ),
            ("nothing", "", "", ""),
        ];
        for (cause, uri, linked, bare) in rows {
            assert_eq!(told("Location", uri, &PAGE, true), linked, "{cause}");
            assert_eq!(told("location", uri, &PAGE, false), bare, "{cause}");
            assert_eq!(told("x-location", uri, &PAGE, true), uri, "{cause}");
        }
        assert_eq!(
            told("Location", "/a.ts", &BELOW, true),
            "/media/a.ts?spbhid=LINK"
        );
        assert_eq!(told("Location", "/a.ts", &BELOW, false), "/media/a.ts");
        assert_eq!(
            told("Location", "http://play.example.com/a.ts", &BELOW, false),
            "/media/a.ts"
        );
        assert_eq!(
            told(
                "Content-Location",
                "http://10.0.0.1:8080/a.m3u8",
                &BELOW,
                true
            ),
            "/media/a.m3u8"
        );
    }

    #[test]
    fn a_redirect_at_another_path_leads_to_the_origins_folder() {
        let page = Page {
            folder: Some("/hls/a/"),
            ..BELOW
        };
        assert_eq!(
            told("location", "b.m3u8", &page, true),
            "/media/hls/a/b.m3u8?spbhid=LINK"
        );
        assert_eq!(
            told("location", "b.m3u8", &page, false),
            "/media/hls/a/b.m3u8"
        );
    }

    #[test]
    fn what_is_fetched_ahead_gets_the_link_and_nothing_names_the_origin() {
        let rows = [
            (
                "a preload",
                "<a-1.ts>; rel=preload; as=video",
                "<a-1.ts?spbhid=LINK>; rel=preload; as=video",
            ),
            (
                "several",
                "</i.mp4>; rel=\"Preload\", <http://10.0.0.1:8080/x>;rel=alternate,<https://cdn.example/b>; rel=preload",
                "</i.mp4?spbhid=LINK>; rel=\"Preload\", </x>;rel=alternate,<https://cdn.example/b>; rel=preload",
            ),
            (
                "commas within",
                "<a,b.ts>; title=\"x, <y>; \\\" z\"; rel=next, <c.ts>; rel=prefetch",
                "<a,b.ts>; title=\"x, <y>; \\\" z\"; rel=next, <c.ts?spbhid=LINK>; rel=prefetch",
            ),
            ("another relation", "</>; rel=home", "</>; rel=home"),
            ("no link at all", "rel=preload,, x", "rel=preload,, x"),
            (
                "one that is never closed",
                "<a-1.ts; rel=preload",
                "<a-1.ts; rel=preload",
            ),
        ];
        for (cause, value, expected) in rows {
            assert_eq!(told("link", value, &PAGE, true), expected, "{cause}");
        }
        let preload = "<http://10.0.0.1:8080/a-1.ts>; rel=preload";
        assert_eq!(
            told("link", preload, &BELOW, false),
            "</media/a-1.ts>; rel=preload"
        );
    }

    #[test]
    fn a_caller_hears_of_no_place_at_the_origin() {
        let rows = [
            (
                "ICE servers",
                "<stun:a>; rel=\"ice-server\", <turn:b>",
                Some("<stun:a>; rel=\"ice-server\", <turn:b>"),
            ),
            (
                "an extension at the origin",
                "<http://10.0.0.1:8080/whep/1/sse>; rel=\"urn:ietf:params:whep:ext:core:server-sent-events\", <stun:a>",
                Some("<stun:a>"),
            ),
            ("a relative one", "</whep/1/layer>; rel=x", None),
            (
                "another port and scheme of the origin, and another origin",
                "<wss://10.0.0.1:9/sse>; rel=x, <http://10.0.0.2/l>; rel=y, <turn:10.0.0.1:3478>; rel=\"ice-server\"",
                Some("<turn:10.0.0.1:3478>; rel=\"ice-server\""),
            ),
            (
                "another server's",
                "<https://a.example/x>; rel=y",
                Some("<https://a.example/x>; rel=y"),
            ),
            ("none", "", None),
        ];
        for (cause, value, expected) in rows {
            let left = links_of_call(value.as_bytes(), &PAGE, |uri| uri.contains("//10.0.0."));
            assert_eq!(left.as_deref(), expected.map(str::as_bytes), "{cause}");
        }
    }

    #[test]
    fn cookies_are_for_the_clients_name_and_folder() {
        let rows = [
            ("nothing of the kind", "a=1; HttpOnly", "a=1; HttpOnly"),
            (
                "a path",
                "a=1; Path=/cam1; Secure",
                "a=1; Path=/media/cam1; Secure",
            ),
            ("in other letters", "a=1;path=/", "a=1; Path=/media/"),
            ("a value that looks like one", "path=/x", "path=/x"),
            ("no path of ours", "a=1; Path=cam1", "a=1; Path=cam1"),
            (
                "the last path counts",
                "a=1; Path=/x; Path=/y",
                "a=1; Path=/x; Path=/media/y",
            ),
            (
                "the origin's address",
                "a=1; Domain=10.0.0.1; Secure",
                "a=1; Secure",
            ),
            (
                "the origin's name",
                "domain=x; domain=.origin.internal;Path=/",
                "domain=x; Path=/media/",
            ),
            (
                "our name",
                "a=1; Domain=play.example.com",
                "a=1; Domain=play.example.com",
            ),
            (
                "a part of it",
                "a=1; Domain=.Example.com",
                "a=1; Domain=.Example.com",
            ),
            ("half a label", "a=1; Domain=ample.com", "a=1"),
            ("a longer name", "a=1; Domain=x.play.example.com", "a=1"),
        ];
        for (cause, value, expected) in rows {
            assert_eq!(told("set-cookie", value, &BELOW, true), expected, "{cause}");
        }
        let at_root = "a=1; Path=/cam1";
        assert_eq!(told("set-cookie", at_root, &PAGE, true), at_root);
        let by_address = Page {
            host: "192.0.2.1:8080",
            ..PAGE
        };
        for (domain, expected) in [("192.0.2.1", "a=1; Domain=192.0.2.1"), ("2.1", "a=1")] {
            let value = format!("a=1; Domain={domain}");
            assert_eq!(told("set-cookie", &value, &by_address, true), expected);
        }
    }

    proptest! {
        /// Whatever an origin writes, what clients get stays as it is when it comes by again, and nothing panics.
        #[test]
        fn twice_is_once(name in 0..HEADERS.len(), value in "[ -~é]{0,60}", may_link: bool) {
            let name = HEADERS[name];
            let once = told(name, &value, &PAGE, may_link);
            prop_assert_eq!(told(name, &once, &PAGE, may_link), once);
            let _ = links_of_call(value.as_bytes(), &PAGE, |uri| uri.contains("//10.0.0."));
        }
    }
}
