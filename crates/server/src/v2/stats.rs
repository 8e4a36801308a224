//! `/v2/stats`: what this member has counted.
//!
//! Not here: counting (`store::v2`, `metrics::appends`, `peer`).

use http::request::Parts;
use http::{Method, Response, StatusCode};
use quoin_store::{V2Stats, push_json_string};
use tonic::body::Body;

use super::{V2, answer, render};
use crate::log::duration_text;
use crate::metrics::AppendState;
use crate::peer::FollowerStats;

/// Answers `/v2/stats/store`.
pub(super) fn store(v2: &V2, parts: &Parts) -> Response<Body> {
    if parts.method != Method::GET {
        return answer::method_not_allowed("GET");
    }
    let V2Stats {
        get_success,
        get_fail,
        set_success,
        set_fail,
        delete_success,
        delete_fail,
        update_success,
        update_fail,
        create_success,
        create_fail,
        compare_and_swap_success,
        compare_and_swap_fail,
        compare_and_delete_success,
        compare_and_delete_fail,
        expire_count,
    } = v2.member.view().v2().stats();
    let (local_success, local_fail) = v2.local_reads();
    let rows = [
        ("getsSuccess", get_success + local_success),
        ("getsFail", get_fail + local_fail),
        ("setsSuccess", set_success),
        ("setsFail", set_fail),
        ("deleteSuccess", delete_success),
        ("deleteFail", delete_fail),
        ("updateSuccess", update_success),
        ("updateFail", update_fail),
        ("createSuccess", create_success),
        ("createFail", create_fail),
        ("compareAndSwapSuccess", compare_and_swap_success),
        ("compareAndSwapFail", compare_and_swap_fail),
        ("compareAndDeleteSuccess", compare_and_delete_success),
        ("compareAndDeleteFail", compare_and_delete_fail),
        ("expireCount", expire_count),
        ("watchers", v2.watchers.len() as u64),
    ];
    let rows = rows.map(|(name, count)| format!("\"{name}\":{count}"));
    answer::json(StatusCode::OK, format!("{{{}}}", rows.join(",")).into_bytes())
}

/// Answers `/v2/stats/self`.
pub(super) fn own(v2: &V2, parts: &Parts) -> Response<Body> {
    if parts.method != Method::GET {
        return answer::method_not_allowed("GET");
    }
    let report = v2.member.metrics.appends.report();
    let state = match report.state {
        AppendState::Follower => "StateFollower",
        AppendState::Leader => "StateLeader",
    };
    let mut body = b"{\"name\":".to_vec();
    push_json_string(&mut body, v2.config.name.as_bytes());
    let leader = report.leader.map(|id| format!("{id:x}")).unwrap_or_default();
    let uptime = i64::try_from(report.leader_uptime.as_nanos()).unwrap_or(i64::MAX);
    let text = format!(
        ",\"id\":\"{:x}\",\"state\":\"{state}\",\"startTime\":\"{}\",\
         \"leaderInfo\":{{\"leader\":\"{leader}\",\"uptime\":\"{}\",\"startTime\":\"{}\"}},\
         \"recvAppendRequestCnt\":{}{},\"sendAppendRequestCnt\":{}{}}}",
        v2.member.id,
        render::system_time(report.started),
        duration_text(uptime),
        render::system_time(report.leader_since),
        report.received.count,
        rates("recv", report.received.per_s),
        report.sent.count,
        rates("send", report.sent.per_s),
    );
    body.extend_from_slice(text.as_bytes());
    answer::json(StatusCode::OK, body)
}

/// Requests and bytes per second, unless nothing moves.
fn rates(way: &str, per_s: Option<(f64, f64)>) -> String {
    let Some((requests, bytes)) = per_s else { return String::new() };
    let (requests, bytes) = (float(requests), float(bytes));
    format!(",\"{way}PkgRate\":{requests},\"{way}BandwidthRate\":{bytes}")
}

/// Answers `/v2/stats/leader`.
pub(super) fn leader(v2: &V2, parts: &Parts) -> Response<Body> {
    if parts.method != Method::GET {
        return answer::method_not_allowed("GET");
    }
    if v2.member.leader() != v2.member.id {
        return answer::message(StatusCode::FORBIDDEN, b"not current leader");
    }
    let followers = v2.transport.follower_stats();
    let mut rows: Vec<(String, FollowerStats)> =
        followers.into_iter().map(|(id, stats)| (format!("{id:x}"), stats)).collect();
    rows.sort_by(|(a, _), (b, _)| a.cmp(b));
    let rows: Vec<String> = rows.iter().map(|(id, stats)| follower(id, stats)).collect();
    let body =
        format!("{{\"leader\":\"{:x}\",\"followers\":{{{}}}}}", v2.member.id, rows.join(","));
    answer::json(StatusCode::OK, body.into_bytes())
}

fn follower(id: &str, stats: &FollowerStats) -> String {
    format!(
        "\"{id}\":{{\"latency\":{{\"current\":{},\"average\":{},\"standardDeviation\":{},\
         \"minimum\":{},\"maximum\":{}}},\"counts\":{{\"fail\":{},\"success\":{}}}}}",
        float(stats.current_ms),
        float(stats.average_ms),
        float(stats.deviation_ms()),
        float(stats.minimum_ms),
        float(stats.maximum_ms),
        stats.failures,
        stats.successes,
    )
}

/// Returns a number as Go's JSON has it: the fewest digits, with an exponent where it is far from 1.
fn float(number: f64) -> String {
    let size = number.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        return format!("{number}");
    }
    let text = format!("{number:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_gos() {
        let check = |number: f64, text: &str| assert_eq!(float(number), text);
        check(0.0, "0");
        check(0.25, "0.25");
        check(9_223_372_036_854_775_808.0, "9223372036854776000");
        check(1e21, "1e+21");
        check(1.5e-7, "1.5e-7");
    }

    #[test]
    fn a_follower_that_was_sent_nothing_has_an_endless_minimum() {
        assert_eq!(
            follower("a", &FollowerStats::default()),
            "\"a\":{\"latency\":{\"current\":0,\"average\":0,\"standardDeviation\":0,\
             \"minimum\":9223372036854776000,\"maximum\":0},\"counts\":{\"fail\":0,\"success\":0}}"
        );
    }
}
