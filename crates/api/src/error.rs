//! The one error table: every status that a server of etcd sends, with its code and exact text.
//!
//! Clients decide by these texts and codes, so both are part of the API and neither may vary.
//! Crates with errors of their own map them to a row of this table at their border.
//!
//! Invariants:
//! - No two rows share a text, so a text names its row (see [`Error::from_message`]).
//! - [`Error::code`] is the code on the wire, also where etcd sends another code than it declares.
//!
//! Not here: texts with values in them, and errors of HTTP and of the v2 API.

mod code;
#[cfg(test)]
mod tests;

use std::fmt;

pub use code::{Code, STATUS_NAMES};

/// Makes the enum, its texts and codes, and the way back from a text, out of one list of rows.
macro_rules! error_table {
    ($($(#[doc = $doc:literal])+ $name:ident => $code:ident $message:literal;)+) => {
        /// A status that etcd sends. Each variant says when.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Error {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Error {
            /// Every row, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// Returns the code that goes over the wire.
            pub fn code(&self) -> Code {
                match self {
                    $(Self::$name => Code::$code,)+
                }
            }

            /// Returns the text that goes over the wire, with its prefix where etcd has one.
            pub fn message(&self) -> &'static str {
                match self {
                    $(Self::$name => $message,)+
                }
            }

            /// Returns the row with exactly this text, as a client does with a status it received.
            pub fn from_message(message: &str) -> Option<Self> {
                match message {
                    $($message => Some(Self::$name),)+
                    _ => None,
                }
            }
        }
    };
}

error_table! {
    /// An operation or a comparison names no key.
    EmptyKey => InvalidArgument "etcdserver: key is not provided";
    /// A put that keeps the value or the lease finds no key, or a transaction has an empty
    /// operation.
    KeyNotFound => InvalidArgument "etcdserver: key not found";
    /// A put that keeps the value also brings one.
    ValueProvided => InvalidArgument "etcdserver: value is provided";
    /// A put that keeps the lease also brings one.
    LeaseProvided => InvalidArgument "etcdserver: lease is provided";
    /// A list of a transaction is longer than the server allows.
    TooManyOps => InvalidArgument "etcdserver: too many operations in txn request";
    /// A branch of a transaction writes one key twice.
    DuplicateKey => InvalidArgument "etcdserver: duplicate key given in txn request";
    /// The client's API version in the request metadata cannot be read.
    InvalidClientApiVersion => InvalidArgument "etcdserver: invalid client api version";
    /// The sort order or the sort target is none of the defined ones.
    InvalidSortOption => InvalidArgument "etcdserver: invalid sort option";
    /// The revision asked for is older than the compacted history.
    Compacted => OutOfRange "etcdserver: mvcc: required revision has been compacted";
    /// The revision asked for does not exist yet.
    FutureRevision => OutOfRange "etcdserver: mvcc: required revision is a future revision";
    /// The quota is used up, or the alarm that says so is raised.
    NoSpace => ResourceExhausted "etcdserver: mvcc: database space exceeded";
    /// A streamed range asks for an order other than by key.
    RangeStreamSort => Unimplemented "RangeStream does not support custom sort orders";
    /// A streamed range filters by revision.
    RangeStreamFilter => Unimplemented "RangeStream does not support revision filters";

    /// No lease has the ID.
    LeaseNotFound => NotFound "etcdserver: requested lease not found";
    /// A lease already has the ID.
    LeaseExists => FailedPrecondition "etcdserver: lease already exists";
    /// The time to live is beyond the limit.
    LeaseTtlTooLarge => OutOfRange "etcdserver: too large lease TTL";
    /// A member that does not lead was asked to renew a lease.
    NotPrimaryLessor => Unknown "not a primary lessor";

    /// The watch stream was cancelled, not by its client.
    WatchCanceled => Canceled "etcdserver: watch canceled";

    /// The ID of a new member is in use.
    MemberExists => FailedPrecondition "etcdserver: member ID already exist";
    /// A peer URL belongs to another member.
    PeerUrlExists => FailedPrecondition "etcdserver: Peer URLs already exists";
    /// The change would leave too few started members for a quorum. etcd declares
    /// FailedPrecondition but sends Unknown.
    MemberNotEnoughStarted => Unknown
        "etcdserver: re-configuration failed due to not enough started members";
    /// The peer URLs of a member cannot be read.
    MemberBadUrls => InvalidArgument "etcdserver: given member URLs are invalid";
    /// No member has the ID, or it has been removed.
    MemberNotFound => NotFound "etcdserver: member not found";
    /// The member to promote is a voter already.
    MemberNotLearner => FailedPrecondition "etcdserver: can only promote a learner member";
    /// The learner to promote has not caught up with the leader.
    LearnerNotReady => FailedPrecondition
        "etcdserver: can only promote a learner member which is in sync with leader";
    /// The cluster has as many learners as it may.
    TooManyLearners => FailedPrecondition "etcdserver: too many learner members in cluster";
    /// The request is meant for another cluster.
    ClusterIdMismatch => FailedPrecondition "etcdserver: cluster ID mismatch";

    /// The encoded request is larger than the server allows.
    RequestTooLarge => InvalidArgument "etcdserver: request is too large";
    /// Too many committed entries wait to be applied. etcd declares ResourceExhausted but sends
    /// Unknown.
    TooManyRequests => Unknown "etcdserver: too many requests";
    /// A request that no part of the server knows.
    UnknownMethod => Unknown "etcdserver: unknown method";

    /// Authorization cannot be turned on without the user `root`.
    RootUserNotExist => FailedPrecondition "etcdserver: root user does not exist";
    /// Authorization cannot be turned on while the user `root` lacks the role `root`.
    RootRoleNotExist => FailedPrecondition "etcdserver: root user does not have root role";
    /// The user to add exists.
    UserAlreadyExists => FailedPrecondition "etcdserver: user name already exists";
    /// The user has no name, or nobody is named while authorization is on.
    UserEmpty => InvalidArgument "etcdserver: user name is empty";
    /// No user has the name.
    UserNotFound => FailedPrecondition "etcdserver: user name not found";
    /// The role to add exists.
    RoleAlreadyExists => FailedPrecondition "etcdserver: role name already exists";
    /// No role has the name.
    RoleNotFound => FailedPrecondition "etcdserver: role name not found";
    /// The role to add has no name.
    RoleEmpty => InvalidArgument "etcdserver: role name is empty";
    /// The name or the password is wrong; which of the two is not told.
    AuthFailed => InvalidArgument
        "etcdserver: authentication failed, invalid user ID or password";
    /// A password was given for a user that has none.
    NoPasswordUser => Unknown
        "auth: authentication failed, password was given for no password user";
    /// The request to grant a permission carries none.
    PermissionNotGiven => InvalidArgument "etcdserver: permission not given";
    /// The user may not do this.
    PermissionDenied => PermissionDenied "etcdserver: permission denied";
    /// The role to revoke is not granted to the user.
    RoleNotGranted => FailedPrecondition "etcdserver: role is not granted to the user";
    /// The permission to revoke is not granted to the role.
    PermissionNotGranted => FailedPrecondition
        "etcdserver: permission is not granted to the role";
    /// Authorization is off.
    AuthNotEnabled => FailedPrecondition "etcdserver: authentication is not enabled";
    /// The token is unknown, expired or not signed by us.
    InvalidAuthToken => Unauthenticated "etcdserver: invalid auth token";
    /// The change would lock everybody out, or the permission's range is reversed.
    InvalidAuthManagement => InvalidArgument "etcdserver: invalid auth management";
    /// The request was authorized before the last change of users or roles.
    AuthOldRevision => InvalidArgument "etcdserver: revision of auth store is old";
    /// The server can verify tokens but has no key to sign one.
    AuthVerifyOnly => Unknown "auth: token signing attempted with verify-only key";

    /// The member knows no leader.
    NoLeader => Unavailable "etcdserver: no leader";
    /// The member does not lead, and the request must run at the leader.
    NotLeader => FailedPrecondition "etcdserver: not leader";
    /// Leadership changed while the request waited.
    LeaderChanged => Unavailable "etcdserver: leader changed";
    /// The cluster version is too old for the request.
    NotCapable => FailedPrecondition "etcdserver: not capable";
    /// The server is shutting down.
    Stopped => Unavailable "etcdserver: server stopped";
    /// The request took longer than the server waits.
    Timeout => Unavailable "etcdserver: request timed out";
    /// The request timed out soon after a leader was lost.
    TimeoutLeaderFailed => Unavailable
        "etcdserver: request timed out, possibly due to previous leader failure";
    /// The request timed out while peers could not be reached.
    TimeoutConnectionLost => Unavailable
        "etcdserver: request timed out, possibly due to connection lost";
    /// The member's state did not catch up in time.
    TimeoutAppliedIndex => Unavailable
        "etcdserver: request timed out, waiting for the applied index took too long";
    /// The transfer of leadership took longer than the server waits.
    TimeoutLeaderTransfer => Unknown
        "etcdserver: request timed out, leader transfer took too long";
    /// The core refused the proposal, as it does while leadership is being transferred.
    ProposalDropped => Unknown "raft proposal dropped";
    /// A change of members is refused while not enough of them are connected.
    Unhealthy => Unavailable "etcdserver: unhealthy cluster";
    /// Members disagree about the data, and the alarm that says so is raised.
    Corrupt => DataLoss "etcdserver: corrupt cluster";
    /// A learner does not serve this request.
    NotSupportedForLearner => FailedPrecondition "etcdserver: rpc not supported for learner";
    /// The member named as the next leader cannot lead.
    BadLeaderTransferee => FailedPrecondition "etcdserver: bad leader transferee";

    /// The target version of a downgrade is not of the form `major.minor`.
    WrongDowngradeVersionFormat => InvalidArgument
        "etcdserver: wrong downgrade target version format";
    /// The target version of a downgrade is not one minor version below.
    InvalidDowngradeTarget => InvalidArgument "etcdserver: invalid downgrade target version";
    /// The cluster has not decided on its version yet.
    ClusterVersionUnavailable => FailedPrecondition
        "etcdserver: cluster version not found during downgrade";
    /// A downgrade is in progress.
    DowngradeInProgress => FailedPrecondition
        "etcdserver: cluster has a downgrade job in progress";
    /// There is no downgrade to cancel.
    NoDowngrade => FailedPrecondition "etcdserver: no inflight downgrade job";

    /// The server gave up the request because its client did.
    RequestCanceled => Canceled "etcdserver: request canceled";
    /// The request's deadline passed, noticed by the server's own logic.
    RequestDeadlineExceeded => DeadlineExceeded "etcdserver: context deadline exceeded";
    /// The client gave up, noticed by the transport.
    ContextCanceled => Canceled "context canceled";
    /// The deadline passed, noticed by the transport; also a proposal that found no leader.
    ContextDeadlineExceeded => DeadlineExceeded "context deadline exceeded";

    /// The session that holds or waits for a lock has ended.
    SessionExpired => Unknown "mutex: session is expired";
    /// The key given as proof of leadership does not lead the election.
    ElectionNotLeader => Unknown "election: not leader";
    /// Nobody leads the election.
    ElectionNoLeader => Unknown "election: no leader";
    /// The request needs the leader's key and has none.
    ElectionMissingLeader => Unknown "\"leader\" field must be provided";
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for Error {}

#[cfg(feature = "grpc")]
impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        Self::new(error.code().into(), error.message())
    }
}
