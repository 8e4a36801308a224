//! Which etcd this program is: the version it speaks, the build it came from, and the texts that
//! tools read them from.
//!
//! The version is a release form without a suffix, because Patroni splits it at the dots and
//! Kubernetes decides by it what it may use.
//!
//! Not here: the cluster version and the storage version, which are replicated state.

/// The etcd version that this program speaks, reported wherever etcd reports its own.
pub const ETCD_VERSION: &str = "3.7.1";

/// The oldest cluster version that this program joins.
pub const MIN_CLUSTER_VERSION: &str = "3.0.0";

/// The version of quoin itself.
pub const QUOIN_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit this program was built from, when the build was told (`QUOIN_GIT_SHA`).
pub const GIT_SHA: &str = match option_env!("QUOIN_GIT_SHA") {
    Some(sha) => sha,
    None => "Not provided",
};

/// What stands where etcd names the Go release it was built with.
pub const GO_VERSION: &str = "none (Rust)";

/// Returns the operating system by the name Go gives it.
pub fn go_os() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    }
}

/// Returns the processor architecture by the name Go gives it.
pub fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// Returns what `etcd --version` prints: etcd's four lines, then quoin's own.
pub fn text() -> String {
    let (os, arch) = (go_os(), go_arch());
    format!(
        "etcd Version: {ETCD_VERSION}\n\
         Git SHA: {GIT_SHA}\n\
         Go Version: {GO_VERSION}\n\
         Go OS/Arch: {os}/{arch}\n\
         quoin Version: {QUOIN_VERSION}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_what_tools_parse() {
        let text = text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[0], "etcd Version: 3.7.1");
        assert!(lines[1].starts_with("Git SHA: "));
        assert!(lines[2].starts_with("Go Version: "));
        assert_eq!(lines[3], format!("Go OS/Arch: {}/{}", go_os(), go_arch()));
        assert_eq!(lines[4], format!("quoin Version: {QUOIN_VERSION}"));
    }

    #[test]
    fn the_version_is_three_integers() {
        let parts: Result<Vec<u32>, _> = ETCD_VERSION.split('.').map(str::parse).collect();
        assert_eq!(parts.expect("every part is an integer").len(), 3);
    }
}
