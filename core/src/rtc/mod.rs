//! WebRTC as far as a relay looks into it: which protocol a datagram belongs to, the STUN requests that prove an
//! address, the session descriptions that name addresses, and the table of flows.
//!
//! DTLS and SRTP pass untouched: the client checks the origin's fingerprint itself, so no key of a call is ever
//! here. The one secret we hold is the origin's `ice-pwd`, which was in the answer we relayed, and with which a
//! client proves that it is the one that got this answer.

pub mod allowance;
pub mod classify;
mod flow;
pub mod flows;
pub mod frames;
pub mod record;
pub mod sdp;
pub mod stun;
mod unknown;
