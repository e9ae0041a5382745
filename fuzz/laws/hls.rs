//! A playlist keeps its lines, only lines with a URI change, and rewriting twice is the same as once. A player of ours finds only what
//! stands in it, and goes on from where it was.

use sluicegate_core::http::hls::rewrite;
use sluicegate_core::http::page::Page;
use sluicegate_core::http::playlist::{Playlist, Segments};

/// The data is a playlist.
pub fn law(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data) {
        played(text);
    }
    let page = Page {
        host: "play.example.com",
        origin: &["10.0.0.1:8080"],
        link: "LINK",
        report: "LINK",
        base: "",
        folder: None,
        site: "https://play.example.com",
        at: "/live/",
        stamping: None,
        others: &[],
    };
    let Ok(once) = rewrite(data, &page) else {
        return;
    };
    assert_eq!(
        rewrite(&once, &page).as_deref(),
        Ok(&*once),
        "twice is once"
    );
    let lines = |text| <[u8]>::split(text, |&byte| byte == b'\n');
    assert_eq!(lines(data).count(), lines(&once).count());
    for (before, after) in lines(data).zip(lines(&once)) {
        if before == after {
            continue;
        }
        let has = |text: &[u8]| after.windows(text.len()).any(|window| window == text);
        assert!(has(b"spbhid=LINK"), "a change without a link");
        assert_eq!(before.last() == Some(&b'\r'), after.last() == Some(&b'\r'));
        if before.starts_with(b"#") {
            assert!(
                before.starts_with(b"#EXT-X-"),
                "a tag without a URI changed"
            );
            assert!(
                has(b"URI=") || has(b"PREFETCH:") || has(b"://"),
                "an attribute without a URI changed"
            );
        }
    }
}

fn played(text: &str) {
    match Playlist::read(text) {
        Err(_) => {}
        Ok(Playlist::Variants(uri)) => assert!(text.contains(uri)),
        Ok(Playlist::Segments(read)) => {
            let Segments {
                target,
                first,
                list,
                ..
            } = &read;
            assert!(*target > 0 && !list.is_empty());
            assert!(list.iter().all(|one| text.contains(one.uri)));
            let numbers: Vec<u64> = read.from(None).map(|(number, _)| number).collect();
            assert!(!numbers.is_empty() && numbers[0] >= *first);
            let after = numbers.last().map(|last| last + 1);
            assert_eq!(read.from(after).count(), 0, "nothing is read twice");
        }
    }
}
