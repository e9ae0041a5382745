//! What an origin says of places when it answers a call. A call has one place here; what else only the origin itself could answer
//! is not for its client.

use hyper::header::{CONTENT_LOCATION, HeaderName, HeaderValue, LINK, SET_COOKIE};
use sluicegate_core::fleet::origin::Target;
use sluicegate_core::http::page::Page;
use sluicegate_core::http::places;
use sluicegate_core::place::redirect::place_of;
use sluicegate_core::stream::Service;

use super::Ask;
use crate::origin::call::CallAnswer;

impl Ask<'_> {
    /// An answer of the origin at `api`, with what its client may go by.
    pub(super) fn led(&self, mut answer: CallAnswer, api: &Target) -> CallAnswer {
        let host = self.head.host().unwrap_or_default();
        let base = self.base();
        let names = [api.to_string(), places::at_port(host, api.port)];
        let names = names.each_ref().map(String::as_str);
        let page = Page::without_link(host, &names, base.as_str());
        answer.headers.remove(CONTENT_LOCATION);
        let mut put = |name: HeaderName, written: &dyn Fn(&[u8]) -> Option<Vec<u8>>| {
            let values = answer.headers.get_all(&name).into_iter();
            let values = values.filter_map(|value| written(value.as_bytes()));
            let values: Vec<Vec<u8>> = values.collect();
            answer.headers.remove(&name);
            for value in values {
                if let Ok(value) = HeaderValue::try_from(value) {
                    answer.headers.append(&name, value);
                }
            }
        };
        let own = api.to_string();
        let is_within = |uri: &str| self.names_fleet(uri, &own);
        put(LINK, &|value| {
            places::links_of_call(value, &page, is_within)
        });
        put(SET_COOKIE, &|value| {
            let written = places::header(SET_COOKIE.as_str(), value, &page, false);
            Some(written.unwrap_or_else(|| value.to_vec()))
        });
        answer
    }

    /// Whether a URI names the machine of the API at `own`, or another origin of the fleet.
    fn names_fleet(&self, uri: &str, own: &str) -> bool {
        let host = |place: &str| place.rsplit_once(':').map(|(host, _)| host.to_owned());
        let registry = self.proxy.registry();
        [Service::Api, Service::Http].iter().any(|service| {
            let place = place_of(uri, *service);
            place.is_some_and(|place| {
                host(&place) == host(own) || registry.at(*service, &place).is_some()
            })
        })
    }
}
