//! Whatever a manifest lists, it goes on at another origin within bounds: what proxies write down of that is as long as a record
//! may be, and is read again as it was.

use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::http::continued::{Continued, Listed};
use sluicegate_core::http::periods::{Manifest, joined};
use sluicegate_core::http::splice::{Gaps, LONGEST, Listing, Loss, Run, Seen};

/// The data is two manifests with a zero between them: that of the origin that is lost, and that of the next one.
pub fn law(data: &[u8]) {
    let end = data.iter().position(|&byte| byte == 0);
    let (first, second) = data.split_at(end.unwrap_or(data.len()));
    let texts = [first, second.get(1..).unwrap_or_default()].map(std::str::from_utf8);
    let [Ok(first), Ok(second)] = texts else {
        return;
    };
    let Ok(lost) = Manifest::read(first) else {
        return;
    };
    let (seen, now) = (SEEN, SEEN + 3_000);
    let (one, two) = (OriginId::from("one"), OriginId::from("two"));
    let run = Run {
        origin: &one,
        authority: "10.0.0.1:8080",
        folder: None,
        gone: true,
    };
    let loss = Loss {
        since: seen,
        noted: seen,
        until: now,
    };
    let listed = Listed::Manifest(lost);
    let Some(away) = Continued::lose(None, &listed, run, loss, seen) else {
        return;
    };
    is_kept(&away);
    let held = away
        .away(now, |_| true, Gaps::Listed)
        .expect("what viewers had");
    assert!(!shown(&held).is_empty());

    let Ok(next) = Manifest::read(second) else {
        return;
    };
    let listed = Listed::Manifest(next);
    let Some(on) = away.found(&two, &listed, now, Seen::all(now)) else {
        return;
    };
    assert!(on.epoch() > away.epoch() && !on.is_away());
    is_kept(&on);
    let shown = shown(
        &on.on(&listed, now, |_| true, Gaps::Listed)
            .expect("an origin has it"),
    );
    assert!(!shown.is_empty());
}

fn is_kept(continued: &Continued) {
    let text = continued.text();
    assert!(text.len() <= LONGEST, "{} bytes", text.len());
    assert_eq!(Continued::read(&text).as_ref(), Some(continued));
}

fn shown(listing: &Listing) -> Vec<u8> {
    let pieces = listing.pieces.iter();
    let pieces: Vec<Vec<u8>> = pieces
        .map(|piece| piece.text.clone().into_bytes())
        .collect();
    joined(&pieces)
}

/// When the first is read, in milliseconds since 1970.
const SEEN: u64 = 1_795_933_465_000;
