//! What the head of an answer says of places. A client that follows an origin's redirect asks the same origin again, by a link
//! like those in its playlists, and never hears where it is.

use hyper::header::{HeaderValue, LOCATION};
use sluicegate_core::http::link::ABSENT;
use sluicegate_core::http::page::Page;
use sluicegate_core::http::personal::Place as Where;
use sluicegate_core::http::places;
use sluicegate_core::http::route::{Piece, Route};
use sluicegate_core::stream::Service;

use super::PieceRequest;
use super::links::expiry;
use crate::listener::http::rewrite;
use crate::listener::http::share::Head;
use crate::listener::http::viewer::{Leads, Viewer};
use crate::proxy::Attempt;
use crate::unix_time;

impl PieceRequest {
    /// Makes what the head of an answer says of places right for clients. `asked` is what the origin of `attempt` was asked
    /// for, and `folder` its folder, where clients ask by another path.
    pub(super) fn lead_head(
        &self,
        head: &mut Head,
        attempt: &Attempt,
        asked: &str,
        folder: Option<&str>,
    ) {
        let headers = &mut head.headers;
        if !rewrite::names_places(headers) {
            return;
        }
        let location = headers.get(LOCATION).and_then(|place| place.to_str().ok());
        let location = location.unwrap_or_default().to_owned();
        if folder.is_some()
            && location.starts_with('?')
            && let Some(path) = asked.split('?').next()
            && let Ok(whole) = HeaderValue::try_from(format!("{path}{location}"))
        {
            headers.insert(LOCATION, whole);
        }
        // Another origin of the fleet may have what it redirects to.
        let registry = self.proxy.registry();
        let moved = attempt.moved_within(registry, head.status.as_u16(), Some(&location));
        let there = moved.and_then(|place| registry.at(Service::Http, &place));
        let there = there.and_then(|there| self.place.attempt(&there));
        let there = there.as_ref().unwrap_or(attempt);
        let link = self.link_in_head(head, there, &location);
        let host = &*self.wanted.host;
        let names = [
            attempt.target.to_string(),
            there.target.to_string(),
            places::at_port(host, attempt.target.port),
        ];
        let names = names.each_ref().map(String::as_str);
        let page = Page {
            link: link.as_deref().unwrap_or(ABSENT),
            folder,
            site: &self.wanted.site,
            at: &self.wanted.at,
            stamping: Some(self.stamping(&there.origin)),
            ..Page::without_link(host, &names, self.wanted.base.as_str())
        };
        rewrite::lead(&mut head.headers, &page, link.is_some());
    }

    /// The link by which a client goes on where a head points, if it gets any. A viewer's own stands in no head but that of a
    /// redirect, which nobody else gets.
    fn link_in_head(&self, head: &Head, there: &Attempt, location: &str) -> Option<String> {
        let Some(viewer) = &self.viewer else {
            if self.gets_no_links() {
                return None;
            }
            let stream = &self.place.request().stream;
            let (sealed, key) = (&self.pieces.sealed, &self.pieces.key);
            let link = sealed.link(key, stream, there, expiry(unix_time::seconds()));
            return Some(link.as_ref().to_owned());
        };
        let redirects = head.status.is_redirection() && self.ask.head.method == "GET";
        redirects.then(|| {
            let place = self.place_of(viewer, location);
            let leads = Leads::to(there);
            viewer.link(&leads, place, None, unix_time::seconds())
        })
    }

    /// What a redirect is good for: for as much as the request was.
    fn place_of(&self, viewer: &Viewer, location: &str) -> Where {
        let lists = matches!(
            Route::of(location),
            Route::Piece(Piece::Manifest | Piece::Playlist)
        );
        match self.kind {
            Piece::Manifest | Piece::Playlist => Where::Listing,
            Piece::Segment if lists && !viewer.viewing.is_for_pieces => Where::Listing,
            Piece::Segment => Where::Piece,
        }
    }
}
