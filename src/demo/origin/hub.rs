//! The streams of an embedded origin: one publisher each, any number of players, and what a later player needs first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use sluicegate_core::media::gop::{Cache, Clock, MediaMessage};
use sluicegate_core::media::part::{Content, Part, Tracks, without_set_data_frame};
use sluicegate_core::rtmp::message::{Message, kind};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The streams of one origin; a cheap clone of one table.
#[derive(Debug, Clone, Default)]
pub(super) struct Hub {
    streams: Arc<Mutex<BTreeMap<String, Stream>>>,
}

impl Hub {
    /// Starts to publish `name`, unless another publisher does.
    pub(super) fn publish(&self, name: &str) -> Result<Publication, Busy> {
        let mut streams = self.lock();
        let stream = streams.entry(name.to_owned()).or_default();
        if stream.published {
            return Err(Busy);
        }
        stream.begin();
        Ok(Publication {
            hub: self.clone(),
            name: name.to_owned(),
        })
    }

    /// Starts to play `name`, whether it is published or not. `slow` is cancelled when the player is so slow that its
    /// queue is full.
    pub(super) fn play(&self, name: &str, slow: CancellationToken) -> Subscription {
        let (sender, receiver) = mpsc::channel(MAX_QUEUED);
        let mut streams = self.lock();
        let stream = streams.entry(name.to_owned()).or_default();
        let (backlog, pictures) = stream.backlog();
        stream.players.push(Player {
            pictures,
            queue: sender,
            slow,
        });
        Subscription {
            backlog,
            hub: self.clone(),
            name: name.to_owned(),
            queue: receiver,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Stream>> {
        // Nothing below panics between two related changes, so a poisoned table is still consistent.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Stream)) {
        let mut streams = self.lock();
        let Some(stream) = streams.get_mut(name) else {
            return;
        };
        change(stream);
        if !stream.published && stream.players.is_empty() {
            streams.remove(name);
        }
    }
}

/// The right to publish a stream; dropping it ends the stream, and its players wait for the next one.
#[derive(Debug)]
pub(super) struct Publication {
    hub: Hub,
    name: String,
}

impl Publication {
    /// Sends a message to every player, and keeps what later ones need.
    pub(super) fn send(&self, message: Message) {
        self.hub.change(&self.name, |stream| stream.send(message));
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        self.hub.change(&self.name, Stream::end);
    }
}

/// A player of a stream; dropping it leaves the stream.
#[derive(Debug)]
pub(super) struct Subscription {
    /// What precedes the queue: metadata, sequence headers and the pictures since the keyframe.
    pub(super) backlog: Vec<MediaMessage>,
    /// The messages from now on.
    pub(super) queue: mpsc::Receiver<MediaMessage>,
    hub: Hub,
    name: String,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.queue.close();
        self.hub.change(&self.name, |stream| {
            stream.players.retain(|player| !player.queue.is_closed());
        });
    }
}

/// The stream already has a publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream has a publisher already")]
pub(super) struct Busy;

#[derive(Debug)]
struct Stream {
    published: bool,
    cache: Cache,
    clock: Clock,
    players: Vec<Player>,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            published: false,
            cache: Cache::new(0),
            clock: Clock::default(),
            players: Vec::new(),
        }
    }
}

impl Stream {
    fn begin(&mut self) {
        self.published = true;
        self.clock.restart();
        for player in &mut self.players {
            player.pictures = Tracks::none();
        }
    }

    fn end(&mut self) {
        self.published = false;
        self.cache.interrupt();
    }

    /// What a new player gets first, as if the stream began here, and the tracks whose pictures it can then decode.
    /// Sequence headers carry the time of the first picture, because players measure from what comes first. Metadata
    /// has time 0, because FFmpeg otherwise takes it for a subtitle.
    fn backlog(&self) -> (Vec<MediaMessage>, Tracks) {
        let start = self.cache.group().next();
        let now = start.map_or_else(|| self.cache.newest(), |message| message.time);
        let headers = self.cache.headers().iter().map(|header| MediaMessage {
            time: if header.content.part == Part::Metadata {
                0
            } else {
                now
            },
            ..header.clone()
        });
        let mut backlog: Vec<MediaMessage> = headers.collect();
        let mut pictures = Tracks::none();
        let group = self.cache.group().cloned();
        backlog
            .extend(group.filter(|message| message.content.follows(message.kind, &mut pictures)));
        (backlog, pictures)
    }

    fn send(&mut self, message: Message) {
        let Message {
            timestamp, kind, ..
        } = message;
        let mut body = Bytes::from(message.payload);
        if kind == kind::DATA_AMF0 {
            body = body.slice_ref(without_set_data_frame(&body));
        }
        let content = Content::of(kind, &body);
        let time = if content.part.is_header() || !matches!(kind, kind::AUDIO | kind::VIDEO) {
            self.clock.near(timestamp)
        } else {
            let track = content.tracks.iter().next().unwrap_or_default();
            self.clock.tick(kind, track, timestamp, Instant::now()).time
        };
        let message = self.cache.classify(kind, content, time, body);
        self.cache.keep(&message);
        self.players.retain_mut(|player| player.offer(&message));
    }
}

#[derive(Debug)]
struct Player {
    /// The tracks of video that it has had a keyframe of.
    pictures: Tracks,
    queue: mpsc::Sender<MediaMessage>,
    slow: CancellationToken,
}

impl Player {
    /// Queues the message if the player can use it. Returns false if the player is gone or must go.
    fn offer(&mut self, message: &MediaMessage) -> bool {
        if !message.content.follows(message.kind, &mut self.pictures) {
            return true;
        }
        match self.queue.try_send(message.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.slow.cancel();
                false
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }
}

/// Maximum messages queued for a player; a player this far behind is slow. It is well over ten seconds of a usual
/// stream. Messages are shared between players, so a full queue costs little.
const MAX_QUEUED: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    use sluicegate_core::media::gop::MAX_MESSAGES;
    use sluicegate_core::media::part::SET_DATA_FRAME;

    const METADATA: &[u8] = b"\x02\x00\x0aonMetaData\x05";
    const VIDEO_HEADER: &[u8] = &[0x17, 0, 0, 0, 0, 1];
    const AUDIO_HEADER: &[u8] = &[0xaf, 0, 0x12, 0x10];
    const KEYFRAME: &[u8] = &[0x17, 1, 0, 0, 0, 0xaa];
    const INTER: &[u8] = &[0x27, 1, 0, 0, 0, 0xbb];
    const SOUND: &[u8] = &[0xaf, 1, 0x21];

    fn message(kind: u8, timestamp: u32, payload: &[u8]) -> Message {
        Message {
            timestamp,
            kind,
            stream_id: 1,
            payload: payload.to_vec(),
        }
    }

    fn drain(subscription: &mut Subscription) -> Vec<(u32, Vec<u8>)> {
        let mut taken = Vec::new();
        while let Ok(message) = subscription.queue.try_recv() {
            taken.push((message.timestamp(), message.body.to_vec()));
        }
        taken
    }

    fn started(hub: &Hub) -> Publication {
        let publication = hub.publish("live/a").expect("nobody publishes it");
        publication.send(message(
            kind::DATA_AMF0,
            0,
            &[SET_DATA_FRAME, METADATA].concat(),
        ));
        publication.send(message(kind::VIDEO, 0, VIDEO_HEADER));
        publication.send(message(kind::AUDIO, 0, AUDIO_HEADER));
        publication
    }

    #[test]
    fn a_later_player_starts_at_the_last_keyframe() {
        let hub = Hub::default();
        let publication = started(&hub);
        for (timestamp, payload) in [(0, KEYFRAME), (40, INTER), (80, KEYFRAME), (120, INTER)] {
            publication.send(message(kind::VIDEO, timestamp, payload));
        }
        publication.send(message(kind::AUDIO, 130, SOUND));
        let mut player = hub.play("live/a", CancellationToken::new());
        let backlog: Vec<(u32, &[u8])> = player
            .backlog
            .iter()
            .map(|message| (message.timestamp(), message.body.as_ref()))
            .collect();
        assert_eq!(
            backlog,
            [
                (0, METADATA),
                (80, AUDIO_HEADER),
                (80, VIDEO_HEADER),
                (80, KEYFRAME),
                (120, INTER),
                (130, SOUND)
            ],
        );
        publication.send(message(kind::VIDEO, 160, INTER));
        assert_eq!(drain(&mut player), [(160, INTER.to_vec())]);
    }

    #[test]
    fn a_player_that_waits_sees_no_picture_before_a_keyframe() {
        let hub = Hub::default();
        let mut player = hub.play("live/a", CancellationToken::new());
        assert!(player.backlog.is_empty());
        let publication = hub.publish("live/a").expect("nobody publishes it");
        publication.send(message(kind::VIDEO, 0, INTER));
        publication.send(message(kind::AUDIO, 10, SOUND));
        publication.send(message(kind::VIDEO, 40, KEYFRAME));
        publication.send(message(kind::VIDEO, 80, INTER));
        let expected = [
            (10, SOUND.to_vec()),
            (40, KEYFRAME.to_vec()),
            (80, INTER.to_vec()),
        ];
        assert_eq!(drain(&mut player), expected);
    }

    #[test]
    fn time_goes_on_when_the_next_publisher_starts_again() {
        let hub = Hub::default();
        let mut player = hub.play("live/a", CancellationToken::new());
        let first = hub.publish("live/a").expect("nobody publishes it");
        assert_eq!(hub.publish("live/a").err(), Some(Busy));
        first.send(message(kind::VIDEO, 5000, KEYFRAME));
        drop(first);
        assert!(
            hub.play("live/a", CancellationToken::new())
                .backlog
                .is_empty(),
            "the old pictures are gone"
        );
        let second = hub.publish("live/a").expect("the first one left");
        second.send(message(kind::VIDEO, 0, KEYFRAME));
        second.send(message(kind::VIDEO, 40, INTER));
        let times: Vec<u32> = drain(&mut player)
            .into_iter()
            .map(|(timestamp, _)| timestamp)
            .collect();
        assert_eq!(times, [5000, 5040, 5080]);
    }

    #[test]
    fn a_player_whose_queue_is_full_is_told_to_go_and_the_others_stay() {
        let hub = Hub::default();
        let (slow, quick) = (CancellationToken::new(), CancellationToken::new());
        let sleeper = hub.play("live/a", slow.clone());
        let mut reader = hub.play("live/a", quick.clone());
        let publication = hub.publish("live/a").expect("nobody publishes it");
        for timestamp in 0..=u32::try_from(MAX_QUEUED).expect("a small number") {
            publication.send(message(kind::AUDIO, timestamp, SOUND));
            assert_eq!(drain(&mut reader).len(), 1);
        }
        assert!(slow.is_cancelled() && !quick.is_cancelled());
        drop(sleeper);
    }

    #[test]
    fn keyframes_too_far_apart_are_not_kept() {
        let hub = Hub::default();
        let publication = started(&hub);
        publication.send(message(kind::VIDEO, 0, KEYFRAME));
        for timestamp in 0..MAX_MESSAGES {
            publication.send(message(
                kind::VIDEO,
                u32::try_from(timestamp).expect("a small number"),
                INTER,
            ));
        }
        assert_eq!(
            hub.play("live/a", CancellationToken::new()).backlog.len(),
            3,
            "metadata and headers only"
        );
    }

    #[test]
    fn nothing_is_kept_for_a_stream_that_nobody_wants() {
        let hub = Hub::default();
        drop(hub.play("live/a", CancellationToken::new()));
        drop(hub.publish("live/b").expect("nobody publishes it"));
        let player = hub.play("live/c", CancellationToken::new());
        drop(hub.publish("live/c").expect("nobody publishes it"));
        assert_eq!(hub.lock().keys().collect::<Vec<_>>(), ["live/c"]);
        drop(player);
        assert!(hub.lock().is_empty());
    }
}
