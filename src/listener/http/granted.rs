//! Viewers that were let in: from their first playlist on, the links that they get show it.

use sluicegate_core::http::link::{Link, Viewing};
use sluicegate_core::stream::{Action, StreamUrl};

use crate::proxy::{Grant, PieceGuard, Proxy, Refusal, Request, Verdict};

/// What the path of a request may stand for, and what speaks for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'a> {
    /// All names.
    pub(super) readings: &'a [StreamUrl],
    /// The link that was shown.
    pub(super) link: Option<&'a Link>,
    /// Whether a page of the link's stream listed the path.
    pub(super) is_listed: bool,
}

/// Takes a request through the gate. A link that was given to somebody who was let in speaks for what belongs to its
/// stream, or was listed by a page of it. For anything else the gate is asked, by each name that the path may stand for: the
/// origin decides what the path is, and would serve a stream that one may not have by the name of another.
pub(super) async fn admitted(
    proxy: &Proxy,
    asked: Request,
    Named {
        readings,
        link,
        is_listed,
    }: Named<'_>,
    viewing: Option<&Viewing>,
) -> Result<PieceGuard, Refusal> {
    let named = link.map(|link| link.origin.clone());
    let by_name = |name: &StreamUrl| Request {
        stream: name.clone(),
        ..asked.clone()
    };
    let mut banned = readings.iter().filter(|_| proxy.has_bans()).map(by_name);
    if let Some(banned) = banned.find(|request| proxy.is_banned(request)) {
        return proxy.place_admitted(banned, named, Grant::default());
    }
    let is_its_own = is_listed || readings.iter().any(|name| belongs(name, &asked.stream));
    let mut guarded: Vec<StreamUrl> = readings.to_vec();
    guarded.retain(|name| proxy.may_judge(name, Action::Play));
    if let Some(viewing) = viewing
        && (guarded.is_empty() || is_its_own)
    {
        return proxy.place_viewing(asked, named, viewing);
    }
    let mut refused = None;
    for name in guarded {
        if name == asked.stream {
            continue;
        }
        let by_name = by_name(&name);
        if let Verdict::Yes(grant) = proxy.admit(&by_name).await {
            return proxy.place_admitted(asked, named, grant);
        }
        refused = Some(by_name);
    }
    // What a link's own stream may have says nothing of a path that is another's.
    let is_anothers = link.is_some() && !is_its_own;
    match refused {
        // Not the name that it would be placed by is guarded, but another that it may have.
        Some(by_name) if is_anothers || !proxy.may_judge(&asked.stream, Action::Play) => {
            proxy.place(by_name, named).await
        }
        _ => proxy.place(asked, named).await,
    }
}

/// Whether what a path may stand for is `stream`, or lies in its folder.
pub(super) fn belongs(name: &StreamUrl, stream: &StreamUrl) -> bool {
    let rest = name.path().strip_prefix(stream.path());
    let is_within = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    name.vhost() == stream.vhost() && is_within
}

/// Whether a playlist or manifest lists pieces, and is asked for again and again.
pub(super) fn is_live_media(body: &[u8]) -> bool {
    let holds = |text: &str| memmem(body, text.as_bytes());
    if holds("<MPD") {
        return holds("type=\"dynamic\"");
    }
    holds("#EXT-X-TARGETDURATION") && !holds("#EXT-X-ENDLIST")
}

fn memmem(body: &[u8], text: &[u8]) -> bool {
    body.windows(text.len()).any(|window| window == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_speaks_for_its_stream_and_what_lies_in_its_folder() {
        let url = |text: &str| format!("h.example/{text}").parse::<StreamUrl>().unwrap();
        let rows = [
            ("itself", "live/a", true),
            ("a piece in its folder", "live/a/v0", true),
            ("a piece in a folder of that", "live/a/hi/v0", true),
            ("another", "live/b", false),
            ("a longer name", "live/ab", false),
            ("a longer folder", "live/ab/v0", false),
            ("its app", "live/x/a", false),
        ];
        for (cause, name, expected) in rows {
            assert_eq!(belongs(&url(name), &url("live/a")), expected, "{cause}");
        }
        assert!(!belongs(
            &"other.example/live/a/v0".parse().unwrap(),
            &url("live/a")
        ));
    }

    #[test]
    fn live_media_is_told_from_what_is_asked_for_once() {
        let rows = [
            (
                "a live playlist",
                "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\na.ts\n",
                true,
            ),
            (
                "a recording",
                "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\na.ts\n#EXT-X-ENDLIST\n",
                false,
            ),
            (
                "a master playlist",
                "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n",
                false,
            ),
            ("a live manifest", "<MPD type=\"dynamic\"></MPD>", true),
            (
                "a manifest of a recording",
                "<MPD type=\"static\"></MPD>",
                false,
            ),
            ("nothing", "", false),
        ];
        for (cause, body, expected) in rows {
            assert_eq!(is_live_media(body.as_bytes()), expected, "{cause}");
        }
    }
}
