//! Viewers that were let in: from their first playlist on, the links that they get show it.

use sluicegate_core::http::link::{Link, Viewing};
use sluicegate_core::http::segment::Owners;
use sluicegate_core::stream::{Action, StreamUrl};

use crate::proxy::{PieceGuard, Proxy, Refusal, Request};

/// Whose file a request may be for, and what speaks for it.
#[derive(Debug, Clone)]
pub(super) struct Named<'a> {
    /// All who may be.
    pub(super) owners: Owners,
    /// The link that was shown.
    pub(super) link: Option<&'a Link>,
    /// Whether a page of the link's stream listed the path.
    pub(super) is_listed: bool,
}

/// Takes a request through the gate. A link that was given to somebody who was let in speaks for what is its stream's by name,
/// or was listed by a page of it. For anything else the gate is asked, by each name that the path may stand for: the origin
/// decides what the path is, and would serve a stream that one may not have by the name of another.
pub(super) async fn admitted(
    proxy: &Proxy,
    asked: Request,
    Named {
        mut owners,
        link,
        is_listed,
    }: Named<'_>,
    viewing: Option<&Viewing>,
) -> Result<PieceGuard, Refusal> {
    let named = link.map(|link| link.origin.clone());
    let is_its_own = is_listed || owners.own().any(|name| belongs(name, &asked.stream));
    if let Some(viewing) = viewing {
        let mut unspoken = owners.clone();
        unspoken.beside.retain(|name| !belongs(name, &asked.stream));
        if is_its_own || !proxy.may_judge_owners(&unspoken) {
            return proxy.place_viewing(asked, &owners, named, viewing);
        }
        owners = unspoken;
    }
    if link.is_none() {
        let asked = in_its_folder(proxy, asked, &owners);
        return proxy.place(asked, &owners, named).await;
    }
    if !proxy.may_judge_owners(&owners) {
        // It is asked of the origin of a stream that a rule may be about.
        owners.named.push(asked.stream.clone());
    }
    proxy.place(asked, &owners, named).await
}

/// A request as one for the stream in whose folder the file lies, where a rule is about that and about no nearer name: so it is
/// counted, and asked of the origin, with the rest of that stream.
fn in_its_folder(proxy: &Proxy, asked: Request, owners: &Owners) -> Request {
    let is_guarded = |name: &StreamUrl| proxy.may_judge(name, Action::Play);
    if !proxy.has_rules() || is_guarded(&asked.stream) {
        return asked;
    }
    let mut folders = owners.around.iter().rev();
    let folder = folders.find(|name| belongs(&asked.stream, name) && is_guarded(name));
    match folder {
        Some(folder) => Request {
            stream: folder.clone(),
            ..asked
        },
        None => asked,
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
