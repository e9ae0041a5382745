//! Sockets: accepting, joining two of them, and the little of HTTP that every surface shares.

pub mod accept;
pub mod coding;
pub mod conditional;
pub mod cors;
pub mod datagram;
pub mod entrance;
pub mod forwarded;
pub mod head;
pub mod http;
pub mod http2;
pub(crate) mod http_date;
pub mod linger_close;
pub mod patience;
pub mod relay;
pub mod tls;
pub mod versions;
pub mod wire;
pub mod workers;
