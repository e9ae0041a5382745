//! Measures what a rewrite costs: `cargo bench -p sluicegate-core --bench rewrite`. A command, not a timed test.
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::fmt::Write;
use std::hint::black_box;
use std::time::Instant;

use sluicegate_core::fleet::origin::Target;
use sluicegate_core::http::link::{Link, LinkKey};
use sluicegate_core::http::page::Page;
use sluicegate_core::http::{dash, hls};
use sluicegate_core::stream::StreamUrl;

fn main() {
    let key = LinkKey::new(b"bench");
    let link = Link {
        stream: StreamUrl::new("", "live", "livestream").expect("a name"),
        origin: "origin-1".into(),
        target: Target::plain("10.0.0.1".parse().expect("an address"), 8080),
        expires: 2_000_000_000,
        viewing: None,
    };
    let sealed = key.seal(&link);
    let page = Page {
        host: "play.example.com",
        origin: &["10.0.0.1:8080"],
        link: &sealed,
        report: &sealed,
        base: "",
        folder: None,
        site: "https://play.example.com",
        at: "/live/",
        stamping: None,
        others: &[],
    };
    measure("seal a link", || key.seal(&link).len());
    measure("open a link", || key.open(&sealed, 0).map_or(0, |_| 1));
    for segments in [20, 200] {
        let [plain, parts, manifest] = [
            playlist(segments),
            low_latency(segments),
            timeline(segments),
        ];
        measure(&format!("HLS, {segments} segments"), || {
            rewritten(hls::rewrite(plain.as_bytes(), &page))
        });
        measure(&format!("LL-HLS, {segments} segments of 5 parts"), || {
            rewritten(hls::rewrite(parts.as_bytes(), &page))
        });
        measure(&format!("DASH list, {segments} segments"), || {
            rewritten(dash::rewrite(manifest.as_bytes(), &page))
        });
    }
}

fn rewritten<E: std::fmt::Debug>(rewritten: Result<std::borrow::Cow<'_, [u8]>, E>) -> usize {
    rewritten.expect("it is rewritten").len()
}

/// Measures the median of the rounds, in microseconds per call.
fn measure(what: &str, work: impl Fn() -> usize) {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..CALLS {
                black_box(work());
            }
            start.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    let median = rounds.get(ROUNDS / 2).copied().unwrap_or_default();
    println!("{what:<40} {median:>9.2} µs");
}

fn playlist(segments: u32) -> String {
    let mut text =
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-MEDIA-SEQUENCE:100\n#EXT-X-TARGETDURATION:10\n"
            .to_owned();
    for number in 0..segments {
        let _ = write!(
            text,
            "#EXTINF:10.000, no desc\nlivestream-{number}.ts?hls_ctx=3ab5g2k1\n"
        );
    }
    text
}

fn low_latency(segments: u32) -> String {
    let mut text =
        "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:1\n#EXT-X-MAP:URI=\"init.mp4\"\n"
            .to_owned();
    for number in 0..segments {
        for part in 0..5 {
            let _ = writeln!(text, "#EXT-X-PART:DURATION=0.2,URI=\"{number}.{part}.m4s\"");
        }
        let _ = write!(text, "#EXTINF:1.0,\n{number}.m4s\n");
    }
    text
}

fn timeline(segments: u32) -> String {
    let mut text = "<?xml version=\"1.0\"?><MPD><Period><SegmentList>".to_owned();
    for number in 0..segments {
        let _ = writeln!(text, "<SegmentURL media=\"chunk-{number}.m4s\"/>");
    }
    text + "</SegmentList></Period></MPD>"
}

const CALLS: u32 = 2_000;
const ROUNDS: usize = 9;
