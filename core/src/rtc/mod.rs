//! WebRTC, as far as a relay looks into it: which protocol a datagram belongs to, the STUN requests that prove an
//! address, the session descriptions that name addresses, and the table of flows.
//!
//! DTLS and SRTP pass untouched. The client checks the origin's fingerprint itself, so no key of a call is ever here.
//! The only secret we hold is the origin's `ice-pwd`. It was in the answer that we relayed, and a client uses it to
//! prove that it received this answer.

pub mod allowance;
pub mod classify;
mod flow;
pub mod flows;
pub mod frames;
pub mod record;
pub mod sdp;
pub mod stun;
mod unknown;
