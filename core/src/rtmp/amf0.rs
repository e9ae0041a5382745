//! AMF0, the values in commands and metadata (Action Message Format, AMF 0, 2007).

use crate::read::{Reader, Truncated};

/// One AMF0 value.
///
/// `decode` and `encode` are inverses: what one writes, the other reads back equal. Markers that only Flash itself ever
/// wrote (MovieClip, RecordSet) and the switch to AMF3 are errors.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A double (§2.2).
    Number(f64),
    /// A boolean (§2.3).
    Boolean(bool),
    /// A string. The long form (§2.14) is written when it does not fit the short one (§2.4). Bytes that are not UTF-8
    /// are replaced during decoding.
    String(String),
    /// An anonymous object (§2.5), with its properties in wire order.
    Object(Vec<(String, Self)>),
    /// Null (§2.7).
    Null,
    /// Undefined (§2.8).
    Undefined,
    /// The index of an earlier object (§2.9); never resolved here.
    Reference(u16),
    /// An associative array (§2.10). Encoders get its announced count wrong, so it is not kept.
    EcmaArray(Vec<(String, Self)>),
    /// An array by position (§2.12).
    StrictArray(Vec<Self>),
    /// A point in time (§2.13).
    Date {
        /// Milliseconds since 1970 in UTC.
        milliseconds: f64,
        /// Reserved by the specification, which requires 0.
        time_zone: i16,
    },
    /// A value that its sender could not express (§2.15).
    Unsupported,
    /// The text of an XML document (§2.17).
    XmlDocument(String),
    /// An object of a named class (§2.18).
    TypedObject(String, Vec<(String, Self)>),
}

impl Value {
    /// Reads one value from the front of `reader`.
    ///
    /// # Errors
    ///
    /// When the value is cut off, has an unknown marker, or is larger or nested deeper than anything a real peer sends.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, Amf0Error> {
        Decoder {
            elements: 0,
            reader,
        }
        .value(0)
    }

    /// Appends the value to `out`. A property name that is longer than the wire format allows (65,535 bytes) is
    /// truncated.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Number(number) => {
                out.push(marker::NUMBER);
                out.extend_from_slice(&number.to_be_bytes());
            }
            Self::Boolean(boolean) => out.extend_from_slice(&[marker::BOOLEAN, u8::from(*boolean)]),
            Self::String(text) => match u16::try_from(text.len()) {
                Ok(length) => {
                    out.push(marker::STRING);
                    out.extend_from_slice(&length.to_be_bytes());
                    out.extend_from_slice(text.as_bytes());
                }
                Err(_) => encode_long(marker::LONG_STRING, text, out),
            },
            Self::Object(properties) => {
                out.push(marker::OBJECT);
                encode_properties(properties, out);
            }
            Self::Null => out.push(marker::NULL),
            Self::Undefined => out.push(marker::UNDEFINED),
            Self::Reference(index) => {
                out.push(marker::REFERENCE);
                out.extend_from_slice(&index.to_be_bytes());
            }
            Self::EcmaArray(properties) => {
                out.push(marker::ECMA_ARRAY);
                out.extend_from_slice(&count(properties.len()));
                encode_properties(properties, out);
            }
            Self::StrictArray(values) => {
                out.push(marker::STRICT_ARRAY);
                out.extend_from_slice(&count(values.len()));
                for value in values {
                    value.encode(out);
                }
            }
            Self::Date {
                milliseconds,
                time_zone,
            } => {
                out.push(marker::DATE);
                out.extend_from_slice(&milliseconds.to_be_bytes());
                out.extend_from_slice(&time_zone.to_be_bytes());
            }
            Self::Unsupported => out.push(marker::UNSUPPORTED),
            Self::XmlDocument(text) => encode_long(marker::XML_DOCUMENT, text, out),
            Self::TypedObject(class, properties) => {
                out.push(marker::TYPED_OBJECT);
                encode_name(class, out);
                encode_properties(properties, out);
            }
        }
    }

    /// The text, if the value is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if the value is a number.
    pub const fn as_number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The boolean, if the value is a boolean.
    pub const fn as_boolean(&self) -> Option<bool> {
        match self {
            Self::Boolean(boolean) => Some(*boolean),
            _ => None,
        }
    }

    /// The properties of an object or associative array, in wire order; none for any other value.
    pub fn properties(&self) -> &[(String, Self)] {
        match self {
            Self::Object(properties)
            | Self::EcmaArray(properties)
            | Self::TypedObject(_, properties) => properties,
            _ => &[],
        }
    }

    /// The first property called `name` of an object or associative array.
    pub fn field(&self, name: &str) -> Option<&Self> {
        self.properties()
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value {
    fn from(boolean: bool) -> Self {
        Self::Boolean(boolean)
    }
}

/// Why bytes are not an AMF0 value that we accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Amf0Error {
    /// The input ended before the value did.
    #[error("an AMF0 value is cut off")]
    Truncated,
    /// An undefined marker, or one that we do not support.
    #[error("AMF0 marker {0:#04x} is unknown")]
    UnknownMarker(u8),
    /// Objects are nested too deep.
    #[error("AMF0 values are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// A value has too many parts.
    #[error("an AMF0 value has more than {MAX_ELEMENTS} elements")]
    TooManyElements,
    /// A text is too long.
    #[error("an AMF0 string exceeds {MAX_STRING} bytes")]
    StringTooLong,
}

impl From<Truncated> for Amf0Error {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

struct Decoder<'a, 'b> {
    elements: usize,
    reader: &'a mut Reader<'b>,
}

impl Decoder<'_, '_> {
    fn value(&mut self, depth: usize) -> Result<Value, Amf0Error> {
        if depth > MAX_DEPTH {
            return Err(Amf0Error::TooDeep);
        }
        self.elements += 1;
        if self.elements > MAX_ELEMENTS {
            return Err(Amf0Error::TooManyElements);
        }
        Ok(match self.reader.u8()? {
            marker::NUMBER => Value::Number(self.reader.f64()?),
            marker::BOOLEAN => Value::Boolean(self.reader.u8()? != 0),
            marker::STRING => Value::String(self.name()?),
            marker::OBJECT => Value::Object(self.properties(depth)?),
            marker::NULL => Value::Null,
            marker::UNDEFINED => Value::Undefined,
            marker::REFERENCE => Value::Reference(self.reader.u16()?),
            marker::ECMA_ARRAY => {
                let _announced = self.reader.u32()?;
                Value::EcmaArray(self.properties(depth)?)
            }
            marker::STRICT_ARRAY => {
                let announced = self.reader.u32()?;
                let mut values = Vec::new();
                for _ in 0..announced {
                    values.push(self.value(depth + 1)?);
                }
                Value::StrictArray(values)
            }
            marker::DATE => Value::Date {
                milliseconds: self.reader.f64()?,
                time_zone: i16::from_be_bytes(self.reader.array()?),
            },
            marker::LONG_STRING => Value::String(self.long_text()?),
            marker::UNSUPPORTED => Value::Unsupported,
            marker::XML_DOCUMENT => Value::XmlDocument(self.long_text()?),
            marker::TYPED_OBJECT => Value::TypedObject(self.name()?, self.properties(depth)?),
            other => return Err(Amf0Error::UnknownMarker(other)),
        })
    }

    /// Reads properties up to the end marker: an empty name, then 0x09 (§2.11). An empty name before any other marker
    /// is a property with an empty name.
    fn properties(&mut self, depth: usize) -> Result<Vec<(String, Value)>, Amf0Error> {
        let mut properties = Vec::new();
        loop {
            let name = self.name()?;
            if name.is_empty() && self.reader.rest().first() == Some(&marker::OBJECT_END) {
                self.reader.u8()?;
                return Ok(properties);
            }
            properties.push((name, self.value(depth + 1)?));
        }
    }

    fn name(&mut self) -> Result<String, Amf0Error> {
        let length = self.reader.u16()?;
        let text = text(self.reader.bytes(usize::from(length))?);
        // Each replaced byte grows to three; a name must still fit the length field that it will be written with.
        if text.len() > usize::from(u16::MAX) {
            return Err(Amf0Error::StringTooLong);
        }
        Ok(text)
    }

    fn long_text(&mut self) -> Result<String, Amf0Error> {
        let length = usize::try_from(self.reader.u32()?).map_err(|_| Amf0Error::StringTooLong)?;
        if length > MAX_STRING {
            return Err(Amf0Error::StringTooLong);
        }
        let text = text(self.reader.bytes(length)?);
        if text.len() > MAX_STRING {
            return Err(Amf0Error::StringTooLong);
        }
        Ok(text)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn encode_properties(properties: &[(String, Value)], out: &mut Vec<u8>) {
    for (name, value) in properties {
        encode_name(name, out);
        value.encode(out);
    }
    out.extend_from_slice(&[0, 0, marker::OBJECT_END]);
}

fn encode_name(name: &str, out: &mut Vec<u8>) {
    let mut end = name.len().min(usize::from(u16::MAX));
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    let (name, _) = name
        .split_at_checked(end)
        .expect("end is at a character boundary within the name");
    let length = u16::try_from(name.len()).expect("end is at most u16::MAX");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(name.as_bytes());
}

fn encode_long(marker: u8, text: &str, out: &mut Vec<u8>) {
    out.push(marker);
    out.extend_from_slice(&count(text.len()));
    out.extend_from_slice(text.as_bytes());
}

/// Encodes a count in four bytes. Values come from a decoder with a far lower bound, or from our own code.
fn count(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

const MAX_DEPTH: usize = 16; // `connect` of enhanced RTMP nests two; metadata of encoders up to four
const MAX_ELEMENTS: usize = 1024; // long metadata has about fifty; 1024 keeps a value below 100 KiB of table
const MAX_STRING: usize = 64 * 1024; // the long form announces up to 4 GiB; tokens in a tcUrl take a few KiB

/// Type markers (§2.1).
mod marker {
    pub(super) const NUMBER: u8 = 0x00;
    pub(super) const BOOLEAN: u8 = 0x01;
    pub(super) const STRING: u8 = 0x02;
    pub(super) const OBJECT: u8 = 0x03;
    pub(super) const NULL: u8 = 0x05;
    pub(super) const UNDEFINED: u8 = 0x06;
    pub(super) const REFERENCE: u8 = 0x07;
    pub(super) const ECMA_ARRAY: u8 = 0x08;
    pub(super) const OBJECT_END: u8 = 0x09;
    pub(super) const STRICT_ARRAY: u8 = 0x0a;
    pub(super) const DATE: u8 = 0x0b;
    pub(super) const LONG_STRING: u8 = 0x0c;
    pub(super) const UNSUPPORTED: u8 = 0x0d;
    pub(super) const XML_DOCUMENT: u8 = 0x0f;
    pub(super) const TYPED_OBJECT: u8 = 0x10;
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    fn decode(bytes: &[u8]) -> Result<Value, Amf0Error> {
        Value::decode(&mut Reader::new(bytes))
    }

    fn named(name: &str, value: Value) -> (String, Value) {
        (name.to_owned(), value)
    }

    #[test]
    fn every_marker_reads_and_writes_the_bytes_of_the_specification() {
        let rows: &[(&str, &[u8], Value)] = &[
            ("number", &hex!("00 3ff0000000000000"), Value::Number(1.0)),
            ("boolean", &hex!("01 01"), Value::Boolean(true)),
            ("string", &hex!("02 0004 6c697665"), Value::from("live")),
            ("empty string", &hex!("02 0000"), Value::from("")),
            (
                "object",
                &hex!("03 0001 61 05 0000 09"),
                Value::Object(vec![named("a", Value::Null)]),
            ),
            (
                "a property called nothing",
                &hex!("03 0000 05 0000 09"),
                Value::Object(vec![named("", Value::Null)]),
            ),
            ("null", &hex!("05"), Value::Null),
            ("undefined", &hex!("06"), Value::Undefined),
            ("reference", &hex!("07 0102"), Value::Reference(0x0102)),
            (
                "associative array",
                &hex!("08 00000001 0001 61 0100 0000 09"),
                Value::EcmaArray(vec![named("a", Value::Boolean(false))]),
            ),
            (
                "strict array",
                &hex!("0a 00000002 05 06"),
                Value::StrictArray(vec![Value::Null, Value::Undefined]),
            ),
            (
                "date",
                &hex!("0b 0000000000000000 ffff"),
                Value::Date {
                    milliseconds: 0.0,
                    time_zone: -1,
                },
            ),
            ("unsupported", &hex!("0d"), Value::Unsupported),
            (
                "xml",
                &hex!("0f 00000004 3c612f3e"),
                Value::XmlDocument("<a/>".to_owned()),
            ),
            (
                "typed object",
                &hex!("10 0001 43 0001 61 05 0000 09"),
                Value::TypedObject("C".to_owned(), vec![named("a", Value::Null)]),
            ),
        ];
        for (cause, bytes, value) in rows {
            assert_eq!(decode(bytes).as_ref(), Ok(value), "{cause}");
            let mut written = Vec::new();
            value.encode(&mut written);
            assert_eq!(&written, bytes, "{cause}");
        }
    }

    #[test]
    fn what_peers_get_wrong_is_read_all_the_same() {
        let rows: &[(&str, &[u8], Value)] = &[
            (
                "an encoder announces no elements and sends one",
                &hex!("08 00000000 0001 61 05 0000 09"),
                Value::EcmaArray(vec![named("a", Value::Null)]),
            ),
            (
                "the count is beyond any memory",
                &hex!("08 ffffffff 0000 09"),
                Value::EcmaArray(vec![]),
            ),
            ("a boolean of 2", &hex!("01 02"), Value::Boolean(true)),
            (
                "a short text in the long form",
                &hex!("0c 00000001 61"),
                Value::from("a"),
            ),
            (
                "a name in Latin-1",
                &hex!("02 0002 61 e9"),
                Value::from("a\u{fffd}"),
            ),
        ];
        for (cause, bytes, value) in rows {
            assert_eq!(decode(bytes).as_ref(), Ok(value), "{cause}");
        }
    }

    #[test]
    fn hostile_values_are_refused_by_name() {
        let nested = |depth: usize| [[0x0a, 0, 0, 0, 1].repeat(depth), vec![0x05]].concat();
        assert!(decode(&nested(MAX_DEPTH)).is_ok());
        let rows: &[(&str, Vec<u8>, Amf0Error)] = &[
            ("nothing", vec![], Amf0Error::Truncated),
            (
                "half a number",
                hex!("00 3ff0").to_vec(),
                Amf0Error::Truncated,
            ),
            (
                "an object without its end",
                hex!("03 0001 61 05").to_vec(),
                Amf0Error::Truncated,
            ),
            (
                "an array that announces 4 billion",
                hex!("0a ffffffff 05").to_vec(),
                Amf0Error::Truncated,
            ),
            (
                "a text that announces 4 GiB",
                hex!("0c ffffffff 61").to_vec(),
                Amf0Error::StringTooLong,
            ),
            (
                "bytes that grow when replaced",
                [vec![2, 0xff, 0xff], vec![0xff; 0xffff]].concat(),
                Amf0Error::StringTooLong,
            ),
            ("a movie clip", vec![0x04], Amf0Error::UnknownMarker(4)),
            (
                "a switch to AMF3",
                vec![0x11],
                Amf0Error::UnknownMarker(0x11),
            ),
            ("17 arrays deep", nested(MAX_DEPTH + 1), Amf0Error::TooDeep),
            (
                "a million arrays deep",
                nested(1_000_000),
                Amf0Error::TooDeep,
            ),
            (
                "objects deep",
                [3, 0, 1, b'a'].repeat(1000),
                Amf0Error::TooDeep,
            ),
            (
                "many elements",
                [hex!("0a 00000400").to_vec(), vec![0x05; MAX_ELEMENTS]].concat(),
                Amf0Error::TooManyElements,
            ),
        ];
        for (cause, bytes, error) in rows {
            assert_eq!(decode(bytes).as_ref(), Err(error), "{cause}");
        }
    }

    #[test]
    fn texts_at_the_edge_of_a_length_field_survive() {
        for length in [65_534, 65_535, 65_536] {
            let value = Value::String("x".repeat(length));
            let mut written = Vec::new();
            value.encode(&mut written);
            assert_eq!(decode(&written), Ok(value), "{length}");
        }
        let mut written = Vec::new();
        Value::Object(vec![("é".repeat(40_000), Value::Null)]).encode(&mut written);
        let read = decode(&written).unwrap();
        assert_eq!(
            read.properties().first().map(|(name, _)| name.len()),
            Some(65_534)
        );
    }

    #[test]
    fn accessors_answer_for_their_own_kind_only() {
        let object = Value::Object(vec![
            named("app", "live".into()),
            named("app", "second".into()),
        ]);
        assert_eq!(object.field("app").and_then(Value::as_str), Some("live"));
        assert_eq!(object.field("tcUrl"), None);
        assert_eq!(Value::Null.field("app"), None);
        assert_eq!(Value::from(2.0).as_number(), Some(2.0));
        assert_eq!(Value::from("2").as_number(), None);
        assert_eq!(Value::from(true).as_boolean(), Some(true));
        assert_eq!(Value::Null.as_boolean(), None);
    }
}
