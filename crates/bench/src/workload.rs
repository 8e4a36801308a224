//! What is sent: one request encoded ahead, in which only the key or the lease changes.
//!
//! Keys and leases have a fixed width, so that changing them changes no length. Their numbers are
//! drawn from a seeded generator, so that two servers see the same sequence.

use prost::Message;
use quoin_api::etcdserverpb::{
    Compare, LeaseGrantRequest, LeaseKeepAliveRequest, PutRequest, RangeRequest, RequestOp,
    TxnRequest, compare, request_op,
};

/// What every key begins with.
pub const KEY_PREFIX: &str = "bench/";
/// What the keys that end with a lease begin with.
pub const LEASED_PREFIX: &str = "lease/";
/// The lease with the number zero; the others follow. All have nine bytes on the wire.
const FIRST_LEASE: i64 = 1 << 56;
const LEASE_BYTES: usize = 9;
/// The first key after all that begin with the prefix.
const KEY_END: &str = "bench0";
const DIGITS: usize = 11;
/// The most keys that the digits can tell apart.
pub const MAX_KEYS: u64 = 100_000_000_000;

/// The kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Writes one key.
    Put,
    /// Reads one key, after all writes that were answered before.
    RangeLinearizable,
    /// Reads one key from what the member knows.
    RangeSerializable,
    /// Compares the version of a key, in a way that always holds, and writes the key.
    Txn,
    /// Reads this many keys from a key on, with the exact count of all that follow, as a list of
    /// Kubernetes does.
    Page {
        /// The most keys that are returned.
        limit: u32,
        /// Whether what the member knows is enough.
        serializable: bool,
    },
    /// Grants a lease for so many seconds.
    LeaseGrant {
        /// The time to live.
        ttl_s: u32,
    },
    /// Renews a lease, on a stream of its own.
    KeepAlive,
    /// Writes a key that ends with the lease of the same number.
    LeasedPut,
    /// Sets one key of the v2 API.
    V2Set,
    /// Reads one key of the v2 API.
    V2Get {
        /// Whether the cluster has to agree, or what the member knows is enough.
        quorum: bool,
    },
    /// Waits for the next change of a key of the v2 API.
    V2Wait,
}

impl Mode {
    /// The name in tables and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::RangeLinearizable => "range-lin",
            Self::RangeSerializable => "range-ser",
            Self::Txn => "txn",
            Self::Page { .. } => "page",
            Self::LeaseGrant { .. } => "lease-grant",
            Self::KeepAlive => "keep-alive",
            Self::LeasedPut => "leased-put",
            Self::V2Set => "v2-set",
            Self::V2Get { quorum: false } => "v2-get",
            Self::V2Get { quorum: true } => "v2-get-quorum",
            Self::V2Wait => "v2-wait",
        }
    }

    /// Whether it is sent to the v2 API, over HTTP/1.1.
    pub fn is_v2(self) -> bool {
        matches!(self, Self::V2Set | Self::V2Get { .. } | Self::V2Wait)
    }

    /// The path of the method, or of the directory of all keys.
    pub fn path(self) -> &'static str {
        match self {
            Self::Put | Self::LeasedPut => "/etcdserverpb.KV/Put",
            Self::RangeLinearizable | Self::RangeSerializable | Self::Page { .. } => {
                "/etcdserverpb.KV/Range"
            }
            Self::Txn => "/etcdserverpb.KV/Txn",
            Self::LeaseGrant { .. } => "/etcdserverpb.Lease/LeaseGrant",
            Self::KeepAlive => "/etcdserverpb.Lease/LeaseKeepAlive",
            Self::V2Set | Self::V2Get { .. } | Self::V2Wait => "/v2/keys/",
        }
    }

    fn prefix(self) -> &'static str {
        if self == Self::LeasedPut { LEASED_PREFIX } else { KEY_PREFIX }
    }

    fn encode(self, name: &str, value: Vec<u8>) -> Vec<u8> {
        let key = || name.to_owned().into();
        let range = |serializable| RangeRequest { key: key(), serializable, ..Default::default() };
        let put =
            |value: Vec<u8>| PutRequest { key: key(), value: value.into(), ..Default::default() };
        match self {
            Self::Put => put(value).encode_to_vec(),
            Self::RangeLinearizable => range(false).encode_to_vec(),
            Self::RangeSerializable => range(true).encode_to_vec(),
            Self::Txn => {
                let holds = Compare {
                    result: compare::CompareResult::Greater.into(),
                    target: compare::CompareTarget::Version.into(),
                    key: key(),
                    target_union: Some(compare::TargetUnion::Version(-1)),
                    ..Default::default()
                };
                let put = request_op::Request::RequestPut(put(value));
                let success = vec![RequestOp { request: Some(put) }];
                TxnRequest { compare: vec![holds], success, ..Default::default() }.encode_to_vec()
            }
            Self::Page { limit, serializable } => {
                let range_end = KEY_END.to_owned().into();
                RangeRequest { range_end, limit: limit.into(), ..range(serializable) }
                    .encode_to_vec()
            }
            Self::LeaseGrant { ttl_s } => {
                LeaseGrantRequest { ttl: ttl_s.into(), id: FIRST_LEASE }.encode_to_vec()
            }
            Self::KeepAlive => LeaseKeepAliveRequest { id: FIRST_LEASE }.encode_to_vec(),
            Self::LeasedPut => PutRequest { lease: FIRST_LEASE, ..put(value) }.encode_to_vec(),
            Self::V2Set | Self::V2Get { .. } | Self::V2Wait => self.encode_v2(name, &value),
        }
    }

    /// A request of HTTP/1.1.
    fn encode_v2(self, key: &str, value: &[u8]) -> Vec<u8> {
        let method = if self == Self::V2Set { "PUT" } else { "GET" };
        let query = if self == Self::V2Wait {
            "?wait=true"
        } else if self == (Self::V2Get { quorum: true }) {
            "?quorum=true"
        } else {
            ""
        };
        let target = format!("{method} {}{key}{query}", self.path());
        let head = format!("{target} HTTP/1.1\r\nHost: localhost\r\n");
        if self != Self::V2Set {
            return format!("{head}\r\n").into_bytes();
        }
        // Letters stand in a form as they are, so that the request has the size asked for.
        let letters = value.iter().map(|byte| char::from(b'a' + byte % 26));
        let form: String = "value=".chars().chain(letters).collect();
        let length = form.len();
        let kind = "Content-Type: application/x-www-form-urlencoded";
        format!("{head}{kind}\r\nContent-Length: {length}\r\n\r\n{form}").into_bytes()
    }
}

/// A gRPC message with its prefix, or a request of HTTP/1.1, and the places where the number of the
/// key or lease stands.
#[derive(Debug)]
pub struct Template {
    bytes: Vec<u8>,
    offsets: Vec<usize>,
    lease_offset: Option<usize>,
}

impl Template {
    /// Encodes a request with a value of this size; requests without a value ignore it.
    pub fn new(mode: Mode, value_size: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut value: Vec<u8> = (0..value_size).map(|_| random.next().to_le_bytes()[0]).collect();
        // No byte of the value is a digit, so that the key is found in its own places only.
        value.iter_mut().for_each(|byte| *byte |= 0x80);
        let digits = "0".repeat(DIGITS);
        let body = mode.encode(&format!("{}{digits}", mode.prefix()), value);
        let length = u32::try_from(body.len()).expect("the size of a value is bounded");
        let mut bytes = Vec::new();
        if !mode.is_v2() {
            bytes.push(0);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
        let prefix = bytes.len();
        bytes.extend_from_slice(&body);
        let is_key = |window: &[u8]| window == digits.as_bytes();
        let starts = bytes.windows(DIGITS).enumerate().skip(prefix);
        let offsets = starts.filter(|(_, window)| is_key(window)).map(|(start, _)| start).collect();
        let mut starts = bytes.windows(LEASE_BYTES);
        let lease_offset = starts.position(|window| window == lease_bytes(0));
        Self { bytes, offsets, lease_offset }
    }

    /// The message about the key or lease with this number.
    pub fn render(&mut self, number: u64) -> &[u8] {
        let mut digits = [b'0'; DIGITS];
        let mut rest = number;
        for digit in digits.iter_mut().rev() {
            *digit += (rest % 10).to_le_bytes()[0];
            rest /= 10;
        }
        for offset in &self.offsets {
            self.bytes[*offset..offset + DIGITS].copy_from_slice(&digits);
        }
        if let Some(offset) = self.lease_offset {
            self.bytes[offset..offset + LEASE_BYTES].copy_from_slice(&lease_bytes(number));
        }
        &self.bytes
    }
}

/// The ID of the lease with this number on the wire: seven bits in each byte, the lowest first.
fn lease_bytes(number: u64) -> [u8; LEASE_BYTES] {
    let mut rest = FIRST_LEASE.unsigned_abs() + number;
    let mut bytes = [0; LEASE_BYTES];
    for byte in &mut bytes {
        *byte = (rest & 0x7f) as u8 | 0x80;
        rest >>= 7;
    }
    bytes[LEASE_BYTES - 1] &= 0x7f;
    bytes
}

/// The order in which keys are used.
#[derive(Clone, Debug)]
pub enum Keys {
    /// Every key once, in order.
    Sequential {
        /// The next key.
        next: u64,
    },
    /// Any key, equally likely.
    Random {
        /// Where the numbers come from.
        random: Random,
        /// How many keys there are; not zero.
        space: u64,
    },
}

impl Keys {
    /// Every key once, in order.
    pub fn sequential() -> Self {
        Self::Sequential { next: 0 }
    }

    /// Any of `space` keys, equally likely.
    pub fn random(seed: u64, space: u64) -> Self {
        Self::Random { random: Random::new(seed), space: space.max(1) }
    }

    /// The number of the next key.
    pub fn next_key(&mut self) -> u64 {
        match self {
            Self::Sequential { next } => {
                *next += 1;
                *next - 1
            }
            Self::Random { random, space } => random.next() % *space,
        }
    }
}

/// A small generator of random numbers (splitmix64).
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A generator that always gives the same numbers for one seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http2::connection::MESSAGE_PREFIX;

    fn render(mode: Mode, number: u64) -> Vec<u8> {
        let mut template = Template::new(mode, 32, 1);
        template.render(12_345_678_901);
        let message = template.render(number);
        let (prefix, body) = message.split_at(MESSAGE_PREFIX);
        assert_eq!(prefix, [0, 0, 0, 0, u8::try_from(body.len()).unwrap()]);
        body.to_vec()
    }

    #[test]
    fn puts_are_about_their_key() {
        let put = PutRequest::decode(render(Mode::Put, 42).as_slice()).unwrap();
        assert_eq!(put.key, "bench/00000000042");
        assert_eq!(put.value.len(), 32);
    }

    #[test]
    fn ranges_are_about_their_key() {
        for (mode, serializable) in
            [(Mode::RangeLinearizable, false), (Mode::RangeSerializable, true)]
        {
            let range = RangeRequest::decode(render(mode, 7).as_slice()).unwrap();
            assert_eq!((range.key.as_ref(), range.limit), (&b"bench/00000000007"[..], 0));
            assert_eq!((range.range_end.as_ref(), range.serializable), (&b""[..], serializable));
        }
    }

    #[test]
    fn pages_end_with_the_last_key() {
        let page = RangeRequest::decode(
            render(Mode::Page { limit: 500, serializable: true }, 7).as_slice(),
        )
        .unwrap();
        assert_eq!((page.key.as_ref(), page.limit), (&b"bench/00000000007"[..], 500));
        assert!(page.serializable);
        assert!(page.range_end > "bench/99999999999" && page.range_end == KEY_END);
    }

    #[test]
    fn transactions_change_both_keys() {
        let txn = TxnRequest::decode(render(Mode::Txn, 99_999_999_999).as_slice()).unwrap();
        assert_eq!(txn.compare[0].key, "bench/99999999999");
        let Some(request_op::Request::RequestPut(put)) = &txn.success[0].request else {
            panic!("{txn:?} must put")
        };
        assert_eq!(put.key, "bench/99999999999");
    }

    #[test]
    fn leases_change_with_their_number() {
        let number = MAX_KEYS - 1;
        let id = FIRST_LEASE + i64::try_from(number).unwrap();
        let grant = render(Mode::LeaseGrant { ttl_s: 300 }, number);
        let grant = LeaseGrantRequest::decode(grant.as_slice()).unwrap();
        assert_eq!((grant.id, grant.ttl), (id, 300));
        let renewal = render(Mode::KeepAlive, number);
        assert_eq!(LeaseKeepAliveRequest::decode(renewal.as_slice()).unwrap().id, id);
        let put = PutRequest::decode(render(Mode::LeasedPut, number).as_slice()).unwrap();
        assert_eq!((put.key.as_ref(), put.lease), (&b"lease/99999999999"[..], id));
    }

    #[test]
    fn requests_of_the_v2_api_are_whole() {
        let text = |mode, size, number| {
            let mut template = Template::new(mode, size, 1);
            template.render(99_999_999_999);
            String::from_utf8(template.render(number).to_vec()).unwrap()
        };
        let set = text(Mode::V2Set, 256, 42);
        let (head, body) = set.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("PUT /v2/keys/bench/00000000042 HTTP/1.1\r\n"), "{head}");
        assert!(head.ends_with(&format!("\r\nContent-Length: {}", body.len())), "{head}");
        let value = body.strip_prefix("value=").unwrap();
        assert!(value.len() == 256 && value.bytes().all(|byte| byte.is_ascii_lowercase()));
        let get = text(Mode::V2Get { quorum: true }, 256, 7);
        let expected =
            "GET /v2/keys/bench/00000000007?quorum=true HTTP/1.1\r\nHost: localhost\r\n\r\n";
        assert_eq!(get, expected);
        assert!(text(Mode::V2Wait, 0, 7).contains("00000000007?wait=true HTTP"));
    }

    #[test]
    fn one_seed_gives_one_sequence() {
        let draw = |seed| {
            let mut keys = Keys::random(seed, 1000);
            (0..100).map(|_| keys.next_key()).collect::<Vec<u64>>()
        };
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
        assert!(draw(5).iter().all(|key| *key < 1000));
        let mut sequential = Keys::sequential();
        assert_eq!([sequential.next_key(), sequential.next_key()], [0, 1]);
    }
}
