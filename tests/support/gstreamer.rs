//! GStreamer as an encoder and as a player.

use std::process::Command;

use super::machine::installed;
use super::program::Program;

/// Publishes a test picture by RTMP, with these properties of its sink.
pub(crate) fn encode(url: &str, properties: &[String]) -> Program {
    let mut launch = Command::new(installed(&["gst-launch-1.0"]));
    launch.args([
        "-q",
        "videotestsrc",
        "is-live=true",
        "!",
        "video/x-raw,format=I420,width=160,height=120,framerate=25/1",
        "!",
        "x264enc",
        "tune=zerolatency",
        "key-int-max=25",
        "!",
        "flvmux",
        "streamable=true",
        "!",
        "rtmp2sink",
    ]);
    launch.args(properties);
    launch.arg(format!("location={url}"));
    Program::start("gst-launch", &mut launch).abrupt()
}

/// Decodes this many pictures of HTTP-FLV, and ends.
pub(crate) fn decode_flv(url: &str, pictures: usize) -> Program {
    let mut launch = Command::new(installed(&["gst-launch-1.0"]));
    let decode = "! flvdemux ! h264parse ! openh264dec ! fakesink sync=false";
    launch.args(["-q", "souphttpsrc", &format!("location={url}")]);
    launch.args(decode.split(' '));
    launch.arg(format!("num-buffers={pictures}"));
    Program::start("gst-launch", &mut launch).abrupt()
}
