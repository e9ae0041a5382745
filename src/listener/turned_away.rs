//! The log line of a request that is refused by a rule of its protocol, before there is a session or a stream's name, or
//! within a session that goes on. What the proxy refuses is logged there.

use std::fmt::Display;

use tracing::info;

use crate::sessions::Row;

/// Tells of a refusal: by which protocol who asked, the `code` that the client gets, and the rule that its request broke.
pub(super) fn log(
    protocol: &'static str,
    client: impl Display,
    code: impl Display,
    rule: impl Display,
) {
    info!(protocol, %client, %code, %rule, "refused: the request breaks a rule of its protocol");
}

/// Tells of the same within a session.
pub(super) fn log_within(row: &Row, code: impl Display, rule: impl Display) {
    let request = &row.request;
    info!(
        session = row.id,
        stream = %request.stream,
        protocol = request.protocol.as_str(),
        client = %request.client,
        %code,
        %rule,
        "refused: the request breaks a rule of its protocol"
    );
}
