//! Records: what proxies share in an encoding of our own, so that builds of different ages can serve one fleet.
//!
//! A record states its kind, the version it is written in and the length of its body in bytes:
//!
//! ```text
//! record <kind> <version> <length> <body>
//! ```
//!
//! It stands in the store under a key that begins with its kind. A fleet can be upgraded one proxy at a time, because:
//!
//! 1. A reader that does not know the kind or the version leaves the record where it is, and decides as if it were not
//!    there.
//! 2. A writer replaces no record of a later version than its own.
//! 3. A build reads every version of a kind up to its own. A field that old readers may overlook needs no new version.
//!
//! What proxies shared before there were records keeps its keys and its shapes, which the SRS proxy and earlier builds
//! read: [`srs`](super::srs), [`peers`](super::peers) and [`rtc::record`](crate::rtc::record).

/// Prefix of the key of every record; kind, colon and name follow.
pub const RECORD: &str = "sluicegate-record:";
/// The longest body of any kind, in bytes: half of what one [message of the mesh](super::mesh::LONGEST) carries, so that
/// key and head fit as well.
pub const LONGEST_BODY: usize = 8_192;
/// The longest name of a record, in bytes.
pub const LONGEST_NAME: usize = 1_024;

/// A kind of record, as this build knows it.
pub trait Record: Sized {
    /// What it is called: 1 to 24 lowercase letters, digits and dashes, a letter first.
    const KIND: &'static str;
    /// The version that this build writes, from 1. It reads this one and every earlier one.
    const VERSION: u16;
    /// The longest body of this kind, in bytes; at most [`LONGEST_BODY`].
    const LONGEST: usize;

    /// The body as [`VERSION`](Self::VERSION) has it. Equal records have equal bodies.
    fn body(&self) -> String;

    /// Reads a body of `version`, which is one that this build knows; `None` if it makes no sense.
    fn read(version: u16, body: &str) -> Option<Self>;
}

/// A record before its body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The kind; any build's.
    pub kind: &'a str,
    /// The version of the kind, from 1.
    pub version: u16,
    /// The body, at most [`LONGEST_BODY`] bytes.
    pub body: &'a str,
}

/// What this build makes of a value that stands where a record of kind `T` belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading<T> {
    /// The record.
    Known(T),
    /// Another build may read it: it stays where it is, and counts as nothing here.
    Foreign,
    /// No build can read it: a record of a version that this build knows, with a body that makes no sense. It counts as
    /// nothing and may be replaced.
    Broken,
}

/// Why something cannot be a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The body is longer than its kind allows.
    #[error("the body has {0} bytes, and its kind allows {1}")]
    Body(usize, usize),
    /// The name is empty or too long.
    #[error("the name has {0} bytes; a record's has 1 to {LONGEST_NAME}")]
    Name(usize),
}

/// The key of the record of kind `T` that is called `name`.
///
/// # Errors
/// [`Unfit::Name`]
pub fn key<T: Record>(name: &str) -> Result<String, Unfit> {
    if name.is_empty() || name.len() > LONGEST_NAME {
        return Err(Unfit::Name(name.len()));
    }
    Ok(format!("{}{name}", prefix::<T>()))
}

/// Prefix of the keys of all records of kind `T`; the name follows.
pub fn prefix<T: Record>() -> String {
    const {
        assert!(is_kind(T::KIND) && T::VERSION > 0 && T::LONGEST <= LONGEST_BODY);
    }
    format!("{RECORD}{}:", T::KIND)
}

/// The kind and the name in the key of a record; `None` for any other key.
pub fn named(key: &str) -> Option<(&str, &str)> {
    let (kind, name) = key.strip_prefix(RECORD)?.split_once(':')?;
    (is_kind(kind) && !name.is_empty()).then_some((kind, name))
}

/// A record as it is written.
///
/// # Errors
/// [`Unfit::Body`]
pub fn write<T: Record>(record: &T) -> Result<String, Unfit> {
    let body = record.body();
    if body.len() > T::LONGEST {
        return Err(Unfit::Body(body.len(), T::LONGEST));
    }
    let envelope = Envelope {
        kind: T::KIND,
        version: T::VERSION,
        body: &body,
    };
    Ok(envelope.text())
}

/// Reads a value that stands where a record of kind `T` belongs.
pub fn read<T: Record>(text: &str) -> Reading<T> {
    let known = Envelope::parse(text)
        .filter(|record| record.kind == T::KIND && record.version <= T::VERSION);
    match known {
        None => Reading::Foreign,
        Some(record) => {
            T::read(record.version, record.body).map_or(Reading::Broken, Reading::Known)
        }
    }
}

impl<'a> Envelope<'a> {
    /// The record as it is written.
    pub fn text(&self) -> String {
        let Self {
            kind,
            version,
            body,
        } = self;
        format!("{HEAD}{kind} {version} {} {body}", body.len())
    }

    /// Reads what [`text`](Self::text) wrote; `None` for anything else, so that one record is one text.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.strip_prefix(HEAD)?.splitn(4, ' ');
        let kind = parts.next().filter(|kind| is_kind(kind))?;
        let version = number(parts.next()?).filter(|version| *version > 0)?;
        let length = number(parts.next()?)?;
        let body = parts.next()?;
        (body.len() == usize::from(length) && body.len() <= LONGEST_BODY).then_some(Self {
            kind,
            version,
            body,
        })
    }
}

/// A decimal number as Rust writes it: no sign, no leading zero.
fn number(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|digit| digit.is_ascii_digit());
    let shortest = text == "0" || !text.starts_with('0');
    (plain && shortest).then(|| text.parse().ok()).flatten()
}

/// Whether this can be the name of a kind.
const fn is_kind(name: &str) -> bool {
    let mut rest = name.as_bytes();
    if rest.len() > LONGEST_KIND || !matches!(rest.first(), Some(b'a'..=b'z')) {
        return false;
    }
    while let [letter, further @ ..] = rest {
        if !matches!(letter, b'a'..=b'z' | b'0'..=b'9' | b'-') {
            return false;
        }
        rest = further;
    }
    true
}

/// What every record begins with.
const HEAD: &str = "record ";
const LONGEST_KIND: usize = 24;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A kind in its second version, which added the colour.
    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Lamp {
        watts: u8,
        colour: Option<String>,
    }

    impl Record for Lamp {
        const KIND: &'static str = "lamp";
        const VERSION: u16 = 2;
        const LONGEST: usize = 16;

        fn body(&self) -> String {
            let colour = self.colour.as_deref().unwrap_or_default();
            format!("{}/{colour}", self.watts)
        }

        fn read(version: u16, body: &str) -> Option<Self> {
            let (watts, colour) = match version {
                1 => (body, ""),
                _ => body.split_once('/')?,
            };
            let colour = (!colour.is_empty()).then(|| colour.to_owned());
            let watts = watts.parse().ok()?;
            Some(Self { watts, colour })
        }
    }

    fn lamp(watts: u8, colour: Option<&str>) -> Lamp {
        let colour = colour.map(str::to_owned);
        Lamp { watts, colour }
    }

    #[test]
    fn what_a_build_makes_of_a_value() {
        use Reading::{Broken, Foreign, Known};
        let rows = [
            (
                "its own version",
                "record lamp 2 6 40/red",
                Known(lamp(40, Some("red"))),
            ),
            (
                "an earlier one",
                "record lamp 1 2 40",
                Known(lamp(40, None)),
            ),
            ("a later one", "record lamp 3 6 40/red", Foreign),
            ("the last that can be", "record lamp 65535 1 x", Foreign),
            ("another kind", "record sign 1 4 exit", Foreign),
            ("no record", "40/red", Foreign),
            ("a later encoding", "record2 lamp 2 6 40/red", Foreign),
            ("a body that ends early", "record lamp 2 7 40/red", Foreign),
            ("a body that goes on", "record lamp 2 5 40/red", Foreign),
            ("a body of nonsense", "record lamp 2 3 red", Broken),
            ("no body at all", "record lamp 2 0 ", Broken),
        ];
        for (cause, text, expected) in rows {
            assert_eq!(read::<Lamp>(text), expected, "{cause}");
        }
    }

    #[test]
    fn only_one_text_is_a_record() {
        for (cause, text) in [
            ("nothing", ""),
            ("a head alone", "record "),
            ("a version of zero", "record lamp 0 1 x"),
            ("a version with a sign", "record lamp +1 1 x"),
            ("a version with a zero before it", "record lamp 01 1 x"),
            ("a version that is too great", "record lamp 65536 1 x"),
            ("a length with a zero before it", "record lamp 1 01 x"),
            ("two spaces", "record  lamp 1 1 x"),
            ("no space after the length", "record lamp 1 0"),
            ("a kind of capitals", "record Lamp 1 1 x"),
            ("a kind that begins with a digit", "record 2lamp 1 1 x"),
            (
                "a kind of 25 letters",
                "record abcdefghijklmnopqrstuvwxy 1 1 x",
            ),
            ("a length in characters", "record lamp 1 1 \u{e9}"),
        ] {
            assert_eq!(Envelope::parse(text), None, "{cause}");
        }
        let long = "x".repeat(LONGEST_BODY + 1);
        let text = format!("record lamp 1 {} {long}", long.len());
        assert_eq!(Envelope::parse(&text), None, "a body beyond every bound");
    }

    #[test]
    fn bounds_hold_where_a_record_is_written() {
        let too_long = lamp(1, Some("infrared-and-more"));
        assert_eq!(write(&too_long), Err(Unfit::Body(19, 16)));
        assert_eq!(key::<Lamp>(""), Err(Unfit::Name(0)));
        let long = "n".repeat(LONGEST_NAME + 1);
        assert_eq!(key::<Lamp>(&long), Err(Unfit::Name(LONGEST_NAME + 1)));
    }

    #[test]
    fn a_key_says_kind_and_name() {
        let key = key::<Lamp>("v/live/a:b").unwrap();
        assert_eq!(key, "sluicegate-record:lamp:v/live/a:b");
        assert_eq!(named(&key), Some(("lamp", "v/live/a:b")));
        for other in [
            "sluicegate-record:lamp",
            "sluicegate-record:lamp:",
            "srs-proxy-url:a",
            "sluicegate-record::a",
        ] {
            assert_eq!(named(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(watts: u8, colour in proptest::option::of("[a-z]{1,12}")) {
            let lamp = Lamp { watts, colour };
            prop_assert_eq!(read(&write(&lamp).unwrap()), Reading::Known(lamp));
        }

        #[test]
        fn any_body_travels(kind in "[a-z][a-z0-9-]{0,23}", version in 1..=u16::MAX, body in ".{0,200}") {
            let envelope = Envelope { kind: &kind, version, body: &body };
            let text = envelope.text();
            prop_assert_eq!(Envelope::parse(&text), Some(envelope));
        }

        #[test]
        fn any_text_is_read_or_left(text in "(record )?.{0,60}") {
            if let Some(envelope) = Envelope::parse(&text) {
                prop_assert_eq!(envelope.text(), text);
            }
        }
    }
}
