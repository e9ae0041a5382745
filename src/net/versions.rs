//! `/api/v1/versions`, in the two shapes upstream's ports have.

use serde_json::{Value, json};

/// What every answer signs with.
pub const SERVER: &str = concat!("Sluicegate/", env!("CARGO_PKG_VERSION"));

/// The shape of the system API and the API port.
pub fn short() -> Value {
    json!({"signature": "Sluicegate", "version": VERSION})
}

/// The shape of the HTTP stream port.
pub fn long() -> Value {
    let mut numbers = VERSION
        .split('.')
        .map(|number| number.parse::<u64>().unwrap_or_default());
    let mut next = || numbers.next().unwrap_or_default();
    let (major, minor, revision) = (next(), next(), next());
    json!({
        "code": 0,
        "pid": std::process::id().to_string(),
        "data": {"major": major, "minor": minor, "revision": revision, "version": VERSION},
    })
}

const VERSION: &str = env!("CARGO_PKG_VERSION");
