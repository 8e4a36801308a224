//! `endpoint health`, `endpoint status` and `endpoint hashkv`: what single servers say.
//!
//! One server that fails does not keep the others from being shown; the exit code tells of it.

use std::time::Instant;

use quoin_api::error::Error as Known;
use quoin_api::etcdserverpb::{AlarmResponse, AlarmType, HashKvResponse, StatusResponse};
use quoin_client::{Client, Code, Error};
use tokio::task::JoinSet;

use crate::exit::Exit;
use crate::globals::Globals;
use crate::{Invocation, output, refused, text};

pub(crate) const STATUS_HELP: &str = "\
Shows the state of each server.

The simple output has one line for each server, with these columns separated by commas: endpoint,
ID, version, storage version, size of the database, how much of it is in use, percentage not in
use, quota, whether it leads, whether it is a learner, raft term, raft index, raft applied index,
errors, version it is downgraded to, whether it is being downgraded.
";

/// What one server has to say about its state.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) endpoint: String,
    pub(crate) response: StatusResponse,
}

/// What one server has to say about its history.
#[derive(Debug)]
pub(crate) struct Hash {
    pub(crate) endpoint: String,
    pub(crate) response: HashKvResponse,
}

/// Whether one server can take part in a request.
#[derive(Debug)]
pub(crate) struct Health {
    pub(crate) endpoint: String,
    pub(crate) healthy: bool,
    /// How long the request took; empty if none was made.
    pub(crate) took: String,
    /// Why the server is not healthy; empty if it is.
    pub(crate) error: String,
}

pub(super) async fn health(invocation: &Invocation) -> Result<(), Exit> {
    let globals = Globals::read(invocation)?;
    let mut checks = JoinSet::new();
    for endpoint in endpoints(&globals).await? {
        let globals = globals.clone();
        checks.spawn(async move { check_health(&globals, endpoint).await });
    }
    let mut list = Vec::new();
    while let Some(health) = checks.join_next().await {
        list.push(health.map_err(Exit::failure)?);
    }
    output::with(|output| globals.printer.endpoint_health(output, &list))?;
    if list.iter().any(|health| !health.error.is_empty()) {
        return Err(Exit::failure("unhealthy cluster"));
    }
    Ok(())
}

async fn check_health(globals: &Globals, endpoint: String) -> Health {
    let client = match globals.client_of(vec![endpoint.clone()], "client") {
        Ok(client) => client,
        Err(error) => {
            let error = error.to_string();
            return Health { endpoint, healthy: false, took: String::new(), error };
        }
    };
    let start = Instant::now();
    let request = quoin_api::etcdserverpb::RangeRequest {
        key: "health".into(),
        ..quoin_api::etcdserverpb::RangeRequest::default()
    };
    let answer = client.range(request).await;
    let took = i64::try_from(start.elapsed().as_nanos()).unwrap_or(i64::MAX);
    let error = match answer {
        // Who may not read the key has still been answered by the whole cluster.
        Ok(_) | Err(Error::Server(Known::PermissionDenied)) => alarms(&client).await,
        Err(error) => error.to_string(),
    };
    Health { endpoint, healthy: error.is_empty(), took: text::duration(took), error }
}

/// The alarms of the cluster as text, empty if there are none.
async fn alarms(client: &Client) -> String {
    let alarms = match client.alarm_list().await {
        Ok(AlarmResponse { alarms, .. }) => alarms,
        // A server that does not know alarms has none.
        Err(error) if error.code() == Some(Code::Unimplemented) => return String::new(),
        Err(_) => return "Unable to fetch the alarm list".to_owned(),
    };
    if alarms.is_empty() {
        return String::new();
    }
    let name = |alarm| match AlarmType::try_from(alarm) {
        Ok(AlarmType::Nospace) => "NOSPACE ",
        Ok(AlarmType::Corrupt) => "CORRUPT ",
        Ok(AlarmType::None) | Err(_) => "UNKNOWN ",
    };
    let names: String = alarms.iter().map(|member| name(member.alarm)).collect();
    format!("Active Alarm(s): {names}")
}

pub(super) async fn status(invocation: &Invocation) -> Result<(), Exit> {
    let globals = Globals::read(invocation)?;
    let (mut list, mut failed) = (Vec::new(), false);
    for endpoint in endpoints(&globals).await? {
        let client = globals.client_of(vec![endpoint.clone()], "etcd-client").map_err(refused)?;
        match client.status(&endpoint).await {
            Ok(response) => list.push(Status { endpoint, response }),
            Err(error) => {
                let what = "Failed to get the status of endpoint";
                output::complain(&format!("{what} {endpoint} ({error})\n"));
                failed = true;
            }
        }
    }
    output::with(|output| globals.printer.endpoint_status(output, &list))?;
    if failed { Err(Exit::silent()) } else { Ok(()) }
}

pub(super) async fn hash_kv(invocation: &Invocation) -> Result<(), Exit> {
    let revision = invocation.flags.int("rev");
    let globals = Globals::read(invocation)?;
    let (mut list, mut failure) = (Vec::new(), None);
    for endpoint in endpoints(&globals).await? {
        let client = globals.client_of(vec![endpoint.clone()], "etcd-client").map_err(refused)?;
        match client.hash_kv(&endpoint, revision).await {
            Ok(response) => list.push(Hash { endpoint, response }),
            Err(error) => {
                let what = "Failed to get the hash of endpoint";
                output::complain(&format!("{what} {endpoint} ({error})\n"));
                failure = Some(error);
            }
        }
    }
    output::with(|output| globals.printer.endpoint_hash_kv(output, &list))?;
    failure.map_or(Ok(()), |error| Err(Exit::failure(error)))
}

/// The servers to ask: those of `--endpoints`, or all members with `--cluster`.
pub(super) async fn endpoints(globals: &Globals) -> Result<Vec<String>, Exit> {
    if !globals.flags.bool("cluster") {
        return Ok(globals.endpoints.clone());
    }
    let client =
        globals.client_of(globals.endpoints.clone(), "etcd-client").map_err(Exit::failure)?;
    let response = client.member_list(true).await.map_err(|error| {
        let what = "failed to fetch endpoints from etcd cluster member list";
        Exit::failure(format!("{what}: {error}"))
    })?;
    Ok(response.members.into_iter().flat_map(|member| member.client_ur_ls).collect())
}
