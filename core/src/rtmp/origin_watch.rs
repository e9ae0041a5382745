//! What an origin says while it is asked, and until it has answered: which answers the client has already, and how far the
//! origin has come.

use super::amf0::Value;
use super::header::MessageHeader;
use super::join::{No, Progress};
use super::message::{Command, CommandError, EnhancedRtmp, NO_REASON, Status, kind};
use super::server::{Answered, What};
use super::steps::Heard;
use super::walk::{Verdict, Watch};
use crate::place::hold::LastError;
use crate::place::redirect::place_of;
use crate::stream::Service;

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
    pub(super) word: Option<Box<Word>>,
    /// Whether the request has been sent: earlier messages are not about the stream.
    pub(super) asked: bool,
    pub(super) connected: bool,
    pub(super) created: bool,
    // Boxed: gone once set-up is over.
    pub(super) enhanced: Option<Box<EnhancedRtmp>>,
    pub(super) media: bool,
}

/// What it said that its session has to hear of.
#[derive(Debug)]
pub(super) enum Word {
    /// It asked its client to connect to this `host:port` instead, which the client did not hear.
    Elsewhere(Box<str>),
    /// It had taken the stream, and reports this error of it.
    Error(LastError),
    /// It refused the stream, and that was its first word about it.
    No(No),
}

/// The watch of a connection whose client asked for this tcUrl.
pub(super) struct Watched<'a> {
    pub(super) says: &'a mut OriginWatch,
    pub(super) tc_url: &'a str,
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

    /// Takes a status. An origin that has the stream may ask its client to connect elsewhere; the place may be one that clients
    /// cannot reach, and are not to know.
    fn status(&mut self, command: &Command, tc_url: &str) -> Verdict {
        let is_joined = self.progress == Progress::Joined;
        let elsewhere = redirect_and_form(command).filter(|_| is_joined);
        let elsewhere = elsewhere.map(|(url, _)| url);
        let elsewhere = elsewhere.or_else(|| reconnect(command));
        if let Some(url) = elsewhere
            && let Some(place) = place_of(url, Service::Rtmp)
        {
            if place_of(tc_url, Service::Rtmp).as_ref() == Some(&place) {
                return Verdict::Pass;
            }
            self.word = Some(Box::new(Word::Elsewhere(place.into())));
            return Verdict::Drop;
        }
        let status = command.status();
        if is_joined {
            let error = status.filter(|status| status.is_error() && status.code != APP_SHUTDOWN);
            if let Some(error) = error {
                self.report(error.words());
            }
            return Verdict::Pass;
        }
        let connection = status
            .is_some_and(|status| status.is_error() && status.code.starts_with("NetConnection."));
        if connection || redirect_and_form(command).is_some() {
            self.refuse(command);
        } else if status.as_ref().is_some_and(Status::is_error) {
            self.say_no(command);
        } else {
            self.join();
        }
        Verdict::Pass
    }

    /// The origin reports an error of a stream that it has taken. Where it asked its client to connect elsewhere, it ends
    /// because of that.
    fn report(&mut self, words: String) {
        if !matches!(self.word.as_deref(), Some(Word::Elsewhere(_))) {
            let error = LastError::new(words.into());
            self.word = Some(Box::new(Word::Error(error)));
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
            self.word = Some(Box::new(Word::No(No { words, is_busy })));
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
        self.progress = redirect_and_form(command).map_or_else(
            || {
                let words = command.status().map(|status| status.words());
                Progress::Rejected(words.unwrap_or_else(|| NO_REASON.to_owned()))
            },
            |(url, whole)| Progress::Redirected {
                url: url.to_owned(),
                whole,
            },
        );
    }
}

impl Watch for Watched<'_> {
    fn message(&mut self, header: &MessageHeader, body: Option<&[u8]>) -> Verdict {
        if matches!(header.kind, kind::AUDIO | kind::VIDEO | kind::AGGREGATE) {
            self.says.media = true;
            self.says.join();
            return Verdict::Pass;
        }
        // A command that cannot be read is not one of ours; the client will judge it.
        let Some(Ok(command)) = command(header, body) else {
            return Verdict::Pass;
        };
        match command.name.as_str() {
            "_result" | "_error" => self.says.answer(&command),
            "onStatus" => self.says.status(&command, self.tc_url),
            _ => Verdict::Pass,
        }
    }
}

/// Where an `onStatus` or `_error` sends the client, and whether that is a whole URL (SRS: `ex.redirect2` is one, `ex.redirect`
/// only the tcUrl).
pub(super) fn redirect_and_form(command: &Command) -> Option<(&str, bool)> {
    let extra = command.arguments.first()?.field("ex")?;
    let code = extra.field("code").and_then(Value::as_number);
    if code != Some(302.0) {
        return None;
    }
    [("redirect2", true), ("redirect", false)]
        .into_iter()
        .find_map(|(name, whole)| Some((extra.field(name)?.as_str()?, whole)))
}

/// Where an `onStatus` asks the client to connect (enhanced RTMP v2, "Reconnect Request"), which may be where it is connected.
fn reconnect(command: &Command) -> Option<&str> {
    let status = command.status()?;
    let information = command.arguments.first()?;
    let asks = status.code == "NetConnection.Connect.ReconnectRequest";
    information.field("tcUrl").filter(|_| asks)?.as_str()
}

/// Reads a command; `None` if the message is not one.
pub(super) fn command(
    header: &MessageHeader,
    body: Option<&[u8]>,
) -> Option<Result<Command, CommandError>> {
    let body = body.filter(|_| matches!(header.kind, kind::COMMAND_AMF0 | kind::COMMAND_AMF3))?;
    Some(Command::decode(header.kind, body))
}

/// The origin closes because it stops, and says nothing of the stream: another may have it.
const APP_SHUTDOWN: &str = "NetConnection.Connect.AppShutdown";

#[cfg(test)]
mod tests {
    use super::super::message::Message;
    use super::*;

    fn watch(progress: Progress) -> OriginWatch {
        OriginWatch {
            answered: Vec::new(),
            progress,
            client_stream: 1,
            origin_stream: None,
            remap: false,
            word: None,
            asked: true,
            connected: true,
            created: true,
            enhanced: None,
            media: false,
        }
    }

    fn hear(says: &mut OriginWatch, information: Vec<(&str, Value)>) -> Verdict {
        let fields = information.into_iter();
        let fields = fields
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let command = Command::call("onStatus", 0.0, vec![Value::Object(fields)]);
        let message = Message::command(0, &command);
        let header = MessageHeader {
            chunk_stream: 3,
            timestamp: 0,
            length: 0,
            kind: message.kind,
            stream_id: 0,
        };
        let mut watched = Watched {
            says,
            tc_url: "rtmp://media.example/live",
        };
        watched.message(&header, Some(&message.payload))
    }

    #[test]
    fn no_client_is_asked_to_connect_to_an_origin() {
        // A description; where to; what the client does not hear of.
        let rows = [
            (
                "an origin",
                Some("rtmp://10.0.0.2/live"),
                Some("10.0.0.2:1935"),
            ),
            (
                "a port of it",
                Some("rtmp://10.0.0.2:19350/live"),
                Some("10.0.0.2:19350"),
            ),
            (
                "where it is connected to",
                Some("rtmp://media.example:1935/live"),
                None,
            ),
            ("another app of that", Some("/other"), None),
            ("nowhere else", None, None),
        ];
        for (cause, url, expected) in rows {
            let mut says = watch(Progress::Answered);
            let mut information = vec![
                ("level", "status".into()),
                ("code", "NetConnection.Connect.ReconnectRequest".into()),
            ];
            information.extend(url.map(|url| ("tcUrl", url.into())));
            let verdict = hear(&mut says, information);
            let place = match says.word.as_deref() {
                Some(Word::Elsewhere(place)) => Some(&**place),
                _ => None,
            };
            assert_eq!(place, expected, "{cause}");
            let withheld = matches!(verdict, Verdict::Drop);
            assert_eq!(withheld, expected.is_some(), "{cause}");
            if withheld {
                assert_eq!(
                    says.progress,
                    Progress::Answered,
                    "{cause}: it says nothing of the stream"
                );
            }
        }
    }

    #[test]
    fn a_redirect_is_followed_before_the_stream_is_there_and_withheld_after() {
        let redirect = || {
            let ex = vec![
                ("code".to_owned(), Value::Number(302.0)),
                ("redirect2".to_owned(), "rtmp://10.0.0.2/live/a".into()),
            ];
            vec![
                ("level", "error".into()),
                ("code", "NetStream.Failed".into()),
                ("ex", Value::Object(ex)),
            ]
        };
        let mut says = watch(Progress::Answered);
        assert_eq!(hear(&mut says, redirect()), Verdict::Pass);
        let to = Progress::Redirected {
            url: "rtmp://10.0.0.2/live/a".to_owned(),
            whole: true,
        };
        assert_eq!(says.progress, to);
        assert!(says.word.is_none());
        let mut says = watch(Progress::Joined);
        assert_eq!(hear(&mut says, redirect()), Verdict::Drop);
        let place = match says.word.as_deref() {
            Some(Word::Elsewhere(place)) => Some(&**place),
            _ => None,
        };
        assert_eq!(place, Some("10.0.0.2:1935"));
    }

    #[test]
    fn an_error_of_a_stream_that_was_taken_is_noted_and_passes() {
        let rows = [
            (
                "a no",
                "error",
                "NetStream.Publish.Denied",
                Some("NetStream.Publish.Denied: over"),
            ),
            ("a warning", "warning", "NetStream.Publish.Idle", None),
            ("a status", "status", "NetStream.Unpublish.Success", None),
            ("an origin that stops", "error", APP_SHUTDOWN, None),
        ];
        for (cause, level, code, expected) in rows {
            let mut says = watch(Progress::Joined);
            let information = vec![
                ("level", level.into()),
                ("code", code.into()),
                ("description", "over".into()),
            ];
            assert_eq!(hear(&mut says, information), Verdict::Pass, "{cause}");
            let reported = match says.word.take().map(|word| *word) {
                Some(Word::Error(error)) => Some(error.into_words()),
                _ => None,
            };
            assert_eq!(reported.as_deref(), expected, "{cause}");
            assert_eq!(says.progress, Progress::Joined, "{cause}");
        }
    }
}
