//! A head is read in the same way however its bytes arrive and reads back as it is written, and what we send to an
//! origin passes our own strict parser as the same request.

use sluicegate_core::http::head::{Forwarded, MAX_HEAD, MAX_HEADERS, RequestHead, ResponseHead};

/// The first byte says where the input is split and whether the client is trusted; the rest is what a peer sends.
pub fn law(data: &[u8]) {
    let Some((choice, wire)) = data.split_first() else {
        return;
    };
    let end = wire.len() * usize::from(*choice) / 256;
    let part = wire.get(..end).expect("less than all of it");

    let whole = RequestHead::parse(wire);
    let early = RequestHead::parse(part);
    assert!(
        early == Ok(None) || early == whole,
        "{end} bytes: {early:?}"
    );
    if let Ok(Some((head, length))) = whole {
        assert!(length <= wire.len());
        request(&head, choice & 1 == 1);
    }

    let whole = ResponseHead::parse(wire);
    let early = ResponseHead::parse(part);
    assert!(
        early == Ok(None) || early == whole,
        "{end} bytes: {early:?}"
    );
    if let Ok(Some((head, length))) = whole {
        assert!(length <= wire.len());
        let mut written = Vec::new();
        head.write(&mut written);
        let length = written.len();
        // The written head may be longer than the one that was read: `a:b` becomes `a: b`.
        if length <= MAX_HEAD {
            assert_eq!(ResponseHead::parse(&written), Ok(Some((head, length))));
        }
    }
}

fn request(head: &RequestHead, trusted: bool) {
    let mut written = Vec::new();
    head.write(&mut written);
    let length = written.len();
    if length <= MAX_HEAD {
        let again = RequestHead::parse(&written);
        assert_eq!(again, Ok(Some((head.clone(), length))));
    }

    let client = Forwarded {
        client: [192, 0, 2, 1].into(),
        secure: false,
        trusted,
    };
    let sent = head.for_origin(&client);
    let mut written = Vec::new();
    sent.write(&mut written);
    let length = written.len();
    // Our headers are added to as many as a client may send.
    if length <= MAX_HEAD && sent.headers.iter().count() <= MAX_HEADERS {
        let again = RequestHead::parse(&written);
        assert_eq!(again, Ok(Some((sent.clone(), length))));
    }
    assert_eq!((sent.host(), sent.body()), (head.host(), head.body()));
    assert_eq!((&sent.method, &sent.target), (&head.method, &head.target));
}
