//! A shard between real sockets.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluicegate_core::flow::{ClientPath, DropReason, Fate, FlowId, Flows, Input, LinkId, Output};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::links::Destination;
use super::tally::Tally;
use super::*;
use crate::metrics::ReceiveBuffers;

/// One flow: what the first client sends goes to one origin and back; `!` is answered and `-` dropped.
#[derive(Default)]
struct Pair {
    client: Option<ClientPath>,
    link: Option<LinkId>,
    said: VecDeque<Output<&'static str>>,
}

impl Flows for Pair {
    type Event = &'static str;

    fn handle(&mut self, _: Instant, input: Input<'_>) -> Fate {
        match input {
            Input::Client { path, data } => match (data.first(), self.link) {
                (Some(b'!'), _) => Fate::Reply { len: 1 },
                (Some(b'-'), _) => Fate::Drop(DropReason::Malformed),
                (_, Some(link)) => {
                    self.client = Some(path);
                    Fate::ToOrigin { link }
                }
                _ => Fate::Kept,
            },
            Input::Origin { data, .. } => {
                if let Some(first) = data.first_mut() {
                    *first = first.to_ascii_uppercase();
                }
                self.client.map_or(Fate::Kept, |path| Fate::ToClient {
                    flow: FlowId(1),
                    path,
                })
            }
            Input::Refused { .. } => {
                self.said.push_back(Output::Event("refused"));
                Fate::Kept
            }
            Input::Timeout => Fate::Kept,
        }
    }

    fn poll_output(&mut self) -> Option<Output<&'static str>> {
        self.said.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

struct Test {
    pair: Pair,
    said: mpsc::UnboundedSender<&'static str>,
}

impl Driver for Test {
    type Flows = Pair;
    type Command = SocketAddr;
    const REST: Duration = Duration::from_millis(1);

    fn flows(&mut self) -> &mut Pair {
        &mut self.pair
    }

    fn event(&mut self, _: Instant, event: &'static str, _: &mut Links) {
        let _ = self.said.send(event);
    }

    fn command(&mut self, _: Instant, origin: SocketAddr, links: &mut Links) {
        if let Some(old) = self.pair.link.take() {
            links.close(old);
        }
        self.pair.link = links.open(origin).ok();
        let _ = self.said.send("opened");
    }

    fn settle(&mut self, _: Instant, _: &mut Links) {}

    fn stop(&mut self, _: Instant) {}

    fn is_empty(&self) -> bool {
        true
    }
}

fn links() -> Links {
    Links::new(Entries(Vec::new()), "test", ReceiveBuffers::default()).unwrap()
}

async fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 2048];
    let wait = Duration::from_secs(10);
    let read = tokio::time::timeout(wait, socket.recv(&mut buffer)).await;
    let len = read.expect("a datagram in time").expect("a datagram");
    buffer.get(..len).unwrap_or_default().to_vec()
}

#[tokio::test]
async fn datagrams_pass_both_ways_in_order_and_a_refusal_is_told() {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let mut entries = Entries::bind(&[any], true, 1).unwrap();
    let entries = entries.pop().unwrap();
    let port = entries.local_addr().unwrap().port();
    let (to_shard, commands) = handle();
    let (said, mut heard) = mpsc::unbounded_channel();
    let metrics = Arc::new(Metrics::new());
    let stop = CancellationToken::new();
    let shard = {
        let (metrics, stop) = (Arc::clone(&metrics), stop.clone());
        let pair = Pair::default();
        let driver = Test { pair, said };
        tokio::spawn(async move {
            Shard::serve("test", entries, commands, driver, &metrics, stop).await
        })
    };
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let origin = UdpSocket::bind(local).await.unwrap();
    to_shard.send(origin.local_addr().unwrap()).await;
    assert_eq!(heard.recv().await, Some("opened"));
    let client = UdpSocket::bind(local).await.unwrap();
    client.connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();

    // Runs of equal sizes, shorter last ones, and longer ones after shorter ones.
    let sizes = [1200, 1200, 1200, 700, 1200, 1300, 1300, 5, 5, 5, 1400];
    for (index, size) in sizes.into_iter().enumerate() {
        client.send(&vec![b'a' + index as u8; size]).await.unwrap();
    }
    for (index, size) in sizes.into_iter().enumerate() {
        assert_eq!(receive(&origin).await, vec![b'a' + index as u8; size]);
    }
    client.send(b"-").await.unwrap();
    client.send(b"!more").await.unwrap();
    assert_eq!(receive(&client).await, b"!");

    let mut buffer = [0; 16];
    client.send(b"last").await.unwrap();
    let (_, proxy) = origin.recv_from(&mut buffer).await.unwrap();
    for (index, size) in sizes.into_iter().enumerate() {
        let datagram = vec![b'a' + index as u8; size];
        origin.send_to(&datagram, proxy).await.unwrap();
    }
    for (index, size) in sizes.into_iter().enumerate() {
        let mut datagram = vec![b'a' + index as u8; size];
        datagram.first_mut().unwrap().make_ascii_uppercase();
        assert_eq!(receive(&client).await, datagram);
    }

    // From here on it accepts only datagrams of another peer: ours are refused, and its port stays its own.
    origin.connect((Ipv4Addr::LOCALHOST, 9)).await.unwrap();
    while heard.try_recv().is_err() {
        client.send(b"anybody").await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.cancel();
    shard.await.unwrap().unwrap();
    let text = metrics.render();
    assert!(
        text.contains("datagrams_dropped_total{listener=\"test\",reason=\"malformed\"} 1"),
        "{text}"
    );
}

#[tokio::test]
async fn a_port_of_another_program_is_not_shared() {
    let taken = StdSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let (which, error) = Entries::bind(&[address], false, 2).unwrap_err();
    assert_eq!((which, error.kind()), (address, io::ErrorKind::AddrInUse));
}

#[tokio::test]
async fn a_refusal_is_forgotten_before_a_new_attempt() {
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    // It accepts only datagrams of another peer: ours are refused, and its port stays its own.
    let gone = StdSocket::bind(local).unwrap();
    gone.connect((Ipv4Addr::LOCALHOST, 9)).unwrap();
    let origin = gone.local_addr().unwrap();
    let mut links = links();
    let mut tally = Tally::new("test", &Metrics::new());
    for (forgets, expected) in [(false, true), (true, false)] {
        let link = links.open(origin).unwrap();
        links.send(Destination::Origin(link), b"a", None, &mut tally);
        // On loopback a refusal is reported at once; the next call on the socket sees it.
        if forgets {
            links.forget_refusal(link);
        }
        links.send(Destination::Origin(link), b"b", None, &mut tally);
        assert_eq!(links.refused.contains(&link), expected, "{forgets}");
        links.forget_refusal(link);
        assert!(links.refused.is_empty());
    }
}

#[tokio::test]
async fn a_link_moves_with_its_socket_and_an_old_number_is_nobodys() {
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let origin = UdpSocket::bind(local).await.unwrap();
    let (mut one, mut other) = (links(), links());
    let link = one.open(origin.local_addr().unwrap()).unwrap();
    let mut tally = Tally::new("test", &Metrics::new());
    one.send(Destination::Origin(link), b"a", None, &mut tally);
    let mut buffer = [0; 16];
    let (_, before) = origin.recv_from(&mut buffer).await.unwrap();

    let moved = other.adopt(one.take(link).unwrap()).unwrap();
    assert!(one.take(link).is_none());
    let next = one.open(origin.local_addr().unwrap()).unwrap();
    assert_ne!(next, link, "the place is used again, the number is not");
    other.send(Destination::Origin(moved), b"b", None, &mut tally);
    let (_, after) = origin.recv_from(&mut buffer).await.unwrap();
    assert_eq!(before, after);
    one.send(Destination::Origin(link), b"c", None, &mut tally);
    assert_eq!((tally.sent, tally.unsent), (2, 1));
}
