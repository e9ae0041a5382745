//! A small HTTP client, and a server that answers as a test tells it to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::wait_for;

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// What a client asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query, as sent.
    pub(crate) target: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

/// What to answer: a status, headers and a body that ends with the connection.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) body: Vec<u8>,
}

/// A server on a port of its own. It answers each connection once and remembers what was asked.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// Sends one request on a connection of its own and reads the answer to its end.
#[track_caller]
pub(crate) fn request(
    server: SocketAddr,
    method: &str,
    target: &str,
    headers: &[&str],
    body: &str,
) -> Response {
    request_from(
        Ipv4Addr::UNSPECIFIED.into(),
        server,
        method,
        target,
        headers,
        body,
    )
}

/// The same from a certain address of this machine.
#[track_caller]
pub(crate) fn request_from(
    client: IpAddr,
    server: SocketAddr,
    method: &str,
    target: &str,
    headers: &[&str],
    body: &str,
) -> Response {
    let lines: String = headers.iter().flat_map(|header| [header, "\r\n"]).collect();
    let length = if body.is_empty() {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    let host = if headers
        .iter()
        .any(|header| header.to_ascii_lowercase().starts_with("host:"))
    {
        String::new()
    } else {
        format!("Host: {server}\r\n")
    };
    let head =
        format!("{method} {target} HTTP/1.1\r\n{host}Connection: close\r\n{length}{lines}\r\n");
    let mut stream =
        connect(client, server).unwrap_or_else(|error| panic!("{server} is not there: {error}"));
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout that is not zero");
    stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body.as_bytes()))
        .expect("the server reads");
    let mut bytes = Vec::new();
    stream
        .read_to_end(&mut bytes)
        .unwrap_or_else(|error| panic!("{method} {target}: {error}"));
    Response::parse(&bytes)
        .unwrap_or_else(|| panic!("{method} {target}: not HTTP: {}", bytes.escape_ascii()))
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let (head, body) = (
            std::str::from_utf8(bytes.get(..end)?).ok()?,
            bytes.get(end + 4..)?,
        );
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: Vec<(String, String)> = lines.filter_map(field).collect();
        let chunked =
            find(&headers, "transfer-encoding").is_some_and(|value| value.contains("chunked"));
        let body = if chunked {
            unchunk(body)
        } else {
            body.to_vec()
        };
        Some(Self {
            status,
            headers,
            body,
        })
    }
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    fn read(stream: &TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let mut words = line.split_whitespace();
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            match line.trim_end() {
                "" => break,
                line => headers.extend(field(line)),
            }
        }
        let length = find(&headers, "content-length")
            .and_then(|value| value.parse().ok())
            .unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        Some(Self {
            method,
            target,
            headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }
}

impl Answer {
    pub(crate) fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }
}

impl Server {
    /// Answers as `answer` says.
    pub(crate) fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
        let address = listener.local_addr().expect("it is bound");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let remembered = Arc::clone(&asked);
        let answer = Arc::new(answer);
        // The thread ends with the test process; a listener that nobody calls costs nothing.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (remembered, answer) = (Arc::clone(&remembered), Arc::clone(&answer));
                std::thread::spawn(move || {
                    let Some(request) = Asked::read(&stream) else {
                        return;
                    };
                    let answer = answer(&request);
                    remembered
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(request);
                    let _ = answer.write(&stream);
                });
            }
        });
        Self { address, asked }
    }

    /// Everything asked so far, oldest first.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The first request, past or future, that `pick` accepts.
    #[track_caller]
    pub(crate) fn wait_asked(&self, what: &str, pick: impl Fn(&Asked) -> bool) -> Asked {
        wait_for(what, PATIENCE, || self.asked().into_iter().find(&pick))
    }
}

impl Answer {
    fn write(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        let headers: String = self
            .headers
            .iter()
            .flat_map(|(name, value)| [name, ": ", value, "\r\n"])
            .collect();
        write!(
            stream,
            "HTTP/1.1 {} Said\r\nConnection: close\r\n{headers}\r\n",
            self.status
        )?;
        stream.write_all(&self.body)
    }
}

fn connect(client: IpAddr, server: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(client, 0).into())?;
    socket.connect(&server.into())?;
    Ok(socket.into())
}

fn field(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    Some((name.to_ascii_lowercase(), value.trim().to_owned()))
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

/// The complete part of a chunked body.
fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).ok();
        let size =
            size.and_then(|size| usize::from_str_radix(size.split(';').next()?.trim(), 16).ok());
        let Some(chunk) = size
            .filter(|size| *size > 0)
            .and_then(|size| rest.get(end + 2..end + 2 + size))
        else {
            break;
        };
        body.extend_from_slice(chunk);
        rest = rest.get(end + 2 + chunk.len() + 2..).unwrap_or_default();
    }
    body
}

const PATIENCE: Duration = Duration::from_secs(30);
