//! The `.env` file, a line at a time, as the SRS proxy reads it.

/// The assignments in a `.env` text, in order, and the numbers of the lines that are none. If a name occurs twice, the first
/// one counts.
///
/// Lines are trimmed. Blank lines and `#` lines are skipped; `export ` may come first, and a colon may stand for the equals
/// sign. A value in single quotes is literal; in double quotes `\n \r \" \\` are unescaped; a comment may follow both. Without
/// quotes a value ends at ` #`.
pub(super) fn parse(text: &str) -> (Vec<(String, String)>, Vec<usize>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut assignments: Vec<(String, String)> = Vec::new();
    let mut unread = Vec::new();
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let is_name = |name: &str| {
            let plain = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
            !name.is_empty() && name.chars().all(plain)
        };
        let parts = line.split_once(['=', ':']);
        let parts = parts.map(|(name, value)| (name.trim(), value));
        let Some((name, value)) = parts.filter(|(name, _)| is_name(name)) else {
            unread.push(number);
            continue;
        };
        if !assignments.iter().any(|(known, _)| known == name) {
            assignments.push((name.to_owned(), unquote(value.trim())));
        }
    }
    (assignments, unread)
}

fn unquote(value: &str) -> String {
    if let Some(raw) = within(value, '\'') {
        return raw.to_owned();
    }
    if let Some(escaped) = within(value, '"') {
        return unescape(escaped);
    }
    let end = value.find(" #").unwrap_or(value.len());
    value.get(..end).unwrap_or(value).trim_end().to_owned()
}

/// What stands between two quotes at the start of `value`, after which nothing but a comment may follow.
fn within(value: &str, quote: char) -> Option<&str> {
    let rest = value.strip_prefix(quote)?;
    let mut is_escaped = false;
    let end = rest.find(|letter: char| {
        let ends = letter == quote && !is_escaped;
        is_escaped = quote == '"' && letter == '\\' && !is_escaped;
        ends
    })?;
    let (inner, after) = (rest.get(..end)?, rest.get(end + 1..)?.trim_start());
    (after.is_empty() || after.starts_with('#')).then_some(inner)
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match rest.next() {
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some(known @ ('"' | '\\')) => plain.push(known),
            Some(other) => plain.extend(['\\', other]),
            None => plain.push('\\'),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_at_a_time() {
        for (cause, line, expected) in [
            ("plain", "A=1", Some(("A", "1"))),
            ("spaces around", "  A =  1  ", Some(("A", "1"))),
            ("export in front", "export A=1", Some(("A", "1"))),
            ("a comment line", "# A=1", None),
            ("blank", "   ", None),
            ("no equals sign", "A", None),
            (
                "split at the first equals sign",
                "A=b=c",
                Some(("A", "b=c")),
            ),
            ("empty value", "A=", Some(("A", ""))),
            ("a trailing comment", "A=1 # one", Some(("A", "1"))),
            ("a comment after quotes", "A=\"1\" # one", Some(("A", "1"))),
            ("the same, single", "A='1'# one", Some(("A", "1"))),
            ("a colon", "A: 1", Some(("A", "1"))),
            ("a mark of its encoding", "\u{feff}A=1", Some(("A", "1"))),
            ("a quote within", r#"A="a\"b""#, Some(("A", "a\"b"))),
            (
                "a hash without a space belongs to the value",
                "A=a#b",
                Some(("A", "a#b")),
            ),
            (
                "single quotes are raw",
                r"A='a\n # b'",
                Some(("A", r"a\n # b")),
            ),
            (
                "double quotes unescape",
                r#"A="a\n\r\"\\b # c""#,
                Some(("A", "a\n\r\"\\b # c")),
            ),
            ("unknown escapes stay", r#"A="\t""#, Some(("A", r"\t"))),
            (
                "an escaped backslash before an n",
                r#"A="\\n""#,
                Some(("A", r"\n")),
            ),
            ("empty quotes", "A=''", Some(("A", ""))),
            ("one quote is a value", "A=\"", Some(("A", "\""))),
            ("quotes that do not match", "A='a\"", Some(("A", "'a\""))),
        ] {
            let expected: Vec<_> = expected
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            assert_eq!(parse(line).0, expected, "{cause}: {line}");
        }
    }

    #[test]
    fn lines_that_say_nothing_are_counted() {
        let text = "A=1\n\n# a comment\nnothing\n=2\ntwo words=3\nexport B: 4\n";
        let (assignments, unread) = parse(text);
        assert_eq!((assignments.len(), unread), (2, vec![4, 5, 6]));
    }

    #[test]
    fn the_first_of_two_assignments_counts() {
        assert_eq!(
            parse("A=1\r\nB=2\nA=3\n").0,
            [
                ("A".to_owned(), "1".to_owned()),
                ("B".to_owned(), "2".to_owned())
            ]
        );
    }
}
