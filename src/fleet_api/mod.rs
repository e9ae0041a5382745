//! One HTTP API over all origins, in the shape of SRS': every live origin is asked at once, and what they say is
//! merged. Answers are kept for a second, so that dashboards do not multiply the load on origins.
//!
//! | file | what it does |
//! | --- | --- |
//! | `access` | who may ask |
//! | `ask` | one question to one origin, within bounds |
//! | `gather` | the same question to all of them, once a second |
//! | `merge` | one document from many |
//! | `said` | what they say of one stream |

mod access;
mod ask;
mod gather;
mod merge;
mod said;

use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

pub use access::Access;

use crate::config::Credentials;
use crate::metrics::SurfaceLabel;
use crate::net::entrance::Ends;
use crate::net::http::{Body, full, text};
use crate::net::versions;
use crate::proxy::Proxy;
use gather::{Gathered, Gatherer};
use merge::{List, Summed};

/// The API, and what it keeps.
#[derive(Debug)]
pub struct FleetApi {
    proxy: Proxy,
    access: Access,
    jsonp: bool,
    gatherer: Gatherer,
    /// Names this process among those that answer as SRS does.
    service: String,
}

/// What the API is set to.
#[derive(Debug)]
pub struct Settings {
    /// Who may ask.
    pub access: Access,
    /// Whether a query may name a function to call, and a method.
    pub jsonp: bool,
    /// How long one origin may take.
    pub origin_timeout: Duration,
    /// What origins ask for.
    pub credentials: Credentials,
}

/// What a path asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ListedPath {
    /// The versions of this proxy.
    Versions,
    /// Every row of a list.
    All(List),
    /// One row, by its id.
    One(List, String),
    /// One document of sums.
    Summed(Summed),
}

/// The parameters of a query that mean something here.
#[derive(Debug, Default, PartialEq, Eq)]
struct Query {
    start: usize,
    count: usize,
    callback: Option<String>,
    deletes: bool,
}

impl FleetApi {
    /// The API over the origins of `proxy`.
    pub fn new(proxy: Proxy, settings: Settings) -> Self {
        let mut seed = [0; 4];
        // It only tells processes apart.
        let _ = getrandom::fill(&mut seed);
        Self {
            gatherer: Gatherer::new(proxy.clone(), settings.origin_timeout, settings.credentials),
            proxy,
            access: settings.access,
            jsonp: settings.jsonp,
            service: format!("{:08x}", u32::from_be_bytes(seed)),
        }
    }

    /// The answer to a request for one of its paths; `None` where another surface has to answer: on other paths, and
    /// for versions, which are open to everybody, where the caller has no more rights than everybody.
    pub async fn answer(&self, request: &Request<Incoming>, ends: Ends) -> Option<Response<Body>> {
        let asked = ListedPath::of(request.uri().path())?;
        let query = Query::of(request.uri().query().unwrap_or_default());
        if !self.access.is_on() {
            let words = "the API over all origins is off; set api.auth_token, api.auth_username or api.allow_from";
            return (asked != ListedPath::Versions).then(|| text(StatusCode::NOT_FOUND, words));
        }
        if request.method() == Method::OPTIONS && self.access.wants_credentials() {
            return Some(self.preflight());
        }
        let callback = query.callback.as_deref().filter(|_| self.jsonp);
        // A script of any page may ask for this one.
        let deletes_by_get = query.deletes && callback.is_some();
        let caller = ends.caller(request.uri(), request.headers(), &self.access.names);
        let checked = self
            .access
            .check(&caller, request.headers(), deletes_by_get);
        if let Err(refused) = checked {
            if asked == ListedPath::Versions {
                return None;
            }
            let surface = SurfaceLabel { surface: "api" };
            let refusals = &self.proxy.metrics().auth_refusals;
            refusals.get_or_create(&surface).inc();
            return Some(self.refuse(refused));
        }
        let deletes = request.method() == Method::DELETE || deletes_by_get;
        let document = match (request.method(), deletes, asked) {
            (_, true, ListedPath::One(List::Clients, id)) => self.kick(&id).await,
            (&Method::GET | &Method::HEAD, false, asked) => self.tell(asked, &query).await,
            _ => {
                return Some(text(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "this path is read with GET",
                ));
            }
        };
        Some(self.send(&document, callback))
    }

    async fn tell(&self, asked: ListedPath, query: &Query) -> Value {
        let document = self.signed();
        match asked {
            ListedPath::Versions => {
                let mut document = document;
                let short = versions::short();
                document["data"] = json!(versions::long().data);
                document["signature"] = json!(short.signature);
                document["version"] = json!(short.version);
                document
            }
            ListedPath::All(list) => {
                let gathered = self.gatherer.rows(list).await;
                let total = gathered.merged.len();
                let most = if list == List::Vhosts {
                    total
                } else {
                    query.count
                };
                let rows = gathered.merged.iter().skip(query.start).take(most);
                let mut document = marked(document, &gathered);
                document[list.plural()] = rows.cloned().collect();
                document["total"] = json!(total);
                document
            }
            ListedPath::One(list, id) => {
                let gathered = self.gatherer.rows(list).await;
                let found = gathered.merged.iter().find(|row| merge::goes_by(row, &id));
                let mut document = marked(document, &gathered);
                match found {
                    Some(row) => document[list.singular()] = row.clone(),
                    None => document["code"] = json!(list.not_found()),
                }
                document
            }
            ListedPath::Summed(summed) => {
                let gathered = self.gatherer.sums(summed).await;
                let mut document = marked(document, &gathered);
                document["data"] = gathered.merged.clone();
                document
            }
        }
    }

    /// Ends a client on the origin that has it: the one whose list names it, or whichever says it was theirs.
    async fn kick(&self, id: &str) -> Value {
        let mut document = self.signed();
        let clients = self.gatherer.rows(List::Clients).await;
        let row = clients.merged.iter().find(|row| merge::goes_by(row, id));
        let owner = row.and_then(|row| row["origin"].as_str());
        let mut kicked = match owner {
            Some(owner) => self.gatherer.kick(id, Some(owner)).await,
            None => Vec::new(),
        };
        if kicked.is_empty() {
            kicked = self.gatherer.kick(id, None).await;
        }
        match kicked.first() {
            Some(origin) => document["origin"] = json!(origin),
            None => {
                document["code"] = json!(List::Clients.not_found());
                document = marked(document, &clients);
            }
        }
        document
    }

    /// The start of every answer, as SRS has it.
    fn signed(&self) -> Value {
        json!({
            "code": 0,
            "server": versions::SERVER,
            "service": self.service,
            "pid": std::process::id().to_string(),
        })
    }

    fn send(&self, document: &Value, callback: Option<&str>) -> Response<Body> {
        let (kind, body) = match callback {
            // The comment keeps the name of the function from being read as the start of another format.
            Some(name) => ("application/javascript", format!("/**/{name}({document})")),
            None => ("application/json", document.to_string()),
        };
        let mut response = Response::new(full(body));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        self.open_to_pages(&mut response);
        response
    }

    fn refuse(&self, refused: access::Refused) -> Response<Body> {
        let mut response = text(refused.status(), refused.to_string());
        if let Some(challenge) = refused.challenge() {
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        self.open_to_pages(&mut response);
        response
    }

    fn preflight(&self) -> Response<Body> {
        let mut response = Response::new(full(""));
        *response.status_mut() = StatusCode::NO_CONTENT;
        self.open_to_pages(&mut response);
        let allow = |response: &mut Response<Body>, name: HeaderName, value| {
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        };
        allow(&mut response, ACCESS_CONTROL_ALLOW_METHODS, "GET, DELETE");
        allow(&mut response, ACCESS_CONTROL_ALLOW_HEADERS, "authorization");
        response
    }

    /// Consoles are pages of another origin. They may read what they show credentials for; where a caller's address is
    /// all that counts, any page in a browser there could.
    fn open_to_pages(&self, response: &mut Response<Body>) {
        if self.access.wants_credentials() {
            response
                .headers_mut()
                .insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        }
    }
}

/// Says which origins are missing from an answer, if any are.
fn marked<T>(mut document: Value, gathered: &Gathered<T>) -> Value {
    document["partial"] = json!(!gathered.missing.is_empty());
    document["missing"] = gathered
        .missing
        .iter()
        .map(|(origin, why)| json!({"origin": origin, "why": why}))
        .collect();
    document
}

impl ListedPath {
    fn of(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/api/v1/")?.trim_end_matches('/');
        let (name, id) = match rest.split_once('/') {
            Some((name, id)) => (name, Some(id)),
            None => (rest, None),
        };
        let list = List::ALL.into_iter().find(|list| list.plural() == name);
        match (list, id) {
            (Some(list), None) => Some(Self::All(list)),
            (Some(list), Some(id)) if is_id(id) => Some(Self::One(list, id.to_owned())),
            (None, None) if name == "versions" => Some(Self::Versions),
            (None, None) => Summed::ALL
                .into_iter()
                .find(|summed| summed.as_str() == name)
                .map(Self::Summed),
            _ => None,
        }
    }
}

impl Query {
    fn of(query: &str) -> Self {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let mut read = Self {
            count: LEAST_ROWS,
            ..Self::default()
        };
        for (name, value) in pairs {
            match name {
                "start" => read.start = value.parse().unwrap_or(0),
                // As SRS has it: less than ten is ten.
                "count" => read.count = value.parse().unwrap_or(0).clamp(LEAST_ROWS, MOST_ROWS),
                "callback" if is_function(value) => read.callback = Some(value.to_owned()),
                "method" => read.deletes = value == "DELETE",
                _ => {}
            }
        }
        read
    }
}

/// Ids become part of a path on origins.
fn is_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('.')
}

/// Names of functions go into a script.
fn is_function(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.');
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(allowed)
}

/// Of an id, or the name of a function; SRS' have at most 14 letters, those of consoles some 30.
const MAX_NAME: usize = 64;
/// Rows of a page where nothing else is said, and the fewest.
const LEAST_ROWS: usize = 10;
/// Most rows of a page.
const MOST_ROWS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (path, expected) in [
            ("/api/v1/streams", Some(ListedPath::All(List::Streams))),
            ("/api/v1/streams/", Some(ListedPath::All(List::Streams))),
            (
                "/api/v1/clients/8a_b-c",
                Some(ListedPath::One(List::Clients, "8a_b-c".to_owned())),
            ),
            (
                "/api/v1/meminfos",
                Some(ListedPath::Summed(Summed::Meminfos)),
            ),
            ("/api/v1/versions", Some(ListedPath::Versions)),
            ("/api/v1/clients/..", None),
            ("/api/v1/clients/a/b", None),
            ("/api/v1/clients/a%2fb", None),
            ("/api/v1/raw", None),
            ("/rtc/v1/whip/", None),
        ] {
            assert_eq!(ListedPath::of(path), expected, "{path}");
        }
    }

    #[test]
    fn queries() {
        let read = |query| {
            let Query {
                start,
                count,
                callback,
                deletes,
            } = Query::of(query);
            (start, count, callback, deletes)
        };
        for (query, expected) in [
            ("", (0, 10, None, false)),
            ("start=20&count=50", (20, 50, None, false)),
            ("start=-1&count=3", (0, 10, None, false)),
            ("count=99999999999999999999", (0, 10, None, false)),
            ("count=1000000", (0, 10_000, None, false)),
            (
                "callback=angular.callbacks._0&method=DELETE",
                (0, 10, Some("angular.callbacks._0".to_owned()), true),
            ),
            ("callback=alert(1)//", (0, 10, None, false)),
        ] {
            assert_eq!(read(query), expected, "{query}");
        }
    }
}
