//! Logins by challenge: Digest of RTSP and `authmod=adobe` of RTMP, where the proxy holds what answers are checked by.

use std::net::SocketAddr;

use base64ct::{Base64, Encoding};
use md5::{Digest, Md5};
use sluicegate_core::access::digests::line;
use sluicegate_core::rtmp::amf0::Value;
use sluicegate_core::rtmp::client::{Client, ClientEvent};
use sluicegate_core::rtsp::message::Message;
use sluicegate_core::stream::Action;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::house::{House, Manner, PATIENCE, Stub};
use crate::rtsp_house::{self, Caller, frame, grants};
use crate::sources::open;

const USER: &str = "pub1";
const PASSWORD: &str = "s3cret";

/// A proxy that lets in who logs in, by rules that begin with the check `users`.
async fn guarded(more: &str) -> (House, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let line = line(USER, PASSWORD);
    let lists =
        format!("[[check]]\nname = \"users\"\nkind = \"digest\"\nusers = [\"{line}\"]\n{more}\n");
    let house = open(&folder.path().join("sluicegate.toml"), &lists).await;
    (house, folder)
}

fn hex(text: &str) -> String {
    let hash = Md5::digest(text);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The nonce of a refusal that asks for Digest.
fn nonce(refused: &Message) -> String {
    assert_eq!(refused.status(), Some(401), "{refused:?}");
    let challenge = refused.field("www-authenticate").expect("a challenge");
    assert!(
        challenge.starts_with("Digest realm=\"sluicegate\", "),
        "{challenge}"
    );
    let (_, rest) = challenge.split_once("nonce=\"").expect("a nonce");
    rest.split('"').next().expect("its end").to_owned()
}

/// What a client answers that knows this password.
fn answer(method: &str, uri: &str, nonce: &str, password: &str) -> String {
    let secret = hex(&format!("{USER}:sluicegate:{password}"));
    let response = hex(&format!(
        "{secret}:{nonce}:{}",
        hex(&format!("{method}:{uri}"))
    ));
    format!(
        "Authorization: Digest username=\"{USER}\", realm=\"sluicegate\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\"\r\n"
    )
}

#[tokio::test]
async fn rtsp_digest_is_answered_on_the_connection_that_was_challenged() {
    let (house, _folder) = guarded("[[access]]\nall = [\"users\"]\ntake_out = true").await;
    let origin = rtsp_house::Stub::start(|at| grants(at, frame(0, &[1; 100]))).await;
    house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
    let url = "rtsp://media.example/live/a";
    let ask = format!("DESCRIBE {url}");
    let mut player = Caller::connect(house.at.rtsp).await;
    let first = player.ask(&ask, 1, "").await;
    assert!(
        !first.fields().any(|(_, value)| value.starts_with(b"Basic")),
        "a password is not asked for in the clear: {first:?}"
    );
    let stale = nonce(&first);
    let wrong = answer("DESCRIBE", url, &stale, "other");
    let again = player.ask(&ask, 2, &wrong).await;
    let fresh = nonce(&again);
    assert_ne!(stale, fresh, "each challenge is another");
    for (cause, fields) in [
        ("an old nonce", answer("DESCRIBE", url, &stale, PASSWORD)),
        (
            "another request",
            answer("DESCRIBE", "rtsp://media.example/live/b", &fresh, PASSWORD),
        ),
    ] {
        let mut other = Caller::connect(house.at.rtsp).await;
        let refused = other.ask(&ask, 1, &fields).await;
        assert_eq!(refused.status(), Some(401), "{cause}");
    }
    assert_eq!(origin.connections(), 0, "a refusal dials nobody");
    let right = answer("DESCRIBE", url, &fresh, PASSWORD);
    let described = player.ask(&ask, 3, &right).await;
    assert_eq!(described.status(), Some(200), "{described:?}");
    let track = format!("{url}/trackID=0");
    let setup = format!(
        "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n{}",
        answer("SETUP", &track, &fresh, PASSWORD)
    );
    let set_up = player.ask(&format!("SETUP {track}"), 4, &setup).await;
    assert_eq!(set_up.status(), Some(200));
    let told = origin.requests().join("\n");
    assert!(!told.contains("Digest"), "it was used up here: {told}");
}

#[tokio::test]
async fn what_was_used_up_over_rtsp_is_not_for_the_origin() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = sluicegate_core::access::keys::line("camera", b"salt", "the-key");
    let lists = format!(
        "[[check]]\nname = \"keys\"\nkind = \"keys\"\nkeys = [\"{key}\"]\n[[access]]\nall = [\"keys\"]\ntake_out = true\n"
    );
    let house = open(&folder.path().join("sluicegate.toml"), &lists).await;
    // user:the-key
    let basic = "Authorization: Basic dXNlcjp0aGUta2V5\r\n";
    let shown = [
        ("live/a?x=1&key=the-key", "", "?x=1"),
        ("live/a?key=the-key", "", ""),
        ("live/a", basic, ""),
    ];
    for (name, fields, left) in shown {
        let origin = rtsp_house::Stub::start(|at| grants(at, frame(0, &[1; 100]))).await;
        house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
        let url = format!("rtsp://media.example/{name}");
        let mut player = Caller::connect(house.at.rtsp).await;
        let options = player.ask(&format!("OPTIONS {url}"), 1, fields).await;
        assert_eq!(options.status(), Some(200));
        let described = player.ask(&format!("DESCRIBE {url}"), 2, fields).await;
        assert_eq!(described.status(), Some(200), "{name}");
        // Many clients put the track after the query.
        let setup = format!("Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n{fields}");
        let set_up = player
            .ask(&format!("SETUP {url}/trackID=0"), 3, &setup)
            .await;
        assert_eq!(set_up.status(), Some(200), "{name}");
        let played = player.ask(&format!("PLAY {url}"), 4, fields).await;
        assert_eq!(played.status(), Some(200), "{name}");
        let told = origin.requests().join("\n");
        assert!(
            !told.contains("the-key") && !told.contains("dXNlcjp0aGUta2V5"),
            "{told}"
        );
        assert!(
            told.contains(&format!(
                "SETUP rtsp://media.example/live/a{left}/trackID=0 "
            )),
            "{told}"
        );
        drop(player);
        house.until_sessions(0).await;
    }
}

/// What a client of RTMP hears first that says `app`, with its query, in its connect: the words of a refusal, or the code of its stream.
async fn heard(at: SocketAddr, action: Action, app: &str, name: &str) -> Result<String, String> {
    let app_url = &format!("rtmp://example/{app}");
    let mut machine = Client::new([7; 32], action, app_url, name, Vec::new());
    let mut socket = TcpStream::connect(at).await.expect("the proxy listens");
    let mut buffer = vec![0; 65_536];
    loop {
        if let Some(bytes) = machine.poll_output() {
            socket.write_all(&bytes).await.expect("it reads");
        }
        let read = timeout(PATIENCE, socket.read(&mut buffer)).await;
        let count = read.expect("an answer in time").expect("an answer");
        assert_ne!(count, 0, "it closed without a word");
        machine.feed(&buffer[..count]).expect("RTMP");
        while let Some(event) = machine.poll_event() {
            match event {
                ClientEvent::Refused(command) => {
                    let information = command.arguments.first().expect("information");
                    let words = information.field("description").and_then(Value::as_str);
                    return Err(words.unwrap_or_default().to_owned());
                }
                ClientEvent::Status { code, .. } if code != "NetStream.Play.Reset" => {
                    return Ok(code);
                }
                _ => {}
            }
        }
    }
}

fn parameter(words: &str, name: &str) -> String {
    let (_, query) = words.split_once('?').expect("parameters");
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let found = pairs.clone().find(|(known, _)| *known == name);
    found.map(|(_, value)| value.to_owned()).expect(name)
}

fn base64_md5(text: &str) -> String {
    Base64::encode_string(&Md5::digest(text))
}

/// The third connect of an encoder that knows this password, by the refusal of its second.
fn login(challenge: &str, password: &str) -> String {
    let (salt, opaque) = (parameter(challenge, "salt"), parameter(challenge, "opaque"));
    let secret = base64_md5(&format!("{USER}{salt}{password}"));
    let response = base64_md5(&format!("{secret}{opaque}abcd1234"));
    format!("?authmod=adobe&user={USER}&challenge=abcd1234&response={response}&opaque={opaque}")
}

#[tokio::test]
async fn an_encoder_logs_in_over_rtmp_before_it_names_its_stream() {
    let rule =
        "[[access]]\naction = \"publish\"\napp = \"live\"\nall = [\"users\"]\ntake_out = true";
    let (house, _folder) = guarded(rule).await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let publish = async |query: &str| {
        let app = format!("live{query}");
        heard(house.at.rtmp, Action::Publish, &app, "a").await
    };
    let who = publish("").await.expect_err("it has to log in");
    assert!(who.contains("code=403 need auth; authmod=adobe"), "{who}");
    let challenge = publish(&format!("?authmod=adobe&user={USER}")).await;
    let challenge = challenge.expect_err("it is asked");
    assert!(challenge.contains("?reason=needauth&"), "{challenge}");
    let unknown = publish("?authmod=adobe&user=nobody").await;
    assert!(
        unknown
            .expect_err("it is asked")
            .contains("?reason=needauth&user=nobody"),
        "who is not known is told nothing of that"
    );
    let denied = publish(&login(&challenge, "other")).await;
    assert_eq!(denied.as_deref(), Ok("NetStream.Publish.Denied"));
    let forged = login(&challenge, PASSWORD).replace("opaque=", "opaque=x");
    assert!(
        publish(&forged).await.is_err(),
        "a nonce that is none of ours"
    );
    assert_eq!(origin.connections(), 0, "a refusal dials nobody");
    let granted = publish(&login(&challenge, PASSWORD)).await;
    assert_eq!(granted.as_deref(), Ok("NetStream.Publish.Start"));
    let request = origin.request();
    let app = request.connect.object.field("app").and_then(Value::as_str);
    let told = format!("{} {}", request.tc_url, app.unwrap_or_default());
    assert_eq!(told, "rtmp://example/live live", "it was used up here");

    let player = heard(house.at.rtmp, Action::Play, "live", "a").await;
    assert_eq!(
        player.as_deref(),
        Ok("NetStream.Play.Start"),
        "the rule is for publishers"
    );
    let other = heard(house.at.rtmp, Action::Publish, "cam", "a").await;
    assert_eq!(
        other.as_deref(),
        Ok("NetStream.Publish.Start"),
        "and for its app"
    );
}

#[tokio::test]
async fn who_may_do_otherwise_than_log_in_is_not_asked_to() {
    let key = sluicegate_core::access::keys::line("encoder", b"salt", "the-key");
    let rule = format!(
        "[[check]]\nname = \"keys\"\nkind = \"keys\"\nkeys = [\"{key}\"]\n[[access]]\nany = [\"keys\", \"users\"]"
    );
    let (house, _folder) = guarded(&rule).await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let granted = heard(house.at.rtmp, Action::Publish, "live", "a?key=the-key").await;
    assert_eq!(granted.as_deref(), Ok("NetStream.Publish.Start"));
    // The password itself counts too.
    let name = format!("b?user={USER}&pass={PASSWORD}");
    let granted = heard(house.at.rtmp, Action::Publish, "live", &name).await;
    assert_eq!(granted.as_deref(), Ok("NetStream.Publish.Start"));
    // Over RTSP both are offered.
    let mut player = Caller::connect(house.at.rtsp).await;
    let refused = player
        .ask("DESCRIBE rtsp://media.example/live/a", 1, "")
        .await;
    let offered: Vec<&[u8]> = refused
        .fields()
        .filter(|(name, _)| name.eq_ignore_ascii_case("www-authenticate"))
        .map(|(_, value)| value)
        .collect();
    assert_eq!(offered.len(), 2, "{refused:?}");
    assert!(offered[0].starts_with(b"Digest ") && offered[1].starts_with(b"Basic "));
}
