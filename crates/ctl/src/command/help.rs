//! `help` and `options`.

use crate::command::{ROOT, check_built};
use crate::exit::Exit;
use crate::flags::{Argument, Flag};
use crate::{globals, output, tree, usage};

/// Shows the help of the command that the arguments name.
pub(super) fn run(arguments: &[Argument]) -> Result<(), Exit> {
    match tree::find(&ROOT, arguments.to_vec()) {
        Ok(found) => {
            check_built(&found.path)?;
            output::print(&usage::help(&found.path))
        }
        Err(_) => {
            // Not an error to etcdctl: the exit code says success.
            let words: Vec<String> = arguments
                .iter()
                .map(|word| format!("`{}`", String::from_utf8_lossy(word)))
                .collect();
            let topic = words.join(" ");
            let usage = usage::usage(&[&ROOT]);
            output::complain(&format!("Unknown help topic [{topic}]\n{usage}"));
            Ok(())
        }
    }
}

/// Shows the flags that every command has.
pub(super) fn options() -> Result<(), Exit> {
    let flags: Vec<&Flag> = globals::FLAGS.iter().collect();
    let intro = "The following options can be passed to any command:";
    output::print(&format!("{intro}\n\n{}", usage::flag_lines(&flags)))
}
