//! The commands about users.

use quoin_client::v2::{Client, User};

use super::fail;
use super::{Globals, Invocation, password};
use crate::exit::Exit;
use crate::output;

/// Reads the one argument of most commands and makes the client.
async fn named<'a>(invocation: &'a Invocation) -> Result<(Globals<'a>, Client, String), Exit> {
    let arguments = invocation.texts();
    let [name] = arguments.as_slice() else {
        return Err(fail::plain("Please provide a username"));
    };
    let (globals, client) = client(invocation).await?;
    Ok((globals, client, name.clone()))
}

/// The client of commands on users, roles and authentication.
pub(super) async fn client(invocation: &Invocation) -> Result<(Globals<'_>, Client), Exit> {
    let globals = Globals::of(invocation);
    let client = globals.client().await?;
    globals.show_endpoints(&client);
    Ok((globals, client))
}

pub(super) async fn add(invocation: &Invocation) -> Result<(), Exit> {
    let (globals, mut client, name) = named(invocation).await?;
    let (user, password) = password::credentials("New password: ", &name).await?;
    // The time for the request begins when the password is there.
    client.add_user(&user, &password, globals.deadline()).await.map_err(fail::plain)?;
    output::print(&format!("User {user} created\n"))
}

pub(super) async fn get(invocation: &Invocation) -> Result<(), Exit> {
    let (globals, mut client, name) = named(invocation).await?;
    let user = client.user(&name, globals.deadline()).await.map_err(fail::plain)?;
    output::print(&shown(&user))
}

fn shown(user: &User) -> String {
    // Servers tell the roles whole, and etcd's tool prints a space for each of those first.
    let spaces = if user.has_whole_roles { user.roles.len() } else { 0 };
    format!("User: {}\nRoles: {}{}\n", user.user, " ".repeat(spaces), user.roles.join(" "))
}

pub(super) async fn list(invocation: &Invocation) -> Result<(), Exit> {
    if !invocation.arguments.is_empty() {
        return Err(fail::plain("No arguments accepted"));
    }
    let (globals, mut client) = client(invocation).await?;
    let users = client.users(globals.deadline()).await.map_err(fail::plain)?;
    output::print(&users.iter().map(|user| format!("{user}\n")).collect::<String>())
}

pub(super) async fn remove(invocation: &Invocation) -> Result<(), Exit> {
    let (globals, mut client, name) = named(invocation).await?;
    client.remove_user(&name, globals.deadline()).await.map_err(fail::plain)?;
    output::print(&format!("User {name} removed\n"))
}

/// `user grant` and `user revoke`.
pub(super) async fn change_roles(invocation: &Invocation, grant: bool) -> Result<(), Exit> {
    let roles = invocation.flags.list("roles");
    if roles.is_empty() {
        return Err(fail::plain("No roles specified; please use `--roles`"));
    }
    let (globals, mut client, name) = named(invocation).await?;
    let changed = client.change_roles(&name, &roles, grant, globals.deadline()).await;
    changed.map_err(fail::plain)?;
    output::print(&format!("User {name} updated\n"))
}

pub(super) async fn passwd(invocation: &Invocation) -> Result<(), Exit> {
    let (globals, mut client, name) = named(invocation).await?;
    let password = password::ask("New password: ").await?;
    let changed = client.change_password(&name, &password, globals.deadline()).await;
    changed.map_err(fail::plain)?;
    output::print("Password updated\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_and_its_roles() {
        let roles = |roles: &[&str], has_whole_roles| {
            let roles = roles.iter().map(|&role| role.to_owned()).collect();
            shown(&User { user: "bob".to_owned(), roles, has_whole_roles })
        };
        assert_eq!(roles(&[], false), "User: bob\nRoles: \n");
        assert_eq!(roles(&["r1"], true), "User: bob\nRoles:  r1\n");
        assert_eq!(roles(&["r1", "r2"], true), "User: bob\nRoles:   r1 r2\n");
        assert_eq!(roles(&["r1", "r2"], false), "User: bob\nRoles: r1 r2\n");
    }
}
