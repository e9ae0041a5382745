//! Frames on a byte stream are the same however its bytes arrive, and are written as they are read.

use sluicegate_core::rtc::frames::{Frame, prefix};

/// The first byte says where the stream is split.
pub fn law(data: &[u8]) {
    let Some((choice, stream)) = data.split_first() else {
        return;
    };
    let end = stream.len() * usize::from(*choice) / 256;
    let part = stream.get(..end).expect("less than all of it");
    let (early, whole) = (Frame::parse(part), Frame::parse(stream));
    assert!(early == Ok(None) || early == whole);

    let mut rest = stream;
    let mut written = Vec::new();
    while let Ok(Some(frame)) = Frame::parse(rest) {
        written.extend(prefix(frame.datagram).expect("it was read"));
        written.extend_from_slice(frame.datagram);
        rest = rest.get(frame.length..).expect("it was there");
    }
    assert_eq!([&written, rest].concat(), stream);
}
