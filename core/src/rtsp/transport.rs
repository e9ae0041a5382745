//! The `Transport` header (RFC 2326 §12.39): how a client wants a track to travel, and how it does.

use super::media::ChannelPair;

/// One transport; a client may offer several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transport<'a> {
    profile: &'a str,
    parameters: Vec<&'a str>,
}

/// What carries the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// Datagrams to a multicast group.
    Multicast,
    /// Frames on the RTSP connection.
    Tcp,
    /// Datagrams between client and server.
    Udp,
}

/// A port for media, and one for its reports.
pub type Ports = (u16, u16);

/// Why a header cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// A transport is missing, or has no profile.
    #[error("a Transport header that names none")]
    Empty,
    /// A quoted value does not end within its parameter.
    #[error("a Transport header with a quote that does not end with its parameter")]
    Quote,
    /// There are more transports or parameters than any client needs.
    #[error(
        "a Transport header with more than {MAX_OFFERS} transports or {MAX_PARAMETERS} parameters"
    )]
    TooMany,
}

impl<'a> Transport<'a> {
    /// Reads every transport of a header, best first.
    pub fn parse(value: &'a str) -> Result<Vec<Self>, TransportError> {
        let mut offers = Vec::new();
        // A quote that spans parameters is refused: two servers may split it differently.
        let is_open = |part: &str| part.matches('"').count() % 2 == 1;
        if value.split(';').any(is_open) {
            return Err(TransportError::Quote);
        }
        for text in self::offers(value) {
            if offers.len() == MAX_OFFERS {
                return Err(TransportError::TooMany);
            }
            let mut parts = text.split(';').map(str::trim);
            let profile = parts.next().unwrap_or_default();
            let parameters: Vec<&str> = parts
                .filter(|part| !part.is_empty())
                .take(MAX_PARAMETERS + 1)
                .collect();
            if profile.is_empty() {
                return Err(TransportError::Empty);
            }
            if parameters.len() > MAX_PARAMETERS {
                return Err(TransportError::TooMany);
            }
            offers.push(Self {
                profile,
                parameters,
            });
        }
        if offers.is_empty() {
            return Err(TransportError::Empty);
        }
        Ok(offers)
    }

    /// What carries the packets. If neither unicast nor multicast is given, it is unicast: the specification's default
    /// is multicast, but nobody means that.
    pub fn carrier(&self) -> Carrier {
        let lower = self.profile.rsplit('/').next().unwrap_or_default();
        if lower.eq_ignore_ascii_case("tcp") || self.value("interleaved").is_some() {
            Carrier::Tcp
        } else if self.has("multicast") {
            Carrier::Multicast
        } else {
            Carrier::Udp
        }
    }

    /// The value of a parameter, without its quotes.
    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().find_map(|parameter| {
            let (known, value) = parameter.split_once('=')?;
            known
                .trim()
                .eq_ignore_ascii_case(name)
                .then(|| value.trim().trim_matches('"'))
        })
    }

    /// A pair of ports; if only one is given, the other is the next number.
    pub fn ports(&self, name: &str) -> Option<Ports> {
        let value = self.value(name)?;
        let (first, second) = value.split_once('-').unwrap_or((value, ""));
        let first: u16 = first.trim().parse().ok().filter(|port| *port != 0)?;
        let second = match second.trim() {
            "" => first.checked_add(1)?,
            text => text.parse().ok().filter(|port| *port != 0)?,
        };
        Some((first, second))
    }

    /// The channels of frames (RFC 2326 §10.12): of media, and of its reports if they have one of their own.
    pub fn channels(&self) -> Option<ChannelPair> {
        let value = self.value("interleaved")?;
        let (media, reports) = value.split_once('-').unwrap_or((value, ""));
        Some((media.trim().parse().ok()?, reports.trim().parse().ok()))
    }

    /// The transport as it is offered to an origin: with `ports` of ours in place of the client's, and without an
    /// address, so that the origin sends to the address that asks.
    pub fn for_origin(&self, ports: Ports) -> String {
        let client = format!("client_port={}-{}", ports.0, ports.1);
        self.written(&[("client_port", client)])
    }

    /// The transport as it is shown to a client: with the client's own ports, and `ours` in place of the origin's.
    pub fn for_client(&self, client: Ports, ours: Ports) -> String {
        let client = format!("client_port={}-{}", client.0, client.1);
        let server = format!("server_port={}-{}", ours.0, ours.1);
        self.written(&[("client_port", client), ("server_port", server)])
    }

    /// The transport without any addresses.
    pub fn without_addresses(&self) -> String {
        self.written(&[])
    }

    /// Writes the transport with other `values`, in the place of the old ones or at the end.
    fn written(&self, values: &[(&str, String)]) -> String {
        let mut out = self.profile.to_owned();
        let mut written = vec![false; values.len()];
        for parameter in &self.parameters {
            let name = parameter.split('=').next().unwrap_or_default().trim();
            if ADDRESSES
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known))
            {
                continue;
            }
            let found = values
                .iter()
                .zip(&mut written)
                .find(|((known, _), _)| name.eq_ignore_ascii_case(known));
            match found {
                None => push(&mut out, parameter),
                Some((_, true)) => {}
                Some(((_, value), done)) => {
                    *done = true;
                    push(&mut out, value);
                }
            }
        }
        for ((_, value), done) in values.iter().zip(written) {
            if !done {
                push(&mut out, value);
            }
        }
        out
    }

    fn has(&self, name: &str) -> bool {
        self.parameters
            .iter()
            .any(|parameter| parameter.eq_ignore_ascii_case(name))
    }
}

fn push(out: &mut String, parameter: &str) {
    out.push(';');
    out.push_str(parameter);
}

/// Splits a header into transports. A comma in quotes does not separate, as in `mode="PLAY,RECORD"`.
fn offers(value: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    value
        .split(move |c| {
            quoted ^= c == '"';
            c == ',' && !quoted
        })
        .map(str::trim)
        .filter(|text| !text.is_empty())
}

/// Parameters whose value is an address.
const ADDRESSES: [&str; 2] = ["destination", "source"];
/// Maximum transports in a header; clients offer one to three.
pub const MAX_OFFERS: usize = 8;
/// Maximum parameters of a transport; a dozen are defined.
pub const MAX_PARAMETERS: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carriers() {
        let rows = [
            (
                "ffmpeg, udp",
                "RTP/AVP/UDP;unicast;client_port=5000-5001",
                Carrier::Udp,
            ),
            (
                "vlc, udp",
                "RTP/AVP;unicast;client_port=5000-5001",
                Carrier::Udp,
            ),
            ("tcp", "RTP/AVP/TCP;unicast;interleaved=0-1", Carrier::Tcp),
            (
                "a camera that leaves out TCP",
                "RTP/AVP;interleaved=0-1",
                Carrier::Tcp,
            ),
            ("a group", "RTP/AVP;multicast;ttl=127", Carrier::Multicast),
            (
                "quoted modes",
                "RTP/AVP;unicast;mode=\"PLAY,RECORD\"",
                Carrier::Udp,
            ),
        ];
        for (cause, text, carrier) in rows {
            let offers = Transport::parse(text).unwrap();
            assert_eq!(offers.len(), 1, "{cause}");
            assert_eq!(offers[0].carrier(), carrier, "{cause}");
        }
        let hidden = Transport::parse("RTP/AVP;x=\"a;destination=1.2.3.4;\"");
        assert_eq!(hidden, Err(TransportError::Quote));
        assert_eq!(Transport::parse("a;b=\""), Err(TransportError::Quote));
        assert_eq!(Transport::parse(" , "), Err(TransportError::Empty));
        assert_eq!(Transport::parse(";x"), Err(TransportError::Empty));
        assert_eq!(
            Transport::parse(&"a,".repeat(9)),
            Err(TransportError::TooMany)
        );
    }

    #[test]
    fn ports_come_in_pairs() {
        let rows = [
            ("5000-5001", Some((5000, 5001))),
            ("5000", Some((5000, 5001))),
            ("65535", None),
            ("0-1", None),
            ("x", None),
        ];
        for (text, expected) in rows {
            let header = format!("RTP/AVP;client_port={text}");
            assert_eq!(
                Transport::parse(&header).unwrap()[0].ports("client_port"),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn ports_are_replaced_and_addresses_are_left_out() {
        let text = "RTP/AVP;unicast;source=10.0.0.5;client_port=7000-7001;server_port=9000-9001;ssrc=1A;mode=\"PLAY\"";
        let transport = &Transport::parse(text).unwrap()[0];
        assert_eq!(
            transport.for_client((5000, 5001), (22_000, 22_001)),
            "RTP/AVP;unicast;client_port=5000-5001;server_port=22000-22001;ssrc=1A;mode=\"PLAY\""
        );
        let text = "RTP/AVP;unicast;destination=192.0.2.9;mode=record";
        let transport = &Transport::parse(text).unwrap()[0];
        assert_eq!(
            transport.for_origin((22_002, 22_003)),
            "RTP/AVP;unicast;mode=record;client_port=22002-22003"
        );
    }
}
