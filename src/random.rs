//! Bytes that nobody can guess.

/// As many random bytes as the caller has room for.
///
/// # Panics
/// When the system has no randomness; nothing that needs it may go on then.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut random = [0; N];
    getrandom::fill(&mut random).expect("the system has randomness");
    random
}
