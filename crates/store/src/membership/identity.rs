//! The IDs of members and clusters, computed as etcd does, so that both agree on them.

use sha1::{Digest, Sha1};

/// The ID of a member: the first bytes of a hash over its sorted peer URLs, the token of the
/// cluster it starts with, and for a member that is added later the time instead of a token.
pub fn member_id(peer_urls: &[String], token: &str, unix_seconds: Option<i64>) -> u64 {
    let mut urls: Vec<&str> = peer_urls.iter().map(String::as_str).collect();
    urls.sort_unstable();
    let mut hash = Sha1::new();
    urls.iter().for_each(|url| hash.update(url));
    hash.update(token);
    if let Some(seconds) = unix_seconds {
        hash.update(seconds.to_string());
    }
    first_bytes(hash)
}

/// The ID of a cluster that starts with these members.
pub fn cluster_id(member_ids: &[u64]) -> u64 {
    let mut ids = member_ids.to_vec();
    ids.sort_unstable();
    let mut hash = Sha1::new();
    ids.iter().for_each(|id| hash.update(id.to_be_bytes()));
    first_bytes(hash)
}

fn first_bytes(hash: Sha1) -> u64 {
    let digest = hash.finalize();
    let first = digest.first_chunk().expect("a digest has twenty bytes");
    u64::from_be_bytes(*first)
}
