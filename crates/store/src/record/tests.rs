use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;
use quoin_api::mvccpb::KeyValue;

use super::{decode, encode, encode_tombstone, key};

fn pair(key: &[u8], value: &[u8], numbers: [i64; 4]) -> KeyValue {
    let [create_revision, mod_revision, version, lease] = numbers;
    let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
    KeyValue { key, value, create_revision, mod_revision, version, lease }
}

/// These bytes are part of the contract between members: a store that writes others has another
/// hash.
#[test]
fn golden_bytes() {
    let full = pair(b"foo", b"bar", [2, 300, 5, 0x0123]);
    assert_eq!(
        encode(&full)[..],
        *b"\x0a\x03foo\x10\x02\x18\xac\x02\x20\x05\x2a\x03bar\x30\xa3\x02"
    );
    let empty_value = pair(b"k", b"", [2, 2, 1, 0]);
    assert_eq!(encode(&empty_value)[..], *b"\x0a\x01k\x10\x02\x18\x02\x20\x01");
    assert_eq!(encode_tombstone(b"foo")[..], *b"\x0a\x03foo");
    let negative = pair(b"k", b"", [2, 2, 1, -1]);
    let tail = b"\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    assert!(encode(&negative).ends_with(tail));
}

#[test]
fn refuses_what_is_not_canonical() {
    let cases: [&[u8]; 7] = [
        b"\x0a\x05foo",                                             // cut short
        b"\x10\x02\x0a\x03foo",                                     // out of order
        b"\x0a\x03foo\x10\x00",                                     // a zero that is written
        b"\x0a\x03foo\x2a\x00",     // an empty value that is written
        b"\x0a\x03foo\x10\x82\x00", // a varint that is too long
        b"\x0a\x03foo\x38\x01",     // an unknown field
        b"\x0a\x03foo\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", // more than 64 bits
    ];
    for case in cases {
        assert_eq!(decode(&Bytes::from_static(case)), None, "{case:x?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn is_protobuf_and_comes_back(
        name in prop::collection::vec(any::<u8>(), 0..200),
        value in prop::collection::vec(any::<u8>(), 0..300),
        numbers in any::<[i64; 4]>(),
    ) {
        let pair = pair(&name, &value, numbers);
        let record = encode(&pair);
        prop_assert_eq!(&record[..], &pair.encode_to_vec()[..]);
        prop_assert_eq!(decode(&record), Some(pair));
        prop_assert_eq!(key(&record), Some(Bytes::from(name)));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let bytes = Bytes::from(bytes);
        if let Some(pair) = decode(&bytes) {
            prop_assert_eq!(encode(&pair), bytes);
        }
    }
}
