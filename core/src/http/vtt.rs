//! Cues of WebVTT. Those of a storyboard are the addresses of pictures, with the part of a picture that is meant in a fragment
//! (W3C Media Fragments §4.2.2); others are what is said, and may name places.

use std::borrow::Cow;

use super::page::{ENDS_URI, Page, RewriteError, split_byte_order_mark};

/// `cues` with every URI that names an origin in full, and every address of a picture, changed to name us in full, with the page's
/// link: players resolve pictures each in their own way.
pub fn rewrite<'a>(cues: &'a [u8], page: &Page<'_>) -> Result<Cow<'a, [u8]>, RewriteError> {
    let (mark, text) = split_byte_order_mark(cues);
    if !text.starts_with(b"WEBVTT") {
        return Err(RewriteError::Kind("list of cues"));
    }
    let mut out = mark.to_vec();
    let mut changed = false;
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        let start = out.len();
        let bare = line.trim_ascii();
        if is_picture(bare) {
            page.write_in_full(bare, &mut out);
            out.extend(line.get(line.trim_ascii_end().len()..).unwrap_or_default());
        } else if let Some(written) = page.write_uris_in(line) {
            out.extend(written);
        } else {
            out.extend(line);
        }
        changed |= out.get(start..) != Some(line);
    }
    Ok(match changed {
        true => Cow::Owned(out),
        false => Cow::Borrowed(cues),
    })
}

/// Whether a line is the address of a picture, and nothing else.
fn is_picture(line: &[u8]) -> bool {
    if line.iter().any(|byte| ENDS_URI.contains(byte)) {
        return false;
    }
    let end = line.iter().position(|byte| b"?#".contains(byte));
    let path = line.get(..end.unwrap_or(line.len())).unwrap_or(line);
    let ending = path.iter().rposition(|&byte| byte == b'.');
    let ending = ending.and_then(|dot| path.get(dot + 1..));
    ending.is_some_and(|ending| {
        let mut endings = PICTURES.iter();
        endings.any(|known| ending.eq_ignore_ascii_case(known.as_bytes()))
    })
}

/// How the names of pictures end.
const PICTURES: [&str; 7] = ["avif", "bmp", "gif", "jpeg", "jpg", "png", "webp"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGE: Page<'_> = Page::EXAMPLE;

    #[test]
    fn pictures_and_whatever_names_the_origin_are_found_here() {
        let rows = [
            (
                "a picture beside it",
                "a-1.jpg#xywh=0,0,160,90",
                "https://play.example.com/live/a-1.jpg?spbhid=LINK#xywh=0,0,160,90",
            ),
            (
                "from the root",
                "/t/a.PNG?v=1",
                "https://play.example.com/t/a.PNG?v=1&spbhid=LINK",
            ),
            (
                "in full",
                "http://10.0.0.1:8080/a.webp#xywh=0,0,1,1",
                "https://play.example.com/a.webp?spbhid=LINK#xywh=0,0,1,1",
            ),
            (
                "another server's",
                "https://cdn.net/a.jpg",
                "https://cdn.net/a.jpg",
            ),
            (
                "a place in what is said",
                "- see <c>http://10.0.0.1:8080/x</c>, or https://cdn.net/x",
                "- see <c>https://play.example.com/x?spbhid=LINK</c>, or https://cdn.net/x",
            ),
            (
                "a picture in what is said",
                "\"http://10.0.0.1:8080/a.jpg\"",
                "\"https://play.example.com/a.jpg?spbhid=LINK\"",
            ),
            (
                "before a quote",
                "http://10.0.0.1:8080/a.jpg\"",
                "https://play.example.com/a.jpg?spbhid=LINK\"",
            ),
            ("what is said", "He sent it. a.jpg?", "He sent it. a.jpg?"),
            ("nothing", "", ""),
        ];
        for (cause, said, expected) in rows {
            for end in ["\n", "\r\n", ""] {
                let cues = |cue: &str| {
                    format!(
                        "\u{feff}WEBVTT{end}\n1\n00:00:00.000 --> 00:00:05.000{end}\n{cue}{end}"
                    )
                };
                let told = rewrite(cues(said).as_bytes(), &PAGE).unwrap().into_owned();
                assert_eq!(String::from_utf8_lossy(&told), cues(expected), "{cause}");
                let again = rewrite(&told, &PAGE).unwrap();
                assert!(matches!(again, Cow::Borrowed(_)), "{cause}: twice is once");
            }
        }
        assert!(rewrite(b"#EXTM3U", &PAGE).is_err());
    }

    proptest! {
        /// Whatever a cue says, what players get stays as it is when it comes by again.
        #[test]
        fn twice_is_once(cues in "([ -~\u{e9}\n]|http://10\\.0\\.0\\.1:8080|\\.jpg){0,40}") {
            let cues = format!("WEBVTT\n{cues}");
            let once = rewrite(cues.as_bytes(), &PAGE).unwrap().into_owned();
            prop_assert_eq!(rewrite(&once, &PAGE).unwrap().into_owned(), once);
        }
    }
}
