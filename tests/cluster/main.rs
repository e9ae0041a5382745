//! Three proxies as processes on one Redis: whether a stream is ever in two places, and what an outage of the store does.
//!
//! | file | what it is |
//! | --- | --- |
//! | [`checker`] | judges what clients saw |
//! | [`claims`] | thousands of first publishes and plays, with kills, pauses and partitions |
//! | [`client`] | an RTMP client that hears which origin granted its stream |
//! | [`fleet`] | the proxies, their Redis and the ways between them |
//! | [`history`] | what the clients of a run saw |
//! | [`network`] | the ways between them, in namespaces or on loopback |
//! | [`origin`] | an origin that says who it is, and can be killed |
//! | [`outage`] | the Redis is gone while a hundred streams play |
//! | [`srs_proxy`] | a proxy of the other kind in the same fleet, which claims without looking |

#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../support/balancer.rs"]
mod balancer;
mod checker;
mod claims;
mod client;
mod fleet;
mod history;
#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../support/http.rs"]
mod http;
#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../support/machine.rs"]
mod machine;
#[path = "../support/namespaces.rs"]
mod namespaces;
mod network;
mod origin;
mod outage;
#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../support/program.rs"]
mod program;
#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../support/proxy.rs"]
mod proxy;
#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../store/redis_server.rs"]
mod redis_server;
#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../support/relay.rs"]
mod relay;
mod srs_proxy;
#[path = "../support/wait.rs"]
mod wait;

use wait::wait_for;
