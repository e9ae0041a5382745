//! Whatever a client, an operator or the settings show: no line that a run writes and no page that it answers repeats it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use sluicegate_core::access::{digests, keys, passwords};

use crate::access::are_secret_to;
use crate::support::http::{self, Answer, Server};
use crate::support::srt::call;
use crate::support::{Proxy, Publisher, machine, uninterrupted, wait_for};

/// Everything that may be shown, each by itself: a text is found again wherever it is written.
const SECRETS: [&str; 14] = [
    "key-of-a-viewer-f00d",
    "password-of-a-person-f00d",
    "password-behind-digest-f00d",
    "secret-that-signs-links-f00d-f00d",
    "secret-that-signs-tokens-f00d-f00d",
    "wrong-key-in-a-query-f00d",
    "wrong-key-in-a-cookie-f00d",
    "wrong-bearer-f00d",
    "wrong-password-f00d",
    "wrong-srt-key-f00d",
    "wrong-signature-f00d",
    "wrong-link-f00d",
    "token-of-the-hook-f00d",
    "token-of-the-system-api-f00d",
];
const KEY: &str = SECRETS[0];
const PASSWORD: &str = SECRETS[1];
const DIGEST: &str = SECRETS[2];
const SIGNS: &str = SECRETS[3];
const TOKENS: &str = SECRETS[4];
const HOOK: &str = SECRETS[12];
const SYSTEM: &str = SECRETS[13];

fn settings(origin: SocketAddr, hook: SocketAddr) -> String {
    let key = keys::line("viewer", b"salt", KEY);
    let person = passwords::line("person", &[7; 16], PASSWORD).expect("a line");
    let encoder = digests::line("encoder", DIGEST);
    let system = keys::line("ops", b"salt", SYSTEM);
    let (_, system) = system.split_once(':').expect("a name");
    format!(
        "log.level = \"trace\"\n\
         [[origin]]\nid = \"one\"\nip = \"127.0.0.1\"\nhttp = {}\n\
         [[system.tokens]]\nname = \"ops\"\nhash = \"{system}\"\nrole = \"admin\"\n\
         [[check]]\nname = \"keys\"\nkind = \"keys\"\nkeys = [\"{key}\"]\n\
         [[check]]\nname = \"people\"\nkind = \"passwords\"\nusers = [\"{person}\"]\n\
         [[check]]\nname = \"encoders\"\nkind = \"digest\"\nusers = [\"{encoder}\"]\n\
         [[check]]\nname = \"links\"\nkind = \"signed\"\nsecrets = [\"{SIGNS}\"]\n\
         [[check]]\nname = \"tokens\"\nkind = \"jwt\"\nsecrets = [\"{TOKENS}\"]\n\
         [[check]]\nname = \"backend\"\nkind = \"hook\"\nshape = \"srs\"\non_play = \"http://{hook}/play?token={HOOK}\"\n\
         on_publish = \"http://{hook}/publish?token={HOOK}\"\non_stop = \"http://{hook}/stop?token={HOOK}\"\ntimeout = 1\n\
         [[access]]\napp = \"asked\"\nall = [\"backend\"]\n\
         [[access]]\nany = [\"keys\", \"people\", \"links\", \"tokens\", \"encoders\"]\n",
        origin.port()
    )
}

/// What the proxy answers to these bytes, as far as it does within a moment.
fn say(at: SocketAddr, text: &str) -> String {
    let mut socket = TcpStream::connect(at).expect("it listens");
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a time");
    socket.write_all(text.as_bytes()).expect("it reads");
    let mut answer = [0; 4096];
    let count = uninterrupted(|| socket.read(&mut answer)).unwrap_or_default();
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

fn show(proxy: &Proxy) -> Vec<String> {
    let base64 = |text: &str| Base64::encode_string(text.as_bytes());
    let part = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
    let token = format!(
        "{}.{}.{}",
        part("{\"alg\":\"HS256\"}"),
        part("{\"exp\":1,\"sub\":\"f00d\"}"),
        part("no signature at all")
    );
    let [
        _,
        _,
        _,
        _,
        _,
        query,
        cookie,
        bearer,
        password,
        srt,
        signature,
        link,
        ..,
    ] = SECRETS;
    let basic = base64(&format!("person:{password}"));
    let good = base64(&format!("person:{PASSWORD}"));
    let headers = [
        format!("Authorization: Bearer {bearer}"),
        format!("Authorization: Bearer {token}"),
        format!("Authorization: Basic {basic}"),
        format!("Authorization: Basic {good}"),
        format!("Cookie: key={cookie}"),
    ];
    let targets = [
        format!("/live/a.flv?key={query}&sgend=9999999999&sgsign={signature}&token={token}"),
        format!("/live/a.flv?user=person&pass={password}"),
        format!("/live/a.flv?key={KEY}"),
        format!("/live/a.m3u8?spbhid={link}&key={query}"),
        format!("/asked/a.flv?key={query}"),
    ];
    for target in &targets {
        http::request(proxy.http, "GET", target, &[], "");
    }
    let offer = "v=0\r\n";
    for header in &headers {
        http::request(proxy.http, "GET", "/live/a.flv", &[header], "");
        let kind = "Content-Type: application/sdp";
        let target = "/rtc/v1/whip/?app=live&stream=a";
        http::request(proxy.api, "POST", target, &[kind, header], offer);
        let ask = format!("DESCRIBE rtsp://h/live/a RTSP/1.0\r\nCSeq: 1\r\n{header}\r\n\r\n");
        say(proxy.rtsp, &ask);
        http::request(proxy.system, "GET", "/api/v1/sessions", &[header], "");
    }
    say(
        proxy.rtsp,
        &format!("DESCRIBE rtsp://h/live/a?key={query} RTSP/1.0\r\nCSeq: 1\r\n\r\n"),
    );
    call(
        proxy.srt,
        &format!("#!::r=live/a,m=publish,u=person,s={srt}"),
        None,
    );
    call(
        proxy.srt,
        &format!("#!::r=live/a?key={query},m=request"),
        None,
    );
    for name in [
        format!("live/a?key={query}"),
        format!("live/a?user=encoder&pass={DIGEST}"),
    ] {
        Publisher::clip(&proxy.rtmp_url(&name)).start().wait_end();
    }
    vec![token, basic, good, base64(KEY)]
}

#[test]
fn nothing_that_a_run_writes_or_answers_shows_what_was_shown() {
    let _turn = machine::share();
    let origin = Server::start(|_| Answer::status(404));
    let hook = Server::start(|_| Answer::status(500));
    let proxy = Proxy::start(&settings(origin.address, hook.address));
    let more = show(&proxy);
    wait_for("its log of them all", Duration::from_secs(20), || {
        (proxy.output().matches("refused").count() > 10).then_some(())
    });
    let shown = format!("Authorization: Bearer {SYSTEM}");
    let ban = "/api/v1/bans?target=viewer:seven&for=1h";
    let banned = http::request(proxy.system, "POST", ban, &[&shown], "");
    assert_eq!(banned.status, 200, "{}", banned.text());
    let audit = wait_for("a line of the change", Duration::from_secs(20), || {
        let lines = proxy.output();
        let mut changes = lines
            .lines()
            .filter(|line| line.contains("audit: a change"));
        changes.next().map(str::to_owned)
    });
    for part in [
        "\"who\":\"ops\"",
        "\"role\":\"admin\"",
        "/api/v1/bans",
        "\"banned\":\"viewer:seven\"",
        "127.0.0.1",
        "200",
    ] {
        assert!(audit.contains(part), "{part}: {audit}");
    }
    let secrets = SECRETS.into_iter().chain(more.iter().map(String::as_str));
    are_secret_to(&proxy, &[&shown], &secrets.collect::<Vec<_>>());
}
