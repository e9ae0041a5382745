//! What the claims of a token allow: our own, or those of MediaMTX.

use regex_lite::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use crate::access::question::Question;
use crate::place::pattern::{Pattern, VhostPattern};
use crate::stream::Action;

/// Which claims say what is allowed. What none of them allows is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claims {
    /// A list of actions and paths under the claim of this name, as MediaMTX has it: `mediamtx_permissions`.
    MediaMtx(Box<str>),
    /// `action` and `path`, each a text or a list, and perhaps `vhost`.
    Ours,
}

/// One permission of MediaMTX.
#[derive(Debug)]
pub struct Permissions<'a>(Vec<&'a Map<String, Value>>);

impl Claims {
    /// Whether genuine claims allow what is asked for.
    pub fn allow(&self, claims: &Map<String, Value>, question: &Question<'_>) -> bool {
        match self {
            Self::MediaMtx(name) => match claims.get(&**name) {
                // Some identity providers can only write texts.
                Some(Value::String(text)) => serde_json::from_str::<Value>(text)
                    .is_ok_and(|value| Permissions::of(&value).allow(question)),
                Some(value) => Permissions::of(value).allow(question),
                None => false,
            },
            Self::Ours => ours(claims, question),
        }
    }
}

/// `"action": "play"`, `"path": "live/*"`; a path is compared as a pattern with stars. A vhost that is not named is any.
fn ours(claims: &Map<String, Value>, question: &Question<'_>) -> bool {
    let any = |claim: &str, fits: &dyn Fn(&str) -> bool| {
        claims.get(claim).is_some_and(|value| {
            let listed = value
                .as_array()
                .map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
            listed
                .iter()
                .take(MOST_ITEMS)
                .filter_map(Value::as_str)
                .any(fits)
        })
    };
    let (path, vhost) = (question.path(), question.stream.vhost());
    let is_path = |claim: &str| {
        let pattern = claim.parse::<Pattern>();
        pattern.is_ok_and(|pattern| pattern.matches(&path))
    };
    let is_vhost = |claim: &str| {
        let pattern = claim.parse::<VhostPattern>();
        pattern.is_ok_and(|pattern| pattern.matches(vhost))
    };
    any("action", &|action| action == question.action.as_str())
        && any("path", &is_path)
        && (!claims.contains_key("vhost") || any("vhost", &is_vhost))
}

impl<'a> Permissions<'a> {
    /// The permissions in the value of the claim.
    pub fn of(value: &'a Value) -> Self {
        let listed = value.as_array().into_iter().flatten();
        Self(
            listed
                .take(MOST_ITEMS)
                .filter_map(Value::as_object)
                .collect(),
        )
    }

    /// Whether one of them fits in both, action and path.
    pub fn allow(&self, question: &Question<'_>) -> bool {
        let path = question.path();
        let wanted = match question.action {
            Action::Play => "read",
            Action::Publish => "publish",
        };
        self.0.iter().any(|permission| {
            let text = |key: &str| permission.get(key).map(Value::as_str);
            let fits = match text("path") {
                None | Some(Some("")) => true,
                Some(Some(pattern)) => path_fits(pattern, &path),
                // Neither absent nor a text.
                Some(None) => false,
            };
            fits && text("action").flatten() == Some(wanted)
        })
    }
}

/// `~` begins a regular expression, which holds from the beginning of the path on; anything else is the path itself.
fn path_fits(pattern: &str, path: &str) -> bool {
    let Some(expression) = pattern.strip_prefix('~') else {
        return pattern == path;
    };
    expression.len() <= LONGEST_EXPRESSION
        && compiled(expression).is_some_and(|expression| expression.is_match(path))
}

fn compiled(expression: &str) -> Option<Regex> {
    // The engine takes time linear in the text, and the limit bounds what the expression itself may grow to.
    let anchored = format!("^(?:{expression})");
    RegexBuilder::new(&anchored)
        .size_limit(REGEX_BYTES)
        .build()
        .ok()
}

/// Permissions, actions or paths of one token.
const MOST_ITEMS: usize = 64;
/// Bytes of an expression in a token.
const LONGEST_EXPRESSION: usize = 256;
/// Bytes that an expression may take when it is compiled.
const REGEX_BYTES: usize = 64 * 1024;
