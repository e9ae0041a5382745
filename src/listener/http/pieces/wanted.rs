//! What a request for a piece says by itself, whatever is known of its stream. A player asks for its playlist every few
//! seconds in the same bytes: on one connection they are read once.

use std::sync::{Arc, OnceLock};

use hyper::StatusCode;
use sluicegate_core::access::credentials::Credentials;
use sluicegate_core::dialect::Dialect;
use sluicegate_core::http::base::BasePath;
use sluicegate_core::http::cmcd;
use sluicegate_core::http::head::{Forwarded, RequestHead};
use sluicegate_core::http::link::{self, Link};
use sluicegate_core::http::route::Piece;
use sluicegate_core::http::segment::has_dot_segments;
use sluicegate_core::http::sharing::CMCD;
use sluicegate_core::stream::{PlacementKey, StreamUrl};

use super::named::{Named, may_ask, no_stream, was_listed};
use super::shared::Like;
use super::{PROTOCOL, folder_of, unlisted, unnamed};
use crate::listener::http::client::client_of;
use crate::listener::http::{Http, dialect_of, rewrite};
use crate::listener::turned_away;
use crate::net::entrance::Ends;
use crate::proxy::Proxy;
use crate::unix_time;
use crate::value::ClientAddr;

/// A request for a piece, on the connection that it came by.
#[derive(Debug)]
pub(in crate::listener::http) struct PieceAsk {
    pub(in crate::listener::http) head: RequestHead,
    pub(in crate::listener::http) kind: Piece,
    wanted: OnceLock<Arc<Wanted>>,
}

/// What it asks for.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The target without what is ours in it.
    pub(super) target: String,
    /// Who asks.
    pub(super) client: ClientAddr,
    /// What it shows of itself.
    pub(super) credentials: Option<Box<Credentials>>,
    /// The link that it shows, if that counts, and whether it was given to somebody who was let in.
    pub(super) link: Option<(Link, bool)>,
    /// Whether a page of that link's stream listed it, whatever its name.
    pub(super) is_listed: bool,
    /// The link that its viewer knows the stream's renditions by, which may be over.
    pub(super) shown: Option<Box<str>>,
    /// How the client names streams.
    pub(super) dialect: Dialect,
    named: Named,
    /// The request as an origin gets it, unless the gate or the origin want something else.
    pub(super) outgoing: Arc<RequestHead>,
    /// How clients name us.
    pub(super) host: String,
    /// The folder under which the client reaches us.
    pub(super) base: BasePath,
    /// How the client names us, with the scheme.
    pub(super) site: String,
    /// The folder that the client asked in.
    pub(super) at: String,
    /// The name of the playlist that is asked for, of a stream that is placed under this key.
    pub(super) name: OnceLock<(PlacementKey, Arc<str>)>,
    /// What it has in common with others, as long as nothing else decides that.
    pub(super) like: OnceLock<Arc<Like>>,
}

impl PieceAsk {
    pub(in crate::listener::http) const fn new(head: RequestHead, kind: Piece) -> Self {
        Self {
            head,
            kind,
            wanted: OnceLock::new(),
        }
    }

    /// Whether it was read, and means the same now as then: its link may be over meanwhile.
    pub(in crate::listener::http) fn holds(&self) -> bool {
        let link = |wanted: &Arc<Wanted>| wanted.link.as_ref().map(|(link, _)| link.expires);
        let read = self.wanted.get();
        read.is_some_and(|wanted| link(wanted).is_none_or(|end| unix_time::seconds() < end))
    }

    /// What it says, if that was read before.
    pub(super) fn known(&self) -> Option<&Arc<Wanted>> {
        self.wanted.get()
    }

    /// What it says, which is read once.
    pub(super) fn wanted(
        &self,
        http: &Http,
        ends: Ends,
        identity: Option<&str>,
        proxy: &Proxy,
    ) -> Result<Arc<Wanted>, (StatusCode, String)> {
        if let Some(read) = self.wanted.get() {
            return Ok(Arc::clone(read));
        }
        let wanted = Arc::new(Wanted::read(http, self, ends, identity, proxy)?);
        Ok(Arc::clone(self.wanted.get_or_init(|| wanted)))
    }
}

impl Wanted {
    fn read(
        http: &Http,
        ask: &PieceAsk,
        ends: Ends,
        identity: Option<&str>,
        proxy: &Proxy,
    ) -> Result<Self, (StatusCode, String)> {
        let head = &ask.head;
        let (target, token) = link::take(&head.target);
        let target = cmcd::of_target(&target).into_owned();
        let client = client_of(http, head, ends.client);
        let broken = |refused| broken(client, refused);
        let (token, stamp) = token.map(link::split_stamp).unzip();
        let link = http.pieces.open(token).map_err(broken)?;
        // One that counts was opened; one that is over is ours all the same.
        let shown = token.filter(|token| link.is_some() || http.pieces.is_ours(token));
        let dialect = dialect_of(head.host(), ends, proxy);
        let known = link.as_ref().map(|(link, _)| link);
        let is_listed = was_listed(http, known, stamp.flatten(), &target);
        let named = match &link {
            Some(_) if has_dot_segments(&target) => return Err(broken(unnamed())),
            link if !is_listed && !may_ask(proxy, dialect, known, head.host(), &target) => {
                return Err(broken(unlisted(link.is_some())));
            }
            Some((link, _)) => Named::One(link.stream.clone()),
            None => Named::by(proxy, dialect, head.host(), &target)
                .map_err(|error| broken(no_stream(error)))?,
        };
        let forwarded = http.forwarded(ends);
        let mut outgoing = for_origin(head, &target, &forwarded, ask.kind);
        if shown.is_some() && rewrite::may_name_files(&target) {
            rewrite::uncoded(&mut outgoing);
        }
        Ok(Self {
            client,
            credentials: head.credentials(&target, &forwarded, identity, proxy.asks_backends()),
            shown: shown.map(Into::into),
            link,
            is_listed,
            dialect,
            named,
            outgoing: Arc::new(outgoing),
            host: head.host().unwrap_or_default().to_owned(),
            base: http.base(ends, head),
            site: rewrite::site(head, &forwarded),
            at: folder_of(&target).unwrap_or("/").to_owned(),
            target,
            name: OnceLock::new(),
            like: OnceLock::new(),
        })
    }

    /// The stream that it is for, as things stand now.
    pub(super) fn stream(&self, proxy: &Proxy) -> Result<StreamUrl, (StatusCode, String)> {
        let host = Some(self.host.as_str()).filter(|host| !host.is_empty());
        let stream = self.named.stream(proxy, host, &self.target);
        stream.map_err(|error| broken(self.client, no_stream(error)))
    }
}

/// The refusal of a request that breaks a rule, which is logged.
pub(super) fn broken(
    client: ClientAddr,
    (status, rule): (StatusCode, String),
) -> (StatusCode, String) {
    turned_away::log(PROTOCOL, client, status.as_u16(), &rule);
    (status, rule)
}

/// The head for the origin, on a connection that is kept. What is rewritten is asked for whole and plain.
fn for_origin(head: &RequestHead, target: &str, forwarded: &Forwarded, kind: Piece) -> RequestHead {
    let mut head = head.for_origin(forwarded);
    head.target = target.to_owned();
    head.headers.remove("connection");
    head.headers.remove("upgrade");
    head.headers.change(|name, value| {
        let reports = name.get(..CMCD.len())?.eq_ignore_ascii_case(CMCD);
        reports.then(|| cmcd::without_links(value).into_owned())
    });
    if kind != Piece::Segment {
        rewrite::plain(&mut head);
    }
    head
}
