//! `backup`: works on files, which this program does not know; `etcdutl` does the work.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;

use super::{Invocation, fail};
use crate::exit::Exit;
use crate::flags::Values;

/// The offline tool.
const PROGRAM: &str = "etcdutl";
/// What a shell adds to the signal that ended a program.
const SIGNALLED: i32 = 128;

pub(super) fn run(invocation: &Invocation) -> Result<(), Exit> {
    backup(&options(&invocation.flags))
}

/// The flags as `etcdutl backup` takes them.
fn options(flags: &Values) -> Vec<OsString> {
    let mut options = vec![OsString::from("backup")];
    for name in ["data-dir", "wal-dir", "backup-dir", "backup-wal-dir"] {
        let value = flags.text(name);
        if !value.is_empty() {
            options.push(format!("--{name}={value}").into());
        }
    }
    if flags.bool("with-v3") {
        options.push("--with-v3".into());
    }
    options
}

/// Runs the offline tool, with its outputs and its exit code.
fn backup(options: &[OsString]) -> Result<(), Exit> {
    let program = program();
    let status = Command::new(&program).args(options).status().map_err(|error| {
        let name = program.display();
        fail::plain(format!("backup needs the program etcdutl: {name}: {error}"))
    })?;
    let by_signal = status.signal().map(|signal| SIGNALLED + signal);
    match status.code().or(by_signal).and_then(|code| u8::try_from(code).ok()) {
        Some(0) => Ok(()),
        code => Err(Exit::of(code.unwrap_or(u8::MAX), String::new())),
    }
}

/// The tool beside this program, because it is of the same build; else the one on the PATH.
fn program() -> PathBuf {
    let own = std::env::current_exe().ok();
    let beside = own.and_then(|own| Some(own.parent()?.join(PROGRAM)));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PROGRAM.into())
}

#[cfg(test)]
mod tests {
    use super::super::command_line;
    use super::super::table::ROOT;
    use super::*;

    #[test]
    fn flags_are_passed_on() {
        let line = "backup --with-v3 --data-dir a --backup-wal-dir=b";
        let words = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        let invocation = command_line::read(&ROOT, words).unwrap().unwrap();
        let expected = ["backup", "--data-dir=a", "--backup-wal-dir=b", "--with-v3"];
        assert_eq!(options(&invocation.flags), expected.map(OsString::from));
    }
}
