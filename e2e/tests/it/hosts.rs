//! Hosts with a network between them that can be cut: network namespaces around a bridge, and
//! packets that a host's own filter drops as they arrive.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::skip;

/// A bridge with hosts on it. All of it is deleted when this is dropped.
pub(crate) struct Lab {
    /// Begins every name: unique on this machine.
    prefix: String,
    hosts: Vec<String>,
}

/// One host: a network namespace of its own, with one address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Host {
    namespace: String,
    pub(crate) address: Ipv4Addr,
}

impl Lab {
    /// A network without hosts. `None`, and said, where this machine lets nobody make one.
    pub(crate) fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if let Err(why) = possible() {
            skip::say(&why);
            return None;
        }
        remove_leftovers();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // Names of interfaces have 15 characters at most.
        let prefix = format!("ar{:x}x{number}", std::process::id());
        let mut lab = Self {
            prefix,
            hosts: Vec::new(),
        };
        let switch = lab.namespace("sw");
        ip(&[
            "-n", &switch, "link", "add", "name", "bridge", "type", "bridge",
        ]);
        ip(&["-n", &switch, "link", "set", "dev", "bridge", "up"]);
        Some(lab)
    }

    fn namespace(&mut self, name: &str) -> String {
        let namespace = format!("{}{name}", self.prefix);
        ip(&["netns", "add", &namespace]);
        self.hosts.push(namespace.clone());
        namespace
    }

    /// Plugs in another host.
    pub(crate) fn host(&mut self) -> Host {
        let number = self.hosts.len();
        let (switch, namespace) = (
            format!("{}sw", self.prefix),
            self.namespace(&format!("h{number}")),
        );
        let port = format!("p{number}");
        let address = Ipv4Addr::new(10, 99, 0, u8::try_from(number).unwrap());
        ip(&[
            "-n", &switch, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns",
            &namespace,
        ]);
        ip(&[
            "-n", &switch, "link", "set", &port, "master", "bridge", "up",
        ]);
        ip(&[
            "-n",
            &namespace,
            "address",
            "add",
            &format!("{address}/24"),
            "dev",
            "eth0",
        ]);
        ip(&["-n", &namespace, "link", "set", "eth0", "up"]);
        ip(&["-n", &namespace, "link", "set", "lo", "up"]);
        let host = Host { namespace, address };
        host.nft("add table ip cut; add chain ip cut in { type filter hook input priority 0; }");
        host
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in self.hosts.drain(..) {
            // With a namespace go its interfaces and their other ends.
            quietly(Command::new("ip").args(["netns", "delete", &namespace]));
        }
    }
}

impl Host {
    /// Drops whatever comes from another host from now on.
    pub(crate) fn hear_nothing_from(&self, other: &Self) {
        self.nft(&format!(
            "add rule ip cut in ip saddr {} drop",
            other.address
        ));
    }

    /// Hears everybody again.
    pub(crate) fn hear_all(&self) {
        self.nft("flush chain ip cut in");
    }

    /// What a program's command line becomes when it runs here.
    pub(crate) fn prefix(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.namespace]
            .map(str::to_owned)
            .to_vec()
    }

    fn nft(&self, rules: &str) {
        run(Command::new("ip").args(["netns", "exec", &self.namespace, "nft", rules]));
    }
}

/// Neither hears the other from now on.
pub(crate) fn cut(one: &Host, other: &Host) {
    one.hear_nothing_from(other);
    other.hear_nothing_from(one);
}

/// Removes what a test left that was killed: namespaces named after a process that is gone.
fn remove_leftovers() {
    let list = Command::new("ip").args(["netns", "list"]).output().unwrap();
    for line in String::from_utf8_lossy(&list.stdout).lines() {
        let name = line.split(' ').next().unwrap_or_default();
        let process = name
            .strip_prefix("ar")
            .and_then(|rest| rest.split_once('x'));
        let process = process.and_then(|(pid, _)| u32::from_str_radix(pid, 16).ok());
        if process.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            quietly(Command::new("ip").args(["netns", "delete", name]));
        }
    }
}

/// Whether this machine allows it, or why not.
fn possible() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("no root, who alone may make network namespaces".to_owned());
    }
    for (program, package) in [("ip", "iproute2"), ("nft", "nftables")] {
        let found = Command::new(program)
            .arg("-V")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if found.is_err() {
            return Err(format!("no `{program}`: `apt-get install {package}`"));
        }
    }
    let name = format!("ar{:x}try", std::process::id());
    let made = quietly(Command::new("ip").args(["netns", "add", &name]));
    let table = ["netns", "exec", &name, "nft", "add table ip cut"];
    let filters = made && quietly(Command::new("ip").args(table));
    if made {
        quietly(Command::new("ip").args(["netns", "delete", &name]));
    }
    match (made, filters) {
        (false, _) => Err("`ip netns add` is not allowed here".to_owned()),
        (true, false) => Err("`nft` is not allowed in a network namespace here".to_owned()),
        (true, true) => Ok(()),
    }
}

fn ip(arguments: &[&str]) {
    run(Command::new("ip").args(arguments));
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

fn quietly(command: &mut Command) -> bool {
    let ended = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    ended.is_ok_and(|status| status.success())
}
