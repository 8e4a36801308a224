//! The commands that read and change keys and directories.
//!
//! As in etcd's tool, the servers are asked for the members before the arguments are looked at.

use std::io::Read;

use quoin_client::v2::{Change, Client, Error, Event, Removal};

use super::fail::{self, Code};
use super::print::{self, Format};
use super::{Globals, Invocation};
use crate::exit::Exit;
use crate::output;

/// A command on one key, with the client to do it.
struct Work<'a> {
    globals: Globals<'a>,
    client: Client,
    key: &'a [u8],
}

impl<'a> Work<'a> {
    async fn begin(invocation: &'a Invocation) -> Result<Self, Exit> {
        let globals = Globals::of(invocation);
        let client = globals.client().await?;
        let key = invocation.arguments.first().ok_or_else(|| fail::missing("key"))?;
        Ok(Self { globals, client, key })
    }

    /// Changes the node and shows what came of it.
    async fn change(&mut self, change: &Change) -> Result<Event, Exit> {
        let deadline = self.globals.deadline();
        self.client.set(self.key, change, deadline).await.map_err(|error| refused(&error))
    }

    /// Shows a change of a directory, which has nothing simple to show.
    fn show_dir(&self, event: &Event) -> Result<(), Exit> {
        if self.globals.format == Format::Simple {
            return Ok(());
        }
        print::show(event, &self.globals.format)
    }
}

fn refused(error: &Error) -> Exit {
    fail::framed(Code::Server, error)
}

/// The second argument, or all of standard input if there is none.
fn value(invocation: &Invocation) -> Result<Vec<u8>, Exit> {
    if let Some(value) = invocation.arguments.get(1) {
        return Ok(value.clone());
    }
    let mut value = Vec::new();
    match std::io::stdin().read_to_end(&mut value) {
        Ok(length) if length > 0 => Ok(value),
        Ok(_) | Err(_) => Err(fail::missing("value")),
    }
}

/// An index that a flag names; what is below zero wraps around, as with etcd's tool.
pub(super) fn index(invocation: &Invocation, flag: &str) -> u64 {
    invocation.flags.int(flag).cast_unsigned()
}

pub(super) async fn get(invocation: &Invocation) -> Result<(), Exit> {
    let mut work = Work::begin(invocation).await?;
    let (sort, quorum) = (invocation.flags.bool("sort"), invocation.flags.bool("quorum"));
    let deadline = work.globals.deadline();
    let event = work.client.get(work.key, false, sort, quorum, deadline).await;
    let event = event.map_err(|error| refused(&error))?;
    if let Some(node) = event.node.as_ref().filter(|node| node.dir) {
        return Err(fail::plain(format!("{}: is a directory", node.key)));
    }
    print::show(&event, &work.globals.format)
}

pub(super) async fn ls(invocation: &Invocation) -> Result<(), Exit> {
    let globals = Globals::of(invocation);
    let mut client = globals.client().await?;
    let key = invocation.arguments.first().map_or(b"/".as_slice(), Vec::as_slice);
    let flags = &invocation.flags;
    let (recursive, sort) = (flags.bool("recursive"), flags.bool("sort"));
    let event = client.get(key, recursive, sort, flags.bool("quorum"), globals.deadline()).await;
    let event = event.map_err(|error| refused(&error))?;
    match (&globals.format, &event.node) {
        (Format::Simple, Some(node)) => output::print(&print::listing(node, flags.bool("p"))),
        (format, _) => print::show(&event, format),
    }
}

pub(super) async fn set(invocation: &Invocation) -> Result<(), Exit> {
    let mut work = Work::begin(invocation).await?;
    let change = Change {
        value: value(invocation)?,
        prev_value: invocation.flags.text("swap-with-value"),
        prev_index: index(invocation, "swap-with-index"),
        ttl_s: invocation.flags.int("ttl"),
        ..Change::default()
    };
    let event = work.change(&change).await?;
    print::show(&event, &work.globals.format)
}

pub(super) async fn update(invocation: &Invocation) -> Result<(), Exit> {
    let mut work = Work::begin(invocation).await?;
    let value = value(invocation)?;
    let ttl_s = invocation.flags.int("ttl");
    let change = Change { value, ttl_s, prev_exist: Some(true), ..Change::default() };
    let event = work.change(&change).await?;
    print::show(&event, &work.globals.format)
}

pub(super) async fn mk(invocation: &Invocation) -> Result<(), Exit> {
    let mut work = Work::begin(invocation).await?;
    let value = value(invocation)?;
    let ttl_s = invocation.flags.int("ttl");
    let event = if invocation.flags.bool("in-order") {
        let deadline = work.globals.deadline();
        let created = work.client.create_in_order(work.key, &value, ttl_s, deadline).await;
        created.map_err(|error| refused(&error))?
    } else {
        let change = Change { value, ttl_s, prev_exist: Some(false), ..Change::default() };
        work.change(&change).await?
    };
    print::show(&event, &work.globals.format)
}

/// `mkdir`, `setdir` and `updatedir`, which differ in whether the directory has to exist.
pub(super) async fn set_dir(invocation: &Invocation, prev_exist: Option<bool>) -> Result<(), Exit> {
    let mut work = Work::begin(invocation).await?;
    let ttl_s = invocation.flags.int("ttl");
    let event = work.change(&Change { dir: true, ttl_s, prev_exist, ..Change::default() }).await?;
    work.show_dir(&event)
}

pub(super) async fn rm(invocation: &Invocation) -> Result<(), Exit> {
    let flags = &invocation.flags;
    let removal = Removal {
        prev_value: flags.text("with-value"),
        prev_index: index(invocation, "with-index"),
        dir: flags.bool("dir"),
        recursive: flags.bool("recursive"),
    };
    remove(invocation, &removal).await
}

pub(super) async fn rmdir(invocation: &Invocation) -> Result<(), Exit> {
    remove(invocation, &Removal { dir: true, ..Removal::default() }).await
}

async fn remove(invocation: &Invocation, removal: &Removal) -> Result<(), Exit> {
    let mut work = Work::begin(invocation).await?;
    let deadline = work.globals.deadline();
    let event = work.client.delete(work.key, removal, deadline).await;
    let event = event.map_err(|error| refused(&error))?;
    if event.node.as_ref().is_some_and(|node| node.dir) {
        return work.show_dir(&event);
    }
    print::show(&event, &work.globals.format)
}
