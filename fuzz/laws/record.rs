//! A record is one text: what can be read is written the same again, and a longer or shorter text is none.

use sluicegate_core::cluster::build::BuildRecord;
use sluicegate_core::cluster::records::{Envelope, Reading, named, read, write};

/// The data is a value in the store, and a key there.
pub fn law(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(envelope) = Envelope::parse(&text) {
        assert_eq!(envelope.text(), text, "one record is one text");
        assert_eq!(
            Envelope::parse(&format!("{text}x")),
            None,
            "its length says where it ends"
        );
    }
    if let Reading::Known(record) = read::<BuildRecord>(&text)
        && let Ok(again) = write(&record)
    {
        assert_eq!(read(&again), Reading::Known(record), "nothing is lost");
    }
    if let Some((kind, name)) = named(&text) {
        assert!(!kind.is_empty() && !name.is_empty());
    }
}
