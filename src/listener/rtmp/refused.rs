//! What a client hears in place of its stream.

use std::borrow::Cow;

use sluicegate_core::place::origins_no;
use sluicegate_core::rtmp::amf0::Value;
use sluicegate_core::rtmp::chunk::ChunkWriter;
use sluicegate_core::rtmp::message::{Command, Message, chunk_stream, code_and_description};
use sluicegate_core::stream::{Action, DEFAULT_VHOST, StreamUrl};

use super::Served;
use crate::net::linger_close;
use crate::net::wire::Wire;
use crate::proxy::Refusal;
use crate::sessions::Row;

/// What a client wants, as far as a status for it needs to know.
#[derive(Debug, Clone, Copy)]
pub(super) struct StatusFor {
    pub(super) action: Action,
    pub(super) stream_id: u32,
}

/// Says no in RTMP's words, and closes. There is no pair then.
pub(super) async fn refuse(client: &mut Wire, asked: StatusFor, words: &str) -> Option<Served> {
    say_no(client, asked, no(asked.action), words).await
}

/// The same for a refusal.
pub(super) async fn refuse_as(
    client: &mut Wire,
    asked: StatusFor,
    refusal: &Refusal,
) -> Option<Served> {
    let (code, words) = told(asked.action, refusal)?;
    say_no(client, asked, code, &words).await
}

/// The code and the words of a refusal; `None` where the end of the connection says more. A publisher that may not is
/// told so: encoders stop at that, and try again after anything else.
pub(super) fn told(action: Action, refusal: &Refusal) -> Option<(&str, Cow<'_, str>)> {
    Some(match (action, refusal) {
        (Action::Publish, Refusal::Denied { .. }) => {
            ("NetStream.Publish.Denied", refusal.to_string().into())
        }
        // An encoder that is told a reason stops; one whose connection ends comes again.
        (Action::Publish, Refusal::Limited { .. } | Refusal::NotYet { .. }) => return None,
        (_, Refusal::Refused { description, .. }) => {
            // In the origin's own words, to which its client does not listen, or not any more.
            let own = code_and_description(description);
            let (code, words) = own.unwrap_or_else(|| {
                let meant = origins_no::play_code(description).filter(|_| action == Action::Play);
                (meant.unwrap_or_else(|| no(action)), description)
            });
            (code, words.into())
        }
        (action, _) => (no(action), refusal.to_string().into()),
    })
}

async fn say_no(client: &mut Wire, asked: StatusFor, code: &str, words: &str) -> Option<Served> {
    let mut bytes = Vec::new();
    let message = status(asked, code, words);
    ChunkWriter::new(CHUNK_SIZE).write(chunk_stream::STREAM, &message, &mut bytes);
    linger_close::say(client, &bytes, linger_close::TIME_LIMIT).await;
    None
}

/// What a client hears that asks for the stream `name` on the connection of another session.
pub(super) fn carries_another(row: &Row, name: &str, is_over: bool) -> String {
    let does = if is_over { "was for" } else { "carries" };
    let carries = format!("this connection {does} {}", row.request.stream);
    match name.split('?').next().unwrap_or_default() {
        // Some old encoders stop so.
        "" => format!("{carries}, and the client asked for a stream without a name"),
        name => {
            format!("{carries}, and one connection carries one stream: open another one for {name}")
        }
    }
}

/// Whether a client is an SRS edge, which says so after its `connect` object and follows what other clients take for
/// a refusal.
pub(super) fn follows_redirects(connect: &Command) -> bool {
    let said = connect.arguments.first();
    said.is_some_and(|said| said.field("srs_sig").is_some())
}

/// Sends a client that follows it to another server, as SRS origins do, and closes. It ends on its own when it has read
/// that, and says a word before, which nobody needs. The stream's `name` brings its query along, as it was asked.
pub(super) async fn send_away(
    client: &mut Wire,
    base: &str,
    stream: &StreamUrl,
    name: &str,
) -> Option<Served> {
    let tc_url = format!("{base}/{}", stream.app());
    let query = name.split_once('?').map_or("", |(_, query)| query);
    let mut url = format!("{tc_url}/{}", stream.stream());
    let says_vhost = query.split('&').any(|part| part.starts_with("vhost="));
    let vhost = format!("vhost={}", stream.vhost());
    let vhost = (stream.vhost() != DEFAULT_VHOST && !says_vhost).then_some(vhost.as_str());
    let parts = Some(query).filter(|query| !query.is_empty());
    for (index, part) in parts.into_iter().chain(vhost).enumerate() {
        url.push(if index == 0 { '?' } else { '&' });
        url.push_str(part);
    }
    let place = vec![
        ("code".to_owned(), Value::Number(302.0)),
        ("redirect".to_owned(), tc_url.as_str().into()),
        ("redirect2".to_owned(), url.as_str().into()),
    ];
    let information = vec![
        ("level".to_owned(), "error".into()),
        ("code".to_owned(), "NetConnection.Connect.Rejected".into()),
        ("description".to_owned(), "RTMP 302 Redirect".into()),
        ("ex".to_owned(), Value::Object(place)),
    ];
    let command = Command::call("onStatus", 0.0, vec![Value::Object(information)]);
    let mut bytes = Vec::new();
    ChunkWriter::new(CHUNK_SIZE).write(
        chunk_stream::STREAM,
        &Message::command(0, &command),
        &mut bytes,
    );
    linger_close::say(client, &bytes, linger_close::TIME_LIMIT).await;
    None
}

/// The usual code of a no.
pub(super) const fn no(action: Action) -> &'static str {
    match action {
        Action::Play => "NetStream.Play.Failed",
        Action::Publish => "NetStream.Publish.BadName",
    }
}

pub(super) fn status(asked: StatusFor, code: &str, words: &str) -> Message {
    Message::command(asked.stream_id, &Command::on_status("error", code, words))
}

/// What we speak to a client until its origin takes over (RTMP 1.0 §5.4.1).
const CHUNK_SIZE: u32 = 128;
