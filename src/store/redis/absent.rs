//! What stands for the client in a build without it. There is no value of it.

use std::time::Duration;

use tokio::sync::broadcast;

use super::{Address, Options};
use crate::store::{Change, Claim, Store, StoreError};

/// A connection to a Redis, of which this build has none.
#[derive(Debug)]
pub enum Redis {}

impl Redis {
    /// # Errors
    /// Always: which build has a client.
    pub fn open(_: Address, _: Options) -> Result<Self, String> {
        Err("this build has no client for Redis; build it with its default features".to_owned())
    }

    /// As in other builds.
    pub const fn is_reachable(&self) -> bool {
        match *self {}
    }

    /// As in other builds.
    pub async fn reachable(&self) {
        match *self {}
    }

    /// As in other builds.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        match *self {}
    }

    /// As in other builds.
    pub const fn tells_of_changes(&self) -> bool {
        match *self {}
    }

    /// As in other builds.
    pub fn bare_key(&self, _: &str) -> String {
        match *self {}
    }

    /// As in other builds.
    pub fn whole_key(&self, _: &str) -> String {
        match *self {}
    }

    /// As in other builds.
    pub async fn add_to_list(&self, _: &str, _: &str) -> Result<(), StoreError> {
        match *self {}
    }

    /// As in other builds.
    pub async fn take_from_list(&self, _: &str, _: &str) -> Result<(), StoreError> {
        match *self {}
    }

    /// As in other builds.
    pub async fn in_list(&self, _: &str) -> Result<Vec<(String, String)>, StoreError> {
        match *self {}
    }

    /// As in other builds.
    pub async fn list_all(&self, _: &[&str]) -> Result<Vec<(String, String)>, StoreError> {
        match *self {}
    }
}

impl Store for Redis {
    async fn claim(
        &self,
        _: &str,
        _: Option<&str>,
        _: &str,
        _: Duration,
    ) -> Result<Claim, StoreError> {
        match *self {}
    }

    async fn get(&self, _: &str) -> Result<Option<String>, StoreError> {
        match *self {}
    }

    async fn put(&self, _: &str, _: &str, _: Duration) -> Result<(), StoreError> {
        match *self {}
    }

    async fn list(&self, _: &str) -> Result<Vec<(String, String)>, StoreError> {
        match *self {}
    }

    async fn renew(&self, _: &[String], _: Duration) -> Result<(), StoreError> {
        match *self {}
    }

    async fn remove(&self, _: &str, _: &str) -> Result<(), StoreError> {
        match *self {}
    }
}
