//! Which coordinator to talk to, and by what the two sides know each other.

#![expect(
    clippy::doc_markdown,
    reason = "clap shows these texts as they are, backticks included"
)]

use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow, bail};
use autorep_core::text::redacted;
use autorep_transport::{Credentials, Secret, TokenSource, names_a_host};
use clap::Args;
use tonic::transport::Uri;

use crate::context::{self, Contexts};

/// The variable that names a coordinator.
const COORDINATOR: &str = "AUTOREP_COORDINATOR";

/// The variable that names a context.
const CONTEXT: &str = "AUTOREP_CONTEXT";

/// The variables of what [`CredentialArgs`] are not given, and of a token itself.
const CA: &str = "AUTOREP_CA";
const CLIENT_CERT: &str = "AUTOREP_CLIENT_CERT";
const CLIENT_KEY: &str = "AUTOREP_CLIENT_KEY";
const TOKEN_FILE: &str = "AUTOREP_TOKEN_FILE";
const TOKEN: &str = "AUTOREP_TOKEN";
const PLAIN_TOKEN: &str = "AUTOREP_PLAIN_TOKEN";

/// Which coordinator to talk to.
#[derive(Debug, Clone, Default, Args)]
pub struct Address {
    /// The coordinator's address, https://HOST:PORT or without TLS http://HOST:PORT. Default:
    /// $AUTOREP_COORDINATOR, else that of the context.
    #[arg(long, value_name = "URL", conflicts_with = "context", value_parser = url)]
    pub coordinator: Option<String>,
    /// A coordinator of the context file, with its credentials (autorep context): those in variables
    /// are another's. Default: $AUTOREP_CONTEXT, else the file's current one.
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub credentials: CredentialArgs,
}

/// By what a coordinator is known, and who calls. Variables are no defaults of clap's: what is given
/// by argument goes before a context that is named, what is given by variable does not.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Credentials")]
pub struct CredentialArgs {
    /// Certificates (PEM) of the authorities, one of which has signed the coordinator's. Default:
    /// $AUTOREP_CA, else those that this machine trusts.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// This side's certificate (PEM), where the coordinator asks for one. Default:
    /// $AUTOREP_CLIENT_CERT.
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub client_cert: Option<PathBuf>,
    /// Its private key (PEM). Default: $AUTOREP_CLIENT_KEY.
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    pub client_key: Option<PathBuf>,
    /// A file with the token that says what this side may do, read again when it changes. Default:
    /// $AUTOREP_TOKEN_FILE, else the token in $AUTOREP_TOKEN, if there is one.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Send the token although nothing is encrypted: for networks where only your own machines can
    /// read what is sent. Default: $AUTOREP_PLAIN_TOKEN.
    #[arg(
        long,
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub plain_token: Option<bool>,
}

/// A coordinator's address, as it is. What of it would be passed over is refused: a scheme that is
/// missing or a port that is none would look like a machine that does not answer.
pub fn url(text: &str) -> Result<String, String> {
    let known = ["http://", "https://"];
    if !known.iter().any(|scheme| text.starts_with(scheme)) {
        return Err("expected an address that begins with http:// or https://".to_owned());
    }
    let is_whole = |uri: &Uri| {
        names_a_host(uri) && matches!(uri.path(), "" | "/") && !text.contains(['@', '?', '#'])
    };
    match text.parse() {
        Ok(uri) if is_whole(&uri) => Ok(text.to_owned()),
        Ok(_) | Err(_) => Err(
            "expected a coordinator's address like https://HOST:7070, with nothing before the host \
             and nothing behind the port"
                .to_owned(),
        ),
    }
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
        let found = redacted(&self.url);
        let whole = url(&self.url).map_err(|expected| anyhow!("{expected}, found {found:?}"))?;
        whole.parse().with_context(|| format!("read {found:?}"))
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
            let address = url(&address).map_err(|expected| {
                let found = redacted(&address);
                anyhow!("{expected}, in {COORDINATOR}, found {found:?}")
            })?;
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
        let Some(name) = &contexts.current else {
            return Ok(None);
        };
        let kept = contexts.target(&file, name)?;
        let known = Given::by(variable)?.over(kept.credentials);
        let credentials = self.credentials.given().over(known);
        Ok(Some(Target {
            credentials,
            ..kept
        }))
    }

    fn at(&self, url: &str) -> Result<Target> {
        Ok(Target {
            url: url.to_owned(),
            credentials: self.credentials.resolve()?,
        })
    }

    /// A context that is named, by whatever: tokens in variables are meant for another coordinator,
    /// which this one must not learn.
    fn in_context(&self, name: &str) -> Result<Target> {
        let file = context::file_or_why_not()?;
        let kept = Contexts::read(&file)?.target(&file, name)?;
        let credentials = self.credentials.given().over(kept.credentials);
        Ok(Target {
            credentials,
            ..kept
        })
    }
}

impl CredentialArgs {
    /// What the arguments say; for the rest what variables do.
    pub fn resolve(&self) -> Result<Credentials> {
        let known = Given::by(variable)?.over(Credentials::default());
        Ok(self.given().over(known))
    }

    fn given(&self) -> Given {
        Given {
            authorities: self.ca.clone(),
            identity: self.client_cert.clone().zip(self.client_key.clone()),
            token: self.token_file.clone().map(TokenSource::File),
            plain_token: self.plain_token,
        }
    }
}

/// Credentials as far as they are said in one place.
#[derive(Debug, Default)]
struct Given {
    authorities: Option<PathBuf>,
    identity: Option<(PathBuf, PathBuf)>,
    token: Option<TokenSource>,
    plain_token: Option<bool>,
}

impl Given {
    /// What variables say.
    fn by(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let file = |name| variable(name).map(PathBuf::from);
        let identity = match (file(CLIENT_CERT), file(CLIENT_KEY)) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => bail!("expected {CLIENT_KEY} beside {CLIENT_CERT}, found none"),
            (None, Some(_)) => bail!("expected {CLIENT_CERT} beside {CLIENT_KEY}, found none"),
        };
        let token = match (file(TOKEN_FILE), variable(TOKEN)) {
            (Some(file), _) => Some(TokenSource::File(file)),
            (None, Some(token)) => {
                let token = Secret::parse(&token);
                let token = token.with_context(|| format!("read the token in {TOKEN}"))?;
                Some(TokenSource::Given(token))
            }
            (None, None) => None,
        };
        let plain_token = match variable(PLAIN_TOKEN).as_deref() {
            Some("true" | "1") => Some(true),
            Some("false" | "0") => Some(false),
            Some(found) => bail!("expected true or false in {PLAIN_TOKEN}, found {found:?}"),
            None => None,
        };
        Ok(Self {
            authorities: file(CA),
            identity,
            token,
            plain_token,
        })
    }

    /// The same, with the rest as `others` say.
    fn over(self, others: Credentials) -> Credentials {
        Credentials {
            authorities: self.authorities.or(others.authorities),
            identity: self.identity.or(others.identity),
            token: self.token.or(others.token),
            plain_token: self.plain_token.unwrap_or(others.plain_token),
        }
    }
}

/// A variable that says something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(pairs: &[(&str, &str)]) -> Result<Given> {
        Given::by(|name| {
            let found = pairs.iter().find(|(it, _)| *it == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn what_is_given_goes_before_and_the_rest_is_as_others_say() {
        let others = by(&[(CA, "/ca"), (TOKEN_FILE, "/token"), (PLAIN_TOKEN, "1")]).unwrap();
        let others = others.over(Credentials::default());
        assert_eq!(others.authorities, Some("/ca".into()));
        assert!(others.plain_token);
        let given = by(&[
            (TOKEN_FILE, "/other"),
            (PLAIN_TOKEN, "false"),
            (CLIENT_CERT, "/cert"),
            (CLIENT_KEY, "/key"),
        ]);
        let both = given.unwrap().over(others);
        assert_eq!(both.authorities, Some("/ca".into()));
        assert_eq!(both.token, Some(TokenSource::File("/other".into())));
        assert_eq!(both.identity, Some(("/cert".into(), "/key".into())));
        assert!(!both.plain_token);
    }

    #[test]
    fn an_address_of_which_a_part_would_be_passed_over_is_none() {
        let uri = |url: &str| {
            let target = Target {
                url: url.to_owned(),
                credentials: Credentials::default(),
            };
            target.uri()
        };
        for whole in [
            "http://127.0.0.1:7070",
            "https://lab:7070/",
            "https://lab",
            "http://[::1]:7",
        ] {
            uri(whole).unwrap();
        }
        for other in [
            "https://lab:7070/autorep",
            "https://lab:7070?a=b",
            "https://lab:7070#a",
            "https://lab:77777",
            "https://lab:",
            "https://me:hunter2@lab:7070",
            "https://",
        ] {
            let refused = format!("{:#}", uri(other).unwrap_err());
            assert!(
                refused.contains("expected a coordinator's address"),
                "{refused}"
            );
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }

    #[test]
    fn variables_that_say_half_or_nonsense_are_refused_and_a_token_is_not_repeated() {
        for (pair, expected) in [
            ((CLIENT_CERT, "/cert"), CLIENT_KEY),
            ((CLIENT_KEY, "/key"), CLIENT_CERT),
            ((PLAIN_TOKEN, "perhaps"), "true or false"),
            ((TOKEN, "short"), TOKEN),
        ] {
            let refused = format!("{:#}", by(&[pair]).unwrap_err());
            assert!(refused.contains(expected), "{refused}");
            assert!(!refused.contains("short"), "{refused}");
        }
    }
}
