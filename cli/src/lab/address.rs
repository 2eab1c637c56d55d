//! Which coordinator to talk to, and by what the two sides know each other.

#![expect(
    clippy::doc_markdown,
    reason = "clap shows these texts as they are, backticks included"
)]

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use autorep_transport::{Credentials, Secret, TokenSource};
use clap::Args;
use tonic::transport::Uri;

use crate::context::{self, Contexts};

/// The variable that names a coordinator.
const COORDINATOR: &str = "AUTOREP_COORDINATOR";

/// The variable that names a context.
const CONTEXT: &str = "AUTOREP_CONTEXT";

/// The variable that holds a token itself.
const TOKEN: &str = "AUTOREP_TOKEN";

/// Which coordinator to talk to.
#[derive(Debug, Clone, Default, Args)]
pub struct Address {
    /// The coordinator's address, https://HOST:PORT or without TLS http://HOST:PORT. Default:
    /// $AUTOREP_COORDINATOR, else that of the context.
    #[arg(long, value_name = "URL", conflicts_with = "context", value_parser = url)]
    pub coordinator: Option<String>,
    /// A coordinator of the context file, with its credentials (autorep context). Default:
    /// $AUTOREP_CONTEXT, else the file's current one.
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub credentials: CredentialArgs,
}

/// By what a coordinator is known, and who calls.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Credentials")]
pub struct CredentialArgs {
    /// Certificates (PEM) of the authorities, one of which has signed the coordinator's. Default: those
    /// that this machine trusts.
    #[arg(long, value_name = "FILE", env = "AUTOREP_CA")]
    pub ca: Option<PathBuf>,
    /// This side's certificate (PEM), where the coordinator asks for one.
    #[arg(
        long,
        value_name = "FILE",
        env = "AUTOREP_CLIENT_CERT",
        requires = "client_key"
    )]
    pub client_cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(
        long,
        value_name = "FILE",
        env = "AUTOREP_CLIENT_KEY",
        requires = "client_cert"
    )]
    pub client_key: Option<PathBuf>,
    /// A file with the token that says what this side may do, read again when it changes. Default: the
    /// token in $AUTOREP_TOKEN, if there is one.
    #[arg(long, value_name = "FILE", env = "AUTOREP_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// Send the token although nothing is encrypted: for networks where only your own machines can
    /// read what is sent.
    #[arg(long, env = "AUTOREP_PLAIN_TOKEN")]
    pub plain_token: bool,
}

/// A coordinator's address: without its scheme it would look like a machine that does not answer.
pub fn url(text: &str) -> Result<String, String> {
    let known = ["http://", "https://"];
    if known.iter().any(|scheme| text.starts_with(scheme)) {
        return Ok(text.to_owned());
    }
    Err("expected an address that begins with http:// or https://".to_owned())
}

/// A coordinator with all that is needed to talk to it.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its address as it was given.
    pub url: String,
    /// By what the two sides know each other.
    pub credentials: Credentials,
}

impl Target {
    /// The address for a connection.
    pub fn uri(&self) -> Result<Uri> {
        let url = &self.url;
        url.parse().with_context(|| {
            format!("expected a coordinator's address like https://HOST:7070, found {url:?}")
        })
    }
}

impl Address {
    /// The coordinator that is meant, if one is named by an argument or a variable.
    pub fn named(&self) -> Result<Option<Target>> {
        if let Some(url) = &self.coordinator {
            return self.at(url).map(Some);
        }
        if let Some(name) = &self.context {
            return self.in_context(name).map(Some);
        }
        if let Some(address) = variable(COORDINATOR) {
            let address = url(&address)
                .map_err(|expected| anyhow!("{expected} in {COORDINATOR}, found {address:?}"))?;
            return self.at(&address).map(Some);
        }
        variable(CONTEXT)
            .map(|name| self.in_context(&name))
            .transpose()
    }

    /// The coordinator that is meant: by an argument, a variable, or as the current context.
    pub fn resolve(&self) -> Result<Target> {
        if let Some(target) = self.named()? {
            return Ok(target);
        }
        if let Some(target) = self.current()? {
            return Ok(target);
        }
        bail!(
            "expected a coordinator, found none named; name one with --coordinator URL or \
             {COORDINATOR}, or keep one with `autorep context set NAME --coordinator URL`"
        );
    }

    /// The current context's coordinator, if there is one.
    pub fn current(&self) -> Result<Option<Target>> {
        let Some(file) = context::file() else {
            return Ok(None);
        };
        let contexts = Contexts::read(&file)?;
        let current = contexts.current.clone();
        current
            .map(|name| self.kept(&file, &contexts, &name))
            .transpose()
    }

    fn at(&self, url: &str) -> Result<Target> {
        Ok(Target {
            url: url.to_owned(),
            credentials: self.credentials.resolve(Credentials::default())?,
        })
    }

    fn in_context(&self, name: &str) -> Result<Target> {
        let file = context::file_or_why_not()?;
        self.kept(&file, &Contexts::read(&file)?, name)
    }

    fn kept(&self, file: &Path, contexts: &Contexts, name: &str) -> Result<Target> {
        let target = contexts.target(file, name)?;
        let credentials = self.credentials.resolve(target.credentials)?;
        Ok(Target {
            credentials,
            ..target
        })
    }
}

impl CredentialArgs {
    /// What is given here; for the rest what `others` say.
    pub fn resolve(&self, others: Credentials) -> Result<Credentials> {
        let file = self.token_file.clone().map(TokenSource::File);
        let token = match file {
            Some(file) => Some(file),
            None => variable(TOKEN)
                .map(|token| Secret::parse(&token).map(TokenSource::Given))
                .transpose()
                .with_context(|| format!("read the token in {TOKEN}"))?,
        };
        let identity = self.client_cert.clone().zip(self.client_key.clone());
        Ok(Credentials {
            authorities: self.ca.clone().or(others.authorities),
            identity: identity.or(others.identity),
            token: token.or(others.token),
            plain_token: self.plain_token || others.plain_token,
        })
    }
}

/// A variable that says something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
