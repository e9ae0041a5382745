//! A client that changes its address a hundred times, across the shards of the media port: its call goes on, and the
//! origin sees one address.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluicegate_core::rtc::stun::{Kind, Message, binding_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::timeout;

use crate::house::House;
use crate::rtc_peer::{ask, location};

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_roams_leave_one_socket_towards_the_origin() {
    let house = House::open("").await;
    let (api, media, sources) = origin().await;
    house.register_with(
        "o1",
        &format!(r#""api":["{}"],"rtc":["{}"]"#, api.port(), media.port()),
    );
    let (status, head, _) = ask(house.at.api, "POST", "/rtc/v1/whip/?stream=a", &sdp("clnt")).await;
    assert_eq!(status, 201, "{head}");
    let location = location(&head);

    let mut transaction = 0;
    for roam in 0..100 {
        let client = UdpSocket::bind("127.0.0.1:0")
            .await
            .expect("loopback has ports");
        client
            .connect(house.at.rtc)
            .await
            .expect("a socket of ours");
        let answer = check(&client, &mut transaction).await;
        assert_eq!(answer, Some(Kind::Success), "roam {roam}");
        let media = [0x80, 96, 0, roam, 0, 0, 0, 1, 0, 0, 0, 1, 7];
        client.send(&media).await.expect("it goes out");
        assert_eq!(
            receive(&client).await.as_deref(),
            Some(&media[..]),
            "roam {roam}"
        );
    }
    let seen = sources.lock().expect("no panic").clone();
    assert_eq!(seen.len(), 1, "the origin saw {seen:?}");
    let rows = house.proxy.sessions().list();
    assert_eq!(rows.len(), 1);

    // Its client is told at the end, wherever it is.
    let client = UdpSocket::bind("127.0.0.1:0")
        .await
        .expect("loopback has ports");
    client
        .connect(house.at.rtc)
        .await
        .expect("a socket of ours");
    assert_eq!(check(&client, &mut transaction).await, Some(Kind::Success));
    let (status, ..) = ask(house.at.api, "DELETE", &location, "").await;
    assert_eq!(status, 200);
    rows[0].ended().await;
    let told = timeout(Duration::from_secs(10), async {
        let mut pace = tokio::time::interval(Duration::from_millis(50));
        while check_once(&client, &mut transaction).await != Some(Kind::Error) {
            pace.tick().await;
        }
    });
    assert!(told.await.is_ok(), "the call is over");
    assert!(house.proxy.sessions().is_empty() && house.proxy.registry().bindings().is_empty());
}

/// Asks until there is an answer, as an ICE agent does.
async fn check(client: &UdpSocket, transaction: &mut u64) -> Option<Kind> {
    for _ in 0..20 {
        if let Some(kind) = check_once(client, transaction).await {
            return Some(kind);
        }
    }
    None
}

async fn check_once(client: &UdpSocket, transaction: &mut u64) -> Option<Kind> {
    *transaction += 1;
    let mut id = [0; 12];
    id[4..].copy_from_slice(&transaction.to_be_bytes());
    let request = binding_request("orig:clnt", PASSWORD.as_bytes(), id, true);
    client.send(&request).await.expect("it goes out");
    let answer = receive(client).await?;
    Some(Message::parse(&answer).ok()?.kind)
}

async fn receive(client: &UdpSocket) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 2048];
    let count = timeout(Duration::from_millis(500), client.recv(&mut bytes))
        .await
        .ok()?;
    bytes.truncate(count.ok()?);
    Some(bytes)
}

/// An origin that answers every offer and every check, and sends media back; it remembers who wrote to it.
async fn origin() -> (SocketAddr, SocketAddr, Arc<Mutex<BTreeSet<SocketAddr>>>) {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("loopback has ports");
    let api = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut bytes = vec![0; 8192];
            let count = client.read(&mut bytes).await.unwrap_or(0);
            let (status, body) = if bytes[..count].starts_with(b"POST") {
                (
                    "201 Created\r\nLocation: /call/1\r\nContent-Type: application/sdp",
                    sdp("orig"),
                )
            } else {
                ("200 OK", String::new())
            };
            let length = body.len();
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
            let _ = client.write_all(answer.as_bytes()).await;
        }
    });
    let socket = UdpSocket::bind("127.0.0.1:0")
        .await
        .expect("loopback has ports");
    let media = socket.local_addr().expect("it is bound");
    let sources: Arc<Mutex<BTreeSet<SocketAddr>>> = Arc::default();
    let seen = Arc::clone(&sources);
    tokio::spawn(async move {
        let mut bytes = [0; 2048];
        while let Ok((count, from)) = socket.recv_from(&mut bytes).await {
            seen.lock().expect("no panic").insert(from);
            let answer = match bytes[..count].first() {
                Some(0) => [&[1, 1, 0, 0], &bytes[4..20]].concat(),
                _ => bytes[..count].to_vec(),
            };
            let _ = socket.send_to(&answer, from).await;
        }
    });
    (api, media, sources)
}

fn sdp(fragment: &str) -> String {
    format!(
        "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n\
         a=ice-ufrag:{fragment}\r\na=ice-pwd:{PASSWORD}\r\n"
    )
}

const PASSWORD: &str = "0123456789012345678901";
