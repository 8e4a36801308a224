//! `get`: reads keys.

use quoin_api::etcdserverpb::RangeRequest;
use quoin_api::etcdserverpb::range_request::{SortOrder, SortTarget};

use super::key::{Keys, check_choice};
use crate::exit::Exit;
use crate::flags::{Argument, Flag, Values};
use crate::globals::Globals;
use crate::printer::{Format, Printer};
use crate::text::quote;
use crate::v2::v2_hint;
use crate::{Invocation, output, refused};

pub(crate) static FLAGS: &[Flag] = &[
    Flag::text("consistency", "l asks the leader, s reads what the server has").or("l"),
    Flag::text("order", "order of the keys: ASCEND or DESCEND"),
    Flag::text("sort-by", "what to order by: KEY, VERSION, CREATE, MODIFY or VALUE"),
    Flag::int("limit", "largest number of keys to read (0 means all)"),
    Flag::bool("prefix", "read all keys that begin with the key"),
    Flag::bool("from-key", "read all keys from the key on"),
    Flag::int("rev", "revision to read at (0 means the newest)"),
    Flag::bool("keys-only", "read the keys without their values"),
    Flag::bool("count-only", "read only the number of keys"),
    Flag::bool("print-value-only", "leave the keys out of the simple output"),
    Flag::int("min-create-rev", "leave out keys created before this revision"),
    Flag::int("max-create-rev", "leave out keys created after this revision"),
    Flag::int("min-mod-rev", "leave out keys last changed before this revision"),
    Flag::int("max-mod-rev", "leave out keys last changed after this revision"),
    Flag::bool("stream", "let the server send the keys in chunks"),
];

pub(super) async fn run(invocation: &Invocation) -> Result<(), Exit> {
    let flags = &invocation.flags;
    let request = request(flags, &invocation.arguments)?;
    let globals = Globals::read(invocation)?;
    let client = globals.client()?;
    let key = request.range_end.is_empty().then(|| request.key.clone());
    let response = if flags.bool("stream") {
        client.range_stream(request).await.map_err(refused)?
    } else {
        client.range(request).await.map_err(refused)?
    };
    let printer = printer(flags, globals.printer)?;
    output::with(|output| printer.get(output, &response))?;
    if let Some(key) = key.filter(|_| response.kvs.is_empty() && response.count == 0) {
        v2_hint(&globals.endpoints, &key).await;
    }
    Ok(())
}

/// The printer with what only this command can ask of it.
fn printer(flags: &Values, printer: Printer) -> Result<Printer, Exit> {
    if flags.bool("count-only") && printer.format != Format::Fields {
        let message = "--count-only is only for `--write-out=fields`";
        return Err(Exit::bad_arguments(message));
    }
    let value_only = flags.bool("print-value-only");
    if value_only && printer.format != Format::Simple {
        let message = "print-value-only is only for `--write-out=simple`";
        return Err(Exit::bad_arguments(message));
    }
    Ok(Printer { value_only, ..printer })
}

/// Makes the request that flags and arguments describe.
pub(crate) fn request(flags: &Values, arguments: &[Argument]) -> Result<RangeRequest, Exit> {
    let [key, more @ ..] = arguments else {
        return Err(Exit::bad_arguments(
            "get command needs one argument as key and an optional argument as range_end",
        ));
    };
    check_choice(flags)?;
    if flags.bool("keys-only") && flags.bool("count-only") {
        return Err(Exit::bad_arguments(
            "`--keys-only` and `--count-only` cannot be set at the same time, choose one",
        ));
    }
    let serializable = is_serializable(flags)?;
    let Keys { key, range_end } = Keys::read(key, more, flags)?;
    let (sort_target, sort_order) = sorting(flags)?;
    let (min_create_revision, max_create_revision) =
        bounds(flags, "min-create-rev", "max-create-rev", "CreateRev")?;
    let (min_mod_revision, max_mod_revision) =
        bounds(flags, "min-mod-rev", "max-mod-rev", "ModRev")?;
    Ok(RangeRequest {
        key,
        range_end,
        limit: flags.int("limit"),
        revision: flags.int("rev").max(0),
        sort_order: sort_order.into(),
        sort_target: sort_target.into(),
        serializable,
        keys_only: flags.bool("keys-only"),
        count_only: flags.bool("count-only"),
        min_mod_revision,
        max_mod_revision,
        min_create_revision,
        max_create_revision,
    })
}

/// Reads `--consistency`: whether the server may answer alone.
pub(crate) fn is_serializable(flags: &Values) -> Result<bool, Exit> {
    match flags.text("consistency").as_str() {
        "s" => Ok(true),
        "l" => Ok(false),
        other => {
            let other = quote(other.as_bytes());
            Err(Exit::bad_feature(format!("unknown consistency flag {other}")))
        }
    }
}

fn sorting(flags: &Values) -> Result<(SortTarget, SortOrder), Exit> {
    let order = flags.text("order");
    let sort_order = match order.to_uppercase().as_str() {
        "" => SortOrder::None,
        "ASCEND" => SortOrder::Ascend,
        "DESCEND" => SortOrder::Descend,
        _ => return Err(Exit::bad_feature(format!("bad sort order {order}"))),
    };
    let target = flags.text("sort-by");
    let sort_target = match target.to_uppercase().as_str() {
        "" | "KEY" => SortTarget::Key,
        "VERSION" => SortTarget::Version,
        "CREATE" => SortTarget::Create,
        "MODIFY" => SortTarget::Mod,
        "VALUE" => SortTarget::Value,
        _ => return Err(Exit::bad_feature(format!("bad sort target {target}"))),
    };
    // The order that keys have anyway costs the server nothing if it is not asked for.
    if (sort_target, sort_order) == (SortTarget::Key, SortOrder::Ascend) {
        return Ok((sort_target, SortOrder::None));
    }
    Ok((sort_target, sort_order))
}

/// Reads the two ends of a range of revisions; what is not positive is no bound.
fn bounds(flags: &Values, min: &str, max: &str, what: &str) -> Result<(i64, i64), Exit> {
    let (min, max) = (flags.int(min), flags.int(max));
    if max > 0 && min > max {
        let message = format!("getMin{what}(={min}) > getMax{what}(={max})");
        return Err(Exit::bad_feature(message));
    }
    Ok((min.max(0), max.max(0)))
}

#[cfg(test)]
mod tests;
