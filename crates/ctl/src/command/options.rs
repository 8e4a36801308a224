//! `options`.

use crate::exit::Exit;
use crate::flags::Flag;
use crate::{globals, output, usage};

/// Shows the flags that every command has.
pub(super) fn run() -> Result<(), Exit> {
    let flags: Vec<&Flag> = globals::FLAGS.iter().collect();
    let intro = "The following options can be passed to any command:";
    output::print(&format!("{intro}\n\n{}", usage::flag_lines(&flags)))
}
