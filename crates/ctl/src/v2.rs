//! `etcdctl` in v2 mode: the commands, outputs, errors and exit codes of etcdctl 3.4 with
//! `ETCDCTL_API=2`, over etcd's v2 API.
//!
//! The way of a command: `command_line` finds it in `table` and reads its flags, `globals` makes a
//! client and lets it ask for the members, one module for each group of commands does the work,
//! `print` shows what came of it, `fail` words what went wrong.
//!
//! Invariants:
//! - A command that only the v2 API has is found without the variable as well; a command that both
//!   have needs it.
//!
//! Not here: HTTP, endpoints and repeats (see `quoin_client::v2`), how flags are read (see
//! `quoin_cli::classic`).

mod auth;
mod backup;
mod command_line;
mod fail;
mod globals;
mod health;
mod hint;
mod keys;
mod member;
mod password;
mod print;
mod role;
mod table;
mod usage;
mod user;
mod watch;

use crate::exit::Exit;
use crate::flags::{Argument, Flag, Kind};

use command_line::Invocation;
use globals::Globals;
use table::{ROOT, Verb};

pub(crate) use hint::v2_hint;
pub(crate) use table::LISTED;

/// Whether the arguments call a command, or ask for the help of one, that only the v2 API has.
pub(crate) fn is_meant(arguments: &[Argument]) -> bool {
    let mut words = words(arguments);
    let is_own = |word: &Argument| LISTED.iter().any(|(name, _)| name.as_bytes() == word);
    match words.next() {
        Some(word) if word == b"help" => words.next().is_some_and(is_own),
        Some(word) => is_own(word),
        None => false,
    }
}

/// The arguments that are neither flags of every command, of either API, nor values of them.
fn words(arguments: &[Argument]) -> impl Iterator<Item = &Argument> {
    let mut arguments = arguments.iter().take_while(|argument| *argument != b"--");
    std::iter::from_fn(move || {
        loop {
            let argument = arguments.next()?;
            let Some(text) = argument.strip_prefix(b"-") else {
                return Some(argument);
            };
            if takes_next(text.strip_prefix(b"-").unwrap_or(text)) {
                arguments.next()?;
            }
        }
    })
}

fn takes_next(name: &[u8]) -> bool {
    let name = std::str::from_utf8(name).unwrap_or_default();
    let mut known = ROOT.shared_flags.iter().chain(crate::globals::FLAGS);
    known.any(|flag: &Flag| flag.has_name(name) && flag.kind != Kind::Bool)
}

/// Runs the command that the arguments call.
pub(crate) fn run(arguments: Vec<Argument>) -> Result<(), Exit> {
    let Some(invocation) = command_line::read(&ROOT, arguments)? else {
        return Ok(());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(work(&invocation));
    // A prompt that was broken off leaves a thread behind that waits for the terminal.
    runtime.shutdown_background();
    done
}

async fn work(invocation: &Invocation) -> Result<(), Exit> {
    match invocation.verb {
        Verb::Group | Verb::Help => Ok(()),
        Verb::Backup => backup::run(invocation),
        Verb::ClusterHealth => health::run(invocation).await,
        Verb::Mk => keys::mk(invocation).await,
        Verb::Mkdir => keys::set_dir(invocation, Some(false)).await,
        Verb::Rm => keys::rm(invocation).await,
        Verb::Rmdir => keys::rmdir(invocation).await,
        Verb::Get => keys::get(invocation).await,
        Verb::Ls => keys::ls(invocation).await,
        Verb::Set => keys::set(invocation).await,
        Verb::SetDir => keys::set_dir(invocation, None).await,
        Verb::Update => keys::update(invocation).await,
        Verb::UpdateDir => keys::set_dir(invocation, Some(true)).await,
        Verb::Watch => watch::watch(invocation).await,
        Verb::ExecWatch => watch::exec_watch(invocation).await,
        Verb::MemberList => member::list(invocation).await,
        Verb::MemberAdd => member::add(invocation).await,
        Verb::MemberRemove => member::remove(invocation).await,
        Verb::MemberUpdate => member::update(invocation).await,
        Verb::UserAdd => user::add(invocation).await,
        Verb::UserGet => user::get(invocation).await,
        Verb::UserList => user::list(invocation).await,
        Verb::UserRemove => user::remove(invocation).await,
        Verb::UserGrant => user::change_roles(invocation, true).await,
        Verb::UserRevoke => user::change_roles(invocation, false).await,
        Verb::UserPasswd => user::passwd(invocation).await,
        Verb::RoleAdd => role::add(invocation).await,
        Verb::RoleGet => role::get(invocation).await,
        Verb::RoleList => role::list(invocation).await,
        Verb::RoleRemove => role::remove(invocation).await,
        Verb::RoleGrant => role::change_access(invocation, true).await,
        Verb::RoleRevoke => role::change_access(invocation, false).await,
        Verb::AuthEnable => auth::run(invocation, true).await,
        Verb::AuthDisable => auth::run(invocation, false).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn meant(line: &str, expected: bool) {
        let words: Vec<Argument> =
            line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect();
        assert_eq!(is_meant(&words), expected, "{line}");
    }

    #[test]
    fn the_command_chooses_the_api() {
        meant("set k v", true);
        meant("--endpoints http://h:1 -o json ls", true);
        meant("--debug cluster-health", true);
        meant("-u bob:x --no-sync mk k v", true);
        meant("help exec-watch", true);
        meant("get set", false);
        meant("member list", false);
        meant("put set set", false);
        meant("--endpoints set", false);
        meant("-- set", false);
        meant("help get", false);
        meant("", false);
    }
}
