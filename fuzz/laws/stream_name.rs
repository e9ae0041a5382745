//! A stream reads back as it is written, is clean and bounded, and shares its key with no other.

use sluicegate_core::stream::{
    MAX_APP, MAX_STREAM, MAX_VHOST, SrtStreamId, StreamError, StreamUrl, VhostRule,
};

/// Two texts as any protocol may send them, separated by the first line feed.
pub fn law(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let (one, two) = text.split_once('\n').unwrap_or((text, ""));
    let streams = accepted(one, two);
    for url in &streams {
        let text = url.to_string();
        assert_eq!(text.parse().as_ref(), Ok(url));
        assert_eq!(
            StreamUrl::new(url.vhost(), url.app(), url.stream()).as_ref(),
            Ok(url)
        );
        assert!(
            !text.contains(|c: char| c.is_control() || c == ' '),
            "{text:?}"
        );
        let is_name = |part: &str| !matches!(part, "" | "." | ".." | "_definst_");
        assert!(text.split('/').all(is_name), "{text:?}");
        assert!(url.vhost().len() <= MAX_VHOST);
        assert!(url.app().len() <= MAX_APP);
        assert!(url.stream().len() <= MAX_STREAM);
    }
    for first in &streams {
        for second in &streams {
            let same_key = VhostRule::Separate.key(first) == VhostRule::Separate.key(second);
            assert_eq!(same_key, first == second, "{first} and {second}");
            let same_key = VhostRule::Ignored.key(first) == VhostRule::Ignored.key(second);
            let same_name = (first.app(), first.stream()) == (second.app(), second.stream());
            assert_eq!(same_key, same_name, "{first} and {second}");
        }
    }
}

fn accepted(one: &str, two: &str) -> Vec<StreamUrl> {
    let srt = |id: &str, default: &str| SrtStreamId::parse(id, default).map(|id| id.stream);
    let results: [Result<StreamUrl, StreamError>; 8] = [
        StreamUrl::from_rtmp(one, two),
        StreamUrl::from_http(Some(one), two),
        StreamUrl::from_whip(Some(one), two),
        StreamUrl::from_rtsp(one),
        srt(one, two),
        srt(two, one),
        StreamUrl::new(one, two, one),
        one.parse(),
    ];
    results.into_iter().flatten().collect()
}
