//! Who gets a connection: certificates over real sockets, and how long those may take that say nothing.

use std::time::Duration;

use autorep_coordinator::Config;
use autorep_proto::status::Refusal;
use autorep_proto::v1;
use autorep_proto::v1::lab_client::LabClient;
use autorep_transport::Credentials;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;

use crate::guarded::{
    ALICE, Authority, FOR_LONG, Guarded, Log, Pair, code, files, submit, tokens, trusting,
    with_token,
};
use crate::lab::{Lab, manifest, until, within};

#[tokio::test]
async fn a_certificate_lets_in_whoever_trusts_its_authority_and_nobody_else() {
    let (authority, another) = (Authority::new(), Authority::new());
    let pair = authority.sign("server", "127.0.0.1", FOR_LONG);
    let guarded = Guarded::start(Some(files(&pair, None)), None).await;
    guarded.list("https", &trusting(&authority)).await.unwrap();

    let refused = guarded
        .list("https", &trusting(&another))
        .await
        .unwrap_err();
    assert!(
        refused.contains("signed by an authority that is trusted"),
        "{refused}"
    );
    let refused = guarded
        .list("https", &Credentials::default())
        .await
        .unwrap_err();
    assert!(
        refused.contains("signed by an authority that is trusted"),
        "{refused}"
    );
    let (channel, bearer) = (guarded.connect("http", &Credentials::default()).await).unwrap();
    let mut people = LabClient::with_interceptor(channel, bearer);
    let status = people.list(v1::ListRequest {}).await.unwrap_err();
    // TLS may be switched off again.
    let refused = Refusal::from(status);
    assert!(refused.is_transient(), "{refused:?}");
    let refused = refused.to_string();
    assert!(
        refused.contains("this port's address begins with https://"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_certificate_that_has_expired_or_is_anothers_is_told_by_name() {
    let authority = Authority::new();
    let expired = authority.sign("expired", "127.0.0.1", 2021);
    let guarded = Guarded::start(Some(files(&expired, None)), None).await;
    let refused = guarded
        .list("https", &trusting(&authority))
        .await
        .unwrap_err();
    assert!(refused.contains("to have expired; renew it"), "{refused}");

    let elsewhere = authority.sign("elsewhere", "elsewhere.example", FOR_LONG);
    let guarded = Guarded::start(Some(files(&elsewhere, None)), None).await;
    let refused = guarded
        .list("https", &trusting(&authority))
        .await
        .unwrap_err();
    let says = "expected a certificate for 127.0.0.1, found one for ";
    assert!(
        refused.contains(says) && refused.contains("elsewhere.example"),
        "{refused}"
    );
}

#[tokio::test]
async fn tls_where_there_is_none_is_told() {
    let authority = Authority::new();
    let guarded = Guarded::start(None, None).await;
    let refused = guarded
        .list("https", &trusting(&authority))
        .await
        .unwrap_err();
    assert!(
        refused.contains("without TLS the address begins with http://"),
        "{refused}"
    );
}

#[tokio::test]
async fn mutual_tls_wants_a_certificate_of_its_authority() {
    let (log, _kept) = Log::keep();
    let (authority, clients) = (Authority::new(), Authority::new());
    let pair = authority.sign("server", "127.0.0.1", FOR_LONG);
    let guarded = Guarded::start(Some(files(&pair, Some(clients.file()))), None).await;
    let showing = |pair: Pair| Credentials {
        identity: Some((pair.certificate, pair.key)),
        ..trusting(&authority)
    };
    let mine = showing(clients.sign("mine", "worker", FOR_LONG));
    guarded.list("https", &mine).await.unwrap();
    // There are no tokens.
    assert_eq!(log.lines(&["WARN", "may do everything"]).len(), 1);

    let nothing = trusting(&authority);
    let stranger = showing(authority.sign("stranger", "worker", FOR_LONG));
    let expired = showing(clients.sign("expired", "worker", 2021));
    // Whatever comes first, what is written or the other side's alert.
    for _ in 0..20 {
        for (credentials, says) in [
            (&nothing, "a client certificate is wanted"),
            (&stranger, "found the certificate refused"),
            (&expired, "found the certificate refused"),
        ] {
            let refused = guarded.list("https", credentials).await.unwrap_err();
            assert!(refused.contains(says), "{refused}");
        }
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart() {
    let (old, new) = (Authority::new(), Authority::new());
    let pair = old.sign("server", "127.0.0.1", FOR_LONG);
    let guarded = Guarded::start(Some(files(&pair, None)), None).await;
    guarded.list("https", &trusting(&old)).await.unwrap();
    let renewed = new.sign("server", "127.0.0.1", FOR_LONG);
    // Between the two the certificate and the key do not belong together.
    std::fs::copy(&renewed.certificate, &pair.certificate).unwrap();
    std::fs::copy(&renewed.key, &pair.key).unwrap();
    until("the new certificate", || async {
        guarded.list("https", &trusting(&new)).await.ok()
    })
    .await;
    guarded.list("https", &trusting(&old)).await.unwrap_err();
}

#[tokio::test]
async fn whoever_connects_and_says_nothing_holds_nobody_up() {
    let authority = Authority::new();
    let pair = authority.sign("server", "127.0.0.1", FOR_LONG);
    let guarded = Guarded::start(Some(files(&pair, None)), None).await;
    let mut silent = vec![];
    for _ in 0..50 {
        silent.push(TcpStream::connect(&guarded.address).await.unwrap());
    }
    let credentials = trusting(&authority);
    let answer = guarded.list("https", &credentials);
    tokio::time::timeout(Duration::from_secs(5), answer)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_connection_ends_over_which_nothing_is_asked_that_may_be() {
    let folder = TempDir::new().unwrap();
    let config = Config {
        first_call_within: Duration::from_secs(2),
        ..Config::default()
    };
    let tokens = tokens(&folder, &[]);
    let guarded = Guarded::start_with(config, Lab::new(), None, Some(&tokens)).await;
    submit(&guarded, ALICE, manifest("hers")).await.unwrap();
    let watch = |sweep: &str| v1::WatchFrontRequest {
        sweep: sweep.to_owned(),
        follow: true,
    };
    let mut alice = guarded.people(&with_token(ALICE)).await;
    let fronts = alice.watch_front(watch("hers")).await.unwrap();
    let mut fronts = fronts.into_inner();
    fronts.message().await.unwrap().unwrap();

    let mut silent = TcpStream::connect(&guarded.address).await.unwrap();
    // One that speaks HTTP/2 and would go on answering pings.
    let mut polite = TcpStream::connect(&guarded.address).await.unwrap();
    let greeting = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    polite.write_all(greeting).await.unwrap();
    // Nor is it enough to be refused.
    let mut nobody = guarded.people(&with_token("token-of-nobody-0")).await;
    assert_eq!(
        code(nobody.list(v1::ListRequest {}).await),
        Code::Unauthenticated
    );
    for stream in [&mut silent, &mut polite] {
        let mut said = vec![];
        within("the end", stream.read_to_end(&mut said))
            .await
            .unwrap();
    }
    // Hers was there before those, and stays.
    let next = tokio::time::timeout(Duration::ZERO, fronts.message()).await;
    next.unwrap_err();
}

#[tokio::test]
async fn credentials_that_would_betray_themselves_are_refused() {
    let exposed = "http://192.0.2.1:7070".parse().unwrap();
    let refused = with_token(ALICE).channel(&exposed, |endpoint| endpoint);
    assert!(refused.unwrap_err().to_string().contains("--plain-token"));
    let meant = Credentials {
        plain_token: true,
        ..with_token(ALICE)
    };
    meant.channel(&exposed, |endpoint| endpoint).unwrap();

    let authority = Authority::new();
    let plain = "http://127.0.0.1:7070".parse().unwrap();
    let refused = trusting(&authority).channel(&plain, |endpoint| endpoint);
    assert!(refused.unwrap_err().to_string().contains("https://"));
    for address in ["127.0.0.1:7070", "ftp://host", "/path"] {
        let address = address.parse().unwrap();
        let refused = Credentials::default().channel(&address, |endpoint| endpoint);
        assert!(refused.is_err(), "{address}");
    }
}
