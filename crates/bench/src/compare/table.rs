//! Samples by workload and load, and the medians that are shown.

use std::fmt;

use serde_json::{Value, json};

use super::Load;
use crate::report::Report;
use crate::workload::Mode;

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// What is sent.
    pub mode: Mode,
    /// How much is in flight.
    pub load: Load,
}

/// What the table keeps of one load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Calls that succeeded in each second.
    pub throughput: f64,
    /// Latency that 99 of 100 calls do not exceed.
    pub p99_ms: f64,
    /// CPU time of the servers for each call.
    pub server_us: f64,
    /// The share of the machine that others used meanwhile.
    pub other_load: f64,
    /// Calls that did not succeed.
    pub failed: u64,
}

impl From<&Report> for Sample {
    fn from(report: &Report) -> Self {
        Self {
            throughput: report.throughput(),
            p99_ms: report.quantile_ms(990),
            server_us: report.server_us_per_call().unwrap_or_default(),
            other_load: report.other_load.unwrap_or_default(),
            failed: report.failed(),
        }
    }
}

#[derive(Clone, Debug)]
struct Row {
    cell: Cell,
    /// One pair for each round: reference, ours.
    pairs: Vec<(Sample, Sample)>,
}

impl Row {
    fn median(&self, of: impl Fn(&(Sample, Sample)) -> f64) -> f64 {
        median(self.pairs.iter().map(of).collect())
    }

    /// The most that others used of the machine during any sample of the row.
    fn other_load(&self) -> f64 {
        let shares = self.pairs.iter().flat_map(|(reference, ours)| [reference, ours]);
        shares.map(|sample| sample.other_load).fold(0.0, f64::max)
    }

    fn failed(&self) -> (u64, u64) {
        let reference = self.pairs.iter().map(|(reference, _)| reference.failed).sum();
        (reference, self.pairs.iter().map(|(_, ours)| ours.failed).sum())
    }
}

/// All samples of a comparison. Its text is a Markdown table of medians; only the load of others is
/// the largest of all samples, because a row is worth no more than its worst one.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Adds the samples of one round.
    pub fn add(&mut self, cell: Cell, reference: Sample, ours: Sample) {
        match self.rows.iter_mut().find(|row| row.cell == cell) {
            Some(row) => row.pairs.push((reference, ours)),
            None => self.rows.push(Row { cell, pairs: vec![(reference, ours)] }),
        }
    }

    /// The medians for programs.
    pub fn to_json(&self) -> Value {
        let row = |row: &Row| {
            let side = |of: fn(&(Sample, Sample)) -> &Sample, failed: u64| {
                json!({
                    "throughput": row.median(|pair| of(pair).throughput),
                    "p99_ms": row.median(|pair| of(pair).p99_ms),
                    "server_us_per_call": row.median(|pair| of(pair).server_us),
                    "failed": failed,
                })
            };
            let (reference_failed, ours_failed) = row.failed();
            json!({
                "workload": row.cell.mode.name(),
                "connections": row.cell.load.connections,
                "streams": row.cell.load.streams,
                "rounds": row.pairs.len(),
                "reference": side(|(reference, _)| reference, reference_failed),
                "ours": side(|(_, ours)| ours, ours_failed),
                "throughput_ratio": row.median(throughput_ratio),
                "cpu_ratio": row.median(cpu_ratio),
                "other_load": row.other_load(),
            })
        };
        self.rows.iter().map(row).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("| workload | in flight | reference/s | ours/s | ratio ")?;
        f.write_str("| p99 ms, reference | p99 ms, ours ")?;
        f.write_str("| CPU us/op, reference | CPU us/op, ours | ratio | failed | other load |\n")?;
        f.write_str("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")?;
        for row in &self.rows {
            let Load { connections, streams } = row.cell.load;
            let name = row.cell.mode.name();
            write!(f, "| {name} | {connections}x{streams} ")?;
            let throughput = |of: fn(&(Sample, Sample)) -> f64| row.median(of);
            write!(f, "| {:.0} ", throughput(|(reference, _)| reference.throughput))?;
            write!(f, "| {:.0} ", throughput(|(_, ours)| ours.throughput))?;
            write!(f, "| {:.2}x ", row.median(throughput_ratio))?;
            write!(f, "| {:.2} ", row.median(|(reference, _)| reference.p99_ms))?;
            write!(f, "| {:.2} ", row.median(|(_, ours)| ours.p99_ms))?;
            write!(f, "| {:.1} ", row.median(|(reference, _)| reference.server_us))?;
            write!(f, "| {:.1} ", row.median(|(_, ours)| ours.server_us))?;
            let (reference, ours) = row.failed();
            write!(f, "| {:.2}x | {reference} / {ours} ", row.median(cpu_ratio))?;
            writeln!(f, "| {:.0} % |", row.other_load() * 100.0)?;
        }
        Ok(())
    }
}

/// How many times more calls ours answers; above one is better.
fn throughput_ratio((reference, ours): &(Sample, Sample)) -> f64 {
    ratio(ours.throughput, reference.throughput)
}

/// How many times less CPU time ours takes; above one is better.
fn cpu_ratio((reference, ours): &(Sample, Sample)) -> f64 {
    ratio(reference.server_us, ours.server_us)
}

fn ratio(above: f64, below: f64) -> f64 {
    if below > 0.0 { above / below } else { 0.0 }
}

/// The middle value, or the mean of the two in the middle; zero if there is none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.as_slice() {
        [] => 0.0,
        values if values.len() % 2 == 0 => (values[middle - 1] + values[middle]) / 2.0,
        values => values[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(throughput: f64, server_us: f64, failed: u64) -> Sample {
        Sample { throughput, p99_ms: 1.0, server_us, other_load: 0.03, failed }
    }

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(median(vec![]), 0.0);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), 2.5);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine was slow in the second round: the ratio of the medians would be 200 / 30.
        let load = Load { connections: 100, streams: 10 };
        let mut table = Table::default();
        for (reference, ours) in [(100.0, 200.0), (10.0, 20.0), (30.0, 210.0)] {
            let cell = Cell { mode: Mode::Put, load };
            table.add(cell, sample(reference, 50.0, 0), sample(ours, 10.0, 1));
        }
        let json = table.to_json();
        assert_eq!(json[0]["throughput_ratio"], json!(2.0));
        assert_eq!(json[0]["cpu_ratio"], json!(5.0));
        assert_eq!(json[0]["rounds"], json!(3));
        let row = "| put | 100x10 | 30 | 200 | 2.00x | 1.00 | 1.00 | 50.0 | 10.0 | 5.00x \
            | 0 / 3 | 3 % |";
        assert_eq!(table.to_string().lines().nth(2), Some(row));
    }

    #[test]
    fn a_dead_side_does_not_divide_by_zero() {
        let cell = Cell { mode: Mode::Txn, load: Load { connections: 1, streams: 1 } };
        let mut table = Table::default();
        table.add(cell, sample(0.0, 0.0, 9), sample(0.0, 0.0, 9));
        assert_eq!(table.to_json()[0]["throughput_ratio"], json!(0.0));
    }
}
