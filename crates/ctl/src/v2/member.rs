//! The commands about members.

use quoin_client::v2::Member;

use super::fail;
use super::{Globals, Invocation};
use crate::exit::Exit;
use crate::output;
use crate::text::quote;

/// Where people read how a member is removed.
const GUIDE: &str = "https://github.com/etcd-io/etcd/blob/master/Documentation/\
                     runtime-configuration.md#remove-a-member";

pub(super) async fn list(invocation: &Invocation) -> Result<(), Exit> {
    if !invocation.arguments.is_empty() {
        return Err(fail::plain("No arguments accepted"));
    }
    let globals = Globals::of(invocation);
    let mut client = globals.client().await?;
    let deadline = globals.deadline();
    let members = client.members(deadline).await.map_err(fail::plain)?;
    let leader = client.leader(deadline).await;
    let leader = leader.map_err(|error| fail::plain(format!("Failed to get leader:  {error}")))?;
    let lines: Vec<String> =
        members.iter().map(|member| line(member, member.id == leader.id)).collect();
    output::print(&lines.concat())
}

fn line(member: &Member, is_leader: bool) -> String {
    let Member { id, name, .. } = member;
    let (peer, client) = (member.peer_urls.join(","), member.client_urls.join(","));
    if name.is_empty() {
        return format!("{id}[unstarted]: peerURLs={peer}\n");
    }
    format!("{id}: name={name} peerURLs={peer} clientURLs={client} isLeader={is_leader}\n")
}

pub(super) async fn add(invocation: &Invocation) -> Result<(), Exit> {
    let arguments = invocation.texts();
    let [name, url] = arguments.as_slice() else {
        return Err(fail::plain("Provide a name and a single member peerURL"));
    };
    let globals = Globals::of(invocation);
    let mut client = globals.client().await?;
    let deadline = globals.deadline();
    let added = client.add_member(url, deadline).await.map_err(fail::plain)?;
    output::print(&format!("Added member named {name} with ID {} to cluster\n", added.id))?;
    let members = client.members(deadline).await.map_err(fail::plain)?;
    output::print(&settings(name, &added.id, &members))
}

/// What the new member has to be started with.
fn settings(name: &str, id: &str, members: &[Member]) -> String {
    let cluster: Vec<String> = members
        .iter()
        .flat_map(|member| {
            let name = if member.id == id { name } else { &member.name };
            member.peer_urls.iter().map(move |url| format!("{name}={url}"))
        })
        .collect();
    format!(
        "\nETCD_NAME={}\nETCD_INITIAL_CLUSTER={}\nETCD_INITIAL_CLUSTER_STATE=\"existing\"\n",
        quote(name.as_bytes()),
        quote(cluster.join(",").as_bytes()),
    )
}

pub(super) async fn remove(invocation: &Invocation) -> Result<(), Exit> {
    let arguments = invocation.texts();
    let [id] = arguments.as_slice() else {
        return Err(fail::plain("Provide a single member ID"));
    };
    let globals = Globals::of(invocation);
    let mut client = globals.client().await?;
    let deadline = globals.deadline();
    let members = client.members(deadline).await.map_err(|error| {
        fail::plain(format!("Error while verifying ID against known members: {error}"))
    })?;
    for member in members.iter().filter(|member| member.name == *id) {
        // A name may belong to more than one member, so it removes none.
        output::complain(&format!(
            "Found a member named {id}; if this is correct, please use its ID, eg:\n\tetcdctl \
             member remove {}\nFor more details, read the documentation at {GUIDE}\n\n",
            member.id
        ));
    }
    if !members.iter().any(|member| member.id == *id) {
        return Err(fail::plain(format!(
            "Couldn't find a member in the cluster with an ID of {id}."
        )));
    }
    client.remove_member(id, deadline).await.map_err(|error| {
        fail::unended(format!("Received an error trying to remove member {id}: {error}"))
    })?;
    output::print(&format!("Removed member {id} from cluster\n"))
}

pub(super) async fn update(invocation: &Invocation) -> Result<(), Exit> {
    let arguments = invocation.texts();
    let [id, urls] = arguments.as_slice() else {
        return Err(fail::plain(
            "Provide an ID and a list of comma separated peerURL \
             (0xabcd http://example.com,http://example1.com)",
        ));
    };
    let globals = Globals::of(invocation);
    let mut client = globals.client().await?;
    let urls: Vec<&str> = urls.split(',').collect();
    client.update_member(id, &urls, globals.deadline()).await.map_err(fail::plain)?;
    output::print(&format!("Updated member with ID {id} in cluster\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, name: &str) -> Member {
        let peer_urls = vec![format!("http://{id}:1"), format!("http://{id}:2")];
        let client_urls = vec![format!("http://{id}:3")];
        Member { id: id.to_owned(), name: name.to_owned(), peer_urls, client_urls }
    }

    #[test]
    fn a_line_for_each_member() {
        let started = "a: name=s1 peerURLs=http://a:1,http://a:2 clientURLs=http://a:3 \
                       isLeader=true\n";
        assert_eq!(line(&member("a", "s1"), true), started);
        let unstarted = "b[unstarted]: peerURLs=http://b:1,http://b:2\n";
        assert_eq!(line(&member("b", ""), false), unstarted);
    }

    #[test]
    fn settings_name_every_peer_url() {
        let expected = "\nETCD_NAME=\"new\"\nETCD_INITIAL_CLUSTER=\"s1=http://a:1,s1=http://a:2,\
                        new=http://b:1,new=http://b:2\"\nETCD_INITIAL_CLUSTER_STATE=\"existing\"\n";
        assert_eq!(settings("new", "b", &[member("a", "s1"), member("b", "")]), expected);
    }
}
