//! TLS: everything between a socket and a [`Wire`](super::wire::Wire) that is encrypted.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `certificates` | the certificates of the settings, which one a client gets, and when they are read again |
//! | `challenges` | what an ACME server is answered that asks whether a name is ours |
//! | `entrance` | what one listener asks of its clients: protocols, certificates |
//! | `handshake` | handshakes under way, and how many may be |
//! | `refused` | what a client hears that comes without TLS where that is required |
//! | `session` | what rustls knows of one connection, without a buffer |
//! | `stream` | a connection after its handshake |
//! | `tickets` | the keys of the tickets by which clients come back |
//! | `trust` | on the way out: whom this proxy believes, and what it shows |
//!
//! rustls does the work, with ring: TLS 1.2 and 1.3, no early data.

mod certificates;
mod challenges;
mod entrance;
mod handshake;
mod refused;
mod session;
mod stream;
mod tickets;
mod trust;

pub use certificates::{Certificates, Expiry};
pub use challenges::{Challenges, Pending};
pub use entrance::{Shared, TlsEntrance};
pub use handshake::{HandshakeError, Handshakes};
pub use refused::{Words, lacking};
pub use stream::TlsStream;
pub use trust::Trust;
