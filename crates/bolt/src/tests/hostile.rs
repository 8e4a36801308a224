//! Bytes that are not what a writer left: every one is either read or refused, with the file
//! named, and nothing panics or goes on for ever.

use super::*;

const META_CHECKSUM: std::ops::Range<usize> = 72..80;

/// Reads all that can be reached, and returns the first error.
fn walk(bytes: &[u8]) -> Result<usize, BoltError> {
    let db = open(bytes)?;
    let mut count = 0;
    for bucket in db.buckets() {
        let (_, bucket) = bucket?;
        for pair in bucket.pairs() {
            let pair = pair?;
            bucket.get(&pair.key)?;
            drop(bucket.bucket(&pair.key));
            count += 1;
        }
    }
    Ok(count)
}

fn sample() -> Vec<u8> {
    let mut content = numbered(400, 60);
    content.insert("empty".to_owned(), BTreeMap::new());
    content.insert("long".to_owned(), [(vec![7; 9000], vec![8; 9000])].into());
    encode(&content)
}

fn put_u64(bytes: &mut [u8], at: usize, number: u64) {
    bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
}

/// Makes the checksums of the metas right again.
fn seal(bytes: &mut [u8]) {
    for page in 0..2 {
        let meta = &mut bytes[page * PAGE_BYTES..][..META_CHECKSUM.end];
        let hash =
            meta[16..META_CHECKSUM.start].iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
            });
        put_u64(meta, META_CHECKSUM.start, hash);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn flipped_bytes(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        // Most flips go where structure is, behind the heads of pages.
        near in prop::collection::vec((any::<prop::sample::Index>(), 0..48_usize, any::<u8>()), 0..6),
    ) {
        let mut bytes = sample();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for (page, offset, byte) in near {
            let at = page.index(bytes.len() / PAGE_BYTES) * PAGE_BYTES + offset;
            bytes[at] = byte;
        }
        drop(walk(&bytes));
        seal(&mut bytes);
        drop(walk(&bytes));
    }

    #[test]
    fn cut_files(length in any::<prop::sample::Index>()) {
        let bytes = sample();
        let length = length.index(bytes.len());
        let refused = walk(&bytes[..length]).unwrap_err();
        let told = matches!(refused, BoltError::CutOff { .. } | BoltError::NoMeta { .. });
        prop_assert!(told, "{}", refused);
    }

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..10_000)) {
        prop_assert!(walk(&bytes).is_err());
    }
}

#[test]
fn the_valid_meta_with_the_later_transaction_counts() {
    let mut bytes = sample();
    assert_eq!(walk(&bytes).unwrap(), 401);
    // The first meta is of an earlier transaction: what it says does not matter.
    put_u64(&mut bytes, 32, 1 << 40);
    seal(&mut bytes);
    assert_eq!(walk(&bytes).unwrap(), 401);
    // Nor that it is damaged.
    bytes[20] ^= 1;
    assert_eq!(walk(&bytes).unwrap(), 401);
    let mut bytes = sample();
    bytes[PAGE_BYTES + 20] ^= 1;
    assert_eq!(walk(&bytes).unwrap(), 401);
    bytes[20] ^= 1;
    let error = walk(&bytes).unwrap_err();
    assert_eq!(
        error.to_string(),
        "\"db\" is not a bbolt file, or both of its meta pages are damaged: the version is unknown"
    );
}

/// A branch whose child is itself must end the walk, and not the memory.
#[test]
fn a_circle_of_pages() {
    let mut bytes = sample();
    let branch = (2..bytes.len() / PAGE_BYTES)
        .find(|page| Header::read(&bytes[page * PAGE_BYTES..]).unwrap().flags == FLAG_BRANCH)
        .unwrap();
    put_u64(&mut bytes, branch * PAGE_BYTES + 16 + 8, branch as u64);
    let error = walk(&bytes).unwrap_err();
    let text = format!("\"db\" is damaged at page {branch}: pages refer to each other in a circle");
    assert_eq!(error.to_string(), text);
}

/// Two elements that share a child would show its pairs twice.
#[test]
fn a_page_with_two_parents() {
    let mut bytes = sample();
    let branch = (2..bytes.len() / PAGE_BYTES)
        .find(|page| Header::read(&bytes[page * PAGE_BYTES..]).unwrap().flags == FLAG_BRANCH)
        .unwrap();
    let first = branch * PAGE_BYTES + 16 + 8;
    let child = u64::from_le_bytes(*bytes[first..].first_chunk().unwrap());
    put_u64(&mut bytes, first + 16, child);
    let error = walk(&bytes).unwrap_err();
    let text = format!("\"db\" is damaged at page {child}: its keys do not ascend");
    assert_eq!(error.to_string(), text);
}

#[test]
fn an_overflow_behind_the_end() {
    let mut bytes = sample();
    bytes[2 * PAGE_BYTES + 12..2 * PAGE_BYTES + 16].copy_from_slice(&u32::MAX.to_le_bytes());
    let error = walk(&bytes).unwrap_err();
    assert_eq!(error.to_string(), "\"db\" is damaged at page 2: it goes on behind the last page");
}
