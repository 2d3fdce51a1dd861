//! What the operating system tells: CPU time, memory, limits, and which machine this is.

use std::fs;
use std::time::Duration;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::time::TimeVal;
use nix::time::{ClockId, clock_gettime};

use crate::Result;

/// User and system time of some process or processes.
#[derive(Clone, Copy)]
pub struct Cpu {
    pub user: Duration,
    pub system: Duration,
}

impl Cpu {
    pub fn since(self, earlier: Cpu) -> Cpu {
        Cpu {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }

    pub fn total(self) -> Duration {
        self.user + self.system
    }
}

/// CPU time of this process so far, all threads.
pub fn own_cpu() -> Result<Cpu> {
    cpu(UsageWho::RUSAGE_SELF)
}

/// CPU time of the children that have been waited for.
pub fn children_cpu() -> Result<Cpu> {
    cpu(UsageWho::RUSAGE_CHILDREN)
}

fn cpu(who: UsageWho) -> Result<Cpu> {
    let usage = getrusage(who).map_err(|error| format!("getrusage: {error}"))?;
    Ok(Cpu { user: duration(usage.user_time())?, system: duration(usage.system_time())? })
}

fn duration(time: TimeVal) -> Result<Duration> {
    let seconds = u64::try_from(time.tv_sec())?;
    let microseconds = u64::try_from(time.tv_usec())?;
    Ok(Duration::from_secs(seconds) + Duration::from_micros(microseconds))
}

/// The same CPU time by its finer clock; a turn is too short for microseconds.
pub fn cpu_nanoseconds() -> Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)
        .map_err(|error| format!("the clock of the process's CPU time: {error}"))?;
    Ok(u64::try_from(time.tv_sec())? * 1_000_000_000 + u64::try_from(time.tv_nsec())?)
}

/// Resident bytes of this process now.
pub fn resident_bytes() -> Result<u64> {
    status_bytes("VmRSS:")
}

/// The most resident bytes since [`forget_peak`].
pub fn peak_resident_bytes() -> Result<u64> {
    status_bytes("VmHWM:")
}

pub fn forget_peak() -> Result<()> {
    fs::write("/proc/self/clear_refs", "5").map_err(|error| format!("/proc/self/clear_refs: {error}").into())
}

fn status_bytes(field: &str) -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map(|kibibytes| kibibytes * 1024)
        .ok_or_else(|| format!("/proc/self/status: no {field} line; this needs Linux").into())
}

/// Raises the limit of open files to the hard limit and gives it.
pub fn raise_open_files() -> Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
        .map_err(|error| format!("raising the limit of open files to {hard}: {error}"))?;
    Ok(hard)
}

/// Processor, cores, kernel and how busy the machine is, in one line.
pub fn facts() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown processor", |(_, name)| name.trim());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{processor}, {cores} cores, Linux {}, load {}", kernel.trim(), load())
}

/// The load average of the last minute: above 0 before the start, other work disturbs the figures.
pub fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace().next().unwrap_or("unknown").to_owned()
}
