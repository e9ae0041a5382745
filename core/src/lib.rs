//! The pure half of Sluicegate: bytes become events, facts become decisions.
//!
//! Nothing in this crate opens a socket, reads a clock, draws a random number or awaits. Time, seeds and addresses come
//! in as arguments; outputs are returned or polled. Every parser can therefore be fuzzed and every decision replayed,
//! and test publishers, players and stub origins are built from the same state machines.
//!
//! | module | what it knows |
//! | --- | --- |
//! | [`stream`] | what a client asks for, spelled by any protocol: one [`stream::StreamUrl`], one key |
//! | [`fleet`] | which origins exist and live: registrations, heartbeats, lists, health, drains, load |
//! | [`place`] | where a new stream goes and why no other origin: placement, policies, rules, patterns; which streams leave an overloaded origin |
//! | [`certificate`] | what is in an X.509 certificate for people and for the gate: its names, and until when it holds |
//! | [`renewal`] | when a certificate from an ACME server is replaced, and when the server is asked about that |
//! | [`access`] | what a client showed to be let in |
//! | [`dialect`] | how other servers name their streams: clients of one kind before origins of another |
//! | [`attention`] | what needs a person's attention, by one table of rules |
//! | [`cluster`] | what proxies tell each other: records in a store, and the mesh that needs no store |
//! | [`events`] | what happened lately, for people |
//! | [`list`] | lists in pages: what is asked for, which rows are on a page, and the pages of several proxies as one |
//! | [`media`] | what an audio or video body is, a live stream held for many viewers, FLV tags and files |
//! | [`flow`] | a datagram protocol as a table of flows: WebRTC and SRT |
//! | [`rtmp`] | handshake, chunks, AMF0, the server and client machines, and the walk over relayed bytes |
//! | [`rtsp`] | messages, transports, the walk over interleaved frames, and what changes on its way to a client |
//! | [`rtc`] | WebRTC datagrams and session descriptions: STUN, SDP, the flows of a shard |
//! | [`srt`] | handshakes, and the flows of SRT |
//! | [`http`] | heads of requests and responses, which stream a path names, playlists and manifests, links |
//! | [`preface`] | the PROXY protocol and the like: who a client really is |
//! | [`counted`] | numbers of things, in words |
//! | [`near`] | names that nobody knows, and those that may have been meant |
//! | [`read`] | the checked reader every parser stands on |
//!
//! A panic in here is our bug; an error is the peer's input.

pub mod access;
pub mod attention;
mod calendar;
pub mod certificate;
pub mod cluster;
pub mod counted;
pub mod dialect;
pub mod events;
pub mod fleet;
pub mod flow;
pub mod http;
pub mod list;
pub mod media;
pub mod near;
pub mod place;
pub mod preface;
pub mod read;
pub mod renewal;
pub mod rtc;
pub mod rtmp;
pub mod rtsp;
pub mod srt;
pub mod stream;
