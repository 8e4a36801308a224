//! From a configuration to a serving member, and down again.
//!
//! The order is etcd's: bind the sockets, recover the data-dir, start consensus and the peer
//! transport, publish this member through the log, say "ready to serve client requests", serve.
//! Down: stop taking clients, hand leadership over, stop the threads.

mod bootstrap;
mod data_dir;
mod election;

use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use quoin_api::error::Error;
use quoin_node::recover::{Recovered, recover};
use quoin_node::{DataDir, Options, RecoverError, RequestIds, wal};
use quoin_vfs::{FileSystem, OsFs};
use thiserror::Error;
use tokio::runtime::{Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::config::{Config, Feature, Url};
use crate::driver::{self, INPUTS_MAX, Input, Parts, Threads};
use crate::grpc::Services;
use crate::grpc::watch::PROGRESS_PERIOD_MIN;
use crate::hashes::human_size;
use crate::lane::Waiter;
use crate::lease::Leases;
use crate::member::{Limits, Member};
use crate::metrics::{Exporter, Listening, Metrics};
use crate::notify::ServiceManager;
use crate::outside::Peers;
use crate::peer::{self, Transport};
use crate::publish;
use crate::quota::{self, Quota};
use crate::serve::{Front, Network};
use crate::v2::{self, V2, Watchers};
use crate::{compactor, log, record, version, vital};

/// The value of `--metrics` that asks for how long handlers take. All others do not, as in etcd.
const EXTENSIVE: &str = "extensive";
/// Connections that may wait to be accepted. The system may allow less.
const ACCEPT_BACKLOG: i32 = 4096;
/// How long leadership may take to move when the leader stops.
const TRANSFER_POLL: Duration = Duration::from_millis(10);

/// The largest request that etcd recommends to allow.
const RECOMMENDED_REQUEST_BYTES: usize = 10 << 20;

/// File descriptors that are not for clients, as in etcd.
const RESERVED_DESCRIPTORS: u64 = 150;

/// What etcd says of a secure URL for metrics when there is no certificate.
const METRICS_WITHOUT_TLS: &str =
    "client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url";

/// Why a member cannot start. The text is for the operator.
#[derive(Debug, Error)]
pub enum BootError {
    /// The configuration asks for what this release cannot do.
    #[error("not supported by this release: {0}")]
    Unsupported(String),
    /// The initial cluster does not fit this member.
    #[error("{0}")]
    Bootstrap(String),
    /// A listener cannot be bound.
    #[error("listen tcp {address}: bind: {reason}")]
    Listen {
        /// Where.
        address: String,
        /// Why.
        reason: String,
    },
    /// The data-dir is damaged or in use.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// It has been logged already, in words that say all.
    #[error("see the log")]
    Logged,
    /// The operating system refuses a directory, a thread, a socket or a signal handler.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// Runs a member until it is told to stop or is removed. Returns the signal that stopped it.
///
/// # Errors
/// If it cannot start. A failure later ends the process.
pub fn run(config: Config) -> Result<Option<i32>, BootError> {
    let unsupported = config.unsupported();
    if !unsupported.is_empty() {
        return Err(BootError::Unsupported(unsupported.join(" ")));
    }
    config.check_auth_token().map_err(BootError::Bootstrap)?;
    let config = Arc::new(config);
    data_dir::identify(&config.data_dir).map_err(|data_dir::Unusable| BootError::Logged)?;
    let listeners = bind(&config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let fs: Arc<dyn FileSystem> = Arc::new(OsFs);
    let dir = DataDir::new(Path::new(&config.data_dir)).with_wal(&config.wal_path());
    let recovered = recover_member(&config, &fs, &dir, &listeners.peer, &runtime)?;
    let running = Running::start(&config, recovered, (fs, dir), runtime.handle())?;
    runtime.block_on(running.serve(listeners))
}

/// The sockets of a member, bound before anything else is touched.
struct Listeners {
    client: Vec<TcpListener>,
    peer: Vec<TcpListener>,
    /// With the URL that was given for each.
    metrics: Vec<(String, TcpListener)>,
}

fn bind(config: &Config) -> Result<Listeners, BootError> {
    log::write(&config.peer_listeners_record());
    let peer = config.listen_peer_urls.iter().map(bind_one).collect::<Result<_, _>>()?;
    log::write(&config.client_listeners_record());
    let client = config.listen_client_urls.iter().map(bind_one).collect::<Result<_, _>>()?;
    check_descriptors()?;
    let mut metrics = Vec::new();
    for url in &config.listen_metrics_urls {
        if url.is_tls() {
            return Err(BootError::Bootstrap(METRICS_WITHOUT_TLS.to_owned()));
        }
        metrics.push((url.to_string(), bind_one(url)?));
    }
    Ok(Listeners { client, peer, metrics })
}

/// Refuses to run where files and members would take the descriptors that clients need.
fn check_descriptors() -> Result<(), BootError> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    match limit {
        Some(limit) if limit <= RESERVED_DESCRIPTORS => {
            log::fatal!("file descriptor limit of etcd process is too low; please set higher",
                "limit" => limit, "recommended-limit" => RESERVED_DESCRIPTORS);
            Err(BootError::Logged)
        }
        Some(_) | None => Ok(()),
    }
}

fn bind_one(url: &Url) -> Result<TcpListener, BootError> {
    let address = url.host_port();
    if url.is_unix() {
        return Err(BootError::Unsupported(format!("the socket {url}")));
    }
    let listener = TcpListener::bind(&address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        // The standard library asks for 128, and a client beyond that waits for a second or more.
        rustix::net::listen(&listener, ACCEPT_BACKLOG)?;
        Ok(listener)
    });
    listener.map_err(|error| {
        let reason = crate::config::go_io_error(&error);
        BootError::Listen { address, reason: reason.to_string() }
    })
}

fn recover_member(
    config: &Config,
    fs: &Arc<dyn FileSystem>,
    dir: &DataDir,
    peer_listeners: &[TcpListener],
    runtime: &Runtime,
) -> Result<Recovered<Waiter>, BootError> {
    let initialized = wal::Wal::exists(fs.as_ref(), &dir.wal()).map_err(RecoverError::from)?;
    if initialized {
        log::info!("server has already been initialized",
            "data-dir" => &config.data_dir, "dir-type" => "member");
    }
    log::write(&config.starting_record(initialized));
    warn_of_settings(config);
    let prepared = data_dir::prepare(Path::new(&config.data_dir)).map_err(BootError::Bootstrap);
    let bootstrap = prepared
        .and_then(|()| bootstrap::bootstrap(config, initialized, peer_listeners, runtime))
        .inspect_err(|error| log::error!("bootstrap failed", "error" => error.to_string()))?;
    let ticks = u32::try_from(config.election_ticks()).unwrap_or(u32::MAX);
    let options = Options {
        id: bootstrap.metadata.node,
        election_ticks: ticks,
        heartbeat_ticks: 1,
        lease_checkpoint_ticks: ticks_of(config, LEASE_CHECKPOINT),
        // They are what we do; a gate that is named is obeyed.
        lease_checkpoints: config.feature_gates.named(Feature::LeaseCheckpoint).unwrap_or(true),
        tick_ms: u64::try_from(config.heartbeat().as_millis()).unwrap_or(u64::MAX),
        request_timeout_ticks: request_timeout_ticks(config),
        read_retry_ticks: ticks_of(config, READ_RETRY),
        snapshot_count: config.snapshot_count,
        memory_budget: config.memory_budget_bytes,
        catchup_entries: config.snapshot_catchup_entries,
        max_learners: usize::try_from(config.max_learners).unwrap_or(0),
        pre_vote: config.pre_vote,
        seed: now_ms(),
        start_ms: now_ms(),
    };
    let recovered = recover(fs, dir, &wal::Options::default(), options, &bootstrap)?;
    if let Some(imported) = &recovered.imported {
        log::info!("imported the database that etcd left; it is kept as it was and not used again",
            "path" => imported.database.display().to_string(),
            "index" => imported.index, "revision" => imported.revision);
    }
    if let Some(repair) = &recovered.repaired {
        log::warn!("cut off the unsynced end of the log",
            "file" => repair.file.display().to_string(), "offset" => repair.offset,
            "dropped-bytes" => repair.dropped_bytes);
    }
    if let Some(id) = recovered.received.adopted {
        log::info!("Recovering from snapshot backend",
            "snapshot-index" => id.index, "snapshot-term" => id.term);
        log::info!("finished the installation of a snapshot that a stop had cut off",
            "snapshot-index" => id.index, "snapshot-term" => id.term);
    }
    for id in &recovered.received.discarded {
        log::info!("removed a received snapshot that the log does not name",
            "snapshot-index" => id.index, "snapshot-term" => id.term);
    }
    log_member(&recovered, initialized);
    Ok(recovered)
}

/// Says which settings are unwise, with etcd's texts.
fn warn_of_settings(config: &Config) {
    if config.max_request_bytes > RECOMMENDED_REQUEST_BYTES {
        log::warn!("exceeded recommended request limit",
            "max-request-bytes" => config.max_request_bytes,
            "max-request-size" => human_size(config.max_request_bytes as u64),
            "recommended-request-bytes" => RECOMMENDED_REQUEST_BYTES,
            "recommended-request-size" => human_size(RECOMMENDED_REQUEST_BYTES as u64));
    }
    let interval = config.watch_progress_notify_interval.std();
    if !interval.is_zero() && interval < PROGRESS_PERIOD_MIN {
        log::warn!("adjusting watch progress notify interval to minimum period",
            "min-watch-progress-notify-interval" => PROGRESS_PERIOD_MIN);
    }
}

/// Says who this member is, with etcd's texts.
fn log_member(recovered: &Recovered<Waiter>, initialized: bool) {
    let member = format!("{:x}", recovered.metadata.node.0);
    let cluster = format!("{:x}", recovered.metadata.cluster);
    if initialized {
        log::info!("restarting local member", "cluster-id" => cluster,
            "local-member-id" => member, "commit-index" => recovered.node.raft().commit().0);
    } else {
        log::info!("starting local member", "local-member-id" => member, "cluster-id" => cluster);
    }
}

/// Says what runs from now on.
fn log_start(member: &Member) {
    let mut started = record!(
        Info, "starting etcd server",
        "local-member-id" => format!("{:x}", member.id),
        "local-server-version" => version::ETCD_VERSION,
    );
    let version = match member.view().membership().version() {
        Some(version) => {
            started = started.with("cluster-id", format!("{:x}", member.cluster_id));
            format!("{}.{}", version.major, version.minor)
        }
        None => "to_be_decided".to_owned(),
    };
    log::write(&started.with("cluster-version", version));
}

/// After this time an unconfirmed read round is replaced, as in etcd.
const READ_RETRY: Duration = Duration::from_millis(500);
/// The shortest time between two entries that say what is left of a lease (decision 7).
const LEASE_CHECKPOINT: Duration = Duration::from_secs(10);
/// The part of the request timeout that does not depend on elections, as in etcd.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

fn ticks_of(config: &Config, time: Duration) -> u64 {
    let ticks = time.as_millis() / config.heartbeat().as_millis().max(1);
    u64::try_from(ticks).unwrap_or(u64::MAX).max(1)
}

fn request_timeout_ticks(config: &Config) -> u64 {
    ticks_of(config, REQUEST_TIMEOUT) + 2 * config.election_ticks() as u64
}

fn request_timeout(config: &Config) -> Duration {
    config.heartbeat() * u32::try_from(request_timeout_ticks(config)).unwrap_or(u32::MAX)
}

/// Returns milliseconds since the epoch.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A member whose threads run.
struct Running {
    config: Arc<Config>,
    member: Arc<Member>,
    peers: Arc<Peers>,
    transport: Arc<Transport>,
    watchers: Arc<Watchers>,
    threads: Threads,
    inputs: SyncSender<Input>,
}

impl Running {
    fn start(
        config: &Arc<Config>,
        recovered: Recovered<Waiter>,
        (fs, dir): (Arc<dyn FileSystem>, DataDir),
        runtime: &Handle,
    ) -> Result<Self, BootError> {
        let Recovered { node, wal, metadata, .. } = recovered;
        let (inputs, receiver) = mpsc::sync_channel(INPUTS_MAX);
        let limits = Limits {
            request_bytes: config.max_request_bytes,
            txn_ops: config.max_txn_ops,
            min_lease_ttl_s: node.options().min_lease_ttl_s(),
        };
        let ids = RequestIds::new(metadata.node, now_ms());
        let view = node.store().view();
        let identity = (metadata.node.0, metadata.cluster);
        let metrics = Arc::new(Metrics::new(config.metrics == EXTENSIVE));
        let checked = (limits, metrics);
        let member = Arc::new(Member::new(identity, checked, ids, inputs.clone(), view));
        let files = (Arc::clone(&fs), dir.clone());
        let peers = Arc::new(Peers::new(Arc::clone(&member), files, runtime.clone()));
        let transport = transport(config, &member, &peers, runtime)?;
        peers.connect(Arc::clone(&transport));
        log_start(&member);
        let watchers = Arc::new(Watchers::new(node.store().v2()));
        let parts = Parts {
            watchers: Arc::clone(&watchers),
            member: Arc::clone(&member),
            outside: Arc::clone(&peers) as Arc<dyn driver::Outside>,
            inputs: inputs.clone(),
            fs,
            checkpoint_dir: dir.store(),
            hashes: Arc::clone(&member.hashes),
            tick: config.heartbeat(),
            slow_apply: config.warning_apply_duration.std(),
            keeps_log: config.max_wals == 0,
        };
        let threads = driver::start(node, wal, receiver, parts)?;
        let config = Arc::clone(config);
        Ok(Self { config, member, peers, transport, watchers, threads, inputs })
    }

    /// Serves until a signal or until this member is removed.
    async fn serve(self, listeners: Listeners) -> Result<Option<i32>, BootError> {
        let (stop_peers, peers_stopped) = watch::channel(false);
        for listener in listeners.peer {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            log::info!("serving peer traffic", "address" => listener.local_addr()?.to_string());
            let mut stopped = peers_stopped.clone();
            let stop = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
            vital::spawn(peer::serve(listener, Arc::clone(&self.transport), stop));
        }
        let first_election = election::hasten(
            Arc::clone(&self.member),
            Arc::clone(&self.transport),
            Arc::clone(&self.config),
        );
        tokio::spawn(first_election);
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let versions = publish::cluster_version(Arc::clone(&self.member));
        let versions = vital::spawn(versions);
        let retention = self.config.auto_compaction().map_err(BootError::Bootstrap)?;
        let waits = vital::spawn(Arc::clone(&self.watchers).run());
        let clock = vital::spawn(v2::sync::run(Arc::clone(&self.member)));
        let compactions = vital::spawn(compactor::run(Arc::clone(&self.member), retention));
        let (member, config) = (Arc::clone(&self.member), Arc::clone(&self.config));
        let leases =
            Leases::new(Arc::clone(&member), Arc::clone(&self.transport), request_timeout(&config));
        let quota = Arc::new(Quota::new(config.quota_bytes()));
        quota.announce();
        let looks = vital::spawn(quota::watch(Arc::clone(&member), Arc::clone(&quota)));
        let services = Services { member, config, leases, quota, room: Arc::default() };
        let exporter = self.exporter(&services);
        let metrics = Listening::start(listeners.metrics, &exporter)?;
        let v2 = Arc::new(V2::new(
            Arc::clone(&self.member),
            Arc::clone(&self.config),
            Arc::clone(&self.watchers),
            Arc::clone(&self.transport),
            Arc::clone(&services.room),
        ));
        let manager = ServiceManager::of_environment();
        // It goes on while this member stops, which may take long too.
        tokio::spawn(manager.clone().give_signs_of_life(Arc::clone(&self.member)));
        let serving = publish_and_serve((services, exporter), v2, listeners.client);
        let mut serving = std::pin::pin!(serving);
        let mut network = None;
        let stopped_by = loop {
            tokio::select! {
                started = &mut serving, if network.is_none() => {
                    network = Some(started?);
                    manager.ready();
                }
                _ = terminate.recv() => break Some((SignalKind::terminate(), "terminated")),
                _ = interrupt.recv() => break Some((SignalKind::interrupt(), "interrupt")),
                () = self.peers.removed.notified() => break None,
            }
        };
        if let Some((_, name)) = stopped_by {
            log::info!("received signal; shutting down", "signal" => name);
        }
        manager.stopping();
        for task in [versions, compactions, looks, waits, clock] {
            task.abort();
        }
        self.stop((network, metrics), &stop_peers).await;
        Ok(stopped_by.map(|(kind, _)| kind.as_raw_value()))
    }

    fn exporter(&self, services: &Services) -> Exporter {
        Exporter {
            member: Arc::clone(&services.member),
            config: Arc::clone(&services.config),
            quota: Arc::clone(&services.quota),
            room: Arc::clone(&services.room),
            transport: Arc::clone(&self.transport),
        }
    }

    /// Stops in the order that loses nothing: clients, leadership, peers, threads.
    async fn stop(
        self,
        (network, metrics): (Option<Network>, Option<Listening>),
        stop_peers: &watch::Sender<bool>,
    ) {
        let [closing, closed] = self.config.closing_records();
        log::write(&closing);
        self.hand_over().await;
        // The queue takes it as soon as the consensus thread has made room.
        self.watchers.close();
        let inputs = self.inputs;
        let threads = self.threads;
        let stopped = tokio::task::spawn_blocking(move || {
            drop(inputs.send(Input::Stop));
            threads.join();
            if let Some(network) = network {
                network.stop();
            }
            if let Some(metrics) = metrics {
                metrics.stop();
            }
        });
        if stopped.await.is_err() {
            log::warn!("a thread panicked while stopping");
        }
        stop_peers.send_replace(true);
        self.transport.stop();
        log::write(&closed);
    }

    /// Moves leadership to the voter that has been connected longest, if this member leads.
    async fn hand_over(&self) {
        let id = format!("{:x}", self.member.id);
        if !self.member.is_leader() {
            log::info!("skipped leadership transfer; local server is not leader",
                "local-member-id" => id,
                "current-leader-member-id" => format!("{:x}", self.member.leader()));
            return;
        }
        let view = self.member.view();
        let others = view.membership().members().filter(|other| other.id != self.member.id);
        let voters: Vec<u64> =
            others.filter(|other| !other.is_learner).map(|other| other.id).collect();
        if voters.is_empty() {
            log::info!("skipped leadership transfer for single voting member cluster",
                "local-member-id" => &id, "current-leader-member-id" => &id);
            return;
        }
        let since = |voter: &u64| Some((self.transport.active_since(*voter)?, *voter));
        let Some((_, target)) = voters.iter().filter_map(since).min() else {
            log::info!("skipped leadership transfer; local server is the only reachable voter",
                "local-member-id" => id);
            return;
        };
        let (began, transferee) = (Instant::now(), format!("{target:x}"));
        log::info!("leadership transfer starting", "local-member-id" => &id,
            "current-leader-member-id" => &id, "transferee-member-id" => &transferee);
        let moved = async {
            self.member.input(Input::TransferLeader(target)).ok();
            while self.member.is_leader() {
                tokio::time::sleep(TRANSFER_POLL).await;
            }
        };
        let election = Duration::from_millis(self.config.election_timeout as u64);
        match tokio::time::timeout(election, moved).await {
            Ok(()) => log::info!("leadership transfer finished", "local-member-id" => &id,
                "old-leader-member-id" => &id, "new-leader-member-id" => &transferee,
                "took" => began.elapsed()),
            Err(_) => log::warn!("leadership transfer failed", "local-member-id" => &id,
                "error" => Error::TimeoutLeaderTransfer.to_string()),
        }
    }
}

/// Publishes this member through the log and opens the client port.
async fn publish_and_serve(
    (services, exporter): (Services, Exporter),
    v2: Arc<V2>,
    listeners: Vec<TcpListener>,
) -> Result<Network, BootError> {
    let Services { member, config, .. } = services.clone();
    let urls: Vec<String> = config.advertise_client_urls.iter().map(Url::to_string).collect();
    publish::attributes(&member, &config.name, &urls, request_timeout(&config)).await;
    publish::decided_version(&member).await;
    log::info!("ready to serve client requests");
    for url in &config.listen_client_urls {
        log::info!("serving client traffic insecurely; this is strongly discouraged!",
            "traffic" => "grpc+http", "address" => url.host_port());
    }
    let (stop, stopped) = watch::channel(false);
    let front = Front::new(services, exporter, v2, &config, stopped);
    let network = Network::start(listeners, &front, network_threads(), stop)?;
    log::write(&config.serving_record(member.id));
    Ok(network)
}

fn transport(
    config: &Config,
    member: &Member,
    peers: &Arc<Peers>,
    runtime: &Handle,
) -> Result<Arc<Transport>, BootError> {
    let mut options = peer::Options::new(member.id, member.cluster_id, version::ETCD_VERSION);
    let urls = config.initial_advertise_peer_urls.iter();
    options.local_peer_urls = urls.map(Url::to_string).collect();
    options.election_timeout = Duration::from_millis(config.election_timeout as u64);
    // The transport starts its tasks on the runtime that it is made in.
    let _guard = runtime.enter();
    let transport = Transport::new(options, Arc::clone(peers) as Arc<dyn peer::Inbound>);
    transport.map_err(|error| BootError::Bootstrap(error.to_string()))
}

/// Half of the processors serve the network, the rest is for consensus, log and background work.
fn network_threads() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (processors / 2).clamp(1, 16)
}
