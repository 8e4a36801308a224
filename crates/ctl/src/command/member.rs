//! `member list`: who belongs to the cluster.

use super::get::is_serializable;
use crate::exit::Exit;
use crate::flags::Flag;
use crate::globals::Globals;
use crate::{Invocation, output, refused};

pub(crate) static FLAGS: &[Flag] =
    &[Flag::text("consistency", "l asks the leader, s reads what the server has").or("l")];

pub(crate) const HELP: &str = "\
Lists the members of the cluster.

The simple output has one line for each member, with these columns separated by commas: ID, status
(started or unstarted), name, peer addresses, client addresses, whether it is a learner.
";

pub(super) async fn list(invocation: &Invocation) -> Result<(), Exit> {
    let linearizable = !is_serializable(&invocation.flags)?;
    let globals = Globals::read(invocation)?;
    let response = globals.client()?.member_list(linearizable).await.map_err(refused)?;
    output::with(|output| globals.printer.member_list(output, &response))
}
