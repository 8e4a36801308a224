//! The steps of a page: fenced blocks of Markdown, as [`crate::pages`] explains them.

/// What a page has its reader do, in order.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// The blocks that are run.
    pub steps: Vec<Step>,
}

/// One block of commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The line of the page where the block begins, from 1.
    pub line: usize,
    /// What is pasted, with its newlines.
    pub commands: String,
    /// What it prints, with an ellipsis for what varies.
    pub expected: String,
}

const FENCE: &str = "```";
const LEFT_OUT: &str = "<!-- not run: ";

/// To which step a block of output belongs.
enum Above {
    Nothing,
    Step,
    LeftOut,
}

impl Page {
    /// Finds the steps in the text of a page.
    ///
    /// # Errors
    /// The line and what is wrong there: a block without an end, an indented block (it would be
    /// overlooked), or an output that belongs to no step.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut steps: Vec<Step> = Vec::new();
        let mut above = Above::Nothing;
        let mut left_out = false;
        let mut lines = text.lines().enumerate();
        while let Some((index, line)) = lines.next() {
            let number = index + 1;
            let Some(kind) = line.strip_prefix(FENCE) else {
                if line.trim_start().starts_with(FENCE) {
                    return Err(format!("{number}: a block that is indented"));
                }
                // The marker holds for the next block only, whatever stands between.
                left_out |= line.starts_with(LEFT_OUT);
                continue;
            };
            let body = body(&mut lines).ok_or(format!("{number}: a block without an end"))?;
            match (kind, &above) {
                ("sh", _) if left_out => above = Above::LeftOut,
                ("sh", _) => {
                    steps.push(Step { line: number, commands: body, expected: String::new() });
                    above = Above::Step;
                }
                ("text", Above::Step) => {
                    if let Some(step) = steps.last_mut() {
                        step.expected = body;
                    }
                    above = Above::Nothing;
                }
                ("text", Above::LeftOut) => above = Above::Nothing,
                ("text", Above::Nothing) => {
                    return Err(format!("{number}: an output that belongs to no step"));
                }
                _ => {}
            }
            left_out = false;
        }
        Ok(Self { steps })
    }
}

/// The lines up to the end of a block; none if it has no end.
fn body<'a>(lines: &mut impl Iterator<Item = (usize, &'a str)>) -> Option<String> {
    let mut body = String::new();
    for (_, line) in lines {
        if line == FENCE {
            return Some(body);
        }
        body.push_str(line);
        body.push('\n');
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(line: usize, commands: &str, expected: &str) -> Step {
        Step { line, commands: commands.to_owned(), expected: expected.to_owned() }
    }

    #[test]
    fn a_page_is_its_steps() {
        let page = "# Page\n\n```sh\necho a\necho b\n```\n\nIt prints:\n\n```text\na\nb\n```\n\
                    \n```yaml\nname: s1\n```\n```sh\ntrue\n```\n\
                    <!-- not run: it needs the network -->\n```sh\npip\n```\n```text\nok\n```\n";
        let page = Page::parse(page).unwrap();
        assert_eq!(page.steps, [step(3, "echo a\necho b\n", "a\nb\n"), step(18, "true\n", "")]);
    }

    #[test]
    fn a_page_that_would_be_misread_is_refused() {
        for (page, wanted) in [
            ("```sh\ntrue\n", "1: a block without an end"),
            ("- item\n  ```sh\n  true\n  ```\n", "2: a block that is indented"),
            ("```text\na\n```\n", "1: an output that belongs to no step"),
            (
                "```sh\nx\n```\n```text\na\n```\n```text\nb\n```\n",
                "7: an output that belongs to no step",
            ),
        ] {
            assert_eq!(Page::parse(page), Err(wanted.to_owned()));
        }
    }
}
