//! A publisher whose origin is lost, as its proxy tells the others: its stream has no other publisher meanwhile, though no
//! origin has it. The name of the record is the key that the stream is placed under.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::records::Record;

/// Which proxy holds which publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldRecord {
    /// The address of the encoder: it may come back by another proxy.
    pub client: IpAddr,
    /// The proxy that it is connected to.
    pub proxy: Box<str>,
}

impl Record for HeldRecord {
    const KIND: &'static str = "held";
    const VERSION: u16 = 1;
    /// An address, and the id of a proxy at its longest.
    const LONGEST: usize = 512;

    fn body(&self) -> String {
        json!({"client": self.client, "proxy": self.proxy}).to_string()
    }

    fn read(_: u16, body: &str) -> Option<Self> {
        let document: Map<String, Value> = serde_json::from_str(body).ok()?;
        let text = |name: &str| document.get(name)?.as_str();
        Some(Self {
            client: text("client")?.parse().ok()?,
            proxy: text("proxy")?.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::records::{Reading, read, write};

    #[test]
    fn the_bytes_of_version_1() {
        let held = HeldRecord {
            client: "203.0.113.7".parse().unwrap(),
            proxy: "p1".into(),
        };
        let text = r#"record held 1 37 {"client":"203.0.113.7","proxy":"p1"}"#;
        assert_eq!(write(&held).unwrap(), text);
        assert_eq!(read(text), Reading::Known(held));
    }

    #[test]
    fn nonsense_is_none() {
        for body in [
            "",
            "[]",
            r#"{"client":"seven","proxy":"p1"}"#,
            r#"{"client":"203.0.113.7"}"#,
        ] {
            assert_eq!(HeldRecord::read(1, body), None, "{body}");
        }
    }
}
