//! Every way in which a bucket may be reached: the same promises, and errors that say what to do.

use std::collections::BTreeMap;
use std::path::Path as FilePath;
use std::process::Command;
use std::sync::Arc;

use autorep_store::{ConnectError, Multipart, Variables, connect_with};
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt as _};
use tokio::runtime::Runtime;

use crate::conform::conform;
use crate::daemons::coordinator_on;
use crate::moody::Moody;
use crate::sandbox::{Sandbox, finish};
use crate::skip;
use crate::sts::Sts;
use crate::weed::{KEY, SECRET, Weed};

type Pairs = Vec<(String, String)>;

/// These variables, of which `more` replace those of the same name; an empty value takes one away.
fn with(variables: Pairs, more: &[(&str, &str)]) -> Pairs {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let all = variables.into_iter().chain(more.iter().map(owned));
    all.collect::<BTreeMap<_, _>>().into_iter().collect()
}

fn store(url: &str, variables: &Pairs) -> Result<Arc<dyn ObjectStore>, ConnectError> {
    let variables: Variables = variables.iter().cloned().collect();
    connect_with(url, &variables, Multipart::CreatesOnly)
}

/// The credentials file of a profile.
fn profile(path: &FilePath, key: &str, secret: &str) {
    let text = format!("[team]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n");
    let next = path.with_extension("next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(next, path).unwrap();
}

/// Without keys of the environment, the profile `team` of this file.
fn by_file(weed: &Weed, path: &FilePath) -> Pairs {
    let file = path.to_str().unwrap();
    let more = [
        ("AWS_ACCESS_KEY_ID", ""),
        ("AWS_SECRET_ACCESS_KEY", ""),
        ("AWS_SHARED_CREDENTIALS_FILE", file),
        ("AWS_PROFILE", "team"),
    ];
    with(weed.variables(), &more)
}

/// Without keys of the environment, those that a service gives for a token.
fn by_identity(weed: &Weed, sts: &Sts) -> Pairs {
    let none = [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")];
    let mut variables = with(weed.variables(), &none);
    variables.extend(sts.variables());
    variables
}

/// In the virtual-hosted style by way of a proxy, which needs no name server.
fn by_host(weed: &Weed, proxy: &Moody) -> Pairs {
    let more = [
        ("AWS_ENDPOINT", "http://s3.test"),
        ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true"),
        ("AWS_PROXY_URL", &proxy.endpoint()),
    ];
    with(weed.variables(), &more)
}

#[test]
fn a_bucket_keeps_its_promises_in_every_way_of_reaching_it() {
    let Some(weed) = Weed::start() else { return };
    let sandbox = Sandbox::new();
    let file = sandbox.path("credentials");
    profile(&file, KEY, SECRET);
    let sts = Sts::start("token-1", (KEY, SECRET));
    let proxy = Moody::before(weed.address(), u64::MAX);
    let sse = [("AWS_SERVER_SIDE_ENCRYPTION", "AES256")];
    let crc = [("AWS_CHECKSUM_ALGORITHM", "crc64nvme")];
    let none = [("AWS_CHECKSUM_ALGORITHM", "none")];
    let ways = [
        ("s3://whole", weed.variables()),
        ("s3://sweeps/a/b=c", weed.variables()),
        ("s3://sweeps/host", by_host(&weed, &proxy)),
        ("s3://sweeps/file", by_file(&weed, &file)),
        ("s3://sweeps/identity", by_identity(&weed, &sts)),
        ("s3://sweeps/sse", with(weed.variables(), &sse)),
        ("s3://sweeps/crc", with(weed.variables(), &crc)),
        ("s3://sweeps/none", with(weed.variables(), &none)),
    ];
    let runtime = Runtime::new().unwrap();
    for (url, variables) in ways {
        eprintln!("{url}");
        let store = store(url, &variables).unwrap();
        runtime.block_on(conform(&store));
    }
    let (through_proxy, _) = proxy.requests();
    assert!(through_proxy > 50, "{through_proxy}");
    assert_eq!(sts.asked(), (1, 0), "keys that last are kept");
    for bucket in ["whole", "sweeps"] {
        let left = runtime.block_on(weed.unfinished_uploads(bucket));
        assert_eq!(left, 0, "uploads that never ended in {bucket}");
    }
}

#[test]
fn installations_in_one_bucket_do_not_see_each_other() {
    let Some(weed) = Weed::start() else { return };
    let at = |prefix: &str| store(&format!("s3://sweeps/{prefix}"), &weed.variables()).unwrap();
    let (one, longer) = (at("team"), at("team2"));
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        for name in ["x", "../team2/y", "/z", "a/../../team2/y", "%2e%2e/team2/y"] {
            let key = Path::from(name);
            one.put(&key, "ours".into()).await.unwrap();
            let got = one.get(&key).await.unwrap().bytes().await.unwrap();
            assert_eq!(got, "ours", "{name}");
        }
        assert_eq!(futures::StreamExt::count(longer.list(None)).await, 0);
        longer.put(&Path::from("y"), "theirs".into()).await.unwrap();
        let seen = futures::StreamExt::count(one.list(None)).await;
        assert_eq!(seen, 5);
    });
}

#[test]
fn keys_and_tokens_that_are_rotated_are_used_without_a_new_start() {
    let Some(weed) = Weed::start() else { return };
    let sandbox = Sandbox::new();
    let file = sandbox.path("credentials");
    profile(&file, "reader", SECRET);
    let by_file = store("s3://sweeps/file", &by_file(&weed, &file)).unwrap();
    let sts = Sts::start("token-1", (KEY, SECRET));
    sts.give_short_lived();
    let by_identity = store("s3://sweeps/identity", &by_identity(&weed, &sts)).unwrap();
    let runtime = Runtime::new().unwrap();
    let put = async |store: &Arc<dyn ObjectStore>| store.put(&Path::from("k"), "x".into()).await;
    runtime.block_on(async {
        let refused = put(&by_file).await.unwrap_err();
        assert!(
            matches!(refused, Error::PermissionDenied { .. }),
            "{refused:?}"
        );
        profile(&file, KEY, SECRET);
        put(&by_file).await.unwrap();

        put(&by_identity).await.unwrap();
        sts.expect("token-2");
        // The keys from before are good for a moment: a client does not ask twice in a row.
        let refused = loop {
            match put(&by_identity).await {
                Ok(_) => tokio::task::yield_now().await,
                Err(refused) => break refused.to_string(),
            }
        };
        assert!(refused.contains("InvalidIdentityToken"), "{refused}");
        assert!(refused.contains("let the role trust"), "{refused}");
        sts.write_token("token-2");
        put(&by_identity).await.unwrap();
    });
    let (given, refused) = sts.asked();
    assert!(given >= 2 && refused >= 1, "{given} {refused}");
}

#[test]
fn a_newer_coordinator_fences_the_older_also_behind_a_proxy_and_by_file() {
    let Some(weed) = Weed::start() else { return };
    let sandbox = Sandbox::new();
    let file = sandbox.path("credentials");
    profile(&file, KEY, SECRET);
    let proxy = Moody::before(weed.address(), u64::MAX);
    let mut variables = by_file(&weed, &file);
    variables.extend(by_host(&weed, &proxy).into_iter().filter(|(name, _)| {
        !name.contains("ACCESS_KEY") // those of the file
    }));
    let start = || {
        let mut command = sandbox.autorep();
        command.envs(variables.clone());
        coordinator_on(&mut command, "s3://sweeps/team")
    };
    let (older, _) = start();
    let (newer, url) = start();
    let (status, said) = older.wait();
    assert_eq!(status.code(), Some(1), "{said}");
    let mut list = sandbox.autorep();
    finish(list.arg("list").env("AUTOREP_COORDINATOR", &url)).expect_code(0);
    drop(newer);
}

/// What `autorep doctor` says of a bucket that it cannot use.
fn told(sandbox: &Sandbox, url: &str, variables: Pairs, wrap: impl FnOnce(&mut Command)) -> String {
    let mut doctor = sandbox.autorep();
    doctor.args(["doctor", "--store", url]);
    doctor.envs(variables).env("HOME", sandbox.path("home"));
    wrap(&mut doctor);
    finish(&mut doctor).expect_code(1).stdout
}

#[test]
fn what_is_wrong_with_a_bucket_is_told_with_what_to_do() {
    let Some(weed) = Weed::start() else { return };
    let sandbox = Sandbox::new();
    let url = "s3://sweeps/team";
    let asked = |more: &[(&str, &str)]| told(&sandbox, url, with(weed.variables(), more), |_| ());
    for (variables, expected) in [
        (
            vec![("AWS_ACCESS_KEY_ID", "nobody")],
            "it does not know those of AWS_ACCESS_KEY_ID",
        ),
        (
            vec![("AWS_SECRET_ACCESS_KEY", "wrong")],
            "the secret key that belongs to the access key",
        ),
        (
            vec![("AWS_SECRET_ACCESS_KEY", "")],
            "expected AWS_SECRET_ACCESS_KEY to be set",
        ),
        (vec![("AWS_ALLOW_HTTP", "")], "set AWS_ALLOW_HTTP=true"),
        (
            vec![("AWS_SSE_KMS_KEY_ID", "k")],
            "aws:kms or aws:kms:dsse beside AWS_SSE_KMS_KEY_ID",
        ),
        (
            vec![("AWS_ENDPOINT", "127.0.0.1")],
            "expected an address as in https://",
        ),
    ] {
        let said = asked(&variables);
        assert!(said.contains(expected), "{expected:?} is not in {said}");
        assert!(!said.contains("wrong"), "a secret: {said}");
    }
    // Whoever may only read finds no bucket; the server makes one for others that write.
    let nowhere = store("s3://nowhere", &weed.variables_of_reader()).unwrap();
    let runtime = Runtime::new().unwrap();
    let missing = runtime.block_on(nowhere.get(&Path::from("k")));
    let missing = missing.map(|_| ()).unwrap_err();
    assert!(matches!(missing, Error::Generic { .. }), "{missing:?}");
    let missing = missing.to_string();
    assert!(
        missing.contains("expected a bucket nowhere, found none"),
        "{missing}"
    );
    let outside = told(
        &sandbox,
        "s3://sweeps/team/../other",
        weed.variables(),
        |_| (),
    );
    assert!(outside.contains("expected a prefix of names"), "{outside}");
}

#[test]
fn a_clock_that_is_wrong_is_told_from_wrong_credentials() {
    let library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
    if !FilePath::new(library).exists() {
        skip::say(
            "no libfaketime, which gives a process another clock; `apt-get install faketime`",
        );
        return;
    }
    let Some(weed) = Weed::start() else { return };
    let sandbox = Sandbox::new();
    let said = told(&sandbox, "s3://sweeps/team", weed.variables(), |doctor| {
        doctor.env("LD_PRELOAD", library).env("FAKETIME", "+2h");
    });
    assert!(said.contains("this machine's clock"), "{said}");
    assert!(said.contains("set-ntp"), "{said}");
}
