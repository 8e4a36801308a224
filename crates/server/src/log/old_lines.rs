//! Which record of today is which line of etcd 3.4: one table, in the order of a member's life.
//!
//! A line stands in the log if the record has every field that it names. Texts, packages and levels
//! were taken from etcd 3.4.23 as it runs.
//!
//! Not here: how a line is written (`capnslog`), and raft's own lines, which are the same in both.

/// The old lines of a record with this message.
pub(super) struct Old {
    pub(super) message: &'static str,
    lines: &'static [Line],
}

/// One old line.
pub(super) struct Line {
    /// The level, if it is another than the record's.
    pub(super) letter: Option<char>,
    pub(super) package: &'static str,
    /// The text, with the keys of fields in braces: `{key}`, or `{key:form}` with the form `q`
    /// (quoted), `,` (a list divided by commas), `ms` (whole milliseconds) or `base` (a URL without
    /// what stands behind its last slash).
    pub(super) text: &'static str,
    pub(super) when: When,
}

/// When a line stands in the log, besides that its fields are there.
pub(super) enum When {
    Always,
    Has(&'static str),
    HasText(&'static str),
    IsTrue(&'static str),
    Lacks(&'static str),
}

/// Returns the old lines of a message, in order.
pub(super) fn lines_of(message: &str) -> &'static [Line] {
    TABLE.iter().find(|old| old.message == message).map_or(&[], |old| old.lines)
}

const fn old(message: &'static str, lines: &'static [Line]) -> Old {
    Old { message, lines }
}

const fn line(package: &'static str, text: &'static str) -> Line {
    Line { letter: None, package, text, when: When::Always }
}

impl Line {
    const fn at(self, letter: char) -> Self {
        Self { letter: Some(letter), ..self }
    }

    const fn when(self, when: When) -> Self {
        Self { when, ..self }
    }
}

const API: &str = "etcdserver/api";
const COMPACTOR: &str = "compactor";
const EMBED: &str = "embed";
const FILES: &str = "pkg/fileutil";
const HEALTH: &str = "etcdserver/api/etcdhttp";
const MAIN: &str = "etcdmain";
const MVCC: &str = "mvcc";
const MEMBERS: &str = "etcdserver/membership";
const PEERS: &str = "rafthttp";
const RPC: &str = "etcdserver/api/v3rpc";
const SERVER: &str = "etcdserver";
const SIGNALS: &str = "pkg/osutil";
const WAL: &str = "wal";

/// All of them.
pub(super) const TABLE: &[Old] = &[
    // The configuration.
    old("initialized peer connections; fast-forwarding election ticks", &[line(
        SERVER,
        "{local-member-id} initialized peer connection; fast-forwarding {forward-ticks} ticks \
         (election ticks {election-ticks}) with {active-remote-members} active peer(s)",
    )]),
    old("failed to list data directory", &[line(MAIN, "error listing data dir: {dir}")]),
    old("found invalid file under data directory", &[line(
        MAIN,
        "found invalid file/dir {filename} under data dir {data-dir} (Ignore this if you are \
         upgrading etcd)",
    )]),
    old("file descriptor limit of etcd process is too low; please set higher", &[line(
        EMBED,
        "file descriptor limit[{limit}] of etcd process is too low, and should be set higher than \
         {recommended-limit} to ensure internal usage",
    )]),
    old("check file permission", &[line(FILES, "check file permission: {error}")]),
    old("failed to notify systemd for readiness", &[line(
        MAIN,
        "failed to notify systemd for readiness: {error}",
    )]),
    old("failed to verify flags", &[line(
        MAIN,
        "error verifying flags, {error}. See 'etcd --help'.",
    )
    .at('E')]),
    old("advertise client URLs are not set", &[line(
        MAIN,
        "When listening on specific address(es), this etcd process must advertise accessible \
         url(s) to each connected client.",
    )
    .at('E')]),
    old("deprecated logger is set; use zap instead", &[line(
        EMBED,
        "Deprecated '--logger={logger}' flag is set; use '--logger=zap' flag instead",
    )]),
    old(
        "loaded server configuration, other configuration command line flags and environment \
         variables will be ignored if provided",
        &[line(
            MAIN,
            "Loading server configuration from {path:q}. Other configuration command line flags \
             and environment variables will be ignored if provided.",
        )],
    ),
    old("detected default host for advertise", &[line(
        MAIN,
        "advertising using detected default host {host:q}",
    )]),
    old("failed to detect default host", &[line(
        MAIN,
        "failed to detect default host ({error})",
    )
    .at('N')]),
    old("'data-dir' was empty; using default", &[line(
        MAIN,
        "no data-dir provided, using default data-dir ./{data-dir}",
    )
    .at('W')]),
    old("server has already been initialized", &[line(
        MAIN,
        "the server is already initialized as {dir-type} before, starting as etcd {dir-type}...",
    )
    .at('N')]),
    old("starting an etcd server", STARTING),
    old("forgot to set --initial-cluster?", &[line(
        MAIN,
        "forgot to set --initial-cluster flag?",
    )
    .at('I')]),
    old("forgot to set --initial-advertise-peer-urls?", &[line(
        MAIN,
        "forgot to set --initial-advertise-peer-urls flag?",
    )
    .at('I')]),
    old("discovery failed", &[line(MAIN, "{error}")]),
    // The way up.
    old("starting local member", &[line(
        SERVER,
        "starting member {local-member-id} in cluster {cluster-id}",
    )]),
    old("restarting local member", &[line(
        SERVER,
        "restarting member {local-member-id} in cluster {cluster-id} at commit index \
         {commit-index}",
    )]),
    old("starting etcd server", &[line(
        SERVER,
        "starting server... [version: {local-server-version}, cluster version: {cluster-version}]",
    )]),
    old("serving peer traffic", &[line(EMBED, "listening for peers on {address}")]),
    old("serving metrics", &[line(EMBED, "listening for metrics on {address}")]),
    old("ready to serve client requests", &[line(EMBED, "ready to serve client requests")]),
    old("serving client traffic insecurely; this is strongly discouraged!", &[line(
        EMBED,
        "serving insecure client requests on {address}, this is strongly discouraged!",
    )
    .at('N')]),
    old("published local member to cluster through raft", &[line(
        SERVER,
        "published {local-member-attributes} to cluster {cluster-id}",
    )]),
    old("failed to publish local member to cluster through raft", &[line(
        SERVER,
        "publish error: {error}",
    )
    .at('E')]),
    // The members and their version.
    old("recovered/added member from store", &[line(
        MEMBERS,
        "added member {recovered-remote-peer-id} {recovered-remote-peer-urls} to cluster \
         {cluster-id} from store",
    )]),
    old("set cluster version from store", &[line(
        MEMBERS,
        "set the cluster version to {cluster-version} from store",
    )]),
    old("added member", &[line(
        MEMBERS,
        "added member {added-peer-id} {added-peer-peer-urls} to cluster {cluster-id}",
    )]),
    old("removed member", &[line(
        MEMBERS,
        "removed member {removed-remote-peer-id} from cluster {cluster-id}",
    )]),
    old("promote member", &[line(
        MEMBERS,
        "promote member {promoted-member-id} in cluster {cluster-id}",
    )
    .at('N')]),
    old("updated member", &[line(
        MEMBERS,
        "updated member {updated-remote-peer-id} {updated-remote-peer-urls} in cluster \
         {cluster-id}",
    )
    .at('N')]),
    old("setting up initial cluster version using v2 API", &[line(
        SERVER,
        "setting up the initial cluster version to {cluster-version}",
    )]),
    old("updating cluster version using v2 API", &[line(
        SERVER,
        "updating the cluster version from {from} to {to}",
    )]),
    old("setting up initial cluster version using v3 API", &[line(
        SERVER,
        "setting up the initial cluster version to {cluster-version}",
    )]),
    old("updating cluster version using v3 API", &[line(
        SERVER,
        "updating the cluster version from {from} to {to}",
    )]),
    old("failed to update cluster version", &[line(
        SERVER,
        "error updating cluster version ({error})",
    )
    .at('E')]),
    old("set initial cluster version", &[line(
        MEMBERS,
        "set the initial cluster version to {cluster-version}",
    )
    .at('N')]),
    old("updated cluster version", &[line(
        MEMBERS,
        "updated the cluster version from {from} to {to}",
    )
    .at('N')]),
    old("enabled capabilities for version", &[line(
        API,
        "enabled capabilities for version {cluster-version}",
    )]),
    old("failed to reach the peer URL", &[line(
        SERVER,
        "failed to reach the peerURL({address:base}) of member {remote-member-id} ({error})",
    )]),
    old("failed to get version", &[line(
        SERVER,
        "cannot get the version of member {remote-member-id} ({error})",
    )]),
    // The peers.
    old("starting remote peer", &[line(PEERS, "starting peer {remote-peer-id}...")]),
    old("started HTTP pipelining with remote peer", &[line(
        PEERS,
        "started HTTP pipelining with peer {remote-peer-id}",
    )]),
    old("started stream writer with remote peer", &[line(
        PEERS,
        "started streaming with peer {remote-peer-id} (writer)",
    )]),
    old("started stream reader with remote peer", &[line(
        PEERS,
        "started streaming with peer {remote-peer-id} ({stream-reader-type} reader)",
    )]),
    old("started remote peer", &[line(PEERS, "started peer {remote-peer-id}")]),
    old("added remote peer", &[line(PEERS, "added peer {remote-peer-id}")]),
    old("removed remote peer", &[line(PEERS, "removed peer {removed-remote-peer-id}")]),
    old("updated remote peer", &[line(PEERS, "updated peer {updated-remote-peer-id}")]),
    old("peer became active", &[line(PEERS, "peer {peer-id} became active")]),
    old("peer became inactive (message send to peer failed)", &[
        line(PEERS, "{error}").at('E'),
        line(PEERS, "peer {peer-id} became inactive (message send to peer failed)").at('I'),
    ]),
    old("established TCP streaming connection with remote peer", &[
        line(
            PEERS,
            "established a TCP streaming connection with peer {remote-peer-id} \
             ({stream-reader-type} reader)",
        ),
        line(
            PEERS,
            "established a TCP streaming connection with peer {remote-peer-id} \
             ({stream-writer-type} writer)",
        ),
    ]),
    old("lost TCP streaming connection with remote peer", &[
        line(
            PEERS,
            "lost the TCP streaming connection with peer {remote-peer-id} ({stream-reader-type} \
             reader)",
        ),
        line(
            PEERS,
            "lost the TCP streaming connection with peer {remote-peer-id} ({stream-writer-type} \
             writer)",
        ),
    ]),
    old("closed TCP streaming connection with remote peer", &[
        line(
            PEERS,
            "closed an existing TCP streaming connection with peer {remote-peer-id} \
             ({stream-writer-type} writer)",
        )
        .when(When::Has("local-member-id")),
        line(
            PEERS,
            "closed the TCP streaming connection with peer {remote-peer-id} \
             ({stream-writer-type} writer)",
        )
        .at('I')
        .when(When::Lacks("local-member-id")),
    ]),
    old("prober detected unhealthy status", &[line(
        PEERS,
        "health check for peer {remote-peer-id} could not connect: {error}",
    )]),
    old("prober found high clock drift", &[line(
        PEERS,
        "the clock difference against peer {remote-peer-id} is too high [{clock-drift} > 1s]",
    )]),
    old("failed to find remote peer in cluster", &[line(
        PEERS,
        "failed to find member {remote-peer-id-from} in cluster {cluster-id}",
    )
    .at('E')]),
    old("rejected stream from remote peer because it was removed", &[line(
        PEERS,
        "rejected the stream from peer {remote-peer-id-from} since it was removed",
    )]),
    old("rejected Raft message from removed member", &[line(
        SERVER,
        "reject message from removed member {remote-peer-id-from}",
    )]),
    old("request cluster ID mismatch", &[line(
        PEERS,
        "request cluster ID mismatch (got {remote-peer-cluster-id} want \
         {local-member-cluster-id})",
    )
    .at('E')]),
    old("failed version compatibility check", &[line(
        PEERS,
        "request version incompatibility ({error})",
    )
    .at('E')]),
    old("request sent was ignored by remote peer due to server version incompatibility", &[line(
        PEERS,
        "request sent was ignored by peer {remote-peer-id} (server version incompatible)",
    )
    .at('E')]),
    old("request sent was ignored by remote peer due to cluster ID mismatch", &[line(
        PEERS,
        "request sent was ignored (cluster ID mismatch: \
         peer[{remote-peer-id}]={remote-peer-cluster-id}, local={local-member-cluster-id})",
    )
    .at('E')]),
    old("request sent was ignored by peer", &[line(
        PEERS,
        "request sent was ignored by peer {remote-peer-id} (server version incompatible)",
    )]),
    old("request sent was ignored due to cluster ID mismatch", &[line(
        PEERS,
        "request sent was ignored (cluster ID mismatch: \
         remote[{remote-peer-id}]={remote-peer-cluster-id}, local={local-member-cluster-id})",
    )]),
    old("dropped internal Raft message since sending buffer is full", &[line(
        PEERS,
        "dropped internal raft message to {remote-peer-id} since {remote-peer-name}'s sending \
         buffer is full (bad/overloaded network)",
    )]),
    old("dropped internal Raft message since receiving buffer is full (overloaded network)", &[
        line(
            PEERS,
            "dropped internal raft message from {from} since receiving buffer is full (overloaded \
             network)",
        ),
    ]),
    old("failed to process Raft message", &[line(
        PEERS,
        "failed to process raft message ({error})",
    )]),
    old("failed to read Raft message", &[line(
        PEERS,
        "failed to read raft message ({error})",
    )
    .at('E')]),
    old("failed to unmarshal Raft message", &[line(
        PEERS,
        "failed to unmarshal raft message ({error})",
    )
    .at('E')]),
    old("sending database snapshot", &[line(
        PEERS,
        "start to send database snapshot [index: {snapshot-index}, to {remote-peer-id}]...",
    )]),
    old("sent database snapshot", &[line(
        PEERS,
        "database snapshot [index: {snapshot-index}, to: {remote-peer-id}] sent out successfully",
    )]),
    old("failed to send database snapshot", &[line(
        PEERS,
        "database snapshot [index: {snapshot-index}, to: {remote-peer-id}] failed to be sent out \
         ({error})",
    )]),
    old("receiving database snapshot", &[line(
        PEERS,
        "receiving database snapshot [index: {incoming-snapshot-index}, from: \
         {remote-snapshot-sender-id}]",
    )]),
    old("received and saved database snapshot", &[line(
        PEERS,
        "successfully received and saved database snapshot [index: {incoming-snapshot-index}, \
         from: {remote-snapshot-sender-id}]",
    )]),
    // At work.
    old("apply request took too long", &[
        line(
            SERVER,
            "{prefix}request {request:q} with result {response:q} took too long ({took}) to \
             execute",
        )
        .when(When::Lacks("error")),
        line(
            SERVER,
            "{prefix}request {request:q} with result \"error:{error}\" took too long ({took}) to \
             execute",
        ),
    ]),
    old("finished scheduled compaction", &[line(
        MVCC,
        "finished scheduled compaction at {compact-revision} (took {took})",
    )]),
    old("request stats", &[line(
        RPC,
        "start time = {start time}, time spent = {time spent}, remote = {remote}, response type = \
         {response type}, request count = {request count}, request size = {request size}, response \
         count = {response count}, response size = {response size}, request content = {request \
         content}",
    )]),
    old("saved snapshot", &[line(SERVER, "saved snapshot at index {snapshot-index}")]),
    old("starting auto revision compaction", &[line(
        COMPACTOR,
        "Starting auto-compaction at revision {revision} (retention: {revision-compaction-retention} revisions)",
    )
    .at('N')]),
    old("starting auto periodic compaction", &[line(
        COMPACTOR,
        "Starting auto-compaction at revision {revision} (retention: {compact-period})",
    )
    .at('N')]),
    old("completed auto revision compaction", &[line(
        COMPACTOR,
        "Finished auto-compaction at revision {revision}",
    )
    .at('N')]),
    old("completed auto periodic compaction", &[line(
        COMPACTOR,
        "Finished auto-compaction at revision {revision}",
    )
    .at('N')]),
    old("failed auto revision compaction", &[line(
        COMPACTOR,
        "Failed auto-compaction at revision {revision} ({error})",
    )
    .at('N')]),
    old("failed auto periodic compaction", &[line(
        COMPACTOR,
        "Failed auto-compaction at revision {revision} ({error})",
    )
    .at('N')]),
    old("sending database snapshot to client", &[line(
        RPC,
        "sending database snapshot to client [{total-bytes} bytes]",
    )]),
    old("successfully sent database snapshot to client", &[line(
        RPC,
        "successfully sent database snapshot to client [{total-bytes} bytes]",
    )]),
    old("disabled backend quota", &[line(SERVER, "disabling backend quota").at('W')]),
    old("quota exceeds the maximum value", &[line(
        SERVER,
        "backend quota {quota-size-bytes} exceeds maximum recommended quota \
         {quota-maximum-size-bytes}",
    )]),
    old("/health error", &[
        line(HEALTH, "/health error (status code {status-code})").when(When::Lacks("output")),
        line(HEALTH, "/health error due to {output} (status code {status-code})"),
    ]),
    old("cut off the unsynced end of the log", &[line(WAL, "repairing {file}").at('N')]),
    // The way down.
    old("received signal; shutting down", &[line(
        SIGNALS,
        "received {signal} signal, shutting down...",
    )
    .at('N')]),
    old("skipped leadership transfer; local server is not leader", &[line(
        SERVER,
        "skipped leadership transfer for stopping non-leader member",
    )]),
    old("skipped leadership transfer for single voting member cluster", &[line(
        SERVER,
        "skipped leadership transfer for single voting member cluster",
    )]),
    old("leadership transfer starting", &[line(
        SERVER,
        "{local-member-id} starts leadership transfer from {current-leader-member-id} to \
         {transferee-member-id}",
    )]),
    old("leadership transfer finished", &[line(
        SERVER,
        "{local-member-id} finished leadership transfer from {old-leader-member-id} to \
         {new-leader-member-id} (took {took})",
    )]),
    old("leadership transfer failed", &[line(
        SERVER,
        "{local-member-id} failed to transfer leadership ({error})",
    )]),
    old("stopping remote peer", &[line(PEERS, "stopping peer {remote-peer-id}...")]),
    old("stopped TCP streaming connection with remote peer", &[line(
        PEERS,
        "stopped streaming with peer {remote-peer-id} (writer)",
    )]),
    old("stopped HTTP pipelining with remote peer", &[line(
        PEERS,
        "stopped HTTP pipelining with peer {remote-peer-id}",
    )]),
    old("stopped stream reader with remote peer", &[line(
        PEERS,
        "stopped streaming with peer {remote-peer-id} ({stream-reader-type} reader)",
    )]),
    old("stopped remote peer", &[line(PEERS, "stopped peer {remote-peer-id}")]),
];

const STARTING: &[Line] = &[
    line(MAIN, "etcd Version: {etcd-version}"),
    line(MAIN, "Git SHA: {git-sha}"),
    line(MAIN, "Go Version: {go-version}"),
    line(MAIN, "Go OS/Arch: {go-os}/{go-arch}"),
    line(
        MAIN,
        "setting maximum number of CPUs to {max-cpu-set}, total number of available CPUs is \
         {max-cpu-available}",
    ),
    line(EMBED, "name = {name}"),
    line(EMBED, "force new cluster").when(When::IsTrue("force-new-cluster")),
    line(EMBED, "data dir = {data-dir}"),
    line(EMBED, "member dir = {member-dir}"),
    line(EMBED, "dedicated WAL dir = {wal-dir}").when(When::HasText("wal-dir")),
    line(EMBED, "heartbeat = {heartbeat-interval:ms}"),
    line(EMBED, "election = {election-timeout:ms}"),
    line(EMBED, "snapshot count = {snapshot-count}"),
    line(EMBED, "advertise client URLs = {advertise-client-urls:,}"),
    line(EMBED, "initial advertise peer URLs = {initial-advertise-peer-urls:,}")
        .when(When::IsTrue("member-initialized")),
    line(EMBED, "initial cluster = {initial-cluster}").when(When::IsTrue("member-initialized")),
];
