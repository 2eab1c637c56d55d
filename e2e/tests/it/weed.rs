//! SeaweedFS as a process: an S3 server of which many writers may race to create one object. It
//! can be killed and started again on what it has kept.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use hyper::Method;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer as _};
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use tempfile::TempDir;

use crate::sandbox::PATIENCE;
use crate::skip;

/// Who may do everything.
pub(crate) const KEY: &str = "somebody";
/// The secret of all who are known.
pub(crate) const SECRET: &str = "something";

/// The version that `scripts/stage-seaweedfs.py` stages.
const VERSION: &str = "4.48";

/// The server's ports follow one another.
const PORTS: u16 = 10;

/// It serves its administration at a port so much above the other one's.
const ADMIN_ABOVE: u16 = 10_000;

/// The server. It is killed when this is dropped.
pub(crate) struct Weed {
    program: PathBuf,
    folder: TempDir,
    /// The first of [`PORTS`]; S3 has the one after it.
    port: u16,
    process: Option<Child>,
}

impl Weed {
    /// A server without buckets: one is made when the first object is put into it. `None`, and
    /// said, where there is no such program.
    pub(crate) fn start() -> Option<Self> {
        let Some(program) = program() else {
            skip::say(
                "no SeaweedFS; `python3 scripts/stage-seaweedfs.py` gets it, or set AUTOREP_WEED",
            );
            return None;
        };
        let folder = TempDir::new().unwrap();
        let identities = serde_json::json!({"identities": [
            {
                "name": KEY,
                "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
                "actions": ["Admin", "Read", "Write", "List", "Tagging"],
            },
            {
                "name": "reader",
                "credentials": [{"accessKey": "reader", "secretKey": SECRET}],
                "actions": ["Read", "List"],
            },
        ]});
        fs::write(folder.path().join("s3.json"), identities.to_string()).unwrap();
        let mut weed = Self {
            program,
            folder,
            port: unused_ports(),
            process: None,
        };
        weed.start_again();
        Some(weed)
    }

    /// Starts the server on what it has kept.
    pub(crate) fn start_again(&mut self) {
        assert!(self.process.is_none(), "it runs");
        self.require_room();
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let port = |number: u16| (self.port + number).to_string();
        let log = File::options()
            .append(true)
            .create(true)
            .open(path("log"))
            .unwrap();
        let mut command = Command::new(&self.program);
        command.arg("mini").arg(format!("-dir={}", path("data")));
        for (name, value) in [
            ("ip", "127.0.0.1".to_owned()),
            ("ip.bind", "127.0.0.1".to_owned()),
            ("s3.config", path("s3.json")),
            ("webdav", "false".to_owned()),
            ("admin.ui", "false".to_owned()),
            ("master.telemetry", "false".to_owned()),
            ("admin.port", port(0)),
            ("s3.port", port(1)),
            ("s3.port.grpc", port(2)),
            ("master.port", port(3)),
            ("master.port.grpc", port(4)),
            ("volume.port", port(5)),
            ("volume.port.grpc", port(6)),
            ("filer.port", port(7)),
            ("filer.port.grpc", port(8)),
            ("metricsPort", port(9)),
            ("s3.port.iceberg", "0".to_owned()),
            ("s3.port.lance", "0".to_owned()),
            // Hosts BUCKET.s3.test name a bucket, as in the virtual-hosted style.
            ("s3.domainName", "s3.test".to_owned()),
            ("filer.localSocket", path("filer.sock")),
            ("s3.localSocket", path("s3.sock")),
        ] {
            command.arg(format!("-{name}={value}"));
        }
        fs::create_dir_all(path("data")).unwrap();
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(command.spawn().unwrap());
        self.wait_until_ready();
    }

    /// With less than a hundredth of the disk free it takes no writes, and says nothing.
    fn require_room(&self) {
        let disk = rustix::fs::statvfs(self.folder.path()).unwrap();
        let share = disk.f_bavail as f64 / disk.f_blocks as f64;
        assert!(
            share > 0.015,
            "SeaweedFS needs a hundredth of the disk below {} free, found {:.1} %: make room",
            self.folder.path().display(),
            100.0 * share
        );
    }

    /// Waits until a client is answered.
    fn wait_until_ready(&mut self) {
        let since = Instant::now();
        let health = format!("{}/healthz", self.endpoint());
        while !answers(&health) {
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            let late = since.elapsed() > PATIENCE / 4;
            if ended.is_some() || late {
                let log = fs::read_to_string(self.folder.path().join("log")).unwrap();
                panic!("SeaweedFS does not serve ({ended:?}):\n{log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills the server as a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port + 1)
    }

    /// The variables by which a program uses the server as it would any other S3.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        variables(&self.endpoint(), KEY)
    }

    /// The same for somebody who may only read.
    pub(crate) fn variables_of_reader(&self) -> Vec<(String, String)> {
        variables(&self.endpoint(), "reader")
    }

    /// The address of S3.
    pub(crate) fn address(&self) -> (Ipv4Addr, u16) {
        (Ipv4Addr::LOCALHOST, self.port + 1)
    }

    /// A bucket as a library sees it.
    pub(crate) fn bucket(&self, name: &str) -> Arc<AmazonS3> {
        let store = AmazonS3Builder::new()
            .with_endpoint(self.endpoint())
            .with_allow_http(true)
            .with_region("us-east-1")
            .with_access_key_id(KEY)
            .with_secret_access_key(SECRET)
            .with_bucket_name(name)
            .build();
        Arc::new(store.unwrap())
    }

    /// Uploads in pieces of a bucket that have neither ended nor been given up.
    pub(crate) async fn unfinished_uploads(&self, bucket: &str) -> usize {
        let query = SignedUrlOptions::default().with_query([("uploads", "")]);
        let (bucket, root, minute) = (self.bucket(bucket), Path::ROOT, Duration::from_mins(1));
        let url = bucket.signed_url_opts(Method::GET, &root, minute, &query);
        let answer = page(url.await.unwrap().as_str()).unwrap();
        assert!(answer.contains("ListMultipartUploadsResult"), "{answer}");
        answer.matches("<Upload>").count()
    }

    /// Copies what lies below a prefix into a folder.
    pub(crate) async fn copy(&self, bucket: &str, prefix: &str, into: &std::path::Path) {
        let bucket = self.bucket(bucket);
        let prefix = Path::from(prefix);
        let found: Vec<_> = bucket.list(Some(&prefix)).try_collect().await.unwrap();
        for object in found {
            let content = bucket
                .get(&object.location)
                .await
                .unwrap()
                .bytes()
                .await
                .unwrap();
            let path = into.join(object.location.as_ref());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }
}

impl Drop for Weed {
    fn drop(&mut self) {
        self.kill();
    }
}

fn variables(endpoint: &str, key: &str) -> Vec<(String, String)> {
    [
        ("AWS_ENDPOINT", endpoint),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", key),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

/// The staged program, or the one that the machine's owner names.
fn program() -> Option<PathBuf> {
    let named = std::env::var_os("AUTOREP_WEED").map(PathBuf::from);
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let staged = cache.map(|it| it.join(format!("autorep/seaweedfs-{VERSION}/weed")));
    named.or(staged).filter(|it| it.is_file())
}

/// The first of [`PORTS`] ports that nobody uses, below those that the kernel gives to clients.
fn unused_ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let blocks = 8000 / PORTS;
    // Processes that test at the same time begin at different places.
    let first = u16::try_from(std::process::id() % u32::from(blocks)).unwrap();
    for _ in 0..blocks {
        let block = (first + NEXT.fetch_add(1, Ordering::Relaxed)) % blocks;
        let port = 12_000 + block * PORTS;
        let mut needed = (port..port + PORTS).chain([port + ADMIN_ABOVE]);
        if needed.all(|it| TcpListener::bind((Ipv4Addr::LOCALHOST, it)).is_ok()) {
            return port;
        }
    }
    panic!("no {PORTS} ports in a row are free");
}

/// Whether a page answers with 200.
fn answers(url: &str) -> bool {
    page(url).is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// What a server answers to a GET; `None` if it does not.
fn page(url: &str) -> Option<String> {
    use std::io::{Read as _, Write as _};
    let address = url.trim_start_matches("http://");
    let (address, path) = address.split_at(address.find('/').unwrap());
    let mut socket = std::net::TcpStream::connect(address).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    let limit = Some(Duration::from_secs(2));
    socket.set_read_timeout(limit).unwrap();
    socket.write_all(request.as_bytes()).ok()?;
    socket.read_to_string(&mut answer).ok()?;
    Some(answer)
}
