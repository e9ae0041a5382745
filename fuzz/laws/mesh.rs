//! No stranger's datagram is believed. A message arrives whole or not at all, in whatever order its datagrams come, and
//! under any key that both sides know. Rows and news that are read are written back the same.

use sluicegate_core::cluster::mesh::datagram::{Gate, NEWS, Opened, Refused, SEED};
use sluicegate_core::cluster::mesh::{News, Word};

/// The data is a stranger's datagram, a row, a message, and the order in which its datagrams arrive.
pub fn law(data: &[u8]) {
    let (a, b) = (([10, 0, 0, 1], 1), ([10, 0, 0, 2], 2));
    let mut from = Gate::new(&[b"new", b"old"], a.into(), [2; SEED + 8]);
    let mut to = Gate::new(&[b"old", b"new"], b.into(), [4; SEED + 8]);
    assert_eq!(to.open(data), Err(Refused::Foreign));
    if let Some(word) = Word::parse(&String::from_utf8_lossy(data)) {
        assert_eq!(Word::parse(&word.encode()), Some(word));
    }
    if let Ok(news) = News::read(data) {
        let (messages, whole) = news.write(data.len(), 1);
        assert_eq!((messages.len(), whole), (1, true));
        assert_eq!(News::read(&messages[0]), Ok(news));
    }
    let asked = from.seal(b.into(), b"?");
    let Ok(Opened::Stranger { at, start }) = to.open(&asked[0]) else {
        panic!("they have not met");
    };
    assert_eq!(at, a.into());
    assert_eq!(from.open(&to.hello(start)), Ok(Opened::Nothing));

    match from.seal_news(b.into(), data) {
        Some(datagram) => {
            let (from, bytes) = (a.into(), data.to_vec());
            assert_eq!(to.open(&datagram), Ok(Opened::News { from, bytes }));
            assert_eq!(to.open(&datagram), Err(Refused::Repeated));
        }
        None => assert!(data.len() > NEWS),
    }

    let message = data.repeat(16);
    let mut datagrams = from.seal(b.into(), &message);
    for (index, byte) in data.iter().enumerate().take(datagrams.len()) {
        let other = usize::from(*byte) % datagrams.len();
        datagrams.swap(index, other);
    }
    let mut whole = 0;
    for datagram in &datagrams {
        match to.open(datagram) {
            Ok(Opened::Message { from, bytes }) => {
                assert_eq!((from, bytes), (a.into(), message.clone()));
                whole += 1;
            }
            other => assert_eq!(other, Ok(Opened::Nothing)),
        }
        assert_eq!(to.open(datagram), Err(Refused::Repeated));
    }
    assert_eq!(whole, usize::from(!datagrams.is_empty()));
}
