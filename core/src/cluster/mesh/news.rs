//! News, sent at once: messages of one datagram each, with words that nobody has to ask for. A message without words
//! says that its proxy is alive.
//!
//! Gossip carries everything to all proxies, in the order in which it was said. A proxy that has thousands of rows to
//! hear would hear of a new claim last, and of heartbeats in between. News travels ahead of that; what gets lost,
//! gossip delivers.
//!
//! ```text
//! start (8) · words: length (2) · key · length (2) · word
//! ```

use super::Word;
use crate::read::{Reader, Truncated};

/// News of one proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// The start of the proxy, which tells one life of it from another.
    pub start: u64,
    /// What the proxy says, by key.
    pub words: Vec<(String, Word)>,
}

impl News {
    /// Writes messages of at most `longest` bytes, at least one and at most `most`. Also returns whether they hold
    /// everything: words that do not fit are left to gossip.
    pub fn write(&self, longest: usize, most: usize) -> (Vec<Vec<u8>>, bool) {
        let head = self.start.to_be_bytes().to_vec();
        let mut messages: Vec<Vec<u8>> = Vec::new();
        let mut message = head.clone();
        let mut whole = true;
        for (key, word) in &self.words {
            let text = word.encode();
            let (Ok(of_key), Ok(of_text)) = (u16::try_from(key.len()), u16::try_from(text.len()))
            else {
                whole = false;
                continue;
            };
            let length = 4 + key.len() + text.len();
            if message.len() + length > longest {
                if head.len() + length > longest || messages.len() + 1 >= most {
                    whole = false;
                    continue;
                }
                messages.push(std::mem::replace(&mut message, head.clone()));
            }
            message.extend(of_key.to_be_bytes());
            message.extend(key.as_bytes());
            message.extend(of_text.to_be_bytes());
            message.extend(text.as_bytes());
        }
        messages.push(message);
        (messages, whole)
    }

    /// Reads a message; words that cannot be read are skipped.
    ///
    /// # Errors
    /// When the message ends too early.
    pub fn read(message: &[u8]) -> Result<Self, Truncated> {
        let mut reader = Reader::new(message);
        let start = u64::from_be_bytes(reader.array()?);
        let mut words = Vec::new();
        while reader.remaining() > 0 {
            let (key, word) = (text(&mut reader)?, text(&mut reader)?);
            let word = word.as_deref().and_then(Word::parse);
            words.extend(key.zip(word));
        }
        Ok(Self { start, words })
    }
}

fn text(reader: &mut Reader<'_>) -> Result<Option<String>, Truncated> {
    let length = reader.u16()?;
    let bytes = reader.bytes(usize::from(length))?;
    Ok(String::from_utf8(bytes.to_vec()).ok())
}

#[cfg(test)]
mod tests {
    use super::super::{Fact, Row};
    use super::*;
    use proptest::prelude::*;

    fn said(number: u64, key: &str) -> (String, Word) {
        let (fence, fact) = (7, Fact::Removed);
        let row = Row { fence, fact };
        (key.to_owned(), Word { number, row })
    }

    #[test]
    fn what_does_not_fit_is_left_to_gossip() {
        let words: Vec<_> = (1..=9)
            .map(|number| said(number, &format!("key-{number}")))
            .collect();
        let news = |words: &[(String, Word)]| News {
            start: 5,
            words: words.to_vec(),
        };
        // A word has 4 + 5 + 11 bytes, so three of them fit.
        let longest = 8 + 3 * 20;
        let (messages, whole) = news(&words).write(longest, 9);
        assert_eq!((messages.len(), whole), (3, true));
        for (message, words) in messages.iter().zip(words.chunks(3)) {
            assert_eq!(News::read(message), Ok(news(words)));
        }
        let (messages, whole) = news(&words).write(longest, 2);
        assert_eq!((messages.len(), whole), (2, false), "too many");
        let long = [said(1, &"k".repeat(100)), said(2, "short")];
        let (messages, whole) = news(&long).write(longest, 9);
        assert!(!whole, "too long");
        assert_eq!(News::read(&messages[0]), Ok(news(&long[1..])));
        let (messages, whole) = news(&[]).write(longest, 9);
        assert_eq!((messages.len(), whole), (1, true), "a sign of life");
        assert_eq!(News::read(&messages[0]), Ok(news(&[])));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let Ok(news) = News::read(&bytes) else {
                return Ok(());
            };
            let (messages, whole) = news.write(bytes.len(), 1);
            prop_assert_eq!((messages.len(), whole), (1, true));
            prop_assert_eq!(News::read(&messages[0]), Ok(news));
        }
    }
}
