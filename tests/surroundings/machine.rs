//! What tests need from the machine: what a process uses, limits, a network of their own, and saying that something cannot be
//! tested here.

use std::collections::HashSet;
use std::fs;
use std::hash::Hash;
use std::io::Write;
use std::net::{Ipv6Addr, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};

use super::root::Root;

/// Says why something is not tested here. Not by `eprintln`, which the harness hides when a test succeeds.
pub(crate) fn skipped(why: &str) {
    let test = thread::current();
    let _ = writeln!(
        std::io::stderr(),
        "skipped: {}: {why}",
        test.name().unwrap_or("a test")
    );
}

pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Containers often have no IPv6; says so.
pub(crate) fn has_ipv6() -> bool {
    let has = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if !has {
        skipped("there is no IPv6");
    }
    has
}

pub(crate) fn has_program(name: &str, harmless: &str) -> bool {
    Command::new(name)
        .arg(harmless)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

/// Asks again until there is an answer.
#[track_caller]
pub(crate) fn eventually<T>(
    what: &str,
    within: Duration,
    mut answer: impl FnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within {within:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A figure from /proc/PID/status, such as `VmRSS` in KiB.
pub(crate) fn status(process: u32, field: &str) -> u64 {
    figure(&format!("/proc/{process}/status"), field)
}

/// Signals sent to a process that have not been delivered, as a bit mask.
pub(crate) fn pending_signals(process: u32) -> u64 {
    let mask = field(&format!("/proc/{process}/status"), "ShdPnd");
    u64::from_str_radix(&mask, 16).unwrap()
}

pub(crate) fn open_files(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

pub(crate) fn descriptors(process: u32) -> HashSet<u64> {
    numbers_in(&format!("/proc/{process}/fd"))
}

/// The names in a directory of /proc that are numbers.
fn numbers_in<T: FromStr + Eq + Hash>(directory: &str) -> HashSet<T> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    names
        .filter_map(|name| name.to_str()?.parse().ok())
        .collect()
}

pub(crate) fn threads(process: u32) -> HashSet<u32> {
    numbers_in(&format!("/proc/{process}/task"))
}

/// Whether it waits for something to happen.
pub(crate) fn is_asleep(process: u32) -> bool {
    state_of(process).starts_with('S')
}

/// Whether a signal has stopped it.
pub(crate) fn is_stopped(process: u32) -> bool {
    state_of(process).starts_with('T')
}

/// /proc/PID/stat behind the name of the program.
fn state_of(process: u32) -> String {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.to_owned()
}

/// How often the threads of a process have gone to sleep; each time but the last they were woken.
pub(crate) fn sleeps(process: u32) -> u64 {
    threads(process)
        .iter()
        .map(|thread| {
            figure(
                &format!("/proc/{process}/task/{thread}/status"),
                "voluntary_ctxt_switches",
            )
        })
        .sum()
}

/// Processor time used so far, in hundredths of a second (USER_HZ, which is 100 on all architectures that matter).
pub(crate) fn processor_ticks(process: u32) -> u64 {
    stat_figure(process, 14) + stat_figure(process, 15)
}

/// Page faults that had to wait for a disk.
pub(crate) fn major_faults(process: u32) -> u64 {
    stat_figure(process, 12)
}

/// A figure from /proc/PID/stat by its number in proc(5), at least 3.
fn stat_figure(process: u32, number: usize) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name of the program, in parentheses, may hold anything; field 3 follows it.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let field = fields.split_whitespace().nth(number - 3);
    field.unwrap().parse().unwrap()
}

fn figure(path: &str, name: &str) -> u64 {
    field(path, name).parse().unwrap()
}

/// The first word behind a name in a file of /proc.
pub(crate) fn field(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap();
    let value = |line: &str| {
        line.strip_prefix(name)?
            .strip_prefix(':')
            .map(str::to_owned)
    };
    let value = text.lines().find_map(value).unwrap();
    value.split_whitespace().next().unwrap().to_owned()
}

/// How often the network of this thread had no route for a packet (`OutNoRoutes` of RFC 4293).
pub(crate) fn packets_without_route() -> u64 {
    counted_by_network("Ip: ", "OutNoRoutes")
}

/// Datagrams of UDP sent in the network of this thread.
pub(crate) fn datagrams_sent() -> u64 {
    counted_by_network("Udp: ", "OutDatagrams")
}

fn counted_by_network(protocol: &str, counter: &str) -> u64 {
    let text = fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with(protocol));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let mut columns = names.split(' ').zip(values.split(' '));
    let column = columns.find(|(name, _)| *name == counter);
    column.unwrap().1.parse().unwrap()
}

/// Datagrams that found the buffer of the socket at this port of IPv4 full.
pub(crate) fn datagrams_dropped_at(port: u16) -> u64 {
    let table = fs::read_to_string("/proc/thread-self/net/udp").unwrap();
    let bound = format!(":{port:04X} ");
    let line = table.lines().find(|line| line.contains(&bound)).unwrap();
    line.split_whitespace().last().unwrap().parse().unwrap()
}

/// Lets another process have this many files open and no more (its hard limit stays).
pub(crate) fn limit_open_files(process: u32, files: u64) {
    let process = process.try_into().unwrap();
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls get a pointer to a live `rlimit`, or null where nothing is to be written or read.
    let results = unsafe {
        let got = libc::prlimit(
            process,
            libc::RLIMIT_NOFILE,
            std::ptr::null(),
            &raw mut limit,
        );
        limit.rlim_cur = files.min(limit.rlim_max);
        [
            got,
            libc::prlimit(
                process,
                libc::RLIMIT_NOFILE,
                &raw const limit,
                std::ptr::null_mut(),
            ),
        ]
    };
    assert_eq!(
        results,
        [0, 0],
        "prlimit: {}",
        std::io::Error::last_os_error()
    );
}

/// Lets the tests themselves have as many files open as they may.
pub(crate) fn raise_own_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

/// Runs a test in a network that holds nothing but its own loopback interface, which may be set up at will. The server a
/// test starts inherits it. It is gone with the last of them.
pub(crate) fn in_own_network(test: impl FnOnce() + Send + 'static) {
    if !is_root() || !has_program("ip", "-V") {
        return skipped("a network of its own needs root and `ip`");
    }
    in_own_thread(move || {
        // SAFETY: no pointers; it concerns this thread only, which does nothing else.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            return skipped(&format!(
                "no network of its own: {}",
                std::io::Error::last_os_error()
            ));
        }
        run("ip", "link set lo up");
        test();
    });
}

/// Runs a test that mounts file systems, which nobody else sees but the server it starts. They are gone with the last of them.
pub(crate) fn in_own_mounts(test: impl FnOnce() + Send + 'static) {
    if !is_root() {
        return skipped("file systems of its own need root");
    }
    in_own_thread(move || {
        // SAFETY: as above.
        let is_own = unsafe { libc::unshare(libc::CLONE_NEWNS) } == 0;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        let nothing = None::<&str>;
        if !is_own || mount(nothing, "/", nothing, private, nothing).is_err() {
            return skipped(&format!(
                "no file systems of its own: {}",
                std::io::Error::last_os_error()
            ));
        }
        test();
    });
}

/// Under the name of the test; if it fails, the test does.
fn in_own_thread(inside: impl FnOnce() + Send + 'static) {
    let name = thread::current().name().unwrap_or_default().to_owned();
    let thread = thread::Builder::new().name(name).spawn(inside);
    if let Err(panic) = thread.unwrap().join() {
        resume_unwind(panic);
    }
}

/// A library in C to be loaded before all others, built here; says so where there is no compiler.
pub(crate) fn library(root: &Root, source: &str) -> Option<PathBuf> {
    let (path, library) = (root.beside("library.c"), root.beside("library.so"));
    fs::write(&path, source).unwrap();
    let mut command = Command::new("cc");
    command.args(["-shared", "-fPIC", "-o"]);
    match command.arg(&library).arg(&path).output() {
        Ok(output) if output.status.success() => Some(library),
        Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
        Err(_) => {
            skipped("there is no C compiler");
            None
        }
    }
}

/// Mounts ext4 of its own, made with these options, at `disk` in a root; says so where that cannot be.
pub(crate) fn mount_ext4(root: &Root, options: &str, size: &str) -> bool {
    if !has_program("mkfs.ext4", "-V") || !has_program("mount", "--version") {
        skipped("there is no mkfs.ext4, or no mount");
        return false;
    }
    let (image, disk) = (root.beside("image"), root.file("disk"));
    fs::create_dir(&disk).unwrap();
    let image = image.to_str().unwrap();
    run(
        "mkfs.ext4",
        &format!("-q {options} -m 0 -O ^has_journal {image} {size}"),
    );
    let mut mount = Command::new("mount");
    mount.args(["-o", "loop", image]).arg(&disk);
    let is_mounted = mount.status().unwrap().success();
    if !is_mounted {
        skipped("no loop device");
    }
    is_mounted
}

/// A cable between two interfaces of this network; says so where there is none.
pub(crate) fn lay_cable(here: &str, there: &str) -> bool {
    let mut command = Command::new("ip");
    command.args(format!("link add {here} type veth peer name {there}").split(' '));
    let is_laid = command.status().is_ok_and(|status| status.success());
    if !is_laid {
        skipped("there is no veth");
    }
    is_laid
}

/// Makes something in a network of its own at the other end of a cable, which `ip` sets up there. What is made there, sockets
/// above all, stays there, and the network with it.
pub(crate) fn at_the_other_end<T: Send + 'static>(
    interface: &str,
    set_up: &[&str],
    make: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (told, ours) = std::sync::mpsc::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let mut commands = vec![format!("link set {interface} up")];
    commands.extend(set_up.iter().map(|&command| command.to_owned()));
    let name = thread::current().name().unwrap_or_default().to_owned();
    let inside = move || {
        // SAFETY: no pointers; it concerns this thread only.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
        // SAFETY: no arguments, no failure.
        told.send(unsafe { libc::gettid() }).unwrap();
        wait.recv().unwrap();
        commands.iter().for_each(|command| run("ip", command));
        make()
    };
    let there = thread::Builder::new().name(name).spawn(inside).unwrap();
    let thread = ours.recv().unwrap();
    run("ip", &format!("link set {interface} netns {thread}"));
    go.send(()).unwrap();
    match there.join() {
        Ok(made) => made,
        Err(panic) => resume_unwind(panic),
    }
}

/// Runs a program that must succeed.
#[track_caller]
pub(crate) fn run(program: &str, arguments: &str) {
    let output = Command::new(program)
        .args(arguments.split(' '))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Held by tests that measure, or that load the machine: one of them at a time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    // A test that failed says so itself; the lock guards nothing, so it does not matter that it is poisoned.
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
