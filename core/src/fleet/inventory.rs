//! The streams that an origin has, from its own list: `/api/v1/streams` of SRS.

use serde_json::Value;

use crate::stream::StreamUrl;

/// The streams on the list that have a publisher. An entry without the name of a stream is skipped.
pub fn published(document: &Value) -> impl Iterator<Item = StreamUrl> {
    let entries = document.get("streams").and_then(Value::as_array);
    entries.into_iter().flatten().filter_map(read)
}

fn read(entry: &Value) -> Option<StreamUrl> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str);
    let is_published = entry.pointer("/publish/active").and_then(Value::as_bool);
    is_published.filter(|active| *active)?;
    let name = text("name")?;
    // `vhost` in this list is the id of a virtual host, not its name; the name is in the URL that the publisher used.
    match text("tcUrl") {
        Some(tc_url) => StreamUrl::from_rtmp(tc_url, name).ok(),
        None => StreamUrl::new("", text("app")?, name).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn streams_with_a_publisher_are_found() {
        let document = json!({"code": 0, "server": "vid-1", "streams": [
            {"id": "vid-9", "name": "a", "vhost": "vid-8", "app": "live", "tcUrl": "rtmp://10.0.0.1:1935/live",
             "publish": {"active": true, "cid": "x"}},
            {"id": "vid-7", "name": "over", "app": "live", "tcUrl": "rtmp://h/live", "publish": {"active": false}},
            {"id": "vid-6", "name": "b", "app": "live", "publish": {"active": true}},
            {"name": "c", "app": "live", "tcUrl": "rtmp://h/live?vhost=v.example", "publish": {"active": true}},
            {"publish": {"active": true}},
            7,
        ]});
        let found: Vec<StreamUrl> = published(&document).collect();
        let expected = [("", "a"), ("", "b"), ("v.example", "c")]
            .map(|(vhost, name)| StreamUrl::new(vhost, "live", name).unwrap());
        assert_eq!(found, expected);
        for nonsense in [json!(null), json!({"streams": 3}), json!([])] {
            assert_eq!(published(&nonsense).count(), 0);
        }
    }
}
