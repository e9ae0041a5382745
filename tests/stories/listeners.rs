//! Listeners that are closed, that cannot be bound, and that bring their sockets along.

use std::net::{Ipv6Addr, TcpListener, UdpSocket};

use sluicegate::config::{Environment, Settings};
use sluicegate::server::{Inherited, Server, Sockets, StartError};
use sluicegate_core::stream::Action;
use tokio_util::sync::CancellationToken;

use crate::call::{CallOrigin, ask, sdp};
use crate::house::{At, House, Manner, Stub, get};

/// Settings with every listener on a free port of loopback, but for those that `lines` set.
fn settings(lines: &str) -> Settings {
    let listeners = ["rtmp", "http", "api", "system", "rtsp", "srt", "rtc"];
    let variables = listeners
        .map(|name| format!("SLUICEGATE_{}__LISTEN", name.to_uppercase()))
        .into_iter()
        .filter(|variable| !lines.contains(variable.as_str()))
        .map(|variable| (variable, "127.0.0.1:0".to_owned()));
    let own = lines.lines().filter_map(|line| line.split_once('='));
    let own = own.filter(|(_, value)| *value != "default");
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let environment = Environment::new(variables.chain(own), "");
    Settings::load(None, &environment)
        .expect("valid settings")
        .settings
}

#[tokio::test]
async fn each_listener_for_clients_can_be_closed() {
    for closed in ["rtmp", "http", "api", "rtsp", "srt", "rtc"] {
        let house = House::open(&format!("[{closed}]\nlisten = \"\"\n")).await;
        let at = &house.at;
        for (name, address) in [
            ("rtmp", at.rtmp),
            ("http", at.http),
            ("api", at.api),
            ("rtsp", at.rtsp),
            ("srt", at.srt),
            ("rtc", at.rtc),
        ] {
            assert_eq!(
                address.port() == 0,
                name == closed,
                "{name} without {closed}"
            );
        }
        assert_eq!(get(at.system, "/livez").await.0, 200, "without {closed}");
    }
}

#[tokio::test]
async fn what_remains_goes_on_and_calls_are_refused_without_their_media_port() {
    let house = House::open("[rtc]\nlisten = \"\"\n[rtsp]\nlisten = []\n").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let publisher = house.ask(Action::Publish, "live/a").await;
    assert!(publisher.has_started());
    let calls = CallOrigin::start().await;
    house.register_with("two", &calls.endpoints());
    let (status, _, words) = ask(house.at.api, "POST", "/rtc/v1/whip/?stream=b", &sdp("c")).await;
    assert_eq!((status, words.trim()), (404, "WebRTC is not served here"));
    assert_eq!(house.proxy.sessions().len(), 1);
}

#[test]
fn a_proxy_that_would_serve_nobody_does_not_start() {
    let lines = ["RTMP", "HTTP", "API", "RTSP", "SRT", "RTC"]
        .map(|name| format!("SLUICEGATE_{name}__LISTEN=\n"))
        .concat();
    let refused = Sockets::bind(&settings(&lines));
    assert!(matches!(refused, Err(StartError::Closed)), "{refused:?}");
}

#[test]
fn a_port_that_is_taken_ends_the_start_only_where_somebody_set_it() {
    // If another program has it, it is taken as well.
    let _taken = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 18554));
    let sockets = Sockets::bind(&settings("SLUICEGATE_RTSP__LISTEN=default")).expect("the others");
    let at = sockets.addresses();
    assert!(
        at.rtsp.is_none() && at.rtmp.is_some() && at.system.is_some(),
        "{at:?}"
    );

    let refused = Sockets::bind(&settings("SLUICEGATE_RTSP__LISTEN=18554"));
    let Err(error @ StartError::Listen { .. }) = refused else {
        panic!("{refused:?}");
    };
    let sentence = error.to_string();
    assert!(
        sentence.starts_with("cannot listen on [::]:18554 (rtsp.listen): "),
        "{sentence}"
    );
}

#[tokio::test]
async fn sockets_that_are_passed_on_are_served_by_their_names_and_ports() {
    let bind = || TcpListener::bind("127.0.0.1:0").expect("a port");
    let [rtmp, system, http] = [bind(), bind(), bind()];
    let srt = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let [at_rtmp, at_system, at_http] =
        [&rtmp, &system, &http].map(|socket| socket.local_addr().expect("bound"));
    let at_srt = srt.local_addr().expect("bound");
    let lines = format!("SLUICEGATE_HTTP__LISTEN={at_http}\nSLUICEGATE_RTSP__LISTEN=\n");
    let tcp = [
        ("rtmp", rtmp),
        ("system", system),
        ("sluicegate.socket", http),
    ];
    let inherited = Inherited::of(tcp, [("srt", srt)]);
    let settings = settings(&lines);
    let sockets = Sockets::inherit(&settings, inherited).expect("each fits");
    let server = Server::new(settings, sockets).expect("it starts");
    let at = server.addresses();
    assert_eq!(at.rtmp, Some(at_rtmp), "by its name");
    assert_eq!(at.system, Some(at_system), "by its name");
    assert_eq!(at.http, Some(at_http), "by its port");
    assert_eq!(at.srt, Some(at_srt), "one socket is one shard");
    assert!(
        at.rtsp.is_none() && at.api.is_some(),
        "the rest is bound or closed"
    );
    let proxy = server.proxy().clone();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(server.serve(stop.clone()));
    let house = House {
        proxy,
        at: At::of(&at),
        stop,
        serving,
    };
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    assert!(house.ask(Action::Publish, "live/a").await.has_started());
    assert_eq!(get(at_system, "/livez").await.0, 200);
}

#[test]
fn a_socket_that_fits_no_listener_ends_the_start() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let inherited = Inherited::of([("rtpm", socket)], []);
    let refused = Sockets::inherit(&settings(""), inherited);
    let Err(StartError::Inherited(problem)) = refused else {
        panic!("{refused:?}");
    };
    assert!(
        problem.contains("rtpm") && problem.contains("FileDescriptorName"),
        "{problem}"
    );
}
