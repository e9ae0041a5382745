//! Whole proxies in this process, with clients and origins made from the same machines, and told as stories.

mod api_fleet;
mod api_register;
mod claims;
mod house;
mod http_ends;
mod http_origin;
mod http_passes;
mod http_requests;
mod pressure;
mod rtmp_failover;
mod rtmp_origins;
mod rtmp_passes;
