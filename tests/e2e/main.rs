//! End to end: the binary between real encoders, real players and real origins. `scripts/peers` installs them.
//!
//! One file per story. [`peers`] comes first: it shows that the peers work without the proxy.

#[path = "../support/mod.rs"]
mod support;

mod black_hole;
mod client_address;
mod default_origin;
mod demo;
mod drain;
mod early_player;
mod failover;
mod first_frame;
mod http_ts;
mod kick;
mod late_time;
mod origin_restart;
mod peers;
mod refusals;
mod settings;
mod slow_player;
mod three_origins;
mod tokens;
