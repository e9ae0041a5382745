//! What stands for a mesh in a build without it.

use std::net::SocketAddr;

use super::{MeshFigures, MeshOptions};
use crate::store::StoreError;
use crate::store::absent::Absent;

/// This proxy's part of a mesh, of which this build has none.
pub type Mesh = Absent<MeshOptions>;

impl Absent<MeshOptions> {
    /// # Errors
    /// Always: which build has a mesh.
    pub fn open(_: MeshOptions) -> std::io::Result<Self> {
        let words = "this build has no mesh; build it with its default features";
        Err(std::io::Error::other(words))
    }

    /// As in other builds.
    pub const fn address(&self) -> SocketAddr {
        self.never()
    }

    /// As in other builds.
    pub const fn figures(&self) -> MeshFigures {
        self.never()
    }

    /// As in other builds.
    pub fn end(&self, _: &str) -> Result<(), StoreError> {
        self.never()
    }
}
