//! `[[system.tokens]]`: who may use the system API, each with a token and a role.

use std::sync::{Arc, PoisonError, RwLock};

use serde_json::Value;
use sluicegate_core::access::jwt::{Claims, Jwt, JwtKeys};
use sluicegate_core::access::keys::Keys;
use sluicegate_core::access::table::{Misread, token_keys};
use sluicegate_core::near::unknown_keys;

use super::sources::TOKENS;

/// What somebody may do with the system API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Everything.
    Admin,
    /// What viewers may, and drain, undrain, disable, kick and record.
    Operator,
    /// Register an origin, and say what becomes of its streams; nothing else.
    Origin,
    /// See the fleet and its sessions.
    Viewer,
}

impl Role {
    /// The role that the settings call `name`.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Admin, Self::Operator, Self::Origin, Self::Viewer];
        all.into_iter().find(|role| role.as_str() == name)
    }

    /// Its name in the settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Origin => "origin",
            Self::Viewer => "viewer",
        }
    }

    /// Whether it may do what `least` may.
    pub const fn may(self, least: Self) -> bool {
        matches!(
            (self, least),
            (Self::Admin, _)
                | (Self::Operator, Self::Operator | Self::Viewer)
                | (Self::Origin, Self::Origin)
                | (Self::Viewer, Self::Viewer)
        )
    }
}

/// The tokens that the system API takes, each with its owner and the role of that owner.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    keys: Keys,
    roles: Vec<(String, Role)>,
    /// Those that are JSON Web Tokens, by who issues them, and the most that these may do.
    issued: Vec<(String, Role, Jwt)>,
}

impl Tokens {
    /// The tokens of a settings file.
    ///
    /// # Errors
    /// Every problem, in words that quote no token.
    pub(super) fn read(document: &Value) -> Result<Self, Vec<Misread>> {
        let listed = match document
            .get("system")
            .and_then(|system| system.get("tokens"))
        {
            None => return Ok(Self::default()),
            Some(Value::Array(listed)) => listed,
            Some(_) => {
                return Err(vec![Misread::no_list(TOKENS)]);
            }
        };
        let mut tokens = Self::default();
        let mut problems = Vec::new();
        for (number, entry) in (1..).zip(listed) {
            if let Err(what) = tokens.add(entry) {
                problems.push(Misread::new(TOKENS, number, what));
            }
        }
        match problems.is_empty() {
            true => Ok(tokens),
            false => Err(problems),
        }
    }

    fn add(&mut self, entry: &Value) -> Result<(), String> {
        let fields = entry.as_object().ok_or("not a table")?;
        if let Some(what) = unknown_keys(fields, &KEYS) {
            return Err(what);
        }
        let text = |key: &str| {
            let text = fields
                .get(key)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty());
            text.ok_or_else(|| format!("{key}: missing, or not a text"))
        };
        let name = text("name")?;
        let role =
            Role::named(text("role")?).ok_or("role: none of origin, viewer, operator and admin")?;
        let mut issued = self.issued.iter();
        if self.roles.iter().any(|(known, _)| known == name)
            || issued.any(|(known, ..)| known == name)
        {
            return Err(format!("{name} is named twice"));
        }
        if self.roles.len() + self.issued.len() >= MOST_TOKENS {
            return Err(format!("more than {MOST_TOKENS} tokens"));
        }
        if fields.contains_key("jwks") || fields.contains_key("secrets") {
            if fields.contains_key("hash") {
                return Err("either a hash, or jwks or secrets".to_owned());
            }
            self.issued.push((name.to_owned(), role, jwt(entry)?));
            return Ok(());
        }
        let hash = text("hash")?;
        self.keys.add(&format!("{name}:{hash}")).map_err(|_| {
            "hash: not SALT:HASH, the part of what `sluicegate key NAME` prints after the name, or a hash that stands twice"
                .to_owned()
        })?;
        self.roles.push((name.to_owned(), role));
        Ok(())
    }

    /// Whose token `shown` is, and what its owner may do. `now` is in seconds since 1970.
    pub fn owner(&self, shown: &str, now: u64) -> Option<(String, Role)> {
        let Some(name) = self.keys.owner(shown) else {
            let mut issued = self.issued.iter();
            return issued.find_map(|(name, most, jwt)| bearer_of(name, *most, jwt, shown, now));
        };
        let (name, role) = self.roles.iter().find(|(known, _)| known == name)?;
        Some((name.clone(), *role))
    }

    /// What the owner of a token may do, and how that token is stored.
    pub fn stored(&self, name: &str) -> Option<(Role, [u8; 32])> {
        let (_, role) = self.roles.iter().find(|(known, _)| known == name)?;
        Some((*role, self.keys.stored(name)?))
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.issued.is_empty()
    }
}

/// How tokens of one issuer are checked.
fn jwt(entry: &Value) -> Result<Jwt, String> {
    let text = |key: &str| match entry.get(key) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.as_str())),
        Some(_) => Err(format!("{key}: not a text, or an empty one")),
    };
    let keys = token_keys(entry)?;
    if keys.count() == 0 {
        return Err("jwks, secrets: no key in them".to_owned());
    }
    Ok(Jwt {
        keys,
        published_at: None,
        issuer: text("issuer")?.map(Into::into),
        audience: text("audience")?.map(Into::into),
        claims: Claims::Ours,
        parameters: Vec::new(),
    })
}

/// The holder of a JSON Web Token, and what it may do: as its claim `role` says, within what the issuer's tokens may.
fn bearer_of(name: &str, most: Role, jwt: &Jwt, shown: &str, now: u64) -> Option<(String, Role)> {
    let claims = jwt.verify(shown, &JwtKeys::default(), now).ok()?;
    let text = |claim: &str| claims.get(claim).and_then(Value::as_str);
    let role = Role::named(text("role")?).filter(|role| most.may(*role))?;
    let subject: String = text("sub")
        .unwrap_or("-")
        .chars()
        .filter(|letter| !letter.is_control())
        .take(LONGEST_SUBJECT)
        .collect();
    Some((format!("{name}:{subject}"), role))
}

/// The tokens as they hold now; a clone is the same ones.
// Read for a line by each request, and written when the settings file changed.
#[derive(Debug, Clone, Default)]
pub struct LiveTokens(Arc<RwLock<Arc<Tokens>>>);

impl LiveTokens {
    /// These tokens, until there are others.
    pub fn new(tokens: Tokens) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(tokens))))
    }

    /// Takes other tokens from here on.
    pub fn take(&self, tokens: Tokens) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(tokens);
    }

    /// The tokens as they are at this moment.
    pub fn now(&self) -> Arc<Tokens> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The keys of an entry.
const KEYS: [&str; 7] = [
    "name", "hash", "role", "jwks", "secrets", "issuer", "audience",
];
/// Letters of a token's subject that audit lines have.
const LONGEST_SUBJECT: usize = 64;
/// Every person and program of a large company; each is one line of a file.
const MOST_TOKENS: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use sluicegate_core::access::keys::line;

    fn told(problems: &[Misread]) -> String {
        let lines: Vec<String> = problems.iter().map(Misread::to_string).collect();
        lines.join("\n")
    }

    #[test]
    fn a_role_may_what_it_covers() {
        use Role::{Admin, Operator, Origin, Viewer};
        let rows = [
            (Admin, [true, true, true, true]),
            (Operator, [false, true, false, true]),
            (Origin, [false, false, true, false]),
            (Viewer, [false, false, false, true]),
        ];
        for (role, expected) in rows {
            let may = [Admin, Operator, Origin, Viewer].map(|least| role.may(least));
            assert_eq!(may, expected, "{}", role.as_str());
        }
    }

    #[test]
    fn tokens_are_known_by_their_hash() {
        let line = line("grafana", b"salt", "t0ken");
        let hash = line.strip_prefix("grafana:").unwrap();
        let entry = |name: &str, role: &str| json!({"name": name, "hash": hash, "role": role});
        let read = |tokens: Value| Tokens::read(&json!({"system": {"tokens": tokens}}));
        let tokens = read(json!([entry("grafana", "viewer")])).unwrap();
        let owner = tokens.owner("t0ken", 0);
        assert_eq!(owner, Some(("grafana".to_owned(), Role::Viewer)));
        assert_eq!(tokens.owner("other", 0), None);
        assert!(Tokens::read(&json!({})).unwrap().is_empty());
        let rows = [
            (json!({}), "[system.tokens]: a list"),
            (
                json!([entry("grafana", "guest")]),
                "[[system.tokens]] 1: role",
            ),
            (
                json!([{"name": "a", "role": "viewer"}]),
                "[[system.tokens]] 1: hash: missing",
            ),
            (
                json!([{"name": "a", "role": "viewer", "hash": "t0ken"}]),
                "[[system.tokens]] 1: hash: not SALT:HASH",
            ),
            (
                json!([{"name": "a", "token": "t0ken"}]),
                "[[system.tokens]] 1: unknown key token",
            ),
            (
                json!([entry("a", "viewer"), entry("a", "viewer")]),
                "[[system.tokens]] 2: a is named twice",
            ),
            (
                json!([entry("a", "viewer"), entry("b", "viewer")]),
                "[[system.tokens]] 2: hash",
            ),
        ];
        for (tokens, expected) in rows {
            let error = told(&read(tokens).unwrap_err());
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains("t0ken"), "{error}");
        }
    }

    /// A token with these claims, signed with HS256.
    fn issued(secret: &str, claims: &Value) -> String {
        use base64ct::{Base64UrlUnpadded, Encoding};
        use hmac::{Hmac, Mac};
        let part =
            |document: &Value| Base64UrlUnpadded::encode_string(document.to_string().as_bytes());
        let signed = format!("{}.{}", part(&json!({"alg": "HS256"})), part(claims));
        let mut hash = <Hmac<sha2::Sha256> as Mac>::new_from_slice(secret.as_bytes()).unwrap();
        hash.update(signed.as_bytes());
        let hash = Base64UrlUnpadded::encode_string(&hash.finalize().into_bytes());
        format!("{signed}.{hash}")
    }

    #[test]
    fn web_tokens_say_their_role_within_what_their_issuer_may_give() {
        let secret = "an-example-secret-of-32-bytes-xx";
        let entry = json!({
            "name": "sso", "role": "operator", "secrets": [secret], "audience": "sluicegate",
        });
        let read = |tokens: Value| Tokens::read(&json!({"system": {"tokens": tokens}}));
        let tokens = read(json!([entry])).unwrap();
        assert!(!tokens.is_empty());
        let claims =
            |role: &str| json!({"exp": 100, "aud": "sluicegate", "sub": "jo\nhn", "role": role});
        let owner = |claims: &Value, now| tokens.owner(&issued(secret, claims), now);
        let john = |role| Some(("sso:john".to_owned(), role));
        assert_eq!(owner(&claims("operator"), 0), john(Role::Operator));
        assert_eq!(owner(&claims("viewer"), 0), john(Role::Viewer));
        let nobody = [
            ("more than its issuer may give", claims("admin"), 0),
            ("another role", claims("origin"), 0),
            ("no such role", claims("king"), 0),
            ("its end", claims("viewer"), 100),
            ("no role", json!({"exp": 100, "aud": "sluicegate"}), 0),
            (
                "for somebody else",
                json!({"exp": 100, "aud": "x", "role": "viewer"}),
                0,
            ),
        ];
        for (cause, claims, now) in nobody {
            assert_eq!(owner(&claims, now), None, "{cause}");
        }
        let other = issued("another-secret-that-has-32-bytes", &claims("viewer"));
        assert_eq!(tokens.owner(&other, 0), None);
        for (more, expected) in [
            (
                json!({"secrets": ["short"]}),
                "[[system.tokens]] 1: secrets: a secret of fewer",
            ),
            (
                json!({"secrets": [secret], "hash": "x"}),
                "[[system.tokens]] 1: either",
            ),
            (
                json!({"secrets": []}),
                "[[system.tokens]] 1: jwks, secrets: no key",
            ),
            (
                json!({"jwks": "{}"}),
                "[[system.tokens]] 1: jwks: not a JSON",
            ),
        ] {
            let mut entry = json!({"name": "sso", "role": "viewer"});
            let fields = entry.as_object_mut().unwrap();
            fields.extend(more.as_object().unwrap().clone());
            let error = told(&read(json!([entry])).unwrap_err());
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
