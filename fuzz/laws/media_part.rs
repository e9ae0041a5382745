//! Whatever a body is: it is judged, by a bounded number of its bytes, and what is cut off never makes it more.

use sluicegate_core::media::part::{Content, MAX_LOOK, MAX_TRACKS, Part};

/// The first byte is the type of the message, the rest its body.
pub fn law(data: &[u8]) {
    let Some((kind, body)) = data.split_first() else {
        return;
    };
    let judged = Content::of(*kind, body);
    assert!((1..=MAX_TRACKS).contains(&judged.tracks.len()));
    let mut other = body.to_vec();
    let mut decisive = 0;
    for at in 0..other.len() {
        let Some(byte) = other.get(at).copied() else {
            return;
        };
        let differs = [0x01, 0x0f, 0xf0, 0xff].iter().any(|change| {
            if let Some(changed) = other.get_mut(at) {
                *changed = byte ^ change;
            }
            Content::of(*kind, &other) != judged
        });
        decisive += usize::from(differs);
        if let Some(changed) = other.get_mut(at) {
            *changed = byte;
        }
        let (before, _) = other.split_at(at);
        let part = Part::of(*kind, before);
        assert!(part == judged.part || part == Part::Frame, "{part:?}");
    }
    assert!(decisive <= MAX_LOOK, "{decisive} bytes decide");
}
