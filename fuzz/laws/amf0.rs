//! What was decoded encodes to bytes that decode to the same value, for values and for whole commands.

use sluicegate_core::read::Reader;
use sluicegate_core::rtmp::amf0::Value;
use sluicegate_core::rtmp::message::{Command, kind};

/// The data is the body of a message.
pub fn law(data: &[u8]) {
    if let Ok(value) = Value::decode(&mut Reader::new(data)) {
        let written = encode(&value);
        let mut reader = Reader::new(&written);
        let again = Value::decode(&mut reader).expect("what was encoded can be decoded");
        assert_eq!(reader.remaining(), 0, "{value:?} was encoded with a rest");
        // Compared as bytes: a NaN is not equal to itself.
        assert_eq!(encode(&again), written, "{value:?}");
    }
    for kind in [kind::COMMAND_AMF0, kind::COMMAND_AMF3] {
        if let Ok(command) = Command::decode(kind, data) {
            let written = command.encode();
            let again = Command::decode(kind::COMMAND_AMF0, &written)
                .expect("what was encoded can be decoded");
            assert_eq!(again.encode(), written, "{command:?}");
        }
    }
}

fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    value.encode(&mut out);
    out
}
