//! `autorep context`: the coordinators that a person talks to, by name.
//!
//! The file is YAML; the Python client reads it, too. Paths in it count from its folder.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use autorep_transport::{Credentials, Secret, TokenSource};
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use crate::exit::Exit;
use crate::lab::address::{CredentialArgs, Target, url};
use crate::output;

/// The variable that names the file.
const FILE: &str = "AUTOREP_CONFIG";

/// The most bytes of the file that are read.
const MAX_BYTES: u64 = 1 << 20;

/// Arguments of `autorep context`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  autorep context set lab --coordinator https://autorep.example.org:7070 --ca ca.crt --token-file token
  autorep context use lab
  autorep list                                   # asks the lab's coordinator
  autorep list --context other

The file is $AUTOREP_CONFIG, else autorep/config.yaml in the user's configuration folder \
($XDG_CONFIG_HOME or ~/.config).")]
pub struct ContextArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ContextCommand,
}

/// What can be done with contexts.
#[derive(Debug, Subcommand)]
pub enum ContextCommand {
    /// List them; a star marks the current one.
    List,
    /// Make one the current one.
    Use {
        /// Its name.
        name: String,
    },
    /// Add one, or change what is given of one by arguments. Variables are not kept.
    Set(Box<SetArgs>),
    /// Take one out.
    Remove {
        /// Its name.
        name: String,
    },
}

/// Arguments of `autorep context set`.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// Its name.
    pub name: String,
    /// The coordinator's address.
    #[arg(long, value_name = "URL", value_parser = url)]
    pub coordinator: Option<String>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub credentials: CredentialArgs,
}

impl SetArgs {
    /// The files that are given and are not there.
    fn missing_files(&self) -> impl Iterator<Item = &Path> {
        let given = &self.credentials;
        let files = [
            &given.ca,
            &given.client_cert,
            &given.client_key,
            &given.token_file,
        ];
        (files.into_iter().flatten())
            .map(PathBuf::as_path)
            .filter(|file| !file.exists())
    }
}

/// All contexts.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    /// The name of the one that counts when nobody says.
    #[serde(
        rename = "current-context",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub current: Option<String>,
    /// In the order in which they were added.
    #[serde(default)]
    contexts: Vec<Entry>,
}

#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Entry {
    name: String,
    coordinator: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_cert: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_key: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_file: Option<PathBuf>,
    /// The token itself, for those who keep no file for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    plain_token: bool,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("name", &self.name)
            .field("coordinator", &self.coordinator)
            .finish_non_exhaustive()
    }
}

/// Where the file is or would be; `None` for users without a home.
pub fn file() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(file) = variable(FILE) {
        return Some(file.into());
    }
    let folder = variable("XDG_CONFIG_HOME").map(PathBuf::from);
    let folder = folder
        .filter(|folder| folder.is_absolute())
        .or_else(|| Some(Path::new(&variable("HOME")?).join(".config")))?;
    Some(folder.join("autorep/config.yaml"))
}

/// As [`file()`], for whoever needs one.
pub fn file_or_why_not() -> Result<PathBuf> {
    file().with_context(|| {
        format!("expected a home for the context file, found none: set {FILE} or HOME")
    })
}

impl Contexts {
    /// Reads the file; one that is not there has no contexts.
    pub fn read(file: &Path) -> Result<Self> {
        use std::io::Read as _;
        let mut text = String::new();
        match std::fs::File::open(file) {
            Ok(open) => open.take(MAX_BYTES).read_to_string(&mut text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
        .with_context(|| format!("read the context file {}", file.display()))?;
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        // The reader would quote the lines around a mistake, and a token may be written there.
        let options = serde_yaml::options! { with_snippet: false };
        serde_yaml::from_str_with_options(&text, options).with_context(|| {
            format!(
                "expected `current-context` and a list of `contexts` in {}",
                file.display()
            )
        })
    }

    fn write(&self, file: &Path) -> Result<()> {
        let text = serde_yaml::to_string(self).context("write the contexts as YAML")?;
        output::private_file(file, text.as_bytes())
    }

    /// The coordinator of a context.
    pub fn target(&self, file: &Path, name: &str) -> Result<Target> {
        let Some(entry) = self.contexts.iter().find(|entry| entry.name == name) else {
            bail!(
                "expected a context of {}, found {name:?}; `autorep context list` prints them, \
                 `autorep context set` adds one",
                file.display()
            );
        };
        let folder = file.parent().unwrap_or(Path::new("."));
        let below = |path: &PathBuf| folder.join(path);
        let token = match (&entry.token_file, &entry.token) {
            (Some(path), _) => Some(TokenSource::File(below(path))),
            (None, Some(token)) => {
                let token = Secret::parse(token);
                let token = token.with_context(|| format!("read the token of context {name}"))?;
                Some(TokenSource::Given(token))
            }
            (None, None) => None,
        };
        let certificate = entry.client_cert.as_ref().map(below);
        Ok(Target {
            url: entry.coordinator.clone(),
            credentials: Credentials {
                authorities: entry.ca.as_ref().map(below),
                identity: certificate.zip(entry.client_key.as_ref().map(below)),
                token,
                plain_token: entry.plain_token,
            },
        })
    }

    fn set(&mut self, args: &SetArgs) -> Result<()> {
        if args.name.is_empty()
            || args
                .name
                .contains(|it: char| it.is_whitespace() || it.is_control())
        {
            bail!(
                "expected a name without spaces and control characters, found {:?}",
                args.name
            );
        }
        let at = self.contexts.iter().position(|it| it.name == args.name);
        let mut entry = at.map(|at| self.contexts[at].clone()).unwrap_or_default();
        entry.name.clone_from(&args.name);
        match (&args.coordinator, at) {
            (Some(coordinator), _) => entry.coordinator.clone_from(coordinator),
            (None, Some(_)) => {}
            (None, None) => bail!(
                "expected --coordinator URL for the new context {}, found none",
                args.name
            ),
        }
        let given = &args.credentials;
        let absolute = |path: &Option<PathBuf>| -> Result<Option<PathBuf>> {
            path.as_ref()
                .map(|path| std::path::absolute(path).context("make a path absolute"))
                .transpose()
        };
        entry.ca = absolute(&given.ca)?.or(entry.ca);
        entry.client_cert = absolute(&given.client_cert)?.or(entry.client_cert);
        entry.client_key = absolute(&given.client_key)?.or(entry.client_key);
        if let Some(path) = absolute(&given.token_file)? {
            entry.token_file = Some(path);
            entry.token = None;
        }
        entry.plain_token = given.plain_token.unwrap_or(entry.plain_token);
        match at {
            Some(at) => self.contexts[at] = entry,
            None => self.contexts.push(entry),
        }
        if self.contexts.len() == 1 {
            self.current = Some(args.name.clone());
        }
        Ok(())
    }

    fn choose(&mut self, file: &Path, name: &str) -> Result<()> {
        self.target(file, name)?;
        self.current = Some(name.to_owned());
        Ok(())
    }

    fn remove(&mut self, file: &Path, name: &str) -> Result<()> {
        self.target(file, name)?;
        self.contexts.retain(|entry| entry.name != name);
        self.current.take_if(|current| current == name);
        Ok(())
    }

    fn table(&self) -> String {
        let width = self.contexts.iter().map(|it| it.name.len()).max();
        let width = width.unwrap_or(0).max(7);
        let mut table = format!("   {:width$}  COORDINATOR\n", "CONTEXT");
        for entry in &self.contexts {
            let is_current = self.current.as_ref() == Some(&entry.name);
            let mark = if is_current { '*' } else { ' ' };
            let _ = writeln!(
                table,
                "{mark}  {:width$}  {}",
                entry.name, entry.coordinator
            );
        }
        table
    }
}

/// Does what was asked.
pub fn run(args: &ContextArgs) -> Result<Exit> {
    let file = file_or_why_not()?;
    let mut contexts = Contexts::read(&file)?;
    match &args.command {
        ContextCommand::List => {
            output::stdout(contexts.table().as_bytes())?;
            return Ok(Exit::Done);
        }
        ContextCommand::Use { name } => contexts.choose(&file, name)?,
        ContextCommand::Set(set) => {
            contexts.set(set)?;
            // A file may come later, as a secret that is mounted does.
            for missing in set.missing_files() {
                let path = missing.display();
                output::stderr(&format!("note: there is no file {path} yet\n"));
            }
        }
        ContextCommand::Remove { name } => contexts.remove(&file, name)?,
    }
    contexts.write(&file)?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    /// Does what `autorep context` with these arguments would, on a file.
    fn context(contexts: &mut Contexts, file: &Path, arguments: &[&str]) -> Result<()> {
        let arguments = ["autorep", "context"].iter().chain(arguments);
        let Command::Context(args) = Cli::parse_from(arguments).command else {
            unreachable!("no other command was written")
        };
        match args.command {
            ContextCommand::List => {}
            ContextCommand::Use { name } => contexts.choose(file, &name)?,
            ContextCommand::Set(set) => contexts.set(&set)?,
            ContextCommand::Remove { name } => contexts.remove(file, &name)?,
        }
        contexts.write(file)
    }

    #[test]
    fn the_first_context_is_the_current_one_until_another_is_chosen_or_it_is_removed() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/config.yaml");
        let mut contexts = Contexts::read(&file).unwrap();
        let one = ["set", "one", "--coordinator", "http://127.0.0.1:1"];
        context(&mut contexts, &file, &one).unwrap();
        let two = [
            "set",
            "two",
            "--coordinator",
            "https://two",
            "--ca",
            "/ca.crt",
        ];
        context(&mut contexts, &file, &two).unwrap();
        let mut contexts = Contexts::read(&file).unwrap();
        assert_eq!(contexts.current.as_deref(), Some("one"));
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        context(&mut contexts, &file, &["use", "two"]).unwrap();
        context(
            &mut contexts,
            &file,
            &["set", "two", "--token-file", "/token"],
        )
        .unwrap();
        assert!(contexts.table().contains("*  two      https://two"));
        let two = contexts.target(&file, "two").unwrap();
        assert_eq!(two.credentials.authorities, Some("/ca.crt".into()));
        assert_eq!(
            two.credentials.token,
            Some(TokenSource::File("/token".into()))
        );
        for (flag, expected) in [("--plain-token", true), ("--plain-token=false", false)] {
            context(&mut contexts, &file, &["set", "two", flag]).unwrap();
            context(&mut contexts, &file, &["set", "two"]).unwrap();
            let two = contexts.target(&file, "two").unwrap();
            assert_eq!(two.credentials.plain_token, expected, "{flag}");
        }
        context(&mut contexts, &file, &["remove", "two"]).unwrap();
        assert_eq!(Contexts::read(&file).unwrap().current, None);

        for (arguments, says) in [
            (["use", "two"], "`autorep context list`"),
            (["remove", "two"], "`autorep context list`"),
            (["set", "new"], "--coordinator URL"),
        ] {
            let refused = context(&mut contexts, &file, &arguments).unwrap_err();
            assert!(refused.to_string().contains(says), "{refused}");
        }
    }

    #[test]
    fn paths_count_from_the_files_folder_and_tokens_are_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        let text = "
            current-context: lab
            contexts:
            - { name: lab, coordinator: 'https://lab:7070', ca: ca.crt, token-file: token,
                client-cert: me.crt, client-key: /keys/me.key }
            - { name: kept, coordinator: 'https://kept:7070', token: a-token-that-is-secret }
        ";
        std::fs::write(&file, text).unwrap();
        let contexts = Contexts::read(&file).unwrap();
        let lab = contexts.target(&file, "lab").unwrap().credentials;
        let below = |name: &str| folder.path().join(name);
        assert_eq!(lab.authorities, Some(below("ca.crt")));
        assert_eq!(lab.identity, Some((below("me.crt"), "/keys/me.key".into())));
        assert_eq!(lab.token, Some(TokenSource::File(below("token"))));
        let kept = contexts.target(&file, "kept").unwrap();
        let shown = format!("{contexts:?} {kept:?}");
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn a_file_that_makes_no_sense_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        for text in ["contexts: 3", "contexts: [{ name: a }]", "context: []", "{"] {
            std::fs::write(&file, text).unwrap();
            let refused = Contexts::read(&file).unwrap_err().to_string();
            assert!(refused.contains("config.yaml"), "{refused}");
        }
        let token = "a-token-that-is-secret";
        for text in [
            format!("contexts:\n- name: a\n  token: {token}\n  coordinator: [\n"),
            format!("contexts:\n- {{ name: a, tokens: {token} }}"),
            format!("contexts: {token}"),
        ] {
            std::fs::write(&file, text).unwrap();
            let refused = format!("{:?}", Contexts::read(&file).unwrap_err());
            assert!(refused.contains("line"), "{refused}");
            assert!(!refused.contains(token), "{refused}");
        }
    }
}
