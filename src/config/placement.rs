//! The values of `[placement]`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::value::{Network, ValueError};

/// A network of clients, and the zone that is nearest to them: `10.1.0.0/16 eu-1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkZone {
    network: Network,
    zone: String,
}

impl NetworkZone {
    /// The zone of a client, if it is in the network.
    pub fn zone_of(&self, client: IpAddr) -> Option<&str> {
        self.network.contains(client).then_some(self.zone.as_str())
    }
}

impl FromStr for NetworkZone {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let mut words = text.split_ascii_whitespace();
        let (Some(network), Some(zone), None) = (words.next(), words.next(), words.next()) else {
            return Err(ValueError::NotAPair);
        };
        Ok(Self {
            network: network.parse()?,
            zone: zone.to_owned(),
        })
    }
}

impl fmt::Display for NetworkZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.network, self.zone)
    }
}

/// What to do when the outside decision does not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswered {
    /// Place the stream as if nobody had been asked.
    Allow,
    /// Refuse it.
    Deny,
}
