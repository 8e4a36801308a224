//! Asking a peer now and then whether it is there, how long the way is, and what time it has.
//!
//! Nothing depends on the answers but log lines and a metric: a peer is reached or not reached
//! when something is sent to it.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::dial::{self, Connection, DialError, Silence};
use super::link::Link;
use super::urls::PeerUrl;
use super::{id_text, limits};
use crate::log::Value;
use crate::record;

/// Clock difference that operators want to hear of.
const HIGH_DRIFT: time::Duration = time::Duration::SECOND;
/// Probes between two lines about the same drift.
const DRIFT_LOG_PROBES: u32 = 8;
/// The weight of the past in the smoothed round trip time, in eighths.
const PAST_EIGHTHS: u32 = 7;
/// The name of this path in log lines.
const ROUND_TRIPPER: &str = "ROUND_TRIPPER_RAFT_MESSAGE";

/// What a peer answers to a probe.
#[derive(Deserialize)]
struct Health {
    #[serde(rename = "OK")]
    ok: bool,
    #[serde(rename = "Now")]
    now: String,
}

/// Probes one peer, for ever.
pub(super) async fn run(link: Arc<Link>) {
    let mut ticks = interval_at(Instant::now() + limits::PROBE_INTERVAL, limits::PROBE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut smoothed: Option<Duration> = None;
    let mut drift_quiet = 0_u32;
    loop {
        ticks.tick().await;
        drift_quiet = drift_quiet.saturating_sub(1);
        let url = link.pick();
        let probed = timeout(limits::IO_DEADLINE, probe(&link, &url)).await;
        match probed.unwrap_or_else(|_| Err("i/o timeout".to_owned())) {
            Ok((time, now)) => {
                let average = smoothed.map_or(time, |past| (past * PAST_EIGHTHS + time) / 8);
                smoothed = Some(average);
                link.shared.inbound.round_trip(link.id, average);
                let drift = OffsetDateTime::now_utc() - now - average / 2;
                if drift.abs() > HIGH_DRIFT && drift_quiet == 0 {
                    drift_quiet = DRIFT_LOG_PROBES;
                    link.shared.log(&record!(
                        Warn, "prober found high clock drift",
                        "round-tripper-name" => ROUND_TRIPPER,
                        "remote-peer-id" => id_text(link.id),
                        "clock-drift" => nanos(drift),
                        "rtt" => average,
                    ));
                }
            }
            Err(error) => link.shared.log(&record!(
                Warn, "prober detected unhealthy status",
                "round-tripper-name" => ROUND_TRIPPER,
                "remote-peer-id" => id_text(link.id),
                "rtt" => smoothed.unwrap_or_default(),
                "error" => error,
            )),
        }
    }
}

/// Returns a span of time that may be negative as a log field.
fn nanos(span: time::Duration) -> Value {
    Value::Nanos(i64::try_from(span.whole_nanoseconds()).unwrap_or(i64::MAX))
}

/// Asks once, on a connection of its own; returns how long the answer took and what it says.
async fn probe(link: &Link, url: &PeerUrl) -> Result<(Duration, OffsetDateTime), String> {
    let shared = &*link.shared;
    let connection = dial::connect(shared, url, Silence::IsFine).await;
    let Connection { mut sender, mut driver } = connection.map_err(|error| error.to_string())?;
    let empty = dial::fixed(Bytes::new());
    let request = dial::request(shared, url, Method::GET, "/raft/probing", empty);
    let start = Instant::now();
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let time = start.elapsed();
        Ok::<_, DialError>((status, time, dial::answer(response).await?))
    };
    let answered = dial::drive(&mut driver, exchange).await;
    let (status, time, body) = answered.map_err(|error| error.to_string())?;
    if status != StatusCode::OK {
        return Err(format!("got unexpected HTTP status code {status} from {}", url.authority));
    }
    let health: Health = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    if !health.ok {
        return Err("the peer says that it is not well".to_owned());
    }
    let now = OffsetDateTime::parse(&health.now, &Rfc3339).map_err(|error| error.to_string())?;
    Ok((time, now))
}
