//! Frames of sound: AAC in ADTS, and MPEG audio.

use bytes::Bytes;

use super::Front;

/// A format of frames that each say where the next one begins.
#[derive(Debug)]
pub(super) struct FrameFormat {
    /// Bytes of a frame that say how long it is.
    header: usize,
    /// The length of the frame that begins with this header; `None` where none does.
    length: fn(&[u8]) -> Option<usize>,
    /// Bits of the second and third byte that are the same in all frames of a stream.
    fixed: [u8; 2],
}

/// AAC (ISO/IEC 13818-7 §6.2.1, `adts_frame`).
pub(super) static ADTS: FrameFormat = FrameFormat {
    header: 7,
    length: adts_length,
    fixed: [0xff, 0xfc],
};

/// MPEG-1, MPEG-2 and MPEG-2.5 audio of layers I to III (ISO/IEC 11172-3 §2.4.1.3, ISO/IEC 13818-3 §2.4.1.3).
pub(super) static MPEG_AUDIO: FrameFormat = FrameFormat {
    header: 4,
    length: mpeg_audio_length,
    fixed: [0xfe, 0x0c],
};

/// Finds frames one after the other.
#[derive(Debug)]
pub(super) struct Frames {
    format: &'static FrameFormat,
    /// What comes next follows a frame, so that its header is enough.
    follows: bool,
}

impl Frames {
    pub(super) const fn new(format: &'static FrameFormat) -> Self {
        Self {
            format,
            follows: false,
        }
    }

    pub(super) fn front(&mut self, bytes: &[u8]) -> Front {
        let format = self.format;
        let Some(header) = bytes.get(..format.header) else {
            return Front::Incomplete;
        };
        let Some(length) = (format.length)(header) else {
            self.follows = false;
            return Front::Noise(1);
        };
        if self.follows {
            return if bytes.len() < length {
                Front::Incomplete
            } else {
                Front::Unit(length, Some(Bytes::new()))
            };
        }
        // Sound may look like a header. Two of them at the right distance are no accident.
        let Some(next) = bytes.get(length..length + format.header) else {
            return Front::Incomplete;
        };
        let alike = |at: usize, mask: u8| {
            let byte = |bytes: &[u8]| bytes.get(at).map(|byte| byte & mask);
            byte(header) == byte(next)
        };
        let [second, third] = format.fixed;
        if (format.length)(next).is_none() || !alike(1, second) || !alike(2, third) {
            return Front::Noise(1);
        }
        self.follows = true;
        Front::Unit(length, Some(Bytes::new()))
    }
}

/// `syncword` 12 bits, `ID`, `layer` 2 (always 0), `protection_absent`; `profile` 2, `sampling_frequency_index` 4; and
/// `aac_frame_length` 13 bits from bit 30 on, the header included.
fn adts_length(header: &[u8]) -> Option<usize> {
    let &[sync, second, third, fourth, fifth, sixth, _] = header.first_chunk::<7>()?;
    if sync != 0xff || second & 0xf6 != 0xf0 || third >> 2 & 0x0f > 12 {
        return None;
    }
    let length =
        usize::from(fourth & 0x03) << 11 | usize::from(fifth) << 3 | usize::from(sixth >> 5);
    let unprotected = second & 1 != 0;
    (length > if unprotected { 7 } else { 9 }).then_some(length)
}

/// `syncword` 11 bits, `version` 2, `layer` 2, `protection_bit`; `bitrate_index` 4, `sampling_frequency` 2,
/// `padding_bit`. Streams of a free bitrate, which say nowhere how long a frame is, are not known here.
fn mpeg_audio_length(header: &[u8]) -> Option<usize> {
    let &[sync, second, third, _] = header.first_chunk::<4>()?;
    if sync != 0xff || second & 0xe0 != 0xe0 {
        return None;
    }
    let (halved, divisor) = match second >> 3 & 0b11 {
        0b00 => (true, 4),
        0b10 => (true, 2),
        0b11 => (false, 1),
        _ => return None,
    };
    let rates = [44_100, 48_000, 32_000];
    let rate = rates.get(usize::from(third >> 2 & 0b11))? / divisor;
    let padding = usize::from(third >> 1 & 1);
    let index = usize::from(third >> 4).checked_sub(1)?;
    let kilobits = |table: &[u16; 14]| table.get(index).map(|rate| usize::from(*rate));
    match (second >> 1 & 0b11, halved) {
        (0b11, halved) => {
            let table = if halved { &LOW_LAYER_1 } else { &LAYER_1 };
            Some((12_000 * kilobits(table)? / rate + padding) * 4)
        }
        (0b10, false) => Some(144_000 * kilobits(&LAYER_2)? / rate + padding),
        (0b10, true) => Some(144_000 * kilobits(&LOW_LAYERS_2_3)? / rate + padding),
        (0b01, false) => Some(144_000 * kilobits(&LAYER_3)? / rate + padding),
        (0b01, true) => Some(72_000 * kilobits(&LOW_LAYERS_2_3)? / rate + padding),
        _ => None,
    }
}

/// Bitrates in kbit/s, from index 1 on.
const LAYER_1: [u16; 14] = [
    32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448,
];
const LAYER_2: [u16; 14] = [
    32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384,
];
const LAYER_3: [u16; 14] = [
    32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
];
/// The same for half and quarter sampling rates.
const LOW_LAYER_1: [u16; 14] = [
    32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256,
];
const LOW_LAYERS_2_3: [u16; 14] = [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_says_how_long_its_frame_is() {
        let rows: [(&str, &[u8], Option<usize>); 14] = [
            (
                "AAC, 44.1 kHz stereo, 371 bytes",
                &[0xff, 0xf1, 0x50, 0x80, 0x2e, 0x7f, 0xfc],
                Some(371),
            ),
            (
                "AAC with a checksum",
                &[0xff, 0xf0, 0x50, 0x80, 0x2e, 0x7f, 0xfc],
                Some(371),
            ),
            (
                "AAC shorter than its header",
                &[0xff, 0xf1, 0x50, 0x80, 0x00, 0xe0, 0xfc],
                None,
            ),
            (
                "AAC of a reserved rate",
                &[0xff, 0xf1, 0x7c, 0x80, 0x2e, 0x7f, 0xfc],
                None,
            ),
            (
                "a layer, which ADTS has not",
                &[0xff, 0xf3, 0x50, 0x80, 0x2e, 0x7f, 0xfc],
                None,
            ),
            (
                "MP3, 128 kbit/s, 44.1 kHz",
                &[0xff, 0xfb, 0x90, 0x00],
                Some(417),
            ),
            ("the same, padded", &[0xff, 0xfb, 0x92, 0x00], Some(418)),
            (
                "MP3, MPEG-2, 64 kbit/s, 22.05 kHz",
                &[0xff, 0xf3, 0x80, 0x00],
                Some(208),
            ),
            (
                "MP3, MPEG-2.5, 8 kbit/s, 8 kHz",
                &[0xff, 0xe3, 0x18, 0x00],
                Some(72),
            ),
            (
                "layer II, 384 kbit/s, 32 kHz",
                &[0xff, 0xfd, 0xe8, 0x00],
                Some(1728),
            ),
            (
                "layer I, 448 kbit/s, 32 kHz",
                &[0xff, 0xff, 0xe8, 0x00],
                Some(672),
            ),
            ("a free bitrate", &[0xff, 0xfb, 0x00, 0x00], None),
            ("a reserved version", &[0xff, 0xeb, 0x90, 0x00], None),
            ("a reserved rate", &[0xff, 0xfb, 0x9c, 0x00], None),
        ];
        for (cause, header, expected) in rows {
            let length = if header.len() == ADTS.header {
                adts_length(header)
            } else {
                mpeg_audio_length(header)
            };
            assert_eq!(length, expected, "{cause}");
        }
    }

    #[test]
    fn a_stream_is_found_from_its_middle_on_and_again_after_noise() {
        let frame = |fill: u8| {
            let mut frame = vec![fill; 417];
            frame[..4].copy_from_slice(&[0xff, 0xfb, 0x90, 0x00]);
            frame
        };
        // What looks like a header, and is followed by none.
        let noise = [&[0xff, 0xfb, 0x90, 0x00][..], &[7; 30]].concat();
        let frames = [1, 2, 3, 4, 5].map(frame);
        let [one, two, three, four, five] = frames.each_ref().map(Vec::as_slice);
        let stream = [&noise, one, two, &noise, three, four, five].concat();
        let mut frames = Frames::new(&MPEG_AUDIO);
        let (mut at, mut found) = (0, Vec::new());
        loop {
            match frames.front(&stream[at..]) {
                Front::Incomplete => break,
                Front::Noise(count) => at += count,
                Front::Unit(count, _) => {
                    found.push(stream[at + 4]);
                    at += count;
                }
            }
        }
        // The header in the second noise follows a frame, and is believed: it costs the frame that it reaches into.
        assert_eq!(found, [1, 2, 7, 4, 5]);
    }
}
