//! `del`: deletes keys.

use std::time::Duration;

use quoin_api::etcdserverpb::DeleteRangeRequest;

use super::key::{Keys, check_choice};
use crate::exit::Exit;
use crate::flags::{Argument, Flag, Values};
use crate::globals::Globals;
use crate::text::quote;
use crate::{Invocation, output, refused};

pub(crate) static FLAGS: &[Flag] = &[
    Flag::bool("prefix", "delete all keys that begin with the key"),
    Flag::bool("prev-kv", "show what was deleted"),
    Flag::bool("from-key", "delete all keys from the key on"),
    Flag::bool("range", "delete a range without a time to think"),
];

/// How long a user may think after asking for a range without `--range`.
const SECOND_THOUGHTS: Duration = Duration::from_secs(2);

pub(super) async fn run(invocation: &Invocation) -> Result<(), Exit> {
    let request = request(&invocation.flags, &invocation.arguments)?;
    let globals = Globals::read(invocation)?;
    let response = globals.client()?.delete_range(request).await.map_err(refused)?;
    output::with(|output| globals.printer.del(output, &response))
}

/// Makes the request that flags and arguments describe. Waits before a range is deleted, unless
/// the user says that a range is meant.
pub(crate) fn request(flags: &Values, arguments: &[Argument]) -> Result<DeleteRangeRequest, Exit> {
    let ([key, more @ ..], 1 | 2) = (arguments, arguments.len()) else {
        return Err(Exit::bad_arguments(
            "del command needs one argument as key and an optional argument as range_end",
        ));
    };
    check_choice(flags)?;
    let keys = Keys::read(key, more, flags)?;
    if let Some(end) = more.first()
        && !flags.bool("range")
    {
        output::complain(&format!(
            "Warning: Keys between {} and {} will be deleted. Please interrupt the command within \
             next 2 seconds to cancel. You can provide `--range` flag to avoid the delay.\n",
            quote(key),
            quote(end)
        ));
        std::thread::sleep(SECOND_THOUGHTS);
    }
    let Keys { key, range_end } = keys;
    Ok(DeleteRangeRequest { key, range_end, prev_kv: flags.bool("prev-kv") })
}
