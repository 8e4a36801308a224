//! Which program each other member runs: the etcd version that it says, and whether it is ours.
//!
//! Releases of etcd differ in the entries that they can apply, and one that meets an entry that it
//! does not know ends. So a member looks who is there before it proposes such an entry:
//!
//! | entry | etcd 3.4 | 3.5 | 3.6 | 3.7 | ours |
//! |---|---|---|---|---|---|
//! | a member's attributes or the cluster version, as a v2 request | yes | yes | yes | ends | yes |
//! | the same as a Raft request of its own | ends | yes | yes | yes | yes |
//! | another v2 request, of a client | yes | yes | ends | ends | yes |
//!
//! Ours says the version of an etcd too; what tells it apart is a header that an etcd does not have.
//!
//! Not here: proposing, and when members are asked (`publish`).

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use http::HeaderName;
use quoin_store::{ClusterVersion, Member as StoredMember};
use serde::Deserialize;

use crate::ask;
use crate::log;
use crate::member::Member;

/// The header by which an answer to `/version` says that it comes from a member of ours, and from
/// which release. Releases that cannot apply v2 requests did not have it.
pub(crate) const QUOIN_VERSION: HeaderName = HeaderName::from_static("x-quoin-version");

/// A cluster from here on has no member that needs v2 requests to learn of members and the version.
const RAFT_REQUESTS_SINCE: ClusterVersion = ClusterVersion { major: 3, minor: 5, patch: 0 };
/// The first etcd that ends when it meets a v2 request of a client.
const V2_CLIENTS_UNTIL: ClusterVersion = ClusterVersion { major: 3, minor: 6, patch: 0 };
/// The first etcd that ends when it meets any v2 request.
const V2_REQUESTS_UNTIL: ClusterVersion = ClusterVersion { major: 3, minor: 7, patch: 0 };
/// The version of a cluster whose members have not all been seen yet, as in etcd.
pub(crate) const UNDECIDED: ClusterVersion = ClusterVersion { major: 3, minor: 0, patch: 0 };

/// How soon a request asks again for a member that was not heard of.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// What a member runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// The etcd version that it says, without its patch release.
    pub(crate) version: ClusterVersion,
    /// Whether it is ours, with the v2 API.
    pub(crate) is_ours: bool,
}

/// In which form a member publishes itself or the cluster version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As a request of the v2 API.
    V2Request,
    /// As a Raft request of its own.
    RaftRequest,
}

/// The other members by ID, and what each of them runs if that is known.
pub(crate) type Others = BTreeMap<u64, Option<Program>>;

/// Why a v2 request of a client must not be proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// What the client is told.
    pub(crate) reason: String,
    /// Only because a member was not heard of yet, which may be one that can apply it.
    pub(crate) is_unheard: bool,
}

/// The last answers of all members that were ever asked.
#[derive(Debug, Default)]
pub(crate) struct Programs {
    known: Mutex<BTreeMap<u64, Program>>,
    /// Held by the request that asks for all that wait.
    asking: tokio::sync::Mutex<()>,
}

impl Programs {
    /// Asks all other members at once. Returns who they are and what they answered now. Who does not
    /// answer is logged if that is asked for, as the leader of etcd logs it.
    pub(crate) async fn ask(&self, member: &Member, logs: bool) -> Others {
        let view = member.view();
        let others = view.membership().members().filter(|other| other.id != member.id);
        let answers = others.map(async |other| (other.id, program_of(other, logs).await));
        let answers: Others = join_all(answers).await.into_iter().collect();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Members that were removed are forgotten, one that does not answer is not.
        known.retain(|id, _| answers.contains_key(id));
        known.extend(answers.iter().filter_map(|(id, program)| Some((*id, (*program)?))));
        answers
    }

    /// Asks the others on behalf of a request that waits for one that was not heard of. One request
    /// asks at a time, and not again before [`ASK_AGAIN`].
    pub(crate) async fn ask_in_turn(&self, member: &Member) {
        let _turn = self.asking.lock().await;
        let is_unheard = || self.last_known(member).values().any(Option::is_none);
        if is_unheard() {
            self.ask(member, false).await;
        }
        if is_unheard() {
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// Returns the other members with what each of them last answered.
    pub(crate) fn last_known(&self, member: &Member) -> Others {
        let view = member.view();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let others = view.membership().members().filter(|other| other.id != member.id);
        others.map(|other| (other.id, known.get(&other.id).copied())).collect()
    }
}

/// Returns the form that every member can apply if the version of the cluster alone tells it.
pub(crate) fn form_by_version(version: Option<ClusterVersion>) -> Option<Form> {
    version.is_some_and(|version| version >= RAFT_REQUESTS_SINCE).then_some(Form::RaftRequest)
}

/// Returns the form that every member can apply; none if that cannot be told before the cluster
/// has a version or all others have answered.
pub(crate) fn form(version: Option<ClusterVersion>, others: &Others) -> Option<Form> {
    if let Some(form) = form_by_version(version) {
        return Some(form);
    }
    let mut known = others.values().flatten().filter(|program| !program.is_ours);
    if known.clone().any(|program| program.version >= V2_REQUESTS_UNTIL) {
        return Some(Form::RaftRequest);
    }
    if known.any(|program| program.version < RAFT_REQUESTS_SINCE) {
        return Some(Form::V2Request);
    }
    match version {
        // It has been decided, by a member that needs the old form and may come back.
        Some(version) if version > UNDECIDED => Some(Form::V2Request),
        // A cluster that is being founded. A member that has not come yet would be the first to
        // need the old form, and one of etcd 3.7 would end by it.
        Some(_) => Some(Form::RaftRequest),
        None => others.values().all(Option::is_some).then_some(Form::RaftRequest),
    }
}

/// Returns why a v2 request of a client must not be proposed, if some member cannot apply it or may
/// not be able to.
pub(crate) fn v2_refusal(
    version: Option<ClusterVersion>,
    is_used: bool,
    others: &Others,
) -> Option<Refusal> {
    // A cluster below this version may have members that are not heard of for a while, and each of
    // those who made it so can apply v2 requests. Where some were applied already, all could.
    let trusts = is_used || version.is_some_and(|version| version < V2_CLIENTS_UNTIL);
    let refused = |id: u64, what: &dyn Display| {
        format!(
            "etcdserver: v2 requests are refused while member {id:x} ({what}) cannot apply them"
        )
    };
    let mut unheard = None;
    for (id, program) in others {
        match program {
            Some(program) if program.is_ours || program.version < V2_CLIENTS_UNTIL => {}
            // No answer of another member could change this one.
            Some(program) => {
                return Some(Refusal { reason: refused(*id, program), is_unheard: false });
            }
            None if trusts => {}
            None => unheard = unheard.or(Some(*id)),
        }
    }
    let reason = refused(unheard?, &"of unknown version");
    Some(Refusal { reason, is_unheard: true })
}

impl Display for Program {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "etcd {}.{}", self.version.major, self.version.minor)
    }
}

/// What a member says about its version.
#[derive(Deserialize)]
struct Versions {
    etcdserver: String,
}

/// Returns what a member runs, if it answers at one of its URLs. All are asked at once, because one
/// that is silent would hold up the next.
async fn program_of(other: &StoredMember, logs: bool) -> Option<Program> {
    let id = format!("{:x}", other.id);
    let ask = async |url: &String| (url.clone(), ask::try_get(url, "/version").await);
    let mut answers: FuturesUnordered<_> = other.peer_urls.iter().map(ask).collect();
    let mut last = None;
    while let Some((url, answer)) = answers.next().await {
        match answer {
            Ok(answer) => {
                let versions: Versions = serde_json::from_slice(&answer.body).ok()?;
                let is_ours = answer.headers.contains_key(QUOIN_VERSION);
                return Some(Program { version: minor(&versions.etcdserver)?, is_ours });
            }
            Err(error) if logs => {
                log::warn!("failed to reach the peer URL", "address" => format!("{url}/version"),
                    "remote-member-id" => &id, "error" => &error);
                last = Some(error);
            }
            Err(_) => {}
        }
    }
    if logs {
        let error = last.unwrap_or_else(|| "the member has no peer URLs".to_owned());
        log::warn!("failed to get version", "remote-member-id" => id, "error" => error);
    }
    None
}

/// Returns the cluster version that a server version allows: patch releases do not count.
pub(crate) fn minor(version: &str) -> Option<ClusterVersion> {
    let release = version.split(['-', '+']).next()?;
    let version: ClusterVersion = release.parse().ok()?;
    Some(ClusterVersion { patch: 0, ..version })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Option<&str> = Some("ours");

    /// Members with IDs from 1 on; `ours`, a version of etcd, or one that never answered.
    fn others(programs: &[Option<&str>]) -> Others {
        let program = |text: &str| match text {
            "ours" => Program { version: minor("3.7.1").expect("a version"), is_ours: true },
            text => Program { version: minor(text).expect("a version"), is_ours: false },
        };
        (1..).zip(programs).map(|(id, text)| (id, text.map(program))).collect()
    }

    fn check_form(version: Option<&str>, programs: &[Option<&str>], expected: Option<Form>) {
        let version = version.map(|text| text.parse().expect("a version"));
        assert_eq!(form(version, &others(programs)), expected, "{version:?} {programs:?}");
    }

    #[test]
    fn a_cluster_of_3_4_is_published_to_by_v2_requests() {
        let (old, new) = (Some(Form::V2Request), Some(Form::RaftRequest));
        let v34 = Some("3.4.0");
        check_form(v34, &[Some("3.4.23"), Some("3.4.23")], old);
        check_form(v34, &[OURS, Some("3.4.23")], old);
        // Who does not answer may be the etcd 3.4 that keeps the cluster where it is.
        check_form(v34, &[OURS, None], old);
        // Also the step to a later version, at which an etcd 3.4 that comes back ends in good order.
        check_form(v34, &[OURS, OURS], old);
        check_form(v34, &[OURS, Some("3.6.14")], old);
        check_form(v34, &[OURS, Some("3.7.1")], new);
        check_form(Some("3.5.0"), &[OURS, Some("3.5.33")], new);
        check_form(Some("3.7.0"), &[OURS, None], new);
    }

    #[test]
    fn a_new_cluster_asks_its_members_first() {
        let (old, new) = (Some(Form::V2Request), Some(Form::RaftRequest));
        check_form(None, &[], new);
        check_form(None, &[OURS, OURS], new);
        check_form(None, &[OURS, Some("3.7.1")], new);
        check_form(None, &[None, Some("3.4.23")], old);
        check_form(None, &[None, Some("3.7.1")], new);
        check_form(None, &[OURS, None], None);
        // Founded although a member was missing.
        check_form(Some("3.0.0"), &[OURS, None], new);
        check_form(Some("3.0.0"), &[None, Some("3.4.23")], old);
    }

    fn check_refusal(
        version: Option<&str>,
        is_used: bool,
        programs: &[Option<&str>],
        expected: Option<&str>,
    ) {
        let version = version.map(|text| text.parse().expect("a version"));
        let refused = v2_refusal(version, is_used, &others(programs));
        let refused = refused.map(|refusal| {
            assert_eq!(refusal.is_unheard, refusal.reason.contains("unknown"));
            refusal.reason
        });
        let expected = expected.map(|who| {
            format!("etcdserver: v2 requests are refused while member {who} cannot apply them")
        });
        assert_eq!(refused, expected, "{version:?} {is_used} {programs:?}");
    }

    #[test]
    fn v2_requests_wait_for_every_member_that_cannot_apply_them() {
        let v37 = Some("3.7.0");
        for is_used in [false, true] {
            check_refusal(v37, is_used, &[], None);
            check_refusal(v37, is_used, &[OURS, OURS], None);
            check_refusal(Some("3.4.0"), is_used, &[OURS, Some("3.4.23")], None);
            check_refusal(Some("3.5.0"), is_used, &[Some("3.5.33"), OURS], None);
            check_refusal(v37, is_used, &[OURS, Some("3.7.1")], Some("2 (etcd 3.7)"));
            check_refusal(Some("3.4.0"), is_used, &[Some("3.6.14"), None], Some("1 (etcd 3.6)"));
            check_refusal(None, is_used, &[Some("3.6.14")], Some("1 (etcd 3.6)"));
            // Those who were not heard of.
            check_refusal(Some("3.5.0"), is_used, &[OURS, None], None);
            let unknown = Some("2 (of unknown version)").filter(|_| !is_used);
            check_refusal(v37, is_used, &[OURS, None], unknown);
            check_refusal(None, is_used, &[OURS, None], unknown);
        }
    }

    #[test]
    fn versions_are_read_as_etcd_writes_them() {
        for text in ["3.7.1", "3.7.0-rc.0", "3.7.9+git"] {
            assert_eq!(minor(text), "3.7.0".parse().ok(), "{text}");
        }
        assert_eq!(minor("3.7"), None);
        assert_eq!(minor(""), None);
    }
}
