//! An origin for tests that answers many requests per connection, counts them, and sends what it is told to.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::house::House;
use crate::http_origin::{header, register};

/// An origin's answer to a request, after `wait`.
#[derive(Clone, Default)]
pub(crate) struct Reply {
    pub(crate) bytes: Vec<u8>,
    /// Nothing is sent before this is cancelled.
    pub(crate) wait: Option<CancellationToken>,
    /// Only this many bytes are sent before this is cancelled.
    pub(crate) pause: Option<(usize, CancellationToken)>,
    pub(crate) close: bool,
}

impl Reply {
    pub(crate) fn ok(headers: &str, body: impl AsRef<[u8]>) -> Self {
        Self::with("200 OK", headers, body)
    }

    pub(crate) fn with(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n");
        Self {
            bytes: [head.as_bytes(), body].concat(),
            ..Self::default()
        }
    }

    pub(crate) fn missing() -> Self {
        Self::with("404 Not Found", "", "no")
    }
}

/// Answers a request line's target, with the whole head.
pub(crate) type Answers = dyn Fn(&str, &str) -> Reply + Send + Sync;

/// The origin, and what it saw.
pub(crate) struct Packager {
    pub(crate) at: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    end: CancellationToken,
}

#[derive(Default)]
struct Seen {
    connections: usize,
    heads: HashMap<String, Vec<String>>,
    /// How many connections were used to ask for a target.
    used: HashMap<String, usize>,
}

impl Packager {
    pub(crate) async fn join(
        house: &House,
        id: &str,
        answers: impl Fn(&str, &str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let origin = Self::start(answers).await;
        register(house, id, origin.at);
        origin
    }

    pub(crate) async fn start(
        answers: impl Fn(&str, &str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("bound");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let end = CancellationToken::new();
        let answers: Arc<Answers> = Arc::new(answers);
        let (told, stop) = (Arc::clone(&seen), end.clone());
        tokio::spawn(end.clone().run_until_cancelled_owned(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                told.lock().expect("a test").connections += 1;
                let (seen, answers, stop) = (Arc::clone(&told), Arc::clone(&answers), stop.clone());
                tokio::spawn(stop.run_until_cancelled_owned(async move {
                    let mut bytes = Vec::new();
                    let mut asked = HashSet::new();
                    loop {
                        let Some(at) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else {
                            match socket.read_buf(&mut bytes).await {
                                Ok(count) if count > 0 => continue,
                                _ => return,
                            }
                        };
                        let head: Vec<u8> = bytes.drain(..at + 4).take(at).collect();
                        let mut head = String::from_utf8(head).expect("text");
                        let length = header(&head, "content-length").first().map(|text| {
                            let length = text.trim().parse::<usize>();
                            length.expect("a length")
                        });
                        while bytes.len() < length.unwrap_or(0) {
                            match socket.read_buf(&mut bytes).await {
                                Ok(count) if count > 0 => {}
                                _ => return,
                            }
                        }
                        if let Some(length) = length {
                            let body: Vec<u8> = bytes.drain(..length).collect();
                            head.push_str("\r\n\r\n");
                            head.push_str(&String::from_utf8(body).expect("text"));
                        }
                        let target = head.split(' ').nth(1).expect("a target").to_owned();
                        {
                            let mut seen = seen.lock().expect("a test");
                            let heads = seen.heads.entry(target.clone()).or_default();
                            heads.push(head.clone());
                            if asked.insert(target.clone()) {
                                *seen.used.entry(target.clone()).or_default() += 1;
                            }
                        }
                        let reply = answers(&target, &head);
                        if let Some(wait) = &reply.wait {
                            wait.cancelled().await;
                        }
                        let (first, rest) = match &reply.pause {
                            Some((count, _)) => reply.bytes.split_at(*count),
                            None => (&reply.bytes[..], &[][..]),
                        };
                        if socket.write_all(first).await.is_err() {
                            return;
                        }
                        if let Some((_, go)) = &reply.pause {
                            go.cancelled().await;
                            if socket.write_all(rest).await.is_err() {
                                return;
                            }
                        }
                        if reply.close {
                            return;
                        }
                    }
                }));
            }
        }));
        Self { at, seen, end }
    }

    /// Ends the origin, with every connection.
    pub(crate) fn kill(&self) {
        self.end.cancel();
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.lock().expect("a test").connections
    }

    /// How many connections were used to ask for a target: one that only looks whether the origin lives is none.
    pub(crate) fn connections_for(&self, target: &str) -> usize {
        let seen = self.seen.lock().expect("a test");
        seen.used.get(target).copied().unwrap_or_default()
    }

    /// Every request head for a target, in order.
    pub(crate) fn heads(&self, target: &str) -> Vec<String> {
        let seen = self.seen.lock().expect("a test");
        seen.heads.get(target).cloned().unwrap_or_default()
    }

    /// How often a target was requested.
    pub(crate) fn count(&self, target: &str) -> usize {
        self.heads(target).len()
    }

    /// Every target that was requested.
    pub(crate) fn targets(&self) -> Vec<String> {
        let mut targets: Vec<String> = {
            let seen = self.seen.lock().expect("a test");
            seen.heads.keys().cloned().collect()
        };
        targets.sort();
        targets
    }
}

impl Drop for Packager {
    fn drop(&mut self) {
        self.end.cancel();
    }
}
