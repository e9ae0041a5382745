//! What the build of a proxy can read, as it tells the others: a feature that needs every proxy to read its records can
//! wait until all do.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::held::HeldRecord;
use super::records::Record;
use super::tally::TallyRecord;
use crate::access::bans::Ban;
use crate::http::continued::Continued;

/// What a proxy's build can read. Its name is the proxy's id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildRecord {
    /// Each kind of record that it knows, and the latest version of it.
    pub reads: BTreeMap<String, u16>,
}

impl BuildRecord {
    /// What this build reads.
    pub fn own() -> Self {
        let kinds = [
            (Ban::KIND, Ban::VERSION),
            (Self::KIND, Self::VERSION),
            (HeldRecord::KIND, HeldRecord::VERSION),
            (Continued::KIND, Continued::VERSION),
            (TallyRecord::KIND, TallyRecord::VERSION),
        ];
        let kinds = kinds.map(|(kind, version)| (kind.to_owned(), version));
        Self {
            reads: kinds.into(),
        }
    }

    /// Whether it reads records of this kind as this build writes them.
    pub fn reads<T: Record>(&self) -> bool {
        let known = self.reads.get(T::KIND);
        known.is_some_and(|version| *version >= T::VERSION)
    }
}

impl Record for BuildRecord {
    const KIND: &'static str = "build";
    const VERSION: u16 = 1;
    /// Enough for a hundred kinds.
    const LONGEST: usize = 4_096;

    fn body(&self) -> String {
        json!({"reads": self.reads}).to_string()
    }

    fn read(_: u16, body: &str) -> Option<Self> {
        let document: Map<String, Value> = serde_json::from_str(body).ok()?;
        let reads = document.get("reads")?.as_object()?;
        let known = |(kind, version): (&String, &Value)| {
            let version = u16::try_from(version.as_u64()?).ok()?;
            Some((kind.clone(), version))
        };
        // A version that is no number is of a build that will explain it in a later version of this record.
        Some(Self {
            reads: reads.iter().filter_map(known).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::records::{Reading, read, write};

    #[test]
    fn the_bytes_of_version_1() {
        let text =
            r#"record build 1 59 {"reads":{"ban":1,"build":1,"held":1,"splice":1,"tally":1}}"#;
        assert_eq!(write(&BuildRecord::own()).unwrap(), text);
        assert_eq!(read(text), Reading::Known(BuildRecord::own()));
    }

    #[test]
    fn a_build_that_knows_more_is_understood() {
        let body = r#"{"colour":"red","reads":{"build":2,"feed":1,"odd":"x"}}"#;
        let build = BuildRecord::read(1, body).unwrap();
        assert!(build.reads::<BuildRecord>());
        assert_eq!(build.reads.get("feed"), Some(&1));
        assert_eq!(build.reads.get("odd"), None);
        assert!(!BuildRecord::default().reads::<BuildRecord>());
    }

    #[test]
    fn nonsense_is_none() {
        for body in ["", "[]", "{}", r#"{"reads":[]}"#] {
            assert_eq!(BuildRecord::read(1, body), None, "{body}");
        }
    }
}
