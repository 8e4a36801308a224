//! Records as the lines of etcd 3.4 and older, `--logger=capnslog`: operators' eyes and scripts know
//! them.
//!
//! ```text
//! 2006-01-02 15:04:05.000000 I | rafthttp: peer 286e74436b83a06a became active
//! ```
//!
//! Time is local, the letter is the level (C E W N I D), then the package that spoke in etcd 3.4. One
//! record can be several old lines. A record that had no old counterpart keeps its message and shows
//! its fields behind it: `etcdserver: saved snapshot (snapshot-index=7)`.
//!
//! Not here: which record had which old lines (`old_lines`).

use time::OffsetDateTime;

use super::encode::{duration_text, put};
use super::old_lines::{Line, When, lines_of};
use super::record::{Level, Record, Value};

/// Appends the lines of `record` without the last line feed.
pub(super) fn encode(line: &mut String, record: &Record, now: OffsetDateTime) {
    // Consensus writes whole sentences in both logs.
    if !record.logger.is_empty() {
        head(line, letter(record.level), record.logger, now);
        return clean(line, &record.message);
    }
    let mut is_first = true;
    for old in lines_of(&record.message) {
        let Some(text) = fill(old, record) else { continue };
        if !is_first {
            line.push('\n');
        }
        is_first = false;
        head(line, old.letter.unwrap_or(letter(record.level)), old.package, now);
        clean(line, &text);
    }
    if is_first {
        head(line, letter(record.level), package_of(record.caller.file), now);
        clean(line, &record.message);
        fields(line, record);
    }
}

fn head(line: &mut String, letter: char, package: &str, now: OffsetDateTime) {
    let (year, month, day) = (now.year(), u8::from(now.month()), now.day());
    let (hour, minute, second) = (now.hour(), now.minute(), now.second());
    put(line, format_args!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}"));
    put(line, format_args!(".{:06} {letter} | {package}: ", now.microsecond()));
}

fn letter(level: Level) -> char {
    match level {
        Level::Debug => 'D',
        Level::Info => 'I',
        Level::Warn => 'W',
        Level::Error => 'E',
        Level::Dpanic | Level::Panic | Level::Fatal => 'C',
    }
}

/// Returns the package that stands for a file of ours when the table knows nothing better.
fn package_of(file: &str) -> &'static str {
    const PLACES: [(&str, &str); 9] = [
        ("/src/config/startup", "embed"),
        ("/src/peer", "rafthttp"),
        ("/src/config", "etcdmain"),
        ("/src/main", "etcdmain"),
        ("/src/boot", "embed"),
        ("/src/serve", "embed"),
        ("/src/metrics", "embed"),
        ("/src/grpc", "etcdserver/api/v3rpc"),
        ("/src/http", "etcdserver/api/etcdhttp"),
    ];
    let place = PLACES.iter().find(|(part, _)| file.contains(part));
    place.map_or("etcdserver", |(_, package)| package)
}

/// Appends text that may come from a peer or a client: it must not begin a line of its own.
fn clean(line: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            other => line.push(other),
        }
    }
}

fn fields(line: &mut String, record: &Record) {
    for (position, (key, value)) in record.fields.iter().enumerate() {
        line.push_str(if position == 0 { " (" } else { ", " });
        put(line, format_args!("{key}="));
        clean(line, &shown(value, Form::Plain));
    }
    if !record.fields.is_empty() {
        line.push(')');
    }
}

/// Fills the places of an old line, `{key}` or `{key:form}`. Returns nothing if the record has not
/// what the line speaks of.
fn fill(old: &Line, record: &Record) -> Option<String> {
    let value_of = |key: &str| {
        let field = record.fields.iter().find(|(name, _)| *name == key);
        field.map(|(_, value)| value)
    };
    let applies = match old.when {
        When::Always => true,
        When::Has(key) => value_of(key).is_some(),
        When::IsTrue(key) => value_of(key) == Some(&Value::Bool(true)),
        When::HasText(key) => value_of(key).is_some_and(|it| !shown(it, Form::Plain).is_empty()),
        When::Lacks(key) => value_of(key).is_none(),
    };
    if !applies {
        return None;
    }
    let mut text = String::new();
    let mut rest = old.text;
    while let Some((before, after)) = rest.split_once('{') {
        let (place, after) = after.split_once('}')?;
        let (key, form) = place.split_once(':').unwrap_or((place, ""));
        text.push_str(before);
        text.push_str(&shown(value_of(key)?, Form::parse(form)));
        rest = after;
    }
    text.push_str(rest);
    Some(text)
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As Go's `%v` does.
    Plain,
    /// As Go's `%q` does.
    Quoted,
    /// A list without brackets, divided by commas.
    Commas,
    /// A span of time in whole milliseconds.
    Millis,
    /// A URL without what stands behind its last slash.
    Base,
}

impl Form {
    fn parse(text: &str) -> Self {
        match text {
            "q" => Self::Quoted,
            "," => Self::Commas,
            "ms" => Self::Millis,
            "base" => Self::Base,
            _ => Self::Plain,
        }
    }
}

fn shown(value: &Value, form: Form) -> String {
    let mut text = String::new();
    match value {
        Value::Text(it) if form == Form::Quoted => text = crate::config::quote(it),
        Value::Text(it) if form == Form::Base => {
            text.push_str(it.rsplit_once('/').map_or(it, |(base, _)| base));
        }
        Value::Text(it) => text.push_str(it),
        Value::Texts(texts) if form == Form::Commas => text = texts.join(","),
        Value::Texts(texts) => put(&mut text, format_args!("[{}]", texts.join(" "))),
        Value::Bool(flag) => put(&mut text, format_args!("{flag}")),
        Value::Int(number) => put(&mut text, format_args!("{number}")),
        Value::Uint(number) => put(&mut text, format_args!("{number}")),
        Value::Nanos(nanos) if form == Form::Millis => {
            put(&mut text, format_args!("{}ms", nanos / 1_000_000));
        }
        Value::Nanos(nanos) => text = duration_text(*nanos),
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::time::Duration;

    use super::super::old_lines::TABLE;
    use super::super::record::Caller;
    use super::*;
    use crate::record;

    /// 2020-10-19 20:37:26.303167 in UTC.
    fn instant() -> OffsetDateTime {
        let time = OffsetDateTime::from_unix_timestamp(1_603_139_846).expect("it is a time");
        time + Duration::from_micros(303_167)
    }

    fn lines(record: &Record) -> Vec<String> {
        let mut text = String::new();
        encode(&mut text, record, instant());
        let lines = text.lines();
        lines
            .map(|line| {
                let rest = line.strip_prefix("2020-10-19 20:37:26.303167 ");
                rest.expect("each line has the time").to_owned()
            })
            .collect()
    }

    #[track_caller]
    fn check(record: Record, expected: &[&str]) {
        assert_eq!(lines(&record), expected);
    }

    const PEER: &str = "6f840018249f939b";

    /// The lines were printed by etcd 3.4.23.
    #[test]
    fn peers_read_as_in_etcd_34() {
        check(
            record!(Warn, "lost TCP streaming connection with remote peer",
                "stream-reader-type" => "stream MsgApp v2", "local-member-id" => "1",
                "remote-peer-id" => PEER, "error" => "EOF"),
            &["W | rafthttp: lost the TCP streaming connection with peer 6f840018249f939b \
               (stream MsgApp v2 reader)"],
        );
        check(
            record!(Info, "established TCP streaming connection with remote peer",
                "stream-writer-type" => "stream Message", "remote-peer-id" => PEER),
            &["I | rafthttp: established a TCP streaming connection with peer 6f840018249f939b \
               (stream Message writer)"],
        );
        check(
            record!(Warn, "peer became inactive (message send to peer failed)",
                "peer-id" => PEER,
                "error" => "failed to read 6f840018249f939b on stream Message (unexpected EOF)"),
            &[
                "E | rafthttp: failed to read 6f840018249f939b on stream Message (unexpected EOF)",
                "I | rafthttp: peer 6f840018249f939b became inactive (message send to peer failed)",
            ],
        );
        check(
            record!(Warn, "prober detected unhealthy status", "remote-peer-id" => PEER,
                "rtt" => Duration::ZERO,
                "error" => "dial tcp 127.0.0.1:2380: connect: connection refused"),
            &["W | rafthttp: health check for peer 6f840018249f939b could not connect: dial tcp \
               127.0.0.1:2380: connect: connection refused"],
        );
        check(
            record!(Warn, "closed TCP streaming connection with remote peer",
                "stream-writer-type" => "stream Message", "remote-peer-id" => PEER),
            &["I | rafthttp: closed the TCP streaming connection with peer 6f840018249f939b \
               (stream Message writer)"],
        );
        check(
            record!(Warn, "closed TCP streaming connection with remote peer",
                "stream-writer-type" => "stream Message", "local-member-id" => "1",
                "remote-peer-id" => PEER),
            &["W | rafthttp: closed an existing TCP streaming connection with peer \
               6f840018249f939b (stream Message writer)"],
        );
    }

    #[test]
    fn a_start_reads_as_in_etcd_34() {
        let urls = |url: &str| vec![url.to_owned()];
        check(
            record!(Info, "starting an etcd server",
                "etcd-version" => "3.7.1", "git-sha" => "x", "go-version" => "go1",
                "go-os" => "linux", "go-arch" => "amd64", "max-cpu-set" => 2_u32,
                "max-cpu-available" => 2_u32, "member-initialized" => true, "name" => "s1",
                "data-dir" => "d1", "wal-dir" => "", "member-dir" => "d1/member",
                "force-new-cluster" => false, "heartbeat-interval" => Duration::from_millis(100),
                "election-timeout" => Duration::from_secs(1), "snapshot-count" => 100_000_u32,
                "initial-advertise-peer-urls" => urls("http://127.0.0.1:2380"),
                "advertise-client-urls" => urls("http://127.0.0.1:2379"),
                "initial-cluster" => ""),
            &[
                "I | etcdmain: etcd Version: 3.7.1",
                "I | etcdmain: Git SHA: x",
                "I | etcdmain: Go Version: go1",
                "I | etcdmain: Go OS/Arch: linux/amd64",
                "I | etcdmain: setting maximum number of CPUs to 2, total number of available CPUs \
                 is 2",
                "I | embed: name = s1",
                "I | embed: data dir = d1",
                "I | embed: member dir = d1/member",
                "I | embed: heartbeat = 100ms",
                "I | embed: election = 1000ms",
                "I | embed: snapshot count = 100000",
                "I | embed: advertise client URLs = http://127.0.0.1:2379",
                "I | embed: initial advertise peer URLs = http://127.0.0.1:2380",
                "I | embed: initial cluster = ",
            ],
        );
        check(
            record!(Info, "added member", "cluster-id" => "cd", "local-member-id" => "1",
                "added-peer-id" => "ab", "added-peer-peer-urls" => urls("http://a:1")),
            &["I | etcdserver/membership: added member ab [http://a:1] to cluster cd"],
        );
        check(
            record!(Info, "published local member to cluster through raft",
                "local-member-attributes" => "{Name:s1 ClientURLs:[http://a:1]}",
                "cluster-id" => "cd"),
            &["I | etcdserver: published {Name:s1 ClientURLs:[http://a:1]} to cluster cd"],
        );
        check(
            record!(Info, "serving client traffic insecurely; this is strongly discouraged!",
                "traffic" => "grpc+http", "address" => "127.0.0.1:2379"),
            &["N | embed: serving insecure client requests on 127.0.0.1:2379, this is strongly \
               discouraged!"],
        );
        check(
            record!(Info, "received signal; shutting down", "signal" => "terminated"),
            &["N | pkg/osutil: received terminated signal, shutting down..."],
        );
    }

    #[test]
    fn consensus_speaks_for_itself() {
        check(
            record!(Warn, "1 stepped down to follower since quorum is not active").named("raft"),
            &["W | raft: 1 stepped down to follower since quorum is not active"],
        );
    }

    #[test]
    fn what_is_new_keeps_its_message_and_shows_its_fields() {
        let mut record = record!(Warn, "news", "a" => "b c", "list" => vec!["x".to_owned()],
            "n" => 1_u32, "took" => Duration::from_millis(1500));
        record.caller = Caller { file: "crates/server/src/peer/x.rs", line: 1 };
        check(record, &["W | rafthttp: news (a=b c, list=[x], n=1, took=1.5s)"]);
        let mut record = record!(Fatal, "the end");
        record.caller = Caller { file: "crates/server/src/driver.rs", line: 1 };
        check(record, &["C | etcdserver: the end"]);
    }

    /// A name or an error that comes from outside cannot forge a line.
    #[test]
    fn a_line_feed_in_a_field_begins_no_line() {
        let record = record!(Warn, "news", "error" => "x\n2020 E | raft: forged");
        assert_eq!(lines(&record).len(), 1);
    }

    #[test]
    fn slow_requests_are_quoted() {
        check(
            record!(Warn, "apply request took too long", "took" => Duration::from_millis(250),
                "expected-duration" => Duration::from_millis(100),
                "prefix" => "read-only range ", "request" => "key:\"a\" ",
                "response" => "range_response_count:1 size:29"),
            &["W | etcdserver: read-only range request \"key:\\\"a\\\" \" with result \
               \"range_response_count:1 size:29\" took too long (250ms) to execute"],
        );
    }

    /// A message that is reworded in its room must be reworded in the table, or its old line is lost.
    #[test]
    fn every_message_of_the_table_is_logged_somewhere() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut text = String::new();
        read_sources(&sources, &mut text);
        for old in TABLE {
            let message = format!("\"{}\"", old.message);
            assert!(text.contains(&message), "nobody logs {message}");
        }
        let messages: BTreeSet<&str> = TABLE.iter().map(|old| old.message).collect();
        assert_eq!(messages.len(), TABLE.len(), "each message stands in the table once");
    }

    fn read_sources(directory: &Path, text: &mut String) {
        for entry in std::fs::read_dir(directory).expect("the sources are there") {
            let path = entry.expect("the sources are there").path();
            if path.is_dir() {
                // What is said about the log is not what is logged.
                if !path.ends_with("log") {
                    read_sources(&path, text);
                }
            } else {
                let source = std::fs::read_to_string(&path).expect("sources are text");
                // A literal that goes on in the next line is one text.
                let mut lines = source.split("\\\n");
                text.push_str(lines.next().unwrap_or_default());
                for line in lines {
                    text.push_str(line.trim_start());
                }
            }
        }
    }
}
