//! However the bytes of a stream are split, the same packets or frames come out, with the same points to begin at.

use sluicegate_core::media::blocks::{Block, Format, Splitter};

/// The first byte says which format, the second how the rest is split.
pub fn law(data: &[u8]) {
    let [format, split, bytes @ ..] = data else {
        return;
    };
    let format = [Format::Adts, Format::Mp3, Format::Ts][usize::from(format % 3)];
    let size = usize::from(*split).max(1);
    hold(format, bytes, &[size, 3 * size, 1]);
}

/// Splits `bytes` into pieces of these sizes, over and over, and compares with what comes of the whole.
pub fn hold(format: Format, bytes: &[u8], sizes: &[usize]) {
    let mut splitter = Splitter::new(format);
    let Ok(whole) = splitter.feed(bytes) else {
        return;
    };
    let mut splitter = Splitter::new(format);
    let mut split = Vec::new();
    let (mut rest, mut sizes) = (bytes, sizes.iter().cycle());
    while !rest.is_empty() {
        let size = sizes.next().copied().unwrap_or(1).clamp(1, rest.len());
        let (now, later) = rest.split_at(size);
        let blocks = splitter.feed(now);
        split.extend(blocks.expect("what the whole is not refused for"));
        rest = later;
    }
    assert_eq!(flat(&whole), flat(&split));
    if format == Format::Ts {
        assert_eq!(entries(&whole), entries(&split));
    }
    for block in whole.iter().chain(&split) {
        assert!(!block.bytes.is_empty());
        match format {
            Format::Adts | Format::Mp3 => {
                assert!(block.entry.as_ref().is_some_and(|before| before.is_empty()));
                assert_eq!(block.bytes[0], 0xff);
            }
            Format::Ts => {
                let before = block.entry.iter().flat_map(|before| before.chunks(188));
                for packet in before.chain(block.bytes.chunks(188)) {
                    assert_eq!((packet.len(), packet[0]), (188, 0x47));
                }
            }
        }
    }
}

fn flat(blocks: &[Block]) -> Vec<u8> {
    blocks
        .iter()
        .flat_map(|block| block.bytes.to_vec())
        .collect()
}

/// Where blocks that a player can begin with stand, and what it is given before.
fn entries(blocks: &[Block]) -> Vec<(usize, Vec<u8>)> {
    let mut at = 0;
    let mut found = Vec::new();
    for block in blocks {
        found.extend(block.entry.as_ref().map(|before| (at, before.to_vec())));
        at += block.bytes.len();
    }
    found
}
