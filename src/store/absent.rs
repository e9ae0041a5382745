//! What stands for a store in a build without its client. There is no value of it.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::time::Duration;

use tokio::sync::broadcast;

use super::{Change, Claim, Store, StoreError};

/// A store that is opened with `Options`, of which this build has none.
#[derive(Debug)]
pub struct Absent<Options> {
    never: Infallible,
    options: PhantomData<fn() -> Options>,
}

impl<Options> Absent<Options> {
    /// Whatever is asked of a store that does not exist.
    pub(super) const fn never<T>(&self) -> T {
        match self.never {}
    }

    /// As in other builds.
    pub const fn is_reachable(&self) -> bool {
        self.never()
    }

    /// As in other builds.
    pub async fn reachable(&self) {
        match self.never {}
    }

    /// As in other builds.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.never()
    }
}

impl<Options> Store for Absent<Options> {
    async fn claim(
        &self,
        _: &str,
        _: Option<&str>,
        _: &str,
        _: Duration,
    ) -> Result<Claim, StoreError> {
        self.never()
    }

    async fn get(&self, _: &str) -> Result<Option<String>, StoreError> {
        self.never()
    }

    async fn put(&self, _: &str, _: &str, _: Duration) -> Result<(), StoreError> {
        self.never()
    }

    async fn list(&self, _: &str) -> Result<Vec<(String, String)>, StoreError> {
        self.never()
    }

    async fn renew(&self, _: &[String], _: Duration) -> Result<(), StoreError> {
        self.never()
    }

    async fn remove(&self, _: &str, _: &str) -> Result<(), StoreError> {
        self.never()
    }
}
