//! What an origin says while it is asked, and until it has answered: which answers the client has already, and how far the
//! origin has come.

use super::amf0::Value;
use super::header::MessageHeader;
use super::join::{No, Progress};
use super::message::{Command, CommandError, EnhancedRtmp, NO_REASON, Status, kind};
use super::server::{Answered, What};
use super::steps::Heard;
use super::walk::{Verdict, Watch};

/// Watches the origin's messages.
#[derive(Debug)]
pub(super) struct OriginWatch {
    /// Commands that the client already has answers for, and its request.
    pub(super) answered: Vec<Answered>,
    pub(super) progress: Progress,
    /// The message stream that the client was given for its request.
    pub(super) client_stream: u32,
    /// The message stream that the origin assigned, where it may differ.
    pub(super) origin_stream: Option<u32>,
    pub(super) remap: bool,
    /// The origin's refusal, if its first word about the stream was one.
    pub(super) refusal: Option<Box<No>>,
    /// Whether the request has been sent: earlier messages are not about the stream.
    pub(super) asked: bool,
    pub(super) connected: bool,
    pub(super) created: bool,
    // Boxed: gone once set-up is over.
    pub(super) enhanced: Option<Box<EnhancedRtmp>>,
    pub(super) media: bool,
}

impl OriginWatch {
    pub(super) const fn heard(&self) -> Heard {
        Heard {
            connected: self.connected,
            created: self.created,
            client_stream: self.client_stream,
            origin_stream: self.origin_stream,
        }
    }

    fn answer(&mut self, command: &Command) -> Verdict {
        let known = self
            .answered
            .iter()
            .position(|answer| answer.transaction_id == command.transaction_id);
        let Some(answer) = known.map(|at| self.answered.swap_remove(at)) else {
            return Verdict::Pass;
        };
        let refused = command.name == "_error";
        if answer.what == What::Request {
            if refused {
                self.say_no(command);
            }
            return Verdict::Pass;
        }
        match answer.what {
            What::Connect | What::CreateStream { .. } if refused => self.refuse(command),
            What::Connect => {
                self.connected = true;
                // An answer without it counts too: then no client may rely on enhanced RTMP.
                let enhanced = EnhancedRtmp::from_connect_result(command).unwrap_or_default();
                self.enhanced = Some(Box::new(enhanced));
            }
            What::CreateStream { stream_id } if stream_id == self.client_stream => {
                let theirs = command.arguments.first().and_then(Value::as_number);
                self.created(theirs);
            }
            What::CreateStream { .. } | What::Other | What::Request => {}
        }
        if self.progress == Progress::Asking && self.connected && self.created {
            self.progress = Progress::Answered;
        }
        Verdict::Drop
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "compared right after"
    )]
    fn created(&mut self, theirs: Option<f64>) {
        let Some(theirs) = theirs.filter(|id| (1.0..=f64::from(u32::MAX)).contains(id)) else {
            self.progress =
                Progress::Rejected("it answered createStream without a stream".to_owned());
            return;
        };
        let theirs = theirs as u32;
        if theirs != self.client_stream && !self.remap {
            self.progress = Progress::NeedsSteps;
            return;
        }
        self.origin_stream = Some(theirs);
        self.created = true;
    }

    fn status(&mut self, command: &Command) {
        let status = command.status();
        let connection = status
            .is_some_and(|status| status.is_error() && status.code.starts_with("NetConnection."));
        if connection || redirect(command).is_some() {
            self.refuse(command);
        } else if status.as_ref().is_some_and(Status::is_error) {
            self.say_no(command);
        } else {
            self.join();
        }
    }

    /// The origin says no to the stream, if that is its first word about it.
    fn say_no(&mut self, command: &Command) {
        if self.asked && self.progress != Progress::Joined {
            let status = command.status();
            let (words, is_busy) = status.map_or_else(
                || (NO_REASON.to_owned(), false),
                |status| (status.words(), status.says_busy()),
            );
            self.refusal = Some(Box::new(No { words, is_busy }));
        }
        self.join();
    }

    fn join(&mut self) {
        if self.asked && matches!(self.progress, Progress::Asking | Progress::Answered) {
            self.progress = Progress::Joined;
        }
    }

    fn refuse(&mut self, command: &Command) {
        if !matches!(self.progress, Progress::Asking | Progress::Answered) {
            return;
        }
        self.progress = redirect(command).map_or_else(
            || {
                let words = command.status().map(|status| status.words());
                Progress::Rejected(words.unwrap_or_else(|| NO_REASON.to_owned()))
            },
            |url| Progress::Redirected(url.to_owned()),
        );
    }
}

impl Watch for OriginWatch {
    fn message(&mut self, header: &MessageHeader, body: Option<&[u8]>) -> Verdict {
        if matches!(header.kind, kind::AUDIO | kind::VIDEO | kind::AGGREGATE) {
            self.media = true;
            self.join();
            return Verdict::Pass;
        }
        // A command that cannot be read is not one of ours; the client will judge it.
        let Some(Ok(command)) = command(header, body) else {
            return Verdict::Pass;
        };
        match command.name.as_str() {
            "_result" | "_error" => self.answer(&command),
            "onStatus" => {
                self.status(&command);
                Verdict::Pass
            }
            _ => Verdict::Pass,
        }
    }
}

/// Where an `onStatus` or `_error` sends the client (SRS: `ex.redirect2` is a whole URL, `ex.redirect` only the tcUrl).
pub fn redirect(command: &Command) -> Option<&str> {
    let extra = command.arguments.first()?.field("ex")?;
    let code = extra.field("code").and_then(Value::as_number);
    if code != Some(302.0) {
        return None;
    }
    ["redirect2", "redirect"]
        .into_iter()
        .find_map(|name| extra.field(name).and_then(Value::as_str))
}

/// Reads a command; `None` if the message is not one.
pub(super) fn command(
    header: &MessageHeader,
    body: Option<&[u8]>,
) -> Option<Result<Command, CommandError>> {
    let body = body.filter(|_| matches!(header.kind, kind::COMMAND_AMF0 | kind::COMMAND_AMF3))?;
    Some(Command::decode(header.kind, body))
}
