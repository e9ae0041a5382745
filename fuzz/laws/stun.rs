//! A datagram is read or refused, and never read beyond its end. What proves its sender to the owner of one password
//! proves it to no other.

use sluicegate_core::rtc::classify::Class;
use sluicegate_core::rtc::stun::{Message, refusal};

/// The input is a datagram.
pub fn law(data: &[u8]) {
    let Ok(message) = Message::parse(data) else {
        return;
    };
    assert_eq!(Class::of(data), Class::Stun);
    assert_eq!(data.len() % 4, 0);
    if let Some(username) = message.username {
        assert!(username.len() < data.len());
    }
    let mine = message.is_from_owner_of(b"0123456789012345678901");
    let other = message.is_from_owner_of(b"1123456789012345678901");
    assert!(!(mine && other));
    if mine && message.username.is_some() {
        let answer = refusal(message.transaction, b"0123456789012345678901");
        assert!(answer.len() <= data.len());
        assert!(Message::parse(&answer).is_ok());
    }
}
