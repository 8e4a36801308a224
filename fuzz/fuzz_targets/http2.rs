//! See `quoin_fuzz::TARGETS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quoin_fuzz::http2(data));
