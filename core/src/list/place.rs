//! Where a row stands in a list, and the cursor that says so to clients.

use std::borrow::Cow;
use std::cmp::Ordering;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};

use super::ask::{AskError, Sort};

/// A value that rows are sorted by. Numbers precede texts; texts compare by their bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Key<'a> {
    /// A number; what is measured in fractions is given in a smaller unit.
    Number(i64),
    /// A text; empty for what is not known.
    Text(Cow<'a, str>),
}

/// Where a row stands: its value in the column that is sorted by, then its name, which no other row has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor<'a> {
    /// The value that is sorted by.
    pub key: Key<'a>,
    /// The proxy that has the row; empty where rows belong to the whole cluster, or there is none.
    pub proxy: Cow<'a, str>,
    /// What the row is called on that proxy.
    pub id: Key<'a>,
}

impl Key<'_> {
    /// The number, or the largest one that fits.
    pub fn of(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }

    /// The same, on its own.
    pub fn into_owned(self) -> Key<'static> {
        match self {
            Self::Number(number) => Key::Number(number),
            Self::Text(text) => Key::Text(Cow::Owned(text.into_owned())),
        }
    }
}

impl<'a> From<&'a str> for Key<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl Cursor<'_> {
    /// How two places follow each other in a list sorted by `sort`. One that descends is the same list from its end, so that
    /// what happened within one millisecond is in order whichever way it is read.
    pub fn compare(&self, other: &Cursor<'_>, sort: Sort) -> Ordering {
        let ascending = self
            .key
            .cmp(&other.key)
            .then_with(|| self.proxy.cmp(&other.proxy))
            .then_with(|| self.id.cmp(&other.id));
        if sort.descending {
            ascending.reverse()
        } else {
            ascending
        }
    }

    /// The same, on its own.
    pub fn into_owned(self) -> Cursor<'static> {
        Cursor {
            key: self.key.into_owned(),
            proxy: Cow::Owned(self.proxy.into_owned()),
            id: self.id.into_owned(),
        }
    }

    /// The cursor of a page that ends here, for the query of the next one.
    pub fn cursor(&self, sort: Sort) -> String {
        let text = serde_json::to_vec(&(sort.to_string(), &self.key, &self.proxy, &self.id));
        Base64UrlUnpadded::encode_string(&text.unwrap_or_default())
    }

    /// Reads a cursor of a list that is sorted by `sort`.
    pub(super) fn read(cursor: &str, sort: Sort) -> Result<Cursor<'static>, AskError> {
        if cursor.len() > LONGEST_CURSOR {
            return Err(AskError::Cursor);
        }
        let text = Base64UrlUnpadded::decode_vec(cursor).map_err(|_| AskError::Cursor)?;
        let read: Result<(String, Key<'static>, String, Key<'static>), _> =
            serde_json::from_slice(&text);
        let (made_for, key, proxy, id) = read.map_err(|_| AskError::Cursor)?;
        if made_for != sort.to_string() {
            return Err(AskError::OtherOrder);
        }
        Ok(Cursor {
            key,
            proxy: Cow::Owned(proxy),
            id,
        })
    }
}

/// Maximum characters of a cursor: two names of a stream and an address, encoded.
const LONGEST_CURSOR: usize = 8192;
