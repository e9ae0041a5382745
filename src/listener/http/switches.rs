//! Switches of pages that come with the program: what they show as on or off, and turn.

use bytes::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use sluicegate_core::http::caller::{OwnNames, Terms};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::net::entrance::Ends;
use crate::net::http::{Body, full, text};

/// Switches of pages that come with the program. They are for callers on this machine, and a page of another site may
/// neither see nor turn them.
#[derive(Debug, Clone)]
pub struct Switches {
    /// The path that lists them. POST turns the one of a name, at `/NAME/on` and `/NAME/off` below that path.
    pub path: &'static str,
    /// How callers on this machine may call it.
    pub names: OwnNames,
    /// Who turns them.
    pub owner: mpsc::Sender<SwitchRequest>,
}

/// What a page wants of its switches.
#[derive(Debug)]
pub struct SwitchRequest {
    /// The name of the switch to turn, and whether on; `None` to see them only.
    pub turn: Option<(String, bool)>,
    /// Takes all switches after that, as JSON. It is dropped where no switch has the name.
    pub shown: oneshot::Sender<Bytes>,
}

impl Switches {
    /// Answers a request about them; `None` for every other request.
    pub(super) async fn answer<B>(
        &self,
        request: &Request<B>,
        ends: Ends,
    ) -> Option<Response<Body>> {
        let below = request.uri().path().strip_prefix(self.path)?;
        let turn = turn(below)?;
        let method = if turn.is_some() {
            Method::POST
        } else {
            Method::GET
        };
        if *request.method() != method {
            let mut refused = text(
                StatusCode::METHOD_NOT_ALLOWED,
                "switches are turned with POST",
            );
            let allowed = HeaderValue::from_str(method.as_str()).ok()?;
            refused.headers_mut().insert(ALLOW, allowed);
            return Some(refused);
        }
        if let Some((status, words)) = self.refusal(request, ends, turn.is_some()) {
            warn!(client = %ends.client, path = request.uri().path(), why = words, "request refused");
            return Some(text(status, words));
        }
        Some(self.ask(turn).await)
    }

    /// Why a request is not answered: where it comes from, as for changes through the system API without a token.
    fn refusal<B>(
        &self,
        request: &Request<B>,
        ends: Ends,
        turns: bool,
    ) -> Option<(StatusCode, String)> {
        let caller = ends.caller(request.uri(), request.headers(), &self.names);
        let terms = Terms {
            goes_by_address: true,
            starts_work: turns,
            ..Terms::default()
        };
        if let Err(unwelcome) = caller.check(terms) {
            let status = StatusCode::from_u16(unwelcome.status());
            return Some((
                status.unwrap_or(StatusCode::FORBIDDEN),
                unwelcome.to_string(),
            ));
        }
        let words = "this is for browsers on the machine that runs the program";
        (!caller.is_local()).then(|| (StatusCode::FORBIDDEN, words.to_owned()))
    }

    async fn ask(&self, turn: Option<(String, bool)>) -> Response<Body> {
        let (shown, answer) = oneshot::channel();
        if self
            .owner
            .send(SwitchRequest { turn, shown })
            .await
            .is_err()
        {
            return text(StatusCode::SERVICE_UNAVAILABLE, "the program stops");
        }
        let Ok(list) = answer.await else {
            return text(StatusCode::NOT_FOUND, "no switch has this name");
        };
        let mut response = Response::new(full(list));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// What the path below that of the list turns; the outer `None` where it names nothing.
fn turn(below: &str) -> Option<Option<(String, bool)>> {
    if below.is_empty() {
        return Some(None);
    }
    let (name, to) = below.strip_prefix('/')?.split_once('/')?;
    match to {
        "on" => Some(Some((name.to_owned(), true))),
        "off" => Some(Some((name.to_owned(), false))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::value::PeerAddr;

    fn switches() -> (Switches, mpsc::Receiver<SwitchRequest>) {
        let (owner, asked) = mpsc::channel(1);
        let switches = Switches {
            path: "/demo/origins",
            names: OwnNames::default(),
            owner,
        };
        (switches, asked)
    }

    fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("Host", "localhost:18080");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request")
    }

    fn from(peer: &str) -> Ends {
        let peer: SocketAddr = peer.parse().expect("an address");
        Ends::direct(PeerAddr::from(peer))
    }

    const OFF: &str = "/demo/origins/a/off";
    const PROGRAM: (&str, &str) = ("X-Sluicegate", "1");

    #[tokio::test]
    async fn only_pages_of_the_program_on_its_own_machine_turn_switches() {
        let (switches, mut asked) = switches();
        let ours = ("Origin", "http://localhost:18080");
        let foreign = ("Origin", "https://other.example");
        let passed_on = ("X-Forwarded-For", "192.0.2.1");
        for (cause, peer, method, path, headers, expected) in [
            (
                "another machine",
                "192.0.2.9:1",
                "POST",
                OFF,
                &[PROGRAM, ours][..],
                403,
            ),
            (
                "a proxy passed it on",
                "127.0.0.1:1",
                "POST",
                OFF,
                &[PROGRAM, passed_on],
                403,
            ),
            (
                "a page of another site",
                "127.0.0.1:1",
                "POST",
                OFF,
                &[PROGRAM, foreign],
                403,
            ),
            (
                "it looks only",
                "127.0.0.1:1",
                "GET",
                "/demo/origins",
                &[foreign],
                403,
            ),
            ("a form of any page", "127.0.0.1:1", "POST", OFF, &[], 403),
            ("not a change", "127.0.0.1:1", "GET", OFF, &[PROGRAM], 405),
        ] {
            let answer = switches
                .answer(&request(method, path, headers), from(peer))
                .await;
            let status = answer.map(|answer| answer.status().as_u16());
            assert_eq!(status, Some(expected), "{cause}");
            assert!(asked.try_recv().is_err(), "{cause}");
        }
        let owner = async {
            let SwitchRequest { turn, shown } = asked.recv().await.expect("a request");
            assert_eq!(turn, Some(("a".to_owned(), false)));
            shown.send(Bytes::from_static(b"[]")).expect("it waits");
            drop(asked.recv().await.expect("another").shown);
        };
        let page = async {
            let turned = request("POST", OFF, &[PROGRAM, ours]);
            let answer = switches.answer(&turned, from("127.0.0.1:1")).await;
            assert_eq!(answer.map(|answer| answer.status().as_u16()), Some(200));
            let unknown = request("POST", "/demo/origins/b/on", &[PROGRAM]);
            let answer = switches.answer(&unknown, from("[::1]:1")).await;
            assert_eq!(answer.map(|answer| answer.status().as_u16()), Some(404));
        };
        tokio::join!(owner, page);
    }

    #[tokio::test]
    async fn other_paths_are_for_others() {
        let (switches, _asked) = switches();
        for path in [
            "/",
            "/demo/origin",
            "/demo/originsx",
            "/demo/origins/a",
            "/demo/origins/a/x",
        ] {
            let answer = switches
                .answer(&request("GET", path, &[]), from("127.0.0.1:1"))
                .await;
            assert!(answer.is_none(), "{path}");
        }
    }
}
