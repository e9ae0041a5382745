//! Passwords that people choose, stored as argon2 (RFC 9106) in its usual text form.

use std::collections::BTreeMap;
use std::fmt;

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Argon2, Params};

/// Users and the hashes of their passwords.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Users(BTreeMap<Box<str>, Box<str>>);

/// Why a line is not a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// It has another form.
    #[error("not NAME:HASH with an argon2 hash, as `sluicegate key --password` prints it")]
    Form,
    /// Its hash asks for more than is given to one password.
    #[error("a hash of more than {MOST_MEMORY} KiB, {MOST_PASSES} passes or {MOST_LANES} lanes")]
    TooDear,
    /// More of them than one list may have.
    #[error("more than {MOST_USERS} users")]
    TooMany,
    /// A second one of the same name.
    #[error("the same user twice")]
    Twice,
}

impl Users {
    /// Adds a user by a line: `NAME:$argon2id$…`.
    ///
    /// # Errors
    /// [`UserError`]; it never quotes the line.
    pub fn add(&mut self, line: &str) -> Result<(), UserError> {
        let (name, hash) = line.trim().split_once(":$").ok_or(UserError::Form)?;
        let hash = format!("${hash}");
        let parsed = PasswordHash::new(&hash).map_err(|_| UserError::Form)?;
        if name.is_empty() || parsed.hash.is_none() || parsed.salt.is_none() {
            return Err(UserError::Form);
        }
        if !matches!(
            parsed.algorithm.as_str(),
            "argon2id" | "argon2i" | "argon2d"
        ) {
            return Err(UserError::Form);
        }
        let params = Params::try_from(&parsed).map_err(|_| UserError::Form)?;
        if params.m_cost() > MOST_MEMORY
            || params.t_cost() > MOST_PASSES
            || params.p_cost() > MOST_LANES
        {
            return Err(UserError::TooDear);
        }
        if self.0.len() >= MOST_USERS {
            return Err(UserError::TooMany);
        }
        match self.0.insert(name.into(), hash.into()) {
            None => Ok(()),
            Some(_) => Err(UserError::Twice),
        }
    }

    /// The hash to check a password of `user` against. Somebody unknown has one too, which nothing fits: it takes as
    /// long to find out.
    pub fn hash_of(&self, user: &str) -> Option<&str> {
        let anybody = || self.0.values().next();
        self.0.get(user).or_else(anybody).map(|hash| &**hash)
    }

    /// Whether there is such a user.
    pub fn knows(&self, user: &str) -> bool {
        self.0.contains_key(user)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Users({})", self.0.len())
    }
}

/// Whether `password` is the one that was hashed. Takes tens of milliseconds and up to 64 MiB, on purpose.
pub fn fits(hash: &str, password: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| {
        Argon2::default()
            .verify_password(password.as_bytes(), &hash)
            .is_ok()
    })
}

/// The line under which `password` of `name` is stored, with a random `salt`.
pub fn line(name: &str, salt: &[u8; 16], password: &str) -> Option<String> {
    let salt = SaltString::encode_b64(salt).ok()?;
    let hash = Argon2::default()
        .hash_password(password.as_bytes(), &salt)
        .ok()?;
    Some(format!("{name}:{hash}"))
}

/// KiB that one hash may take: with two at once, 128 MiB.
const MOST_MEMORY: u32 = 64 * 1024;
/// Passes over that memory.
const MOST_PASSES: u32 = 8;
/// Lanes of a hash, each of which would be a thread.
const MOST_LANES: u32 = 4;
/// People who sign in with a password.
const MOST_USERS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_checked_against_its_hash() {
        // Little work, for a fast test.
        let salt = SaltString::encode_b64(b"0123456789abcdef").unwrap();
        let params = Params::new(16, 1, 1, None).unwrap();
        let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let hash = argon2
            .hash_password(b"p@ss:w0rd", &salt)
            .unwrap()
            .to_string();
        let mut users = Users::default();
        users.add(&format!("pub1:{hash}")).unwrap();
        assert!(users.knows("pub1") && !users.knows("pub2"));
        assert!(fits(users.hash_of("pub1").unwrap(), "p@ss:w0rd"));
        assert!(!fits(users.hash_of("pub1").unwrap(), "p@ss"));
        assert!(
            users.hash_of("pub2").is_some(),
            "an unknown user takes as long"
        );
        assert_eq!(users.add(&format!("pub1:{hash}")), Err(UserError::Twice));
        assert_eq!(format!("{users:?}"), "Users(1)");
    }

    #[test]
    fn a_hash_that_is_none_or_too_dear_is_refused() {
        let rows = [
            ("a password in the clear", "pub1:secret", UserError::Form),
            (
                "another hash",
                "pub1:$2b$12$abcdefghijklmnopqrstuv",
                UserError::Form,
            ),
            (
                "no name",
                ":$argon2id$v=19$m=16,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$AAAAAAAAAAAAAAAAAAAAAA",
                UserError::Form,
            ),
            (
                "a gigabyte of memory",
                "pub1:$argon2id$v=19$m=1048576,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$AAAAAAAAAAAAAAAAAAAAAA",
                UserError::TooDear,
            ),
        ];
        for (cause, line, expected) in rows {
            assert_eq!(Users::default().add(line), Err(expected), "{cause}");
        }
    }
}
