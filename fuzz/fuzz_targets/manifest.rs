#![no_main]

#[path = "../laws/manifest.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|data: &[u8]| laws::law(data));
