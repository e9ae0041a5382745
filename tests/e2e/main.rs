//! End to end: the binary between real encoders, real players and real origins. `scripts/peers` installs them.
//!
//! There is one file per story. [`peers`] comes first: it shows that the peers work without the proxy.

#[path = "../support/mod.rs"]
mod support;

mod access;
mod access_logins;
mod access_secrets;
mod acme;
mod base_path;
mod black_hole;
mod client_address;
mod console;
mod dash;
mod default_origin;
mod demo;
mod dialects;
mod drain;
mod early_player;
mod failover;
mod first_frame;
mod held;
mod held_manifests;
mod held_playlists;
mod hls_low_latency;
mod hls_many;
mod hls_packaged;
mod hls_restarts;
mod hls_two_proxies;
mod holds_many;
mod http_ts;
mod kick;
mod late_time;
mod many_viewers;
mod monitoring;
mod moves;
mod openapi;
mod origin_restart;
mod peers;
mod players;
mod policies;
mod refusals;
mod reload;
mod rolling_update;
mod rtsp_cameras;
mod rtsp_lines;
mod rtsp_play;
mod rtsp_record;
mod scale_in;
mod second_process;
mod second_site;
mod settings;
mod slow_player;
mod srt_addresses;
mod srt_bad_network;
mod srt_encryption;
mod srt_held;
mod srt_listeners;
mod srt_origin_fails;
mod srt_remuxed;
mod srt_streams;
mod survival;
mod tap;
mod three_origins;
mod tls;
#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../support/tls.rs"]
mod tls_client;
mod tls_origins;
mod tls_scanned;
mod tokens;
mod two_proxies;
mod unreadable;
mod webrtc;
mod webrtc_origin_fails;
mod webrtc_paths;
