//! What an SRT caller sends, packet by packet, for tests that stop in the middle of a handshake.

use sluicegate_core::srt::extension::stream_id;
use sluicegate_core::srt::packet::{HAS_CONFIG, HAS_HANDSHAKE, Handshake, Step};

/// The first packet of a call.
pub(crate) fn induction(socket_id: u32) -> Vec<u8> {
    handshake(socket_id).write()
}

/// The second packet, with the cookie from the answer to the first.
pub(crate) fn conclusion(socket_id: u32, cookie: u32, extensions: &[u8]) -> Vec<u8> {
    let conclusion = Handshake {
        version: 5,
        extension: HAS_HANDSHAKE | HAS_CONFIG,
        step: Step::Conclusion,
        cookie,
        extensions,
        ..handshake(socket_id)
    };
    conclusion.write()
}

/// The extensions of a call with a stream id: the capabilities of libsrt 1.5.1, with 120 ms of latency, and the stream
/// id.
pub(crate) fn asks_for(stream: &str) -> Vec<u8> {
    let request = [0, 1, 0, 3, 0, 1, 5, 1, 0, 0, 0, 0xbf, 0, 120, 0, 120];
    [request.as_slice(), &stream_id(stream)].concat()
}

fn handshake(socket_id: u32) -> Handshake<'static> {
    Handshake {
        timestamp: 0,
        destination: 0,
        version: 4,
        encryption: 0,
        extension: 2,
        initial_sequence: 1,
        mtu: 1500,
        window: 8192,
        step: Step::Induction,
        socket_id,
        cookie: 0,
        peer_ip: [0; 16],
        extensions: &[],
    }
}
