//! Certificates from an ACME server that stands in for one that has a word on renewals (RFC 9773). Who asks is believed, so that
//! each order is ready at once; what is signed and why is checked with a real server in the end-to-end tests.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use base64ct::{Base64UrlUnpadded, Encoding};
use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::house::{House, until, until_told};
use crate::tls_client::{Authority, Door};

/// A server that issues what it is asked for.
struct Server {
    books: Arc<Books>,
    serving: JoinHandle<()>,
    _door: Door,
}

/// What a server knows.
struct Books {
    authority: Authority,
    /// Where it is reached.
    base: OnceLock<String>,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    /// When certificates are to be renewed, in days from now.
    window: (i64, i64),
    /// It has a word on renewals, and knows of replacements.
    advises: bool,
    /// The certificates that it was asked about, as they are named.
    asked: Vec<String>,
    /// What each order was to replace.
    orders: Vec<Option<String>>,
    /// The certificate of each order, in PEM.
    issued: Vec<String>,
}

impl Server {
    async fn start(window: (i64, i64)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let authority = Authority::new();
        let to = listener.local_addr().expect("bound");
        let door = authority.door("localhost", to).await;
        let books = Arc::new(Books {
            authority,
            base: OnceLock::new(),
            notes: Mutex::new(Notes {
                window,
                advises: true,
                ..Notes::default()
            }),
        });
        let base = format!("https://localhost:{}", door.at.port());
        books.base.set(base).expect("it is set once");
        let served = Arc::clone(&books);
        let serving = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(answer(socket, Arc::clone(&served)));
            }
        });
        Self {
            books,
            serving,
            _door: door,
        }
    }

    fn notes<T>(&self, look: impl FnOnce(&mut Notes) -> T) -> T {
        look(&mut self.books.notes.lock().expect("a test"))
    }

    /// The settings of a proxy that orders a certificate for localhost here, and keeps it in `folder`.
    fn settings(&self, folder: &tempfile::TempDir) -> String {
        format!(
            "[acme]\nnames = [\"localhost\"]\naccept_terms = true\ndirectory = \"{}/dir\"\nauthorities = {:?}\nkeep_in = {:?}\n",
            self.books.base.get().expect("it serves"),
            self.books.authority.own(),
            folder.path()
        )
    }

    /// The certificate that a client sees.
    async fn shown(&self, at: SocketAddr) -> Option<Vec<u8>> {
        let stream = self.books.authority.trusted().connect(at).await.ok()?;
        let (_, session) = stream.get_ref();
        Some(session.peer_certificates()?.first()?.to_vec())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Answers one request.
async fn answer(mut socket: TcpStream, books: Arc<Books>) {
    let mut request = Vec::new();
    let (head, body) = loop {
        if socket.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.parse().ok())?
        });
        if body.len() >= length.unwrap_or(0) {
            break (head.to_owned(), body.to_owned());
        }
    };
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let signed: Value = serde_json::from_str(&body).unwrap_or_default();
    let payload = signed["payload"].as_str().unwrap_or_default();
    let payload = Base64UrlUnpadded::decode_vec(payload).unwrap_or_default();
    let payload = serde_json::from_slice(&payload).unwrap_or_default();
    let (fields, answer) = books.answer(&path, &payload);
    let head = format!(
        "HTTP/1.1 200 OK\r\nReplay-Nonce: nonce\r\n{fields}Content-Length: {}\r\nConnection: close\r\n\r\n",
        answer.len()
    );
    let answer = if path == "/nonce" {
        head
    } else {
        head + &answer
    };
    let _ = socket.write_all(answer.as_bytes()).await;
    let _ = socket.shutdown().await;
}

impl Books {
    /// The header fields of the answer to a request that others have not, and its body.
    fn answer(&self, path: &str, payload: &Value) -> (String, String) {
        let base = self.base.get().expect("it serves");
        let mut notes = self.notes.lock().expect("a test");
        let mut parts = path.trim_start_matches('/').splitn(2, '/');
        let (kind, rest) = (parts.next().unwrap_or_default(), parts.next());
        let number = rest.and_then(|rest| rest.parse::<usize>().ok());
        let number = number.unwrap_or(notes.orders.len());
        let answer = match kind {
            "dir" => {
                let advice = notes.advises.then(|| format!("{base}/renewal"));
                json!({
                    "newNonce": format!("{base}/nonce"), "newAccount": format!("{base}/account"),
                    "newOrder": format!("{base}/order"), "renewalInfo": advice,
                })
            }
            "account" => json!({"status": "valid"}),
            "renewal" => {
                notes.asked.push(rest.unwrap_or_default().to_owned());
                let day = |days: i64| format!("{}T00:00:00Z", date(days));
                let (start, end) = notes.window;
                json!({"suggestedWindow": {"start": day(start), "end": day(end)}})
            }
            "order" => {
                if rest.is_none() {
                    let replaces = payload["replaces"].as_str().map(str::to_owned);
                    notes.orders.push(replaces);
                }
                order(base, &notes, number)
            }
            "finalize" => {
                let asked = payload["csr"].as_str().unwrap_or_default();
                let asked = Base64UrlUnpadded::decode_vec(asked).unwrap_or_default();
                let serial = 0x87_65_43_21 + number as u64;
                let key = Key::of(&asked);
                notes
                    .issued
                    .push(self.authority.issue("localhost", serial, &key));
                order(base, &notes, number)
            }
            "certificate" => return (String::new(), notes.issued[number].clone()),
            _ => json!({}),
        };
        let fields = match (kind, rest) {
            ("account", None) => format!("Location: {base}/account/0\r\n"),
            ("order", None) => format!("Location: {base}/order/{number}\r\n"),
            ("renewal", _) => "Retry-After: 21600\r\n".to_owned(),
            _ => String::new(),
        };
        (fields, answer.to_string())
    }
}

fn order(base: &str, notes: &Notes, number: usize) -> Value {
    let is_issued = notes.issued.len() > number;
    json!({
        "status": if is_issued { "valid" } else { "ready" },
        "authorizations": [],
        "finalize": format!("{base}/finalize/{number}"),
        "certificate": is_issued.then(|| format!("{base}/certificate/{number}")),
        "replaces": notes.orders[number],
    })
}

/// The key of a request for a certificate.
struct Key(Vec<u8>);

impl Key {
    /// The point of P-256 in a request (RFC 2986 §4.1, RFC 5480 §2.2): the value of its only BIT STRING of that length.
    fn of(request: &[u8]) -> Self {
        const LENGTH: usize = 65;
        const BEFORE: &[u8] = &[0x03, 0x42, 0x00, 0x04];
        let at = request.windows(BEFORE.len()).position(|at| at == BEFORE);
        let at = at.expect("a key of P-256") + BEFORE.len() - 1;
        Self(request[at..at + LENGTH].to_vec())
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// The date this many days from now.
fn date(days: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = i64::try_from(now.expect("after 1970").as_secs()).expect("a time");
    let then = jiff::Timestamp::from_second(now + days * 24 * 60 * 60).expect("a time");
    then.strftime("%F").to_string()
}

async fn close(house: House) {
    house.stop.cancel();
    until("the end", || house.serving.is_finished()).await;
}

#[tokio::test]
async fn a_certificate_is_renewed_when_its_server_says_so() {
    let server = Server::start((50, 51)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let settings = server.settings(&folder);
    let house = House::open(&settings).await;
    until("a question", || {
        server.notes(|notes| !notes.asked.is_empty())
    })
    .await;
    let first = server.shown(house.at.http).await.expect("a certificate");
    close(house).await;
    let (orders, asked) = server.notes(|notes| (notes.orders.clone(), notes.asked.clone()));
    assert_eq!(orders, [None], "nothing is replaced yet");
    assert!(
        asked[0].ends_with(".AIdlQyE"),
        "a number with a zero in front: {asked:?}"
    );

    // Something is wrong with what was issued: it is all to be replaced at once.
    server.notes(|notes| notes.window = (-3, -2));
    let house = House::open(&settings).await;
    until_told("another certificate", async || {
        let shown = server.shown(house.at.http).await;
        shown.is_some_and(|shown| shown != first)
    })
    .await;
    let orders = server.notes(|notes| notes.orders.clone());
    assert_eq!(orders, [None, Some(asked[0].clone())]);
    let is_new = |notes: &mut Notes| notes.asked.iter().any(|one| one.ends_with(".AIdlQyI"));
    until("a question about it", || server.notes(is_new)).await;
    close(house).await;
    let orders = server.notes(|notes| notes.orders.len());
    assert_eq!(
        orders, 2,
        "a server that always says so is not sent order after order"
    );
}

#[tokio::test]
async fn a_server_without_a_word_on_renewals_is_sent_orders_all_the_same() {
    let server = Server::start((50, 51)).await;
    server.notes(|notes| notes.advises = false);
    let folder = tempfile::tempdir().expect("a folder");
    let house = House::open(&server.settings(&folder)).await;
    until_told("a certificate", async || {
        server.shown(house.at.http).await.is_some()
    })
    .await;
    close(house).await;
    assert!(server.notes(|notes| notes.asked.is_empty()));
}
