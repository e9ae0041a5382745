//! Secrets in files of their own, as systemd's credentials and the secrets of Kubernetes are handed out: beside every
//! secret setting stands `KEY_file`, which names the file that holds the value.

use super::table::{Setting, Shape, Written};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// What `file` holds, as `setting` takes it: one value, or one for each line where it takes several. The line end after
/// the last line is not part of it.
///
/// # Errors
/// A file that cannot be read, is no text, is empty, or is longer than [`LONGEST`]. An empty file is no empty secret:
/// nobody means to leave a door open by it.
pub(super) fn read(setting: &Setting, file: &str) -> io::Result<Written> {
    let text = read_text(Path::new(file))?;
    let takes_several = matches!(setting.shape, Shape::List | Shape::TextOrList);
    if takes_several && text.contains('\n') {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        return Ok(Written::List(lines.map(str::to_owned).collect()));
    }
    Ok(Written::Text(text))
}

/// The text of a secret file without the end of its last line.
///
/// # Errors
/// Those of [`read`].
pub(super) fn read_text(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?
        .take(LONGEST + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(io::Error::other("it is too long for a secret"));
    }
    let end = text.trim_end_matches('\n').trim_end_matches('\r').len();
    text.truncate(end);
    if text.is_empty() {
        return Err(io::Error::other("it is empty"));
    }
    Ok(text)
}

/// A file that is longer was named by mistake. Many credentials of many origins fit in.
const LONGEST: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::setting;

    #[test]
    fn the_value_is_what_stands_in_the_file() {
        let token = setting("system.auth_token").unwrap();
        let key = setting("cluster.key").unwrap();
        let text = |text: &str| Some(Written::Text(text.to_owned()));
        let list = |lines: &[&str]| {
            Some(Written::List(
                lines.iter().map(|line| (*line).to_owned()).collect(),
            ))
        };
        let longest = "a".repeat(usize::try_from(LONGEST).unwrap());
        for (cause, setting, held, expected) in [
            ("no line end", token, "hunter2", text("hunter2")),
            ("an editor's line end", token, "hunter2\n", text("hunter2")),
            ("Windows' line end", token, "hunter2\r\n", text("hunter2")),
            ("spaces may be meant", token, " a b \n", text(" a b ")),
            ("one value, two lines", token, "a\nb\n", text("a\nb")),
            ("a list of one", key, "old\n", text("old")),
            ("a list", key, "new\r\n old\n\n", list(&["new", "old"])),
            ("as long as can be", token, &longest, text(&longest)),
            ("too long", token, &format!("{longest}a"), None),
            ("nothing", token, "", None),
            ("an empty line", token, "\n", None),
        ] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), held).unwrap();
            let read = read(setting, file.path().to_str().unwrap()).ok();
            assert!(read == expected, "{cause}");
        }
        let binary = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(binary.path(), [0xFF, 0xFE]).unwrap();
        assert!(read(token, binary.path().to_str().unwrap()).is_err());
        assert!(read(token, "/nonexistent/token").is_err());
    }
}
