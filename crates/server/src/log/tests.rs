//! Golden lines: the bytes etcd's zap writes for the same record.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use time::UtcOffset;

use super::*;
use crate::record;

/// Keeps what is written to it, one element a write.
#[derive(Clone, Default)]
struct Writes(Arc<Mutex<Vec<String>>>);

impl Write for Writes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8(bytes.to_vec()).expect("lines are text");
        self.0.lock().expect("no test panics while it writes").push(text);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Writes {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("no test panics while it writes"))
    }
}

/// 2006-01-02T15:04:05.000042Z.
fn instant() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_136_214_245) + Duration::from_micros(42)
}

fn logger(level: Level, format: Format, offset: UtcOffset) -> (Logger, Writes) {
    let writes = Writes::default();
    let clock = Clock { now: instant, offset };
    (Logger::new(level, format, clock, vec![Box::new(writes.clone())]), writes)
}

/// A record from a known place.
fn at(mut record: Record) -> Record {
    record.caller = Caller { file: "crates/server/src/config.rs", line: 7 };
    record
}

#[track_caller]
fn check(format: Format, record: Record, line: &str) {
    let (logger, writes) = logger(Level::Debug, format, UtcOffset::UTC);
    logger.write(&at(record));
    assert_eq!(writes.take(), [format!("{line}\n")]);
}

const HEAD: &str = r#""ts":"2006-01-02T15:04:05.000042Z""#;

#[test]
fn a_json_line_is_zaps() {
    check(
        Format::Json,
        record!(Info, "ready to serve client requests"),
        &format!(
            r#"{{"level":"info",{HEAD},"caller":"server/config.rs:7","msg":"ready to serve client requests"}}"#
        ),
    );
    let everything = record!(
        Warn,
        "m",
        "text" => "a<b>&\u{e9}\u{7f}",
        "texts" => vec!["a".to_owned(), String::new()],
        "none" => Vec::new(),
        "flag" => true,
        "int" => -3_i64,
        "uint" => u64::MAX,
        "took" => Duration::from_micros(1_200),
        "long" => Duration::from_secs(3_661),
    );
    check(
        Format::Json,
        everything.named("raft"),
        &format!(
            "{{\"level\":\"warn\",{HEAD},\"logger\":\"raft\",\"caller\":\"server/config.rs:7\",\
             \"msg\":\"m\",\"text\":\"a<b>&\u{e9}\u{7f}\",\"texts\":[\"a\",\"\"],\"none\":[],\
             \"flag\":true,\"int\":-3,\"uint\":18446744073709551615,\"took\":\"1.2ms\",\
             \"long\":\"1h1m1s\"}}"
        ),
    );
}

#[test]
fn a_message_cannot_break_its_line() {
    check(
        Format::Json,
        record!(Error, "a\"b\\c\nd\re\tf\u{1}", "k" => "\n"),
        &format!(
            r#"{{"level":"error",{HEAD},"caller":"server/config.rs:7","msg":"a\"b\\c\nd\re\tf\u0001","k":"\n"}}"#
        ),
    );
}

#[test]
fn a_console_line_is_zaps() {
    check(
        Format::Console,
        record!(Info, "Running: ", "args" => vec!["a".to_owned(), "b".to_owned()], "n" => 1),
        "2006-01-02T15:04:05.000042Z\tinfo\tserver/config.rs:7\tRunning: \t{\"args\": [\"a\", \"b\"], \"n\": 1}",
    );
    check(
        Format::Console,
        record!(Fatal, "m").named("raft"),
        "2006-01-02T15:04:05.000042Z\tfatal\traft\tserver/config.rs:7\tm",
    );
}

#[test]
fn local_time_carries_its_offset() {
    for (hours, minutes, text) in
        [(1, 0, "16:04:05.000042+0100"), (-3, -30, "11:34:05.000042-0330")]
    {
        let offset = UtcOffset::from_hms(hours, minutes, 0).expect("it is an offset");
        let (logger, writes) = logger(Level::Info, Format::Console, offset);
        logger.write(&at(record!(Info, "m")));
        assert_eq!(writes.take(), [format!("2006-01-02T{text}\tinfo\tserver/config.rs:7\tm\n")]);
    }
}

#[test]
fn lines_below_the_level_are_dropped() {
    let (logger, writes) = logger(Level::Warn, Format::Json, UtcOffset::UTC);
    logger.write(&record!(Debug, "a"));
    logger.write(&record!(Info, "b"));
    assert_eq!(writes.take(), Vec::<String>::new());
    logger.write(&record!(Warn, "c"));
    logger.write(&record!(Fatal, "d"));
    assert_eq!(writes.take().len(), 2);
    assert!(!logger.enabled(Level::Info) && logger.enabled(Level::Error));
}

#[test]
fn an_output_that_fails_does_not_harm_the_others() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::other("gone"))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let writes = Writes::default();
    let clock = Clock { now: instant, offset: UtcOffset::UTC };
    let sinks: Vec<Box<dyn Write + Send>> = vec![Box::new(Broken), Box::new(writes.clone())];
    let logger = Logger::new(Level::Info, Format::Json, clock, sinks);
    logger.write(&record!(Info, "m"));
    assert_eq!(writes.take().len(), 1);
}

#[test]
fn levels_are_read_in_any_case() {
    let cases = [
        ("debug", Some(Level::Debug)),
        ("", Some(Level::Info)),
        ("WARNING", Some(Level::Warn)),
        ("Warn", Some(Level::Warn)),
        ("dpanic", Some(Level::Dpanic)),
        ("fatal", Some(Level::Fatal)),
        ("foo", None),
    ];
    for (text, level) in cases {
        assert_eq!(Level::parse(text), level, "{text}");
    }
}

#[test]
fn the_caller_is_short_and_without_src() {
    let cases = [
        ("crates/server/src/config.rs", "server/config.rs:1"),
        ("crates/server/src/config/flags.rs", "config/flags.rs:1"),
        ("src/main.rs", "main.rs:1"),
    ];
    for (file, short) in cases {
        assert_eq!(Caller { file, line: 1 }.to_string(), short);
    }
}

#[test]
fn a_file_is_appended_to_and_a_missing_directory_is_named() {
    let path = std::env::temp_dir().join(format!("quoin-log-{}", std::process::id()));
    std::fs::write(&path, "before\n").expect("the directory can be written to");
    let outputs = std::collections::BTreeSet::from([Output::File(path.clone())]);
    let settings = LogSettings { outputs, ..LogSettings::default() };
    Logger::open(&settings).expect("the file exists").write(&record!(Info, "m"));
    let text = std::fs::read_to_string(&path).expect("the file exists");
    std::fs::remove_file(&path).expect("the file exists");
    assert!(text.starts_with("before\n{\"level\":\"info\""), "{text}");
    assert!(text.ends_with("\"msg\":\"m\"}\n"), "{text}");

    let outputs = std::collections::BTreeSet::from([Output::File("/nonexistent/foo".into())]);
    let settings = LogSettings { outputs, ..LogSettings::default() };
    let reason = "open sink \"/nonexistent/foo\": open /nonexistent/foo: no such file or directory";
    assert_eq!(Logger::open(&settings).err().as_deref(), Some(reason));
}
