//! One line for each field, `"Name" : value`.

use quoin_api::etcdserverpb as pb;
use quoin_api::etcdserverpb::response_op::Response;
use quoin_api::mvccpb::KeyValue;
use std::fmt::Display;

use super::{Output, Printer, alarm_name, event_name};
use crate::command::endpoint::{Hash, Health, Status};
use crate::exit::Exit;
use crate::number;
use crate::text::quote;

fn field(output: Output<'_>, name: &str, value: impl Display) -> Result<(), Exit> {
    Ok(writeln!(output, "\"{name}\" : {value}")?)
}

/// IDs have as many hexadecimal digits as they need.
fn id(printer: &Printer, id: u64) -> String {
    if printer.hex { format!("{id:x}") } else { id.to_string() }
}

/// IDs of leases have sixteen hexadecimal digits.
fn lease_id(printer: &Printer, id: i64) -> String {
    if printer.hex { number::id_text(id) } else { id.to_string() }
}

pub(super) fn header(
    printer: &Printer,
    output: Output<'_>,
    header: Option<&pb::ResponseHeader>,
) -> Result<(), Exit> {
    let header = header.copied().unwrap_or_default();
    field(output, "ClusterID", id(printer, header.cluster_id))?;
    field(output, "MemberID", id(printer, header.member_id))?;
    // Answers that are not about keys leave the revision out.
    if header.revision > 0 {
        field(output, "Revision", header.revision)?;
    }
    field(output, "RaftTerm", header.raft_term)
}

fn pair(printer: &Printer, output: Output<'_>, prefix: &str, pair: &KeyValue) -> Result<(), Exit> {
    let lease = lease_id(printer, pair.lease);
    field(output, &format!("{prefix}Key"), quote(&pair.key))?;
    field(output, &format!("{prefix}CreateRevision"), pair.create_revision)?;
    field(output, &format!("{prefix}ModRevision"), pair.mod_revision)?;
    field(output, &format!("{prefix}Version"), pair.version)?;
    field(output, &format!("{prefix}Value"), quote(&pair.value))?;
    field(output, &format!("{prefix}Lease"), lease)
}

pub(super) fn get(
    printer: &Printer,
    output: Output<'_>,
    r: &pb::RangeResponse,
) -> Result<(), Exit> {
    header(printer, output, r.header.as_ref())?;
    r.kvs.iter().try_for_each(|kv| pair(printer, output, "", kv))?;
    field(output, "More", r.more)?;
    field(output, "Count", r.count)
}

pub(super) fn put(printer: &Printer, output: Output<'_>, r: &pb::PutResponse) -> Result<(), Exit> {
    header(printer, output, r.header.as_ref())?;
    r.prev_kv.iter().try_for_each(|kv| pair(printer, output, "Prev", kv))
}

pub(super) fn del(
    printer: &Printer,
    output: Output<'_>,
    r: &pb::DeleteRangeResponse,
) -> Result<(), Exit> {
    header(printer, output, r.header.as_ref())?;
    field(output, "Deleted", r.deleted)?;
    r.prev_kvs.iter().try_for_each(|kv| pair(printer, output, "Prev", kv))
}

pub(super) fn txn(printer: &Printer, output: Output<'_>, r: &pb::TxnResponse) -> Result<(), Exit> {
    header(printer, output, r.header.as_ref())?;
    field(output, "Succeeded", r.succeeded)?;
    for op in &r.responses {
        match &op.response {
            Some(Response::ResponseRange(response)) => get(printer, output, response)?,
            Some(Response::ResponsePut(response)) => put(printer, output, response)?,
            Some(Response::ResponseDeleteRange(response)) => del(printer, output, response)?,
            // The language of transactions has nothing that is answered in this way.
            Some(Response::ResponseTxn(_)) | None => field(output, "Unknown", "\"<nil>\"")?,
        }
    }
    Ok(())
}

pub(super) fn watch(
    printer: &Printer,
    output: Output<'_>,
    r: &pb::WatchResponse,
) -> Result<(), Exit> {
    header(printer, output, r.header.as_ref())?;
    for event in &r.events {
        field(output, "Type", event_name(event))?;
        event.prev_kv.iter().try_for_each(|kv| pair(printer, output, "Prev", kv))?;
        pair(printer, output, "", &event.kv.clone().unwrap_or_default())?;
    }
    Ok(())
}

/// A lease that was granted or renewed.
pub(super) fn lease(
    printer: &Printer,
    output: Output<'_>,
    r: Option<&pb::ResponseHeader>,
    id: i64,
    ttl: i64,
) -> Result<(), Exit> {
    header(printer, output, r)?;
    field(output, "ID", lease_id(printer, id))?;
    field(output, "TTL", ttl)
}

pub(super) fn time_to_live(
    printer: &Printer,
    output: Output<'_>,
    r: &pb::LeaseTimeToLiveResponse,
) -> Result<(), Exit> {
    lease(printer, output, r.header.as_ref(), r.id, r.ttl)?;
    field(output, "GrantedTTL", r.granted_ttl)?;
    r.keys.iter().try_for_each(|key| field(output, "Key", quote(key)))
}

pub(super) fn leases(
    printer: &Printer,
    output: Output<'_>,
    r: &pb::LeaseLeasesResponse,
) -> Result<(), Exit> {
    header(printer, output, r.header.as_ref())?;
    r.leases.iter().try_for_each(|lease| field(output, "ID", lease_id(printer, lease.id)))
}

pub(super) fn alarms(
    printer: &Printer,
    output: Output<'_>,
    r: &pb::AlarmResponse,
) -> Result<(), Exit> {
    header(printer, output, r.header.as_ref())?;
    for alarm in &r.alarms {
        field(output, "MemberID", id(printer, alarm.member_id))?;
        field(output, "AlarmType", alarm_name(alarm))?;
        writeln!(output)?;
    }
    Ok(())
}

pub(super) fn member_list(
    printer: &Printer,
    output: Output<'_>,
    r: &pb::MemberListResponse,
) -> Result<(), Exit> {
    header(printer, output, r.header.as_ref())?;
    for member in &r.members {
        field(output, "ID", id(printer, member.id))?;
        field(output, "Name", quote(member.name.as_bytes()))?;
        for url in &member.peer_ur_ls {
            field(output, "PeerURL", quote(url.as_bytes()))?;
        }
        for url in &member.client_ur_ls {
            field(output, "ClientURL", quote(url.as_bytes()))?;
        }
        field(output, "IsLearner", member.is_learner)?;
        writeln!(output)?;
    }
    Ok(())
}

pub(super) fn health(output: Output<'_>, list: &[Health]) -> Result<(), Exit> {
    for Health { endpoint, healthy, took, error } in list {
        field(output, "Endpoint", quote(endpoint.as_bytes()))?;
        field(output, "Health", healthy)?;
        field(output, "Took", took)?;
        field(output, "Error", error)?;
        writeln!(output)?;
    }
    Ok(())
}

pub(super) fn status(printer: &Printer, output: Output<'_>, list: &[Status]) -> Result<(), Exit> {
    for Status { endpoint, response: r } in list {
        let downgrade = r.downgrade_info.clone().unwrap_or_default();
        header(printer, output, r.header.as_ref())?;
        field(output, "Version", quote(r.version.as_bytes()))?;
        field(output, "StorageVersion", quote(r.storage_version.as_bytes()))?;
        field(output, "DBSize", r.db_size)?;
        field(output, "DBSizeInUse", r.db_size_in_use)?;
        field(output, "DBSizeQuota", r.db_size_quota)?;
        // A number even where other IDs have hexadecimal digits.
        field(output, "Leader", r.leader)?;
        field(output, "IsLearner", r.is_learner)?;
        field(output, "RaftIndex", r.raft_index)?;
        field(output, "RaftTerm", r.raft_term)?;
        field(output, "RaftAppliedIndex", r.raft_applied_index)?;
        field(output, "Errors", format!("[{}]", r.errors.join(" ")))?;
        field(output, "Endpoint", quote(endpoint.as_bytes()))?;
        field(output, "DowngradeTargetVersion", quote(downgrade.target_version.as_bytes()))?;
        field(output, "DowngradeEnabled", downgrade.enabled)?;
        writeln!(output)?;
    }
    Ok(())
}

pub(super) fn hash(printer: &Printer, output: Output<'_>, list: &[Hash]) -> Result<(), Exit> {
    for Hash { endpoint, response: r } in list {
        header(printer, output, r.header.as_ref())?;
        field(output, "Endpoint", quote(endpoint.as_bytes()))?;
        field(output, "Hash", r.hash)?;
        field(output, "HashRevision", r.hash_revision)?;
        writeln!(output)?;
    }
    Ok(())
}
