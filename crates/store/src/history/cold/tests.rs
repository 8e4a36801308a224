use std::path::Path;

use quoin_vfs::{FileSystem, MemFs};

use super::*;
use crate::history::segment::SegmentWriter;

/// Segments to point into; nothing is read from them.
pub(crate) fn segments(count: u64) -> Vec<Arc<Segment>> {
    let fs = MemFs::new();
    fs.create_dir_all(Path::new("/store")).unwrap();
    let begin = |number| SegmentWriter::begin(&fs, Path::new("/store"), number).unwrap();
    let finish = |writer: SegmentWriter| writer.finish(&mut |_| ()).unwrap().segment;
    (0..count).map(begin).map(finish).collect()
}

/// (main, sub, which segment, offset, length, deletion)
type Row = (i64, u32, usize, u32, u32, bool);

fn place<'a>(segments: &'a [Arc<Segment>], row: &Row) -> Place<'a> {
    let &(main, sub, segment, offset, length, tombstone) = row;
    let revision = Revision { main, sub };
    Place { segment: &segments[segment], offset, revision, tombstone, length }
}

/// What was put in comes out; returns how many bytes the columns take.
fn check(segments: &[Arc<Segment>], rows: &[Row]) -> usize {
    let mut builder = ColdBuilder::default();
    rows.iter().for_each(|row| builder.push(&place(segments, row)));
    let cold = builder.finish().unwrap();
    assert_eq!(cold.len(), rows.len());
    assert_eq!(cold.bytes(), rows.iter().map(|row| row.4 as usize).sum::<usize>());
    let tell = |place: &Place<'_>| {
        let Place { segment, offset, revision, tombstone, length } = *place;
        (segment.number(), offset, revision, tombstone, length)
    };
    let expected: Vec<_> = rows.iter().map(|row| tell(&place(segments, row))).collect();
    assert_eq!(cold.places().map(|place| tell(&place)).collect::<Vec<_>>(), expected);
    for (slot, row) in rows.iter().enumerate() {
        assert_eq!(cold.revision(slot), Revision { main: row.0, sub: row.1 });
        assert_eq!(cold.length(slot), row.4 as usize);
    }
    assert!(cold.segments().iter().all(|segment| expected.iter().any(|e| e.0 == segment.number())));
    let mains = match &cold.mains {
        Mains::Dense(_) => 0,
        Mains::Near { above, .. } => size_of_val(&**above),
        Mains::Far(mains) => size_of_val(&**mains),
    };
    let Columns { subs, offsets, lengths, owners, segments: _ } = &cold.columns;
    let words = subs.capacity() + offsets.capacity() + lengths.capacity();
    mains + words * size_of::<u32>() + owners.capacity() * size_of::<u16>()
}

#[test]
fn single_puts_take_eight_bytes() {
    let rows: Vec<Row> =
        (0..1000).map(|n: u32| (5 + i64::from(n), 0, 0, 24 + n, n, false)).collect();
    assert_eq!(check(&segments(1), &rows), 8 * rows.len());
}

#[test]
fn gaps_take_four_bytes_more() {
    let rows: Vec<Row> =
        (0..1000).map(|n: u32| (5 + 3 * i64::from(n), 0, 0, n, n, false)).collect();
    assert_eq!(check(&segments(1), &rows), 12 * rows.len());
}

#[test]
fn requests_of_several_changes() {
    let rows: Vec<Row> =
        (0..900).map(|n: u32| (2 + i64::from(n / 3), n % 3, 0, n, 7, n % 2 == 1)).collect();
    assert_eq!(check(&segments(1), &rows), 16 * rows.len());
    // Only from where there is one on.
    check(&segments(1), &[(2, 0, 0, 1, 1, false), (3, 0, 0, 2, 2, false), (3, 1, 0, 3, 3, true)]);
    check(&segments(1), &[(2, 1, 0, 1, 1, false), (3, 0, 0, 2, 2, false), (4, 0, 0, 3, 3, true)]);
}

/// The first revision of a chunk may have a sub revision, and is then not where others count from.
#[test]
fn a_chunk_that_begins_within_a_request() {
    check(
        &segments(1),
        &[(7, 4, 0, 30, 1, false), (7, 5, 0, 60, 1, false), (8, 0, 0, 90, 1, true)],
    );
}

#[test]
fn several_segments() {
    let rows: Vec<Row> =
        (0..998).map(|n: u32| (1 + i64::from(n), 0, (n % 3) as usize, n, n, false)).collect();
    assert_eq!(check(&segments(3), &rows), 10 * rows.len());
    let mut rows = rows;
    rows.iter_mut().take(500).for_each(|row| row.2 = 2);
    check(&segments(4), &rows);
    // As many as there can be.
    let rows: Vec<Row> =
        (0..1024).map(|n: u32| (1 + i64::from(n), 0, n as usize, n, n, true)).collect();
    check(&segments(1024), &rows);
}

#[test]
fn the_ends_of_the_columns() {
    let last = TOMBSTONE - 1;
    let near = i64::from(u32::MAX);
    let segments = segments(2);
    let rows = [(1, 0, 0, u32::MAX, last, true), (1 + near, u32::MAX, 1, 0, 0, true)];
    assert_eq!(check(&segments, &rows), 2 * 12 + 2 * 4 + 2 * 2);
    // One more, and the mains are kept whole.
    let rows = [(1, 0, 0, 0, last, false), (2 + near, 0, 0, u32::MAX, 0, false)];
    assert_eq!(check(&segments, &rows), 2 * 16);
    check(&segments, &[(i64::MIN, 0, 0, 0, 0, false), (i64::MAX, 0, 0, 0, 0, false)]);
    check(&segments, &[(i64::MAX, 0, 1, 0, 0, true)]);
    assert!(ColdBuilder::default().finish().is_none());
}

#[test]
fn heads_are_small() {
    assert!(size_of::<Cold>() <= 200, "{} bytes", size_of::<Cold>());
}
