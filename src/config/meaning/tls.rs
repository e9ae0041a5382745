//! Reads `[tls]` and `[acme]`, and what TLS each listener asks for.

use std::path::PathBuf;

use sluicegate_core::fleet::origin::{EndpointError, Host, Security};

use super::values::{Reader, count, flag};
use super::{Acme, Challenge, ListenerTls, Tls};
use crate::pem::{ClientAuthority, Files, SYSTEM, ServerAuthority};
use crate::value::{NotAUrl, Url, ValueError};

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
        servers: ServerAuthority {
            shown: read_shown(r),
            ..read_authorities(r, "tls.authorities")
        },
        handshakes: r.read("tls.handshakes", |written| count(written, 1, 100_000)),
        handshakes_per_source: r.read("tls.handshakes_per_source", |written| {
            count(written, 1, 100_000)
        }),
    }
}

/// `[acme]`
pub(super) fn read_acme(r: &mut Reader<'_>) -> Acme {
    Acme {
        names: r.read("acme.names", |written| {
            let name = |text: &str| -> Result<String, ValueError> {
                match text.parse()? {
                    Host::Name(name) => Ok(name),
                    Host::Ip(_) => Err(EndpointError::Host.into()),
                }
            };
            written.items().into_iter().map(name).collect()
        }),
        email: r.read("acme.email", |written| {
            let text = written.text();
            let is_address = text.contains('@') && !text.contains([',', ' ', '?']);
            match text.as_str() {
                "" => Ok(None),
                _ if is_address => Ok(Some(text)),
                _ => Err(ValueError::NotAChoice),
            }
        }),
        directory: r.read("acme.directory", |written| {
            let text = written.text();
            let url: Url = text.parse()?;
            match url.target().security {
                Security::Plain => Err(NotAUrl::Form.into()),
                _ => Ok(text),
            }
        }),
        servers: read_authorities(r, "acme.authorities"),
        challenge: r.read("acme.challenge", |written| {
            let all = [Challenge::Http, Challenge::TlsAlpn];
            let text = written.text();
            let named = all.into_iter().find(|one| one.as_str() == text);
            named.ok_or(ValueError::NotAChoice)
        }),
        keep_in: file(r, "acme.keep_in").unwrap_or_default(),
        in_store: r.read("acme.in_store", flag),
        accept_terms: r.read("acme.accept_terms", flag),
    }
}

/// What is shown to servers that ask for a certificate.
fn read_shown(r: &mut Reader<'_>) -> Option<Files> {
    let certificate = file(r, "tls.client_certificate");
    let key = file(r, "tls.client_key");
    if certificate.is_some() != key.is_some() {
        r.conflict(
            "tls.client_certificate and tls.client_key belong together: set both or neither"
                .to_owned(),
        );
    }
    certificate.zip(key).map(|(certificate, key)| Files {
        certificate,
        key,
        names: Vec::new(),
    })
}

/// Who vouches for servers that this proxy connects to.
fn read_authorities(r: &mut Reader<'_>, path: &str) -> ServerAuthority {
    let named: Vec<PathBuf> = r.read(path, |written| {
        let items = written.items();
        if items.is_empty() {
            return Err(ValueError::NoAuthority);
        }
        if items.iter().any(|item| item.contains(char::is_control)) {
            return Err(ValueError::NotAFile);
        }
        Ok(items.into_iter().map(PathBuf::from).collect())
    });
    let is_system = |file: &PathBuf| file.as_os_str() == SYSTEM;
    ServerAuthority {
        system: named.iter().any(is_system),
        authorities: named.into_iter().filter(|file| !is_system(file)).collect(),
        shown: None,
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
