use std::time::Duration;

use super::{Kind, Page, number};
use crate::metrics::value::Histogram;

#[track_caller]
fn check(value: f64, text: &str) {
    assert_eq!(number(value), text);
}

#[test]
fn numbers_are_written_as_go_writes_them() {
    check(0.0, "0");
    check(-3.0, "-3");
    check(0.5, "0.5");
    check(0.0001, "0.0001");
    check(0.00005, "5e-05");
    check(524_288.0, "524288");
    check(1_048_576.0, "1.048576e+06");
    check(2_147_483_648.0, "2.147483648e+09");
    check(18_446_744_073_709_551_615.0, "1.8446744073709552e+19");
    check(f64::INFINITY, "+Inf");
    check(f64::NAN, "NaN");
}

#[test]
fn families_come_by_name_and_nothing_escapes_its_quotes() {
    let mut page = Page::default();
    let mut family = page.family(Kind::Gauge, "zebra", "One \\ line\nonly.");
    family.sample(&[("name", "a\"b\\c\nd"), ("other", "")], 1.0);
    page.counter("ant", 7, "Ants.");
    let expected = "# HELP ant Ants.\n# TYPE ant counter\nant 7\n\
        # HELP zebra One \\\\ line\\nonly.\n# TYPE zebra gauge\n\
        zebra{name=\"a\\\"b\\\\c\\nd\",other=\"\"} 1\n";
    assert_eq!(page.finish(), expected);
}

#[test]
fn buckets_are_cumulative_and_end_with_the_count() {
    let histogram = Histogram::seconds(Duration::from_millis(1), 2);
    for millis in [1, 2, 2, 5] {
        histogram.observe(Duration::from_millis(millis));
    }
    let mut page = Page::default();
    let mut family = page.family(Kind::Histogram, "h", "Help.");
    family.histogram(&[("To", "a")], &histogram);
    let expected = "# HELP h Help.\n# TYPE h histogram\n\
        h_bucket{To=\"a\",le=\"0.001\"} 1\nh_bucket{To=\"a\",le=\"0.002\"} 3\n\
        h_bucket{To=\"a\",le=\"+Inf\"} 4\nh_sum{To=\"a\"} 0.01\nh_count{To=\"a\"} 4\n";
    assert_eq!(page.finish(), expected);
}

#[test]
#[should_panic(expected = "written once")]
fn a_family_is_written_once() {
    let mut page = Page::default();
    page.counter("twice", 1, "Help.");
    page.counter("twice", 1, "Help.");
}
