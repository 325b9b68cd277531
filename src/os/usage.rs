//! What the process uses, read through descriptors that were opened before the sandbox.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use nix::fcntl::open;
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::stat::{Mode, fstat};
use nix::sys::time::TimeValLike;
use nix::unistd::{SysconfVar, sysconf};

use super::directory::TO_SEARCH;

/// What the process uses; what the system does not say is `None`.
#[derive(Debug)]
pub struct Usage {
    pages: Option<File>,
    page_bytes: u64,
    descriptors: Option<OwnedFd>,
    /// Descriptors that may be open.
    pub descriptors_max: Option<u64>,
}

impl Usage {
    /// Opens what has to be open.
    pub fn open() -> Usage {
        let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
        Usage {
            pages: File::open("/proc/self/statm").ok(),
            page_bytes: page
                .and_then(|bytes| u64::try_from(bytes).ok())
                .unwrap_or(0),
            descriptors: open("/proc/self/fd", TO_SEARCH, Mode::empty()).ok(),
            descriptors_max: getrlimit(Resource::RLIMIT_NOFILE)
                .ok()
                .map(|(soft, _)| soft),
        }
    }

    /// Bytes of memory that are resident.
    pub fn resident(&self) -> Option<u64> {
        let mut text = [0; 128];
        let length = self.pages.as_ref()?.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(text.get(..length)?).ok()?;
        let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
        Some(pages * self.page_bytes)
    }

    /// Descriptors that are open: the size of their directory, since Linux 6.2.
    pub fn descriptors(&self) -> Option<u64> {
        let size = fstat(self.descriptors.as_ref()?).ok()?.st_size;
        u64::try_from(size).ok().filter(|&open| open > 0)
    }
}

/// The processor time that this process has used up.
pub fn processor_time() -> io::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros = [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| u64::try_from(time.num_microseconds()).unwrap_or(0))
        .sum();
    Ok(Duration::from_micros(micros))
}
