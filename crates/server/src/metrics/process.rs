//! What the system says of this process. Read when somebody asks for the page; what cannot be read
//! is left out.

use std::fs;

use super::text::{Kind, Page};

/// Writes the families.
pub(super) fn write(page: &mut Page) {
    if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(Stat::parse)
    {
        stat.write(page);
    }
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    if let Some(limit) = limit(&limits, "Max address space") {
        let help = "Bytes of address space that this process may have.";
        page.gauge("process_virtual_memory_max_bytes", limit, help);
    }
    if let Some(limit) = limit(&limits, "Max open files") {
        page.gauge("process_max_fds", limit, "File descriptors that this process may have.");
        page.gauge("os_fd_limit", limit, "File descriptors that this process may have.");
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them is the directory itself.
        let open = open.count().saturating_sub(1) as f64;
        page.gauge("process_open_fds", open, "File descriptors in use.");
        page.gauge("os_fd_used", open, "File descriptors in use.");
    }
    let traffic = fs::read_to_string("/proc/self/net/netstat").unwrap_or_default();
    if let Some((received, sent)) = octets(&traffic) {
        let help = "Bytes that this system's network has received.";
        page.family(Kind::Counter, "process_network_receive_bytes_total", help)
            .sample(&[], received);
        let help = "Bytes that this system's network has sent.";
        page.family(Kind::Counter, "process_network_transmit_bytes_total", help).sample(&[], sent);
    }
}

/// What `/proc/self/stat` says, as far as it is shown.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_ticks: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    /// The name of the program may have spaces and parentheses; numbers follow the last of them.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // The first of these is field 3 in proc(5).
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)?.checked_add(field(15)?)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }

    fn write(&self, page: &mut Page) {
        let help = "CPU time that this process has used, in seconds.";
        let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
        let seconds = self.cpu_ticks as f64 / ticks_per_second;
        page.family(Kind::Counter, "process_cpu_seconds_total", help).sample(&[], seconds);
        let resident = self.resident_pages as f64 * rustix::param::page_size() as f64;
        page.gauge("process_resident_memory_bytes", resident, "Memory that this process holds.");
        let help = "Address space that this process has.";
        page.gauge("process_virtual_memory_bytes", self.virtual_bytes as f64, help);
        let system = fs::read_to_string("/proc/stat").unwrap_or_default();
        if let Some(boot) = boot_time(&system) {
            let start = boot + self.start_ticks as f64 / ticks_per_second;
            let help = "When this process began, in seconds since the epoch.";
            page.gauge("process_start_time_seconds", start, help);
        }
    }
}

/// Returns when the system began, in seconds since the epoch.
fn boot_time(text: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// Returns the soft limit of a resource.
fn limit(text: &str, resource: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(resource))?;
    match line.split_whitespace().next()? {
        // What Go's library says then.
        "unlimited" => Some(u64::MAX as f64),
        number => number.parse().ok(),
    }
}

/// Returns the bytes that came in and went out by IP: a line of names, then one of numbers.
fn octets(text: &str) -> Option<(f64, f64)> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("IpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let value = |wanted: &str| -> Option<f64> {
        let at = names.split_whitespace().position(|name| name == wanted)?;
        values.split_whitespace().nth(at)?.parse().ok()
    };
    Some((value("InOctets")?, value("OutOctets")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_program_hides_nothing() {
        let text = "7 (a ) b) S 1 7 7 0 -1 4194304 9 0 0 0 11 5 0 0 20 0 4 0 300 4096000 77 18 1";
        let expected =
            Stat { cpu_ticks: 16, start_ticks: 300, virtual_bytes: 4_096_000, resident_pages: 77 };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("7 (a) S 1"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn limits_may_be_none() {
        let text = "Limit                     Soft Limit           Hard Limit           Units\n\
                    Max open files            1024                 4096                 files\n\
                    Max address space         unlimited            unlimited            bytes\n";
        assert_eq!(limit(text, "Max open files"), Some(1024.0));
        assert_eq!(limit(text, "Max address space"), Some(18_446_744_073_709_551_615.0));
        assert_eq!(limit(text, "Max processes"), None);
    }

    #[test]
    fn traffic_is_found_by_name() {
        let text = "TcpExt: A B\nTcpExt: 1 2\nIpExt: X InOctets OutOctets\nIpExt: 1 20 30\n";
        assert_eq!(octets(text), Some((20.0, 30.0)));
        assert_eq!(octets("IpExt: X\n"), None);
    }
}
