//! Log lines on standard error, in the form of etcd's logger for consoles: time, level, place,
//! message and fields, separated by tabs.

use quoin_cli::output;
use quoin_cli::text::log_string;
use time::OffsetDateTime;
use time::macros::format_description;

/// Logs what a command does; the values of the fields are JSON.
pub(crate) fn info(caller: &str, message: &str, fields: &[(&str, String)]) {
    output::complain(&line(OffsetDateTime::now_utc(), caller, message, fields));
}

/// Says something in the form of etcd's older logger.
pub(crate) fn plain(message: &str) {
    output::complain(&plain_line(message));
}

/// A line in the form of etcd's older logger: local time, level, message.
pub(crate) fn plain_line(message: &str) -> String {
    // Where the zone cannot be found out, universal time is better than none.
    let now = OffsetDateTime::now_local().unwrap_or_else(|_| OffsetDateTime::now_utc());
    plain_line_at(now, message)
}

fn plain_line_at(now: OffsetDateTime, message: &str) -> String {
    let format =
        format_description!("[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:6]");
    let time = now.format(format).unwrap_or_else(|_| now.unix_timestamp().to_string());
    format!("{time} I | {message}\n")
}

fn line(now: OffsetDateTime, caller: &str, message: &str, fields: &[(&str, String)]) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    let time = now.format(format).unwrap_or_else(|_| now.unix_timestamp().to_string());
    let field = |(name, value): &(&str, String)| format!("{}: {value}", log_string(name));
    let fields: Vec<String> = fields.iter().map(field).collect();
    format!("{time}\tinfo\t{caller}\t{message}\t{{{}}}\n", fields.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_parts_between_tabs() {
        let now = OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
        let fields = [("path", log_string("a \"b\"")), ("size", "3".to_owned())];
        let expected = "2023-11-14T22:13:20Z\tinfo\tutl/x.rs\tdone\t\
                        {\"path\": \"a \\\"b\\\"\", \"size\": 3}\n";
        assert_eq!(line(now, "utl/x.rs", "done", &fields), expected);
    }

    #[test]
    fn the_older_form_has_microseconds() {
        let now = OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
        let expected = "2023-11-14 22:13:20.000000 I | ignoring v3 raft entry\n";
        assert_eq!(plain_line_at(now, "ignoring v3 raft entry"), expected);
    }
}
