//! A playlist that goes on at another origin, as the proxies of a cluster agree on it. The name of the record is the
//! [name](crate::http::splice::ask::name_of) of the playlist.

use super::records::Record;
use crate::http::splice::{LONGEST, Splice};

impl Record for Splice {
    const KIND: &'static str = "splice";
    const VERSION: u16 = 1;
    const LONGEST: usize = LONGEST;

    fn body(&self) -> String {
        self.text()
    }

    fn read(_: u16, body: &str) -> Option<Self> {
        Self::read(body)
    }
}
