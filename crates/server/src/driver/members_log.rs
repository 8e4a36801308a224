//! What changed about the members, as log lines with etcd's texts and fields.
//!
//! The lines are found by comparing the members before and after a turn, so they name every change
//! however it came: by an entry, or with a state from the leader.
//!
//! Not here: connecting to the members (`outside`).

use std::collections::BTreeMap;

use quoin_store::{ClusterVersion, Member, View};

use crate::log::Record;
use crate::record;

/// The members that the log has told of.
#[derive(Debug)]
pub(super) struct KnownMembers {
    cluster: String,
    local: String,
    members: BTreeMap<u64, Member>,
    version: Option<ClusterVersion>,
}

impl KnownMembers {
    /// Begins with the members of a state that was recovered. Returns the lines about them, too.
    pub(super) fn recovered(cluster_id: u64, id: u64, view: &View) -> (Self, Vec<Record>) {
        let (cluster, local) = (format!("{cluster_id:x}"), format!("{id:x}"));
        let mut known = Self { cluster, local, members: BTreeMap::new(), version: None };
        let mut lines = Vec::new();
        for member in view.membership().members() {
            let line = known
                .about("recovered/added member from store")
                .with("recovered-remote-peer-id", format!("{:x}", member.id))
                .with("recovered-remote-peer-urls", member.peer_urls.clone())
                .with("recovered-remote-peer-is-learner", member.is_learner);
            lines.push(line);
            known.members.insert(member.id, member.clone());
        }
        known.version = view.membership().version();
        if let Some(version) = known.version {
            let text = minor_text(version);
            lines.push(record!(Info, "set cluster version from store", "cluster-version" => &text));
            lines.push(capabilities(&text));
        }
        (known, lines)
    }

    /// Returns the lines about what is new in a view. `members_changed` says whether to look for
    /// changed members; the version is always looked at.
    pub(super) fn update(&mut self, view: &View, members_changed: bool) -> Vec<Record> {
        let mut lines = Vec::new();
        if members_changed {
            self.update_members(view, &mut lines);
        }
        let version = view.membership().version();
        if let Some(new) = version
            && version != self.version
        {
            let text = minor_text(new);
            lines.push(match self.version {
                None => {
                    self.about("set initial cluster version").with("cluster-version", text.clone())
                }
                Some(old) => self
                    .about("updated cluster version")
                    .with("from", minor_text(old))
                    .with("to", text.clone()),
            });
            lines.push(capabilities(&text));
            self.version = version;
        }
        lines
    }

    fn update_members(&mut self, view: &View, lines: &mut Vec<Record>) {
        let members = view.membership().members();
        let now: BTreeMap<u64, Member> =
            members.map(|member| (member.id, member.clone())).collect();
        for gone in self.members.values().filter(|member| !now.contains_key(&member.id)) {
            lines.push(
                self.about("removed member")
                    .with("removed-remote-peer-id", format!("{:x}", gone.id))
                    .with("removed-remote-peer-urls", gone.peer_urls.clone())
                    .with("removed-remote-peer-is-learner", gone.is_learner),
            );
        }
        for member in now.values() {
            lines.extend(self.change(self.members.get(&member.id), member));
        }
        self.members = now;
    }

    fn change(&self, before: Option<&Member>, now: &Member) -> Option<Record> {
        let id = format!("{:x}", now.id);
        let Some(before) = before else {
            let added = self
                .about("added member")
                .with("added-peer-id", id)
                .with("added-peer-peer-urls", now.peer_urls.clone())
                .with("added-peer-is-learner", now.is_learner);
            return Some(added);
        };
        if before.is_learner && !now.is_learner {
            return Some(self.about("promote member").with("promoted-member-id", id));
        }
        (before.peer_urls != now.peer_urls).then(|| {
            self.about("updated member")
                .with("updated-remote-peer-id", id)
                .with("updated-remote-peer-urls", now.peer_urls.clone())
                .with("updated-remote-peer-is-learner", now.is_learner)
        })
    }

    fn about(&self, message: &'static str) -> Record {
        record!(
            Info, message,
            "cluster-id" => &self.cluster,
            "local-member-id" => &self.local,
        )
    }
}

/// A cluster agrees on major and minor version; the rest is each member's own.
fn minor_text(version: ClusterVersion) -> String {
    format!("{}.{}", version.major, version.minor)
}

fn capabilities(version: &str) -> Record {
    record!(
        Info, "enabled capabilities for version",
        "cluster-version" => version.to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, url: &str, is_learner: bool) -> Member {
        Member { id, peer_urls: vec![url.to_owned()], is_learner, ..Member::default() }
    }

    #[test]
    fn changes_are_named() {
        let known = KnownMembers {
            cluster: "c".to_owned(),
            local: "1".to_owned(),
            members: BTreeMap::new(),
            version: None,
        };
        let learner = member(0xab, "http://a:1", true);
        let voter = member(0xab, "http://a:1", false);
        let moved = member(0xab, "http://b:1", false);
        let message = |before, now| known.change(before, now).map(|record| record.message);
        assert_eq!(message(None, &voter).as_deref(), Some("added member"));
        assert_eq!(message(Some(&learner), &voter).as_deref(), Some("promote member"));
        assert_eq!(message(Some(&voter), &moved).as_deref(), Some("updated member"));
        assert_eq!(message(Some(&voter), &voter), None);
    }
}
