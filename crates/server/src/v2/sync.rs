//! The clock of the v2 store: the leader says through the log what time it is, so that every member
//! ends the same nodes at the same entry.

use std::sync::Arc;
use std::time::Duration;

use quoin_api::etcdserverpb::Request;

use super::now_ns;
use crate::log;
use crate::member::Member;

/// How often the leader looks whether some node may end, as in etcd.
const INTERVAL: Duration = Duration::from_millis(500);

/// Proposes the time as long as some node ends by itself and this member leads. Never ends.
pub(crate) async fn run(member: Arc<Member>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if !member.is_leader() || !member.view().v2().has_expiring() {
            continue;
        }
        if member.v2_refusal().is_some() {
            continue;
        }
        let request = Request { method: "SYNC".to_owned(), time: now_ns(), ..Request::default() };
        // If it is lost the next one makes up for it.
        if let Err(error) = member.propose_v2(request).await {
            log::debug!("failed to propose the time", "error" => error.to_string());
        }
    }
}
