//! What the origins say of a stream.

use serde::{Deserialize, Serialize};

/// `GET /api/v1/said`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Said {
    /// The stream, as `vhost/app/stream`.
    pub stream: String,
    /// Whether origins are asked at all.
    pub set_up: bool,
    /// What each of them says that has it.
    pub origins: Vec<SaidOfOrigin>,
    /// Those that did not say.
    pub silent: Vec<SilentOrigin>,
}

/// What one origin says of a stream; other servers than SRS say no more than that it is there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SaidOfOrigin {
    /// The origin.
    pub origin: String,
    /// Whether it has a publisher there.
    pub published: bool,
    /// Its pictures.
    pub video: Option<SaidVideo>,
    /// Its sound.
    pub audio: Option<SaidAudio>,
    /// Frames since it is published.
    pub frames: Option<u64>,
    /// Bits per second to the origin over 30 s.
    pub bps_in: Option<u64>,
    /// Bits per second from the origin over 30 s.
    pub bps_out: Option<u64>,
    /// Clients, the publisher among them.
    pub clients: Option<u64>,
    /// At most 50 of them.
    pub listed: Vec<SaidClient>,
}

/// Pictures, in the origin's words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SaidVideo {
    /// Such as `H264`.
    pub codec: String,
    /// Such as `High`.
    pub profile: String,
    /// Such as `3.1`.
    pub level: String,
    /// In pixels.
    pub width: Option<u64>,
    /// In pixels.
    pub height: Option<u64>,
}

/// Sound, in the origin's words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SaidAudio {
    /// Such as `AAC`.
    pub codec: String,
    /// Such as `LC`.
    pub profile: String,
    /// In Hz.
    pub sample_rate: Option<u64>,
    /// How many.
    pub channels: Option<u64>,
}

/// A client of an origin. A session through a proxy comes from the address of the proxy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SaidClient {
    /// What the origin calls it.
    pub id: String,
    /// Where it comes from.
    pub address: String,
    /// The kind, in the origin's words.
    pub kind: String,
    /// Whether it publishes.
    pub publishes: bool,
    /// For how long it has been there.
    pub alive_seconds: f64,
}

/// An origin that did not say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SilentOrigin {
    /// Its id.
    pub origin: String,
    /// In words, without an address.
    pub why: String,
}
