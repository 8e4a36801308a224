//! The pages of `docs/` as tests: their commands are run, and what they print is compared.
//!
//! A page is run from top to bottom by one `bash`, as a reader would paste it. What the fenced
//! blocks of a page mean:
//!
//! - ` ```sh ` is a step: its lines are pasted together.
//! - ` ```text ` is what the step above it prints, on both streams. A step without such a block
//!   prints nothing.
//! - A step below a line `<!-- not run: REASON -->` is left out, and so is its output.
//! - Every other block is for the reader alone.
//!
//! What varies from run to run is written as an ellipsis (one character, U+2026). It stands for any
//! text within a line, also for none; alone in a line, for any lines. White space at the ends of
//! lines and empty lines at both ends of a block do not count.
//!
//! The session has a directory of its own that looks like a checkout after the build:
//! `target/release` has the programs. Ports in pages are fixed, so a session gets a network
//! of its own where that is allowed (to root), and everything it started ends with it.
//!
//! Not here: which programs a page is run with.

mod matching;
mod page;
mod session;

pub use matching::matches;
pub use page::{Page, Step};
pub use session::{Programs, Session};

use std::path::Path;

/// Runs a page to its end.
///
/// # Errors
/// The first step that did not print what the page says, with the step, both outputs and where
/// it stands; or a page that cannot be read or parsed.
pub fn run(path: &Path, programs: &Programs) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path:?}: {error}"))?;
    let page = Page::parse(&text).map_err(|error| format!("{}:{error}", path.display()))?;
    let mut session = Session::start(programs)?;
    for step in &page.steps {
        let place = format!("{}:{}", path.display(), step.line);
        let printed = session.run(&step.commands);
        let printed = printed.map_err(|error| format!("{place}: {error}\n{}", step.commands))?;
        if !matches(&step.expected, &printed) {
            let Step { commands, expected, .. } = step;
            return Err(format!(
                "{place}: the step\n\n{commands}\nprints by the page\n\n{expected}\nand printed \
                 with {}\n\n{printed}",
                programs.name
            ));
        }
    }
    Ok(())
}
