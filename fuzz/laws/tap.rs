//! Whatever HTTP-FLV a session carries, from any point on: the recording is complete FLV.

use sluicegate_core::media::flv;
use sluicegate_core::media::tap::Recorder;
use sluicegate_core::read::Reader;

/// The first byte says how the rest is split.
pub fn law(data: &[u8]) {
    let Some((split, bytes)) = data.split_first() else {
        return;
    };
    let mut recorder = Recorder::of_flv(Vec::new());
    let mut out = Vec::new();
    for piece in bytes.chunks(usize::from(*split).max(1)) {
        if recorder.feed(piece, &mut out).is_err() {
            break;
        }
    }
    if out.is_empty() {
        return;
    }
    let mut reader = Reader::new(&out);
    flv::read_header(&mut reader).expect("a header comes first");
    while reader.remaining() > 0 {
        flv::read_tag(&mut reader).expect("whole tags follow");
    }
}
