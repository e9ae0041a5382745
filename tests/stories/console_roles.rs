//! Who may do what through the system API: every route with every role, and logins that are over.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use sluicegate::admin::routes;
use sluicegate_core::access::keys::line;
use sluicegate_core::access::pass::Pass;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::console::{TOKEN, raw, status};
use crate::house::{House, PATIENCE};

/// Who may do least, first.
const ROLES: [&str; 5] = ["nobody", "origin", "viewer", "operator", "admin"];

/// The role that may use a route with the fewest other rights: this list is the promise that the table of routes keeps.
fn least(method: &str, path: &str) -> &'static str {
    match (method, path) {
        ("get", "/livez" | "/readyz" | "/metrics" | "/api/v1/versions") => "nobody",
        (_, path) if path.starts_with("/console") => "nobody",
        ("post", "/api/v1/srs/register" | "/api/v1/hooks/srs") => "origin",
        ("delete", "/api/v1/origins/{id}") | ("post", "/api/v1/takeovers") => "admin",
        ("get", "/api/v1/sessions/{id}/tap" | "/api/v1/preview") => "operator",
        ("get", _) => "viewer",
        _ => "operator",
    }
}

/// What `role` hears; `None` where it may.
fn refusal(least: &str, role: &str) -> Option<&'static str> {
    let rank = |role| ROLES.iter().position(|one| *one == role);
    match (least, role) {
        ("nobody", _) => None,
        (_, "nobody") => Some("401"),
        // Who manages the fleet is no origin; administrators may do everything.
        ("origin", "viewer" | "operator") => Some("403"),
        (least, role) => (rank(role) < rank(least)).then_some("403"),
    }
}

#[tokio::test]
async fn no_route_does_for_a_role_what_it_may_not() {
    let house = House::open(&tokens()).await;
    let mut refused = 0;
    for (method, path) in routes() {
        let least = least(method, &path);
        let target = path
            .replace("{id}", "nobody")
            .replace("{stream}", "live/nobody")
            .replace("{ban}", "0000000000000000")
            .replace("{file}", "app.mjs");
        for role in ROLES {
            let expected = refusal(least, role);
            // What is allowed is done once, by whom it is meant for.
            if expected.is_none() && role != least {
                continue;
            }
            let first = first_line(house.at.system, method, &target, role).await;
            let said = status(&first);
            match expected {
                Some(code) => assert_eq!(said, code, "{role}: {method} {path}"),
                None if path == "/console/login" => {}
                None => assert!(!["401", "403"].contains(&said), "{role}: {method} {path}"),
            }
            refused += usize::from(expected.is_some());
        }
    }
    assert!(refused > 80, "{refused}");
}

/// Settings with a token for each role.
fn tokens() -> String {
    let token = |role: &&str| {
        let line = line(role, b"salt", &format!("token-{role}"));
        let (_, hash) = line.split_once(':').expect("a line");
        format!("[[system.tokens]]\nname = \"{role}\"\nrole = \"{role}\"\nhash = \"{hash}\"\n")
    };
    ROLES[1..].iter().map(token).collect()
}

/// The first line of what a program is answered, the rest of which may have no end.
async fn first_line(at: SocketAddr, method: &str, target: &str, role: &str) -> String {
    let shown = match role {
        "nobody" => String::new(),
        role => format!("Authorization: Bearer token-{role}\r\n"),
    };
    let method = method.to_uppercase();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: {at}\r\nX-Sluicegate: 1\r\n{shown}Content-Length: 0\r\n\r\n"
    );
    let mut socket = TcpStream::connect(at).await.expect("it listens");
    let written = socket.write_all(request.as_bytes()).await;
    written.expect("it reads");
    let mut bytes = Vec::new();
    while !bytes.contains(&b'\n') {
        let read = timeout(PATIENCE, socket.read_buf(&mut bytes)).await;
        let count = read.expect("an answer in time").expect("an answer");
        assert!(count > 0, "{method} {target}: it closed without an answer");
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_login_is_over_after_an_hour_without_use_and_after_half_a_day() {
    let house = House::open(TOKEN).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("after 1970").as_secs();
    let (minute, hour) = (60, 3_600);
    for (cause, since, renewed, expected) in [
        ("just now", now, now, "200"),
        (
            "an hour ago",
            now - hour - minute,
            now - hour - minute,
            "401",
        ),
        ("in use all day", now - 11 * hour, now - minute, "200"),
        ("in use for too long", now - 12 * hour - minute, now, "401"),
    ] {
        let pass = Pass { since, renewed };
        let sealed = pass.seal("system.auth_token", b"s3cret", 7);
        let lines = format!("Cookie: sluicegate_pass={sealed}\r\n");
        let answer = raw(house.at.system, "GET", "/api/v1/origins", &lines, "").await;
        assert_eq!(status(&answer), expected, "{cause}: {answer}");
    }
}
