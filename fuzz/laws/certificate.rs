//! A certificate is read without being believed: what comes out is bounded, and was in it.

use sluicegate_core::certificate::{Certificate, MAX_NAMES};

/// The data is a certificate in DER.
pub fn law(data: &[u8]) {
    let Ok(read) = Certificate::parse(data) else {
        return;
    };
    assert!(read.names.len() <= MAX_NAMES, "names are bounded");
    let is_inside = |part: &[u8]| part.is_empty() || data.windows(part.len()).any(|at| at == part);
    let mut names = read.names.iter().take(SOME).map(|name| name.as_str());
    assert!(names.all(|name| is_inside(name.as_bytes())));
    assert!(is_inside(&read.serial));
    assert!(read.issuer_key.is_none_or(|key| is_inside(&key)));
}

/// Names that are looked for; a search for a thousand would take long.
const SOME: usize = 16;
