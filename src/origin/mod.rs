//! What reaches an origin.
//!
//! | file | what it does |
//! | --- | --- |
//! | `attempt` | one origin to try, and why that may fail |
//! | `call` | signalling of a call, sent on |
//! | `connect` | where a registered name leads, and the only way to open a connection there |
//! | `dial` | a connection for a client, whom the origin may be told of |
//! | `elsewhere` | a redirect, until it is followed |
//! | `fetch` | a small document over HTTP |
//! | `finder` | which origin has a stream |
//! | `health` | asks origins how they are, when it is time |
//! | `http` | the HTTP client for one exchange |
//! | `itself` | this proxy, seen as an origin |
//! | `kept` | a request over a kept HTTP connection, or a fresh one |
//! | `line` | HTTP connections that are kept for the next request |
//! | `peek` | the decoder configurations of a stream |
//! | `probe` | does an origin answer |
//! | `read_buffers` | buffers for the parts of long bodies |
//! | `silence` | whether an origin that owes an answer speaks at all |
//! | `sources` | lists of origins: the settings file, DNS, HTTP |

pub mod attempt;
pub(crate) mod call;
pub mod connect;
pub mod dial;
pub(crate) mod elsewhere;
pub mod fetch;
pub(crate) mod finder;
pub mod health;
pub mod http;
pub mod itself;
pub(crate) mod kept;
pub(crate) mod line;
mod own_address;
pub mod peek;
pub mod probe;
mod read_buffers;
pub mod silence;
pub mod sources;
