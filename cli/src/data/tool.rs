//! Runs the machine's own tools: package client, unpackers, downloaders.

use std::io::ErrorKind;
use std::process::{Command, Stdio};

/// A tool could not do its work.
#[derive(Debug)]
pub(super) enum ToolError {
    /// It is not on this machine.
    Missing {
        /// Its name.
        tool: String,
    },
    /// It ended with an error.
    Failed {
        /// Its name.
        tool: String,
        /// The last lines that it wrote to stderr.
        said: String,
    },
}

impl std::fmt::Display for ToolError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing { tool } => write!(f, "{tool} is not on this machine"),
            Self::Failed { tool, said } => write!(f, "{tool} failed: {said}"),
        }
    }
}

impl std::error::Error for ToolError {}

/// Runs a tool to its end, without input and with its output kept for the error.
pub(super) fn run(command: &mut Command) -> Result<(), ToolError> {
    let tool = command.get_program().to_string_lossy().into_owned();
    let output = command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            if error.kind() == ErrorKind::NotFound {
                ToolError::Missing { tool: tool.clone() }
            } else {
                ToolError::Failed {
                    tool: tool.clone(),
                    said: error.to_string(),
                }
            }
        })?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = stderr
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let said = match lines.len() {
        0 => output.status.to_string(),
        count => lines[count.saturating_sub(3)..].join("; "),
    };
    Err(ToolError::Failed { tool, said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_is_told_from_one_that_fails() {
        let error = run(&mut Command::new("autorep-no-such-tool")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "autorep-no-such-tool is not on this machine"
        );
        let mut failing = Command::new("sh");
        failing.args(["-c", "echo one >&2; echo >&2; echo two >&2; exit 3"]);
        assert_eq!(
            run(&mut failing).unwrap_err().to_string(),
            "sh failed: one; two"
        );
        let mut silent = Command::new("sh");
        silent.args(["-c", "exit 3"]);
        assert_eq!(
            run(&mut silent).unwrap_err().to_string(),
            "sh failed: exit status: 3"
        );
    }
}
