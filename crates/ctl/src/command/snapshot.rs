//! `snapshot save`: writes the data of a server to a file.
//!
//! Invariants:
//! - The file has its name only when it is whole: the bytes match their checksum and are on disk.
//! - Whatever fails, nothing is left of the attempt.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use quoin_client::{Client, Error, Snapshot};

use crate::exit::Exit;
use crate::globals::Globals;
use crate::text::log_string;
use crate::{Invocation, log, output, text};

pub(crate) const HELP: &str = "\
Writes the data of a server to a file.

The server is the one of --endpoints. The command has no limit of time unless --command-timeout is
given. The file ends with a checksum, by which etcdutl knows that it is whole.
";

const CALLER: &str = "ctl/snapshot.rs";

pub(super) async fn save(invocation: &Invocation) -> Result<(), Exit> {
    let [path] = invocation.arguments.as_slice() else {
        return Err(Exit::bad_arguments("snapshot save expects one argument <filename>"));
    };
    let globals = Globals::read(invocation)?;
    let [endpoint] = globals.endpoints.as_slice() else {
        let endpoints = globals.endpoints.join(" ");
        return Err(Exit::interrupted(format!(
            "snapshot must be requested to one selected node, not multiple [{endpoints}]"
        )));
    };
    let client = globals.patient_client().map_err(Exit::interrupted)?;
    let path = Path::new(OsStr::from_bytes(path));
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let saved = fetch(&client, endpoint, &part).await.and_then(|version| {
        publish(&part, path)?;
        Ok(version)
    });
    let version = saved.map_err(|message| {
        // What cannot be removed now was reported by the failure before.
        fs::remove_file(&part).ok();
        Exit::interrupted(message)
    })?;
    log::info(CALLER, "saved", &[("path", shown(path))]);
    let mut text = format!("Snapshot saved at {}\n", path.display());
    if !version.is_empty() {
        text.push_str(&format!("Server version {version}\n"));
    }
    output::print(&text)
}

/// Writes a snapshot to `part`, syncs it and returns the version of the server.
async fn fetch(client: &Client, endpoint: &str, part: &Path) -> Result<String, String> {
    let open = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(part);
    let mut file = open.map_err(|error| {
        let part = part.display();
        format!("could not open {part} (open {part}: {})", reason(&error))
    })?;
    log::info(CALLER, "created temporary db file", &[("path", shown(part))]);
    let start = Instant::now();
    let opened = client.snapshot().await;
    let mut snapshot = opened.map_err(|error| {
        log::failed_stream(CALLER, &error);
        error.to_string()
    })?;
    log::info(CALLER, "opened snapshot stream; downloading", &[]);
    log::info(CALLER, "fetching snapshot", &[("endpoint", log_string(endpoint))]);
    let size = write(&mut snapshot, &mut file).await?;
    log::info(CALLER, "completed snapshot read; closing", &[]);
    file.sync_all()
        .map_err(|error| format!("could not fsync snapshot: {}", failed("sync", part, &error)))?;
    let took = i64::try_from(start.elapsed().as_nanos()).unwrap_or(i64::MAX);
    let version = snapshot.version().to_owned();
    let fields = [
        ("endpoint", log_string(endpoint)),
        ("size", log_string(&text::size(size))),
        ("took", log_string(&text::duration(took))),
        ("etcd-version", log_string(&version)),
    ];
    log::info(CALLER, "fetched snapshot", &fields);
    Ok(version)
}

/// Writes all bytes of the snapshot and returns how many there are.
async fn write(snapshot: &mut Snapshot, file: &mut File) -> Result<u64, String> {
    let mut size: u64 = 0;
    loop {
        match snapshot.next().await {
            Ok(Some(bytes)) => {
                size = size.saturating_add(bytes.len() as u64);
                let written = file.write_all(&bytes);
                written.map_err(|error| format!("could not write snapshot: {}", reason(&error)))?;
            }
            Ok(None) => return Ok(size),
            Err(error @ (Error::ChecksumMissing { .. } | Error::ChecksumMismatch)) => {
                return Err(error.to_string());
            }
            Err(error) => return Err(format!("could not write snapshot: {error}")),
        }
    }
}

/// Gives the file its name, durably.
fn publish(part: &Path, path: &Path) -> Result<(), String> {
    fs::rename(part, path).map_err(|error| {
        let (part, path) = (part.display(), path.display());
        let reason = reason(&error);
        format!("could not rename {part} to {path} (rename {part} {path}: {reason})")
    })?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced
        .map_err(|error| format!("could not fsync snapshot: {}", failed("sync", directory, &error)))
}

fn failed(what: &str, path: &Path, error: &io::Error) -> String {
    format!("{what} {}: {}", path.display(), reason(error))
}

/// The reason in the words of Go, which do not begin with a capital letter or end with a number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

fn shown(path: &Path) -> String {
    log_string(&path.to_string_lossy())
}
