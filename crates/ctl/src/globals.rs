//! The flags of every command, their environment variables, and the client they make.
//!
//! A flag `--some-name` may also be given as `ETCDCTL_SOME_NAME`; giving both is an error, because
//! one of them would be lost.
//!
//! Not here: which endpoints a command talks to beyond `--endpoints`.

use std::ffi::OsStr;
use std::time::Duration;

use quoin_client::{Client, Observer, Options};

use crate::command::Action;
use crate::exit::Exit;
use crate::flags::{Flag, Values};
use crate::printer::{Format, Printer};
use crate::text::quote;
use crate::{Invocation, log, output, refused};

const PREFIX: &str = "ETCDCTL_";
/// Names the version of the API; etcdctl itself obeyed it until 3.5.
const API: &str = "ETCDCTL_API";
/// Variables that `watch` reads itself.
const OF_WATCH: &[&str] = &["ETCDCTL_WATCH_KEY", "ETCDCTL_WATCH_RANGE_END"];

pub(crate) static FLAGS: &[Flag] = &[
    Flag::list("endpoints", "127.0.0.1:2379", "addresses of the servers, separated by commas"),
    Flag::bool("debug", "show the values of all flags before the command runs"),
    Flag::text("write-out", "form of the output: simple, fields, json, protobuf or table")
        .letter('w')
        .or("simple"),
    Flag::bool("hex", "write bytes and IDs as hexadecimal digits"),
    Flag::duration("dial-timeout", "2s", "longest time one attempt to connect may take"),
    Flag::duration("command-timeout", "5s", "longest time to wait for the answer to a request"),
    Flag::duration("keepalive-time", "2s", "silence after which a connection is probed"),
    Flag::duration("keepalive-timeout", "6s", "longest time to wait for the answer to a probe"),
    Flag::int("max-request-bytes", "largest request to send (0 means 2 MiB)"),
    Flag::int("max-recv-bytes", "largest answer to accept (0 means 2 GiB)"),
    Flag::bool("insecure-transport", "talk to the servers without TLS").or("true"),
    Flag::bool("insecure-discovery", "accept discovered servers without TLS").or("true"),
    Flag::bool("insecure-skip-tls-verify", "accept any certificate of a server (for tests only)"),
    Flag::text("cert", "file with the client's TLS certificate"),
    Flag::text("key", "file with the key of the client's TLS certificate"),
    Flag::text("cacert", "file with the authorities that may sign the servers' certificates"),
    Flag::text("auth-jwt-token", "token to authenticate with, instead of a user and a password"),
    Flag::text("user", "name of the user to authenticate as, or name:password"),
    Flag::text("password", "password of the user"),
    Flag::text("discovery-srv", "domain whose SRV records name the servers").letter('d'),
    Flag::text("discovery-srv-name", "service to look for in the SRV records"),
];

/// Flags whose work is not built here, and what they would need.
const UNBUILT: &[(&str, &str)] = &[
    ("cert", "TLS"),
    ("key", "TLS"),
    ("cacert", "TLS"),
    ("insecure-transport", "TLS"),
    ("insecure-skip-tls-verify", "TLS"),
    ("auth-jwt-token", "authentication"),
    ("user", "authentication"),
    ("password", "authentication"),
    ("discovery-srv", "DNS discovery"),
    ("discovery-srv-name", "DNS discovery"),
    ("insecure-discovery", "DNS discovery"),
];

/// What the flags of every command say.
#[derive(Clone, Debug)]
pub(crate) struct Globals {
    pub(crate) endpoints: Vec<String>,
    pub(crate) printer: Printer,
    options: Options,
    /// The flags of the command, completed from the environment.
    pub(crate) flags: Values,
}

impl Globals {
    /// Completes the flags from the environment and checks them.
    pub(crate) fn read(invocation: &Invocation) -> Result<Self, Exit> {
        let mut flags = invocation.flags.clone();
        let inherited = inherited(invocation);
        let is_watch = invocation.path.last().is_some_and(|last| last.action == Action::Watch);
        let own = |name: &str| is_watch && OF_WATCH.contains(&name);
        let environment = std::env::vars_os().filter(|(name, _)| !name.to_str().is_some_and(own));
        complete(&mut flags, &inherited, environment)?;
        if flags.bool("debug") {
            show(&flags, &inherited);
        }
        let endpoints: Vec<String> =
            flags.list("endpoints").iter().map(|text| text.trim().to_owned()).collect();
        for name in ["cert", "key", "cacert"] {
            if flags.is_set(name) && flags.text(name).is_empty() {
                let message = format!("empty string is passed to --{name} option");
                return Err(Exit::bad_arguments(message));
            }
        }
        let Some(format) = Format::parse(&flags.text("write-out")) else {
            return Err(Exit::bad_feature("unsupported output format"));
        };
        refuse_unbuilt(&flags)?;
        let printer = Printer { format, hex: flags.bool("hex"), value_only: false };
        Ok(Self { endpoints, printer, options: options(&flags), flags })
    }

    /// A client of all endpoints.
    pub(crate) fn client(&self) -> Result<Client, Exit> {
        self.client_of(self.endpoints.clone(), "etcd-client").map_err(refused)
    }

    /// A client whose calls last as long as they need, unless the user set a limit.
    pub(crate) fn patient_client(&self) -> Result<Client, quoin_client::Error> {
        let mut globals = self.clone();
        if !self.flags.is_set("command-timeout") {
            globals.options.command_timeout = None;
        }
        globals.client_of(self.endpoints.clone(), "client")
    }

    /// A client of other endpoints; `logger` is what its log lines are filed under.
    pub(crate) fn client_of(
        &self,
        endpoints: Vec<String>,
        logger: &'static str,
    ) -> Result<Client, quoin_client::Error> {
        let observer = Observer::new(move |attempt| log::failed_attempt(logger, attempt));
        let options = Options { endpoints, observer: Some(observer), ..self.options.clone() };
        Client::connect(options)
    }
}

/// The flags that the command has from those above it: only these have variables.
fn inherited(invocation: &Invocation) -> Vec<&'static Flag> {
    let Some((_, above)) = invocation.path.split_last() else {
        return Vec::new();
    };
    let mut flags: Vec<&Flag> = above.iter().flat_map(|command| command.shared_flags).collect();
    flags.sort_by_key(|flag| flag.name);
    flags
}

fn variable_of(flag: &Flag) -> String {
    format!("{PREFIX}{}", flag.name.to_ascii_uppercase().replace('-', "_"))
}

/// Gives the flags that the command line leaves open the values of their variables.
fn complete(
    flags: &mut Values,
    inherited: &[&'static Flag],
    environment: impl Iterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
) -> Result<(), Exit> {
    for (name, value) in environment {
        let name = name.as_ref().to_string_lossy();
        let value = value.as_ref().to_string_lossy();
        if !name.starts_with(PREFIX) || name == API {
            continue;
        }
        let Some(flag) = inherited.iter().find(|flag| variable_of(flag) == name) else {
            log::unrecognized_variable(&format!("{name}={value}"));
            continue;
        };
        if flags.is_set(flag.name) {
            return Err(Exit::line(log::conflicting_variable(&name)));
        }
        if value.is_empty() {
            continue;
        }
        flags.set(flag, &value).map_err(|reason| {
            let value = quote(value.as_bytes());
            Exit::bad_arguments(format!("invalid value {value} for {name}: {reason}"))
        })?;
    }
    Ok(())
}

fn show(flags: &Values, inherited: &[&'static Flag]) {
    for flag in inherited {
        output::complain(&format!("{}={}\n", variable_of(flag), flags.value(flag.name)));
    }
}

fn refuse_unbuilt(flags: &Values) -> Result<(), Exit> {
    for (name, need) in UNBUILT {
        let default = FLAGS.iter().find(|flag| flag.name == *name).map(|flag| flag.default);
        if flags.is_set(name) && Some(flags.value(name).to_string().as_str()) != default {
            let message = format!("--{name}: {need} is not supported by this etcdctl");
            return Err(Exit::bad_arguments(message));
        }
    }
    Ok(())
}

fn options(flags: &Values) -> Options {
    let time = |name| Duration::from_nanos(u64::try_from(flags.int(name)).unwrap_or(0));
    let size = |name| usize::try_from(flags.int(name)).ok().filter(|&size| size > 0);
    Options {
        dial_timeout: time("dial-timeout"),
        command_timeout: Some(time("command-timeout")),
        keepalive_time: time("keepalive-time"),
        keepalive_timeout: time("keepalive-timeout"),
        max_send_bytes: size("max-request-bytes"),
        max_recv_bytes: size("max-recv-bytes"),
        ..Options::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::parse;

    /// Completes the flags of a command line from variables.
    fn complete_words(line: &str, environment: &[(&str, &str)]) -> Result<Values, Exit> {
        let flags: Vec<&Flag> = FLAGS.iter().collect();
        let words = line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect();
        let mut values = parse(flags.clone(), words).unwrap().flags;
        complete(&mut values, &flags, environment.iter().copied())?;
        Ok(values)
    }

    #[test]
    fn variables_complete_the_flags() {
        let environment = [("ETCDCTL_WRITE_OUT", "json"), ("ETCDCTL_HEX", ""), ("PATH", "/bin")];
        let values = complete_words("", &environment).unwrap();
        assert_eq!(values.text("write-out"), "json");
        assert!(!values.is_set("hex"));
        complete_words("", &[("ETCDCTL_API", "3")]).unwrap();
    }

    #[test]
    fn a_variable_beside_its_flag_is_an_error() {
        let exit = complete_words("--hex", &[("ETCDCTL_HEX", "true")]).unwrap_err();
        assert!(format!("{exit:?}").contains("ETCDCTL_HEX"));
    }

    #[test]
    fn a_wrong_variable_is_an_error() {
        let exit = complete_words("", &[("ETCDCTL_COMMAND_TIMEOUT", "5")]).unwrap_err();
        let message = "invalid value \"5\" for ETCDCTL_COMMAND_TIMEOUT: \
                       time: missing unit in duration \"5\"";
        assert_eq!(exit, Exit::bad_arguments(message));
    }

    #[test]
    fn flags_without_their_work_are_refused() {
        for (flag, need) in [("--cert=x", "TLS"), ("--user=a:b", "authentication")] {
            let name = flag.split('=').next().unwrap();
            let message = format!("{name}: {need} is not supported by this etcdctl");
            let values = complete_words(flag, &[]).unwrap();
            assert_eq!(refuse_unbuilt(&values), Err(Exit::bad_arguments(message)));
        }
        let values = complete_words("--insecure-transport --insecure-discovery=true", &[]);
        assert_eq!(refuse_unbuilt(&values.unwrap()), Ok(()));
    }

    #[test]
    fn durations_and_sizes_of_zero_and_less() {
        let line = "--command-timeout=-1s --keepalive-time=0s --max-request-bytes=-1";
        let options = options(&complete_words(line, &[]).unwrap());
        assert_eq!(options.command_timeout, Some(Duration::ZERO));
        assert_eq!(options.keepalive_time, Duration::ZERO);
        assert_eq!(options.max_send_bytes, None);
    }
}
