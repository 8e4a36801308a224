//! `put`: stores a value.

use std::io::Read;

use bytes::Bytes;
use quoin_api::etcdserverpb::PutRequest;

use crate::exit::Exit;
use crate::flags::{Argument, Flag, Values};
use crate::globals::Globals;
use crate::number::{self, Base};
use crate::{Invocation, output, refused};

pub(crate) static FLAGS: &[Flag] = &[
    Flag::text("lease", "ID of the lease that the key ends with, in hexadecimal digits").or("0"),
    Flag::bool("prev-kv", "show what the key held before"),
    Flag::bool("ignore-value", "keep the value that the key has"),
    Flag::bool("ignore-lease", "keep the lease that the key has"),
];

pub(crate) const HELP: &str = "\
Stores a value under a key.

Without a value the command reads one from standard input, up to its end:

$ put <key> < file

A value that begins with '-' would be read as a flag. Write '--' before it:

$ put <key> -- <value>
";

pub(super) async fn run(invocation: &Invocation) -> Result<(), Exit> {
    let request = request(&invocation.flags, &invocation.arguments, &mut std::io::stdin())?;
    let globals = Globals::read(invocation)?;
    let response = globals.client()?.put(request).await.map_err(refused)?;
    output::with(|output| globals.printer.put(output, &response))
}

/// Makes the request that flags and arguments describe; a value that is missing comes from
/// `input`.
pub(crate) fn request(
    flags: &Values,
    arguments: &[Argument],
    input: &mut dyn Read,
) -> Result<PutRequest, Exit> {
    const MISSING: &str = "put command needs 1 argument and input from stdin or 2 arguments";
    let [key, more @ ..] = arguments else {
        return Err(Exit::bad_arguments(MISSING));
    };
    let (ignore_value, ignore_lease) = (flags.bool("ignore-value"), flags.bool("ignore-lease"));
    if ignore_value && !more.is_empty() {
        let message = "put command needs only 1 argument when 'ignore-value' is set";
        return Err(Exit::bad_arguments(message));
    }
    let value = match more.first() {
        _ if ignore_value => Bytes::new(),
        Some(value) => Bytes::copy_from_slice(value),
        None => {
            let mut value = Vec::new();
            match input.read_to_end(&mut value) {
                Ok(1..) => value.into(),
                Ok(0) | Err(_) => return Err(Exit::bad_arguments(MISSING)),
            }
        }
    };
    let lease = number::parse_int(&flags.text("lease"), Base::Sixteen).map_err(|error| {
        Exit::bad_arguments(format!("bad lease ID ({error}), expecting ID in Hex"))
    })?;
    let (key, prev_kv) = (Bytes::copy_from_slice(key), flags.bool("prev-kv"));
    Ok(PutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease })
}
