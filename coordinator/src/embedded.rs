//! A coordinator inside another program, without a network: for whoever wants to ask more, and
//! stranger, things than connections carry.

use std::sync::Arc;

use autorep_proto::v1::fleet_server::Fleet;
use autorep_proto::v1::lab_server::Lab;
use object_store::ObjectStore;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::rpc::fleet::FleetService;
use crate::rpc::lab::LabService;
use crate::serve::{Opened, RunError, open};
use crate::state::WriteError;

/// The services, and the owner of the ledger, who answers while it is polled and ends when `shutdown`
/// is cancelled or the state is lost. Of [`crate::run`] it has neither listener nor heartbeat, and it
/// deletes checkpoints only when asked.
pub async fn services(
    config: Config,
    store: Arc<dyn ObjectStore>,
    shutdown: CancellationToken,
) -> Result<
    (
        impl Fleet,
        impl Lab,
        impl Future<Output = Result<(), WriteError>>,
    ),
    RunError,
> {
    let config = config.checked()?;
    let Opened {
        owner,
        desk,
        asks,
        store_id,
    } = open(&config, Arc::clone(&store)).await?;
    let fleet = FleetService::new(desk.clone(), config.clone(), store_id);
    let lab = LabService::new(desk, config, store, shutdown.clone());
    Ok((fleet, lab, owner.run(asks, shutdown)))
}
