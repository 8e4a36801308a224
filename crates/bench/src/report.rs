//! What a load came to, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;

use quoin_api::error::STATUS_NAMES;
use serde_json::{Value, json};

use crate::histogram::Histogram;
use crate::http2::connection::{Answer, Outcome};

/// The result of one load.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The name of the workload.
    pub name: String,
    /// Connections that were opened.
    pub connections: usize,
    /// Requests in flight on each.
    pub streams: usize,
    /// From the first request to the last answer.
    pub elapsed_ns: u64,
    /// Latencies of the calls that succeeded.
    pub latencies_ns: Histogram,
    /// Calls that did not succeed, by how they ended.
    pub errors: BTreeMap<Outcome, u64>,
    /// Bytes of the responses of calls that succeeded.
    pub response_bytes: u64,
    /// CPU time of the servers, if their processes are known.
    pub server_cpu_us: Option<u64>,
    /// CPU time of this process.
    pub client_cpu_us: u64,
    /// The share of the machine's CPU time, from 0 to 1, that was used by others than the servers
    /// and this process, if the processes of the servers are known.
    pub other_load: Option<f64>,
    /// Whether the load ended by itself, and not because no connection was left.
    pub is_complete: bool,
    /// What a reader must know to trust the numbers.
    pub notes: Vec<String>,
}

impl Report {
    /// Counts one answer.
    pub fn record(&mut self, answer: &Answer) {
        if answer.outcome == Outcome::Ok {
            self.latencies_ns.record(answer.latency_ns);
            self.response_bytes += answer.bytes;
        } else {
            *self.errors.entry(answer.outcome).or_default() += 1;
        }
    }

    /// Calls that succeeded.
    pub fn succeeded(&self) -> u64 {
        self.latencies_ns.total()
    }

    /// Calls that did not succeed.
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Calls that succeeded in each second.
    pub fn throughput(&self) -> f64 {
        per(self.succeeded(), self.elapsed_ns) * 1e9
    }

    /// CPU time of the servers for each call that succeeded.
    pub fn server_us_per_call(&self) -> Option<f64> {
        self.server_cpu_us.map(|cpu| per(cpu, self.succeeded()))
    }

    /// A latency in milliseconds that this share of the calls did not exceed.
    pub fn quantile_ms(&self, permille: u64) -> f64 {
        self.latencies_ns.quantile(permille) as f64 / 1e6
    }

    /// The report for programs.
    pub fn to_json(&self) -> Value {
        let errors = self.errors.iter().map(|(outcome, count)| (describe(*outcome), json!(count)));
        json!({
            "workload": self.name,
            "connections": self.connections,
            "streams": self.streams,
            "succeeded": self.succeeded(),
            "failed": self.failed(),
            "errors": Value::Object(errors.collect()),
            "elapsed_s": self.elapsed_ns as f64 / 1e9,
            "throughput": self.throughput(),
            "p50_ms": self.quantile_ms(500),
            "p99_ms": self.quantile_ms(990),
            "max_ms": self.latencies_ns.max() as f64 / 1e6,
            "response_bytes_per_call": per(self.response_bytes, self.succeeded()),
            "server_us_per_call": self.server_us_per_call(),
            "client_us_per_call": per(self.client_cpu_us, self.succeeded()),
            "other_load": self.other_load,
            "is_complete": self.is_complete,
            "notes": self.notes,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}x{}: {:.0}/s, p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms, {} ok, {} failed",
            self.name,
            self.connections,
            self.streams,
            self.throughput(),
            self.quantile_ms(500),
            self.quantile_ms(990),
            self.latencies_ns.max() as f64 / 1e6,
            self.succeeded(),
            self.failed(),
        )?;
        if let Some(cpu) = self.server_us_per_call() {
            write!(f, ", server {cpu:.1} us/op")?;
        }
        write!(f, ", client {:.1} us/op", per(self.client_cpu_us, self.succeeded()))?;
        write!(f, ", {:.0} B/op", per(self.response_bytes, self.succeeded()))?;
        if let Some(share) = self.other_load {
            write!(f, ", other load {:.0} %", share * 100.0)?;
        }
        for (outcome, count) in &self.errors {
            write!(f, "; {count} x {}", describe(*outcome))?;
        }
        if !self.is_complete {
            f.write_str("; ended early")?;
        }
        self.notes.iter().try_for_each(|note| write!(f, "; {note}"))
    }
}

fn per(amount: u64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { amount as f64 / count as f64 }
}

fn describe(outcome: Outcome) -> String {
    match outcome {
        Outcome::Ok => "OK".to_owned(),
        Outcome::Status(code) => match STATUS_NAMES.get(code as usize) {
            Some(name) => (*name).to_owned(),
            None => format!("status {code}"),
        },
        Outcome::Http(status) => format!("HTTP {status}"),
        Outcome::Reset(code) => format!("stream reset {code}"),
        Outcome::Incomplete => "incomplete response".to_owned(),
        Outcome::Lost => "connection lost".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report {
            name: "put".to_owned(),
            connections: 2,
            streams: 3,
            elapsed_ns: 2_000_000_000,
            server_cpu_us: Some(600),
            client_cpu_us: 20,
            other_load: Some(0.125),
            is_complete: true,
            ..Report::default()
        };
        let answer =
            |outcome| Answer { outcome, latency_ns: 1_000_000, bytes: 40, body: Vec::new() };
        (0..10).for_each(|_| report.record(&answer(Outcome::Ok)));
        (0..2).for_each(|_| report.record(&answer(Outcome::Status(14))));
        report.record(&answer(Outcome::Lost));
        report
    }

    #[test]
    fn a_line_says_it_all() {
        let expected = "put 2x3: 5/s, p50 1.00 ms, p99 1.00 ms, max 1.00 ms, 10 ok, 3 failed, \
            server 60.0 us/op, client 2.0 us/op, 40 B/op, other load 12 %; \
            2 x Unavailable; 1 x connection lost";
        assert_eq!(report().to_string(), expected);
    }

    #[test]
    fn failures_count_neither_as_throughput_nor_as_latency() {
        let json = report().to_json();
        assert_eq!((&json["succeeded"], &json["failed"]), (&json!(10), &json!(3)));
        assert_eq!(json["throughput"], json!(5.0));
        assert_eq!(json["errors"]["Unavailable"], json!(2));
        assert_eq!(json["response_bytes_per_call"], json!(40.0));
    }

    #[test]
    fn an_early_end_is_told() {
        let notes = vec!["closed by the server".to_owned()];
        let report = Report { is_complete: false, notes, ..report() };
        let end = "1 x connection lost; ended early; closed by the server";
        assert!(report.to_string().ends_with(end), "{report}");
    }

    #[test]
    fn nothing_at_all_is_not_a_number_to_divide_by() {
        let json = Report { server_cpu_us: Some(5), ..Report::default() }.to_json();
        assert_eq!((&json["throughput"], &json["server_us_per_call"]), (&json!(0.0), &json!(0.0)));
    }
}
