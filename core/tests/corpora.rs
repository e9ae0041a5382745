//! Every file of every fuzz corpus holds to its law.
//!
//! A new law is a file in `fuzz/laws`, a target in `fuzz/fuzz_targets`, a corpus, and two lines here.

#[path = "../../fuzz/laws/amf0.rs"]
pub mod amf0;
#[path = "../../fuzz/laws/blocks.rs"]
pub mod blocks;
#[path = "../../fuzz/laws/certificate.rs"]
pub mod certificate;
#[path = "../../fuzz/laws/chunk.rs"]
pub mod chunk;
#[path = "../../fuzz/laws/dash.rs"]
pub mod dash;
#[path = "../../fuzz/laws/dialects.rs"]
pub mod dialects;
#[path = "../../fuzz/laws/feed.rs"]
pub mod feed;
#[path = "../../fuzz/laws/hls.rs"]
pub mod hls;
#[path = "../../fuzz/laws/http_body.rs"]
pub mod http_body;
#[path = "../../fuzz/laws/http_head.rs"]
pub mod http_head;
#[path = "../../fuzz/laws/link.rs"]
pub mod link;
#[path = "../../fuzz/laws/manifest.rs"]
pub mod manifest;
#[path = "../../fuzz/laws/media_part.rs"]
pub mod media_part;
#[path = "../../fuzz/laws/mesh.rs"]
pub mod mesh;
#[path = "../../fuzz/laws/record.rs"]
pub mod record;
#[path = "../../fuzz/laws/register.rs"]
pub mod register;
#[path = "../../fuzz/laws/rtc_flows.rs"]
pub mod rtc_flows;
#[path = "../../fuzz/laws/rtc_frames.rs"]
pub mod rtc_frames;
#[path = "../../fuzz/laws/rtmp_client.rs"]
pub mod rtmp_client;
#[path = "../../fuzz/laws/rtmp_join.rs"]
pub mod rtmp_join;
#[path = "../../fuzz/laws/rtmp_server.rs"]
pub mod rtmp_server;
#[path = "../../fuzz/laws/rtsp_message.rs"]
pub mod rtsp_message;
#[path = "../../fuzz/laws/rtsp_transport.rs"]
pub mod rtsp_transport;
#[path = "../../fuzz/laws/rtsp_walk.rs"]
pub mod rtsp_walk;
#[path = "../../fuzz/laws/sdp.rs"]
pub mod sdp;
#[path = "../../fuzz/laws/srt_flows.rs"]
pub mod srt_flows;
#[path = "../../fuzz/laws/srt_packet.rs"]
pub mod srt_packet;
#[path = "../../fuzz/laws/stream_name.rs"]
pub mod stream_name;
#[path = "../../fuzz/laws/stun.rs"]
pub mod stun;
#[path = "../../fuzz/laws/tap.rs"]
pub mod tap;
#[path = "../../fuzz/laws/walk.rs"]
pub mod walk;

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

type Law = fn(&[u8]);

const LAWS: &[(&str, Law)] = &[
    ("amf0", amf0::law),
    ("blocks", blocks::law),
    ("certificate", certificate::law),
    ("chunk", chunk::law),
    ("dash", dash::law),
    ("dialects", dialects::law),
    ("feed", feed::law),
    ("hls", hls::law),
    ("http_body", http_body::law),
    ("http_head", http_head::law),
    ("link", link::law),
    ("manifest", manifest::law),
    ("media_part", media_part::law),
    ("mesh", mesh::law),
    ("record", record::law),
    ("register", register::law),
    ("rtc_flows", rtc_flows::law),
    ("rtc_frames", rtc_frames::law),
    ("rtmp_client", rtmp_client::law),
    ("rtmp_join", rtmp_join::law),
    ("rtmp_server", rtmp_server::law),
    ("rtsp_message", rtsp_message::law),
    ("rtsp_transport", rtsp_transport::law),
    ("rtsp_walk", rtsp_walk::law),
    ("sdp", sdp::law),
    ("srt_flows", srt_flows::law),
    ("srt_packet", srt_packet::law),
    ("stream_name", stream_name::law),
    ("stun", stun::law),
    ("tap", tap::law),
    ("walk", walk::law),
];

#[test]
fn every_file_of_every_corpus_holds_to_its_law() {
    for (name, law) in LAWS {
        let files = files(&format!("corpus/{name}"));
        assert!(!files.is_empty(), "the corpus of {name} is empty");
        for file in files {
            let data = fs::read(&file).unwrap();
            assert!(
                catch_unwind(|| law(&data)).is_ok(),
                "{} breaks its law",
                file.display()
            );
        }
    }
}

#[test]
fn every_law_has_a_target_and_a_corpus_and_is_held() {
    let held: BTreeSet<String> = LAWS.iter().map(|(name, _)| (*name).to_owned()).collect();
    for directory in ["laws", "fuzz_targets", "corpus"] {
        let found = files(directory);
        let found = found
            .iter()
            .filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned()));
        assert_eq!(found.collect::<BTreeSet<_>>(), held, "fuzz/{directory}");
    }
}

fn files(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz")
        .join(directory);
    let entries =
        fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}
