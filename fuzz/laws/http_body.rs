//! The body of an answer is read in the same way however its bytes arrive, and never beyond its end.

use sluicegate_core::http::framing::{BodyError, BodyReader, Framing, Part};

/// The first byte says how the body is framed, the second in which steps it arrives; the rest is what an origin sends.
pub fn law(data: &[u8]) {
    let [choice, step, wire @ ..] = data else {
        return;
    };
    let framing = match choice % 4 {
        0 | 1 => Framing::Chunked,
        2 => Framing::Length(u64::from(*choice)),
        _ => Framing::Close,
    };
    let whole = read(framing, wire, wire.len());
    let split = read(framing, wire, usize::from(*step) + 1);
    assert_eq!(whole, split, "in steps of {}", usize::from(*step) + 1);
    if let Ok((body, rest)) = whole {
        assert!(body.len() + rest <= wire.len());
        if let Framing::Length(length) = framing {
            assert_eq!(body.len() as u64, length);
        }
    }
}

/// The body, and how many bytes follow it.
fn read(framing: Framing, wire: &[u8], step: usize) -> Result<(Vec<u8>, usize), BodyError> {
    let mut reader = BodyReader::new(framing);
    let (mut at, mut came, mut body) = (0, step.min(wire.len()), Vec::new());
    loop {
        let input = wire.get(at..came).expect("within what came");
        match reader.next(input)? {
            Part::Data(count) => {
                assert!((1..=input.len()).contains(&count));
                body.extend_from_slice(input.get(..count).expect("within the input"));
                at += count;
            }
            Part::Skip(count) => {
                assert!((1..=input.len()).contains(&count));
                at += count;
            }
            Part::End => {
                assert!(reader.is_over());
                return Ok((body, wire.len() - at));
            }
            Part::More if came == wire.len() => {
                reader.end()?;
                return Ok((body, wire.len() - at));
            }
            Part::More => came = (came + step).min(wire.len()),
        }
    }
}
