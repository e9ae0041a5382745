//! May this client: what it showed, the rules that it is judged by, and what the judgement was.
//!
//! | file | what it knows |
//! | --- | --- |
//! | [`credentials`] | what a client showed of itself, in each protocol |
//! | [`question`] | what a verdict is made from, and the key under which one may be kept |
//! | [`rules`] | which rule decides about a request, and the checks that it lists |
//! | [`identity`] | who a client turned out to be |
//! | [`bans`] | who may not, until when, whatever the rules say |
//! | [`limits`], [`tally`] | how much there may be at once of what, and how much there is |
//! | [`verdict`] | the answer, and how those of several checks become one |
//! | [`networks`], [`keys`], [`passwords`], [`digests`], [`signed`], [`jwt`] | the checks that need nobody else |
//! | [`challenge`] | logins in which a client shows that it knows a password and does not send it |
//! | [`pass`] | what an operator's browser shows after a login to the console |
//! | [`hooks`] | what a backend is asked, and what its answer means |
//! | [`table`] | reads the rules and checks of a settings file |
//!
//! Nothing here asks anybody: a check that needs an answer from outside is named, and the shell brings the answer.

pub mod bans;
pub mod challenge;
pub mod credentials;
pub mod digests;
pub mod hooks;
pub mod identity;
pub mod jwt;
pub mod keys;
pub mod limits;
pub mod networks;
pub mod pass;
pub mod passwords;
pub mod query;
pub mod question;
pub mod rules;
pub mod signed;
pub mod table;
pub mod tally;
pub mod verdict;
