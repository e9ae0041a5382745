//! Who a client turned out to be.

/// Who a client is, as the checks that let it in know it: names, and never what was shown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct Identity {
    /// The viewer or the user: what a backend, a token or a signature calls it, a user's name, the name of a key.
    pub viewer: Option<Box<str>>,
    /// The name of the generated key that it showed.
    pub key: Option<Box<str>>,
    /// The id of the token that it showed (`jti`, RFC 7519 §4.1.7).
    pub token: Option<Box<str>>,
}

impl Identity {
    /// Somebody who is known by this name alone.
    pub fn viewer(name: &str) -> Self {
        Self {
            viewer: name_of(name),
            ..Self::default()
        }
    }

    /// The owner of a generated key.
    pub fn key(name: &str) -> Self {
        Self {
            key: name_of(name),
            ..Self::viewer(name)
        }
    }

    /// Whether nothing is known.
    pub const fn is_empty(&self) -> bool {
        self.viewer.is_none() && self.key.is_none() && self.token.is_none()
    }

    /// What is known by either; the first where both know it.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            viewer: self.viewer.or(other.viewer),
            key: self.key.or(other.key),
            token: self.token.or(other.token),
        }
    }
}

/// A name within [`LONGEST_NAME`]; `None` for an empty one.
pub fn name_of(text: &str) -> Option<Box<str>> {
    let mut end = text.len().min(LONGEST_NAME);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end)
        .filter(|name| !name.is_empty())
        .map(Into::into)
}

/// Maximum bytes of a name: links carry it, and records. What is longer is cut, wherever it is compared.
pub const LONGEST_NAME: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_bound_and_are_cut_between_letters() {
        assert_eq!(name_of(""), None);
        assert_eq!(name_of("seven").as_deref(), Some("seven"));
        let long = format!("{}é", "x".repeat(LONGEST_NAME - 1));
        let cut = "x".repeat(LONGEST_NAME - 1);
        assert_eq!(name_of(&long).as_deref(), Some(&*cut));
    }

    #[test]
    fn what_two_checks_know_is_known() {
        let both = Identity::key("encoder-1").or(Identity {
            token: name_of("t-1"),
            ..Identity::viewer("seven")
        });
        assert_eq!(both.viewer.as_deref(), Some("encoder-1"));
        assert_eq!(both.token.as_deref(), Some("t-1"));
        assert!(!both.is_empty() && Identity::default().is_empty());
    }
}
