//! What is written of a transport reads back as the same transport with our ports, and holds no address.

use sluicegate_core::rtsp::transport::{Carrier, Transport};

/// A Transport header.
pub fn law(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let Ok(offers) = Transport::parse(text) else {
        return;
    };
    for offer in offers {
        let bare = offer.without_addresses();
        let sent = offer.for_origin((22_000, 22_001));
        let told = offer.for_client((5_000, 5_001), (22_002, 22_003));
        for written in [&bare, &sent, &told] {
            // A transport that had as many parameters as allowed has two more when it is written.
            let Ok(again) = Transport::parse(written) else {
                continue;
            };
            let [again] = again.as_slice() else {
                panic!("{written} is one transport");
            };
            assert_eq!(again.value("destination"), None);
            assert_eq!(again.value("source"), None);
            assert_eq!(
                again.carrier() == Carrier::Tcp,
                offer.carrier() == Carrier::Tcp
            );
        }
        if let Ok([again]) = Transport::parse(&told).as_deref() {
            assert_eq!(again.ports("client_port"), Some((5_000, 5_001)));
            assert_eq!(again.ports("server_port"), Some((22_002, 22_003)));
        }
    }
}
