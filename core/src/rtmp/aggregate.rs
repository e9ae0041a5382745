//! Aggregate messages: several messages of audio, video or data in one (RTMP 1.0 §7.1.6).

use super::message::{Message, kind};
use crate::read::{Reader, Truncated};

/// The messages in an aggregate, in their order. What comes after a broken part is left out, and so are aggregates in
/// aggregates. The first has the aggregate's timestamp, and the others follow it as far apart as they say.
pub fn parts(aggregate: &Message) -> impl Iterator<Item = Message> + '_ {
    let mut reader = Reader::new(&aggregate.payload);
    let mut shift = None;
    std::iter::from_fn(move || {
        if reader.remaining() == 0 {
            return None;
        }
        let mut part = part(&mut reader).ok()?;
        let shift = *shift.get_or_insert_with(|| aggregate.timestamp.wrapping_sub(part.timestamp));
        part.timestamp = part.timestamp.wrapping_add(shift);
        part.stream_id = aggregate.stream_id;
        matches!(part.kind, kind::AUDIO | kind::VIDEO | kind::DATA_AMF0).then_some(part)
    })
}

/// A part has the shape of an FLV tag.
fn part(reader: &mut Reader<'_>) -> Result<Message, Truncated> {
    let kind = reader.u8()?;
    let length = reader.u24()?;
    let low = reader.u24()?;
    let high = reader.u8()?;
    reader.u24()?; // the message stream, as it was where the aggregate was made
    let payload = reader.bytes(usize::try_from(length).map_err(|_| Truncated)?)?;
    reader.u32()?; // the size of this part, for readers that go backwards
    Ok(Message {
        timestamp: u32::from(high) << 24 | low,
        kind,
        stream_id: 0,
        payload: payload.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::flv::{Tag, write_tag};

    fn aggregate(timestamp: u32, tags: &[(u8, u32, &[u8])]) -> Message {
        let mut payload = Vec::new();
        for (kind, timestamp, body) in tags {
            let tag = Tag {
                kind: *kind,
                timestamp: *timestamp,
                payload: body,
            };
            write_tag(&tag, &mut payload);
        }
        Message {
            timestamp,
            kind: kind::AGGREGATE,
            stream_id: 1,
            payload,
        }
    }

    #[test]
    fn parts_are_put_on_the_aggregates_clock() {
        let whole = aggregate(5000, &[(8, 100, b"a"), (9, 120, b"bc"), (18, 120, b"d")]);
        let found: Vec<_> = parts(&whole)
            .map(|part| (part.kind, part.timestamp, part.payload, part.stream_id))
            .collect();
        let expected = vec![
            (8, 5000, b"a".to_vec(), 1),
            (9, 5020, b"bc".to_vec(), 1),
            (18, 5020, b"d".to_vec(), 1),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_comes_before_a_broken_part_counts() {
        let mut whole = aggregate(u32::MAX, &[(8, 7, b"a"), (9, 9, b"b")]);
        whole.payload.pop();
        let found: Vec<_> = parts(&whole).map(|part| part.timestamp).collect();
        assert_eq!(found, [u32::MAX]);
        let nested = aggregate(0, &[(kind::AGGREGATE, 0, b"a")]);
        assert_eq!(parts(&nested).count(), 0);
        assert_eq!(parts(&aggregate(0, &[])).count(), 0);
    }
}
