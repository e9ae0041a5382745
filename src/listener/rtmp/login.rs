//! Logging in as an encoder connects, before it has named its stream: `authmod=adobe`.

use sluicegate_core::dialect::RtmpAsked;
use sluicegate_core::rtmp::amf0::Value;
use sluicegate_core::rtmp::message::Command;
use sluicegate_core::stream::Action;

use crate::net::entrance::Ends;
use crate::proxy::{Connecting, Proxy, Welcome};

/// What a client hears to its `connect`.
pub(super) fn welcome(proxy: &Proxy, connect: &Command, ends: Ends) -> Welcome {
    let text = |name: &str| {
        let field = connect.object.field(name);
        field.and_then(Value::as_str).unwrap_or_default()
    };
    let tc_url = connect.connect_address();
    let (dialect, _) = proxy
        .dialects()
        .of(RtmpAsked { tc_url, name: "" }.host(), ends.local.port());
    // In some dialects the app is the whole name, and in others its beginning.
    let streams = ["", ANY_NAME].map(|name| dialect.rtmp(&RtmpAsked { tc_url, name }));
    let queries = [text("app"), tc_url].map(|text| text.split_once('?'));
    let query = queries.into_iter().flatten().next();
    // Encoders since the Flash age call themselves this, or say that they publish.
    let is_encoder = text("flashVer").starts_with("FMLE/") || text("type") == "nonprivate";
    proxy.welcome(&Connecting {
        streams: streams.into_iter().flatten().collect(),
        action: match is_encoder {
            true => Action::Publish,
            false => Action::Play,
        },
        client: ends.client,
        query: query.map_or("", |(_, query)| query),
    })
}

/// Stands for the name that is yet to come.
const ANY_NAME: &str = "-";
