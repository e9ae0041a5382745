//! A viewer whose connection hyper has: its stream is a body.

use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame};
use sluicegate_core::http::websocket::Closing;
use sluicegate_core::media::viewer::{Sent, State};

use super::seat::Watching;
use crate::net::http::BoxError;
use crate::sessions::{Direction, EndReason};

/// A feed as a body without end; dropping it ends the session.
pub struct Shown(Box<Watching>);

impl Shown {
    pub(super) const fn new(watching: Box<Watching>) -> Self {
        Self(watching)
    }
}

impl Body for Shown {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let watching = &mut self.get_mut().0;
        if let Poll::Ready(reason) = watching.poll_guard(cx) {
            watching.row().end(reason);
        }
        let row = watching.row();
        // Hyper asks again as soon as it has room: until then the client takes nothing.
        row.blocked(Direction::ToClient, false);
        let mut gathered = BytesMut::new();
        while gathered.len() < ENOUGH && !row.has_ended() {
            let state = watching.gather(cx, Instant::now(), |slices: &[IoSlice<'_>]| {
                let before = gathered.len();
                for slice in slices {
                    gathered.extend_from_slice(slice);
                }
                gathered.len() - before
            });
            let Sent { state, .. } = state;
            match state {
                State::Blocked | State::More => {}
                State::Idle => break,
                State::Over(_) => row.end(EndReason::TooSlow),
            }
        }
        if !gathered.is_empty() {
            row.blocked(Direction::ToClient, true);
            return Poll::Ready(Some(Ok(Frame::data(gathered.freeze()))));
        }
        match row.end_reason().map(EndReason::closing) {
            None => Poll::Pending,
            Some(Closing::Over) => Poll::Ready(None),
            // What is cut short is not taken for the whole.
            Some(_) => Poll::Ready(Some(Err("the viewer was ended".into()))),
        }
    }
}

/// Bytes of one frame: a group of pictures takes some.
const ENOUGH: usize = 64 * 1024;
