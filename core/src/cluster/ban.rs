//! A ban, as the proxies of a cluster tell it to each other. The name of the record is the [id](Target::id) of its target.

use serde_json::{Map, Value, json};

use super::records::Record;
use crate::access::bans::{Ban, Target, reason_of};

impl Record for Ban {
    const KIND: &'static str = "ban";
    const VERSION: u16 = 1;
    /// A stream's name and a reason at their longest, where every byte needs an escape, and the rest.
    const LONGEST: usize = 8_000;

    fn body(&self) -> String {
        json!({
            "target": self.target.to_string(),
            "until": self.until,
            "at": self.at,
            "lifted": self.lifted,
            "reason": self.reason,
        })
        .to_string()
    }

    fn read(_: u16, body: &str) -> Option<Self> {
        let document: Map<String, Value> = serde_json::from_str(body).ok()?;
        let number = |name: &str| document.get(name)?.as_u64();
        let text = |name: &str| document.get(name)?.as_str();
        let target: Target = text("target")?.parse().ok()?;
        Some(Self {
            target,
            until: number("until")?,
            at: number("at")?,
            lifted: document.get("lifted")?.as_bool()?,
            reason: reason_of(text("reason").unwrap_or_default()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::records::{Reading, read, write};

    #[test]
    fn the_bytes_of_version_1() {
        let ban = Ban {
            target: "viewer:seven".parse().unwrap(),
            until: 1_800_000_000,
            at: 1_700_000_000_000,
            lifted: false,
            reason: "shares the account".into(),
        };
        let body = r#"{"at":1700000000000,"lifted":false,"reason":"shares the account","target":"viewer:seven","until":1800000000}"#;
        let text = format!("record ban 1 {} {body}", body.len());
        assert_eq!(write(&ban).unwrap(), text);
        assert_eq!(read(&text), Reading::Known(ban));
    }

    #[test]
    fn the_longest_ban_can_be_written() {
        let ban = Ban {
            target: Target::new("stream", &"\u{1}".repeat(1_024)).unwrap(),
            until: u64::MAX,
            at: u64::MAX,
            lifted: false,
            reason: "\"".repeat(256).into(),
        };
        let text = write(&ban).unwrap();
        assert_eq!(read(&text), Reading::Known(ban));
    }

    #[test]
    fn nonsense_is_none() {
        for body in [
            "",
            "[]",
            r#"{"target":"seven","until":1,"at":1,"lifted":false}"#,
            r#"{"target":"viewer:seven","until":-1,"at":1,"lifted":false}"#,
            r#"{"target":"viewer:seven","until":1,"at":1}"#,
        ] {
            assert_eq!(Ban::read(1, body), None, "{body}");
        }
    }
}
