//! What the stories are built from: the proxy as its users start it, real peers, and the ways a network fails.
//!
//! | file | what it is |
//! | --- | --- |
//! | [`balancer`] | a load balancer in front of several proxies |
//! | [`browser`] | headless Chromium on one page |
//! | [`ffmpeg`] | ffmpeg as an encoder and as a player |
//! | [`gstreamer`] | GStreamer as an encoder and as a player |
//! | [`http`] | a small HTTP client, and a server that answers as a test tells it to |
//! | [`light`] | an RTMP publisher that costs next to nothing |
//! | [`low_latency`] | a Low-Latency HLS origin of our own |
//! | [`machine`] | what stories share: ports, folders, and turns to have the machine alone |
//! | [`namespaces`] | network namespaces that end with a test |
//! | [`origin`] | nginx-rtmp and node-media-server, and the side program that registers them |
//! | [`page`] | hls.js and dash.js in a browser |
//! | [`pods`] | pods, a Service in front of them, and what a kubelet does with them |
//! | [`program`] | a child process whose lines can be waited for |
//! | [`proxy`] | the binary under test |
//! | [`redis`] | a Redis between proxies |
//! | [`rtsp`] | gst-rtsp-server and its clients |
//! | [`remuxing`] | an origin that takes SRT and offers it over RTMP and HTTP too |
//! | [`relay`] | a TCP relay that turns into a black hole |
//! | [`site`] | a web site by nginx with listeners of the proxy in its folders |
//! | [`srt`] | a libsrt origin, and a network that loses, delays and reorders datagrams |
//! | [`srt_caller`] | what an SRT caller sends, packet by packet |
//! | [`srt_crowd`] | many SRT callers in one program on libsrt |
//! | [`srt_live_transmit`] | srt-live-transmit between SRT and UDP |
//! | [`tree`] | what ffmpeg packages, served by a plain nginx |
//! | [`rtc`] | WebRTC: an origin, a client, and a relay that changes addresses |
//! | [`uninterrupted`] | blocking calls that a signal does not end |
//! | [`wait`] | waiting with a deadline |
//! | [`watched`] | players of all kinds, watched from outside; mpv and VLC |
//!
//! Everything waits for an event and has a deadline. If something is missing on the machine, the message names the
//! command that installs it; nothing is skipped.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod balancer;
pub(crate) mod browser;
pub(crate) mod ffmpeg;
pub(crate) mod gstreamer;
pub(crate) mod http;
pub(crate) mod light;
pub(crate) mod low_latency;
pub(crate) mod machine;
pub(crate) mod namespaces;
pub(crate) mod origin;
pub(crate) mod page;
pub(crate) mod pods;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod redis;
pub(crate) mod relay;
pub(crate) mod remuxing;
pub(crate) mod rtc;
pub(crate) mod rtsp;
pub(crate) mod site;
pub(crate) mod srt;
pub(crate) mod srt_caller;
pub(crate) mod srt_crowd;
pub(crate) mod srt_live_transmit;
pub(crate) mod tree;
pub(crate) mod uninterrupted;
pub(crate) mod wait;
pub(crate) mod watched;

pub(crate) use balancer::{Balancer, Dice};
pub(crate) use ffmpeg::{Player, Publisher};
pub(crate) use light::Light;
pub(crate) use low_latency::LowLatency;
pub(crate) use origin::{NginxRtmp, NodeMediaServer, Origin, Registrar};
pub(crate) use page::Page;
pub(crate) use proxy::Proxy;
pub(crate) use redis::Redis;
pub(crate) use relay::Relay;
pub(crate) use remuxing::Remuxing;
pub(crate) use srt::{BadNetwork, SrtOrigin};
pub(crate) use tree::Tree;
pub(crate) use uninterrupted::uninterrupted;
pub(crate) use wait::wait_for;
