//! Tables for people: columns as wide as needed, lines no longer than a terminal.

/// Formats rows under a heading, with no line longer than [`WIDTH`]. If there is too little room, the widest columns
/// are shortened, and shortened texts end in `…`.
pub(super) fn table<const COLUMNS: usize>(
    heading: [&str; COLUMNS],
    rows: &[[String; COLUMNS]],
) -> String {
    let mut widths = heading.map(|name| name.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let gaps = GAP.len() * COLUMNS.saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > WIDTH {
        let widest = widths.iter_mut().max();
        let Some(widest) = widest.filter(|width| **width > NARROWEST) else {
            break;
        };
        *widest -= 1;
    }
    let mut text = line(heading.map(str::to_owned).as_slice(), &widths);
    for row in rows {
        text.push_str(&line(row, &widths));
    }
    text
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let cells: Vec<String> = cells
        .iter()
        .zip(widths)
        .map(|(cell, width)| {
            let cell = cut(cell, *width);
            format!("{cell:<width$}")
        })
        .collect();
    let mut line = cells.join(GAP).trim_end().to_owned();
    line.push('\n');
    line
}

/// `text` in at most `width` characters, without any that would move the cursor.
fn cut(text: &str, width: usize) -> String {
    let plain: String = text.chars().filter(|letter| !letter.is_control()).collect();
    if plain.chars().count() <= width {
        return plain;
    }
    let mut short: String = plain.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Maximum characters of a line.
pub(super) const WIDTH: usize = 100;
/// Minimum width of a column; a narrower one would say nothing.
const NARROWEST: usize = 4;
const GAP: &str = "  ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_need_to_be() {
        let rows = [
            ["a".to_owned(), "1".to_owned()],
            ["longer".to_owned(), String::new()],
        ];
        assert_eq!(
            table(["ID", "COUNT"], &rows),
            "ID      COUNT\na       1\nlonger\n"
        );
    }

    #[test]
    fn no_line_is_longer_than_a_terminal_whatever_is_in_it() {
        let rows = [
            [
                "x".repeat(300),
                "y".repeat(90),
                "short\u{1b}[31m".to_owned(),
            ],
            ["ü".repeat(70), String::new(), "z".to_owned()],
        ];
        let text = table(["A", "B", "C"], &rows);
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
        assert!(text.contains('…') && text.contains("short[31m") && !text.contains('\u{1b}'));
    }
}
