//! The attempts themselves, made in a process of their own.

use std::env;
use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::exit;
use std::ptr;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::thread;

use ripple_tftpd::os::files::Files;
use ripple_tftpd::os::place::WriteRules;
use ripple_tftpd::os::{landlock, process, seccomp};

/// Names in the environment: what is tried, in which layers of the sandbox, with the files of which directory.
pub(crate) const WHAT: &str = "TFTPD_ATTEMPT";
pub(crate) const ENTERED: &str = "TFTPD_LAYERS";
pub(crate) const ROOT: &str = "TFTPD_DIRECTORY";
/// By which thread.
pub(crate) const BY: &str = "TFTPD_THREAD";
/// The process that runs the tests.
pub(crate) const PARENT: &str = "TFTPD_PARENT";
/// The status of an attempt for which the layer is not there. No error has this number.
pub(crate) const MISSING: i32 = 255;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layers {
    None,
    Landlock,
    /// With ABI 6 or later.
    NewLandlock,
    /// For a root that is a link.
    Linked,
    /// Where a file beside the root is replaced again and again.
    Replacing,
    /// As on a kernel without Landlock.
    Seccomp,
    Both,
    /// With uploads to the directory `up` below the root: each alone, and both.
    WritingLandlock,
    WritingSeccomp,
    WritingBoth,
}

impl Layers {
    const ALL: [Layers; 10] = [
        Layers::None,
        Layers::Landlock,
        Layers::NewLandlock,
        Layers::Linked,
        Layers::Replacing,
        Layers::Seccomp,
        Layers::Both,
        Layers::WritingLandlock,
        Layers::WritingSeccomp,
        Layers::WritingBoth,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Layers::None => "none",
            Layers::Landlock => "Landlock",
            Layers::NewLandlock => "Landlock of ABI 6",
            Layers::Linked => "Landlock for a link",
            Layers::Replacing => "Landlock or seccomp for statistics",
            Layers::Seccomp => "seccomp",
            Layers::Both => "Landlock or seccomp",
            Layers::WritingLandlock => "Landlock with uploads",
            Layers::WritingSeccomp => "seccomp with uploads",
            Layers::WritingBoth => "Landlock or seccomp with uploads",
        }
    }
}

/// The threads of the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum By {
    /// It enters the sandbox.
    Loop,
    /// It is started in the midst of that: before the filter, which binds all threads, and behind Landlock, which binds
    /// those that come later.
    Helper,
}

impl By {
    pub(crate) const ALL: [By; 2] = [By::Loop, By::Helper];

    pub(crate) fn name(self) -> &'static str {
        match self {
            By::Loop => "loop",
            By::Helper => "helper",
        }
    }
}

type Attempt = fn(&Path) -> io::Result<()>;

pub(crate) const ATTEMPTS: &[(&str, Attempt)] = &[
    ("read inside", |directory| {
        read(&directory.join("root/file"))
    }),
    ("give way to a thread", |_| {
        thread::yield_now();
        Ok(())
    }),
    ("read outside", |directory| read(&directory.join("secret"))),
    ("read /etc/passwd", |_| read(Path::new("/etc/passwd"))),
    ("read another release", |directory| {
        read(&directory.join("root/v2/file"))
    }),
    ("list outside", |directory| File::open(directory).map(drop)),
    ("create inside", |directory| {
        create(&directory.join("root/new"))
    }),
    ("create outside", |directory| create(&directory.join("new"))),
    ("create by openat2", create_by_openat2),
    ("write inside", |directory| {
        File::options()
            .append(true)
            .open(directory.join("root/file"))
            .map(drop)
    }),
    ("remove inside", |directory| {
        call(
            libc::SYS_unlinkat,
            [&directory.join("root/file"), Path::new("")],
            0,
        )
    }),
    ("rename inside", |directory| {
        call(
            libc::SYS_renameat2,
            [&directory.join("root/file"), &directory.join("root/other")],
            libc::AT_FDCWD,
        )
    }),
    ("make a directory", |directory| {
        call(
            libc::SYS_mkdirat,
            [&directory.join("root/new"), Path::new("")],
            0o755,
        )
    }),
    ("upload", |directory| {
        upload(&directory.join("root/up"), "file", 0o666)
    }),
    ("upload beside", |directory| {
        upload(&directory.join("root/v1"), "file", 0o666)
    }),
    ("upload outside", |directory| {
        upload(directory, "secret", 0o666)
    }),
    ("write through a link out", |directory| {
        append(&directory.join("root/up/link"))
    }),
    ("upload a program", |directory| {
        upload(&directory.join("root/up"), "program", 0o755)
    }),
    ("upload a program by openat2", program_by_openat2),
    ("make a link", |directory| {
        let link = directory.join("root/up/new");
        nix::unistd::symlinkat("file", nix::fcntl::AT_FDCWD, &link)?;
        fs::remove_file(link)
    }),
    ("make a hard link", |directory| {
        let link = directory.join("root/up/new");
        fs::hard_link(directory.join("secret"), &link)?;
        fs::remove_file(link)
    }),
    ("move out", |directory| {
        let [from, to] = [directory.join("root/up/file"), directory.join("root/other")];
        fs::rename(&from, &to)?;
        fs::rename(to, from)
    }),
    ("exchange", |directory| {
        let [one, other] = ["root/up/file", "root/up/other"].map(|path| directory.join(path));
        let name = |path: &Path| std::ffi::CString::new(path.as_os_str().as_encoded_bytes());
        let (one, other) = (name(&one)?, name(&other)?);
        let (here, flags) = (libc::AT_FDCWD, libc::RENAME_EXCHANGE);
        let number = libc::SYS_renameat2;
        // SAFETY: both paths end with a zero.
        result(unsafe { libc::syscall(number, here, one.as_ptr(), here, other.as_ptr(), flags) })
    }),
    ("change a mode", |directory| {
        use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
        let (path, mode) = (directory.join("root/up/file"), Mode::S_IRWXU);
        Ok(fchmodat(
            nix::fcntl::AT_FDCWD,
            &path,
            mode,
            FchmodatFlags::FollowSymlink,
        )?)
    }),
    ("make a directory for uploads", |directory| {
        let path = directory.join("root/up/new");
        fs::create_dir(&path)?;
        fs::remove_dir(path)
    }),
    ("make a device", |directory| {
        let path = directory.join("root/up/new");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR)?;
        fs::remove_file(path)
    }),
    ("execute", |_| {
        let [program, nothing] = [c"/bin/true".as_ptr(), ptr::null()];
        // SAFETY: the path and the lists end with a zero.
        unsafe { libc::execve(program, [program, nothing].as_ptr(), [nothing].as_ptr()) };
        Err(io::Error::last_os_error())
    }),
    ("fork", |_| {
        // SAFETY: as fork(2): no new stack, no shared memory. The child ends at once.
        match unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } {
            // SAFETY: as above.
            0 => unsafe { libc::_exit(0) },
            child => result(child),
        }
    }),
    ("UDP socket", |_| {
        socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDP).map(drop)
    }),
    ("unix socket", |_| {
        socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).map(drop)
    }),
    ("netlink socket", |_| {
        socket(libc::AF_NETLINK, libc::SOCK_RAW, 0).map(drop)
    }),
    ("bind TCP", |_| {
        tcp_call(|socket, address, length| {
            // SAFETY: the address is as long as is said.
            unsafe { libc::bind(socket, address, length) }
        })
    }),
    ("connect TCP", |_| {
        match tcp_call(|socket, address, length| {
            // SAFETY: as above.
            unsafe { libc::connect(socket, address, length) }
        }) {
            // Nobody listens at port 0; it is the attempt that counts.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            result => result,
        }
    }),
    ("executable memory", |_| {
        map(libc::PROT_READ | libc::PROT_EXEC).map(drop)
    }),
    ("memory made executable", |_| {
        let page = map(libc::PROT_READ)?;
        // SAFETY: the page is ours alone.
        result(unsafe { libc::mprotect(page, PAGE, libc::PROT_READ | libc::PROT_EXEC) }.into())
    }),
    ("signal another process", |_| {
        let parent = env::var(PARENT).unwrap().parse().unwrap();
        // SAFETY: no pointers, and signal 0 only asks whether one could be sent.
        result(unsafe { libc::kill(parent, 0) }.into())
    }),
];

/// Not a test: what the tests run in a process of its own.
#[test]
#[ignore = "tries to break out; the other tests run it"]
fn attempt() {
    let (Ok(what), Ok(entered), Ok(directory)) =
        (env::var(WHAT), env::var(ENTERED), env::var(ROOT))
    else {
        panic!("only the other tests run this");
    };
    let directory = Path::new(&directory);
    let layers = Layers::ALL
        .into_iter()
        .find(|layers| layers.name() == entered)
        .unwrap();
    let (_, attempt) = ATTEMPTS.iter().find(|(name, _)| *name == what).unwrap();
    let helper = enter(layers, &directory.join("root"));
    let directory = directory.to_owned();
    // Not by returning: the harness would do what is forbidden.
    let try_it = move || {
        exit(match attempt(&directory) {
            Ok(()) => 0,
            Err(error) => error.raw_os_error().unwrap(),
        })
    };
    let by = env::var(BY).unwrap();
    if by == By::Loop.name() {
        try_it();
    }
    assert_eq!(by, By::Helper.name());
    helper.send(Box::new(try_it)).unwrap();
    loop {
        thread::park();
    }
}

type Work = Box<dyn FnOnce() + Send>;

/// Something to be done by a thread of its own, which has begun.
fn helper() -> Sender<Work> {
    let (work, todo) = channel::<Work>();
    let (ready, is_ready) = sync_channel(0);
    thread::spawn(move || {
        ready.send(()).unwrap();
        todo.into_iter().for_each(|work| work());
    });
    is_ready.recv().unwrap();
    work
}

/// Enters the sandbox as the server does, and starts its helper on the way.
fn enter(layers: Layers, root: &Path) -> Sender<Work> {
    let writes = matches!(
        layers,
        Layers::WritingLandlock | Layers::WritingSeccomp | Layers::WritingBoth
    );
    if writes {
        process::bar_execution_of_new_files();
    }
    if matches!(layers, Layers::WritingLandlock | Layers::WritingBoth) {
        let mut files = Files::new(&[root.to_owned()], false).unwrap();
        let rules = WriteRules {
            creates: true,
            replaces: true,
            public_only: false,
            umask: 0,
        };
        files.allow_uploads(rules, &["up".into()]).unwrap();
        let writable = files.writable_directories();
        if landlock::confine(&files.directories(), &writable, &[]).unwrap() < 3 {
            exit(MISSING);
        }
    }
    if matches!(
        layers,
        Layers::Landlock | Layers::NewLandlock | Layers::Both
    ) {
        let level = landlock::confine(&[File::open(root).unwrap().as_fd()], &[], &[]).unwrap();
        if level < if layers == Layers::NewLandlock { 6 } else { 1 } {
            exit(MISSING);
        }
    }
    if layers == Layers::Linked {
        let files = Files::new(&[root.join("current")], false).unwrap();
        if landlock::confine(&files.directories(), &[], &[]).unwrap() < 1 {
            exit(MISSING);
        }
    }
    if layers == Layers::Replacing {
        let statistics = File::open(root.join("v1")).unwrap();
        let root = File::open(root).unwrap();
        let level = landlock::confine(&[root.as_fd()], &[statistics.as_fd()], &[]).unwrap();
        let helper = helper();
        let number = statistics.into_raw_fd();
        if level < 1 || seccomp::confine(true, false, Some(number)).unwrap() == 0 {
            exit(MISSING);
        }
        return helper;
    }
    let helper = helper();
    let has_landlock = matches!(layers, Layers::Both | Layers::WritingBoth);
    if (has_landlock || matches!(layers, Layers::Seccomp | Layers::WritingSeccomp))
        && seccomp::confine(has_landlock, writes, None).unwrap() == 0
    {
        exit(MISSING);
    }
    helper
}

fn read(path: &Path) -> io::Result<()> {
    File::open(path).map(drop)
}

/// And removes it again where that was possible.
fn create(path: &Path) -> io::Result<()> {
    File::create_new(path)?;
    fs::remove_file(path)
}

/// As the server does it.
fn upload(directory: &Path, name: &str, mode: u32) -> io::Result<()> {
    use nix::fcntl::{OFlag, openat};
    use nix::sys::stat::Mode;
    use nix::unistd::{UnlinkatFlags, unlinkat};
    let path_only = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = openat(nix::fcntl::AT_FDCWD, directory, path_only, Mode::empty())?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
    let mode = Mode::from_bits_truncate(mode);
    let file = openat(&directory, "new", flags | OFlag::O_CLOEXEC, mode)?;
    let mut file = File::from(file);
    file.write_all(b"new")?;
    file.sync_all()?;
    if name == "program" {
        // What counts is whether it could be executed.
        let is_program = file.metadata()?.permissions().mode() & 0o111 != 0;
        unlinkat(&directory, "new", UnlinkatFlags::NoRemoveDir)?;
        return match is_program {
            true => Ok(()),
            false => Err(io::Error::from_raw_os_error(libc::EACCES)),
        };
    }
    let from = c"new".as_ptr();
    let to = std::ffi::CString::new(name)?;
    let at = directory.as_raw_fd();
    // SAFETY: both names end with a zero.
    result(unsafe { libc::syscall(libc::SYS_renameat2, at, from, at, to.as_ptr(), 0) })
}

fn append(path: &Path) -> io::Result<()> {
    File::options().append(true).open(path).map(drop)
}

fn program_by_openat2(directory: &Path) -> io::Result<()> {
    use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, openat2};
    use nix::sys::stat::Mode;
    let how = OpenHow::new()
        .flags(OFlag::O_CREAT | OFlag::O_WRONLY)
        .mode(Mode::from_bits_truncate(0o755));
    let path = directory.join("root/up/new");
    let file = File::from(openat2(AT_FDCWD, &path, how)?);
    let is_program = file.metadata()?.permissions().mode() & 0o111 != 0;
    nix::unistd::unlinkat(AT_FDCWD, &path, nix::unistd::UnlinkatFlags::NoRemoveDir)?;
    match is_program {
        true => Ok(()),
        false => Err(io::Error::from_raw_os_error(libc::EACCES)),
    }
}

fn create_by_openat2(directory: &Path) -> io::Result<()> {
    use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, openat2};
    use nix::sys::stat::Mode;
    let how = OpenHow::new()
        .flags(OFlag::O_CREAT | OFlag::O_WRONLY)
        .mode(Mode::S_IRUSR);
    let path = directory.join("root/new");
    drop(openat2(AT_FDCWD, &path, how)?);
    fs::remove_file(path)
}

/// A call with one or two paths, relative to the working directory, and a number where the second path has none.
fn call(number: libc::c_long, [first, second]: [&Path; 2], last: libc::c_int) -> io::Result<()> {
    let path = |path: &Path| std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
    let (first, second) = (path(first), path(second));
    let (first, second): (&CStr, &CStr) = (&first, &second);
    let here = libc::AT_FDCWD;
    result(if second.is_empty() {
        // SAFETY: the path ends with a zero.
        unsafe { libc::syscall(number, here, first.as_ptr(), last) }
    } else {
        // SAFETY: as above.
        unsafe { libc::syscall(number, here, first.as_ptr(), last, second.as_ptr(), 0) }
    })
}

fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<i32> {
    // SAFETY: no pointers.
    let socket = unsafe { libc::socket(family, kind, protocol) };
    result(socket.into()).map(|()| socket)
}

/// With the loopback address, port 0 or any.
fn tcp_call(
    call: impl FnOnce(i32, *const libc::sockaddr, libc::socklen_t) -> i32,
) -> io::Result<()> {
    let socket = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    // SAFETY: zeroes are a valid address.
    let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    address.sin_family = libc::AF_INET.try_into().unwrap();
    address.sin_addr.s_addr = u32::from_ne_bytes([127, 0, 0, 1]);
    let length = size_of_val(&address).try_into().unwrap();
    result(call(socket, (&raw const address).cast(), length).into())
}

const PAGE: usize = 4096;

fn map(protection: i32) -> io::Result<*mut libc::c_void> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a page of its own, wherever there is room.
    let page = unsafe { libc::mmap(ptr::null_mut(), PAGE, protection, flags, -1, 0) };
    match page {
        libc::MAP_FAILED => Err(io::Error::last_os_error()),
        page => Ok(page),
    }
}

fn result(returned: libc::c_long) -> io::Result<()> {
    match returned {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
