//! Tables with lines drawn around the cells.

use std::io::{self, Write};

const HORIZONTAL: &str = "\u{2500}";
const VERTICAL: &str = "\u{2502}";
/// Left end, crossing and right end of a horizontal line.
const TOP: [&str; 3] = ["\u{250c}", "\u{252c}", "\u{2510}"];
const MIDDLE: [&str; 3] = ["\u{251c}", "\u{253c}", "\u{2524}"];
const BOTTOM: [&str; 3] = ["\u{2514}", "\u{2534}", "\u{2518}"];

/// Draws a table: headings in the middle of their cells, everything else to the right.
pub fn draw(output: &mut dyn Write, columns: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let length = |text: &str| text.trim().chars().count();
    let widest = |(index, heading): (usize, &&str)| {
        let cells = rows.iter().filter_map(|row| row.get(index));
        cells.map(|cell| length(cell)).fold(length(heading), usize::max)
    };
    let widths: Vec<usize> = columns.iter().enumerate().map(widest).collect();
    let border = |[left, crossing, right]: [&str; 3]| {
        let lines: Vec<String> = widths.iter().map(|width| HORIZONTAL.repeat(width + 2)).collect();
        format!("{left}{}{right}", lines.join(crossing))
    };
    writeln!(output, "{}", border(TOP))?;
    write!(output, "{VERTICAL}")?;
    for (heading, width) in columns.iter().zip(&widths) {
        write!(output, " {heading:^width$} {VERTICAL}")?;
    }
    writeln!(output)?;
    if !rows.is_empty() {
        writeln!(output, "{}", border(MIDDLE))?;
    }
    for row in rows {
        write!(output, "{VERTICAL}")?;
        for (cell, width) in row.iter().zip(&widths) {
            write!(output, " {:>width$} {VERTICAL}", cell.trim())?;
        }
        writeln!(output)?;
    }
    writeln!(output, "{}", border(BOTTOM))
}
