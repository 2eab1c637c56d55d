//! `autorep coordinator` and `autorep worker`: the daemons.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use autorep_coordinator::{Door, measure as coordinator_metrics, standby};
use autorep_core::ledger::{Quota, Quotas};
use autorep_core::offer::Offer;
use autorep_measure::{Health, MeasuredStore};
use autorep_transport::{LiveTokens, ServerTls, ServerTlsFiles};
use autorep_worker::config::{UNREGISTERED, default_name};
use autorep_worker::machine;
use autorep_worker::measure::{self as worker_metrics, Gpus};
use object_store::ObjectStore;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::args::{CoordinatorArgs, WorkerArgs};
use crate::descriptors;
use crate::exit::Exit;
use crate::lock::StoreLock;
use crate::signal::StopSignals;
use crate::store::{self, Location};
use crate::telemetry::Telemetry;
use crate::trainer_probe::{LIMIT, probe};

/// Serves until a signal asks to stop.
pub async fn coordinator(args: &CoordinatorArgs) -> Result<Exit> {
    let (tls, tokens) = security(args)?;
    let mut signals = StopSignals::listen().context("take over the stop signals")?;
    let health = Health::default();
    let _telemetry = Telemetry::start(
        &args.metrics,
        coordinator_metrics::TABLE,
        health.clone(),
        coordinator_metrics::prepare,
        || {},
    )
    .await?;
    let store = measured(store::open_store(&args.store)?);
    let _lock = tokio::select! {
        lock = turn(args, &*store, &health) => lock?,
        () = signals.next() => return Ok(Exit::Done),
    };
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("listen on {}", args.listen))?;
    tracing::info!(
        listen = %listener.local_addr()?,
        store = args.store,
        tls = tls.is_some(),
        tokens = tokens.as_ref().map_or(0, |tokens| tokens.get().len()),
        "coordinator starts"
    );
    let shutdown = CancellationToken::new();
    let door = Door {
        listener,
        tls,
        tokens,
    };
    let serving = autorep_coordinator::run(settings(args, &health), store, door, shutdown.clone());
    tokio::pin!(serving);
    loop {
        tokio::select! {
            ended = &mut serving => {
                ended.with_context(|| format!("serve with the store {}", args.store))?;
                return Ok(Exit::Done);
            }
            () = signals.next() => {
                if shutdown.is_cancelled() {
                    bail!("expected time to write what there is, found a second signal");
                }
                tracing::info!("coordinator stops");
                health.not_ready("it is stopping");
                shutdown.cancel();
            }
        }
    }
}

/// How connections are encrypted and who may call; refused where others could reach what nothing
/// protects.
fn security(args: &CoordinatorArgs) -> Result<(Option<ServerTls>, Option<LiveTokens>)> {
    let door = &args.door;
    let files = door.tls_cert.clone().zip(door.tls_key.clone());
    let files = files.map(|(certificate, key)| ServerTlsFiles {
        certificate,
        key,
        client_authorities: door.tls_client_ca.clone(),
    });
    let tls = files.map(ServerTls::open).transpose()?;
    let tokens = door.tokens.clone().map(LiveTokens::open).transpose()?;
    // A client certificate says who may connect. Without tokens each has every right.
    let missing = match (tls.is_some(), tokens.is_some()) {
        (true, true) => None,
        (false, true) => Some("nothing is encrypted (--tls-cert, --tls-key)"),
        (true, false) => Some("nobody is asked who they are (--tokens)"),
        (false, false) => Some(
            "nothing is encrypted (--tls-cert, --tls-key) and nobody is asked who they are (--tokens)",
        ),
    };
    match missing {
        Some(missing) if !args.listen.ip().is_loopback() && !args.insecure_listen => bail!(
            "expected an address that only this machine reaches, found {}: {missing}; listen on \
             127.0.0.1, or say --insecure-listen if only your own machines can reach the port",
            args.listen
        ),
        Some(_) | None => Ok((tls, tokens)),
    }
}

/// The same store, counted.
fn measured(store: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
    Arc::new(MeasuredStore::new(store))
}

/// Waits until this coordinator may serve from the store, if it stands by, and keeps others of this
/// machine from it.
async fn turn(
    args: &CoordinatorArgs,
    store: &dyn ObjectStore,
    health: &Health,
) -> Result<Option<StoreLock>> {
    if args.standby {
        health.not_ready("it stands by while another coordinator serves");
        standby::wait(store, standby::PATIENCE).await;
    }
    let folder = match Location::parse(&args.store)? {
        Location::Folder(folder) => folder,
        // A bucket has no locks: the state store fences the older of two coordinators.
        Location::Remote(_) => return Ok(None),
    };
    loop {
        match StoreLock::take(&folder) {
            Ok(lock) => return Ok(Some(lock)),
            // Its heart stands still and it lives: it may have been stopped for a while.
            Err(error) if args.standby => {
                tracing::warn!(%error, "standing by");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn settings(args: &CoordinatorArgs, health: &Health) -> autorep_coordinator::Config {
    let others = Quota {
        cap: args.owner_cap,
        ..Quota::default()
    };
    let defaults = autorep_coordinator::Config::default();
    autorep_coordinator::Config {
        lease_ttl: args.lease_ttl,
        renew_every: args.lease_ttl / 6,
        gather: args.gather,
        quotas: Quotas {
            others,
            owners: args.owners.iter().cloned().collect(),
        },
        gc_every: args.gc_every,
        gc_min_age: args.gc_min_age,
        health: health.clone(),
        max_connections: descriptors::for_connections(defaults.max_connections),
        ..defaults
    }
}

/// Works until a signal asks to stop, or until the parent's end if that was asked for.
pub async fn worker(args: &WorkerArgs) -> Result<Exit> {
    let mut signals = StopSignals::listen().context("take over the stop signals")?;
    let parent = args.exit_with_parent.then(parent_ends).transpose()?;
    let config = config(args)?;
    let health = config.health.clone();
    let gpus = Gpus::open(&config.device, config.ranks);
    let _telemetry = Telemetry::start(
        &args.metrics,
        worker_metrics::TABLE,
        health.clone(),
        worker_metrics::prepare,
        move || gpus.iter().for_each(Gpus::sample),
    )
    .await?;
    let store = measured(store::open_worker_store(&args.store)?);
    let shutdown = CancellationToken::new();
    let working = async {
        match shutdown.run_until_cancelled(require_device(&config)).await {
            Some(seen) => seen?,
            None => return Ok(()),
        }
        let worked = autorep_worker::run(config, store, shutdown.clone()).await;
        worked.map(drop).context("the worker cannot go on")
    };
    tokio::pin!(working);
    let parent = async {
        match parent {
            // The thread ends with its end of the channel at the latest.
            Some(ends) => drop(ends.await),
            None => std::future::pending().await,
        }
    };
    tokio::pin!(parent);
    loop {
        tokio::select! {
            ended = &mut working => {
                ended?;
                return Ok(Exit::Done);
            }
            () = signals.next() => {
                if shutdown.is_cancelled() {
                    bail!("expected time to store a checkpoint, found a second signal");
                }
                tracing::info!("worker stops");
                health.not_ready("it is stopping");
                shutdown.cancel();
            }
            // The coordinator was the parent: there is nobody to commit to. Dropping the work
            // ends the trainer.
            () = &mut parent => bail!("expected a living parent, found that it ended"),
        }
    }
}

/// Asks the trainer for the GPUs that the worker is to train on, before any task is taken that would
/// fail for want of them.
async fn require_device(config: &autorep_worker::Config) -> Result<()> {
    if config.device == "cpu" {
        return Ok(());
    }
    config.health.not_ready("it asks its trainer for GPUs");
    let seen = probe(&config.trainer, config.library_path.as_deref(), LIMIT).await;
    let seen = seen.with_context(|| format!("the trainer {}", config.trainer.display()))?;
    seen.require(&config.device, config.ranks)?;
    config.health.not_ready(UNREGISTERED);
    Ok(())
}

fn config(args: &WorkerArgs) -> Result<autorep_worker::Config> {
    let url = &args.coordinator;
    let coordinator = url.parse().with_context(|| {
        format!("expected a coordinator's address like https://HOST:7070, found {url:?}")
    })?;
    let scratch = args.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let defaults = autorep_worker::Config::new(
        coordinator,
        args.trainer.resolve()?,
        args.data.resolve()?,
        scratch,
    );
    let name = args.name.clone();
    Ok(autorep_worker::Config {
        credentials: args.credentials.resolve()?,
        name: name.unwrap_or_else(|| default_name(&args.device)),
        machine: args.machine.clone().unwrap_or_else(machine::host_name),
        offer: offer(args),
        device: args.device.clone(),
        ranks: args.ranks.map_or(1, u32::from),
        advertise: args.advertise.clone().unwrap_or(defaults.advertise),
        threads: u32::from(args.threads),
        grace: args.grace,
        library_path: args.trainer.torch_lib.clone(),
        data_cache_folder: Some(args.cache.folder()),
        data_cache_bytes: args.cache.data_cache,
        ..defaults
    })
}

/// What this worker has for sweeps that need something.
fn offer(args: &WorkerArgs) -> Offer {
    let found = machine::offer_of(&args.device, args.ranks.map(u32::from));
    Offer {
        gpus: args.offer_gpus.unwrap_or(found.gpus),
        gpu_type: args.gpu_type.clone().unwrap_or(found.gpu_type),
        labels: args.labels.iter().cloned().collect(),
        ..found
    }
}

/// Tells when standard input ends. A thread waits for it, because nothing else can.
fn parent_ends() -> Result<tokio::sync::oneshot::Receiver<()>> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("parent".to_owned())
        .spawn(move || {
            let mut buffer = [0; 64];
            let mut stdin = std::io::stdin().lock();
            while matches!(stdin.read(&mut buffer), Ok(read) if read > 0) {}
            // The receiver may be gone already.
            let _ = sender.send(());
        })
        .context("start the thread that watches the parent")?;
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use rcgen::{CertificateParams, KeyPair};

    use crate::args::{Cli, Command};

    #[test]
    fn certificates_of_clients_take_no_tokens_place_where_others_reach_the_port() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: String| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.into_os_string().into_string().unwrap()
        };
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let certificate = file("tls.crt", certificate);
        let key = file("tls.key", key.serialize_pem());
        let tokens = file("tokens.yaml", "[]".to_owned());
        let security = |listen: &str, more: &[&str]| {
            let arguments = [
                "autorep",
                "coordinator",
                "--store",
                "store",
                "--tls-cert",
                &certificate,
                "--tls-key",
                &key,
                "--tls-client-ca",
                &certificate,
                "--listen",
                listen,
            ];
            let cli = Cli::parse_from(arguments.iter().chain(more));
            let Command::Coordinator(args) = cli.command else {
                unreachable!("no other command was written")
            };
            super::security(&args).map(|_| ())
        };
        let refused = security("0.0.0.0:0", &[]).unwrap_err();
        assert!(refused.to_string().contains("--tokens"), "{refused}");
        security("0.0.0.0:0", &["--tokens", &tokens]).unwrap();
        security("0.0.0.0:0", &["--insecure-listen"]).unwrap();
        security("127.0.0.1:0", &[]).unwrap();
    }
}
