//! A handshake that is read and written is the same; if its extensions are valid, the stream id can be written again.

use sluicegate_core::srt::extension::{Extensions, stream_id};
use sluicegate_core::srt::packet::{HANDSHAKE, HAS_CONFIG, Handshake, Header};

/// The bytes are a datagram.
pub fn law(data: &[u8]) {
    let header = Header::parse(data);
    let Ok(handshake) = Handshake::parse(data) else {
        return;
    };
    assert_eq!(header.unwrap().destination, handshake.destination);
    let written = handshake.write();
    assert_eq!(Handshake::parse(&written).unwrap(), handshake);
    assert_eq!(written.get(HANDSHAKE..), data.get(HANDSHAKE..));
    let Ok(found) = Extensions::parse(handshake.extensions, handshake.extension) else {
        return;
    };
    let Some(text) = found.stream_id.filter(|text| !text.is_empty()) else {
        return;
    };
    let request = [0, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let again = [request.as_slice(), &stream_id(&text)].concat();
    let read = Extensions::parse(&again, HAS_CONFIG | 1).unwrap();
    assert_eq!(read.stream_id, Some(text));
}
