//! `txn`: reads a transaction from standard input and runs it.

use std::io::BufRead;

use quoin_api::etcdserverpb::TxnRequest;

use crate::exit::Exit;
use crate::flags::Flag;
use crate::globals::Globals;
use crate::{Invocation, output, refused, txn};

pub(crate) static FLAGS: &[Flag] =
    &[Flag::bool("interactive", "say what to type next").letter('i')];

pub(crate) const HELP: &str = "\
Runs several requests as one, depending on conditions.

Standard input has three blocks, one line for each item, with an empty line behind each block:
conditions, requests for the case that all of them hold, requests for the case that they do not.

A condition compares what a key has, mod (or m), create (c), version (ver), value (val) or lease,
with a quoted value by =, !=, < or >. A request is a put, get or del with its flags:

version(\"config\") > \"0\"

get config

put config \"first value\"
put created --lease=1f2e3d yes

";

pub(super) async fn run(invocation: &Invocation) -> Result<(), Exit> {
    if !invocation.arguments.is_empty() {
        return Err(Exit::bad_arguments("txn command does not accept argument"));
    }
    let globals = Globals::read(invocation)?;
    let client = globals.client()?;
    let request = read(invocation.flags.bool("interactive"), &mut std::io::stdin().lock())?;
    let response = client.txn(request).await.map_err(refused)?;
    output::with(|output| globals.printer.txn(output, &response))
}

fn read(interactive: bool, input: &mut dyn BufRead) -> Result<TxnRequest, Exit> {
    let prompt = |text: &str| {
        if !interactive {
            return Ok(());
        }
        output::with(|output| Ok(writeln!(output, "{text}")?))
    };
    prompt("compares:")?;
    let compare = txn::read_block(input, txn::parse_compare)?;
    prompt("success requests (get, put, del):")?;
    let success = txn::read_block(input, txn::parse_operation)?;
    prompt("failure requests (get, put, del):")?;
    let failure = txn::read_block(input, txn::parse_operation)?;
    Ok(TxnRequest { compare, success, failure })
}
