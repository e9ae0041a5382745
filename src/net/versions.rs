//! `/api/v1/versions`, in the two shapes upstream's ports have.

use crate::api::{LongVersion, Version, VersionNumbers};

/// What every answer signs with.
pub const SERVER: &str = concat!("Sluicegate/", env!("CARGO_PKG_VERSION"));

/// The shape of the system API and the API port.
pub fn short() -> Version {
    Version {
        signature: "Sluicegate".to_owned(),
        version: VERSION.to_owned(),
    }
}

/// The shape of the HTTP stream port.
pub fn long() -> LongVersion {
    let mut numbers = VERSION
        .split('.')
        .map(|number| number.parse::<u64>().unwrap_or_default());
    let mut next = || numbers.next().unwrap_or_default();
    LongVersion {
        code: 0,
        pid: std::process::id().to_string(),
        data: VersionNumbers {
            major: next(),
            minor: next(),
            revision: next(),
            version: VERSION.to_owned(),
        },
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");
