//! `auth enable` and `auth disable`.

use super::user::client;
use super::{Invocation, fail};
use crate::exit::Exit;
use crate::output;

pub(super) async fn run(invocation: &Invocation, enable: bool) -> Result<(), Exit> {
    if !invocation.arguments.is_empty() {
        return Err(fail::plain("No arguments accepted"));
    }
    let (globals, mut client) = client(invocation).await?;
    client.enable_auth(enable, globals.deadline()).await.map_err(fail::plain)?;
    let word = if enable { "Enabled" } else { "Disabled" };
    output::print(&format!("Authentication {word}\n"))
}
