//! The package `python-etcd`, which knows nothing but the v2 API, does its usual operations.

use std::path::Path;
use std::process::Command;

use quoin_tests::cluster::Cluster;
use quoin_tests::{programs, python};

const MEMBERS: usize = 3;

#[test]
fn the_python_client_does_what_it_does_with_etcd() {
    let program = programs::subject_etcd();
    let cluster = Cluster::start_with(&program, MEMBERS, "python", &[("enable-v2", "true")]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/v2_client.py");
    let mut command = Command::new(python::programs_dir().join("python3"));
    let output = command.arg(script).args(cluster.endpoints()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}{stderr}");
    assert_eq!(stdout, "python-etcd: all done\n");
}
