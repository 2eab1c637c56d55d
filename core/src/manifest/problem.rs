//! Problems of a manifest, each with its place in the text, and how they are shown to people.

use std::fmt;
use std::fmt::Write as _;

/// One thing that is wrong with a manifest.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Problem {
    /// Line in the text, counted from 1.
    pub line: u64,
    /// Column in the line in characters, counted from 1.
    pub column: u64,
    /// Where in the manifest, as in `spec.replace.penalty` or `spec.budgets[2]`; empty if it is
    /// about the text as a whole.
    pub path: String,
    /// What was expected and what was found.
    pub message: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

impl fmt::Display for Problem {
    /// `LINE:COLUMN: path: message (did you mean …?)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, " (did you mean {suggestion}?)")?;
        }
        Ok(())
    }
}

/// The most characters of a source line that are shown.
const SHOWN_WIDTH: usize = 100;

/// Shows problems to a person, each with the file's name, the line that it is in and a mark under
/// its place:
///
/// ```text
/// sweep.yaml:7:15: spec.replace.penalty: expected a number of at least 0, found -1
///     7 |     penalty: -1
///       |              ^
/// ```
pub fn render(problems: &[Problem], file_name: &str, text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut shown = String::new();
    for problem in problems {
        // Writing to a String cannot fail.
        let _ = writeln!(shown, "{file_name}:{problem}");
        let source = usize::try_from(problem.line)
            .ok()
            .and_then(|line| line.checked_sub(1))
            .and_then(|index| lines.get(index));
        if let Some(source) = source {
            let (window, mark) = window(source, problem.column);
            let _ = writeln!(shown, "{:>5} | {window}", problem.line);
            let _ = writeln!(shown, "      | {:mark$}^", "");
        }
    }
    shown
}

/// The part of a line to show, and how far into it the mark stands. Control characters, which
/// could play tricks on a terminal, become spaces.
fn window(source: &str, column: u64) -> (String, usize) {
    let characters: Vec<char> = source
        .chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect();
    let at = usize::try_from(column)
        .unwrap_or(usize::MAX)
        .saturating_sub(1)
        .min(characters.len());
    let start = if characters.len() <= SHOWN_WIDTH {
        0
    } else {
        at.saturating_sub(SHOWN_WIDTH / 2)
            .min(characters.len() - SHOWN_WIDTH)
    };
    let end = (start + SHOWN_WIDTH).min(characters.len());
    let mut shown: String = characters[start..end].iter().collect();
    shown.truncate(shown.trim_end().len());
    (shown, at - start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: u64, column: u64) -> Problem {
        Problem {
            line,
            column,
            path: "spec.net.name".to_owned(),
            message: "unknown net \"resnet8\"".to_owned(),
            suggestion: Some("resnet9".to_owned()),
        }
    }

    #[test]
    fn a_problem_is_one_line_that_editors_can_jump_to() {
        assert_eq!(
            problem(3, 7).to_string(),
            "3:7: spec.net.name: unknown net \"resnet8\" (did you mean resnet9?)"
        );
    }

    #[test]
    fn the_mark_stands_under_the_place() {
        let shown = render(&[problem(2, 9)], "a.yaml", "one\n  name: resnet8\n");
        assert_eq!(
            shown,
            "a.yaml:2:9: spec.net.name: unknown net \"resnet8\" (did you mean resnet9?)\n    \
             2 |   name: resnet8\n      |         ^\n"
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let line = format!("{}X{}", "a".repeat(300), "b".repeat(300));
        let shown = render(&[problem(1, 301)], "a.yaml", &line);
        let rows: Vec<&str> = shown.lines().collect();
        assert_eq!(rows[1].chars().count(), 8 + SHOWN_WIDTH);
        let mark = rows[2].find('^').unwrap();
        assert_eq!(rows[1].as_bytes()[mark], b'X');
    }

    #[test]
    fn places_beyond_the_text_and_control_characters_do_no_harm() {
        let shown = render(&[problem(9, 1), problem(1, 99)], "a.yaml", "x\u{1b}[31m\ty");
        assert!(!shown.contains('\u{1b}'));
        assert_eq!(shown.lines().count(), 4, "{shown}");
    }
}
