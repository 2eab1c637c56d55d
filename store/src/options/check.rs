//! Which variables go together.

use std::path::PathBuf;

use super::{CredentialSource, OptionsError, Variables};

/// Whether a variable that can be true or false is true; unset is false.
pub(super) fn flag(variables: &Variables, name: &'static str) -> Result<bool, OptionsError> {
    let Some(found) = variables.get(name) else {
        return Ok(false);
    };
    match found.to_ascii_lowercase().as_str() {
        "1" | "true" | "on" | "yes" | "y" => Ok(true),
        "0" | "false" | "off" | "no" | "n" => Ok(false),
        _ => Err(OptionsError::Value {
            name,
            expected: "true or false".to_owned(),
            found: found.to_owned(),
        }),
    }
}

/// Bodies that are in no signature are protected by TLS on the way and by a checksum behind it.
pub(super) fn payload(
    variables: &Variables,
    endpoint: Option<&str>,
    has_checksum: bool,
) -> Result<(), OptionsError> {
    let is_plain = endpoint.is_some_and(|it| it.starts_with("http://"));
    let found = match (is_plain, has_checksum) {
        (false, true) => return Ok(()),
        (true, _) => "an endpoint with http://",
        (false, false) => "AWS_CHECKSUM_ALGORITHM=none",
    };
    if flag(variables, "AWS_UNSIGNED_PAYLOAD")? {
        return Err(OptionsError::Unprotected { found });
    }
    Ok(())
}

/// Who asks: the first source of which something is set, as other programs look for them.
pub(super) fn credentials(variables: &Variables) -> Result<CredentialSource, OptionsError> {
    if flag(variables, "AWS_SKIP_SIGNATURE")? {
        return Ok(CredentialSource::Anonymous);
    }
    if keys(variables)? {
        return Ok(CredentialSource::Environment);
    }
    if let Some(found) = web_identity(variables)? {
        return Ok(found);
    }
    if let Some(found) = shared_file(variables) {
        return Ok(found);
    }
    if container(variables)? {
        return Ok(CredentialSource::Container);
    }
    Ok(CredentialSource::Instance)
}

/// Whether the environment holds keys.
fn keys(variables: &Variables) -> Result<bool, OptionsError> {
    const KEY: &str = "AWS_ACCESS_KEY_ID";
    const SECRET: &str = "AWS_SECRET_ACCESS_KEY";
    const TOKEN: &str = "AWS_SESSION_TOKEN";
    let set = |name| variables.get(name).is_some();
    let half = |set, missing, mend| Err(OptionsError::Half { set, missing, mend });
    match (set(KEY), set(SECRET), set(TOKEN)) {
        (true, true, _) => Ok(true),
        (false, false, false) => Ok(false),
        (true, false, _) => half(KEY, SECRET, "set both, or none to use another source"),
        (false, true, _) => half(SECRET, KEY, "set both, or none to use another source"),
        (false, false, true) => half(
            TOKEN,
            KEY,
            "set the two keys that belong to the token, or unset it",
        ),
    }
}

fn web_identity(variables: &Variables) -> Result<Option<CredentialSource>, OptionsError> {
    const TOKEN: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
    const ROLE: &str = "AWS_ROLE_ARN";
    let half = |set, missing, mend| Err(OptionsError::Half { set, missing, mend });
    match (variables.get(TOKEN), variables.get(ROLE)) {
        (Some(token_file), Some(role)) => Ok(Some(CredentialSource::WebIdentity {
            token_file: PathBuf::from(token_file),
            role: role.to_owned(),
        })),
        (None, None) => Ok(None),
        (Some(_), None) => half(TOKEN, ROLE, "name the role that the token may take"),
        (None, Some(_)) => half(
            ROLE,
            TOKEN,
            "name the file with the identity's token; roles are taken by web identity only",
        ),
    }
}

/// The shared file if it or a profile is named, or if there is one.
fn shared_file(variables: &Variables) -> Option<CredentialSource> {
    let named = variables.get("AWS_SHARED_CREDENTIALS_FILE");
    let profile = variables.get("AWS_PROFILE");
    let home = variables.get("HOME").map(PathBuf::from);
    let usual = home.map(|home| home.join(".aws/credentials"));
    let path = named.map(PathBuf::from).or(usual)?;
    if named.is_none() && profile.is_none() && !path.is_file() {
        return None;
    }
    Some(CredentialSource::SharedFile {
        path,
        profile: profile.unwrap_or("default").to_owned(),
    })
}

fn container(variables: &Variables) -> Result<bool, OptionsError> {
    const URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
    const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
    if variables
        .get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
        .is_some()
    {
        return Ok(true);
    }
    let half = |set, missing, mend| Err(OptionsError::Half { set, missing, mend });
    match (variables.get(URI), variables.get(TOKEN)) {
        (Some(_), Some(_)) => Ok(true),
        (None, None) => Ok(false),
        (Some(_), None) => half(URI, TOKEN, "name the file with the pod identity's token"),
        (None, Some(_)) => half(TOKEN, URI, "name the address of the pod identity's agent"),
    }
}

/// That what is said of encryption in the bucket goes together.
pub(super) fn encryption(variables: &Variables) -> Result<(), OptionsError> {
    const KIND: &str = "AWS_SERVER_SIDE_ENCRYPTION";
    const KMS_KEY: &str = "AWS_SSE_KMS_KEY_ID";
    const BUCKET_KEY: &str = "AWS_SSE_BUCKET_KEY_ENABLED";
    const CUSTOMER_KEY: &str = "AWS_SSE_CUSTOMER_KEY_BASE64";
    let kind = variables.get(KIND);
    let wrong = |expected: &str| OptionsError::Value {
        name: KIND,
        expected: expected.to_owned(),
        found: kind.unwrap_or_default().to_owned(),
    };
    if !matches!(
        kind,
        None | Some("AES256" | "aws:kms" | "aws:kms:dsse" | "sse-c")
    ) {
        return Err(wrong("AES256, aws:kms, aws:kms:dsse or sse-c"));
    }
    let is_kms = matches!(kind, Some("aws:kms" | "aws:kms:dsse"));
    if variables.get(KMS_KEY).is_some() && !is_kms {
        return Err(wrong(
            "aws:kms or aws:kms:dsse beside AWS_SSE_KMS_KEY_ID, or that one unset",
        ));
    }
    if flag(variables, BUCKET_KEY)? && kind != Some("aws:kms") {
        return Err(wrong(
            "aws:kms beside AWS_SSE_BUCKET_KEY_ENABLED, or that one unset",
        ));
    }
    let customer = variables.get(CUSTOMER_KEY).is_some();
    match (kind == Some("sse-c"), customer) {
        (true, false) => Err(OptionsError::Half {
            set: "AWS_SERVER_SIDE_ENCRYPTION=sse-c",
            missing: CUSTOMER_KEY,
            mend: "set the key of 256 bits as base64",
        }),
        (false, true) => Err(wrong(
            "sse-c beside AWS_SSE_CUSTOMER_KEY_BASE64, or that one unset",
        )),
        (true, true) | (false, false) => Ok(()),
    }
}
