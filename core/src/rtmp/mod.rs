//! RTMP (Adobe RTMP 1.0, enhanced RTMP): both ends of a connection and the walk over relayed bytes.
//!
//! | file | what it does |
//! | --- | --- |
//! | [`handshake`] | C0–C2 and S0–S2, simple and digest form, both sides |
//! | [`header`] | chunk basic and message headers: reading and writing, with the state of each chunk stream |
//! | [`chunk`] | assembles messages from chunks, and splits messages into chunks |
//! | [`amf0`] | the values of commands and metadata |
//! | [`aggregate`] | several messages in one |
//! | [`message`] | a message, and the commands and control messages that it may hold |
//! | [`server`] | the end that a client connects to |
//! | [`client`] | the end that connects to an origin |
//! | [`join`] | joins a client that has asked for a stream with the origin that is to answer |
//! | [`recipe`] | what another origin has to be told of a publisher |
//! | [`moving`] | a publisher between two origins |
//! | [`walk`] | steps over chunks that pass through, so that a relay sees messages without copying them |

pub mod aggregate;
pub mod amf0;
pub mod chunk;
pub mod client;
pub mod handshake;
pub mod header;
mod held;
pub mod join;
pub mod message;
pub mod moving;
mod origin_watch;
mod plain_chunks;
mod plain_url;
pub mod recipe;
mod resumed;
pub mod server;
mod steps;
mod stream_ids;
mod track;
pub mod walk;
