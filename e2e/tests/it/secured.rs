//! The daemons with certificates and tokens, and people who keep them in contexts.

use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::daemons::end_well;
use crate::kill::tiny;
use crate::sandbox::{Running, Sandbox, finish, program};

/// An authority, and a certificate for 127.0.0.1 that it has signed, as files of the sandbox.
fn certificates(sandbox: &Sandbox) {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    sandbox.write("ca.crt", &authority.pem());
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    sandbox.write("tls.crt", &certificate.pem());
    sandbox.write("tls.key", &key.serialize_pem());
}

/// Makes a token for each and writes the coordinator's list of them.
fn tokens(sandbox: &Sandbox, wanted: &[(&str, &[&str])]) {
    let mut entries = String::new();
    for (name, role) in wanted {
        let out = format!("{name}.token");
        let mut new = sandbox.autorep();
        new.args(["token", "new", "--name", name, "--out", &out, "--role"]);
        entries += &finish(new.args(*role)).expect_code(0).stdout;
    }
    sandbox.write("tokens.yaml", &entries);
}

/// A coordinator under TLS that asks for tokens, with its address.
fn coordinator(sandbox: &Sandbox, listen: &str) -> (Running, String) {
    let mut command = sandbox.autorep();
    command.args(["coordinator", "--store", "store", "--listen", listen]);
    command.args(["--tls-cert", "tls.crt", "--tls-key", "tls.key"]);
    command.args(["--tokens", "tokens.yaml"]);
    let mut coordinator = Running::start(&mut command);
    let line = coordinator.wait_for_line(&["coordinator starts"]);
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let (_, port) = line["listen"].as_str().unwrap().rsplit_once(':').unwrap();
    let url = format!("https://127.0.0.1:{port}");
    coordinator.wait_for_line(&["coordinator ready"]);
    (coordinator, url)
}

fn worker(sandbox: &Sandbox, url: &str, token: &str) -> Command {
    let mut worker = sandbox.autorep();
    worker.args(["worker", "--store", "store", "--coordinator", url]);
    worker.args(["--ca", "ca.crt", "--token-file", token, "--trainer"]);
    worker.arg(program("autorep-trainer-double"));
    worker
}

#[test]
fn a_sweep_runs_under_tls_for_whoever_has_a_token_for_it() {
    let sandbox = Sandbox::new();
    sandbox.write("sweep.yaml", &tiny());
    sandbox.write("data/fashion-mnist/script", "work 6 2 4096 3\n");
    certificates(&sandbox);
    let alice = ["submitter", "--owner", "alice"];
    tokens(
        &sandbox,
        &[
            ("workers", &["worker"]),
            ("alice", &alice),
            ("guest", &["viewer"]),
        ],
    );
    // An address that others reach is fine under TLS and with tokens.
    let (coordinator, url) = coordinator(&sandbox, "0.0.0.0:0");
    let autorep = |arguments: &[&str]| finish(sandbox.autorep().args(arguments));

    let nobody = autorep(&["context", "set", "lab"]).expect_code(1);
    assert!(
        nobody.stderr.contains("--coordinator URL"),
        "{}",
        nobody.stderr
    );
    let lab = [
        "context",
        "set",
        "lab",
        "--coordinator",
        &url,
        "--ca",
        "ca.crt",
    ];
    let slip = autorep(&[&lab[..], &["--token-file", "alcie.token"]].concat()).expect_code(0);
    assert_eq!(slip.stderr, "note: there is no file alcie.token yet\n");
    let right = autorep(&[&lab[..], &["--token-file", "alice.token"]].concat()).expect_code(0);
    assert_eq!(right.stderr, "");
    let listed = autorep(&["context", "list"]).expect_code(0);
    assert!(
        listed.stdout.contains(&format!("*  lab      {url}")),
        "{}",
        listed.stdout
    );

    autorep(&["submit", "sweep.yaml"]).expect_code(0);
    let refused = finish(&mut worker(&sandbox, &url, "alice.token")).expect_code(1);
    assert!(
        refused.stderr.contains("is for a submitter"),
        "{}",
        refused.stderr
    );
    let worker = Running::start(&mut worker(&sandbox, &url, "workers.token"));
    autorep(&["watch", "tiny"]).expect_code(0);
    let listed = autorep(&["list"]).expect_code(0);
    assert!(listed.stdout.contains("alice"), "{}", listed.stdout);

    // What is given goes before what the context says.
    autorep(&["show", "tiny", "--token-file", "guest.token"]).expect_code(0);
    let refused = autorep(&["cancel", "tiny", "--token-file", "guest.token"]).expect_code(1);
    assert!(
        refused.stderr.contains("is for a viewer"),
        "{}",
        refused.stderr
    );
    let refused = autorep(&["list", "--coordinator", &url, "--ca", "ca.crt"]).expect_code(1);
    assert!(
        refused.stderr.contains("found none: name a file"),
        "{}",
        refused.stderr
    );
    let refused = autorep(&["list", "--coordinator", &url]).expect_code(1);
    assert!(refused.stderr.contains("with --ca"), "{}", refused.stderr);

    end_well([worker, coordinator]);
}

#[test]
fn a_token_in_a_variable_is_sent_to_no_coordinator_that_a_named_context_means() {
    let sandbox = Sandbox::new();
    sandbox.write("sweep.yaml", &tiny());
    certificates(&sandbox);
    let alice = ["submitter", "--owner", "alice"];
    tokens(&sandbox, &[("alice", &alice), ("guest", &["viewer"])]);
    let (coordinator, url) = coordinator(&sandbox, "127.0.0.1:0");
    let as_guest = |arguments: &[&str]| {
        let mut command = sandbox.autorep();
        command.env("AUTOREP_TOKEN_FILE", sandbox.path("guest.token"));
        command.args(arguments);
        command
    };
    let set = ["context", "set", "lab", "--coordinator", &url];
    let credentials = ["--ca", "ca.crt", "--token-file", "alice.token"];
    finish(sandbox.autorep().args(set).args(credentials)).expect_code(0);
    // Only what was on the command line is kept.
    finish(&mut as_guest(&["context", "set", "lab"])).expect_code(0);
    finish(sandbox.autorep().args(["submit", "sweep.yaml"])).expect_code(0);

    let by_argument = ["submit", "sweep.yaml", "--context", "lab"];
    finish(&mut as_guest(&by_argument)).expect_code(0);
    let mut by_variable = as_guest(&["submit", "sweep.yaml"]);
    finish(by_variable.env("AUTOREP_CONTEXT", "lab")).expect_code(0);
    for others in [
        as_guest(&["submit", "sweep.yaml"]),
        as_guest(&[&["submit", "sweep.yaml"], &set[3..], &credentials[..2]].concat()),
    ] {
        let mut others = others;
        let refused = finish(&mut others).expect_code(1);
        assert!(
            refused.stderr.contains("is for a viewer"),
            "{}",
            refused.stderr
        );
    }
    end_well([coordinator]);
}

#[test]
fn a_workers_token_is_changed_while_it_works() {
    let sandbox = Sandbox::new();
    sandbox.write("sweep.yaml", &tiny());
    sandbox.write("data/fashion-mnist/script", "work 6 2 4096 3\n");
    certificates(&sandbox);
    tokens(&sandbox, &[("old", &["worker"]), ("admin", &["admin"])]);
    let (coordinator, url) = coordinator(&sandbox, "127.0.0.1:0");
    std::fs::copy(sandbox.path("old.token"), sandbox.path("token")).unwrap();
    let mut worker = Running::start(&mut worker(&sandbox, &url, "token"));
    worker.wait_for_line(&["registered"]);

    // For a while nobody knows the worker: it goes on asking.
    let admin = std::fs::read_to_string(sandbox.path("tokens.yaml")).unwrap();
    let admin = admin.lines().find(|line| line.contains("admin")).unwrap();
    sandbox.write("tokens.yaml", &format!("{admin}\n"));
    worker.wait_for_line(&["a token that is in force, found another"]);
    let mut new = sandbox.autorep();
    new.args([
        "token",
        "new",
        "--name",
        "new",
        "--role",
        "worker",
        "--out",
        "new.token",
    ]);
    let entry = finish(&mut new).expect_code(0).stdout;
    sandbox.write("tokens.yaml", &format!("{admin}\n{entry}"));
    std::fs::copy(sandbox.path("new.token"), sandbox.path("token")).unwrap();

    let autorep = |arguments: &[&str]| {
        let mut command = sandbox.autorep();
        command
            .args(arguments)
            .args(["--coordinator", &url, "--ca", "ca.crt"]);
        finish(command.args(["--token-file", "admin.token"])).expect_code(0)
    };
    autorep(&["submit", "sweep.yaml"]);
    autorep(&["watch", "tiny"]);
    end_well([worker, coordinator]);
}
