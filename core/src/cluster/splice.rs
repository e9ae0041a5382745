//! A playlist or manifest that goes on at another origin, as the proxies of a cluster agree on it. The name of the record is
//! the [name](crate::http::splice::ask::name_of) of the playlist or manifest.

use super::records::Record;
use crate::http::continued::Continued;
use crate::http::splice::LONGEST;

impl Record for Continued {
    const KIND: &'static str = "splice";
    // A build that knows playlists only asks for none of a manifest's name.
    const VERSION: u16 = 1;
    const LONGEST: usize = LONGEST;

    fn body(&self) -> String {
        self.text()
    }

    fn read(_: u16, body: &str) -> Option<Self> {
        Self::read(body)
    }
}
