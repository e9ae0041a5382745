//! What can be opened was sealed here; a target without its links is otherwise unchanged.

use sluicegate_core::http::link::{LinkError, LinkKey, take};

/// The data is a request target, and the text of a link.
pub fn law(data: &[u8]) {
    let key = LinkKey::new(b"fuzz");
    let text = String::from_utf8_lossy(data);
    match key.open(&text, 0) {
        Ok(link) => assert_eq!(key.seal(&link), text, "one link is one text"),
        Err(LinkError::Foreign | LinkError::Forged | LinkError::Expired) => {}
    }
    let (target, link) = take(&text);
    assert_eq!(
        take(&target),
        (target.as_ref().into(), None),
        "none is left"
    );
    assert_eq!(link.is_none(), *target == *text, "nothing else changes");
    if let Some(link) = link {
        assert!(!link.contains('&') && text.contains(link));
    }
}
