//! Texts in other encodings than UTF-8.

/// A text in UTF-16 as one in UTF-8, without its byte order mark, and without what an XML declaration says of the encoding; `None`
/// where `text` is in no UTF-16. What is no character in it becomes U+FFFD.
///
/// It is known by its byte order mark, or by the two first characters of XML (XML 1.0 appendix F).
pub fn from_utf16(text: &[u8]) -> Option<String> {
    let (units, is_little_endian) = match text {
        [0xff, 0xfe, units @ ..] => (units, true),
        [0xfe, 0xff, units @ ..] => (units, false),
        [b'<', 0, _, 0, ..] => (text, true),
        [0, b'<', 0, _, ..] => (text, false),
        _ => return None,
    };
    let (units, _) = units.as_chunks::<2>();
    let units = units.iter().map(|unit| match is_little_endian {
        true => u16::from_le_bytes(*unit),
        false => u16::from_be_bytes(*unit),
    });
    let characters = char::decode_utf16(units);
    let characters = characters.map(|read| read.unwrap_or(char::REPLACEMENT_CHARACTER));
    Some(without_encoding(characters.collect()))
}

/// An XML text that does not say in which encoding it is, so that it is in UTF-8 (XML 1.0 §4.3.3).
fn without_encoding(mut text: String) -> String {
    let said = || {
        let declaration = text.strip_prefix("<?xml")?.split("?>").next()?;
        let (before, after) = declaration.split_once("encoding")?;
        let (_, quoted) = after.split_once('=')?;
        let quoted = quoted.trim_start();
        let quote = quoted
            .chars()
            .next()
            .filter(|quote| "\"'".contains(*quote))?;
        let value = quoted.get(1..)?;
        let end = value.find(quote)? + 1;
        let start = "<?xml".len() + before.trim_end().len();
        let rest = declaration.len() - value.get(end..)?.len();
        Some(start.."<?xml".len() + rest)
    };
    if let Some(said) = said() {
        text.replace_range(said, "");
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn utf16_is_known_by_its_mark_or_as_xml() {
        let said = "<?xml version=\"1.0\" encoding = 'UTF-16'?>\n<MPD title=\"\u{e9}\u{1f600}\"/>";
        let read = "<?xml version=\"1.0\"?>\n<MPD title=\"\u{e9}\u{1f600}\"/>";
        let mark = "\u{feff}";
        for text in [said.to_owned(), format!("{mark}{said}")] {
            let units: Vec<u16> = text.encode_utf16().collect();
            let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
            let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
            assert_eq!(from_utf16(&big).as_deref(), Some(read));
            assert_eq!(from_utf16(&little).as_deref(), Some(read));
        }
        let rows: [(&str, &[u8], Option<&str>); 6] = [
            ("UTF-8", b"<MPD/>", None),
            ("nothing", b"", None),
            ("a mark alone", &[0xff, 0xfe], Some("")),
            ("half a character", &[0xff, 0xfe, b'a'], Some("")),
            ("half a pair", &[0xfe, 0xff, 0xd8, 0], Some("\u{fffd}")),
            ("no declaration", &[b'<', 0, b'?', 0], Some("<?")),
        ];
        for (cause, text, expected) in rows {
            assert_eq!(from_utf16(text).as_deref(), expected, "{cause}");
        }
        for broken in [
            "<?xml encoding?>",
            "<?xml encoding=?>",
            "<?xml encoding='a?>",
            "<?xml",
        ] {
            assert_eq!(without_encoding(broken.to_owned()), broken);
        }
    }

    proptest! {
        #[test]
        fn every_text_has_an_answer(rest in proptest::collection::vec(any::<u8>(), 0..40), said in "[<?xml encodig='\\\"]{0,40}") {
            for start in [&[][..], &[0xff, 0xfe], &[0xfe, 0xff]] {
                let _ = from_utf16(&[start, &rest].concat());
            }
            let _ = without_encoding(format!("<?xml{said}"));
        }
    }
}
