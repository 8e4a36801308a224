//! A hint for who looks for a v2 key with the v3 command.

use std::io::IsTerminal;
use std::time::Duration;

use quoin_client::v2::{Client, Options};
use tokio::time::Instant;

use crate::output;
use crate::text::quote;

/// How long the hint may keep a command that is done.
const PATIENCE: Duration = Duration::from_millis(300);

/// Says how a key is read that the v3 API does not have but the v2 API does. Scripts never see
/// this: it is said to a terminal alone.
pub(crate) async fn v2_hint(endpoints: &[String], key: &[u8]) {
    if !std::io::stderr().is_terminal() || key.is_empty() {
        return;
    }
    if is_found(endpoints, key).await {
        output::complain(&hint(key));
    }
}

fn hint(key: &[u8]) -> String {
    let shown = quote(key);
    format!(
        "hint: {shown} is a key of the v2 API; read it with ETCDCTL_API=2 etcdctl get {shown}\n"
    )
}

/// Whether the v2 API has the key. Whatever goes wrong means no.
async fn is_found(endpoints: &[String], key: &[u8]) -> bool {
    let url = |endpoint: &String| match endpoint.contains("://") {
        true => endpoint.clone(),
        false => format!("http://{endpoint}"),
    };
    let client = Client::new(Options {
        endpoints: endpoints.iter().take(1).map(url).collect(),
        credentials: None,
        dial_timeout: PATIENCE,
        header_timeout: None,
        in_order: true,
        trace: None,
    });
    let Ok(mut client) = client else {
        return false;
    };
    let found = client.get(key, false, false, false, Some(Instant::now() + PATIENCE)).await;
    found.is_ok_and(|event| event.node.is_some_and(|node| !node.key.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_names_the_command() {
        let expected =
            "hint: \"a\" is a key of the v2 API; read it with ETCDCTL_API=2 etcdctl get \"a\"\n";
        assert_eq!(hint(b"a"), expected);
    }
}
