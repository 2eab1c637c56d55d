use super::*;

fn options(pairs: &[(&str, &str)]) -> Result<S3Options, OptionsError> {
    let variables: Variables = pairs.iter().copied().collect();
    S3Options::read("sweeps", &variables)
}

fn setting(options: &S3Options, key: Key) -> Option<&str> {
    let mut found = options.settings.iter().filter(|(it, _)| *it == key);
    let value = found.next().map(|(_, value)| value.as_str());
    assert!(found.next().is_none(), "{key:?} is said twice");
    value
}

fn told(pairs: &[(&str, &str)]) -> String {
    options(pairs).unwrap_err().to_string()
}

const KEYS: [(&str, &str); 2] = [
    ("AWS_ACCESS_KEY_ID", "key"),
    ("AWS_SECRET_ACCESS_KEY", "secret"),
];

#[test]
fn credentials_come_from_the_first_source_of_which_something_is_set() {
    let home = tempfile::tempdir().unwrap();
    let usual = home.path().join(".aws/credentials");
    let home_text = home.path().to_str().unwrap();
    let all = [
        ("AWS_SKIP_SIGNATURE", "true"),
        KEYS[0],
        KEYS[1],
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"),
        ("AWS_ROLE_ARN", "arn"),
        ("AWS_PROFILE", "team"),
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2"),
        ("HOME", home_text),
    ];
    let from = |skipped: usize| options(&all[skipped..]).unwrap().credentials;
    let file = |profile: &str| CredentialSource::SharedFile {
        path: usual.clone(),
        profile: profile.to_owned(),
    };
    assert_eq!(from(0), CredentialSource::Anonymous);
    assert_eq!(from(1), CredentialSource::Environment);
    assert_eq!(
        from(3),
        CredentialSource::WebIdentity {
            token_file: "/token".into(),
            role: "arn".to_owned()
        }
    );
    assert_eq!(from(5), file("team"));
    assert_eq!(from(6), CredentialSource::Container);
    assert_eq!(from(7), CredentialSource::Instance);
    // A file that is there is used without being named, before the container's runtime is asked.
    std::fs::create_dir(home.path().join(".aws")).unwrap();
    std::fs::write(&usual, "").unwrap();
    assert_eq!(from(6), file("default"));
}

#[test]
fn a_named_file_is_used_although_it_is_not_there_so_that_its_absence_is_told() {
    let found = options(&[("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")]).unwrap();
    assert!(matches!(
        &found.credentials,
        CredentialSource::SharedFile { path, .. } if path.to_str() == Some("/nowhere")
    ));
}

#[test]
fn half_of_what_belongs_together_is_refused_with_the_other_half() {
    for (set, missing) in [
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
        ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
        ("AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"),
        ("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"),
        (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        ),
        (
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        ),
    ] {
        let refused = told(&[(set, "x")]);
        assert!(
            refused.contains(&format!("expected {missing} to be set with {set}")),
            "{refused}"
        );
    }
}

#[test]
fn an_empty_variable_is_one_that_is_not_set() {
    let found = options(&[("AWS_ACCESS_KEY_ID", ""), ("AWS_ENDPOINT", "")]).unwrap();
    assert_eq!(found.credentials, CredentialSource::Instance);
    assert_eq!(setting(&found, Key::Endpoint), None);
}

#[test]
fn an_endpoint_without_encryption_must_be_allowed() {
    let endpoint = ("AWS_ENDPOINT", "http://s3.example.com:8333/");
    let refused = told(&[endpoint]);
    assert!(refused.contains("AWS_ALLOW_HTTP=true"), "{refused}");
    let allowed = options(&[endpoint, ("AWS_ALLOW_HTTP", "true")]).unwrap();
    let expected = Some("http://s3.example.com:8333");
    assert_eq!(setting(&allowed, Key::Endpoint), expected);
    let odd = told(&[endpoint, ("AWS_ALLOW_HTTP", "maybe")]);
    assert!(odd.contains("true or false"), "{odd}");
}

#[test]
fn bodies_are_left_out_of_signatures_only_with_encryption_and_a_checksum() {
    let unsigned = ("AWS_UNSIGNED_PAYLOAD", "true");
    let plain = ("AWS_ENDPOINT", "http://s3.example.com");
    let allowed = ("AWS_ALLOW_HTTP", "true");
    let none = ("AWS_CHECKSUM_ALGORITHM", "none");
    let refused = told(&[unsigned, plain, allowed]);
    assert!(refused.contains("an endpoint with http://"), "{refused}");
    let refused = told(&[unsigned, none]);
    assert!(refused.contains("AWS_CHECKSUM_ALGORITHM=none"), "{refused}");
    for fine in [
        [
            unsigned,
            ("AWS_ENDPOINT", "https://s3.example.com"),
            KEYS[0],
            KEYS[1],
        ],
        [("AWS_UNSIGNED_PAYLOAD", "false"), plain, allowed, none],
    ] {
        let found = options(&fine).unwrap();
        assert!(setting(&found, Key::UnsignedPayload).is_some());
    }
}

#[test]
fn what_is_no_endpoint_is_refused() {
    for found in [
        "s3.example.com",
        "ftp://s3.example.com",
        "https://u@s3.example.com",
        "https://s3.example.com?x",
        "https://",
    ] {
        let refused = told(&[("AWS_ENDPOINT_URL", found)]);
        assert!(
            refused.starts_with("AWS_ENDPOINT_URL: expected an address"),
            "{refused}"
        );
    }
    for found in [
        "https://key:hunter2@s3.example.com",
        "https://key:of/hunter2@s3.example.com",
        "key:hunter2@s3.example.com",
    ] {
        let refused = told(&[("AWS_ENDPOINT_URL", found)]);
        assert!(!refused.contains("hunter2"), "{refused}");
        assert!(refused.contains("…@s3.example.com"), "{refused}");
    }
}

#[test]
fn in_the_virtual_hosted_style_the_bucket_is_in_the_host_once() {
    let with = |endpoint: &str| {
        let style = ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true");
        options(&[("AWS_ENDPOINT", endpoint), style])
    };
    for endpoint in [
        "https://s3.example.com:1",
        "https://sweeps.s3.example.com:1",
    ] {
        let found = with(endpoint).unwrap();
        let expected = Some("https://sweeps.s3.example.com:1");
        assert_eq!(setting(&found, Key::Endpoint), expected);
    }
    for endpoint in ["https://10.0.0.1", "https://[fd00::1]"] {
        let refused = with(endpoint).unwrap_err();
        assert!(
            matches!(refused, OptionsError::NoHostName { .. }),
            "{refused}"
        );
    }
}

#[test]
fn the_endpoint_of_the_service_goes_before_that_of_all_services() {
    let found = options(&[
        ("AWS_ENDPOINT_URL", "https://all.example.com"),
        ("AWS_ENDPOINT_URL_S3", "https://s3.example.com"),
    ]);
    let expected = Some("https://s3.example.com");
    assert_eq!(setting(&found.unwrap(), Key::Endpoint), expected);
}

#[test]
fn what_is_said_of_encryption_goes_together() {
    let kind = |kind| ("AWS_SERVER_SIDE_ENCRYPTION", kind);
    let key = ("AWS_SSE_KMS_KEY_ID", "arn:aws:kms:1");
    let bucket_key = ("AWS_SSE_BUCKET_KEY_ENABLED", "true");
    let customer = ("AWS_SSE_CUSTOMER_KEY_BASE64", "aaaa");
    for good in [
        vec![kind("AES256")],
        vec![kind("aws:kms")],
        vec![kind("aws:kms"), key, bucket_key],
        vec![kind("aws:kms:dsse"), key],
        vec![kind("sse-c"), customer],
    ] {
        assert!(options(&good).is_ok(), "{good:?}");
    }
    for bad in [
        vec![kind("aes256")],
        vec![key],
        vec![kind("AES256"), key],
        vec![kind("AES256"), bucket_key],
        vec![kind("sse-c")],
        vec![customer],
        vec![kind("aws:kms"), customer],
    ] {
        let refused = told(&bad);
        assert!(refused.contains("AWS_S"), "{refused}");
        assert!(!refused.contains("aaaa"), "the key itself: {refused}");
    }
}

#[test]
fn objects_have_a_checksum_unless_somebody_wants_none() {
    let with = |value| options(&[("AWS_CHECKSUM_ALGORITHM", value)]);
    let plain = options(&[]).unwrap();
    assert_eq!(setting(&plain, Key::Checksum), Some("sha256"));
    let crc = with("CRC64NVME").unwrap();
    assert_eq!(setting(&crc, Key::Checksum), Some("crc64nvme"));
    assert_eq!(setting(&with("none").unwrap(), Key::Checksum), None);
    assert!(with("md5").is_err());
}

#[test]
fn what_would_undo_the_promises_is_refused() {
    let refused = told(&[("AWS_CONDITIONAL_PUT", "disabled")]);
    assert!(refused.contains("two coordinators"), "{refused}");
    assert!(options(&[("AWS_CONDITIONAL_PUT", "etag")]).is_ok());
}

#[test]
fn the_bucket_is_the_urls_and_secrets_are_in_no_debug_text() {
    let found = options(&[KEYS[0], KEYS[1], ("AWS_BUCKET", "other")]).unwrap();
    assert_eq!(setting(&found, Key::Bucket), None);
    let variables: Variables = KEYS.into_iter().collect();
    let text = format!("{found:?} {variables:?}");
    assert!(!text.contains("secret\""), "{text}");
}
