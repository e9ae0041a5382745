//! Whole proxies in this process, with clients and origins made from the same state machines, told as stories.

mod access;
mod access_bans;
mod access_guesses;
mod access_hooks;
mod access_key_sets;
mod access_limits;
mod access_logins;
mod access_paths;
mod access_recipes;
mod access_renames;
mod acme;
mod api_fleet;
mod api_register;
mod base_path;
#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../support/call.rs"]
mod call;
mod claims;
mod console;
mod console_roles;
mod dialect_lists;
mod dialect_viewers;
mod dialects;
mod direct_publish;
mod door;
mod drains;
mod entrance;
mod fanout;
mod fanout_answers;
mod fanout_blocks;
mod fanout_checked;
mod fanout_sockets;
mod fleet_api;
mod health;
mod held;
mod held_encoders;
mod held_manifests;
mod held_playlists;
mod held_viewers;
mod house;
mod http2;
mod http_again;
mod http_direct;
mod http_ends;
mod http_idle;
mod http_origin;
mod http_passes;
mod http_pieces;
mod http_posted;
mod http_requests;
mod http_segments;
mod http_shared;
mod kill_list;
mod late_words;
mod led;
mod listed_files;
mod listed_streams;
mod listeners;
#[path = "../support/live_manifest.rs"]
mod live_manifest;
#[path = "../support/live_playlist.rs"]
mod live_playlist;
#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../support/machine.rs"]
mod machine;
mod moves;
mod names;
mod origins_word;
mod own_names;
mod placement;
mod pressure;
mod previews;
mod rebalance;
mod refusals;
mod rtc_media;
mod rtc_peer;
mod rtc_roams;
mod rtc_tcp;
mod rtmp_failover;
mod rtmp_origins;
mod rtmp_passes;
mod rtsp_datagrams;
mod rtsp_edges;
mod rtsp_farewell;
mod rtsp_house;
mod rtsp_logins;
mod rtsp_talk;
mod scrape;
mod silent_origins;
mod slow_answers;
mod sources;
mod sources_dns;
mod srs_edges;
#[path = "../support/srt_caller.rs"]
mod srt_caller;
mod srt_moves;
mod tls;
#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../support/tls.rs"]
mod tls_client;
mod tls_origins;
#[path = "../support/uninterrupted.rs"]
mod uninterrupted;
mod whip_standards;
