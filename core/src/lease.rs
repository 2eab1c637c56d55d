//! Leases as workers know them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{Generation, TaskId};

/// A worker's claim to hold a lease: just data that it repeats with every call. Only the ledger
/// turns a claim into the right to change something.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct LeaseClaim {
    /// The leased task.
    pub task: TaskId,
    /// The lease's fencing number.
    pub generation: Generation,
}

/// One worker's part of a lease. A task for several workers is leased to all of them under one claim:
/// to node 0, the leader, who alone commits and finishes, and to the members.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LeasePart {
    /// The lease.
    pub claim: LeaseClaim,
    /// The worker's place among the lease's: 0 for the leader, or the only one.
    pub node: u32,
}

impl LeasePart {
    /// Whether it is the part of the worker that commits and finishes.
    pub const fn is_leaders(self) -> bool {
        self.node == 0
    }
}

impl From<LeaseClaim> for LeasePart {
    /// The leader's.
    fn from(claim: LeaseClaim) -> Self {
        Self { claim, node: 0 }
    }
}

impl fmt::Display for LeasePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.claim, f)?;
        if self.is_leaders() {
            return Ok(());
        }
        write!(f, " node {}", self.node)
    }
}

/// Where the workers of a group meet: the address of the leader's worker, as the others reach it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rendezvous {
    host: String,
    port: u16,
}

/// An address is none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "expected a host and a port, as in worker-3.cluster:29400, 10.0.0.7:29400 or [fd00::7]:29400, found {found:?}"
)]
pub struct BadRendezvous {
    /// What was given, cut short.
    pub found: String,
}

impl Rendezvous {
    /// The address of a host and a port on it.
    pub fn new(host: &str, port: u16) -> Result<Self, BadRendezvous> {
        if is_host(host) && port > 0 {
            let host = host.to_owned();
            return Ok(Self { host, port });
        }
        let found = format!("{host}:{port}").chars().take(80).collect();
        Err(BadRendezvous { found })
    }

    /// A name or a number; a number of IPv6 in its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port on it.
    pub const fn port(&self) -> u16 {
        self.port
    }
}

/// Whether others may be told to meet at this host: a name or a number, IPv6 in brackets.
pub fn is_host(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if let Some(number) = text.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
        return number.parse::<core::net::Ipv6Addr>().is_ok();
    }
    (1..=253).contains(&text.len()) && text.bytes().all(plain)
}

impl FromStr for Rendezvous {
    type Err = BadRendezvous;

    fn from_str(text: &str) -> Result<Self, BadRendezvous> {
        let parts = text.rsplit_once(':');
        let parts = parts.and_then(|(host, port)| Some((host, port.parse().ok()?)));
        match parts {
            Some((host, port)) => Self::new(host, port),
            None => Err(BadRendezvous {
                found: text.chars().take(80).collect(),
            }),
        }
    }
}

impl fmt::Display for Rendezvous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Display for LeaseClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "task {} generation {}",
            self.task.short(),
            self.generation
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port_and_reads_as_it_is_written() {
        for good in ["worker-3.cluster:29400", "10.0.0.7:1", "[fd00::7]:65535"] {
            let read: Rendezvous = good.parse().unwrap();
            assert_eq!(read.to_string(), good);
        }
        let long = format!("{}:1", "h".repeat(254));
        for bad in [
            "",
            "host",
            ":1",
            "host:",
            "host:0",
            "host:65536",
            "a b:1",
            "fd00::7:1",
            "[x]:1",
            &long,
        ] {
            assert!(bad.parse::<Rendezvous>().is_err(), "{bad:?}");
        }
    }
}
