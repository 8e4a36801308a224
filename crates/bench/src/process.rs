//! What processes cost, and how busy the machine is beside them: CPU time as the kernel counts it.

use std::io;

use crate::Error;

/// The kernel counts the time of processes in hundredths of a second, on every architecture that
/// we build for.
const TICK_US: u64 = 10_000;

/// The CPU time, in user space and in the kernel, that processes have used so far.
pub fn cpu_us(pids: &[u32]) -> Result<u64, Error> {
    let mut total = 0;
    for pid in pids {
        let path = format!("/proc/{pid}/stat");
        let stat = std::fs::read_to_string(&path).map_err(|cause| Error::io(&path, cause))?;
        let broken = || Error::io(&path, io::ErrorKind::InvalidData.into());
        total += ticks(&stat).ok_or_else(broken)? * TICK_US;
    }
    Ok(total)
}

/// The memory of a process that no file stands behind, in bytes.
pub fn anonymous_bytes(pid: u32) -> Result<u64, Error> {
    let path = format!("/proc/{pid}/statm");
    let statm = std::fs::read_to_string(&path).map_err(|cause| Error::io(&path, cause))?;
    let broken = || Error::io(&path, io::ErrorKind::InvalidData.into());
    let pages = anonymous_pages(&statm).ok_or_else(broken)?;
    Ok(pages * rustix::param::page_size() as u64)
}

/// The second number of `/proc/<pid>/statm` are all pages in memory, the third those of files.
fn anonymous_pages(statm: &str) -> Option<u64> {
    let mut fields = statm.split_ascii_whitespace().skip(1);
    let resident: u64 = fields.next()?.parse().ok()?;
    resident.checked_sub(fields.next()?.parse().ok()?)
}

/// The CPU time of the whole machine since it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineTime {
    /// Time in which a CPU did something.
    pub busy_us: u64,
    /// All time, of all CPUs together.
    pub total_us: u64,
}

/// The CPU time of the whole machine so far.
pub fn machine_time() -> Result<MachineTime, Error> {
    let path = "/proc/stat";
    let stat = std::fs::read_to_string(path).map_err(|cause| Error::io(path, cause))?;
    let broken = || Error::io(path, io::ErrorKind::InvalidData.into());
    parse_machine(&stat).ok_or_else(broken)
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal, and two
/// that are counted in the first two already.
fn parse_machine(stat: &str) -> Option<MachineTime> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace();
    let ticks: Option<Vec<u64>> = fields.take(8).map(|field| field.parse().ok()).collect();
    let ticks = ticks?;
    let total: u64 = ticks.iter().sum();
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some(MachineTime { busy_us: (total - idle) * TICK_US, total_us: total * TICK_US })
}

/// `utime` plus `stime` of a line of `/proc/<pid>/stat`.
fn ticks(stat: &str) -> Option<u64> {
    // The name in parentheses may hold spaces and parentheses; fields are counted after it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_read_after_the_name() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 100 0 0 0 123 45 6 7 20 0 9 0 1000";
        assert_eq!(ticks(stat), Some(168));
        assert_eq!(ticks("42 (etcd) S 1"), None);
        assert_eq!(ticks(""), None);
    }

    #[test]
    fn files_are_no_anonymous_memory() {
        assert_eq!(anonymous_pages("900 500 120 1 0 300 0"), Some(380));
        assert_eq!(anonymous_pages("900 1 2"), None);
        assert!(anonymous_bytes(std::process::id()).unwrap() > 0);
    }

    #[test]
    fn waiting_is_not_work() {
        let stat = "cpu  10 1 20 300 5 2 3 4 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        let expected = MachineTime { busy_us: 40 * TICK_US, total_us: 345 * TICK_US };
        assert_eq!(parse_machine(stat), Some(expected));
        assert_eq!(parse_machine("cpu  1 2 x 4 5"), None);
        assert_eq!(parse_machine("intr 1"), None);
        assert!(machine_time().unwrap().total_us > 0);
    }

    #[test]
    fn this_process_is_counted() {
        let own = std::process::id();
        let before = cpu_us(&[own]).unwrap();
        assert!(cpu_us(&[own, own]).unwrap() >= 2 * before);
        assert!(cpu_us(&[u32::MAX]).is_err());
    }
}
