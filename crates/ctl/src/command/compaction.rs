//! `compaction`: drops old history.

use quoin_api::etcdserverpb::CompactionRequest;

use crate::exit::Exit;
use crate::flags::Flag;
use crate::globals::Globals;
use crate::number::{self, Base};
use crate::{Invocation, output, refused};

pub(crate) static FLAGS: &[Flag] =
    &[Flag::bool("physical", "wait until the history is gone from the disk")];

pub(super) async fn run(invocation: &Invocation) -> Result<(), Exit> {
    let [revision] = invocation.arguments.as_slice() else {
        return Err(Exit::bad_arguments("compaction command needs 1 argument"));
    };
    let revision =
        number::parse_int(&String::from_utf8_lossy(revision), Base::Ten).map_err(Exit::failure)?;
    let physical = invocation.flags.bool("physical");
    let client = Globals::read(invocation)?.client()?;
    client.compact(CompactionRequest { revision, physical }).await.map_err(refused)?;
    output::print(&format!("compacted revision {revision}\n"))
}
