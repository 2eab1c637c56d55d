//! The state store: one record per sweep and per task in SlateDB, under `state/` of the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use autorep_core::digest::Digest;
use autorep_core::growth::Step;
use autorep_core::id::{SweepName, TaskId};
use autorep_core::ledger::TaskRecord;
use autorep_core::manifest::Manifest;
use bytes::Bytes;
use object_store::ObjectStore;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use slatedb::config::{
    CloseOptions, CompactorOptions, DbReaderOptions, FlushOptions, FlushType,
    GarbageCollectorOptions, ScanOptions, Settings,
};
use slatedb::{
    CloseReason, Db, DbIterator, DbReadOps, DbReader, DbReaderMode, ErrorKind, WriteBatch,
};

use crate::probe::Abilities;

/// The folder of the state in the store.
const STATE_PATH: &str = "state";

const SWEEP_PREFIX: &[u8] = b"sweep/";
const TASK_PREFIX: &[u8] = b"task/";

/// A row that says nothing: writing it shows that nobody else has opened the state.
const OWNER_KEY: &[u8] = b"owner";

/// Raised with every change of the records that an older coordinator would misread.
const RECORD_VERSION: u32 = 3;

/// A sweep as it is written down.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct SweepRecord {
    /// [`RECORD_VERSION`] of the writer.
    pub(crate) version: u32,
    /// The sweep's place in the order of submission.
    pub(crate) order: u64,
    /// The manifest with every default filled in: the plan is expanded from it again.
    pub(crate) manifest: Manifest,
    /// The digest of that plan.
    pub(crate) plan: Digest,
    /// Whether no leases are granted.
    pub(crate) paused: bool,
    /// Whether a person has ended the sweep.
    pub(crate) cancelled: bool,
    /// How it has grown: which tasks it lets train, and how far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) grown: Vec<Step>,
    /// When it was submitted, in milliseconds since 1970; 0 where no limit depends on it.
    #[serde(default, skip_serializing_if = "autorep_core::blank::is_default")]
    pub(crate) submitted_unix_ms: u64,
    /// Whether it has come to its limit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) at_limit: bool,
    /// Milliseconds of work on its tasks that do not count against its limit.
    #[serde(default, skip_serializing_if = "autorep_core::blank::is_default")]
    pub(crate) before_ms: i64,
    /// The call that has submitted it, as a `traceparent`: attempts belong to its trace. Empty where
    /// nothing was traced.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) trace: String,
}

impl SweepRecord {
    pub(crate) const fn new(order: u64, manifest: Manifest, plan: Digest) -> Self {
        Self {
            version: RECORD_VERSION,
            order,
            manifest,
            plan,
            paused: false,
            cancelled: false,
            grown: Vec::new(),
            submitted_unix_ms: 0,
            at_limit: false,
            before_ms: 0,
            trace: String::new(),
        }
    }
}

/// Everything that is written down.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// The sweeps in the order of submission.
    pub(crate) sweeps: Vec<SweepRecord>,
    /// One record per task, in the order of their keys.
    pub(crate) tasks: Vec<(TaskId, TaskRecord)>,
}

/// The state cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store has no state: no coordinator has run on it.
    #[error(
        "expected the state of a coordinator in the store, found none; `autorep run` makes one"
    )]
    NoState,
    /// The state store answers with an error.
    #[error("read the state in the store")]
    State(#[source] slatedb::Error),
    /// The store answers with an error.
    #[error("read the store")]
    Store(#[source] object_store::Error),
    /// A record is not what it should be.
    #[error(
        "expected a record that this version can read under {key}, found another: another version of autorep wrote it; use that one with this store, or this one with another store (nothing was changed)"
    )]
    Record {
        /// The record's key.
        key: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A record has no sweep's or task's name.
    #[error("expected the name of a sweep or task as a record's key, found {key:?}")]
    Key {
        /// The key.
        key: String,
    },
    /// A newer coordinator has written the record.
    #[error(
        "expected records of version {RECORD_VERSION} at most, found {found} under {key}; use the release that wrote it, or a later one"
    )]
    Newer {
        /// The record's key.
        key: String,
        /// Its version.
        found: u32,
    },
}

/// Records cannot be made durable: what is in memory is ahead of the store.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Another coordinator has opened the same state.
    #[error(
        "expected to be the only coordinator of this store, found that another one has taken over; this one stops"
    )]
    Fenced,
    /// The state store answers with an error.
    #[error("write the state to the store")]
    State(#[source] slatedb::Error),
    /// A record has no JSON form.
    #[error("write a record as JSON")]
    Record(#[source] serde_json::Error),
}

impl From<slatedb::Error> for WriteError {
    fn from(error: slatedb::Error) -> Self {
        if error.kind() == ErrorKind::Closed(CloseReason::Fenced) {
            Self::Fenced
        } else {
            Self::State(error)
        }
    }
}

/// The records to be written together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    writes: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Batch {
    pub(crate) fn put_sweep(
        &mut self,
        name: &SweepName,
        record: &SweepRecord,
    ) -> Result<(), WriteError> {
        let key = [SWEEP_PREFIX, name.as_str().as_bytes()].concat();
        self.put(key, record)
    }

    pub(crate) fn put_task(&mut self, id: TaskId, record: &TaskRecord) -> Result<(), WriteError> {
        self.put([TASK_PREFIX, id.to_string().as_bytes()].concat(), record)
    }

    /// Writes something although nothing has changed: only the owner of the state can.
    pub(crate) fn put_owner(&mut self) {
        self.writes.push((OWNER_KEY.to_vec(), b"{}".to_vec()));
    }

    fn put(&mut self, key: Vec<u8>, record: &impl Serialize) -> Result<(), WriteError> {
        let text = serde_json::to_vec(record).map_err(WriteError::Record)?;
        self.writes.push((key, text));
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.writes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

/// Batches after which the write-ahead log is put into a sorted table: a restart reads the log
/// object by object, and the table in a few large reads.
const LOG_BATCHES: u64 = 512;

/// What keeps the records: whoever opened it last may write.
pub(crate) trait StateStore: Send + Sync {
    /// Everything that is written down.
    fn read(&self) -> impl Future<Output = Result<Records, ReadError>> + Send;

    /// Writes records and returns when they are durable. After an error nobody knows whether they
    /// are.
    fn write(&self, batch: Batch) -> impl Future<Output = Result<(), WriteError>> + Send;

    /// Returns when the state is closed behind our back: another coordinator has opened it.
    fn lost(&self) -> impl Future<Output = WriteError> + Send;

    /// Lets go of the state; everything written stays.
    fn close(&self) -> impl Future<Output = Result<(), WriteError>> + Send;
}

/// The open state in SlateDB.
pub(crate) struct State {
    db: Db,
    batches: AtomicU64,
}

impl State {
    /// Opens the state, which takes it from any other coordinator that has it open.
    pub(crate) async fn open(
        store: Arc<dyn ObjectStore>,
        abilities: Abilities,
    ) -> Result<Self, slatedb::Error> {
        let db = Db::builder(STATE_PATH, store)
            .with_settings(settings(abilities))
            .build()
            .await?;
        Ok(Self {
            db,
            batches: AtomicU64::new(0),
        })
    }

    /// Puts what is in the log into a sorted table, while batches go on being written.
    fn shorten_log(&self) {
        let db = self.db.clone();
        tokio::spawn(async move {
            let options = FlushOptions {
                flush_type: FlushType::MemTable,
            };
            if let Err(error) = db.flush_with_options(options).await {
                // Everything is durable as it is. If the state is lost, the next batch tells.
                tracing::warn!(%error, "the write-ahead log was not shortened");
            }
        });
    }
}

impl StateStore for State {
    async fn read(&self) -> Result<Records, ReadError> {
        read(&self.db).await
    }

    async fn write(&self, batch: Batch) -> Result<(), WriteError> {
        let mut writes = WriteBatch::new();
        for (key, value) in batch.writes {
            writes.put(key, value);
        }
        let written = self.db.write(writes).await?;
        // The flush makes the write durable now instead of at the next interval.
        self.db.flush().await?;
        written.await_durable().await?;
        if (self.batches.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(LOG_BATCHES) {
            self.shorten_log();
        }
        Ok(())
    }

    async fn lost(&self) -> WriteError {
        let mut status = self.db.subscribe();
        match status
            .wait_for(|status| status.close_reason.is_some())
            .await
        {
            Ok(status) if status.close_reason != Some(CloseReason::Fenced) => {
                let text = format!("the state store has stopped: {:?}", status.close_reason);
                WriteError::State(slatedb::Error::internal(text))
            }
            Ok(_) | Err(_) => WriteError::Fenced,
        }
    }

    async fn close(&self) -> Result<(), WriteError> {
        let options = CloseOptions::default().with_flush_type(Some(FlushType::MemTable));
        Ok(self.db.close_with_options(options).await?)
    }
}

/// Every batch is flushed by hand; the interval is for what is left of none.
fn settings(abilities: Abilities) -> Settings {
    let mut collector = GarbageCollectorOptions::default();
    if !abilities.update {
        // Without conditional overwrites an old writer that was suspended for long could bring
        // a deleted version of the metadata back. It is small: keep it.
        collector.boundary_files_enabled = false;
        collector.manifest_options = None;
        collector.compactions_options = None;
    }
    Settings {
        flush_interval: Some(Duration::from_secs(1)),
        manifest_poll_interval: Duration::from_secs(1),
        garbage_collector_options: Some(collector),
        compactor_options: Some(CompactorOptions::default()),
        ..Settings::default()
    }
}

/// Reads the state of a store that a coordinator may be writing to, without disturbing it: nothing
/// is written, so nobody is fenced.
pub(crate) async fn read_offline(store: Arc<dyn ObjectStore>) -> Result<Records, ReadError> {
    let reader = open_offline(store).await?;
    let records = read(&reader).await;
    reader.close().await.map_err(ReadError::State)?;
    records
}

/// The same for what one sweep's front needs: the sweeps, and of the tasks those that `choose`
/// wants, one after the other, so that a million others take no memory.
pub(crate) async fn read_chosen<T, E: From<ReadError>>(
    store: Arc<dyn ObjectStore>,
    choose: impl FnOnce(&[SweepRecord]) -> Result<T, E>,
    wants: impl Fn(&T, TaskId) -> bool,
    mut take: impl FnMut(&mut T, TaskId, TaskRecord),
) -> Result<T, E> {
    let reader = open_offline(store).await?;
    let mut chosen = choose(&sweeps(scan(&reader, SWEEP_PREFIX).await?)?)?;
    let mut rows = Rows::open(&reader, TASK_PREFIX).await?;
    while let Some((key, value)) = rows.next().await? {
        let id = task_id(&key)?;
        if wants(&chosen, id) {
            let (_, record) = record_of(TASK_PREFIX, &key, &value)?;
            take(&mut chosen, id, record);
        }
    }
    reader.close().await.map_err(ReadError::State)?;
    Ok(chosen)
}

async fn open_offline(store: Arc<dyn ObjectStore>) -> Result<DbReader, ReadError> {
    let manifests = object_store::path::Path::from(format!("{STATE_PATH}/manifest"));
    let mut found = store.list(Some(&manifests));
    match futures::StreamExt::next(&mut found).await {
        None => return Err(ReadError::NoState),
        Some(Err(error)) => return Err(ReadError::Store(error)),
        Some(Ok(_)) => {}
    }
    drop(found);
    let options = DbReaderOptions {
        object_store_max_retries: Some(3),
        ..DbReaderOptions::default()
    };
    DbReader::builder(STATE_PATH, store)
        .with_reader_mode(DbReaderMode::FollowLatest)
        .with_options(options)
        .build()
        .await
        .map_err(ReadError::State)
}

async fn read(state: &(impl DbReadOps + Sync)) -> Result<Records, ReadError> {
    let sweeps = sweeps(scan(state, SWEEP_PREFIX).await?)?;
    // One after the other: there may be a million of them.
    let mut tasks = Vec::new();
    let mut rows = Rows::open(state, TASK_PREFIX).await?;
    while let Some((key, value)) = rows.next().await? {
        let (_, record) = record_of(TASK_PREFIX, &key, &value)?;
        tasks.push((task_id(&key)?, record));
    }
    Ok(Records { sweeps, tasks })
}

/// The sweeps in the order of submission.
fn sweeps(rows: Vec<(String, SweepRecord)>) -> Result<Vec<SweepRecord>, ReadError> {
    let mut sweeps = Vec::with_capacity(rows.len());
    for (name, record) in rows {
        let key = || format!("sweep/{name}");
        if record.version > RECORD_VERSION {
            let found = record.version;
            return Err(ReadError::Newer { key: key(), found });
        }
        if record.manifest.name.as_str() != name {
            return Err(ReadError::Key { key: key() });
        }
        sweeps.push(record);
    }
    sweeps.sort_by_key(|record| record.order);
    Ok(sweeps)
}

/// The task that a record's key names.
fn task_id(key: &[u8]) -> Result<TaskId, ReadError> {
    let name = String::from_utf8_lossy(key.get(TASK_PREFIX.len()..).unwrap_or_default());
    name.parse().map_err(|_not_an_id| ReadError::Key {
        key: name.into_owned(),
    })
}

async fn scan<T: DeserializeOwned, R: DbReadOps + Sync>(
    state: &R,
    prefix: &[u8],
) -> Result<Vec<(String, T)>, ReadError> {
    let mut rows = Rows::open(state, prefix).await?;
    let mut found = Vec::new();
    while let Some((key, value)) = rows.next().await? {
        found.push(record_of(prefix, &key, &value)?);
    }
    Ok(found)
}

/// The rows below a prefix, in the order of their keys.
struct Rows(DbIterator);

impl Rows {
    async fn open(state: &(impl DbReadOps + Sync), prefix: &[u8]) -> Result<Self, ReadError> {
        let options = ScanOptions::default()
            .with_read_ahead_bytes(4 << 20)
            .with_max_fetch_tasks(4);
        let rows = state.scan_prefix_with_options(prefix, .., &options).await;
        rows.map(Self).map_err(ReadError::State)
    }

    async fn next(&mut self) -> Result<Option<(Bytes, Bytes)>, ReadError> {
        let row = self.0.next().await.map_err(ReadError::State)?;
        Ok(row.map(|row| (row.key, row.value)))
    }
}

/// One row: the name in its key, and the record.
fn record_of<T: DeserializeOwned>(
    prefix: &[u8],
    key: &[u8],
    value: &[u8],
) -> Result<(String, T), ReadError> {
    let name = key.get(prefix.len()..).unwrap_or_default();
    let name = String::from_utf8_lossy(name).into_owned();
    let record = serde_json::from_slice(value).map_err(|source| ReadError::Record {
        key: String::from_utf8_lossy(key).into_owned(),
        source,
    })?;
    Ok((name, record))
}

#[cfg(feature = "simulation")]
impl Batch {
    /// The rows as they are written.
    pub(crate) fn into_rows(self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.writes
    }
}

#[cfg(feature = "simulation")]
impl Records {
    /// The records in these rows.
    pub(crate) fn of_rows(
        rows: &std::collections::BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Result<Self, ReadError> {
        let all =
            |prefix: &'static [u8]| (rows.iter()).filter(move |(key, _)| key.starts_with(prefix));
        let sweeps = all(SWEEP_PREFIX).map(|(key, value)| record_of(SWEEP_PREFIX, key, value));
        let tasks = all(TASK_PREFIX).map(|(key, value)| {
            let (_, record) = record_of(TASK_PREFIX, key, value)?;
            Ok((task_id(key)?, record))
        });
        Ok(Self {
            sweeps: self::sweeps(sweeps.collect::<Result<_, _>>()?)?,
            tasks: tasks.collect::<Result<_, ReadError>>()?,
        })
    }
}

/// Milliseconds since a time of [`unix_ms`]; 0 for a time of 0, on which nothing depends.
pub(crate) fn ms_since(unix_then_ms: u64) -> u64 {
    if unix_then_ms == 0 {
        return 0;
    }
    unix_ms().saturating_sub(unix_then_ms)
}

/// Milliseconds since 1970, by the machine's clock.
pub(crate) fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, crate::config::millis)
}
