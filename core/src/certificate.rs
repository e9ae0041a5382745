//! What is in an X.509 certificate (RFC 5280) for people and for the gate: its names, and how long it holds. Whether it is
//! to be believed is for the TLS library to say; nothing here verifies anything.

use crate::calendar::days;
use crate::read::Reader;

/// The part of a certificate that is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// When it begins to hold, in seconds since 1970 in UTC.
    pub not_before: i64,
    /// The last second in which it holds, in seconds since 1970 in UTC.
    pub not_after: i64,
    /// Its subject alternative names of the kinds that name somebody, in the order of the certificate; at most
    /// [`MAX_NAMES`].
    pub names: Vec<Name>,
    /// Its serial number as it is encoded: what is inside the INTEGER, with a zero in front where its first bit is set.
    pub serial: Vec<u8>,
    /// The identifier of the key that signed it (RFC 5280 §4.2.1.1), if it is stated.
    pub issuer_key: Option<Vec<u8>>,
}

/// A subject alternative name (RFC 5280 §4.2.1.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// A host, perhaps with `*` as its first label.
    Dns(String),
    /// A mailbox.
    Email(String),
    /// A URI, such as a SPIFFE id.
    Uri(String),
}

/// Why a certificate cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// It is not encoded as DER asks for (X.690 §8.1), or has other parts than RFC 5280 §4.1 names.
    #[error("it is not an X.509 certificate in DER")]
    Malformed,
    /// Its validity is not a time that RFC 5280 §4.1.2.5 allows.
    #[error("the time until which it holds cannot be read")]
    Time,
}

impl Certificate {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// [`CertificateError`] for anything else. What is not looked at is not checked.
    pub fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        let mut whole = Der::new(der);
        let mut certificate = whole.inside(SEQUENCE)?;
        let mut fields = certificate.inside(SEQUENCE)?;
        fields.skip_optional(VERSION)?;
        let serial = fields.expect(INTEGER)?.to_vec();
        // The signature's algorithm, and the issuer.
        fields.expect(SEQUENCE)?;
        fields.expect(SEQUENCE)?;
        let mut validity = fields.inside(SEQUENCE)?;
        let not_before = time(validity.any()?)?;
        let not_after = time(validity.any()?)?;
        // The subject, and its key.
        fields.expect(SEQUENCE)?;
        fields.expect(SEQUENCE)?;
        let mut read = Self {
            not_before,
            not_after,
            names: Vec::new(),
            serial,
            issuer_key: None,
        };
        while let Some((tag, content)) = fields.next()? {
            if tag == EXTENSIONS {
                read.read_extensions(content)?;
            }
        }
        Ok(read)
    }

    fn read_extensions(&mut self, extensions: &[u8]) -> Result<(), CertificateError> {
        let mut list = Der::new(extensions).inside(SEQUENCE)?;
        while let Some((_, extension)) = list.next()? {
            let mut extension = Der::new(extension);
            let kind = extension.expect(OBJECT_ID)?;
            if kind != SUBJECT_ALT_NAME && kind != AUTHORITY_KEY {
                continue;
            }
            extension.skip_optional(BOOLEAN)?;
            let value = extension.expect(OCTET_STRING)?;
            if kind == SUBJECT_ALT_NAME {
                self.names = alternative_names(value)?;
            } else {
                self.issuer_key = authority_key(value)?;
            }
        }
        Ok(())
    }

    /// The name that stands for its holder where a client shows it: the first.
    pub fn first_name(&self) -> Option<&str> {
        self.names.first().map(Name::as_str)
    }

    /// Its hosts.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.names.iter().filter_map(|name| match name {
            Name::Dns(host) => Some(host.as_str()),
            Name::Email(_) | Name::Uri(_) => None,
        })
    }
}

impl Name {
    /// The name without its kind.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Dns(text) | Self::Email(text) | Self::Uri(text) => text,
        }
    }
}

/// Values of one level, each a tag and its content.
struct Der<'a>(Reader<'a>);

impl<'a> Der<'a> {
    const fn new(bytes: &'a [u8]) -> Self {
        Self(Reader::new(bytes))
    }

    /// The next value, or `None` at the end.
    fn next(&mut self) -> Result<Option<(u8, &'a [u8])>, CertificateError> {
        if self.0.remaining() == 0 {
            return Ok(None);
        }
        let malformed = |_| CertificateError::Malformed;
        let tag = self.0.u8().map_err(malformed)?;
        let length = match self.0.u8().map_err(malformed)? {
            short @ 0..=0x7F => usize::from(short),
            0x81 => usize::from(self.0.u8().map_err(malformed)?),
            0x82 => usize::from(self.0.u16().map_err(malformed)?),
            // No certificate that TLS carries has a length beyond 24 bits (RFC 8446 §4.4.2).
            0x83 => self.0.u24().map_err(malformed)? as usize,
            _ => return Err(CertificateError::Malformed),
        };
        let content = self.0.bytes(length).map_err(malformed)?;
        Ok(Some((tag, content)))
    }

    fn any(&mut self) -> Result<(u8, &'a [u8]), CertificateError> {
        self.next()?.ok_or(CertificateError::Malformed)
    }

    fn expect(&mut self, wanted: u8) -> Result<&'a [u8], CertificateError> {
        match self.any()? {
            (tag, content) if tag == wanted => Ok(content),
            _ => Err(CertificateError::Malformed),
        }
    }

    fn inside(&mut self, wanted: u8) -> Result<Self, CertificateError> {
        self.expect(wanted).map(Self::new)
    }

    fn skip_optional(&mut self, wanted: u8) -> Result<(), CertificateError> {
        if self.0.rest().first() == Some(&wanted) {
            self.any()?;
        }
        Ok(())
    }
}

/// What is in an extension that names the subject (RFC 5280 §4.2.1.6).
fn alternative_names(value: &[u8]) -> Result<Vec<Name>, CertificateError> {
    let mut names = Vec::new();
    let mut found = Der::new(value).inside(SEQUENCE)?;
    while let Some((tag, content)) = found.next()? {
        let text = || str::from_utf8(content).map(str::to_owned).ok();
        let name = match tag {
            EMAIL => text().map(Name::Email),
            DNS => text().map(Name::Dns),
            URI => text().map(Name::Uri),
            _ => None,
        };
        if names.len() < MAX_NAMES {
            names.extend(name);
        }
    }
    Ok(names)
}

/// The key in an extension that names the issuer's (RFC 5280 §4.2.1.1), which may name it by other means.
fn authority_key(value: &[u8]) -> Result<Option<Vec<u8>>, CertificateError> {
    let mut found = Der::new(value).inside(SEQUENCE)?;
    while let Some((tag, content)) = found.next()? {
        if tag == KEY_IDENTIFIER {
            return Ok(Some(content.to_vec()));
        }
    }
    Ok(None)
}

/// A time as seconds since 1970 (RFC 5280 §4.1.2.5): `YYMMDDHHMMSSZ` until 2049, or `YYYYMMDDHHMMSSZ`.
fn time((tag, content): (u8, &[u8])) -> Result<i64, CertificateError> {
    let text = content
        .strip_suffix(b"Z")
        .filter(|digits| digits.iter().all(u8::is_ascii_digit))
        .and_then(|digits| str::from_utf8(digits).ok())
        .ok_or(CertificateError::Time)?;
    let (year, rest) = match tag {
        UTC_TIME => text.split_at_checked(2),
        GENERALIZED_TIME => text.split_at_checked(4),
        _ => None,
    }
    .filter(|(_, rest)| rest.len() == 10)
    .ok_or(CertificateError::Time)?;
    let number = |text: Option<&str>| -> Result<i64, CertificateError> {
        text.and_then(|text| text.parse().ok())
            .ok_or(CertificateError::Time)
    };
    let year = match (tag, number(Some(year))?) {
        (UTC_TIME, year @ 0..50) => 2000 + year,
        (UTC_TIME, year) => 1900 + year,
        (_, year) => year,
    };
    let part = |at: usize| number(rest.get(at..at + 2));
    let (month, day, hour, minute, second) = (part(0)?, part(2)?, part(4)?, part(6)?, part(8)?);
    let is_time = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !is_time {
        return Err(CertificateError::Time);
    }
    Ok(((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

/// More names than certificates of hosting companies have.
pub const MAX_NAMES: usize = 1000;

/// Universal tags (X.690 §8), and those of RFC 5280 §4.1 and §4.2.1.6.
const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xA0;
const EXTENSIONS: u8 = 0xA3;
const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
const KEY_IDENTIFIER: u8 = 0x80;
/// `id-ce-subjectAltName`, 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1D, 0x11];
/// `id-ce-authorityKeyIdentifier`, 2.5.29.35.
const AUTHORITY_KEY: &[u8] = &[0x55, 0x1D, 0x23];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = match content.len() {
            short @ 0..0x80 => vec![short as u8],
            long => vec![0x82, (long >> 8) as u8, long as u8],
        };
        [&[tag], length.as_slice(), content].concat()
    }

    fn certificate(times: [(u8, &str); 2], names: &[(u8, &str)]) -> Vec<u8> {
        let validity: Vec<u8> = times
            .iter()
            .flat_map(|(tag, text)| value(*tag, text.as_bytes()))
            .collect();
        let names: Vec<u8> = names
            .iter()
            .flat_map(|(tag, text)| value(*tag, text.as_bytes()))
            .collect();
        let alternative = [
            value(OBJECT_ID, SUBJECT_ALT_NAME),
            value(BOOLEAN, &[0xFF]),
            value(OCTET_STRING, &value(SEQUENCE, &names)),
        ]
        .concat();
        let other = [
            value(OBJECT_ID, &[0x55, 0x1D, 0x0F]),
            value(OCTET_STRING, &[3]),
        ]
        .concat();
        let issuer = [
            value(OBJECT_ID, AUTHORITY_KEY),
            value(
                OCTET_STRING,
                &value(SEQUENCE, &value(KEY_IDENTIFIER, ISSUER)),
            ),
        ]
        .concat();
        let extensions = [&other, &issuer, &alternative].map(|one| value(SEQUENCE, one));
        let extensions = extensions.concat();
        let fields = [
            value(VERSION, &value(INTEGER, &[2])),
            value(INTEGER, SERIAL),
            value(SEQUENCE, &[]),
            value(SEQUENCE, &[]),
            value(SEQUENCE, &validity),
            value(SEQUENCE, &[]),
            value(SEQUENCE, &[]),
            value(EXTENSIONS, &value(SEQUENCE, &extensions)),
        ]
        .concat();
        let whole = [
            value(SEQUENCE, &fields),
            value(SEQUENCE, &[]),
            value(3, &[0]),
        ]
        .concat();
        value(SEQUENCE, &whole)
    }

    /// Those of the example in RFC 9773 §4.1.
    const SERIAL: &[u8] = &[0x00, 0x87, 0x65, 0x43, 0x21];
    const ISSUER: &[u8] = &hex_literal::hex!("69885b6b87464041e1b37b847ba0ae2cde01c8d4");
    const FROM: (u8, &str) = (UTC_TIME, "700101000000Z");

    #[test]
    fn names_come_in_their_order() {
        let names = [
            (URI, "spiffe://example/encoder"),
            (0x87, "\u{1}\u{2}\u{3}\u{4}"),
            (DNS, "*.example"),
            (EMAIL, "a@example"),
        ];
        let der = certificate([FROM, (UTC_TIME, "491231235959Z")], &names);
        let read = Certificate::parse(&der).unwrap();
        assert_eq!(read.first_name(), Some("spiffe://example/encoder"));
        assert_eq!(read.hosts().collect::<Vec<_>>(), ["*.example"]);
        assert_eq!(read.names.len(), 3, "an address names nobody");
        assert_eq!((read.not_before, read.not_after), (0, 2_524_607_999));
        assert_eq!(read.serial, SERIAL, "with the zero in front");
        assert_eq!(read.issuer_key.as_deref(), Some(ISSUER));
    }

    #[test]
    fn times() {
        let rows = [
            (
                "this century",
                UTC_TIME,
                "260301120000Z",
                Some(1_772_366_400),
            ),
            ("a leap day", UTC_TIME, "240229000000Z", Some(1_709_164_800)),
            (
                "the last century",
                UTC_TIME,
                "500101000000Z",
                Some(-631_152_000),
            ),
            (
                "no end",
                GENERALIZED_TIME,
                "99991231235959Z",
                Some(253_402_300_799),
            ),
            ("no such month", UTC_TIME, "261301120000Z", None),
            ("a zone", UTC_TIME, "260301120000+0100", None),
            ("no seconds", UTC_TIME, "2603011200Z", None),
            ("a sign", UTC_TIME, "26+301120000Z", None),
            ("another type", INTEGER, "260301120000Z", None),
        ];
        for (cause, tag, text, expected) in rows {
            let read = Certificate::parse(&certificate([FROM, (tag, text)], &[]));
            assert_eq!(read.ok().map(|read| read.not_after), expected, "{cause}");
        }
    }

    #[test]
    fn a_part_of_a_certificate_is_none() {
        let der = certificate([FROM, FROM], &[(DNS, "a.example")]);
        for end in 0..der.len() {
            let read = Certificate::parse(&der[..end]);
            assert_eq!(read, Err(CertificateError::Malformed), "{end} bytes");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>) {
            let _ = Certificate::parse(&bytes);
        }

        #[test]
        fn any_change_is_answered(at: prop::sample::Index, byte: u8) {
            let mut der = certificate([FROM, FROM], &[(DNS, "a.example"), (URI, "x:y")]);
            let at = at.index(der.len());
            der[at] = byte;
            if let Ok(read) = Certificate::parse(&der) {
                prop_assert!(read.names.len() <= 2);
            }
        }
    }
}
