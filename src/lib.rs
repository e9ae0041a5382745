//! Sluicegate: one address in front of a fleet of live media origin servers.
//!
//! > A client asks for a stream; we find which origin holds it; we join the two.
//!
//! Every protocol walks the same four steps:
//!
//! ```text
//! accept ──► identify ──► place ──► relay
//! socket     bytes →      Request → both directions until
//! + peer     Request      Session   EOF, kick or drain
//! ```
//!
//! The map of the house, from the top floor down; a file uses its own floor and those beneath it:
//!
//! | floor | modules |
//! | --- | --- |
//! | 4 | `main`, [`cli`] |
//! | 3 | [`server`], [`config`], [`demo`], [`logging`]: they know everyone |
//! | 2 | [`listener`], [`admin`]: one protocol or surface each; they know [`proxy`], not each other |
//! | 1 | [`proxy`], [`sessions`], [`registry`], [`cluster`], [`readiness`], [`placer`], [`lookup`], [`origin`], [`hub`], [`net`], [`metrics`], [`fleet_api`] |
//! | 0 | [`api`], [`journal`], [`output`], [`store`], [`stream_names`], [`value`], `bell`, `file_stamp`, `unix_time` |
//!
//! Below the crate boundary, in `sluicegate_core`, there is no socket, clock or task: bytes become events and
//! facts become decisions there.

pub mod acme;
pub mod admin;
pub mod api;
mod bell;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod demo;
mod file_stamp;
pub mod fleet_api;
pub mod hub;
pub mod journal;
pub mod listener;
pub mod logging;
pub mod lookup;
pub mod metrics;
pub mod net;
pub mod origin;
pub mod output;
pub mod pem;
pub mod placer;
pub mod proxy;
mod random;
pub mod readiness;
pub mod registry;
mod reported;
pub mod server;
pub mod sessions;
pub mod store;
pub mod stream_names;
pub mod systemd;
mod unix_time;
pub mod value;
