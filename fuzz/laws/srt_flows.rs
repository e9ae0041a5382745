//! Whatever clients and origins send: no more is answered than was received, nothing is kept for an unproven address,
//! packets reach the peer they belong to, and after a silence nothing is left.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sluicegate_core::flow::{ClientPath, Fate, Flows as _, Input, LinkId, Output};
use sluicegate_core::srt::cookie::Cookies;
use sluicegate_core::srt::flows::{Event, Flows, Limits};
use sluicegate_core::srt::packet::{Handshake, Rejection};

/// A sequence of datagrams. A byte before each says who sends it, whether its cookie is made valid, and which flow it
/// is for; two bytes have its length.
pub fn law(data: &[u8]) {
    #[expect(
        clippy::disallowed_methods,
        reason = "a law needs some moment to start from"
    )]
    let mut now = Instant::now();
    let cookies = Cookies::new([3; 32], now);
    let limits = Limits {
        flows: 8,
        idle: Duration::from_secs(10),
        per_source: 100,
        default_stream_id: String::new(),
    };
    let mut table = Flows::new(limits, cookies.clone(), 1);
    let mut ids = Vec::new();
    let mut rest = data;
    while let Some(([how, high, low], after)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(after.len());
        let (packet, after) = after.split_at_checked(length).unwrap_or((after, &[]));
        rest = after;
        let mut packet = packet.to_vec();
        let from = SocketAddr::from(([192, 0, 2, how & 3], 5000));
        let path = ClientPath {
            remote: from,
            local: None,
            entry: 0,
        };
        if how & 4 != 0
            && let Ok(handshake) = Handshake::parse(&packet)
        {
            let cookie = cookies.make(now, from);
            packet = Handshake {
                cookie,
                ..handshake
            }
            .write();
        } else if let (Some(id), Some(place)) = (
            ids.get(usize::from(how >> 5)),
            packet.get_mut(12..16).filter(|_| how & 8 != 0),
        ) {
            place.copy_from_slice(&u32::to_be_bytes(*id));
        }
        let before = table.len();
        let length = packet.len();
        let link = LinkId(u32::from(how & 1));
        let fate = if how & 16 != 0 {
            table.handle(
                now,
                Input::Origin {
                    link,
                    data: &mut packet,
                },
            )
        } else {
            table.handle(
                now,
                Input::Client {
                    path,
                    data: &mut packet,
                },
            )
        };
        match fate {
            Fate::Reply { len } => assert!(len <= length),
            Fate::ToClient { path, .. } => assert_eq!(path.remote.port(), 5000),
            Fate::Drop(_) | Fate::Kept | Fate::ToOrigin { .. } => {}
        }
        assert!(table.len() <= 8 && (how & 4 != 0 || table.len() <= before));
        while let Some(output) = table.poll_output() {
            match output {
                Output::Event(Event::Asked { flow, .. }) => {
                    ids.push(flow.0);
                    let origin = SocketAddr::from(([192, 0, 2, 99], 10080));
                    table.attempt(now, flow, link, origin);
                }
                Output::Event(Event::Answered { flow }) => table.join_and_keep(now, flow),
                Output::Event(Event::Lost { flow, .. }) => {
                    let origin = SocketAddr::from(([192, 0, 2, 98], 10080));
                    table.attempt(now, flow, link, origin);
                }
                Output::Event(Event::Failed { flow, .. }) => {
                    table.reject(now, flow, Rejection::GATEWAY);
                }
                Output::Event(_) | Output::ToClient { .. } | Output::ToOrigin { .. } => {}
            }
        }
        now += Duration::from_millis(u64::from(*how));
        table.handle(now, Input::Timeout);
    }
    for id in ids {
        table.reject(now, sluicegate_core::flow::FlowId(id), Rejection::GATEWAY);
    }
    for _ in 0..30 {
        now += Duration::from_secs(1);
        table.handle(now, Input::Timeout);
    }
    assert!(table.is_empty() && table.poll_timeout().is_none());
}
