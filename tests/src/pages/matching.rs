//! Whether an output is what a page says, where the page has an ellipsis for what varies.

/// Stands for any text within a line; alone in a line, for any lines.
const ANYTHING: char = '\u{2026}';

/// Whether `printed` is the output that `expected` describes.
pub fn matches(expected: &str, printed: &str) -> bool {
    let expected = lines(expected);
    let printed = lines(printed);
    wildcard_matches(
        &expected,
        &printed,
        |pattern| pattern.chars().eq([ANYTHING]),
        |pattern, line| {
            let pattern: Vec<char> = pattern.chars().collect();
            let line: Vec<char> = line.chars().collect();
            wildcard_matches(&pattern, &line, |&each| each == ANYTHING, |each, char| each == char)
        },
    )
}

fn lines(text: &str) -> Vec<&str> {
    text.trim_matches('\n').lines().map(str::trim_end).collect()
}

/// Matches a sequence against a pattern in which some items are wild: they stand for any items.
/// When an item does not fit, the last wild item takes one more: the earlier ones need not be
/// looked at again, so the time is at most the product of both lengths.
fn wildcard_matches<P, T>(
    pattern: &[P],
    items: &[T],
    is_wild: impl Fn(&P) -> bool,
    fits: impl Fn(&P, &T) -> bool,
) -> bool {
    let (mut at, mut item) = (0, 0);
    let mut last_wild: Option<Wild> = None;
    while item < items.len() {
        if pattern.get(at).is_some_and(&is_wild) {
            last_wild = Some(Wild { at, taken_until: item });
            at += 1;
        } else if pattern.get(at).is_some_and(|each| fits(each, &items[item])) {
            at += 1;
            item += 1;
        } else if let Some(wild) = &mut last_wild {
            wild.taken_until += 1;
            at = wild.at + 1;
            item = wild.taken_until;
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(is_wild)
}

/// A wild item of the pattern, and where what it stands for ends.
struct Wild {
    at: usize,
    taken_until: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In this table a tilde is the ellipsis.
    #[test]
    fn an_output_matches_as_the_page_says() {
        let cases = [
            ("ts1\n", "ts1", true),
            ("ts1\n", "ts2\n", false),
            ("", "", true),
            ("", "error\n", false),
            ("a\n", "a\nb\n", false),
            ("a\nb\n", "a\n", false),
            ("lease ~ granted with TTL(30s)", "lease 32697573 granted with TTL(30s)", true),
            ("lease ~ granted with TTL(30s)", "lease 32697573 granted with TTL(60s)", false),
            ("a~b~c", "aXbXbXc", true),
            ("a~b~c", "abc", true),
            ("a~b~c", "acb", false),
            ("~aab", "aaaab", true),
            ("first\n~\nlast\n", "first\nlast\n", true),
            ("first\n~\nlast\n", "first\nlast\nx\nlast\n", true),
            ("first\n~\nlast\n", "first\nlast\nx\n", false),
            ("~\n", "", true),
            ("no wild ~\n", "no wild \nanother line\n", false),
            ("spaces do not count\n", "\nspaces do not count  \n\n", true),
            ("a\n\nb\n", "a\nb\n", false),
        ];
        for (expected, printed, wanted) in cases {
            let page = expected.replace('~', "\u{2026}");
            assert_eq!(matches(&page, printed), wanted, "{expected:?} {printed:?}");
        }
    }
}
