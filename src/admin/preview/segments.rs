//! The picture as the segments of an HLS playlist, one after the other: MPEG-TS, or an initialisation and its fragments. It is for
//! streams of origins without RTMP, and plays in every browser that has Media Source.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{Full, StreamBody};
use hyper::Request;
use hyper::body::Frame;
use hyper::header::HOST;
use sluicegate_core::dialect::{Dialect, File};
use sluicegate_core::http::playlist::{Playlist, Segments};
use sluicegate_core::http::whip::resolve;
use sluicegate_core::stream::{Protocol, StreamUrl};
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use super::super::{System, problem};
use super::{Begun, FIRST, Look, answer, in_time, refused};
use crate::hub::Hub;
use crate::net::entrance::Ends;
use crate::net::http::{BoxError, status_words};
use crate::origin::attempt::{Attempt, DialError};
use crate::origin::dial::Dialer;
use crate::origin::http::{self, Cut};
use crate::proxy::Session;
use crate::sessions::{Direction, EndReason};

pub(super) async fn show(
    system: &System,
    hub: &Hub,
    begun: Begun,
    ends: Ends,
) -> Result<Response, Response> {
    let opened = begun.open(system, Protocol::HttpSegments, ends);
    let (session, row) = opened.map_err(|refusal| refused(&refusal))?;
    let dialer = Arc::clone(hub.dialer());
    let began = Instant::now();
    let asked = session.dial_preview(&begun.origin, |attempt| {
        let (dialer, stream) = (Arc::clone(&dialer), begun.stream.clone());
        async move { Reader::begin(dialer, attempt, &stream, hub.pull_query()).await }
    });
    let mut reader = in_time(asked).await?;
    let first = timeout(FIRST.saturating_sub(began.elapsed()), reader.first());
    let unplayed = |words: &str| {
        row.end(EndReason::Refused);
        problem(StatusCode::BAD_GATEWAY, words)
    };
    let kind = match first.await {
        Ok(Ok(kind)) => kind,
        Ok(Err(words)) => {
            return Err(unplayed(&format!(
                "its origin's HLS is not played: {words}"
            )));
        }
        Err(_) => return Err(unplayed("no segment of it came within four seconds")),
    };
    reader.session = Some(session);
    let frames = stream::unfold(reader, Reader::next);
    let shown = StreamBody::new(Box::pin(frames));
    Ok(answer(kind, Look::new(shown, row, begun.place)))
}

/// Reads a stream's segments, as they are listed.
struct Reader {
    dialer: Arc<Dialer>,
    attempt: Attempt,
    host: String,
    /// The target of the playlist of segments.
    playlist: String,
    /// The number of the segment that is read next, once one was.
    next: Option<u64>,
    /// The initialisation that was read last.
    init: Option<String>,
    /// What was listed and not read: targets.
    listed: VecDeque<String>,
    /// What was read and not shown.
    read: VecDeque<Bytes>,
    /// When the playlist is looked at again.
    again: Instant,
    ended: bool,
    session: Option<Session>,
}

impl Reader {
    /// Asks an origin for the playlist of a stream.
    async fn begin(
        dialer: Arc<Dialer>,
        attempt: Attempt,
        stream: &StreamUrl,
        query: &str,
    ) -> Result<Self, DialError> {
        let naming = &attempt.naming;
        let target = naming.file(Dialect::default(), stream, File::Playlist, query)?;
        let host = attempt.target.host_for(stream);
        let mut reader = Self {
            dialer,
            attempt,
            host,
            playlist: target,
            next: None,
            init: None,
            listed: VecDeque::new(),
            read: VecDeque::new(),
            again: Instant::now(),
            ended: false,
            session: None,
        };
        let mut places = places_of(&reader.playlist).into_iter();
        let text = loop {
            match reader.fetch(&reader.playlist, MOST_PLAYLIST).await {
                Ok(text) => break text,
                Err(DialError::Refused(why)) => match places.next() {
                    Some(place) => reader.playlist = place,
                    None => return Err(DialError::Refused(why)),
                },
                Err(error) => return Err(error),
            }
        };
        reader.list(&text).await.map_err(DialError::Refused)?;
        Ok(reader)
    }

    /// Notes what a playlist lists. One of several qualities leads to that of the least.
    async fn list(&mut self, text: &[u8]) -> Result<(), String> {
        let mut text = String::from_utf8_lossy(text).into_owned();
        for _ in 0..MOST_PLAYLISTS {
            let variant = match Playlist::read(&text) {
                Err(error) => return Err(error.to_string()),
                Ok(Playlist::Segments(segments)) => return self.note(&segments),
                Ok(Playlist::Variants(uri)) => resolve(&self.playlist, uri),
            };
            self.playlist = variant.ok_or("it lists what cannot be asked for")?;
            let fetched = self.fetch(&self.playlist, MOST_PLAYLIST).await;
            let fetched = fetched.map_err(DialError::into_words)?;
            text = String::from_utf8_lossy(&fetched).into_owned();
        }
        Err("its playlists lead to playlists without end".to_owned())
    }

    fn note(&mut self, segments: &Segments<'_>) -> Result<(), String> {
        let target = |uri| resolve(&self.playlist, uri).ok_or("it lists what cannot be asked for");
        for (number, segment) in segments.from(self.next) {
            if let Some(uri) = segment.init {
                let init = target(uri)?;
                if self.init.as_ref() != Some(&init) {
                    self.listed.push_back(init.clone());
                    self.init = Some(init);
                }
            }
            self.listed.push_back(target(segment.uri)?);
            self.next = Some(number + 1);
        }
        self.ended = segments.ended;
        let pause = Duration::from_secs(segments.target.min(LONGEST_TARGET)) / 2;
        self.again = Instant::now() + pause;
        Ok(())
    }

    /// Reads the first of what is listed. Returns its type.
    async fn first(&mut self) -> Result<&'static str, String> {
        let target = self.listed.pop_front().ok_or("it lists nothing")?;
        let fetched = self.fetch(&target, MOST_SEGMENT).await;
        let bytes = fetched.map_err(DialError::into_words)?;
        let kind = match bytes.first() {
            Some(&SYNC_BYTE) => "video/mp2t",
            _ if self.init.is_some() => "video/mp4",
            _ => return Err("its segments are neither MPEG-TS nor fragmented MP4".to_owned()),
        };
        self.read.push_back(bytes);
        Ok(kind)
    }

    /// The next segment, once there is one.
    async fn next(mut self) -> Option<(Result<Frame<Bytes>, BoxError>, Self)> {
        loop {
            if let Some(bytes) = self.read.pop_front() {
                if let Some(session) = &self.session {
                    session.row().count(Direction::ToClient, bytes.len());
                }
                return Some((Ok(Frame::data(bytes)), self));
            }
            let step = match self.listed.pop_front() {
                Some(target) => self.fetch(&target, MOST_SEGMENT).await.map(Some),
                None if self.ended => return None,
                None => {
                    sleep(self.again.saturating_duration_since(Instant::now())).await;
                    let text = self.fetch(&self.playlist, MOST_PLAYLIST).await;
                    let text = text.map_err(DialError::into_words);
                    let listed = match text {
                        Ok(text) => self.list(&text).await,
                        Err(words) => Err(words),
                    };
                    listed.map(|()| None).map_err(DialError::Failed)
                }
            };
            match step {
                Ok(bytes) => self.read.extend(bytes),
                Err(error) => {
                    if let Some(session) = &self.session {
                        let row = session.row();
                        let (stream, error) = (&row.request.stream, error.into_words());
                        // Its targets have what the origin is shown.
                        debug!(session = row.id, %stream, error, "a look at segments is over");
                    }
                    return None;
                }
            }
        }
    }

    /// The document at `target` of the origin, of at most `most` bytes.
    async fn fetch(&self, target: &str, most: usize) -> Result<Bytes, DialError> {
        let wire = self.dialer.dial_for_ourselves(&self.attempt).await?;
        let request = Request::get(target).header(HOST, &self.host);
        let request = request.body(Full::default());
        let request = request.map_err(|error| DialError::Refused(error.to_string()))?;
        let fetched = async {
            let response = http::once(wire, request).await;
            let response = response.map_err(|error| DialError::HungUp(error.to_string()))?;
            let status = response.status();
            if !status.is_success() {
                return Err(DialError::Refused(format!(
                    "it answered {}",
                    status_words(status)
                )));
            }
            let body = http::whole(response.into_body(), most).await;
            body.map_err(|cut| match cut {
                Cut::TooLong(_) => DialError::Refused(cut.to_string()),
                Cut::Broken(_) => DialError::HungUp(cut.to_string()),
            })
        };
        let silent = |_| DialError::Slow("its answer did not come in time".to_owned());
        timeout(FETCH, fetched).await.map_err(silent)?
    }
}

/// Where packagers that give each stream a folder have the playlist that others have at `target`.
fn places_of(target: &str) -> Vec<String> {
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    let Some(folder) = path.strip_suffix(".m3u8") else {
        return Vec::new();
    };
    let names = ["index", "master"].into_iter();
    let places = names.map(|name| format!("{folder}/{name}.m3u8{query}"));
    places.collect()
}

/// What each packet of MPEG-TS begins with (ISO/IEC 13818-1 §2.4.3.2).
const SYNC_BYTE: u8 = 0x47;
/// Bytes of a playlist.
const MOST_PLAYLIST: usize = 256 * 1024;
/// Bytes of a segment: 10 seconds of 12 Mbit/s.
const MOST_SEGMENT: usize = 16 * 1024 * 1024;
/// Playlists of playlists: most origins have one.
const MOST_PLAYLISTS: usize = 3;
/// The longest segments that a playlist is believed to have, in seconds.
const LONGEST_TARGET: u64 = 20;
/// How long an origin may take for one document.
const FETCH: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_playlist_may_be_in_a_folder_of_its_stream() {
        let rows = [
            (
                "a file",
                "/live/a.m3u8",
                &["/live/a/index.m3u8", "/live/a/master.m3u8"][..],
            ),
            (
                "with a query",
                "/live/a.m3u8?pull=7",
                &["/live/a/index.m3u8?pull=7", "/live/a/master.m3u8?pull=7"],
            ),
            ("something else", "/live/a", &[]),
        ];
        for (cause, target, expected) in rows {
            assert_eq!(places_of(target), expected, "{cause}");
        }
    }
}
