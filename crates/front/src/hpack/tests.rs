//! Blocks from RFC 7541, appendix C, and blocks that a hostile server could send.

use super::*;

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn check(decoder: &mut Decoder, block: &str, expected: &[(&str, &str)]) {
    let fields = decoder.decode(&unhex(block), usize::MAX).unwrap().unwrap();
    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let fields: Vec<(String, String)> =
        fields.into_iter().map(|(name, value)| (text(name), text(value))).collect();
    let expected: Vec<(String, String)> =
        expected.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    assert_eq!(fields, expected, "{block}");
}

#[test]
fn requests_of_the_standard() {
    let mut decoder = Decoder::default();
    let first = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
    ];
    check(&mut decoder, "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", &first);
    let second = [first.as_slice(), &[("cache-control", "no-cache")]].concat();
    check(&mut decoder, "8286 84be 5808 6e6f 2d63 6163 6865", &second);
    let third = [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ];
    let block = "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65";
    check(&mut decoder, block, &third);
    assert_eq!(decoder.bytes, 164);
}

#[test]
fn requests_of_the_standard_with_huffman() {
    let mut decoder = Decoder::default();
    let first = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
    ];
    check(&mut decoder, "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", &first);
    let second = [first.as_slice(), &[("cache-control", "no-cache")]].concat();
    check(&mut decoder, "8286 84be 5886 a8eb 1064 9cbf", &second);
}

#[test]
fn old_entries_make_room() {
    let mut decoder = Decoder { max_bytes: 256, ..Decoder::default() };
    // RFC 7541, C.5: a table of 256 bytes, so that the second response drops `:status 302`.
    let block = "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133
        2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65
        2e63 6f6d";
    let rest = [
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ];
    let with = |status| [&[(":status", status)], rest.as_slice()].concat();
    check(&mut decoder, block, &with("302"));
    assert_eq!(decoder.bytes, 222);
    check(&mut decoder, "4803 3330 37c1 c0bf", &with("307"));
    assert_eq!((decoder.bytes, decoder.dynamic.len()), (222, 4));
}

#[test]
fn the_generation_follows_the_table() {
    let mut decoder = Decoder::default();
    check(&mut decoder, "88", &[(":status", "200")]);
    check(&mut decoder, "0003 6162 6301 31", &[("abc", "1")]);
    assert_eq!(decoder.generation(), 0);
    check(&mut decoder, "4003 6162 6301 31", &[("abc", "1")]);
    assert_eq!(decoder.generation(), 1);
    check(&mut decoder, "20", &[]);
    assert_eq!((decoder.generation(), decoder.bytes), (2, 0));
}

#[test]
fn broken_blocks_are_errors() {
    let cases = [
        "80",             // index zero
        "be",             // nothing in the dynamic table yet
        "7f",             // an integer that does not end
        "ffffffffffff7f", // an integer of absurd size
        "0003 6162",      // a name that is cut off
        "3fe2 1f",        // a table of 4097 bytes
        "0081 00 00",     // a name with broken Huffman padding
    ];
    for block in cases {
        assert!(Decoder::default().decode(&unhex(block), usize::MAX).is_err(), "{block}");
    }
}

#[test]
fn a_table_of_the_agreed_size_is_fine() {
    check(&mut Decoder::default(), "3fe1 1f", &[]);
}

#[test]
fn integers_survive_the_round_trip() {
    for value in [0, 1, 30, 31, 127, 128, 1337, 65_535, 1 << 20] {
        for prefix in [4, 5, 6, 7] {
            let mut out = Vec::new();
            write_integer(&mut out, 0, prefix, value);
            let mut input = Input { rest: &out };
            assert_eq!(input.integer(prefix), Ok(value));
            assert!(input.rest.is_empty());
        }
    }
}

#[test]
fn literals_survive_the_round_trip() {
    let mut block = Vec::new();
    write_literal(&mut block, true, 4, ":path", "/etcdserverpb.KV/Put");
    write_literal(&mut block, false, 0, "te", "trailers");
    let mut decoder = Decoder::default();
    let fields = decoder.decode(&block, usize::MAX).unwrap().unwrap();
    assert_eq!(fields[0], (Bytes::from(":path"), Bytes::from("/etcdserverpb.KV/Put")));
    assert_eq!(fields[1], (Bytes::from("te"), Bytes::from("trailers")));
    assert_eq!(decoder.generation(), 1);
}
