//! The log line of a request that is refused by a rule of its protocol, before there is a session or a stream's name.
//! What the proxy refuses is logged there.

use std::fmt::Display;

use tracing::info;

/// Tells of a refusal: by which protocol who asked, the `code` that the client gets, and the rule that its request broke.
pub(super) fn log(
    protocol: &'static str,
    client: impl Display,
    code: impl Display,
    rule: impl Display,
) {
    info!(protocol, %client, %code, %rule, "refused: the request breaks a rule of its protocol");
}
