//! What a viewer sees whose balancer sends each request to the other of two proxies.

use crate::house::{House, get, until_told};
use crate::http_pieces::{Packager, Reply};

/// An origin whose packager answers requests for `path` with `list`, while there is one.
pub(crate) async fn packager(
    path: &'static str,
    list: impl Fn() -> Option<String> + Send + Sync + 'static,
) -> Packager {
    Packager::start(move |target, _| match list() {
        Some(text) if target.starts_with(path) => Reply::ok("", text),
        _ => Reply::missing(),
    })
    .await
}

/// Asks for `path` until both proxies were asked and `see` has seen enough. Each answer is a list.
pub(crate) async fn watch(
    houses: [&House; 2],
    path: &str,
    what: &str,
    mut see: impl FnMut(&str) -> bool,
) {
    let mut turn = 0;
    until_told(what, async || {
        turn += 1;
        let (status, text) = get(houses[turn % 2].at.http, path).await;
        assert_eq!(status, 200, "{what}: {text}");
        let has_seen_enough = see(&text);
        turn > 1 && has_seen_enough
    })
    .await;
}
