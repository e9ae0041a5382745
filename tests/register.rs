//! The side program that registers origins, between a stand-in origin and stand-in proxies.

use serde_json::Value;
use sluicegate::cli::register::{Event, RegisterError, Registration, keep};
use sluicegate::value::Secret;
use sluicegate_core::fleet::attributes::Attributes;
use sluicegate_core::fleet::origin::{Endpoint, Endpoints, Origin, Target};
use sluicegate_core::stream::Service;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "support/machine.rs"]
mod machine;

#[tokio::test]
async fn a_single_report_carries_what_srs_would_send() {
    let mut proxy = Proxy::start(TAKEN).await;
    let mut registration = registration("127.0.0.1:1".parse().unwrap(), &[&proxy]);
    registration.while_answers = None;
    registration.token = Secret::new("hunter2");
    registration.origin.device_id = Some("left".to_owned());
    let endpoint = |text, service| vec![Endpoint::parse(text, service).unwrap()];
    registration.origin.endpoints.http = endpoint("10.0.0.6:8080", Service::Http);
    registration.origin.endpoints.rtc = endpoint("8000", Service::Rtc);
    registration.origin.endpoints.srt = endpoint("10080", Service::Srt);

    let mut told = Vec::new();
    keep(
        &registration,
        |event| told.push(event.to_string()),
        std::future::pending(),
    )
    .await
    .unwrap();
    assert_eq!(
        told,
        [format!("origin1 is registered at http://{}", proxy.address)]
    );

    let (head, document) = proxy.next().await;
    assert!(
        head.starts_with("POST /api/v1/srs/register HTTP/1.1\r\n"),
        "{head}"
    );
    let head = head.to_ascii_lowercase();
    assert!(head.contains("authorization: bearer hunter2\r\n"), "{head}");
    assert!(
        head.contains(&format!("host: {}\r\n", proxy.address)),
        "{head}"
    );
    let service = document["service"].as_str().unwrap();
    assert_eq!(service.len(), 8);
    assert_eq!(
        document,
        serde_json::json!({
            "ip": "127.0.0.1", "server": "origin1", "device_id": "left",
            "service": service, "pid": std::process::id().to_string(),
            "rtmp": ["1"], "http": ["10.0.0.6:8080"], "rtc": ["udp://:8000"], "srt": ["10080"], "zone": "eu-1",
        })
    );
    // Our own proxy reads back what we send as the same origin.
    let rules = sluicegate_core::fleet::origin::AddressRules {
        allow_special: false,
    };
    let read =
        sluicegate_core::fleet::origin::parse_registration(document.to_string().as_bytes(), &rules);
    assert!(read.unwrap().same_place(&registration.origin));
}

#[tokio::test]
async fn a_single_report_that_is_refused_is_an_error() {
    let proxy = Proxy::start(("401 Unauthorized", r#"{"code":401,"error":"no token"}"#)).await;
    let taking = Proxy::start(TAKEN).await;
    let mut registration = registration("127.0.0.1:1".parse().unwrap(), &[&proxy, &taking]);
    registration.while_answers = None;
    let mut told = Vec::new();
    let result = keep(
        &registration,
        |event| told.push(event.to_string()),
        std::future::pending(),
    );
    let expected = format!(
        "origin1 is not registered at http://{}: 401 Unauthorized: no token; \
         give the token with --token or PROXY_HTTP_API_AUTH_TOKEN",
        proxy.address
    );
    assert_eq!(result.await.unwrap_err().to_string(), expected);
    assert_eq!(
        told,
        [format!(
            "origin1 is registered at http://{}",
            taking.address
        )]
    );
}

#[tokio::test]
async fn an_origin_is_reported_while_it_answers_and_comes_back_as_another_instance() {
    let mut proxy = Proxy::start(TAKEN).await;
    let place = nowhere();
    let mut program = Program::start(registration(place, &[&proxy]));

    let silent = format!("origin1 does not answer at {place}: ");
    let expected = format!("{silent}connection refused; not reporting it until it does");
    assert_eq!(program.next().await.to_string(), expected);
    assert!(
        proxy.reports.try_recv().is_err(),
        "an origin that does not answer is not reported"
    );

    let origin = answer_rtmp(place).await;
    let answers = format!("origin1 answers at {place}; reporting it every 20ms");
    assert_eq!(program.next().await.to_string(), answers);
    assert!(matches!(program.next().await, Event::Accepted { .. }));
    let (_, first) = proxy.next().await;
    let (_, second) = proxy.next().await;
    assert_eq!(first, second, "the same instance as long as it answers");

    origin.abort();
    assert!(origin.await.is_err());
    // Refused, or reset if it went away in the middle of a question.
    let event = program.next().await.to_string();
    assert!(event.starts_with(&silent), "{event}");
    // Discard what was reported before it fell silent.
    while proxy.reports.try_recv().is_ok() {}

    let origin = answer_rtmp(place).await;
    assert_eq!(program.next().await.to_string(), answers);
    let (_, third) = proxy.next().await;
    assert_ne!(
        third["service"], first["service"],
        "a restart is to be seen"
    );
    assert_eq!(third["server"], first["server"]);
    origin.abort();
    program.stop().await;
}

#[tokio::test]
async fn a_stopped_process_is_not_reported_though_its_port_accepts() {
    let mut proxy = Proxy::start(TAKEN).await;
    let stopped = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut program = Program::start(registration(stopped.local_addr().unwrap(), &[&proxy]));
    let event = program.next().await;
    assert!(
        event.to_string().contains("no answer within 1 s"),
        "{event}"
    );
    assert!(event.is_problem());
    assert!(proxy.reports.try_recv().is_err());
    program.stop().await;
}

#[tokio::test]
async fn a_proxy_that_is_down_is_tried_again_and_told_of_once() {
    let (address, place) = (nowhere(), nowhere());
    let _origin = answer_rtmp(place).await;
    let mut down = registration(place, &[]);
    down.to = vec![format!("http://{address}").parse().unwrap()];
    let mut program = Program::start(down);
    assert!(matches!(program.next().await, Event::Answers { .. }));
    let event = program.next().await;
    let refused = format!("origin1 is not registered at http://{address}: connection refused");
    assert_eq!(event.to_string(), refused);

    let mut proxy = Proxy::start_at(address, TAKEN).await;
    let event = program.next().await;
    assert!(
        matches!(event, Event::Accepted { .. }),
        "told again: {event}"
    );
    proxy.next().await;
    program.stop().await;
}

#[tokio::test]
async fn services_over_udp_alone_are_reported_unasked() {
    let mut proxy = Proxy::start(TAKEN).await;
    let mut registration = registration("127.0.0.1:1".parse().unwrap(), &[&proxy]);
    registration.origin.endpoints = Endpoints {
        srt: vec![Endpoint::parse("10080", Service::Srt).unwrap()],
        ..Endpoints::default()
    };
    let mut program = Program::start(registration);
    assert!(matches!(program.next().await, Event::Unasked { .. }));
    assert!(matches!(program.next().await, Event::Accepted { .. }));
    proxy.next().await;
    proxy.next().await;
    assert!(program.events.try_recv().is_err(), "only changes are told");
    program.stop().await;
}

/// An address where nothing listens until a test does.
fn nowhere() -> SocketAddr {
    ([127, 0, 0, 1], machine::free_port()).into()
}

fn registration(place: SocketAddr, proxies: &[&Proxy]) -> Registration {
    let rtmp = Endpoint::parse(&place.port().to_string(), Service::Rtmp).unwrap();
    let origin = Origin {
        ip: place.ip().into(),
        server: "origin1".to_owned(),
        service: String::new(),
        pid: "1".to_owned(),
        device_id: None,
        endpoints: Endpoints {
            rtmp: vec![rtmp],
            ..Endpoints::default()
        },
        attributes: Arc::new(Attributes {
            zone: Some("eu-1".to_owned()),
            ..Attributes::default()
        }),
        report: None,
    };
    let target = Target::plain(place.ip().into(), place.port());
    assert_eq!(origin.target(Service::Rtmp), Some(target));
    let to = proxies
        .iter()
        .map(|proxy| format!("http://{}", proxy.address).parse().unwrap());
    Registration {
        origin,
        to: to.collect(),
        token: Secret::default(),
        while_answers: Some(Duration::from_millis(20)),
    }
}

/// The program at work, with the events that it reports.
struct Program {
    events: UnboundedReceiver<Event>,
    task: JoinHandle<Result<(), RegisterError>>,
    stop: tokio::sync::oneshot::Sender<()>,
}

impl Program {
    fn start(registration: Registration) -> Self {
        let (sender, events) = unbounded_channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let tell = |event| sender.send(event).unwrap();
            keep(&registration, tell, async { stopped.await.unwrap() }).await
        });
        Self { events, task, stop }
    }

    async fn next(&mut self) -> Event {
        soon(self.events.recv()).await.expect("the program runs")
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        // The receiver is dropped with `self.events`, after the task.
        soon(self.task).await.unwrap().unwrap();
    }
}

/// A proxy that gives every report the same answer.
struct Proxy {
    address: SocketAddr,
    reports: UnboundedReceiver<(String, Value)>,
}

impl Proxy {
    async fn start(answer: (&'static str, &'static str)) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), answer).await
    }

    async fn start_at(address: SocketAddr, answer: (&'static str, &'static str)) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, reports) = unbounded_channel();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(take_report(client, answer, sender.clone()));
            }
        });
        Self { address, reports }
    }

    async fn next(&mut self) -> (String, Value) {
        soon(self.reports.recv()).await.expect("the proxy runs")
    }
}

async fn take_report(
    mut client: TcpStream,
    (status, body): (&'static str, &'static str),
    reports: UnboundedSender<(String, Value)>,
) {
    let mut bytes = Vec::new();
    let report = loop {
        assert!(
            client.read_buf(&mut bytes).await.unwrap() > 0,
            "the request ends in the middle"
        );
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        // The body is complete once it is a valid document, which is the same as its Content-Length.
        if let Ok(document) = serde_json::from_str(body) {
            break (format!("{head}\r\n"), document);
        }
    };
    // A test that has seen enough no longer listens.
    let _ = reports.send(report);
    let length = body.len();
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
    client.write_all(answer.as_bytes()).await.unwrap();
    // Keep the connection open, as a server with keep-alive does, until the client closes it.
    assert_eq!(client.read_buf(&mut bytes).await.unwrap(), 0);
}

/// An origin that begins every RTMP handshake.
async fn answer_rtmp(place: SocketAddr) -> JoinHandle<()> {
    let listener = TcpListener::bind(place).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut greeting = [0; 1537];
            client.read_exact(&mut greeting).await.unwrap();
            client.write_all(&[3]).await.unwrap();
        }
    })
}

/// Events come quickly, or something is wrong.
async fn soon<T>(event: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), event)
        .await
        .expect("it happens soon")
}

const TAKEN: (&str, &str) = ("200 OK", r#"{"code":0,"pid":"7"}"#);
