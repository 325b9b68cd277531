//! The system calls of the running server, and no others (seccomp(2)).
//!
//! A call that is not in the list ends the process: the kernel does not make it but sends SIGSYS, whose
//! handler writes one line to the log and exits. Arguments are checked as well where they
//! matter and the filter can see them; it cannot see what a pointer points at.

use std::collections::BTreeMap;
use std::ffi::{c_int, c_long, c_uint, c_void};
use std::io::{self, Write};
use std::os::fd::RawFd;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp,
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter_all_threads,
};

use super::lines::{is_json, log_descriptor, takes_a_line};
use super::publish::FILE_MODE;

/// Confines all threads of this process to the calls of the loop and its helper, for ever, and returns how many these are; 0 where the
/// kernel has no filters. Without `opens_beneath`, openat2(2) fails as on a kernel that lacks it: then
/// each file is opened by openat(2), whose flags the filter can see. With `writes` files can be made, written, renamed
/// and removed as uploads are; one file is replaced by another in the directory `replaces_in`, which the filter knows by
/// its number.
///
/// # Errors
/// Where the kernel refuses the filter.
pub fn confine(opens_beneath: bool, writes: bool, replaces_in: Option<RawFd>) -> io::Result<usize> {
    let handler = SigHandler::SigAction(on_violation);
    let action = SigAction::new(handler, SaFlags::SA_SIGINFO, SigSet::all());
    // SAFETY: `on_violation` calls nothing but poll, write and _exit, which are safe in a handler.
    unsafe { sigaction(Signal::SIGSYS, &action) }?;
    if !opens_beneath {
        let mut openat2 = Rules::new();
        openat2.insert(libc::SYS_openat2, Vec::new());
        let missing = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
        if !apply(openat2, SeccompAction::Allow, missing)? {
            return Ok(0);
        }
    }
    let mut rules = Rules::new();
    add(&mut rules, CALLS)?;
    if writes {
        add(&mut rules, WRITING_CALLS)?;
    }
    if let Some(directory) = replaces_in {
        let at = |argument| is(argument, directory);
        let replace = [at(0), (2, WRITING.unsigned_abs().into(), REPLACING)];
        let rename = [at(0), at(2)];
        let calls = [
            (libc::SYS_openat, &replace[..]),
            (libc::SYS_fchmod, &[(1, u32::MAX.into(), FILE_MODE.into())]),
            #[cfg(not(target_arch = "riscv64"))]
            (libc::SYS_renameat, &rename),
            (libc::SYS_renameat2, &rename),
        ];
        add(&mut rules, &calls)?;
    }
    let count = rules.len();
    let applied = apply(rules, SeccompAction::Trap, SeccompAction::Allow)?;
    Ok(if applied { count } else { 0 })
}

/// By the number of the call; any of its rules is enough, and no rule is needed where there is none.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Whether the kernel has filters.
fn apply(rules: Rules, otherwise: SeccompAction, on_match: SeccompAction) -> io::Result<bool> {
    let program = SeccompFilter::new(rules, otherwise, on_match, ARCHITECTURE)
        .and_then(BpfProgram::try_from)
        .map_err(unusable)?;
    match apply_filter_all_threads(&program) {
        Ok(()) => Ok(true),
        Err(Error::Seccomp(error)) if is_missing(&error) => Ok(false),
        Err(Error::Seccomp(error) | Error::Prctl(error)) => Err(error),
        Err(_) => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The lists below are constant, so this is never seen outside of the tests.
fn unusable(_: BackendError) -> io::Error {
    io::ErrorKind::InvalidData.into()
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS))
}

fn add(rules: &mut Rules, calls: &[(c_long, &[Condition])]) -> io::Result<()> {
    for &(call, conditions) in calls {
        let all = conditions.iter().map(|&(argument, mask, value)| {
            let compare = SeccompCmpOp::MaskedEq(mask);
            SeccompCondition::new(argument, SeccompCmpArgLen::Dword, compare, value)
        });
        let all = all.collect::<Result<Vec<_>, _>>().map_err(unusable)?;
        let of_call = rules.entry(call).or_default();
        if !all.is_empty() {
            of_call.push(SeccompRule::new(all).map_err(unusable)?);
        }
    }
    Ok(())
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: TargetArch = TargetArch::aarch64;
#[cfg(target_arch = "riscv64")]
const ARCHITECTURE: TargetArch = TargetArch::riscv64;

/// An argument by its number, the bits of it that count, and what these have to be.
type Condition = (u8, u64, u64);

/// Calls that are allowed with some arguments: those that meet all conditions of one line, or any where there are none.
const CALLS: &[(c_long, &[Condition])] = &[
    // The loop.
    (libc::SYS_epoll_ctl, &[]),
    (libc::SYS_epoll_pwait, &[]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_epoll_wait, &[]),
    (libc::SYS_timerfd_settime, &[]),
    (libc::SYS_clock_gettime, &[]),
    (libc::SYS_restart_syscall, &[]),
    // What the loop and its helper wait for each other with; a queue that both use at once makes one give way.
    (libc::SYS_futex, &[]),
    (libc::SYS_sched_yield, &[]),
    // Sockets; all there ever are speak UDP.
    (libc::SYS_bind, &[]),
    (libc::SYS_connect, &[]),
    (libc::SYS_getsockopt, &[]),
    (libc::SYS_recvfrom, &[]),
    (libc::SYS_recvmmsg, &[]),
    (libc::SYS_recvmsg, &[]),
    // Of the control socket, which was made before.
    (libc::SYS_accept4, &[]),
    (libc::SYS_sendto, &[]),
    (libc::SYS_sendmmsg, &[]),
    (libc::SYS_sendmsg, &[]),
    // Files. What openat2 opens is bound by Landlock, see `confine`.
    (libc::SYS_close, &[]),
    (libc::SYS_fadvise64, &[]),
    (libc::SYS_fstat, &[]),
    (libc::SYS_fstatfs, &[]),
    (libc::SYS_newfstatat, &[]),
    (libc::SYS_statx, &[]),
    (libc::SYS_openat2, &[]),
    (libc::SYS_readlinkat, &[]),
    // Directories, for names in another case.
    (libc::SYS_getdents64, &[]),
    (libc::SYS_lseek, &[]),
    (libc::SYS_pread64, &[]),
    (libc::SYS_preadv2, &[]),
    (libc::SYS_read, &[]),
    // The log.
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_poll, &[]),
    (libc::SYS_ppoll, &[]),
    (libc::SYS_write, &[]),
    // Memory.
    (libc::SYS_brk, &[]),
    (libc::SYS_getrusage, &[]),
    (libc::SYS_madvise, &[]),
    (libc::SYS_mremap, &[]),
    (libc::SYS_munmap, &[]),
    // The runtime: seeds of hash maps, the end of the process, and that of a faulty one.
    (libc::SYS_getrandom, &[]),
    (libc::SYS_exit_group, &[]),
    (libc::SYS_sigaltstack, &[]),
    (libc::SYS_rt_sigprocmask, &[]),
    (libc::SYS_rt_sigreturn, &[]),
    (libc::SYS_getpid, &[]),
    (libc::SYS_gettid, &[]),
    // Calls that could do more.
    (
        libc::SYS_socket,
        &[is(0, libc::AF_INET), DATAGRAMS, is(2, libc::IPPROTO_UDP)],
    ),
    (
        libc::SYS_socket,
        &[is(0, libc::AF_INET6), DATAGRAMS, is(2, libc::IPPROTO_UDP)],
    ),
    (libc::SYS_setsockopt, &[is(1, libc::IPPROTO_IP)]),
    (libc::SYS_setsockopt, &[is(1, libc::IPPROTO_IPV6)]),
    (libc::SYS_setsockopt, &[is(1, libc::IPPROTO_UDP)]),
    (libc::SYS_setsockopt, &[is(1, libc::SOL_SOCKET)]),
    (libc::SYS_openat, &[without(2, WRITING)]),
    // The process file is emptied at the end.
    (libc::SYS_ftruncate, &[is(1, 0)]),
    (libc::SYS_mmap, &[without(2, libc::PROT_EXEC)]),
    (libc::SYS_mprotect, &[without(2, libc::PROT_EXEC)]),
    // What a directory that is read was opened for, and that it is closed in other programs.
    (libc::SYS_fcntl, &[is(1, libc::F_GETFL)]),
    (libc::SYS_fcntl, &[is(1, libc::F_SETFD)]),
    // A build with debug assertions looks whether a descriptor is open before it closes it.
    (libc::SYS_fcntl, &[is(1, libc::F_GETFD)]),
    // How a program that finds a fault in itself ends: abort(3), and the handler that reports a stack
    // overflow.
    (libc::SYS_tgkill, &[is(2, libc::SIGABRT)]),
    (libc::SYS_tkill, &[is(1, libc::SIGABRT)]),
    (libc::SYS_rt_sigaction, &[is(0, libc::SIGABRT)]),
    (libc::SYS_rt_sigaction, &[is(0, libc::SIGBUS)]),
    (libc::SYS_rt_sigaction, &[is(0, libc::SIGSEGV)]),
];

/// What uploads need beside that. No mode of a file is ever changed.
const WRITING_CALLS: &[(c_long, &[Condition])] = &[
    (libc::SYS_faccessat, &[]),
    (libc::SYS_faccessat2, &[]),
    (libc::SYS_fsync, &[]),
    (libc::SYS_geteuid, &[]),
    (libc::SYS_sync_file_range, &[]),
    // A file that is there is opened to be written to, and nothing else happens to it.
    (
        libc::SYS_openat,
        &[(2, MAKING | libc::O_ACCMODE as u64, libc::O_WRONLY as u64)],
    ),
    // A new one is made, which nobody may execute.
    (
        libc::SYS_openat,
        &[
            (
                2,
                MAKING | libc::O_ACCMODE as u64,
                (libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL) as u64,
            ),
            (3, !0o666_u32 as u64, 0),
        ],
    ),
    (libc::SYS_renameat2, &[is(4, 0)]),
    (libc::SYS_renameat2, &[is(4, RENAME_NOREPLACE)]),
    (libc::SYS_unlinkat, &[is(2, 0)]),
];

/// Flags of open(2) that make or cut a file.
const MAKING: u64 = (libc::O_CREAT
    | libc::O_EXCL
    | libc::O_TRUNC
    | libc::O_APPEND
    | (libc::O_TMPFILE & !libc::O_DIRECTORY)) as u64;
const RENAME_NOREPLACE: c_int = libc::RENAME_NOREPLACE.cast_signed();

/// The type of a socket; the rest of that argument are flags.
const DATAGRAMS: Condition = (1, 0xf, libc::SOCK_DGRAM as u64);
/// Flags of open(2) that write, make or cut a file. `O_TMPFILE` includes the flag of a directory.
const WRITING: c_int = libc::O_WRONLY
    | libc::O_RDWR
    | libc::O_CREAT
    | libc::O_TRUNC
    | libc::O_APPEND
    | (libc::O_TMPFILE & !libc::O_DIRECTORY);

/// How a file is opened that is to replace another.
const REPLACING: u64 = (libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC) as u64;

const fn is(argument: u8, value: c_int) -> Condition {
    (argument, u32::MAX as u64, value.unsigned_abs() as u64)
}

const fn without(argument: u8, flags: c_int) -> Condition {
    (argument, flags.unsigned_abs() as u64, 0)
}

/// Ends the process after a call that the filter does not allow.
extern "C" fn on_violation(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel hands over a `siginfo_t`, and for SIGSYS it begins as `Violation` does.
    let call = unsafe { (*info.cast::<Violation>()).call };
    let mut line = [0; 96];
    let mut rest = &mut line[..];
    // Neither formatting into an array nor what follows allocates or takes a lock.
    let _ = match is_json() {
        false => writeln!(
            rest,
            "ERROR system call {call} is not allowed in the sandbox: ended"
        ),
        true => writeln!(
            rest,
            "{{\"level\":\"error\",\"event\":\"not_allowed\",\"system_call\":{call}}}"
        ),
    };
    let unused = rest.len();
    if takes_a_line().unwrap_or(false) {
        let _ = nix::unistd::write(log_descriptor(), &line[..line.len() - unused]);
    }
    // SAFETY: ends the process without running anything more of it.
    unsafe { libc::_exit(EXIT_STATUS) }
}

/// The beginning of `siginfo_t` for SIGSYS (sigaction(2)).
#[repr(C)]
struct Violation {
    signal: c_int,
    error: c_int,
    code: c_int,
    address: *const c_void,
    call: c_int,
    architecture: c_uint,
}

/// As a shell reports a process that SIGSYS killed.
const EXIT_STATUS: c_int = 128 + libc::SIGSYS;
