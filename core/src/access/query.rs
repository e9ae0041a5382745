//! The parameters of a query, as checks read them.

use std::borrow::Cow;

use crate::stream::decode;

/// A query without its question mark: `a=1&b=2`.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a>(pub &'a str);

impl<'a> Query<'a> {
    /// The value of `name` as it was written. One that stands twice with different values counts as not given: who
    /// signed one of them did not mean the other.
    pub fn raw(self, name: &str) -> Option<&'a str> {
        let mut values = self
            .pairs()
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| value);
        let first = values.next()?;
        values.all(|value| value == first).then_some(first)
    }

    /// The value of `name` with its percent-escapes resolved (RFC 3986 §2.1). A plus sign stays one: base64 has them.
    pub fn value(self, name: &str) -> Option<Cow<'a, str>> {
        decode(self.raw(name)?).ok()
    }

    /// Each parameter and its value, as written.
    pub fn pairs(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let pairs = self.0.split('&').filter(|pair| !pair.is_empty());
        pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }

    /// The query without the parameters that are called one of `names`.
    pub fn without(self, names: &[&str]) -> String {
        let kept = self.0.split('&').filter(|pair| {
            let name = pair.split_once('=').map_or(*pair, |(name, _)| name);
            !pair.is_empty() && !names.contains(&name)
        });
        let mut rest = String::with_capacity(self.0.len());
        for pair in kept {
            if !rest.is_empty() {
                rest.push('&');
            }
            rest.push_str(pair);
        }
        rest
    }
}

/// Takes the parameters that are called one of `names` out of the target of a URL, and the question mark with the last.
pub fn strip(target: &str, names: &[&str]) -> String {
    let Some((path, query)) = target.split_once('?') else {
        return target.to_owned();
    };
    match Query(query).without(names) {
        kept if kept.is_empty() => path.to_owned(),
        kept => format!("{path}?{kept}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_counts_if_it_says_one_thing() {
        let rows = [
            ("a value", "a=1&b=2", Some("2")),
            ("the same one twice", "b=2&b=2", Some("2")),
            ("two values", "b=2&b=3", None),
            ("none", "a=1", None),
            ("no equals sign", "b&a=1", Some("")),
            ("an escape", "b=%2F%20x", Some("/ x")),
            ("a plus sign", "b=1+1", Some("1+1")),
            ("an escape that is none", "b=%zz", Some("%zz")),
            ("an equals sign in the value", "b=x=", Some("x=")),
        ];
        for (cause, query, expected) in rows {
            assert_eq!(Query(query).value("b").as_deref(), expected, "{cause}");
        }
    }

    #[test]
    fn what_was_used_here_can_be_taken_out() {
        let rows = [
            ("nothing to take", "/live/a?x=1", "/live/a?x=1"),
            ("no query", "/live/a", "/live/a"),
            ("the only one", "/live/a?token=1", "/live/a"),
            ("the first", "/live/a?token=1&x=1", "/live/a?x=1"),
            ("twice", "/live/a?token=1&x=1&token=2", "/live/a?x=1"),
            ("without a value", "/live/a?token&x=1", "/live/a?x=1"),
            ("a longer name", "/live/a?tokens=1", "/live/a?tokens=1"),
        ];
        for (cause, target, expected) in rows {
            assert_eq!(strip(target, &["token"]), expected, "{cause}");
        }
    }
}
