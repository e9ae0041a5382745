//! `[[system.tokens]]`: who may use the system API, each with a token and a role.

use std::sync::{Arc, PoisonError, RwLock};

use serde_json::Value;
use sluicegate_core::access::keys::Keys;

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
}

impl Tokens {
    /// The tokens of a settings file.
    ///
    /// # Errors
    /// The first problem, in words that quote no token.
    pub(super) fn read(document: &Value) -> Result<Self, String> {
        let listed = match document
            .get("system")
            .and_then(|system| system.get("tokens"))
        {
            None => return Ok(Self::default()),
            Some(Value::Array(listed)) => listed,
            Some(_) => return Err("system.tokens: a list, written [[system.tokens]]".to_owned()),
        };
        let mut tokens = Self::default();
        for (number, entry) in (1..).zip(listed) {
            let added = tokens.add(entry);
            added.map_err(|what| format!("[[system.tokens]] {number}: {what}"))?;
        }
        Ok(tokens)
    }

    fn add(&mut self, entry: &Value) -> Result<(), String> {
        let fields = entry.as_object().ok_or("not a table")?;
        if let Some(key) = fields
            .keys()
            .find(|key| !["name", "hash", "role"].contains(&key.as_str()))
        {
            return Err(format!("unknown key {key}; there are name, hash and role"));
        }
        let text = |key: &str| {
            let text = fields
                .get(key)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty());
            text.ok_or_else(|| format!("{key}: missing, or not a text"))
        };
        let (name, hash) = (text("name")?, text("hash")?);
        let role = match text("role")? {
            "admin" => Role::Admin,
            "operator" => Role::Operator,
            "origin" => Role::Origin,
            "viewer" => Role::Viewer,
            _ => return Err("role: none of origin, viewer, operator and admin".to_owned()),
        };
        if self.roles.iter().any(|(known, _)| known == name) {
            return Err(format!("{name} is named twice"));
        }
        if self.roles.len() >= MOST_TOKENS {
            return Err(format!("more than {MOST_TOKENS} tokens"));
        }
        self.keys.add(&format!("{name}:{hash}")).map_err(|_| {
            "hash: not SALT:HASH, the part of what `sluicegate key NAME` prints after the name, or a hash that stands twice"
                .to_owned()
        })?;
        self.roles.push((name.to_owned(), role));
        Ok(())
    }

    /// Whose token `shown` is, and what its owner may do.
    pub fn owner(&self, shown: &str) -> Option<(&str, Role)> {
        let name = self.keys.owner(shown)?;
        let (name, role) = self.roles.iter().find(|(known, _)| known == name)?;
        Some((name, *role))
    }

    /// What the owner of a token may do, and how that token is stored.
    pub fn stored(&self, name: &str) -> Option<(Role, [u8; 32])> {
        let (_, role) = self.roles.iter().find(|(known, _)| known == name)?;
        Some((*role, self.keys.stored(name)?))
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.roles.is_empty()
    }
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

/// Every person and program of a large company; each is one line of a file.
const MOST_TOKENS: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use sluicegate_core::access::keys::line;

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
        assert_eq!(tokens.owner("t0ken"), Some(("grafana", Role::Viewer)));
        assert_eq!(tokens.owner("other"), None);
        assert!(Tokens::read(&json!({})).unwrap().is_empty());
        let rows = [
            (json!({}), "system.tokens: a list"),
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
            let error = read(tokens).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains("t0ken"), "{error}");
        }
    }
}
