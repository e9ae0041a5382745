//! Origins that a DNS server lists, while its zone changes, and while it is silent or answers nonsense.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use sluicegate_core::fleet::drain::Duty;
use sluicegate_core::stream::Action;
use tokio::net::UdpSocket;

use crate::house::{Manner, Stub, until, video};
use crate::sources::{duty, open};

/// What the server knows: the records of each name.
type Zone = BTreeMap<(String, RecordType), Vec<RData>>;

/// A DNS server over UDP.
struct Server {
    at: SocketAddr,
    zone: Arc<Mutex<Saying>>,
    asked: Arc<AtomicUsize>,
}

enum Saying {
    /// The contents of the zone; other names do not exist.
    Truth(Zone),
    /// No answer at all.
    Silence,
    /// This code for every question.
    Code(ResponseCode),
}

impl Server {
    async fn start(zone: Zone) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let at = socket.local_addr().expect("bound");
        let zone = Arc::new(Mutex::new(Saying::Truth(zone)));
        let asked = Arc::new(AtomicUsize::new(0));
        let (says, counted) = (Arc::clone(&zone), Arc::clone(&asked));
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((count, client)) = socket.recv_from(&mut buffer).await {
                let question = Message::from_vec(&buffer[..count]).expect("a question");
                let answer = answer(&question, &says.lock().expect("a test"));
                counted.fetch_add(1, Ordering::Relaxed);
                if let Some(answer) = answer {
                    let bytes = answer.to_vec().expect("an answer");
                    socket.send_to(&bytes, client).await.expect("it is sent");
                }
            }
        });
        Self { at, zone, asked }
    }

    fn says(&self, saying: Saying) {
        *self.zone.lock().expect("a test") = saying;
    }

    /// Waits until it was asked so often that at least two lookups are over: each question is sent at most four times
    /// before it is given up.
    async fn is_asked_again(&self) {
        let before = self.asked.load(Ordering::Relaxed);
        until("more questions", || {
            self.asked.load(Ordering::Relaxed) >= before + 12
        })
        .await;
    }
}

fn answer(question: &Message, says: &Saying) -> Option<Message> {
    let mut answer = Message::response(question.metadata.id, OpCode::Query);
    answer.metadata.recursion_desired = question.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    let query = question.queries.first()?.clone();
    answer.add_query(query.clone());
    let zone = match says {
        Saying::Silence => return None,
        Saying::Code(code) => {
            answer.metadata.response_code = *code;
            return Some(answer);
        }
        Saying::Truth(zone) => zone,
    };
    let name = query.name().to_utf8();
    if !zone.keys().any(|(known, _)| *known == name) {
        answer.metadata.response_code = ResponseCode::NXDomain;
    }
    // The shortest possible time to live: no answer may be kept beyond it.
    let records = zone.get(&(name, query.query_type()));
    for record in records.into_iter().flatten() {
        answer.add_answer(Record::from_rdata(query.name().clone(), 1, record.clone()));
    }
    Some(answer)
}

fn targets(stubs: &[(&str, &Stub)]) -> Zone {
    let mut zone = Zone::new();
    for (label, stub) in stubs {
        let host: Name = format!("{label}.example.").parse().expect("a name");
        zone.insert(
            (host.to_utf8(), RecordType::A),
            vec![RData::A(A(Ipv4Addr::LOCALHOST))],
        );
        let target = SRV::new(10, 50, stub.at.port(), host);
        zone.entry(("_rtmp._tcp.example.".to_owned(), RecordType::SRV))
            .or_default()
            .push(RData::SRV(target));
    }
    zone
}

fn id(label: &str, stub: &Stub) -> String {
    format!("{label}.example:{}", stub.at.port())
}

#[tokio::test]
async fn the_targets_of_a_service_join_and_drain_as_the_zone_changes() {
    let (one, two, three) = (
        Stub::start(Manner::Grants).await,
        Stub::start(Manner::Grants).await,
        Stub::start(Manner::Grants).await,
    );
    let server = Server::start(targets(&[("one", &one)])).await;
    let folder = tempfile::tempdir().expect("a folder");
    let house = open(
        &folder.path().join("a.toml"),
        &format!(
            "[[source]]\nsrv = \"_rtmp._tcp.example\"\nresolver = \"{}\"\nevery = \"100ms\"\ntimeout = \"300ms\"\n",
            server.at
        ),
    )
    .await;
    let one_id = id("one", &one);
    until("the first target", || duty(&house, &one_id).is_some()).await;
    let mut publisher = house.ask(Action::Publish, "live/a").await;
    assert!(publisher.has_started(), "{}", publisher.words());

    // One target is new.
    let two_id = id("two", &two);
    server.says(Saying::Truth(targets(&[("one", &one), ("two", &two)])));
    until("the second target", || duty(&house, &two_id).is_some()).await;
    assert_eq!(duty(&house, &one_id), Some(Duty::Active));

    // Another target is new and the first is gone: it drains, and its session goes on.
    let three_id = id("three", &three);
    server.says(Saying::Truth(targets(&[("two", &two), ("three", &three)])));
    until("the third target", || duty(&house, &three_id).is_some()).await;
    assert!(matches!(duty(&house, &one_id), Some(Duty::Draining(_))));
    publisher.send(&video(0, &[0x17; 100])).await;
    until("its media", || {
        !one.seen.lock().expect("a test").media.is_empty()
    })
    .await;
    assert!(house.ask(Action::Publish, "live/b").await.has_started());
    assert_ne!(house.origin_of("live/b"), Some(one_id.clone()));

    // The last good list is used while no valid answer is heard.
    let mut nowhere = targets(&[("two", &two), ("four", &one)]);
    nowhere.remove(&("four.example.".to_owned(), RecordType::A));
    let mut empty = targets(&[("two", &two)]);
    empty.insert(("_rtmp._tcp.example.".to_owned(), RecordType::SRV), vec![]);
    let mut forbidden = targets(&[("two", &two)]);
    forbidden.insert(
        ("two.example.".to_owned(), RecordType::A),
        vec![RData::A(A(Ipv4Addr::new(169, 254, 169, 254)))],
    );
    for (cause, saying) in [
        ("no answer", Saying::Silence),
        ("a failure", Saying::Code(ResponseCode::ServFail)),
        ("a refusal", Saying::Code(ResponseCode::Refused)),
        ("no such name", Saying::Truth(Zone::new())),
        ("no target", Saying::Truth(empty)),
        ("a target without an address", Saying::Truth(nowhere)),
        ("an address nobody may dial", Saying::Truth(forbidden)),
    ] {
        server.says(saying);
        server.is_asked_again().await;
        for id in [&two_id, &three_id] {
            assert_eq!(duty(&house, id), Some(Duty::Active), "{cause}");
        }
        assert!(duty(&house, &id("four", &one)).is_none(), "{cause}");
    }
    server.says(Saying::Truth(targets(&[("two", &two)])));
    until("the scale-in", || duty(&house, &three_id).is_none()).await;

    drop(publisher);
    until("the end of the drain", || duty(&house, &one_id).is_none()).await;
}

#[tokio::test]
async fn the_addresses_of_a_name_join_and_drain_as_the_zone_changes() {
    let zone = |last: &[u8]| {
        let addresses = last
            .iter()
            .map(|last| RData::A(A(Ipv4Addr::new(127, 0, 0, *last))));
        let name = "origins.example.".to_owned();
        Zone::from([((name, RecordType::A), addresses.collect())])
    };
    let server = Server::start(zone(&[1, 2])).await;
    let folder = tempfile::tempdir().expect("a folder");
    let house = open(
        &folder.path().join("a.toml"),
        &format!(
            "[[source]]\ndns = \"origins.example\"\nrtmp = 1935\nresolver = \"{}\"\nevery = \"100ms\"\ntimeout = \"300ms\"\n",
            server.at
        ),
    )
    .await;
    until("both addresses", || {
        duty(&house, "127.0.0.1").is_some() && duty(&house, "127.0.0.2").is_some()
    })
    .await;
    server.says(Saying::Truth(zone(&[2, 3])));
    until("the change", || {
        duty(&house, "127.0.0.1").is_none() && duty(&house, "127.0.0.3").is_some()
    })
    .await;
    assert_eq!(duty(&house, "127.0.0.2"), Some(Duty::Active));
}
