//! Whatever arrives from an unproven address is dropped, no more is sent back than was received, and everything is
//! forgotten after a while.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sluicegate_core::flow::{ClientPath, Fate, Flows as _, Input, LinkId, Output};
use sluicegate_core::rtc::flows::{CONSENT, Event, Flows, Found};

#[allow(
    clippy::disallowed_methods,
    reason = "the law starts somewhere, and time passes by hand"
)]
/// Datagrams, each after a byte with its length. None is signed with the password.
pub fn law(mut data: &[u8]) {
    let start = Instant::now();
    let mut now = start;
    let mut flows = Flows::new(now, 4);
    while let Some((length, rest)) = data.split_first() {
        let end = usize::from(*length).min(rest.len());
        let (datagram, rest) = rest.split_at(end);
        data = rest;
        let path = ClientPath {
            remote: SocketAddr::from(([192, 0, 2, 1], u16::from(*length))),
            local: None,
            entry: 0,
        };
        let mut bytes = datagram.to_vec();
        match flows.handle(
            now,
            Input::Client {
                path,
                data: &mut bytes,
            },
        ) {
            Fate::Drop(_) | Fate::Kept => {}
            Fate::Reply { len } => assert!(len <= datagram.len()),
            fate @ (Fate::ToClient { .. } | Fate::ToOrigin { .. }) => panic!("{fate:?}"),
        }
        let fate = flows.handle(
            now,
            Input::Origin {
                link: LinkId(1),
                data: &mut bytes,
            },
        );
        assert!(matches!(fate, Fate::Drop(_)), "no flow has a socket");
        while let Some(output) = flows.poll_output() {
            let Output::Event(Event::Lookup { username, .. }) = output else {
                panic!("{output:?}");
            };
            let found = (username.len() % 2 == 0).then(|| Found {
                call: 1,
                password: b"a password that nobody has".as_slice().into(),
            });
            flows.found(now, &username, found);
        }
        assert!(flows.len() <= 4);
        now += Duration::from_millis(1);
    }
    let end = now + CONSENT + Duration::from_secs(60);
    while let Some(due) = flows.poll_timeout().filter(|due| *due <= end) {
        flows.handle(due, Input::Timeout);
        while flows.poll_output().is_some() {}
    }
    assert!(flows.is_empty() && flows.poll_timeout().is_none());
}
