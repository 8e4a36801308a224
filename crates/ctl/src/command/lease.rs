//! `lease grant`, `revoke`, `timetolive`, `list` and `keep-alive`.

use quoin_api::etcdserverpb::{LeaseGrantRequest, LeaseTimeToLiveRequest};

use crate::exit::Exit;
use crate::flags::Argument;
use crate::globals::Globals;
use crate::number::{self, Base};
use crate::printer::Format;
use crate::{Invocation, output};

pub(super) async fn grant(invocation: &Invocation) -> Result<(), Exit> {
    let [ttl] = invocation.arguments.as_slice() else {
        return Err(Exit::bad_arguments("lease grant command needs TTL argument"));
    };
    let ttl = number::parse_int(&String::from_utf8_lossy(ttl), Base::Ten)
        .map_err(|error| Exit::bad_arguments(format!("bad TTL ({error})")))?;
    let globals = Globals::read(invocation)?;
    let request = LeaseGrantRequest { ttl, id: 0 };
    let response = globals.client()?.lease_grant(request).await;
    let response =
        response.map_err(|error| Exit::failure(format!("failed to grant lease ({error})")))?;
    output::with(|output| globals.printer.grant(output, &response))
}

pub(super) async fn revoke(invocation: &Invocation) -> Result<(), Exit> {
    let id = id(&invocation.arguments, "lease revoke command needs 1 argument")?;
    let globals = Globals::read(invocation)?;
    let response = globals.client()?.lease_revoke(id).await;
    let response =
        response.map_err(|error| Exit::failure(format!("failed to revoke lease ({error})")))?;
    output::with(|output| globals.printer.revoke(output, id, &response))
}

pub(super) async fn time_to_live(invocation: &Invocation) -> Result<(), Exit> {
    let missing = "lease timetolive command needs lease ID as argument";
    let id = id(&invocation.arguments, missing)?;
    let keys = invocation.flags.bool("keys");
    let globals = Globals::read(invocation)?;
    let response = globals.client()?.lease_time_to_live(LeaseTimeToLiveRequest { id, keys }).await;
    let response = response.map_err(Exit::bad_connection)?;
    output::with(|output| globals.printer.time_to_live(output, &response, keys))
}

pub(super) async fn list(invocation: &Invocation) -> Result<(), Exit> {
    let globals = Globals::read(invocation)?;
    let response = globals.client()?.lease_list().await.map_err(Exit::bad_connection)?;
    output::with(|output| globals.printer.leases(output, &response))
}

pub(super) async fn keep_alive(invocation: &Invocation) -> Result<(), Exit> {
    let missing = "lease keep-alive command needs lease ID as argument";
    let id = id(&invocation.arguments, missing)?;
    let globals = Globals::read(invocation)?;
    let client = globals.client()?;
    if invocation.flags.bool("once") {
        let response = client.lease_keep_alive_once(id).await.map_err(Exit::bad_connection)?;
        return output::with(|output| globals.printer.keep_alive(output, &response));
    }
    let mut keep_alive = client.lease_keep_alive(id);
    while let Some(response) = keep_alive.next().await {
        output::with(|output| globals.printer.keep_alive(output, &response))?;
    }
    match globals.printer.format {
        Format::Simple => {
            output::print(&format!("lease {} expired or revoked.\n", number::id_text(id)))
        }
        Format::Fields | Format::Json | Format::Protobuf | Format::Table => Ok(()),
    }
}

/// Reads the ID that is the only argument.
fn id(arguments: &[Argument], missing: &str) -> Result<i64, Exit> {
    let [id] = arguments else {
        return Err(Exit::bad_arguments(missing));
    };
    number::parse_int(&String::from_utf8_lossy(id), Base::Sixteen).map_err(|error| {
        Exit::bad_arguments(format!("bad lease ID arg ({error}), expecting ID in Hex"))
    })
}
