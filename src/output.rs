//! Standard output of commands: what is written is there, or the command says that it failed.

use std::io::{self, ErrorKind, Write};

/// Writes `text` at once; returns whether somebody still reads. A reader that closes the pipe early is no failure: it has
/// seen enough.
///
/// # Errors
/// Every other one, such as a full disk.
pub fn print(text: impl AsRef<[u8]>) -> io::Result<bool> {
    print_to(&mut io::stdout().lock(), text.as_ref())
}

fn print_to(out: &mut impl Write, text: &[u8]) -> io::Result<bool> {
    match out.write_all(text).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(ErrorKind);

    impl Write for Broken {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        // As a buffer before a full disk does.
        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn only_a_reader_that_left_is_no_failure() {
        assert!(print_to(&mut Vec::new(), b"a").is_ok_and(|reads| reads));
        let left = print_to(&mut Broken(ErrorKind::BrokenPipe), b"a");
        assert!(left.is_ok_and(|reads| !reads));
        let full = print_to(&mut Broken(ErrorKind::StorageFull), b"a");
        assert_eq!(full.unwrap_err().kind(), ErrorKind::StorageFull);
    }
}
