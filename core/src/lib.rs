//! The pure half of Sluicegate: bytes become events, facts become decisions.
//!
//! Nothing in this crate opens a socket, reads a clock, draws a random number or awaits. Time, seeds and
//! addresses come in as arguments; outputs are returned or polled. So every parser can be fuzzed, every
//! decision replayed, and test publishers, players and stub origins are built from the same machines.
//!
//! | module | what it knows |
//! | --- | --- |
//! | [`stream`] | what a client asks for, spelled by any protocol: one [`stream::StreamUrl`], one key |
//! | [`origin`] | what an origin says of itself: its id, its endpoints, the registration document |
//! | [`fleet`] | who exists and who lives: registrations, heartbeats, failures |
//! | [`policy`] | which origin should hold a stream |
//! | [`rtmp`] | handshake, chunks, AMF0, the server and client machines, and the walk over relayed bytes |
//! | [`http`] | the head of a request or response, and which stream a path names |
//! | [`preface`] | the PROXY protocol and the like: who a client really is |
//! | [`read`] | the checked reader every parser stands on |
//!
//! A panic in here is our bug; an error is the peer's input.

pub mod fleet;
pub mod http;
pub mod origin;
pub mod policy;
pub mod preface;
pub mod read;
pub mod rtmp;
pub mod stream;
