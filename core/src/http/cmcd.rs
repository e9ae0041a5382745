//! What players report about themselves on the way (CMCD, CTA-5004), without the links that we gave them.
//!
//! A player names the piece that it wants next (`nor`) as our playlist named it, escaped once in a header and twice in
//! a query. The origin is told of its own URIs.

use std::borrow::Cow;

use super::link::PARAMETER;
use super::sharing::CMCD;

/// A request target whose `CMCD` names pieces without our links; all other bytes stay.
///
/// ```
/// use sluicegate_core::http::cmcd::of_target;
///
/// let target = "/live/a-1.ts?CMCD=nor%3D%22a-2.ts%253Fspbhid%253DAbC%22&x=1";
/// assert_eq!(of_target(target), "/live/a-1.ts?CMCD=nor%3D%22a-2.ts%22&x=1");
/// ```
pub fn of_target(target: &str) -> Cow<'_, str> {
    let Some((path, query)) = target.split_once('?').filter(|(_, query)| {
        let reports = |pair: &str| {
            pair.strip_prefix(CMCD)
                .is_some_and(|rest| rest.starts_with('='))
        };
        query.split('&').any(reports) && query.contains(PARAMETER)
    }) else {
        return Cow::Borrowed(target);
    };
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((CMCD, value)) => Cow::Owned(format!("{CMCD}={}", without_links(value))),
        _ => Cow::Borrowed(pair),
    });
    let query: Vec<Cow<'_, str>> = pairs.collect();
    Cow::Owned(format!("{path}?{}", query.join("&")))
}

/// A value of CMCD whose URIs have no links of ours, however often they are escaped, up to `LEVELS` times.
pub fn without_links(value: &str) -> Cow<'_, str> {
    if !value.contains(PARAMETER) {
        return Cow::Borrowed(value);
    }
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some((before, after)) = rest.split_once(PARAMETER) {
        out.push_str(before);
        rest = after;
        let taken = ["?", "&"].into_iter().find_map(|mark| {
            let mark = ending(&out, mark)?;
            let link = after.get(starting(after, "=")?..)?;
            let letters = link.find(|c: char| !c.is_ascii_alphanumeric() && !"_-.".contains(c));
            Some((mark, link.get(letters.unwrap_or(link.len())..)?))
        });
        let Some((mark, tail)) = taken else {
            out.push_str(PARAMETER);
            continue;
        };
        // Of `?link&x=1` the question mark stays, and the ampersand goes.
        match starting(tail, "&").filter(|_| ending(&out, "?").is_some()) {
            Some(length) => rest = tail.get(length..).unwrap_or_default(),
            None => {
                out.truncate(out.len() - mark);
                rest = tail;
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// How long `mark` is at the start of `text`, escaped or not.
fn starting(text: &str, mark: &str) -> Option<usize> {
    let fits = |form: &String| {
        let start = text.get(..form.len())?;
        start.eq_ignore_ascii_case(form).then_some(form.len())
    };
    forms(mark).iter().find_map(fits)
}

/// How long `mark` is at the end of `text`, escaped or not.
fn ending(text: &str, mark: &str) -> Option<usize> {
    let fits = |form: &String| {
        let end = text.get(text.len().checked_sub(form.len())?..)?;
        end.eq_ignore_ascii_case(form).then_some(form.len())
    };
    forms(mark).iter().find_map(fits)
}

/// A mark as it is, escaped, escaped twice, and so on.
fn forms(mark: &str) -> Vec<String> {
    let code = mark.bytes().next().unwrap_or_default();
    let mut forms = vec![mark.to_owned(), format!("%{code:02X}")];
    for _ in 1..LEVELS {
        let next = forms.last().map(|form| form.replace('%', "%25"));
        forms.extend(next);
    }
    forms
}

/// A header has one level, a query two; a player that escapes a URI which was escaped already adds one.
const LEVELS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_goes_and_everything_else_stays() {
        for (cause, value, expected) in [
            ("no link", "bl=100,nor=\"a-2.ts\"", "bl=100,nor=\"a-2.ts\""),
            (
                "as it is",
                "nor=\"a-2.ts?spbhid=A_b-1\",bl=100",
                "nor=\"a-2.ts\",bl=100",
            ),
            ("escaped", "nor=\"a-2.ts%3Fspbhid%3DAbC\"", "nor=\"a-2.ts\""),
            (
                "stamped",
                "nor=\"12%3Fspbhid%3DAbC.d-_F.6.0.0\"",
                "nor=\"12\"",
            ),
            (
                "in small letters",
                "nor=\"a-2.ts%3fspbhid%3dAbC\"",
                "nor=\"a-2.ts\"",
            ),
            (
                "twice",
                "nor%3D%22a-2.ts%253Fspbhid%253DAbC%22",
                "nor%3D%22a-2.ts%22",
            ),
            (
                "after another",
                "a.ts%3Fx%3D1%26spbhid%3DAbC",
                "a.ts%3Fx%3D1",
            ),
            (
                "before another",
                "a.ts%3Fspbhid%3DAbC%26x%3D1",
                "a.ts%3Fx%3D1",
            ),
            (
                "between two",
                "a.ts%3Fx%3D1%26spbhid%3DAbC%26y%3D2",
                "a.ts%3Fx%3D1%26y%3D2",
            ),
            ("a list", "(\"a?spbhid=A\" \"b?spbhid=B\")", "(\"a\" \"b\")"),
            ("nothing else", "?spbhid=A", ""),
            ("another parameter", "a?xspbhid=A", "a?xspbhid=A"),
            ("a word", "spbhid", "spbhid"),
            ("no value", "a?spbhid", "a?spbhid"),
            ("letters of two bytes", "é?spbhid=Aé", "éé"),
        ] {
            assert_eq!(without_links(value), expected, "{cause}");
        }
    }

    #[test]
    fn only_what_is_reported_is_read() {
        for (cause, target, expected) in [
            ("no query", "/a.ts", "/a.ts"),
            (
                "another's",
                "/a.ts?next=b%3Fspbhid%3DA",
                "/a.ts?next=b%3Fspbhid%3DA",
            ),
            (
                "a name that begins so",
                "/a.ts?CMCDX=b%3Fspbhid%3DA",
                "/a.ts?CMCDX=b%3Fspbhid%3DA",
            ),
            (
                "ours",
                "/a.ts?x=1&CMCD=b%253Fspbhid%253DA&y",
                "/a.ts?x=1&CMCD=b&y",
            ),
        ] {
            assert_eq!(of_target(target), expected, "{cause}");
        }
    }
}
