//! The flags of every command of v2 mode, their variables, and the client they make.
//!
//! Invariants:
//! - A flag that is given wins over its variable; an empty one counts as not given.
//! - A command talks to the members that the endpoints name, unless `--no-sync` is given.

use std::time::Duration;

use quoin_client::v2::{Client, Error, Options, Url};
use tokio::time::Instant;

use super::fail::{self, Code};
use super::print::Format;
use super::{Invocation, password};
use crate::exit::Exit;
use crate::flags::Values;
use crate::output;

/// Where a server is looked for if nobody says where.
const DEFAULT_ENDPOINTS: &str = "http://127.0.0.1:2379,http://127.0.0.1:4001";
/// Longest time for connecting, if the whole command may take longer.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);
/// Flags whose work is not built, their variables, and what they would need.
const UNBUILT: &[(&str, &str, &str)] = &[
    ("ca-file", "ETCDCTL_CA_FILE", "TLS"),
    ("cert-file", "ETCDCTL_CERT_FILE", "TLS"),
    ("key-file", "ETCDCTL_KEY_FILE", "TLS"),
    ("discovery-srv", "ETCDCTL_DISCOVERY_SRV", "DNS discovery"),
];

/// What the flags of every command say.
#[derive(Debug)]
pub(super) struct Globals<'a> {
    flags: &'a Values,
    pub(super) format: Format,
    pub(super) debug: bool,
}

impl<'a> Globals<'a> {
    pub(super) fn of(invocation: &'a Invocation) -> Self {
        let flags = &invocation.globals;
        let format = Format::parse(&flags.text("output"));
        Self { flags, format, debug: flags.bool("debug") }
    }

    /// When a call that begins now has to end.
    pub(super) fn deadline(&self) -> Option<Instant> {
        Some(Instant::now() + self.time("total-timeout"))
    }

    /// Longest time for connecting.
    pub(super) fn dial_timeout(&self) -> Duration {
        match self.time("total-timeout") {
            Duration::ZERO => DIAL_TIMEOUT,
            total => total.min(DIAL_TIMEOUT),
        }
    }

    fn time(&self, name: &str) -> Duration {
        Duration::from_nanos(u64::try_from(self.flags.int(name)).unwrap_or(0))
    }

    /// The value of a flag, or of its variable.
    fn text_or(&self, flag: &str, variable: &str) -> String {
        match self.flags.text(flag) {
            text if text.is_empty() => std::env::var(variable).unwrap_or_default(),
            text => text,
        }
    }

    /// The endpoints as written, and whether the user named them.
    fn endpoints(&self) -> Result<(Vec<String>, bool), Exit> {
        let names = [
            ("endpoints", "ETCDCTL_ENDPOINTS"),
            ("endpoint", "ETCDCTL_ENDPOINT"),
            ("peers", "ETCDCTL_PEERS"),
        ];
        let given = names.iter().map(|(flag, variable)| self.text_or(flag, variable));
        let given = given.into_iter().find(|text| !text.is_empty());
        let list = given.as_deref().unwrap_or(DEFAULT_ENDPOINTS).split(',').map(|text| {
            let mut url = Url::parse(text)?;
            if url.scheme.is_empty() {
                "http".clone_into(&mut url.scheme);
            }
            Ok(url.to_string())
        });
        let list: Result<Vec<String>, Error> = list.collect();
        Ok((list.map_err(fail::plain)?, given.is_some()))
    }

    /// A client that talks to the endpoints as they were given.
    async fn unshown_client(&self) -> Result<Client, Exit> {
        for (flag, variable, need) in UNBUILT {
            if !self.text_or(flag, variable).is_empty() {
                let message = format!("--{flag}: {need} is not supported by this etcdctl");
                return Err(fail::plain(message));
            }
        }
        let (endpoints, is_given) = self.endpoints()?;
        let user = self.text_or("username", "ETCDCTL_USERNAME");
        let credentials = match user.as_str() {
            "" => None,
            user => Some(password::credentials("Password: ", user).await?),
        };
        let header_timeout = Some(self.time("timeout")).filter(|timeout| !timeout.is_zero());
        Client::new(Options {
            endpoints,
            credentials: credentials.filter(|(user, _)| !user.is_empty()),
            dial_timeout: self.dial_timeout(),
            header_timeout,
            in_order: !is_given,
            trace: self.debug.then_some(|line| output::complain(&format!("{line}\n"))),
        })
        .map_err(fail::plain)
    }

    /// A client that does not ask for the members first.
    pub(super) async fn client_without_sync(&self) -> Result<Client, Exit> {
        let client = self.unshown_client().await?;
        self.show_endpoints(&client);
        Ok(client)
    }

    /// The client of nearly every command.
    pub(super) async fn client(&self) -> Result<Client, Exit> {
        let mut client = self.unshown_client().await?;
        if !self.flags.bool("no-sync") {
            self.sync(&mut client).await?;
        }
        self.show_endpoints(&client);
        Ok(client)
    }

    /// Lets the client learn the members. A failure that the command itself may not meet is left
    /// to the command.
    async fn sync(&self, client: &mut Client) -> Result<(), Exit> {
        let list = |client: &Client| client.endpoints().join(",");
        if self.debug {
            let list = list(client);
            output::complain(&format!("start to sync cluster using endpoints({list})\n"));
        }
        match client.sync(self.deadline()).await {
            Ok(()) => {}
            Err(error @ Error::NoEndpoints) => {
                let list = list(client);
                output::complain(&format!(
                    "etcd cluster has no published client endpoints.\nTry '--no-sync' if you want \
                     to access non-published client endpoints({list}).\n"
                ));
                return Err(fail::framed(Code::Server, &error));
            }
            Err(error) if error.is_connection() => {
                return Err(fail::framed(Code::BadConnection, &error));
            }
            Err(_) => {}
        }
        if self.debug {
            output::complain(&format!("got endpoints({}) after sync\n", list(client)));
        }
        Ok(())
    }

    /// Says with `--debug` which servers are asked; commands on users and roles say it twice.
    pub(super) fn show_endpoints(&self, client: &Client) {
        if self.debug {
            let list = client.endpoints().join(", ");
            output::complain(&format!("Cluster-Endpoints: {list}\n"));
        }
    }
}
