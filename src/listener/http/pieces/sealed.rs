//! Sealed links that were made a moment ago. All playlists of a stream that come from one origin carry the same link for
//! an hour, and sealing one costs two passes of a cipher and a hash.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sluicegate_core::fleet::origin::{OriginId, Target};
use sluicegate_core::http::link::{Link, LinkKey};
use sluicegate_core::stream::StreamUrl;

use crate::proxy::Attempt;

/// The last link of each stream that nobody has to be let in for.
#[derive(Debug, Default)]
pub(super) struct SealedLinks {
    by_stream: Mutex<HashMap<StreamUrl, Sealed>>,
}

#[derive(Debug)]
struct Sealed {
    origin: OriginId,
    target: Target,
    expires: u64,
    text: Arc<str>,
}

impl SealedLinks {
    /// The link of `stream` at the origin of `attempt`, sealed under `key`, which is the same key every time.
    pub(super) fn link(
        &self,
        key: &LinkKey,
        stream: &StreamUrl,
        attempt: &Attempt,
        expires: u64,
    ) -> Arc<str> {
        let mut links = self
            .by_stream
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = links.get(stream)
            && known.expires == expires
            && known.origin == attempt.origin
            && known.target == attempt.target
        {
            return Arc::clone(&known.text);
        }
        // Links go by the hour: those of streams that are gone are of no use.
        if links.len() == MOST {
            links.clear();
        }
        let link = Link {
            stream: stream.clone(),
            origin: attempt.origin.clone(),
            target: attempt.target.clone(),
            expires,
            viewing: None,
        };
        let text: Arc<str> = key.seal(&link).into();
        let sealed = Sealed {
            origin: link.origin,
            target: link.target,
            expires,
            text: Arc::clone(&text),
        };
        links.insert(link.stream, sealed);
        text
    }
}

/// Entries, of about 400 bytes each. With more streams some links are sealed again.
const MOST: usize = 4096;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sluicegate_core::dialect::Naming;
    use sluicegate_core::stream::Service;

    use super::*;

    fn at(origin: &str) -> Attempt {
        Attempt {
            origin: origin.to_owned().into(),
            label: origin.to_owned(),
            service: Service::Http,
            target: Target::plain(origin.parse().expect("a name"), 80),
            time_limit: Duration::from_secs(1),
            naming: Naming::default(),
            step_by_step: false,
        }
    }

    fn stream(name: &str) -> StreamUrl {
        StreamUrl::new("vhost", "live", name).expect("a stream")
    }

    #[test]
    fn every_link_opens_as_itself() {
        let (key, links) = (LinkKey::new(b"key"), SealedLinks::default());
        let rows = [
            ("a", "o1", 10),
            ("b", "o1", 10),
            ("a", "o2", 10),
            ("a", "o2", 20),
        ];
        for _ in 0..2 {
            for (name, origin, expires) in rows {
                let text = links.link(&key, &stream(name), &at(origin), expires);
                let link = key.open(&text, 5).expect("it was sealed under this key");
                assert_eq!((&link.stream, link.expires), (&stream(name), expires));
                assert_eq!(
                    (&link.origin, &link.target),
                    (&at(origin).origin, &at(origin).target)
                );
            }
        }
        assert_eq!(links.by_stream.lock().expect("a lock").len(), 2);
    }

    #[test]
    fn it_never_grows_past_its_bound() {
        let (key, links) = (LinkKey::new(b"key"), SealedLinks::default());
        for number in 0..=MOST {
            links.link(&key, &stream(&number.to_string()), &at("o1"), 10);
        }
        assert_eq!(links.by_stream.lock().expect("a lock").len(), 1);
    }
}
