//! A cluster of server processes on the loopback address, which ends with the value.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use quoin_api::etcdserverpb::{RangeRequest, RangeResponse, StatusRequest, StatusResponse};

use crate::Error;
use crate::call::call;
use crate::workload::Mode;

/// How long a cluster may take to answer its first linearizable read.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long one question may take.
const CALL_LIMIT: Duration = Duration::from_secs(2);
/// How long to wait between two questions.
const PAUSE: Duration = Duration::from_millis(50);
/// The same quota for all, large enough not to matter.
const QUOTA: &str = "8589934592";
/// Lines of a log that are shown when a server does not start.
const LOG_LINES: usize = 5;

/// Running members, with their data.
#[derive(Debug)]
pub(crate) struct Cluster {
    members: Vec<Member>,
    endpoints: Vec<SocketAddr>,
    /// Dropped after the members, so that nothing writes into it any more.
    directory: Directory,
}

impl Cluster {
    /// Starts `count` members, with further `flags`, and waits until each answers.
    pub(crate) fn start(
        program: &Path,
        count: usize,
        parent: &Path,
        flags: &[&str],
    ) -> Result<Self, Error> {
        let directory = Directory::create(parent)?;
        let ports = free_ports(count * 2)?;
        let (client_ports, peer_ports) = ports.split_at(count);
        let peers: Vec<String> = peer_ports.iter().map(|port| url(*port)).collect();
        let names = peers.iter().enumerate();
        let initial: Vec<String> = names.map(|(index, url)| format!("m{index}={url}")).collect();
        let initial = initial.join(",");
        let address = |port: &u16| SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
        let endpoints = client_ports.iter().map(address).collect();
        let mut cluster = Self { members: Vec::with_capacity(count), endpoints, directory };
        for (index, peer) in peers.iter().enumerate() {
            let client = url(client_ports[index]);
            let path = &cluster.directory.path;
            let log = path.join(format!("m{index}.log"));
            let mut command = Command::new(program);
            command
                .args(["--name", &format!("m{index}"), "--quota-backend-bytes", QUOTA])
                .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
                .args(["--initial-cluster", &initial])
                .args(flags)
                .arg("--data-dir")
                .arg(path.join(format!("m{index}")));
            cluster.members.push(Member::start(command, log)?);
        }
        cluster.wait_until_ready()?;
        Ok(cluster)
    }

    /// Where the members listen for clients.
    pub(crate) fn endpoints(&self) -> &[SocketAddr] {
        &self.endpoints
    }

    /// The processes of the members.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.members.iter().map(|member| member.child.id()).collect()
    }

    /// Where the leader listens.
    pub(crate) fn leader(&self) -> Result<SocketAddr, Error> {
        for endpoint in &self.endpoints {
            let path = "/etcdserverpb.Maintenance/Status";
            let status: StatusResponse = call(*endpoint, path, &StatusRequest {}, CALL_LIMIT)?;
            if status.header.is_some_and(|header| header.member_id == status.leader) {
                return Ok(*endpoint);
            }
        }
        Err(Error::Server("no member says that it is the leader".to_owned()))
    }

    /// Fails if a member has ended by itself.
    pub(crate) fn check_running(&mut self) -> Result<(), Error> {
        self.members.iter_mut().try_for_each(Member::check_running)
    }

    fn wait_until_ready(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + START_LIMIT;
        let question = RangeRequest { key: b"ready".to_vec().into(), ..Default::default() };
        for endpoint in self.endpoints.clone() {
            let path = Mode::RangeLinearizable.path();
            while let Err(error) = call::<RangeResponse>(endpoint, path, &question, CALL_LIMIT) {
                self.check_running()?;
                if Instant::now() > deadline {
                    return Err(error);
                }
                std::thread::sleep(PAUSE);
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Member {
    child: Child,
    log: PathBuf,
}

impl Member {
    fn start(mut command: Command, log: PathBuf) -> Result<Self, Error> {
        let mut spawn = || {
            let output = File::create(&log)?;
            let errors = output.try_clone()?;
            command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn()
        };
        let spawned = spawn();
        let child = spawned.map_err(|cause| Error::io(format!("{command:?}"), cause))?;
        Ok(Self { child, log })
    }

    fn check_running(&mut self) -> Result<(), Error> {
        let path = self.log.display().to_string();
        let ended = self.child.try_wait().map_err(|cause| Error::io(path, cause))?;
        let Some(status) = ended else { return Ok(()) };
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(LOG_LINES).collect();
        let lines: Vec<&str> = lines.into_iter().rev().collect();
        Err(Error::Server(format!("a server ended with {status}:\n{}", lines.join("\n"))))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It fails only if the process has ended, which is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A directory that is removed with the value.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
}

impl Directory {
    fn create(parent: &Path) -> Result<Self, Error> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("quoin-bench-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).map_err(|cause| Error::io(path.display().to_string(), cause))?;
        Ok(Self { path })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            eprintln!("{}: {error}", self.path.display());
        }
    }
}

/// Ports that nobody listens on now. They are found together, so that they differ.
fn free_ports(count: usize) -> Result<Vec<u16>, Error> {
    let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listeners: std::io::Result<Vec<TcpListener>> = (0..count).map(bind).collect();
    let ports = listeners.and_then(|listeners| {
        listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
    });
    ports.map_err(|cause| Error::io("free ports", cause))
}

fn url(port: u16) -> String {
    format!("http://{}:{port}", Ipv4Addr::LOCALHOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ() {
        let mut ports = free_ports(6).unwrap();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 6);
    }

    #[test]
    fn a_server_that_ends_is_reported_and_leaves_nothing() {
        let parent = Directory::create(&std::env::temp_dir()).unwrap();
        let error = Cluster::start(Path::new("false"), 1, &parent.path, &[]).unwrap_err();
        assert!(error.to_string().starts_with("a server ended with exit status: 1"), "{error}");
        assert_eq!(std::fs::read_dir(&parent.path).unwrap().count(), 0);
        assert!(Cluster::start(Path::new("/no/such/program"), 1, &parent.path, &[]).is_err());
        assert_eq!(std::fs::read_dir(&parent.path).unwrap().count(), 0);
    }
}
