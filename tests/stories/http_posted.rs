//! What a manifest names besides media: its licence server gets what players post to it, from us.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use crate::access_hooks::{Backend, Manners, asking};
use crate::house::{House, get};
use crate::http_origin::{Viewer, header, register};
use crate::http_pieces::{Packager, Reply};

const WANTED: &str = r#"{"kids":["x"]}"#;

fn manifest(origin: SocketAddr) -> String {
    format!(
        r#"<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" xmlns:dashif="https://dashif.org/CPS" type="static">
<Period><AdaptationSet mimeType="video/mp4"><ContentProtection schemeIdUri="urn:uuid:e2719d58-a985-b3c9-781a-b030af78d30e">
<dashif:Laurl>http://{origin}/license/ck?x=1</dashif:Laurl></ContentProtection>
<Representation id="v" bandwidth="1"><BaseURL>a-1.m4s</BaseURL></Representation></AdaptationSet></Period></MPD>"#
    )
}

/// An origin with a stream, `live/a`, and a licence server.
async fn protected(house: &House) -> Packager {
    let at = Arc::new(OnceLock::new());
    let own = Arc::clone(&at);
    let origin =
        Packager::start(
            move |target, _| match target.split('?').next().unwrap_or_default() {
                "/live/a.mpd" => {
                    let at = own.get().expect("it is told");
                    Reply::ok("Content-Type: application/dash+xml\r\n", manifest(*at))
                }
                "/license/ck" => Reply::ok("Content-Type: application/json\r\n", "the licence"),
                _ => Reply::missing(),
            },
        )
        .await;
    at.set(origin.at).expect("it is told once");
    register(house, "packager", origin.at);
    origin
}

/// Where a manifest says that licences are.
fn licence_server(manifest: &str) -> String {
    let (_, after) = manifest
        .split_once("<dashif:Laurl>")
        .expect("a licence server");
    let (url, _) = after.split_once("</").expect("its end");
    let (_, named) = url.split_once("://").expect("a scheme");
    let (_, target) = named.split_once('/').expect("a path");
    format!("/{}", target.replace("&amp;", "&"))
}

async fn ask(
    at: SocketAddr,
    method: &str,
    target: &str,
    headers: &str,
    body: &str,
) -> (String, String) {
    let length = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: {at}\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    let mut viewer = Viewer::send(at, request).await;
    let head = viewer.head().await;
    let length = header(&head, "content-length");
    let length = length
        .first()
        .map_or(0, |length| length.parse().expect("a length"));
    let body = viewer.take(length).await;
    (head, String::from_utf8(body).expect("text"))
}

#[tokio::test]
async fn a_licence_server_gets_what_is_posted_to_it() {
    let house = House::open("").await;
    let origin = protected(&house).await;
    let at = house.at.http;
    let (status, manifest) = get(at, "/live/a.mpd").await;
    assert_eq!(status, 200, "{manifest}");
    assert!(!manifest.contains(&origin.at.to_string()), "{manifest}");
    let target = licence_server(&manifest);
    let from = "Origin: http://player.example\r\nAccess-Control-Request-Method: POST\r\n";
    let (head, _) = ask(at, "OPTIONS", &target, from, "").await;
    let methods = header(&head, "access-control-allow-methods");
    assert_eq!(methods, ["GET, HEAD, POST, OPTIONS"], "{head}");
    let json = "Content-Type: application/json\r\n";
    let (head, body) = ask(at, "POST", &target, json, WANTED).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(body, "the licence");
    assert_eq!(header(&head, "access-control-allow-origin"), ["*"]);
    let heads = origin.heads("/license/ck?x=1");
    let posted: Vec<&String> = heads
        .iter()
        .filter(|head| head.starts_with("POST "))
        .collect();
    let [posted] = posted.as_slice() else {
        panic!("{heads:?}");
    };
    assert!(posted.ends_with(WANTED), "{posted}");
    assert_eq!(header(posted, "content-type")[0], "application/json");
    assert!(!posted.contains("spbhid"), "{posted}");
    let (_, link) = target.split_once("spbhid=").expect("a link");
    let long = "x".repeat(70_000);
    for (cause, target, body, expected) in [
        ("no link", "/license/ck?x=1".to_owned(), WANTED, 405),
        (
            "a path that was not listed",
            format!("/license/other?spbhid={link}"),
            WANTED,
            405,
        ),
        ("media", format!("/live/a-1.m4s?spbhid={link}"), WANTED, 405),
        ("a page", "/live/a.mpd".to_owned(), WANTED, 405),
        ("a long body", target.clone(), &long, 413),
    ] {
        let (head, _) = ask(at, "POST", &target, "", body).await;
        assert!(
            head.starts_with(&format!("HTTP/1.1 {expected} ")),
            "{cause}: {head}"
        );
    }
    assert_eq!(origin.heads("/license/ck?x=1"), heads, "nothing else came");
    origin.kill();
    let (head, body) = ask(at, "POST", &target, "", WANTED).await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(!body.contains("127.0.0.1"), "{body}");
}

#[tokio::test]
async fn the_licence_server_of_a_guarded_stream_is_for_those_who_were_let_in() {
    let backend = Backend::start(Manners::answers(200, r#"{"allow":true}"#)).await;
    let (house, _origin, _folder) = asking(&backend, "sluicegate", "").await;
    let origin = protected(&house).await;
    let at = house.at.http;
    let (status, manifest) = get(at, "/live/a.mpd?token=1").await;
    assert_eq!(status, 200, "{manifest}");
    let target = licence_server(&manifest);
    backend.becomes(Manners::answers(200, r#"{"allow":false}"#));
    let (head, body) = ask(at, "POST", &target, "", WANTED).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(body, "the licence");
    assert_eq!(origin.count("/license/ck?x=1"), 1);
}
