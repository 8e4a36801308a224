//! Log lines on standard error, one JSON object each, in the form of etcd's logger.

use quoin_client::{Error, FailedAttempt};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::output;
use crate::text::log_string;

/// A line of the log: level, time, logger, place in our code, message, then the fields.
fn line(now: OffsetDateTime, head: &[(&str, &str)], fields: &[(&str, String)]) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    let time = now.format(format).unwrap_or_else(|_| now.unix_timestamp().to_string());
    let mut line = String::from("{");
    for (index, (name, value)) in head.iter().enumerate() {
        if index == 1 {
            line.push_str(&format!("\"ts\":{},", log_string(&time)));
        }
        line.push_str(&format!("\"{name}\":{},", log_string(value)));
    }
    for (name, value) in fields {
        line.push_str(&format!("\"{name}\":{value},"));
    }
    line.pop();
    line.push_str("}\n");
    line
}

/// Logs what a command does, for commands that take their time.
pub(crate) fn info(caller: &str, message: &str, fields: &[(&str, String)]) {
    let head = [("level", "info"), ("caller", caller), ("msg", message)];
    output::complain(&line(OffsetDateTime::now_utc(), &head, fields));
}

/// Logs that no stream to a server could be opened.
pub(crate) fn failed_stream(caller: &str, error: &Error) {
    let head = [
        ("level", "error"),
        ("logger", "client"),
        ("caller", caller),
        ("msg", "streamer failed to create ClientStream"),
    ];
    let fields = [("error", log_string(&error.wire_text()))];
    output::complain(&line(OffsetDateTime::now_utc(), &head, &fields));
}

/// Logs that one attempt of a call failed. `logger` names the part of the program that called.
pub(crate) fn failed_attempt(logger: &str, attempt: &FailedAttempt<'_>) {
    output::complain(&failed_attempt_line(OffsetDateTime::now_utc(), logger, attempt));
}

fn failed_attempt_line(now: OffsetDateTime, logger: &str, attempt: &FailedAttempt<'_>) -> String {
    let peer = match attempt.addresses {
        Some((remote, local)) => {
            format!("Peer{{Addr: '{remote}', LocalAddr: '{local}', AuthInfo: 'insecure'}}")
        }
        None => "Peer{Addr: <nil>, LocalAddr: <nil>, AuthInfo: <nil>}".to_owned(),
    };
    let head = [
        ("level", "warn"),
        ("logger", logger),
        ("caller", "client/call.rs"),
        ("msg", "retrying of unary invoker failed"),
    ];
    let fields = [
        ("target", log_string(&format!("etcd-endpoints:///{}", attempt.target))),
        ("peer", log_string(&peer)),
        ("method", log_string(attempt.method)),
        ("attempt", attempt.attempt.to_string()),
        ("error", log_string(&attempt.error.wire_text())),
    ];
    line(now, &head, &fields)
}

/// Returns the line about an environment variable that cannot stand beside a flag.
pub(crate) fn conflicting_variable(name: &str) -> String {
    variable(
        "fatal",
        "conflicting environment variable is shadowed by corresponding command-line flag \
         (either unset environment variable or disable flag))",
        name,
    )
}

/// Logs an environment variable that looks like a flag but is none, with its value.
pub(crate) fn unrecognized_variable(assignment: &str) {
    output::complain(&variable("warn", "unrecognized environment variable", assignment));
}

fn variable(level: &str, message: &str, variable: &str) -> String {
    let head = [("level", level), ("caller", "ctl/globals.rs"), ("msg", message)];
    let fields = [("environment-variable", log_string(variable))];
    line(OffsetDateTime::now_utc(), &head, &fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_attempt_is_one_line_of_json() {
        let error = Error::Deadline { unreachable: Some("refused \"now\"".to_owned()) };
        let attempt = FailedAttempt {
            target: "127.0.0.1:1",
            addresses: None,
            method: "/etcdserverpb.KV/Range",
            attempt: 0,
            error: &error,
        };
        let now = OffsetDateTime::from_unix_timestamp_nanos(1_700_000_000_000_012_345).unwrap();
        let expected = concat!(
            r#"{"level":"warn","ts":"2023-11-14T22:13:20.000012Z","logger":"etcd-client","#,
            r#""caller":"client/call.rs","msg":"retrying of unary invoker failed","#,
            r#""target":"etcd-endpoints:///127.0.0.1:1","#,
            r#""peer":"Peer{Addr: <nil>, LocalAddr: <nil>, AuthInfo: <nil>}","#,
            r#""method":"/etcdserverpb.KV/Range","attempt":0,"#,
            r#""error":"rpc error: code = DeadlineExceeded desc = refused \"now\""}"#,
            "\n"
        );
        assert_eq!(failed_attempt_line(now, "etcd-client", &attempt), expected);
    }
}
