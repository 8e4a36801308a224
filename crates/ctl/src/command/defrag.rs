//! `defrag`: asks servers, one after the other, to give unused space back.
//!
//! One server that fails does not keep the others from being asked; the exit code tells of it.

use std::time::Instant;

use super::endpoint::endpoints;
use crate::exit::Exit;
use crate::globals::Globals;
use crate::{Invocation, output, refused, text};

pub(super) async fn run(invocation: &Invocation) -> Result<(), Exit> {
    let globals = Globals::read(invocation)?;
    let mut failed = false;
    for endpoint in endpoints(&globals).await? {
        let client = globals.client_of(vec![endpoint.clone()], "etcd-client").map_err(refused)?;
        let start = Instant::now();
        let answer = client.defragment(&endpoint).await;
        let took = i64::try_from(start.elapsed().as_nanos()).unwrap_or(i64::MAX);
        let took = text::duration(took);
        match answer {
            Ok(_) => {
                let what = "Finished defragmenting etcd member";
                output::print(&format!("{what}[{endpoint}]. took {took}\n"))?;
            }
            Err(error) => {
                let what = "Failed to defragment etcd member";
                output::complain(&format!("{what}[{endpoint}]. took {took}. ({error})\n"));
                failed = true;
            }
        }
    }
    if failed { Err(Exit::silent()) } else { Ok(()) }
}
