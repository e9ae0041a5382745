#![no_main]

#[path = "../laws/register.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|data: &[u8]| laws::law(data));
