//! What stands for the client in a build without it.

use super::{Address, Options};
use crate::store::StoreError;
use crate::store::absent::Absent;

/// A connection to a Redis, of which this build has none.
pub type Redis = Absent<Options>;

impl Absent<Options> {
    /// # Errors
    /// Always: which build has a client.
    pub fn open(_: Address, _: Options) -> Result<Self, String> {
        Err("this build has no client for Redis; build it with its default features".to_owned())
    }

    /// As in other builds.
    pub const fn tells_of_changes(&self) -> bool {
        self.never()
    }

    /// As in other builds.
    pub fn bare_key(&self, _: &str) -> String {
        self.never()
    }

    /// As in other builds.
    pub fn whole_key(&self, _: &str) -> String {
        self.never()
    }

    /// As in other builds.
    pub async fn add_to_list(&self, _: &str, _: &str) -> Result<(), StoreError> {
        self.never()
    }

    /// As in other builds.
    pub async fn take_from_list(&self, _: &str, _: &str) -> Result<(), StoreError> {
        self.never()
    }

    /// As in other builds.
    pub async fn in_list(&self, _: &str) -> Result<Vec<(String, String)>, StoreError> {
        self.never()
    }

    /// As in other builds.
    pub async fn list_all(&self, _: &[&str]) -> Result<Vec<(String, String)>, StoreError> {
        self.never()
    }
}
