//! Certificates, keys and revocations in files (PEM, RFC 7468), and what is wrong with one that cannot be used. The settings
//! are checked with it, and TLS reads the files again.

mod certificate;
mod clients;
mod servers;

#[cfg(test)]
pub(crate) use certificate::samples;
pub use certificate::{Files, Loaded, Untimely};
pub use clients::ClientAuthority;
pub use servers::{SYSTEM, ServerAuthority};

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use sluicegate_core::http::page::split_byte_order_mark;

/// Why files of TLS cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", file.display())]
pub struct FileError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub problem: FileProblem,
}

/// What is wrong with a file of TLS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileProblem {
    /// It cannot be read, for this reason.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// It is longer than such files are.
    #[error("is longer than {} KiB, so it is no file of certificates", LONGEST / 1024)]
    TooLong,
    /// It holds no certificate.
    #[error("holds no certificate in PEM (-----BEGIN CERTIFICATE-----)")]
    NoCertificate,
    /// What it holds in place of a certificate is none.
    #[error("holds a certificate that cannot be read: {0}")]
    BadCertificate(String),
    /// It holds no private key.
    #[error("holds no private key in PEM (-----BEGIN PRIVATE KEY-----)")]
    NoKey,
    /// Its key has a passphrase.
    #[error("holds a key with a passphrase; write it without one: openssl pkey -in FILE -out NEW")]
    EncryptedKey,
    /// Nobody here can sign with its key.
    #[error(
        "holds a key that cannot be used: RSA with 2048 to 8192 bits, ECDSA with P-256 or P-384, and Ed25519 can"
    )]
    UnusableKey,
    /// The key belongs to another certificate.
    #[error("holds a key that does not belong to the certificate in {}", .0.display())]
    OtherKey(PathBuf),
    /// It holds no list of revoked certificates.
    #[error("holds no list of revoked certificates in PEM (-----BEGIN X509 CRL-----)")]
    NoRevocations,
    /// Neither files nor the system name an authority.
    #[error(
        "the system trusts nobody: install its ca-certificates, or name files in tls.authorities"
    )]
    NoAuthorities,
    /// What it holds cannot be used to verify clients.
    #[error("cannot be used to verify clients: {0}")]
    Unusable(String),
}

/// A file of TLS, whole.
fn read(file: &Path) -> Result<Vec<u8>, FileError> {
    use std::io::Read as _;
    let problem = |problem| FileError {
        file: file.to_owned(),
        problem,
    };
    let mut bytes = Vec::new();
    let read = std::fs::File::open(file)
        .and_then(|opened| opened.take(LONGEST + 1).read_to_end(&mut bytes));
    read.map_err(|error: io::Error| problem(FileProblem::Unreadable(error.to_string())))?;
    if bytes.len() as u64 > LONGEST {
        return Err(problem(FileProblem::TooLong));
    }
    // Some editors begin a text with a byte order mark, and a first line with one is no line of PEM.
    let (_, text) = split_byte_order_mark(&bytes);
    Ok(text.to_vec())
}

/// The cryptography that all of TLS here stands on.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A file of a whole trust store has some 200 KiB, and a list of revoked certificates may have more.
const LONGEST: u64 = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_no_part_of_what_a_file_holds() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for held in [&b"-----BEGIN"[..], b"\xef\xbb\xbf-----BEGIN"] {
            std::fs::write(file.path(), held).unwrap();
            assert_eq!(read(file.path()).unwrap(), b"-----BEGIN");
        }
    }
}
