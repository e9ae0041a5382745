//! Reads `[tls]`, and what TLS each listener asks for.

use std::path::PathBuf;

use super::values::{Reader, count, flag};
use super::{ListenerTls, Tls};
use crate::pem::{ClientAuthority, Files, SYSTEM, ServerAuthority};
use crate::value::ValueError;

/// `[tls]`; the certificates of `[[tls.certificates]]` are added later.
pub(super) fn read(r: &mut Reader<'_>) -> Tls {
    let certificate = file(r, "tls.certificate");
    let key = file(r, "tls.key");
    if certificate.is_some() != key.is_some() {
        r.conflict("tls.certificate and tls.key belong together: set both or neither".to_owned());
    }
    let own = certificate.zip(key).map(|(certificate, key)| Files {
        certificate,
        key,
        names: Vec::new(),
    });
    Tls {
        certificates: own.into_iter().collect(),
        self_signed: r.read("tls.self_signed", flag),
        servers: read_servers(r),
        handshakes: r.read("tls.handshakes", |written| count(written, 1, 100_000)),
        handshakes_per_source: r.read("tls.handshakes_per_source", |written| {
            count(written, 1, 100_000)
        }),
    }
}

/// Who vouches for the servers that this proxy connects to.
fn read_servers(r: &mut Reader<'_>) -> ServerAuthority {
    let named: Vec<PathBuf> = r.read("tls.authorities", |written| {
        let items = written.items();
        if items.is_empty() || items.iter().any(|item| item.contains(char::is_control)) {
            return Err(ValueError::NotAFile);
        }
        Ok(items.into_iter().map(PathBuf::from).collect())
    });
    let certificate = file(r, "tls.client_certificate");
    let key = file(r, "tls.client_key");
    if certificate.is_some() != key.is_some() {
        r.conflict(
            "tls.client_certificate and tls.client_key belong together: set both or neither"
                .to_owned(),
        );
    }
    let is_system = |file: &PathBuf| file.as_os_str() == SYSTEM;
    ServerAuthority {
        system: named.iter().any(is_system),
        authorities: named.into_iter().filter(|file| !is_system(file)).collect(),
        shown: certificate.zip(key).map(|(certificate, key)| Files {
            certificate,
            key,
            names: Vec::new(),
        }),
    }
}

/// The TLS of the listener in `section`.
pub(super) fn read_listener(r: &mut Reader<'_>, section: &str) -> ListenerTls {
    let authorities = file(r, &format!("{section}.client_ca"));
    let revoked = file(r, &format!("{section}.client_crl"));
    if authorities.is_none() && revoked.is_some() {
        r.conflict(format!(
            "{section}.client_crl lists revoked certificates, and {section}.client_ca is not set: clients are asked for none"
        ));
    }
    ListenerTls {
        listen: r.opening(&format!("{section}.tls_listen")),
        required: r.read(&format!("{section}.require_tls"), flag),
        clients: authorities.map(|authorities| ClientAuthority {
            authorities,
            revoked,
        }),
    }
}

fn file(r: &mut Reader<'_>, path: &str) -> Option<PathBuf> {
    r.read(path, |written| {
        let text = written.text();
        if text.chars().any(char::is_control) {
            return Err(ValueError::NotAFile);
        }
        Ok((!text.is_empty()).then(|| text.into()))
    })
}
