//! Sockets: accepting, joining two of them, and the little of HTTP that every surface shares.

pub mod accept;
pub mod http;
pub mod last_words;
pub mod preface;
pub mod relay;
pub mod versions;
pub mod workers;
