//! A command line as a whole: which command is called and how, or the help that is asked for
//! instead.
//!
//! Not here: what a command does.

use crate::exit::Exit;
use crate::flags::{self, Argument, Parsed, Values};
use crate::tree::{self, Action, Command, Found};
use crate::{output, usage};

/// A command as it was called.
#[derive(Debug)]
pub struct Invocation<A: 'static> {
    /// The command, behind the commands it belongs to.
    pub path: Vec<&'static Command<A>>,
    /// Its flags.
    pub flags: Values,
    /// Its other arguments.
    pub arguments: Vec<Argument>,
    /// How many arguments stand before `--`; none if it is not there.
    pub dash: Option<usize>,
}

impl<A: Action> Invocation<A> {
    /// Finds what the arguments of the program `root` call. If they ask for help, it is shown, and
    /// nothing is left to be done.
    ///
    /// # Errors
    /// If there is no such command, if it is not built, or if a flag is wrong.
    pub fn read(root: &'static Command<A>, arguments: Vec<Argument>) -> Result<Option<Self>, Exit> {
        let Found { path, rest } =
            tree::find(root, arguments).map_err(|message| Exit::unknown(root.name, &message))?;
        check_built(&path)?;
        let Parsed { flags, arguments, dash } = flags::parse(tree::flags_of(&path), rest)
            .map_err(|error| Exit::usage(&error, &usage::usage(&path)))?;
        if flags.bool("help") {
            output::print(&usage::help(&path))?;
            return Ok(None);
        }
        Ok(Some(Self { path, flags, arguments, dash }))
    }

    /// Returns what the command does.
    pub fn action(&self) -> A {
        self.path.last().expect("a path begins with the program").action
    }
}

/// Shows the help of the command that the arguments name.
///
/// # Errors
/// If the command is not built, or standard output cannot be written. That there is no such command
/// is none to etcd's tools: the exit code says success.
pub fn help<A: Action>(root: &'static Command<A>, arguments: &[Argument]) -> Result<(), Exit> {
    if let Ok(found) = tree::find(root, arguments.to_vec()) {
        check_built(&found.path)?;
        return output::print(&usage::help(&found.path));
    }
    let quoted = |word: &Argument| format!("`{}`", String::from_utf8_lossy(word));
    let topic = arguments.iter().map(quoted).collect::<Vec<_>>().join(" ");
    output::complain(&format!("Unknown help topic [{topic}]\n{}", usage::usage(&[root])));
    Ok(())
}

/// Fails if the command is known but not built.
///
/// # Errors
/// That it is not supported by this program.
pub fn check_built<A: Action>(path: &[&Command<A>]) -> Result<(), Exit> {
    if !path.iter().any(|command| command.is_unbuilt()) {
        return Ok(());
    }
    let program = path.first().map_or("", |root| root.name);
    let names: Vec<&str> = path.iter().skip(1).map(|command| command.name).collect();
    let names = names.join(" ");
    Err(Exit::bad_arguments(format!("the command \"{names}\" is not supported by this {program}")))
}
