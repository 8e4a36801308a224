//! The commands about roles.

use quoin_client::v2::{Access, Client, Role, canonical_path};

use super::fail;
use super::user::client;
use super::{Globals, Invocation};
use crate::exit::Exit;
use crate::output;

async fn named(invocation: &Invocation) -> Result<(Globals<'_>, Client, String), Exit> {
    let arguments = invocation.texts();
    let [name] = arguments.as_slice() else {
        return Err(fail::plain("Please provide a role name"));
    };
    let (globals, client) = client(invocation).await?;
    Ok((globals, client, name.clone()))
}

pub(super) async fn add(invocation: &Invocation) -> Result<(), Exit> {
    let (globals, mut client, name) = named(invocation).await?;
    let deadline = globals.deadline();
    // The server would take a second role of this name for a change of the first.
    if client.role(&name, deadline).await.is_ok() {
        return Err(fail::plain(format!("Role {name} already exists")));
    }
    client.add_role(&name, deadline).await.map_err(fail::plain)?;
    output::print(&format!("Role {name} created\n"))
}

pub(super) async fn get(invocation: &Invocation) -> Result<(), Exit> {
    let (globals, mut client, name) = named(invocation).await?;
    let role = client.role(&name, globals.deadline()).await.map_err(fail::plain)?;
    output::print(&shown(&role))
}

fn shown(role: &Role) -> String {
    let paths = |list: &Option<Vec<String>>| {
        list.iter().flatten().map(|path| format!("\t{path}\n")).collect::<String>()
    };
    let kv = &role.permissions.kv;
    let (read, write) = (paths(&kv.read), paths(&kv.write));
    format!("Role: {}\nKV Read:\n{read}KV Write:\n{write}", role.role)
}

pub(super) async fn list(invocation: &Invocation) -> Result<(), Exit> {
    if !invocation.arguments.is_empty() {
        return Err(fail::plain("No arguments accepted"));
    }
    let (globals, mut client) = client(invocation).await?;
    let roles = client.roles(globals.deadline()).await.map_err(fail::plain)?;
    output::print(&roles.iter().map(|role| format!("{role}\n")).collect::<String>())
}

pub(super) async fn remove(invocation: &Invocation) -> Result<(), Exit> {
    let (globals, mut client, name) = named(invocation).await?;
    client.remove_role(&name, globals.deadline()).await.map_err(fail::plain)?;
    output::print(&format!("Role {name} removed\n"))
}

/// `role grant` and `role revoke`.
pub(super) async fn change_access(invocation: &Invocation, grant: bool) -> Result<(), Exit> {
    let path = invocation.flags.text("path");
    let access = access(invocation, &path)?;
    let (globals, mut client, name) = named(invocation).await?;
    let deadline = globals.deadline();
    let before = client.role(&name, deadline).await.map_err(fail::plain)?;
    let after = client.change_access(&name, &path, access, grant, deadline).await;
    if after.map_err(fail::plain)? == before {
        let word = if grant { "granted" } else { "revoked" };
        output::print(&format!("Role unchanged; already {word}"))?;
    }
    output::print(&format!("Role {name} updated\n"))
}

/// Checks the path and reads what is granted on it.
fn access(invocation: &Invocation, path: &str) -> Result<Access, Exit> {
    if path.is_empty() {
        return Err(fail::plain("No path specified; please use `--path`"));
    }
    let canonical = canonical_path(path.as_bytes());
    if canonical != path.as_bytes() {
        let canonical = String::from_utf8_lossy(&canonical);
        let message = format!("Not canonical path; please use `--path={canonical}`");
        return Err(fail::plain(message));
    }
    let flag = |name| invocation.flags.bool(name);
    match (flag("read"), flag("write"), flag("readwrite")) {
        (true, false, false) => Ok(Access::Read),
        (false, true, false) => Ok(Access::Write),
        (false, false, true) => Ok(Access::ReadWrite),
        _ => Err(fail::plain("Please specify exactly one of --read, --write or --readwrite")),
    }
}
