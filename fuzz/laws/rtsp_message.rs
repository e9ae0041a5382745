//! A message is read in the same way however its bytes arrive and is written back as it was. What a client gets of an
//! origin's message is again a message, in which nothing more needs to change.

use sluicegate_core::rtsp::message::{Change, MAX_BODY, MAX_HEAD, Message, Speaker};
use sluicegate_core::rtsp::rewrite::Rewrite;

/// The first byte says where the input is split; the rest is what a peer sends.
pub fn law(data: &[u8]) {
    let Some((choice, wire)) = data.split_first() else {
        return;
    };
    let end = wire.len() * usize::from(*choice) / 256;
    let part = wire.get(..end).expect("less than all of it");
    for speaker in [Speaker::Client, Speaker::Origin] {
        let whole = Message::parse(wire, speaker);
        let early = Message::parse(part, speaker);
        assert!(
            early == Ok(None) || early == whole,
            "{end} bytes: {early:?}"
        );
        let Ok(Some((message, length))) = whole else {
            continue;
        };
        assert_eq!(wire.get(..length), Some(message.bytes()));
        assert_eq!(message.with(|_, _| Change::Keep, None), message.bytes());
        if speaker == Speaker::Origin {
            rewrite(&message);
        }
    }
}

fn rewrite(message: &Message) {
    let rewrite = Rewrite {
        authority: "media.example:8554".to_owned(),
        local: [192, 0, 2, 1].into(),
        secure: false,
        rename: None,
        take_out: None,
    };
    let Some(bytes) = rewrite.to_client(message, None) else {
        return;
    };
    // A URL that grew may make a head or a body too long.
    if bytes.len() > MAX_HEAD.min(MAX_BODY) {
        return;
    }
    let read = Message::parse(&bytes, Speaker::Origin).expect("a message");
    let (again, length) = read.expect("a whole one");
    assert_eq!(length, bytes.len());
    assert_eq!(again.status(), message.status());
    assert_eq!(again.cseq(), message.cseq());
    assert_eq!(rewrite.to_client(&again, None), None);
}
