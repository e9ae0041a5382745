//! No stranger's datagram is believed; a message arrives whole or not at all, however its datagrams come; a row that is
//! read is written the same.

use sluicegate_core::mesh::Row;
use sluicegate_core::mesh::datagram::{Gate, Opened, Refused, SEED};

/// The data is a stranger's datagram, a row, a message, and the order in which its datagrams come.
pub fn law(data: &[u8]) {
    let (a, b) = (([10, 0, 0, 1], 1), ([10, 0, 0, 2], 2));
    let mut from = Gate::new(b"fuzz", a.into(), [2; SEED + 8]);
    let mut to = Gate::new(b"fuzz", b.into(), [4; SEED + 8]);
    assert_eq!(to.open(data), Err(Refused::Foreign));
    if let Some(row) = Row::parse(&String::from_utf8_lossy(data)) {
        assert_eq!(Row::parse(&row.encode()), Some(row));
    }
    let asked = from.seal(b.into(), b"?");
    let Ok(Opened::Stranger { at, start }) = to.open(&asked[0]) else {
        panic!("they have not met");
    };
    assert_eq!(at, a.into());
    assert_eq!(from.open(&to.hello(start)), Ok(Opened::Nothing));

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
