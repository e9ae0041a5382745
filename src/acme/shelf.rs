//! Where an account and certificates are kept: in the store that proxies share, or in a directory, as `account.json` and
//! `NAME.pem` with a chain and its key. Files are replaced whole, and nobody else may read them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use instant_acme::AccountCredentials;
use serde::{Deserialize, Serialize};

use super::shared::Shared;
use crate::pem::{FileError, Files, Loaded};
use crate::store::StoreError;

/// What is kept of one ACME server.
#[derive(Debug)]
pub(super) enum Shelf {
    /// By this proxy for itself.
    Folder(Folder),
    /// By all proxies of a cluster together.
    Shared(Shared),
}

impl Shelf {
    /// The account, if there is one.
    pub(super) async fn account(&self) -> Result<Option<AccountCredentials>, ShelfError> {
        match self {
            Self::Folder(folder) => folder.account(),
            Self::Shared(shared) => shared.account().await,
        }
    }

    pub(super) async fn keep_account(
        &self,
        credentials: &AccountCredentials,
    ) -> Result<(), ShelfError> {
        match self {
            Self::Folder(folder) => folder.keep_account(credentials),
            Self::Shared(shared) => shared.keep_account(credentials).await,
        }
    }
}

/// A directory with what is kept of one ACME server.
#[derive(Debug)]
pub(super) struct Folder {
    folder: PathBuf,
    /// The server's directory. What another one issued or knows is not used.
    directory: String,
}

/// Why something cannot be kept or used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShelfError {
    /// A certificate of it cannot be used.
    #[error(transparent)]
    Certificate(#[from] FileError),
    /// A file cannot be read or written.
    #[error("{}: {error}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Somebody sealed it with another key.
    #[error("what the store holds was sealed under another key (cluster.key)")]
    Foreign,
    /// The store has no word on it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It was sealed with our key, and makes no sense.
    #[error("what the store holds makes no sense")]
    Unreadable,
}

/// An account, and whose.
#[derive(Serialize, Deserialize)]
struct KeptAccount<C> {
    directory: String,
    credentials: C,
}

impl Folder {
    /// What `folder` holds of the server at `directory`.
    pub(super) const fn new(folder: PathBuf, directory: String) -> Self {
        Self { folder, directory }
    }

    /// The account, if there is one.
    pub(super) fn account(&self) -> Result<Option<AccountCredentials>, ShelfError> {
        let file = self.folder.join(ACCOUNT);
        let Some(text) = read(&file)? else {
            return Ok(None);
        };
        let kept: Result<KeptAccount<AccountCredentials>, _> = serde_json::from_str(&text);
        let kept = kept.map_err(|error| ShelfError::File {
            file,
            error: error.into(),
        })?;
        Ok((kept.directory == self.directory).then_some(kept.credentials))
    }

    pub(super) fn keep_account(&self, credentials: &AccountCredentials) -> Result<(), ShelfError> {
        let kept = KeptAccount {
            directory: self.directory.clone(),
            credentials,
        };
        let text = serde_json::to_string(&kept).unwrap_or_default();
        self.write(ACCOUNT, &text)
    }

    /// The certificate for `name`, if there is one.
    pub(super) fn certificate(&self, name: &str) -> Result<Option<Loaded>, ShelfError> {
        let file = self.folder.join(file_of(name));
        let Some(text) = read(&file)? else {
            return Ok(None);
        };
        if text.lines().next() != Some(&self.first_line()) {
            return Ok(None);
        }
        Ok(Some(
            self.files(name).read(text.as_bytes(), text.as_bytes())?,
        ))
    }

    /// Keeps a certificate that can be used, and returns it.
    pub(super) fn keep(&self, name: &str, chain: &str, key: &str) -> Result<Loaded, ShelfError> {
        let loaded = self.files(name).read(chain.as_bytes(), key.as_bytes())?;
        let text = format!("{}\n{}\n{key}", self.first_line(), chain.trim_end());
        self.write(&file_of(name), &text)?;
        Ok(loaded)
    }

    fn files(&self, name: &str) -> Files {
        let file = self.folder.join(file_of(name));
        Files {
            certificate: file.clone(),
            key: file,
            names: vec![name.to_owned()],
        }
    }

    /// Who issued the certificate of a file.
    fn first_line(&self) -> String {
        format!("# {}", self.directory)
    }

    /// Replaces a file whole. A new one is made for its owner alone.
    fn write(&self, name: &str, text: &str) -> Result<(), ShelfError> {
        let file = self.folder.join(name);
        let next = self.folder.join(format!(".{name}.new"));
        let written = || {
            fs::create_dir_all(&self.folder)?;
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(OWNER);
            let mut opened = options.open(&next)?;
            opened.write_all(text.as_bytes())?;
            opened.sync_all()?;
            fs::rename(&next, &file)?;
            File::open(&self.folder)?.sync_all()
        };
        written().map_err(|error| ShelfError::File {
            file: file.clone(),
            error,
        })
    }
}

/// A file's text; `None` if there is no such file.
fn read(file: &PathBuf) -> Result<Option<String>, ShelfError> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ShelfError::File {
            file: file.clone(),
            error,
        }),
    }
}

/// The file of a name. A name of the settings has no slash.
fn file_of(name: &str) -> String {
    format!("{name}.pem")
}

const ACCOUNT: &str = "account.json";
/// Only the owner reads and writes.
const OWNER: u32 = 0o600;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::pem::samples::made;

    #[test]
    fn what_is_kept_is_found_again_and_only_of_its_server() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = |directory: &str| {
            Folder::new(
                folder.path().join("acme"),
                format!("https://{directory}/directory"),
            )
        };
        let one = shelf("one.example");
        assert!(one.certificate("a.example").unwrap().is_none());
        let (chain, key) = made(&["a.example"]);
        let kept = one.keep("a.example", &chain, &key).unwrap();
        let found = one.certificate("a.example").unwrap().unwrap();
        assert_eq!(found.key.cert, kept.key.cert);
        assert_eq!(found.names, ["a.example"]);
        let file = folder.path().join("acme/a.example.pem");
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, OWNER, "nobody else reads its key");
        assert!(
            shelf("two.example")
                .certificate("a.example")
                .unwrap()
                .is_none()
        );

        let other = made(&["a.example"]).1;
        assert!(one.keep("a.example", &chain, &other).is_err());
        let found = one.certificate("a.example").unwrap().unwrap();
        assert_eq!(
            found.key.cert, kept.key.cert,
            "what cannot be used replaces nothing"
        );
        fs::write(&file, "# https://one.example/directory\njunk").unwrap();
        assert!(one.certificate("a.example").is_err());
    }
}
