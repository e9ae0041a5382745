//! What reaches an origin.
//!
//! | file | what it does |
//! | --- | --- |
//! | `attempt` | one origin to try, and why that may fail |
//! | `connect` | where a registered name leads, and the only way to open a connection there |

pub mod attempt;
pub mod connect;
