//! The store of several proxies without a server between them: each says what it did, and hears what the others say.
//!
//! The rule by which they agree is [`sluicegate_core::cluster::mesh`]. Here it meets the network. chitchat carries
//! every proxy's rows to all others, in datagrams that [`socket`] seals, and a task keeps the table in step. A call
//! never waits: it is answered from the table, and its change is sent to the others at once, ahead of gossip.
//!
//! Without the feature `mesh`, none can be entered: the demo is one proxy, and is built sooner without chitchat.

#[cfg(not(feature = "mesh"))]
mod absent;
#[cfg(feature = "mesh")]
mod gossip;
#[cfg(feature = "mesh")]
mod herald;
#[cfg(feature = "mesh")]
mod member;
#[cfg(feature = "mesh")]
mod socket;

use std::net::SocketAddr;

#[cfg(not(feature = "mesh"))]
pub use absent::Mesh;
#[cfg(feature = "mesh")]
pub use member::Mesh;

/// The settings of a [`Mesh`].
#[derive(Clone)]
pub struct MeshOptions {
    /// Where the datagrams of the other proxies arrive.
    pub listen: SocketAddr,
    /// Where the other proxies send them.
    pub advertise: SocketAddr,
    /// `host:port` of proxies to contact first; names are looked up again and again. This proxy may be among them.
    pub seeds: Vec<String>,
    /// The keys that the proxies of the mesh share: the first seals what this proxy sends, and each opens what the
    /// others send. There is at least one if strangers could reach `listen`.
    pub keys: Vec<Vec<u8>>,
    /// Prefixes of keys that are watched for changes by others.
    pub watched: Vec<String>,
}

/// The state of a mesh, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeshFigures {
    /// The number of other proxies that are heard.
    pub alive: usize,
    /// The number of other proxies that fell silent and are remembered.
    pub silent: usize,
    /// The number of rows of all proxies.
    pub rows: usize,
    /// The number of datagrams that were refused since the start.
    pub refused: u64,
}

impl std::fmt::Debug for MeshOptions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("MeshOptions")
            .field("listen", &self.listen)
            .field("advertise", &self.advertise)
            .field("seeds", &self.seeds)
            .finish_non_exhaustive()
    }
}
