//! How answers are shown: one file for each form, and here who has which.
//!
//! Every byte is that of etcdctl 3.7.1; the tests hold the forms against outputs of it.
//!
//! Not here: which answer is shown when, and where output goes.

mod fields;
mod json;
mod simple;

#[cfg(test)]
mod tests;

use std::io::Write;

use prost::Message;
use quoin_api::etcdserverpb as pb;
use quoin_api::mvccpb::Event;
use quoin_api::mvccpb::event::EventType;

use crate::command::endpoint::{Hash, Health, Status};
use crate::exit::Exit;
use crate::{number, table, text};

/// The forms of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Lines for people and shell scripts.
    Simple,
    /// One line for each field.
    Fields,
    /// The answer as JSON.
    Json,
    /// The answer as it came over the wire.
    Protobuf,
    /// A table with lines drawn around the cells.
    Table,
}

impl Format {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "simple" => Self::Simple,
            "fields" => Self::Fields,
            "json" => Self::Json,
            "protobuf" => Self::Protobuf,
            "table" => Self::Table,
            _ => return None,
        })
    }
}

/// Writes answers in the form that the user wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    pub(crate) format: Format,
    /// Write bytes and IDs as hexadecimal digits, where the form knows how.
    pub(crate) hex: bool,
    /// Leave keys out.
    pub(crate) value_only: bool,
}

type Output<'a> = &'a mut dyn Write;

fn unsupported(format: &str) -> Result<(), Exit> {
    Err(Exit::bad_feature(format!("{format} not supported as output format")))
}

fn protobuf(output: Output<'_>, response: &impl Message) -> Result<(), Exit> {
    Ok(output.write_all(&response.encode_to_vec())?)
}

fn draw(output: Output<'_>, columns: &[&str], rows: &[Vec<String>]) -> Result<(), Exit> {
    Ok(table::draw(output, columns, rows)?)
}

/// Of answers about leases, the form of the wire has nothing but the header, as etcdctl writes it.
fn protobuf_header(output: Output<'_>, header: Option<&pb::ResponseHeader>) -> Result<(), Exit> {
    protobuf(output, &header.copied().unwrap_or_default())
}

/// The name of what happened to a key; a number if nobody knows it.
pub(crate) fn event_name(event: &Event) -> String {
    match EventType::try_from(event.r#type) {
        Ok(EventType::Put) => "PUT".to_owned(),
        Ok(EventType::Delete) => "DELETE".to_owned(),
        Err(_) => event.r#type.to_string(),
    }
}

/// The name of an alarm; a number if nobody knows it.
fn alarm_name(alarm: &pb::AlarmMember) -> String {
    match pb::AlarmType::try_from(alarm.alarm) {
        Ok(pb::AlarmType::None) => "NONE".to_owned(),
        Ok(pb::AlarmType::Nospace) => "NOSPACE".to_owned(),
        Ok(pb::AlarmType::Corrupt) => "CORRUPT".to_owned(),
        Err(_) => alarm.alarm.to_string(),
    }
}

fn line(output: Output<'_>, text: &str) -> Result<(), Exit> {
    Ok(writeln!(output, "{text}")?)
}

impl Printer {
    pub(crate) fn get(&self, output: Output<'_>, r: &pb::RangeResponse) -> Result<(), Exit> {
        match self.format {
            Format::Simple => simple::get(self, output, r),
            Format::Fields => fields::get(self, output, r),
            Format::Json => line(output, &json::range(r)),
            Format::Protobuf => protobuf(output, r),
            Format::Table => unsupported("table"),
        }
    }

    pub(crate) fn put(&self, output: Output<'_>, r: &pb::PutResponse) -> Result<(), Exit> {
        match self.format {
            Format::Simple => simple::put(self, output, r),
            Format::Fields => fields::put(self, output, r),
            Format::Json => line(output, &json::put(r)),
            Format::Protobuf => protobuf(output, r),
            Format::Table => unsupported("table"),
        }
    }

    pub(crate) fn del(&self, output: Output<'_>, r: &pb::DeleteRangeResponse) -> Result<(), Exit> {
        match self.format {
            Format::Simple => simple::del(self, output, r),
            Format::Fields => fields::del(self, output, r),
            Format::Json => line(output, &json::delete_range(r)),
            Format::Protobuf => protobuf(output, r),
            Format::Table => unsupported("table"),
        }
    }

    pub(crate) fn txn(&self, output: Output<'_>, r: &pb::TxnResponse) -> Result<(), Exit> {
        match self.format {
            Format::Simple => simple::txn(self, output, r),
            Format::Fields => fields::txn(self, output, r),
            Format::Json => line(output, &json::txn(r)),
            Format::Protobuf => protobuf(output, r),
            Format::Table => unsupported("table"),
        }
    }

    pub(crate) fn watch(&self, output: Output<'_>, r: &pb::WatchResponse) -> Result<(), Exit> {
        match self.format {
            Format::Simple => simple::watch(self, output, r),
            Format::Fields => fields::watch(self, output, r),
            Format::Json => line(output, &json::watch(r)),
            Format::Protobuf => {
                let r =
                    pb::WatchResponse { watch_id: 0, cancel_reason: String::new(), ..r.clone() };
                protobuf(output, &r)
            }
            Format::Table => unsupported("table"),
        }
    }

    pub(crate) fn grant(&self, output: Output<'_>, r: &pb::LeaseGrantResponse) -> Result<(), Exit> {
        match self.format {
            Format::Simple => line(
                output,
                &format!("lease {} granted with TTL({}s)", number::id_text(r.id), r.ttl),
            ),
            Format::Fields => fields::lease(self, output, r.header.as_ref(), r.id, r.ttl),
            Format::Json => line(output, &json::grant(r)),
            Format::Protobuf => protobuf_header(output, r.header.as_ref()),
            Format::Table => unsupported("table"),
        }
    }

    pub(crate) fn revoke(
        &self,
        output: Output<'_>,
        id: i64,
        r: &pb::LeaseRevokeResponse,
    ) -> Result<(), Exit> {
        match self.format {
            Format::Simple => line(output, &format!("lease {} revoked", number::id_text(id))),
            Format::Fields => fields::header(self, output, r.header.as_ref()),
            Format::Json => line(output, &json::revoke(r)),
            Format::Protobuf => unsupported("protobuf"),
            Format::Table => unsupported("table"),
        }
    }

    pub(crate) fn keep_alive(
        &self,
        output: Output<'_>,
        r: &pb::LeaseKeepAliveResponse,
    ) -> Result<(), Exit> {
        match self.format {
            Format::Simple => line(
                output,
                &format!("lease {} keepalived with TTL({})", number::id_text(r.id), r.ttl),
            ),
            Format::Fields => fields::lease(self, output, r.header.as_ref(), r.id, r.ttl),
            Format::Json => line(output, &json::keep_alive(r)),
            Format::Protobuf => protobuf_header(output, r.header.as_ref()),
            Format::Table => unsupported("table"),
        }
    }

    pub(crate) fn time_to_live(
        &self,
        output: Output<'_>,
        r: &pb::LeaseTimeToLiveResponse,
        keys: bool,
    ) -> Result<(), Exit> {
        match self.format {
            Format::Simple => simple::time_to_live(output, r, keys),
            Format::Fields => fields::time_to_live(self, output, r),
            Format::Json => line(output, &json::time_to_live(r)),
            Format::Protobuf => protobuf_header(output, r.header.as_ref()),
            Format::Table => unsupported("table"),
        }
    }

    pub(crate) fn leases(
        &self,
        output: Output<'_>,
        r: &pb::LeaseLeasesResponse,
    ) -> Result<(), Exit> {
        match self.format {
            Format::Simple => simple::leases(output, r),
            Format::Fields => fields::leases(self, output, r),
            Format::Json => line(output, &json::leases(r)),
            Format::Protobuf => protobuf_header(output, r.header.as_ref()),
            Format::Table => unsupported("table"),
        }
    }

    pub(crate) fn alarm(&self, output: Output<'_>, r: &pb::AlarmResponse) -> Result<(), Exit> {
        match self.format {
            Format::Simple => simple::alarms(output, r),
            Format::Fields => fields::alarms(self, output, r),
            Format::Json => line(output, &json::alarms(r)),
            Format::Protobuf => protobuf(output, r),
            Format::Table => unsupported("table"),
        }
    }

    pub(crate) fn member_list(
        &self,
        output: Output<'_>,
        r: &pb::MemberListResponse,
    ) -> Result<(), Exit> {
        match self.format {
            Format::Simple => simple::rows(output, &member_rows(r)),
            Format::Fields => fields::member_list(self, output, r),
            Format::Json => line(output, &json::member_list(r, self.hex)),
            Format::Protobuf => protobuf(output, r),
            Format::Table => draw(output, MEMBER_COLUMNS, &member_rows(r)),
        }
    }

    pub(crate) fn endpoint_health(&self, output: Output<'_>, list: &[Health]) -> Result<(), Exit> {
        match self.format {
            Format::Simple => simple::health(output, list),
            Format::Fields => fields::health(output, list),
            Format::Json => line(output, &json::health(list)),
            Format::Protobuf => unsupported("protobuf"),
            Format::Table => draw(output, HEALTH_COLUMNS, &health_rows(list)),
        }
    }

    pub(crate) fn endpoint_status(&self, output: Output<'_>, list: &[Status]) -> Result<(), Exit> {
        match self.format {
            Format::Simple => simple::rows(output, &status_rows(list)),
            Format::Fields => fields::status(self, output, list),
            Format::Json => line(output, &json::status(list)),
            Format::Protobuf => unsupported("protobuf"),
            Format::Table => draw(output, STATUS_COLUMNS, &status_rows(list)),
        }
    }

    pub(crate) fn endpoint_hash_kv(&self, output: Output<'_>, list: &[Hash]) -> Result<(), Exit> {
        match self.format {
            Format::Simple => simple::rows(output, &hash_rows(list)),
            Format::Fields => fields::hash(self, output, list),
            Format::Json => line(output, &json::hash(list)),
            Format::Protobuf => unsupported("protobuf"),
            Format::Table => draw(output, HASH_COLUMNS, &hash_rows(list)),
        }
    }
}

const MEMBER_COLUMNS: &[&str] =
    &["ID", "STATUS", "NAME", "PEER ADDRS", "CLIENT ADDRS", "IS LEARNER"];
const HEALTH_COLUMNS: &[&str] = &["ENDPOINT", "HEALTH", "TOOK", "ERROR"];
const HASH_COLUMNS: &[&str] = &["ENDPOINT", "HASH", "HASH REVISION"];
const STATUS_COLUMNS: &[&str] = &[
    "ENDPOINT",
    "ID",
    "VERSION",
    "STORAGE VERSION",
    "DB SIZE",
    "IN USE",
    "PERCENTAGE NOT IN USE",
    "QUOTA",
    "IS LEADER",
    "IS LEARNER",
    "RAFT TERM",
    "RAFT INDEX",
    "RAFT APPLIED INDEX",
    "ERRORS",
    "DOWNGRADE TARGET VERSION",
    "DOWNGRADE ENABLED",
];

fn member_rows(r: &pb::MemberListResponse) -> Vec<Vec<String>> {
    let row = |member: &pb::Member| {
        let status = if member.name.is_empty() { "unstarted" } else { "started" };
        vec![
            format!("{:x}", member.id),
            status.to_owned(),
            member.name.clone(),
            member.peer_ur_ls.join(","),
            member.client_ur_ls.join(","),
            member.is_learner.to_string(),
        ]
    };
    r.members.iter().map(row).collect()
}

fn health_rows(list: &[Health]) -> Vec<Vec<String>> {
    let row = |health: &Health| {
        let Health { endpoint, healthy, took, error } = health;
        vec![endpoint.clone(), healthy.to_string(), took.clone(), error.clone()]
    };
    list.iter().map(row).collect()
}

fn status_rows(list: &[Status]) -> Vec<Vec<String>> {
    let row = |Status { endpoint, response: r }: &Status| {
        let member = r.header.unwrap_or_default().member_id;
        let downgrade = r.downgrade_info.clone().unwrap_or_default();
        let size = |bytes: i64| text::size(u64::try_from(bytes).unwrap_or(0));
        let used = r.db_size_in_use.saturating_mul(100).checked_div(r.db_size).unwrap_or(100);
        vec![
            endpoint.clone(),
            format!("{member:x}"),
            r.version.clone(),
            r.storage_version.clone(),
            size(r.db_size),
            size(r.db_size_in_use),
            format!("{}%", 100_i64.saturating_sub(used)),
            size(r.db_size_quota),
            (r.leader == member).to_string(),
            r.is_learner.to_string(),
            r.raft_term.to_string(),
            r.raft_index.to_string(),
            r.raft_applied_index.to_string(),
            r.errors.join(", "),
            downgrade.target_version,
            downgrade.enabled.to_string(),
        ]
    };
    list.iter().map(row).collect()
}

fn hash_rows(list: &[Hash]) -> Vec<Vec<String>> {
    let row = |Hash { endpoint, response }: &Hash| {
        vec![endpoint.clone(), response.hash.to_string(), response.hash_revision.to_string()]
    };
    list.iter().map(row).collect()
}
