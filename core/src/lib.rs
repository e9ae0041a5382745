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
//! | [`attributes`] | what an origin can bear and where it stands: weight, zone, labels, limits |
//! | [`load`] | how busy an origin says it is |
//! | [`fleet`] | who exists and who lives: registrations, heartbeats, lists |
//! | [`flow`] | a datagram protocol as a table of flows: WebRTC and SRT |
//! | [`health`], [`drain`] | what dials and probes say of an origin, and what its operator wants of it |
//! | [`listed`], [`inventory`] | origins as a list names them, and streams as an origin lists them |
//! | [`placement`] | where a new stream goes, and why no other origin |
//! | [`policy`] | which origin should hold a stream, of those that may |
//! | [`rule`] | which origins may hold a stream, and where clients are sent |
//! | [`pattern`] | names with stars in them |
//! | [`rtmp`] | handshake, chunks, AMF0, the server and client machines, and the walk over relayed bytes |
//! | [`rtsp`] | messages, transports, the walk over interleaved frames, and what changes on its way to a client |
//! | [`rtc`] | WebRTC datagrams and session descriptions: STUN, SDP, the flows of a shard |
//! | [`http`] | heads of requests and responses, which stream a path names, playlists and manifests, links |
//! | [`flv`], [`tap`] | FLV tags, and a file of them from the middle of a session |
//! | [`preface`] | the PROXY protocol and the like: who a client really is |
//! | [`records`] | what proxies share in a Redis, in the shapes of the SRS proxy |
//! | [`mesh`] | what proxies agree on by hearing each other, and the datagrams they speak in |
//! | [`peers`] | what the proxies of a cluster tell each other of themselves |
//! | [`srt`] | handshakes, and the flows of SRT |
//! | [`read`] | the checked reader every parser stands on |
//!
//! A panic in here is our bug; an error is the peer's input.

pub mod attributes;
pub mod drain;
pub mod fleet;
pub mod flow;
pub mod flv;
pub mod health;
pub mod http;
pub mod inventory;
pub mod listed;
pub mod load;
pub mod mesh;
pub mod origin;
pub mod pattern;
pub mod peers;
pub mod placement;
pub mod policy;
pub mod preface;
pub mod read;
pub mod records;
pub mod rtc;
pub mod rtmp;
pub mod rtsp;
pub mod rule;
pub mod srt;
pub mod stream;
pub mod tap;
