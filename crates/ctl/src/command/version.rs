//! `version`: the version of etcd that this program stands in for.

use crate::exit::Exit;
use crate::output;

/// The release of etcd whose commands and outputs these are.
const ETCD_VERSION: &str = "3.7.1";

pub(super) fn run() -> Result<(), Exit> {
    let api = quoin_client::API_VERSION;
    output::print(&format!("etcdctl version: {ETCD_VERSION}\nAPI version: {api}\n"))
}
