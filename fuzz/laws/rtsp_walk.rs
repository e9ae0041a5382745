//! A walk over frames and messages finds the same however the bytes arrive and however far it steps, loses none of
//! them, and ends at the same place if they are not RTSP. What a camera sends between its frames is left out wherever the
//! bytes are split.

use sluicegate_core::rtsp::message::{Message, Speaker};
use sluicegate_core::rtsp::walk::{Step, Walk};

/// The channels of a track that was set up, if it has any.
type Track = Option<Option<(u8, Option<u8>)>>;
type Found = (Vec<u8>, Vec<(usize, Message)>, bool);

/// The first byte is the size of the pieces; the rest is what a peer sends.
pub fn law(data: &[u8]) {
    let Some((choice, wire)) = data.split_first() else {
        return;
    };
    let size = usize::from(*choice) + 1;
    let (client, origin) = (Speaker::Client, Speaker::Origin);
    let channels = Some((0, Some(1)));
    for (speaker, set_up) in [
        (client, None),
        (client, Some(channels)),
        (origin, None),
        (origin, Some(None)),
        (origin, Some(channels)),
    ] {
        let walk = |parts: &[&[u8]], short| walk((speaker, set_up), parts, short);
        let whole = walk(&[wire], false);
        let parts: Vec<&[u8]> = wire.chunks(size).collect();
        assert_eq!(walk(&parts, false), whole);
        assert_eq!(walk(&parts, true), whole);
        let messages: usize = whole
            .1
            .iter()
            .map(|(_, message)| message.bytes().len())
            .sum();
        // A client's bare line feeds become CR LF, one byte more each.
        let feeds = wire.iter().filter(|byte| **byte == b'\n').count();
        let most = match speaker {
            Speaker::Client => wire.len() + feeds,
            Speaker::Origin => wire.len(),
        };
        assert!(whole.0.len() + messages <= most);
    }
}

fn walk((speaker, track): (Speaker, Track), parts: &[&[u8]], short: bool) -> Found {
    let mut walk = Walk::new(speaker);
    if let Some(channels) = track {
        walk.set_up(channels);
    }
    let (mut passed, mut messages) = (Vec::new(), Vec::new());
    for part in parts {
        let mut rest = *part;
        loop {
            let step = if short {
                walk.short_step(&mut rest)
            } else {
                walk.step(&mut rest)
            };
            match step {
                Err(_) => return (passed, messages, false),
                Ok(None) => break,
                Ok(Some(Step::Pass(bytes))) => passed.extend_from_slice(bytes),
                Ok(Some(Step::Message(message))) => messages.push((passed.len(), message)),
            }
        }
    }
    (passed, messages, true)
}
