//! Standard output, whose failures end the program instead of being lost, and standard error,
//! whose failures nobody could be told of.

use std::io::{BufWriter, Write};

use crate::exit::Exit;

/// Lets `write` write to standard output.
pub fn with(write: impl FnOnce(&mut dyn Write) -> Result<(), Exit>) -> Result<(), Exit> {
    let mut output = BufWriter::new(std::io::stdout().lock());
    let written = write(&mut output);
    output.flush()?;
    written
}

/// Writes a text to standard output.
pub fn print(text: &str) -> Result<(), Exit> {
    with(|output| Ok(output.write_all(text.as_bytes())?))
}

/// Writes a text to standard error.
pub fn complain(text: &str) {
    std::io::stderr().write_all(text.as_bytes()).ok();
}
