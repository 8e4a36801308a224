//! `alarm list` and `alarm disarm`.

use quoin_api::etcdserverpb::AlarmResponse;

use crate::exit::Exit;
use crate::globals::Globals;
use crate::{Invocation, output, refused};

pub(super) async fn list(invocation: &Invocation) -> Result<(), Exit> {
    if !invocation.arguments.is_empty() {
        return Err(Exit::bad_arguments("alarm list command accepts no arguments"));
    }
    let globals = Globals::read(invocation)?;
    let response = globals.client()?.alarm_list().await.map_err(refused)?;
    output::with(|output| globals.printer.alarm(output, &response))
}

pub(super) async fn disarm(invocation: &Invocation) -> Result<(), Exit> {
    if !invocation.arguments.is_empty() {
        return Err(Exit::bad_arguments("alarm disarm command accepts no arguments"));
    }
    let globals = Globals::read(invocation)?;
    let client = globals.client()?;
    // The answers are put together without a header, as there is not one of them that counts.
    let mut whole = AlarmResponse::default();
    for alarm in client.alarm_list().await.map_err(refused)?.alarms {
        whole.alarms.extend(client.alarm_disarm(alarm).await.map_err(refused)?.alarms);
    }
    output::with(|output| globals.printer.alarm(output, &whole))
}
