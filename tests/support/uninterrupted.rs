//! Blocking calls that a signal does not end.

use std::io::{self, ErrorKind};

/// Makes `call` until it is not interrupted. A read with a timeout fails with `EINTR` when its process has been stopped and
/// goes on, with no signal handler and whatever the other side does (signal(7)); `read_exact` and `read_to_end` see to it
/// themselves.
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
