//! Origins that do not register themselves, as listed in the settings or fetched from a source.
//!
//! An entry is a shorter registration document: it has `id` instead of `server`, no process id, may have one endpoint
//! in place of a list, and inherits what its list says about all of its entries. A bare text is an address.

use serde_json::{Map, Value};

use crate::fleet::origin::{AddressRules, Origin, OriginId, RegistrationError, parse_registration};

/// The keys that an entry may have.
pub const KEYS: [&str; 18] = [
    "id",
    "ip",
    "device_id",
    "rtmp",
    "http",
    "api",
    "srt",
    "rtc",
    "rtsp",
    "weight",
    "zone",
    "labels",
    "max_streams",
    "max_sessions",
    "max_mbps",
    "dialect",
    "strip",
    "prepend",
];

/// Why a list cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// An entry is not an origin.
    #[error("entry {0}: {1}")]
    Entry(usize, RegistrationError),
    /// The document is neither a list nor an object with a list `origins`.
    #[error(
        "neither a JSON list of origins, nor an object with such a list under origins or data.origins"
    )]
    NotAList,
    /// There are more entries than in any fleet.
    #[error("more than {MAX_ENTRIES} entries")]
    TooLong,
    /// Two entries have the same name.
    #[error("{0} is named twice")]
    Twice(OriginId),
}

/// Reads one entry of a list, on top of what `common` says about all. Without an `id`, the origin's name is its
/// address.
///
/// # Errors
/// What is wrong with the first invalid field.
pub fn parse_entry(
    entry: &Value,
    common: &Map<String, Value>,
    rules: &AddressRules,
) -> Result<(OriginId, Origin), RegistrationError> {
    let mut document = common.clone();
    match entry {
        Value::String(address) => {
            document.insert("ip".to_owned(), Value::String(address.clone()));
        }
        Value::Object(fields) => document.extend(fields.clone()),
        _ => {
            return Err(RegistrationError {
                field: "body",
                problem: "neither an address nor a JSON object".to_owned(),
            });
        }
    }
    for service in ["rtmp", "http", "api", "srt", "rtc", "rtsp"] {
        if let Some(endpoint @ (Value::String(_) | Value::Number(_))) = document.get_mut(service) {
            *endpoint = Value::Array(vec![endpoint.take()]);
        }
    }
    let name = ["id", "server", "ip"].into_iter().find_map(|key| {
        document
            .remove(key)
            .filter(|name| !name.is_null())
            .map(|name| (key, name))
    });
    if let Some((key, name)) = name {
        if key == "ip" {
            document.insert("ip".to_owned(), name.clone());
        }
        document.insert("server".to_owned(), name);
    }
    document.insert("service".to_owned(), "listed".into());
    document.insert("pid".to_owned(), "0".into());
    document.remove("summaries");
    let body = Value::Object(document).to_string();
    let origin = parse_registration(body.as_bytes(), rules)?;
    Ok((OriginId::from(origin.server.as_str()), origin))
}

/// Reads a whole list: a JSON list of entries, or an object that has one under `origins` or `data.origins`.
///
/// # Errors
/// The first problem found. A list is accepted whole or not at all: half a fleet would look like a scale-in.
pub fn parse_list(
    document: &Value,
    common: &Map<String, Value>,
    rules: &AddressRules,
) -> Result<Vec<(OriginId, Origin)>, ListError> {
    let entries = [
        Some(document),
        document.get("origins"),
        document.pointer("/data/origins"),
    ]
    .into_iter()
    .flatten()
    .find_map(Value::as_array)
    .ok_or(ListError::NotAList)?;
    if entries.len() > MAX_ENTRIES {
        return Err(ListError::TooLong);
    }
    let mut listed: Vec<(OriginId, Origin)> = Vec::with_capacity(entries.len());
    let mut names = std::collections::BTreeSet::new();
    for (index, entry) in entries.iter().enumerate() {
        let (id, origin) = parse_entry(entry, common, rules)
            .map_err(|error| ListError::Entry(index + 1, error))?;
        if !names.insert(id.clone()) {
            return Err(ListError::Twice(id));
        }
        listed.push((id, origin));
    }
    Ok(listed)
}

/// Maximum entries of one list: as many as `origins.max` can allow.
const MAX_ENTRIES: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Service;
    use serde_json::json;

    fn list(document: Value, common: Value) -> Result<Vec<(String, String)>, String> {
        let common = common.as_object().cloned().unwrap_or_default();
        parse_list(&document, &common, &AddressRules::default())
            .map(|listed| {
                let told = |(id, origin): (OriginId, Origin)| {
                    let rtmp = origin
                        .target(Service::Rtmp)
                        .map(|target| target.to_string());
                    (id.to_string(), rtmp.unwrap_or_default())
                };
                listed.into_iter().map(told).collect()
            })
            .map_err(|error| error.to_string())
    }

    #[test]
    fn lists_of_every_shape() {
        let named = vec![("a".to_owned(), "10.0.0.1:1935".to_owned())];
        let rows = [
            (
                "a bare list",
                json!([{"id": "a", "ip": "10.0.0.1", "rtmp": 1935}]),
                json!({}),
            ),
            (
                "under origins",
                json!({"origins": [{"id": "a", "ip": "10.0.0.1", "rtmp": ["1935"]}]}),
                json!({}),
            ),
            (
                "as the system API of another proxy has it",
                json!({"code": 0, "data": {"origins": [{"id": "a", "server": "x", "ip": "10.0.0.1", "rtmp": ["tcp://:1935"]}]}}),
                json!({}),
            ),
            (
                "a registration",
                json!([{"server": "a", "service": "s", "pid": "9", "ip": "10.0.0.1", "rtmp": "1935"}]),
                json!({}),
            ),
            (
                "what all have",
                json!([{"id": "a", "ip": "10.0.0.1"}]),
                json!({"rtmp": "1935"}),
            ),
        ];
        for (cause, document, common) in rows {
            assert_eq!(list(document, common), Ok(named.clone()), "{cause}");
        }
        let addresses = list(json!(["10.0.0.1", "10.0.0.2"]), json!({"rtmp": "1935"}));
        let expected = [("10.0.0.1", "10.0.0.1:1935"), ("10.0.0.2", "10.0.0.2:1935")];
        assert_eq!(
            addresses,
            Ok(expected
                .map(|(id, at)| (id.to_owned(), at.to_owned()))
                .to_vec()),
            "addresses are names"
        );
    }

    #[test]
    fn a_list_with_a_flaw_is_not_taken_at_all() {
        let rows = [
            ("no list", json!({"a": 1}), "neither a JSON list"),
            ("no origin", json!([1]), "entry 1: body: neither an address"),
            (
                "no endpoint",
                json!(["10.0.0.1"]),
                "entry 1: rtmp: no endpoint",
            ),
            (
                "the second is wrong",
                json!([{"id": "a", "ip": "10.0.0.1", "rtmp": 1}, {"id": "b", "ip": "169.254.169.254", "rtmp": 1}]),
                "entry 2: ip: cloud metadata",
            ),
            (
                "one name for two",
                json!([{"id": "a", "ip": "10.0.0.1", "rtmp": 1}, {"id": "a", "ip": "10.0.0.2", "rtmp": 1}]),
                "a is named twice",
            ),
        ];
        for (cause, document, expected) in rows {
            let error = list(document, json!({})).unwrap_err();
            assert!(error.starts_with(expected), "{cause}: {error}");
        }
    }
}
