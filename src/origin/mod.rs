//! What reaches an origin.
//!
//! | file | what it does |
//! | --- | --- |
//! | `connect` | where a registered name leads, and the only way to open a connection there |

pub mod connect;
