//! Members started from YAML configuration files, one directory and one file per member.
//!
//! The files have exactly the keys that an operator of a small static cluster writes. Ports are
//! chosen when the cluster is made; if another program takes one before the first start, the
//! whole cluster moves to other ports.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ports::free_port;
use crate::server::{Launch, START_TIMEOUT, Server};
use crate::temp_dir::TempDir;

/// Starts of a whole cluster before a taken port is reported.
const PORT_ATTEMPTS: usize = 5;

/// What one configuration file says.
#[derive(Clone, Debug)]
pub struct Member {
    /// `name`
    pub name: String,
    /// `data-dir`
    pub data_dir: PathBuf,
    /// `listen-client-urls` and `advertise-client-urls`
    pub client_url: String,
    /// `listen-peer-urls`
    pub peer_url: String,
    /// `initial-advertise-peer-urls`
    pub advertised_peer_url: String,
    /// `initial-cluster`
    pub initial_cluster: String,
    /// Further settings, which few tests need.
    pub settings: Vec<(&'static str, String)>,
}

impl Member {
    /// A member that is alone in its cluster, on free ports, with its data below `dir`.
    pub fn alone(dir: &Path, name: &str) -> Self {
        let peer_url = format!("http://127.0.0.1:{}", free_port());
        Self {
            name: name.to_owned(),
            data_dir: dir.join(format!("{name}.etcd")),
            client_url: format!("http://127.0.0.1:{}", free_port()),
            advertised_peer_url: peer_url.clone(),
            initial_cluster: format!("{name}={peer_url}"),
            peer_url,
            settings: Vec::new(),
        }
    }

    /// The configuration file.
    pub fn yaml(&self) -> String {
        let Self { name, client_url, peer_url, advertised_peer_url, initial_cluster, .. } = self;
        let data_dir = self.data_dir.display();
        let mut text = String::new();
        for (key, value) in [
            ("name", name),
            ("data-dir", &data_dir.to_string()),
            ("listen-client-urls", client_url),
            ("advertise-client-urls", client_url),
            ("listen-peer-urls", peer_url),
            ("initial-advertise-peer-urls", advertised_peer_url),
            ("initial-cluster", initial_cluster),
            ("initial-cluster-token", &"quoin-tests".to_owned()),
            ("initial-cluster-state", &"new".to_owned()),
        ] {
            writeln!(text, "{key}: {value}").expect("a string takes all");
        }
        for (key, value) in &self.settings {
            writeln!(text, "{key}: {value}").expect("a string takes all");
        }
        text
    }

    /// Writes the configuration file into `dir` and returns how to start the member from it.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn launch(&self, program: &Path, dir: &Path) -> Launch {
        let file = dir.join(format!("{}.yaml", self.name));
        std::fs::write(&file, self.yaml()).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        let file = file.display().to_string();
        Launch::new(program, dir, &self.name).args(&["--config-file", &file])
    }
}

/// A static cluster; members are addressed by position, from zero.
#[derive(Debug)]
pub struct Cluster {
    /// What each configuration file says.
    pub members: Vec<Member>,
    servers: Vec<Option<Server>>,
    programs: Vec<PathBuf>,
    // Last, so that the processes end before their files go.
    dir: TempDir,
}

impl Cluster {
    /// Starts `size` members of `program` and waits until all of them serve.
    ///
    /// # Panics
    /// If they do not, for another reason than a port that somebody else took.
    pub fn start(program: &Path, size: usize, label: &str) -> Self {
        Self::start_with(program, size, label, &[])
    }

    /// The same with one member of each of these programs.
    ///
    /// # Panics
    /// As [`Cluster::start`].
    pub fn start_mixed(programs: &[PathBuf], label: &str) -> Self {
        Self::start_all_with(programs, label, &[])
    }

    /// The same with further settings in every file.
    ///
    /// # Panics
    /// As [`Cluster::start`].
    pub fn start_with(
        program: &Path,
        size: usize,
        label: &str,
        settings: &[(&'static str, &str)],
    ) -> Self {
        Self::start_all_with(&vec![program.to_owned(); size], label, settings)
    }

    fn start_all_with(
        programs: &[PathBuf],
        label: &str,
        settings: &[(&'static str, &str)],
    ) -> Self {
        for attempt in 1.. {
            let mut cluster = Self::prepare_mixed(programs, label);
            for member in &mut cluster.members {
                let settings = settings.iter().map(|&(key, value)| (key, value.to_owned()));
                member.settings.extend(settings);
            }
            match cluster.start_all() {
                Ok(()) => return cluster,
                Err(error) => {
                    let taken = error.contains("address already in use");
                    assert!(taken && attempt < PORT_ATTEMPTS, "{error}");
                }
            }
        }
        unreachable!("the attempts are bounded above")
    }

    /// Writes nothing and starts nothing yet: a cluster whose members are all down.
    pub fn prepare(program: &Path, size: usize, label: &str) -> Self {
        Self::prepare_mixed(&vec![program.to_owned(); size], label)
    }

    fn prepare_mixed(programs: &[PathBuf], label: &str) -> Self {
        let (dir, size) = (TempDir::new(label), programs.len());
        let names = (1..=size).map(|number| format!("m{number}"));
        let mut members: Vec<Member> = names.map(|name| Member::alone(dir.path(), &name)).collect();
        let everyone: Vec<String> =
            members.iter().map(|member| member.initial_cluster.clone()).collect();
        for member in &mut members {
            member.initial_cluster = everyone.join(",");
        }
        let servers = members.iter().map(|_| None).collect();
        Self { members, servers, programs: programs.to_owned(), dir }
    }

    /// Starts every member that is down and waits until all serve. A quorum must be started
    /// together: no member serves before there is a leader.
    ///
    /// # Errors
    /// If one of them does not serve in time; the text holds its log.
    pub fn start_all(&mut self) -> Result<(), String> {
        for position in 0..self.members.len() {
            if self.servers[position].is_none() {
                self.spawn(position);
            }
        }
        (0..self.members.len()).try_for_each(|position| self.wait_ready(position, START_TIMEOUT))
    }

    /// Starts one member and returns at once.
    pub fn spawn(&mut self, position: usize) {
        let launch = self.members[position].launch(&self.programs[position], self.dir.path());
        self.servers[position] = Some(Server::spawn(&launch));
    }

    /// Waits until a member that was started serves.
    ///
    /// # Errors
    /// If it does not within the time.
    pub fn wait_ready(&mut self, position: usize, within: Duration) -> Result<(), String> {
        let name = self.members[position].name.clone();
        let error = |text| format!("{name}: {text}");
        self.server(position).wait_ready(within).map_err(error)
    }

    /// The process of a member that is up.
    ///
    /// # Panics
    /// If it is not.
    pub fn server(&mut self, position: usize) -> &mut Server {
        self.servers[position].as_mut().expect("the member was started")
    }

    /// Ends a member as a power cut would. A member that is down stays down.
    pub fn kill(&mut self, position: usize) {
        if let Some(mut server) = self.servers[position].take() {
            server.kill();
        }
    }

    /// Whether a member is up.
    pub fn is_up(&self, position: usize) -> bool {
        self.servers[position].is_some()
    }

    /// The client URLs of all members, in order.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| member.client_url.clone()).collect()
    }

    /// The directory of the cluster.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Prints the end of every log, for a failure that no single process explains.
    pub fn logs(&self) -> String {
        let running = self.servers.iter().flatten();
        running.map(Server::log_tail).collect::<Vec<String>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_exactly_the_keys_of_a_static_cluster() {
        let cluster = Cluster::prepare(Path::new("none"), 3, "keys");
        let yaml = cluster.members[1].yaml();
        let keys: Vec<&str> = yaml.lines().filter_map(|line| line.split(": ").next()).collect();
        assert_eq!(
            keys,
            [
                "name",
                "data-dir",
                "listen-client-urls",
                "advertise-client-urls",
                "listen-peer-urls",
                "initial-advertise-peer-urls",
                "initial-cluster",
                "initial-cluster-token",
                "initial-cluster-state",
            ]
        );
        assert_eq!(cluster.members[1].initial_cluster.matches("http://127.0.0.1:").count(), 3);
    }
}
