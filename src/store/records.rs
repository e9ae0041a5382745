//! Records in a store, whatever its kind; their [rules](sluicegate_core::cluster::records) hold here.

use std::time::Duration;

use sluicegate_core::cluster::records::{Reading, Record, key, named, prefix, read, write};

use super::{Store, StoreError};

/// What became of a record that was to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It stands in the store.
    Done,
    /// Another build's record stands there, which this one cannot read and does not replace.
    Kept,
}

/// The record of kind `T` that is called `name`; `None` if there is none that this build can read.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Full`] for a name that no record can have.
pub async fn get<T: Record>(store: &impl Store, name: &str) -> Result<Option<T>, StoreError> {
    let value = store.get(&key::<T>(name)?).await?;
    Ok(value.and_then(|value| known(&value)))
}

/// Writes a record for `ttl`, unless another build's stands there that this one cannot read.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Full`] for a record beyond the bounds of its kind.
pub async fn put<T: Record>(
    store: &impl Store,
    name: &str,
    record: &T,
    ttl: Duration,
) -> Result<Written, StoreError> {
    let (key, text) = (key::<T>(name)?, write(record)?);
    let mut stands = store.get(&key).await?;
    for _ in 0..ROUNDS {
        let foreign = |value: &String| matches!(read::<T>(value), Reading::Foreign);
        if stands.as_ref().is_some_and(foreign) {
            return Ok(Written::Kept);
        }
        // Not a put: a later build may have written since.
        let claim = store.claim(&key, stands.as_deref(), &text, ttl).await?;
        if claim.won {
            return Ok(Written::Done);
        }
        stands = Some(claim.value);
    }
    Err(StoreError::Broken(format!("{key} changed with every look")))
}

/// Every record of kind `T` that this build can read, with its name, in no order.
///
/// # Errors
/// [`StoreError`]
pub async fn list<T: Record>(store: &impl Store) -> Result<Vec<(String, T)>, StoreError> {
    Ok(among(&store.list(&prefix::<T>()).await?))
}

/// The records of kind `T` among keys and their values, each with its name.
pub fn among<T: Record>(rows: &[(String, String)]) -> Vec<(String, T)> {
    let records = rows.iter().filter_map(|(key, value)| {
        let (kind, name) = named(key)?;
        let record = (kind == T::KIND).then(|| known(value))??;
        Some((name.to_owned(), record))
    });
    records.collect()
}

/// Ends a record before its lifetime does, if it still stands there as it is.
///
/// # Errors
/// [`StoreError`]
pub async fn remove<T: Record>(
    store: &impl Store,
    name: &str,
    record: &T,
) -> Result<(), StoreError> {
    store.remove(&key::<T>(name)?, &write(record)?).await
}

fn known<T: Record>(value: &str) -> Option<T> {
    match read(value) {
        Reading::Known(record) => Some(record),
        Reading::Foreign | Reading::Broken => None,
    }
}

/// Attempts at one write: each that fails means that another proxy wrote the same record in between.
const ROUNDS: usize = 8;
