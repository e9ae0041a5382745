//! `secure_link` of nginx (ngx_http_secure_link_module): base64url of the MD5 of an expression that the operator wrote.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use md5::{Digest, Md5};

use super::{Fault, decimal, equal, grant};
use crate::access::question::Question;
use crate::access::verdict::Grant;
use crate::stream::escape_at;

/// The expression of `secure_link_md5`, and the parameters of `secure_link`.
#[derive(Clone, PartialEq, Eq)]
pub struct Nginx {
    parts: Vec<Part>,
    /// The parameter that holds the hash.
    pub sign: Box<str>,
    /// The parameter that holds the end, in seconds since 1970.
    pub end: Box<str>,
}

#[derive(Clone, PartialEq, Eq)]
enum Part {
    Address,
    End,
    Folder,
    Parameter(Box<str>),
    Secret,
    Text(Box<str>),
    Uri,
}

/// Why an expression cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// The end of a link is not under its signature, so it could be put off by anybody.
    #[error("the expression must hold $secure_link_expires")]
    Endless,
    /// A variable that only nginx knows.
    #[error(
        "a variable other than $secure_link_expires, $uri, $folder, $remote_addr, $arg_NAME and $secret"
    )]
    Unknown,
}

impl Nginx {
    /// Reads an expression such as `$secure_link_expires$uri$remote_addr $secret`.
    ///
    /// `$uri` is the path that the client asked for as nginx has it: without escapes, repeated slashes and dot segments. `$folder`
    /// is the same up to its last slash, `$secret` each of the secrets.
    ///
    /// # Errors
    /// [`ExpressionError`]; it never quotes the expression, which may hold the secret.
    pub fn new(expression: &str, sign: &str, end: &str) -> Result<Self, ExpressionError> {
        let mut parts = Vec::new();
        let mut rest = expression;
        while let Some((text, after)) = rest.split_once('$') {
            if !text.is_empty() {
                parts.push(Part::Text(text.into()));
            }
            let braced = after
                .strip_prefix('{')
                .and_then(|after| after.split_once('}'));
            let (name, after) = braced.unwrap_or_else(|| {
                let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let length = after.find(|c| !is_name(c)).unwrap_or(after.len());
                after.split_at_checked(length).unwrap_or((after, ""))
            });
            parts.push(variable(name, end).ok_or(ExpressionError::Unknown)?);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        if !parts.contains(&Part::End) {
            return Err(ExpressionError::Endless);
        }
        let (sign, end) = (sign.into(), end.into());
        Ok(Self { parts, sign, end })
    }

    pub(super) fn check(
        &self,
        question: &Question<'_>,
        secrets: &[Box<str>],
        now: u64,
    ) -> Result<Grant, Fault> {
        let query = question.query();
        let shown = query.raw(&self.sign).ok_or(Fault::Missing)?;
        let end = query.raw(&self.end).ok_or(Fault::Missing)?;
        let shown =
            Base64UrlUnpadded::decode_vec(shown.trim_end_matches('=')).map_err(|_| Fault::Wrong)?;
        let uri = normalized(&question.uri()).ok_or(Fault::Wrong)?;
        let fits = |secret: &str| equal(&self.hash(question, &uri, end, secret), &shown);
        // An expression that holds its secret itself has one form.
        if !(secrets.iter().any(|secret| fits(secret)) || (secrets.is_empty() && fits(""))) {
            return Err(Fault::Wrong);
        }
        match decimal(end) {
            None => Err(Fault::Wrong),
            Some(end) if end < now => Err(Fault::Expired),
            end => Ok(grant(end, &[&self.sign, &self.end])),
        }
    }

    fn hash(&self, question: &Question<'_>, uri: &[u8], end: &str, secret: &str) -> [u8; 16] {
        let mut hash = Md5::new();
        for part in &self.parts {
            match part {
                Part::Address => hash.update(question.client.to_canonical().to_string()),
                Part::End => hash.update(end),
                Part::Folder => {
                    let last = uri.iter().rposition(|&byte| byte == b'/');
                    let folder = last.and_then(|last| uri.get(..=last));
                    hash.update(folder.unwrap_or(b"/"));
                }
                Part::Parameter(name) => {
                    hash.update(question.query().raw(name).unwrap_or_default());
                }
                Part::Secret => hash.update(secret),
                Part::Text(text) => hash.update(text.as_bytes()),
                Part::Uri => hash.update(uri),
            }
        }
        hash.finalize().into()
    }
}

impl fmt::Debug for Nginx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nginx(***)")
    }
}

/// `$uri` of nginx for the path of a request (`ngx_http_parse_complex_uri`, with `merge_slashes` as it is by default): escapes are
/// resolved first, so that an escaped slash or dot counts as one. `None` for a path that nginx refuses.
fn normalized(path: &str) -> Option<Vec<u8>> {
    let (path, _) = path.split_once('#').unwrap_or((path, ""));
    let decoded = decoded(path.as_bytes())?;
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut is_folder = false;
    for segment in decoded.split(|&byte| byte == b'/') {
        is_folder = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"" | b"." => {}
            b".." => drop(segments.pop()?),
            _ => segments.push(segment),
        }
    }
    let mut uri = vec![b'/'];
    uri.extend(segments.join(&b'/'));
    if is_folder && !segments.is_empty() {
        uri.push(b'/');
    }
    Some(uri)
}

/// The bytes that a path stands for; `None` where an escape is none, or stands for a zero.
fn decoded(path: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&first, after)) = rest.split_first() {
        let (byte, after) = match first {
            b'%' => escape_at(rest).filter(|(byte, _)| *byte != 0)?,
            _ => (first, after),
        };
        decoded.push(byte);
        rest = after;
    }
    Some(decoded)
}

fn variable(name: &str, end: &str) -> Option<Part> {
    Some(match name {
        "folder" => Part::Folder,
        "remote_addr" => Part::Address,
        "secret" => Part::Secret,
        "secure_link_expires" => Part::End,
        "uri" => Part::Uri,
        _ => match name.strip_prefix("arg_")? {
            name if name == end => Part::End,
            name => Part::Parameter(name.into()),
        },
    })
}
