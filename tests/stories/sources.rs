//! Origins that a file or a document lists, while it changes.

use std::path::Path;
use std::sync::{Arc, Mutex};

use sluicegate::config::{Environment, Settings};
use sluicegate::server::Server;
use sluicegate_core::events::Kind;
use sluicegate_core::fleet::drain::Duty;
use sluicegate_core::stream::Action;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::house::{At, House, Manner, Names, Stub, until, video};

/// A proxy whose settings file stays in place.
pub(crate) async fn open(file: &Path, lists: &str) -> House {
    let settings = settings(file, lists);
    serve(Server::bind(settings).expect("free ports"))
}

/// The same, where the names of origins lead as `names` says.
pub(crate) async fn open_knowing(file: &Path, lists: &str, names: &Names) -> House {
    let (settings, names) = (settings(file, lists), Arc::new(names.clone()));
    serve(Server::bind_with(settings, names).expect("free ports"))
}

fn settings(file: &Path, lists: &str) -> Settings {
    write(file, lists);
    let loaded = Settings::load(Some(file), &Environment::new([], "")).expect("valid settings");
    loaded.settings
}

fn serve(server: Server) -> House {
    let at = At::of(&server.addresses());
    let proxy = server.proxy().clone();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(server.serve(stop.clone()));
    House {
        proxy,
        at,
        stop,
        serving,
    }
}

fn write(file: &Path, lists: &str) {
    let listen: String = ["rtmp", "http", "api", "system", "rtsp", "srt", "rtc"]
        .map(|section| format!("[{section}]\nlisten = \"127.0.0.1:0\"\n"))
        .concat();
    std::fs::write(file, format!("{listen}{lists}")).expect("a file");
}

fn entry(id: &str, stub: &Stub) -> String {
    let port = stub.at.port();
    format!("[[origin]]\nid = \"{id}\"\nip = \"127.0.0.1\"\nrtmp = {port}\n")
}

pub(crate) fn duty(house: &House, id: &str) -> Option<Duty> {
    house.proxy.registry().duty(&id.into())
}

#[tokio::test]
async fn a_file_that_changes_changes_the_fleet_and_cuts_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("sluicegate.toml");
    let (one, two) = (
        Stub::start(Manner::Grants).await,
        Stub::start(Manner::Grants).await,
    );
    let house = open(&file, &entry("one", &one)).await;
    until("the first list", || duty(&house, "one").is_some()).await;
    let mut publisher = house.ask(Action::Publish, "live/a").await;
    assert!(publisher.has_started());

    write(&file, "[[origin]]\nid = \"broken\"\n");
    write(&file, &entry("two", &two));
    until("the second list", || duty(&house, "two").is_some()).await;
    assert!(matches!(duty(&house, "one"), Some(Duty::Draining(_))));
    house.ask(Action::Publish, "live/b").await;
    assert_eq!(house.origin_of("live/b").as_deref(), Some("two"));
    publisher.send(&video(0, &[0x17; 100])).await;
    until("its media", || {
        !one.seen.lock().expect("a test").media.is_empty()
    })
    .await;

    drop(publisher);
    until("the end of the drain", || duty(&house, "one").is_none()).await;

    // A file with a mistake changes nothing, and the next valid one is used.
    let told = |words: &str| {
        let mut told = 0;
        let journal = &house.proxy.metrics().journal;
        journal.look(Kind::Config, |event| {
            told += usize::from(event.news.what.contains(words));
        });
        told
    };
    assert!(told("the lists of origins changed") > 0);
    let mistakes = told("nothing of the settings file is taken");
    write(
        &file,
        &format!("{}[[origin]]\nid = \"broken\"\n", entry("one", &one)),
    );
    until("the mistake is told", || {
        told("nothing of the settings file is taken") > mistakes
    })
    .await;
    assert_eq!(duty(&house, "one"), None, "taken whole or not at all");
    write(&file, &(entry("one", &one) + &entry("two", &two)));
    until("the third list", || duty(&house, "one").is_some()).await;
}

#[tokio::test]
async fn a_file_that_lost_its_rules_or_its_origins_is_not_believed_until_somebody_asks() {
    const NOBODY: &str = "[[access]]\ndecide = \"deny\"\n";
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("sluicegate.toml");
    let one = Stub::start(Manner::Grants).await;
    let house = open(&file, &(entry("one", &one) + NOBODY)).await;
    until("the list", || duty(&house, "one").is_some()).await;
    let told = |words: &str| {
        let mut told = false;
        let journal = &house.proxy.metrics().journal;
        journal.look(Kind::Config, |event| {
            told |= event.news.what.contains(words);
        });
        told
    };
    // A full disk leaves a file like these.
    for (lists, lost) in [
        (entry("one", &one), "no access rule any more"),
        (NOBODY.to_owned(), "no origin and no source any more"),
    ] {
        write(&file, &lists);
        until(lost, || told(lost)).await;
        assert_eq!(duty(&house, "one"), Some(Duty::Active), "{lost}");
        let guest = house.ask(Action::Play, "live/a").await;
        assert!(!guest.has_started(), "{lost}");
    }
    let two = Stub::start(Manner::Grants).await;
    let allowed = "[[access]]\ndecide = \"allow\"\n";
    write(&file, &(entry("two", &two) + allowed));
    until("what is whole", || duty(&house, "two").is_some()).await;
    until("its rules", || told("access rules")).await;
    let guest = house.ask(Action::Publish, "live/a").await;
    assert!(guest.has_started(), "{}", guest.code());
}

#[tokio::test]
async fn a_document_over_http_is_polled_and_believed_only_while_it_makes_sense() {
    let answer = Arc::new(Mutex::new(String::new()));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("bound");
    let asked = Arc::new(Mutex::new(Vec::<String>::new()));
    let (said, heard) = (Arc::clone(&answer), Arc::clone(&asked));
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let count = client.read(&mut request).await.unwrap_or_default();
            let text = String::from_utf8_lossy(&request[..count]).into_owned();
            heard.lock().expect("a test").push(text);
            let answer = said.lock().expect("a test").clone();
            let _ = client.write_all(answer.as_bytes()).await;
        }
    });
    let say = |status: &str, body: &str| {
        let length = body.len();
        *answer.lock().expect("a test") = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
    };
    let looks = || asked.lock().expect("a test").len();
    let (one, two) = (
        Stub::start(Manner::Grants).await,
        Stub::start(Manner::Grants).await,
    );
    let item = |id: &str, stub: &Stub| {
        format!(
            r#"{{"id":"{id}","ip":"127.0.0.1","rtmp":"{}"}}"#,
            stub.at.port()
        )
    };
    let both = format!(
        r#"{{"origins":[{},{}]}}"#,
        item("one", &one),
        item("two", &two)
    );
    say("200 OK", &both);
    let folder = tempfile::tempdir().expect("a folder");
    let source = format!(
        "[[source]]\nurl = \"http://{at}/fleet?key=k\"\ntoken = \"sesame\"\nevery = \"100ms\"\n"
    );
    let house = open(&folder.path().join("a.toml"), &source).await;
    until("the list", || duty(&house, "two").is_some()).await;
    let first = asked.lock().expect("a test")[0].clone();
    assert!(
        first.starts_with("GET /fleet?key=k HTTP/1.1\r\n"),
        "{first}"
    );
    assert!(
        first
            .to_ascii_lowercase()
            .contains("authorization: bearer sesame"),
        "{first}"
    );

    let one_left = format!("[{}]", item("two", &two));
    let nonsense = [
        ("500 Oops", both.as_str()),
        ("200 OK", "[]"),
        ("200 OK", "[{\"id\":\"one\"}]"),
        ("200 OK", "<html>"),
        ("204 No Content", ""),
        ("302 Found", one_left.as_str()),
    ];
    for (status, body) in nonsense {
        say(status, body);
        let before = looks();
        until("two more looks", || looks() >= before + 2).await;
        for id in ["one", "two"] {
            assert_eq!(duty(&house, id), Some(Duty::Active), "{status} {body}");
        }
    }
    // Some servers write a byte order mark.
    say("200 OK", &format!("\u{feff}{one_left}"));
    until("the scale-in", || duty(&house, "one").is_none()).await;
    assert_eq!(duty(&house, "two"), Some(Duty::Active));
}
