//! What the stories are built from: the proxy as its users start it, real peers, and the ways a network fails.
//!
//! | file | what it is |
//! | --- | --- |
//! | [`browser`] | headless Chromium on one page |
//! | [`ffmpeg`] | ffmpeg as encoder and as player |
//! | [`http`] | a small HTTP client, and a server that answers as a test tells it to |
//! | [`machine`] | what stories share: ports, folders, and turns of having the machine alone |
//! | [`origin`] | nginx-rtmp and node-media-server, and the side program that registers them |
//! | [`program`] | a child process whose lines can be waited for |
//! | [`proxy`] | the binary under test |
//! | [`relay`] | a TCP relay that turns into a black hole |
//! | [`wait`] | waiting with a deadline |
//!
//! Everything waits for an event and has a deadline. What is missing on the machine is named with the command
//! that installs it; nothing is skipped.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod browser;
pub(crate) mod ffmpeg;
pub(crate) mod http;
pub(crate) mod machine;
pub(crate) mod origin;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod relay;
pub(crate) mod wait;

pub(crate) use ffmpeg::{Player, Publisher};
pub(crate) use origin::{NginxRtmp, NodeMediaServer, Origin, Registrar};
pub(crate) use proxy::Proxy;
pub(crate) use relay::Relay;
pub(crate) use wait::wait_for;
