//! The first election after a start comes early: silence before the start counts.
//!
//! A member that starts waits as long for a leader as one that has just heard of one, although a
//! cluster that starts has none. So once its peers are connected, and a leader could be heard, the
//! clock of the election is put forward to shortly before its end.
//!
//! Not here: the election, and a member that is alone (`driver`), which campaigns at once.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, GoDuration};
use crate::driver::Input;
use crate::log;
use crate::member::Member;
use crate::peer::Transport;

/// Peers that must be connected, or all if there are fewer. If one of them leads, it is heard.
const PEERS_WANTED: usize = 2;
/// How long peers may take to connect, as in etcd. Later there is nothing left to gain.
const WAIT_MAX: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);
/// Ticks that are left for the heartbeat of a leader, as in etcd.
const TICKS_LEFT: usize = 2;

/// Puts the clock of the election forward when enough peers are connected.
pub(super) async fn hasten(member: Arc<Member>, transport: Arc<Transport>, config: Arc<Config>) {
    let election_ticks = config.election_ticks();
    let peers = transport.peers().len();
    if peers == 0 {
        return;
    }
    if !config.initial_election_tick_advance {
        log::info!("skipping initial election tick advance", "election-ticks" => election_ticks);
        return;
    }
    log::info!("starting initial election tick advance", "election-ticks" => election_ticks);
    let connected = async {
        loop {
            let ids = transport.peers();
            let active = ids.iter().filter(|id| transport.active_since(**id).is_some()).count();
            if active >= PEERS_WANTED.min(ids.len()) {
                return active;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    let Ok(active) = tokio::time::timeout(WAIT_MAX, connected).await else { return };
    let ticks = u32::try_from(election_ticks.saturating_sub(TICKS_LEFT)).unwrap_or(u32::MAX);
    log::info!("initialized peer connections; fast-forwarding election ticks",
        "local-member-id" => format!("{:x}", member.id),
        "forward-ticks" => ticks,
        "forward-duration" => duration(ticks as usize * config.heartbeat_interval),
        "election-ticks" => election_ticks,
        "election-timeout" => duration(election_ticks * config.heartbeat_interval),
        "active-remote-members" => active);
    // A full queue belongs to a member that has better things to do.
    member.input(Input::HastenElection(ticks)).ok();
}

/// Returns milliseconds as Go prints a duration.
fn duration(milliseconds: usize) -> String {
    GoDuration::from_millis(i64::try_from(milliseconds).unwrap_or(i64::MAX)).to_string()
}
