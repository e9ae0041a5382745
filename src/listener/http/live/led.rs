//! What an origin says of places, as the client of a live pull is to hear it.

use hyper::HeaderMap;
use hyper::header::LOCATION;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::http::base::BasePath;
use sluicegate_core::http::head::{RequestHead, ResponseHead};
use sluicegate_core::http::page::Page;
use sluicegate_core::http::places;
use sluicegate_core::place::redirect::place_of;
use sluicegate_core::stream::Service;

use crate::hub::Said;
use crate::listener::http::{Http, rewrite};
use crate::net::entrance::Ends;
use crate::proxy::Proxy;
use crate::sessions::Row;

/// How the client of a live pull reaches us, for what its origin says of places.
pub(in crate::listener::http) struct Led<'a> {
    host: &'a str,
    base: BasePath,
    pub(super) row: &'a Row,
    proxy: &'a Proxy,
}

impl<'a> Led<'a> {
    pub(in crate::listener::http) fn of(
        http: &Http,
        head: &'a RequestHead,
        ends: Ends,
        row: &'a Row,
        proxy: &'a Proxy,
    ) -> Self {
        Self {
            host: head.host().unwrap_or_default(),
            base: http.base(ends, head),
            row,
            proxy,
        }
    }

    /// Makes a head that is to be written right for the client.
    pub(super) fn lead(&self, answer: &mut ResponseHead) {
        let mut names = places::HEADERS.iter();
        if !names.any(|name| answer.headers.contains(name)) {
            return;
        }
        let location = answer.headers.text("location").map(str::to_owned);
        self.with(location.as_deref(), |page| {
            answer.headers.change(|name, value| {
                let written = places::header(name, value.as_bytes(), page, false)?;
                String::from_utf8(written).ok()
            });
        });
    }

    /// The same for headers that hyper writes.
    pub(in crate::listener::http) fn lead_headers(&self, headers: &mut HeaderMap) {
        if rewrite::names_places(headers) {
            let location = location(headers);
            self.with(location.as_deref(), |page| {
                rewrite::lead(headers, page, false);
            });
        }
    }

    /// The headers of what an origin said to the pull that the client shares.
    pub(super) fn headers_of(&self, said: &Said) -> HeaderMap {
        let mut headers = said.headers.clone();
        if rewrite::names_places(&headers) {
            let location = location(&headers);
            self.with_origin(&said.origin, location.as_deref(), |page| {
                rewrite::lead(&mut headers, page, false);
            });
        }
        headers
    }

    fn with(&self, location: Option<&str>, write: impl FnOnce(&Page<'_>)) {
        if let Some(origin) = self.row.placed().origin {
            self.with_origin(&origin, location, write);
        }
    }

    /// A redirect to another origin of the fleet that came too late to be followed leads to us, too.
    fn with_origin(
        &self,
        origin: &OriginId,
        location: Option<&str>,
        write: impl FnOnce(&Page<'_>),
    ) {
        let registry = self.proxy.registry();
        let Some(target) = registry.target(origin, Service::Http) else {
            return;
        };
        let there = location.and_then(|location| place_of(location, Service::Http));
        let there = there.filter(|place| registry.at(Service::Http, place).is_some());
        let names = [
            target.to_string(),
            places::at_port(self.host, target.port),
            there.unwrap_or_default(),
        ];
        let names = names.each_ref().map(String::as_str);
        write(&Page::without_link(self.host, &names, self.base.as_str()));
    }
}

fn location(headers: &HeaderMap) -> Option<String> {
    let location = headers.get(LOCATION)?;
    location.to_str().ok().map(str::to_owned)
}
