//! RTMP (Adobe RTMP 1.0, enhanced RTMP): both ends of a connection and the walk over relayed bytes.
//!
//! | file | what it does |
//! | --- | --- |
//! | [`handshake`] | C0–C2 and S0–S2, simple and digest form, both sides |
//! | [`header`] | chunk basic and message headers: parse and write, the per-chunk-stream memory |
//! | [`chunk`] | whole messages from chunks, and chunks from messages |
//! | [`amf0`] | the values of commands and metadata |
//! | [`message`] | a message, and the commands and controls found in one |
//! | [`server`] | the end a client connects to |
//! | [`client`] | the end that connects to an origin |
//! | [`join`] | a client that has asked and an origin that is to answer, joined |
//! | [`walk`] | steps over chunks that pass through, so that a relay sees messages without copying them |

pub mod amf0;
pub mod chunk;
pub mod client;
pub mod handshake;
pub mod header;
mod held;
pub mod join;
pub mod message;
pub mod server;
mod stream_ids;
pub mod walk;
