//! What an origin is told of a client that came over TLS. Such a client names an `rtmps://` URL in its `connect`. Origins
//! are reached without TLS, and some take that URL apart for a port or a vhost, so they are told `rtmp://`.

use super::amf0::Value;
use super::chunk::{ChunkReader, ChunkWriter};
use super::message::{Command, kind};

/// Whether a tcUrl is one of TLS.
pub(super) fn is_secure(tc_url: &str) -> bool {
    tc_url
        .get(..SECURE.len())
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case(SECURE))
}

/// The bytes of a client after its handshake, with `rtmp://` in the tcUrl of its `connect`. `None` if nothing changes: the
/// URL is plain already, or `connect` comes in pieces among those of another message, which no known client does.
pub(super) fn plain_replay(replay: &[u8]) -> Option<Vec<u8>> {
    let mut reader = ChunkReader::new(replay.len());
    let mut rest = replay;
    loop {
        let start = replay.len() - rest.len();
        let whole_before = reader.is_between_messages();
        let chunk_size = reader.chunk_size();
        let mut message = reader.read(&mut rest).ok()??;
        let is_command = matches!(message.kind, kind::COMMAND_AMF0 | kind::COMMAND_AMF3);
        if !is_command || !names_connect(&message.payload) {
            continue;
        }
        if !whole_before || !reader.is_between_messages() {
            return None;
        }
        message.payload = plain_payload(&message.payload)?;
        let mut out = replay.get(..start)?.to_vec();
        ChunkWriter::new(chunk_size).write(reader.last_chunk_stream()?, &message, &mut out);
        out.extend_from_slice(rest);
        return Some(out);
    }
}

/// The `connect` command with `rtmp://` in its tcUrl.
pub(super) fn make_plain(connect: &mut Command) {
    let (Value::Object(fields) | Value::EcmaArray(fields)) = &mut connect.object else {
        return;
    };
    for (name, value) in fields {
        if name == "tcUrl"
            && let Value::String(url) = value
            && is_secure(url)
        {
            url.replace_range(..SECURE.len(), PLAIN);
        }
    }
}

fn names_connect(payload: &[u8]) -> bool {
    // Some senders of AMF3 leave the zero byte out.
    let amf0 = payload.strip_prefix(&[0]).unwrap_or(payload);
    amf0.starts_with(b"\x02\x00\x07connect")
}

/// The body with one letter less, and the length of the string that it was in. Everything else stays as it came.
fn plain_payload(payload: &[u8]) -> Option<Vec<u8>> {
    let key = payload
        .windows(KEY.len())
        .position(|window| window == KEY)?;
    let (before, value) = payload.split_at_checked(key + KEY.len())?;
    let (length, text) = value.split_first_chunk::<2>()?;
    let (scheme, after) = text.split_at_checked(SECURE.len())?;
    let length = u16::from_be_bytes(*length);
    if usize::from(length) < SECURE.len() || !scheme.eq_ignore_ascii_case(SECURE.as_bytes()) {
        return None;
    }
    let length = (length - 1).to_be_bytes();
    Some([before, &length, PLAIN.as_bytes(), after].concat())
}

const SECURE: &str = "rtmps://";
const PLAIN: &str = "rtmp://";
/// The property's name (AMF0 §2.5), and the marker of a string (§2.4).
const KEY: &[u8] = b"\x00\x05tcUrl\x02";

#[cfg(test)]
mod tests {
    use super::super::header::DEFAULT_CHUNK_SIZE;
    use super::super::message::Message;
    use super::*;

    fn connect(tc_url: &str) -> Command {
        let fields = vec![
            ("app".to_owned(), "live".into()),
            ("tcUrl".to_owned(), tc_url.into()),
            ("swfUrl".to_owned(), "x".repeat(150).as_str().into()),
        ];
        Command {
            name: "connect".to_owned(),
            transaction_id: 1.0,
            object: Value::Object(fields),
            arguments: Vec::new(),
        }
    }

    fn messages(tc_url: &str) -> Vec<Message> {
        let create = Command::call("createStream", 2.0, Vec::new());
        vec![
            Message::set_chunk_size(200),
            Message::command(0, &connect(tc_url)),
            Message::command(0, &create),
        ]
    }

    fn written(messages: &[Message]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = ChunkWriter::new(DEFAULT_CHUNK_SIZE);
        for (index, message) in messages.iter().enumerate() {
            writer.write(if index == 0 { 2 } else { 3 }, message, &mut out);
            if index == 0 {
                writer.set_chunk_size(200);
            }
        }
        out
    }

    #[test]
    fn an_origin_is_told_the_plain_url() {
        let rows = [
            (
                "TLS",
                "rtmps://h:443/live?k=v",
                Some("rtmp://h:443/live?k=v"),
            ),
            ("capitals", "RTMPS://h/live", Some("rtmp://h/live")),
            ("plain", "rtmp://h/live", None),
            ("none", "", None),
            ("in another place", "rtmp://h/rtmps://x", None),
        ];
        for (cause, tc_url, expected) in rows {
            let replay = written(&messages(tc_url));
            let plain = plain_replay(&replay);
            let expected_bytes = expected.map(|url| written(&messages(url)));
            assert_eq!(plain, expected_bytes, "{cause}");
            assert_eq!(is_secure(tc_url), expected.is_some(), "{cause}");
            let mut command = connect(tc_url);
            make_plain(&mut command);
            assert_eq!(command, connect(expected.unwrap_or(tc_url)), "{cause}");
        }
    }

    #[test]
    fn whatever_else_comes_is_left_as_it_is() {
        let whole = written(&messages("rtmps://h/live"));
        for end in 0..whole.len() {
            if let Some(plain) = plain_replay(&whole[..end]) {
                assert_eq!(plain.len(), end - 1, "one letter less");
            }
        }
        // The first chunk of another message, of which 72 bytes are still to come, before `connect`.
        let mut among = vec![4, 0, 0, 0, 0, 0, 200, 9, 1, 0, 0, 0];
        among.extend([0; 128]);
        let connect = Message::command(0, &connect("rtmps://h/live"));
        ChunkWriter::new(DEFAULT_CHUNK_SIZE).write(3, &connect, &mut among);
        assert_eq!(plain_replay(&among), None);
    }
}
