//! The `.env` file, read in the same way as by the SRS proxy.

/// The assignments in a `.env` text, in order. If a name occurs twice, the first one counts.
///
/// Lines are trimmed. Blank lines, `#` lines and lines without `=` are skipped; `export ` may come first. A value in
/// single quotes is literal; in double quotes `\n \r \" \\` are unescaped; without quotes it ends at ` #`.
pub(super) fn parse(text: &str) -> Vec<(String, String)> {
    let mut assignments: Vec<(String, String)> = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        let name = name.trim();
        if !assignments.iter().any(|(known, _)| known == name) {
            assignments.push((name.to_owned(), unquote(value.trim())));
        }
    }
    assignments
}

fn unquote(value: &str) -> String {
    let within = |quote: char| {
        value
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote))
    };
    if let Some(raw) = within('\'') {
        return raw.to_owned();
    }
    if let Some(escaped) = within('"') {
        return unescape(escaped);
    }
    let end = value.find(" #").unwrap_or(value.len());
    value.get(..end).unwrap_or(value).trim_end().to_owned()
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
            assert_eq!(parse(line), expected, "{cause}: {line}");
        }
    }

    #[test]
    fn the_first_of_two_assignments_counts() {
        assert_eq!(
            parse("A=1\r\nB=2\nA=3\n"),
            [
                ("A".to_owned(), "1".to_owned()),
                ("B".to_owned(), "2".to_owned())
            ]
        );
    }
}
