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
}
