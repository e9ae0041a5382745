//! `[[tls.certificates]]` of the settings file: more certificates than the one of `tls.certificate`.

use std::path::Path;

use serde_json::{Map, Value};
use sluicegate_core::access::table::Misread;
use sluicegate_core::near::unknown_keys;

use super::lines::EntryLines;
use super::{Challenge, Problem, Settings};
use crate::pem::{Files, Untimely};

/// The list's place in the file.
pub(super) const LIST: &str = "tls.certificates";

/// The certificates that `file` lists. A file that cannot be read has been reported by those who read the rest of it.
pub(super) fn gather(file: &Path, problems: &mut Vec<Problem>) -> Vec<Files> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let document: Value = toml::from_str(&text).unwrap_or_default();
    let entries = match document.get("tls").and_then(|tls| tls.get("certificates")) {
        None => return Vec::new(),
        Some(Value::Array(entries)) => entries.as_slice(),
        Some(_) => &[Value::Null],
    };
    let mut found = Vec::new();
    for (number, entry) in (1..).zip(entries) {
        match read(entry) {
            Ok(files) => found.push(files),
            Err(what) => problems.push(Problem::Entry {
                path: file.display().to_string(),
                line: EntryLines::of(&text).of_entry(LIST, number),
                misread: Misread::new(LIST, number, what),
            }),
        }
    }
    found
}

/// What is wrong at the time `now` with certificates that do not keep the proxy from starting.
pub(super) fn untimely(settings: &Settings, now: i64) -> impl Iterator<Item = String> {
    let loaded = settings.tls.certificates.iter().map(Files::load);
    loaded.flatten().filter_map(move |loaded| {
        let problem = Untimely::at(now, (loaded.not_before, loaded.not_after))?;
        Some(format!("the certificate of {} {problem}", loaded.name))
    })
}

/// Adds what keeps the TLS of `settings` from working: files that cannot be used, and listeners that ask for more than
/// there is.
pub(super) fn check(settings: &Settings, problems: &mut Vec<Problem>) {
    let mut conflict = |sentence: String| problems.push(Problem::Conflict(sentence));
    let tls = &settings.tls;
    if tls.self_signed && !tls.certificates.is_empty() {
        conflict(
            "tls.self_signed is on and there is a certificate in tls.certificate or [[tls.certificates]]; keep one of them"
                .to_owned(),
        );
    }
    for files in &tls.certificates {
        if let Err(error) = files.load() {
            conflict(format!("TLS certificate: {error}"));
        }
    }
    for sentence in against_ordering(settings) {
        conflict(sentence);
    }
    if let Err(error) = tls.servers.own() {
        conflict(format!("tls.authorities: {error}"));
    }
    if let Err(error) = tls.servers.identity() {
        conflict(format!("tls.client_certificate: {error}"));
    }
    for (section, listener) in settings.tls_of_listeners() {
        let wishes = [
            ("tls_listen", listener.listen.listen().is_some()),
            ("require_tls", listener.required),
            ("client_ca", listener.clients.is_some()),
        ];
        let wish = wishes.into_iter().find(|(_, is_set)| *is_set);
        if let Some((key, _)) = wish.filter(|_| !tls.is_on() && settings.acme.names.is_empty()) {
            conflict(format!(
                "{section}.{key} asks for TLS, and there is no certificate: set tls.certificate and tls.key"
            ));
        }
        let Some(clients) = &listener.clients else {
            continue;
        };
        if !listener.required {
            conflict(format!(
                "{section}.client_ca asks clients for certificates, and {section}.require_tls is off: a client without TLS would need none; set require_tls = true"
            ));
        }
        if let Err(error) = clients.load() {
            conflict(format!("{section}.client_ca: {error}"));
        }
    }
}

/// What keeps certificates from being ordered.
fn against_ordering(settings: &Settings) -> Vec<String> {
    let acme = &settings.acme;
    if acme.names.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    if !acme.accept_terms {
        // What follows the path may be a key.
        let directory = acme.directory.split('?').next().unwrap_or_default();
        found.push(format!(
            "acme.names orders certificates from {directory}, whose terms of service you have to accept: set acme.accept_terms = true"
        ));
    }
    if settings.tls.self_signed {
        found.push(
            "tls.self_signed is on and acme.names orders certificates; keep one of them".to_owned(),
        );
    }
    if acme.in_store && settings.store.redis.is_none() && !settings.store.mesh {
        found.push(
            "acme.in_store keeps certificates in a store that proxies share, and there is none: set store.type to redis or mesh"
                .to_owned(),
        );
    }
    if acme.in_store && settings.cluster.keys.is_empty() {
        found.push(
            "acme.in_store keeps the keys of certificates in the store, and there is nothing to seal them under: set cluster.key"
                .to_owned(),
        );
    }
    if acme.keep_in.as_os_str().is_empty() && !acme.in_store {
        found.push("acme.keep_in is empty: certificates that are kept nowhere would be ordered at every start".to_owned());
    }
    if acme.challenge == Challenge::Http && settings.http.listen.listen().is_none() {
        found.push("acme.challenge is http-01, and http.listen is closed".to_owned());
    }
    if let Err(error) = acme.servers.own() {
        found.push(format!("acme.authorities: {error}"));
    }
    found
}

fn read(entry: &Value) -> Result<Files, String> {
    let fields = entry
        .as_object()
        .ok_or("not a table: write its keys under a line of its own in double brackets")?;
    if let Some(what) = unknown_keys(fields, &KEYS) {
        return Err(what);
    }
    Ok(Files {
        certificate: file(fields, "certificate")?.into(),
        key: file(fields, "key")?.into(),
        names: names(fields.get("names"))?,
    })
}

fn file<'a>(fields: &'a Map<String, Value>, key: &str) -> Result<&'a str, String> {
    match fields.get(key) {
        Some(Value::String(file)) if !file.is_empty() => Ok(file),
        Some(_) => Err(format!("{key}: not the name of a file")),
        None => Err(format!("{key}: missing")),
    }
}

fn names(value: Option<&Value>) -> Result<Vec<String>, String> {
    let listed = match value {
        None => return Ok(Vec::new()),
        Some(Value::Array(names)) => names.as_slice(),
        Some(name) => std::slice::from_ref(name),
    };
    let names = listed.iter().map(|name| {
        let name = name.as_str().unwrap_or_default();
        is_name(name).then(|| name.to_owned()).ok_or_else(|| {
            format!("names: {name:?} is not a host such as live.example or *.example")
        })
    });
    names.collect()
}

/// A host as clients name it in their hello (RFC 6066 §3), perhaps with `*` in place of its first label.
fn is_name(name: &str) -> bool {
    let labels = name.strip_prefix("*.").unwrap_or(name).split('.');
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let mut all = labels.map(is_label);
    all.all(|is_label| is_label)
}

const KEYS: [&str; 3] = ["certificate", "key", "names"];

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::*;
    use crate::config::Environment;

    fn gathered(text: &str) -> Result<Vec<Files>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut problems = Vec::new();
        let files = gather(file.path(), &mut problems);
        let path = file.path().display().to_string();
        match problems.first() {
            Some(problem) => Err(problem.to_string().replace(&path, "FILE")),
            None => Ok(files),
        }
    }

    #[test]
    fn the_list_is_read() {
        let text = "[tls]\nkey = \"k\"\n[[tls.certificates]]\ncertificate = \"a.crt\"\nkey = \"a.key\"\n\
            [[tls.certificates]]\ncertificate = \"b.crt\"\nkey = \"b.key\"\nnames = [\"*.example\", \"b\"]\n";
        let files = |name: &str, names: &[&str]| Files {
            certificate: format!("{name}.crt").into(),
            key: format!("{name}.key").into(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        let expected = vec![files("a", &[]), files("b", &["*.example", "b"])];
        assert_eq!(gathered(text), Ok(expected));
        assert_eq!(gathered("[rtmp]\n"), Ok(Vec::new()));
    }

    #[test]
    fn what_keeps_tls_from_working_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let written = |name: &str, text: &str| {
            let file = directory.path().join(name);
            std::fs::write(&file, text).unwrap();
            format!("{file:?}")
        };
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let certificate = written("crt", &made.cert.pem());
        let key = written("key", &made.signing_key.serialize_pem());
        let own = format!("[tls]\ncertificate = {certificate}\nkey = {key}\n");
        let list = format!("[[tls.certificates]]\ncertificate = {certificate}\nkey = {key}\n");
        let authority = format!("client_ca = {certificate}\n");
        let rows = [
            ("one pair", own.clone(), ""),
            ("a list alone", list, ""),
            (
                "made at the start",
                "[tls]\nself_signed = true\n".to_owned(),
                "",
            ),
            (
                "required, with an authority",
                format!("[rtmp]\nrequire_tls = true\n{authority}{own}"),
                "",
            ),
            (
                "no key",
                format!("[tls]\ncertificate = {certificate}\n"),
                "tls.certificate and tls.key belong together",
            ),
            (
                "no such file",
                format!("[tls]\ncertificate = \"/nowhere\"\nkey = {key}\n"),
                "TLS certificate: /nowhere: cannot be read: No such file",
            ),
            (
                "swapped",
                format!("[tls]\ncertificate = {key}\nkey = {certificate}\n"),
                "TLS certificate: ",
            ),
            (
                "made and set",
                format!("{own}self_signed = true\n"),
                "tls.self_signed is on and there is a certificate",
            ),
            (
                "required without a certificate",
                "[http]\nrequire_tls = true\n".to_owned(),
                "http.require_tls asks for TLS, and there is no certificate",
            ),
            (
                "a port without a certificate",
                "[rtsp]\ntls_listen = 322\n".to_owned(),
                "rtsp.tls_listen asks for TLS, and there is no certificate",
            ),
            (
                "an authority, and plain clients",
                format!("[api]\n{authority}{own}"),
                "api.client_ca asks clients for certificates, and api.require_tls is off",
            ),
            (
                "an authority that is none",
                format!("[api]\nrequire_tls = true\nclient_ca = {key}\n{own}"),
                "api.client_ca: ",
            ),
            (
                "authorities for servers",
                format!(
                    "[tls]\nauthorities = [\"system\", {certificate}]\nclient_certificate = {certificate}\nclient_key = {key}\n"
                ),
                "",
            ),
            (
                "no authority for servers",
                "[tls]\nauthorities = []\n".to_owned(),
                "tls.authorities",
            ),
            (
                "an authority for servers that is none",
                format!("[tls]\nauthorities = {key}\n"),
                "tls.authorities: ",
            ),
            (
                "what is shown to servers, without its key",
                format!("[tls]\nclient_certificate = {certificate}\n"),
                "tls.client_certificate and tls.client_key belong together",
            ),
            (
                "what is shown to servers, with another key",
                format!("[tls]\nclient_certificate = {certificate}\nclient_key = {certificate}\n"),
                "tls.client_certificate: ",
            ),
            (
                "names to order for",
                "[http]\ntls_listen = 18443\n[acme]\nnames = [\"a.example\"]\naccept_terms = true\n".to_owned(),
                "",
            ),
            (
                "terms that are not accepted",
                "[acme]\nnames = [\"a.example\"]\n".to_owned(),
                "acme.names orders certificates from https://acme-v02.api.letsencrypt.org/directory, whose terms",
            ),
            (
                "a wildcard",
                "[acme]\nnames = [\"*.example\"]\naccept_terms = true\n".to_owned(),
                "acme.names",
            ),
            (
                "a server without TLS",
                "[acme]\ndirectory = \"http://a.example\"\n".to_owned(),
                "acme.directory",
            ),
            (
                "HTTP that is closed",
                "[http]\nlisten = \"\"\n[acme]\nnames = [\"a.example\"]\naccept_terms = true\nchallenge = \"http-01\"\n".to_owned(),
                "acme.challenge is http-01, and http.listen is closed",
            ),
            (
                "certificates in a store that is nobody else's",
                "[acme]\nnames = [\"a.example\"]\naccept_terms = true\nin_store = true\n[cluster]\nkey = \"k\"\n".to_owned(),
                "acme.in_store keeps certificates in a store that proxies share",
            ),
            (
                "keys of certificates in a store, unsealed",
                "[store]\ntype = \"redis\"\n[acme]\nnames = [\"a.example\"]\naccept_terms = true\nin_store = true\n".to_owned(),
                "acme.in_store keeps the keys of certificates in the store, and there is nothing to seal them under",
            ),
            (
                "certificates in a store that proxies share",
                "[store]\ntype = \"redis\"\n[cluster]\nkey = \"k\"\n[acme]\nnames = [\"a.example\"]\naccept_terms = true\nin_store = true\n".to_owned(),
                "",
            ),
            (
                "a list of revoked certificates alone",
                format!("[system]\nclient_crl = {certificate}\n{own}"),
                "system.client_crl lists revoked certificates, and system.client_ca is not set",
            ),
        ];
        for (cause, text, expected) in rows {
            let file = directory.path().join("settings.toml");
            std::fs::write(&file, text).unwrap();
            let loaded = Settings::load(Some(&file), &Environment::new([], ""));
            let problem = loaded
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default();
            // A value that cannot be read is named with its file and line.
            let place = format!("{}:", file.display());
            let said = match problem.strip_prefix(&place) {
                Some(rest) => rest.split_once(": ").map_or(rest, |(_, said)| said),
                None => &problem,
            };
            assert!(said.starts_with(expected), "{cause}: {problem}");
            assert_eq!(
                problem.is_empty(),
                expected.is_empty(),
                "{cause}: {problem}"
            );
        }
    }

    #[test]
    fn a_certificate_out_of_its_time_is_warned_of() {
        let directory = tempfile::tempdir().unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let day = Duration::from_secs(24 * 60 * 60);
        for (begins, expected) in [
            (now - 3 * day, "ended 48 hours ago"),
            (now - day / 2, ""),
            (now + day, "begins to hold in 1440 minutes"),
        ] {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
            params.not_before = rcgen::date_time_ymd(1970, 1, 1) + begins;
            params.not_after = params.not_before + day;
            let certificate = params.self_signed(&key).unwrap();
            let [crt, pem, settings] =
                ["crt", "key", "toml"].map(|name| directory.path().join(name));
            std::fs::write(&crt, certificate.pem()).unwrap();
            std::fs::write(&pem, key.serialize_pem()).unwrap();
            let text = format!("[tls]\ncertificate = {crt:?}\nkey = {pem:?}\n");
            std::fs::write(&settings, text).unwrap();
            let report = crate::config::check(Some(&settings), &Environment::new([], "")).unwrap();
            let begin = "warning: the certificate of a.example ";
            let warning = report.lines().find_map(|line| line.strip_prefix(begin));
            let warning = warning.unwrap_or_default();
            assert_eq!(warning.is_empty(), expected.is_empty(), "{report}");
            assert!(warning.starts_with(expected), "{warning}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let whole = "certificate = \"a\"\nkey = \"a\"\n";
        for (text, expected) in [
            ("key = \"a\"", "certificate: missing"),
            ("certificate = \"a\"", "key: missing"),
            ("certificate = 1", "certificate: not the name of a file"),
            (
                "certificate = \"a\"\nkey = \"\"",
                "key: not the name of a file",
            ),
            (
                "cert = \"a\"",
                "unknown key cert; there are certificate, key, names",
            ),
            (
                &format!("{whole}names = \"a..b\""),
                "names: \"a..b\" is not a host",
            ),
            (
                &format!("{whole}names = [\"*.*.b\"]"),
                "names: \"*.*.b\" is not a host",
            ),
            (&format!("{whole}names = [7]"), "names: \"\" is not a host"),
        ] {
            let error = gathered(&format!("[[tls.certificates]]\n{text}\n")).unwrap_err();
            let expected = format!("FILE:1: [[tls.certificates]] 1: {expected}");
            assert!(error.starts_with(&expected), "{text}: {error}");
        }
        let error = gathered("[tls]\ncertificates = 1\n").unwrap_err();
        assert!(
            error.starts_with("FILE: [[tls.certificates]] 1: not a table"),
            "{error}"
        );
    }
}
