//! The language of transactions: lines that compare, and lines that are commands.
//!
//! A line that compares is `target("key") operator "value"`, the strings quoted as in Go's source.
//! A line that is a command is split into words at spaces, except inside quotes, and read like a
//! command line.
//!
//! Invariants:
//! - Errors of this language end the program with the code for invalid input; errors of a command
//!   inside it end the program as the command itself would.

use std::io::{BufRead, empty};

use quoin_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use quoin_api::etcdserverpb::request_op::Request;
use quoin_api::etcdserverpb::{Compare, RequestOp};

use crate::command::{Action, OPERATIONS, del, get, put};
use crate::exit::Exit;
use crate::flags::{self, Argument, Parsed};
use crate::number::{self, Base};
use crate::text::{Quoted, quote, split_quoted, unquote};
use crate::tree::{self, Found};

/// Reads lines up to an empty one. Input that ends before it is an error.
pub(crate) fn read_block<T>(
    input: &mut dyn BufRead,
    parse: impl Fn(&[u8]) -> Result<T, Exit>,
) -> Result<Vec<T>, Exit> {
    let mut items = Vec::new();
    loop {
        let mut line = Vec::new();
        input.read_until(b'\n', &mut line).map_err(Exit::invalid_input)?;
        if line.last() != Some(&b'\n') {
            return Err(Exit::invalid_input("EOF"));
        }
        let line = line.trim_ascii();
        if line.is_empty() {
            return Ok(items);
        }
        items.push(parse(line)?);
    }
}

/// What of a comparison could be read, for the error that shows it.
#[derive(Default)]
struct Parts {
    key: Vec<u8>,
    operator: Vec<u8>,
    value: Vec<u8>,
    complete: bool,
}

/// Reads one line that compares.
pub(crate) fn parse_compare(line: &[u8]) -> Result<Compare, Exit> {
    let text = String::from_utf8_lossy(line);
    let malformed =
        |more: &str| Err(Exit::invalid_input(format!("malformed comparison: {text}{more}")));
    let Some(parenthesis) = line.iter().position(|&c| c == b'(') else {
        return malformed("");
    };
    let target = String::from_utf8_lossy(&line[..parenthesis]);
    let Parts { key, operator, value, complete } = parts(&line[parenthesis + 1..]);
    if !complete {
        let (key, value) = (quote(&key), quote(&value));
        let operator = String::from_utf8_lossy(&operator);
        return malformed(&format!("; got {target}({key}) {operator} {value}"));
    }
    let number = |base| {
        number::parse_int(&String::from_utf8_lossy(&value), base)
            .map_err(|_| Exit::invalid_input(format!("invalid txn compare request: {text}")))
    };
    let (target, union) = match target.as_ref() {
        "ver" | "version" => (CompareTarget::Version, TargetUnion::Version(number(Base::Ten)?)),
        "c" | "create" => (CompareTarget::Create, TargetUnion::CreateRevision(number(Base::Ten)?)),
        "m" | "mod" => (CompareTarget::Mod, TargetUnion::ModRevision(number(Base::Ten)?)),
        "val" | "value" => (CompareTarget::Value, TargetUnion::Value(value.clone().into())),
        // IDs of leases are written in hexadecimal everywhere.
        "lease" => (CompareTarget::Lease, TargetUnion::Lease(number(Base::Sixteen)?)),
        other => return malformed(&format!(" (unknown target {other})")),
    };
    let result = match operator.as_slice() {
        b"=" => CompareResult::Equal,
        b"!=" => CompareResult::NotEqual,
        b">" => CompareResult::Greater,
        b"<" => CompareResult::Less,
        other => {
            let other = String::from_utf8_lossy(other);
            return malformed(&format!(" (unknown operator {other})"));
        }
    };
    Ok(Compare {
        result: result.into(),
        target: target.into(),
        key: key.into(),
        target_union: Some(union),
        ..Compare::default()
    })
}

/// Takes `"key") operator "value"` apart as far as it goes. What follows the value is nobody's.
fn parts(text: &[u8]) -> Parts {
    let mut parts = Parts::default();
    let Some(Quoted { value, rest }) = split_quoted(text.trim_ascii_start()) else {
        return parts;
    };
    parts.key = value;
    let Some(rest) = rest.strip_prefix(b")").and_then(skip_spaces) else {
        return parts;
    };
    let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
    parts.operator = rest[..end].to_vec();
    let Some(rest) = skip_spaces(&rest[end..]) else {
        return parts;
    };
    if let Some(Quoted { value, .. }) = split_quoted(rest) {
        parts.value = value;
        parts.complete = true;
    }
    parts
}

/// What follows one space or more; none if there is no space.
fn skip_spaces(text: &[u8]) -> Option<&[u8]> {
    let rest = text.trim_ascii_start();
    (rest.len() < text.len()).then_some(rest)
}

/// Reads one line that is a command.
pub(crate) fn parse_operation(line: &[u8]) -> Result<RequestOp, Exit> {
    let invalid = |what: &str| {
        let line = String::from_utf8_lossy(line);
        Exit::invalid_input(format!("invalid {what}: {line}"))
    };
    let words = words(line).ok_or_else(|| Exit::invalid_input("invalid syntax"))?;
    if words.len() < 2 {
        return Err(invalid("txn compare request"));
    }
    let invalid = || invalid("txn request");
    let Found { path, rest } = tree::find(&OPERATIONS, words).map_err(|_| invalid())?;
    let Parsed { flags, arguments, .. } =
        flags::parse(tree::flags_of(&path), rest).map_err(|_| invalid())?;
    if flags.bool("help") {
        return Err(invalid());
    }
    let action = path.last().map_or(Action::Group, |command| command.action);
    let request = match action {
        // Standard input holds the transaction, not the value.
        Action::Put => Request::RequestPut(put::request(&flags, &arguments, &mut empty())?),
        Action::Get => Request::RequestRange(get::request(&flags, &arguments)?),
        Action::Del => Request::RequestDeleteRange(del::request(&flags, &arguments)?),
        Action::Group
        | Action::Txn
        | Action::Compaction
        | Action::MemberList
        | Action::EndpointHealth
        | Action::EndpointStatus
        | Action::EndpointHashKv
        | Action::Watch
        | Action::LeaseGrant
        | Action::LeaseRevoke
        | Action::LeaseTimeToLive
        | Action::LeaseList
        | Action::LeaseKeepAlive
        | Action::AlarmList
        | Action::AlarmDisarm
        | Action::Defrag
        | Action::SnapshotSave
        | Action::CheckPerf
        | Action::CheckDatascale
        | Action::Version
        | Action::Options
        | Action::Help
        | Action::Unbuilt => return Err(invalid()),
    };
    Ok(RequestOp { request: Some(request) })
}

/// Splits a line into words: bare ones, 'as they are', or "with escapes". A quote without its
/// partner counts for nothing. None if an escape is wrong.
pub(crate) fn words(line: &[u8]) -> Option<Vec<Argument>> {
    let mut words = Vec::new();
    let mut rest = line;
    while let Some((&c, after)) = rest.split_first() {
        if c.is_ascii_whitespace() {
            rest = after;
            continue;
        }
        let length = match c {
            b'"' => escaped_length(after),
            b'\'' => after.iter().position(|&c| c == b'\''),
            _ => {
                let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
                words.push(rest[..end].to_vec());
                rest = &rest[end..];
                continue;
            }
        };
        let Some(length) = length else {
            rest = after;
            continue;
        };
        let inside = &after[..length];
        words.push(if c == b'"' { unquote(inside)? } else { inside.to_vec() });
        rest = &after[length + 1..];
    }
    Some(words)
}

/// How much stands before the double quote that is not escaped.
fn escaped_length(text: &[u8]) -> Option<usize> {
    let mut index = 0;
    loop {
        match text.get(index)? {
            b'"' => return Some(index),
            b'\\' => index += 2,
            _ => index += 1,
        }
    }
}

#[cfg(test)]
mod tests;
