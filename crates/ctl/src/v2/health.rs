//! `cluster-health`: asks every member whether it is healthy.

use std::time::Duration;

use quoin_client::v2::{Member, health};

use super::fail::{self, Code};
use super::watch::until_interrupted;
use super::{Globals, Invocation};
use crate::exit::Exit;
use crate::output;

/// How long `--forever` waits between two rounds.
const PAUSE: Duration = Duration::from_secs(10);

pub(super) async fn run(invocation: &Invocation) -> Result<(), Exit> {
    let globals = Globals::of(invocation);
    let mut client = globals.client_without_sync().await?;
    let members = match client.members(None).await {
        Ok(members) => members,
        Err(error) => {
            output::print("cluster may be unhealthy: failed to list members\n")?;
            return Err(fail::framed(Code::Server, &error));
        }
    };
    let round = async || {
        let mut healthy = 0;
        for member in &members {
            healthy += usize::from(check(member, globals.dial_timeout()).await?);
        }
        output::print(match healthy {
            all if all == members.len() => "cluster is healthy\n",
            0 => "cluster is unavailable\n",
            _ => "cluster is degraded\n",
        })?;
        Ok::<bool, Exit>(healthy == members.len())
    };
    if !invocation.flags.bool("forever") {
        return if round().await? { Ok(()) } else { Err(fail::silent(Code::Unhealthy)) };
    }
    until_interrupted(async {
        loop {
            round().await?;
            output::print("\nnext check after 10 second...\n\n")?;
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await
}

/// Asks a member at its URLs in turn until one answers, and says what it answers.
async fn check(member: &Member, dial_timeout: Duration) -> Result<bool, Exit> {
    let (id, urls) = (&member.id, &member.client_urls);
    if urls.is_empty() {
        let reason = "no available published client urls";
        output::print(&format!("member {id} is unreachable: {reason}\n"))?;
        return Ok(false);
    }
    for url in urls {
        match health(url, dial_timeout).await {
            Ok(is_healthy) => {
                let word = if is_healthy { "healthy" } else { "unhealthy" };
                output::print(&format!("member {id} is {word}: got {word} result from {url}\n"))?;
                return Ok(is_healthy);
            }
            Err(error) => {
                let what = format!("failed to check the health of member {id} on {url}");
                output::print(&format!("{what}: {error}\n"))?;
            }
        }
    }
    let urls = urls.join(" ");
    output::print(&format!("member {id} is unreachable: [{urls}] are all unreachable\n"))?;
    Ok(false)
}
