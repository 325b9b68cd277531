//! What `--check` says of a tree: everything in it that would be refused, in a bounded number of lines, and nothing of a tree
//! in which all is well.

use std::ffi::OsStr;
use std::fs::{self, Permissions, create_dir, set_permissions};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::{Command, Output, Stdio};

use nix::mount::{MsFlags, mount};
use nix::pty::openpty;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{geteuid, mkfifo};

use crate::client::PATIENCE;
use crate::machine::{eventually, in_own_mounts, is_root, skipped};
use crate::root::Root;
use crate::server::{PROGRAM, in_tftpd, program};

/// The program that looks at a tree as a user who is not root.
fn check(root: &Root) -> Command {
    let mut command = program(PROGRAM);
    command.arg("--check").arg("-r").arg(root.path());
    if is_root() {
        command.args(["-u", "nobody"]);
    }
    command
}

fn user() -> String {
    match is_root() {
        true => "user nobody".into(),
        false => format!("user {}", geteuid()),
    }
}

/// It must end by itself, also where something in the tree never does.
#[track_caller]
fn output(mut command: Command) -> Output {
    let mut child = command.spawn().unwrap();
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let read = std::thread::spawn(move || {
        let mut texts = [Vec::new(), Vec::new()];
        if let Some(stdout) = &mut stdout {
            stdout.read_to_end(&mut texts[0]).unwrap();
        }
        if let Some(stderr) = &mut stderr {
            stderr.read_to_end(&mut texts[1]).unwrap();
        }
        texts
    });
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually("the end of the check", PATIENCE, || {
            child.try_wait().unwrap()
        })
    }));
    let Ok(status) = ended else {
        child.kill().unwrap();
        child.wait().unwrap();
        panic!("the check did not end");
    };
    let [stdout, stderr] = read.join().unwrap();
    Output {
        status,
        stdout,
        stderr,
    }
}

/// What is said of a tree that can be served.
#[track_caller]
fn findings(command: Command) -> Vec<String> {
    let output = output(command);
    let text = String::from_utf8(output.stdout).unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        (output.status.code(), &complaint[..]),
        (Some(0), ""),
        "{text}"
    );
    text.lines().map(str::to_owned).collect()
}

#[track_caller]
fn allow(root: &Root, name: &str, mode: u32) {
    set_permissions(root.file(name), Permissions::from_mode(mode)).unwrap();
}

/// Something of each kind beside what is well.
fn motley(root: &Root) {
    for name in ["file", "sub/file", "denied", "closed/file", "unlisted/file"] {
        root.write(name, 10);
    }
    for name in [&b"gr\xfc\xdfe"[..], b"back\\slash", b"end\xff"] {
        root.write(OsStr::from_bytes(name), 10);
    }
    for name in ["sub/Kernel", "sub/kernel", "sub/KERNEL"] {
        root.write(name, 10);
    }
    fs::write(root.beside("secret"), "secret").unwrap();
    for (target, name) in [
        ("sub/file", "well"),
        ("/sub/file", "as-in-a-chroot"),
        ("sub", "directory"),
        ("..", "sub/up"),
        ("pipe", "to-pipe"),
        ("../secret", "out"),
        ("/etc/passwd", "foreign"),
        ("missing", "nowhere"),
        ("loop-2", "loop-1"),
        ("loop-1", "loop-2"),
        ("denied", "to-denied"),
        ("closed/file", "to-closed"),
    ] {
        symlink(target, root.file(name)).unwrap();
    }
    mkfifo(&root.file("pipe"), Mode::from_bits_truncate(0o666)).unwrap();
    drop(UnixListener::bind(root.file("socket")).unwrap());
    allow(root, "denied", 0);
    allow(root, "closed", 0);
    allow(root, "unlisted", 0o111);
}

/// What is said of them.
fn of_motley() -> Vec<String> {
    let user = user();
    let absolute = "(an absolute link begins at the directory served)";
    let denied = "Permission denied (os error 13)";
    let unnameable = "no request can name it (\\, 0xff at the end, or too long)";
    vec![
        format!("\"denied\": {user} cannot read it"),
        format!("\"to-closed\" -> \"closed/file\": {user} cannot read it"),
        format!("\"to-denied\" -> \"denied\": {user} cannot read it"),
        format!("\"closed\": {user} cannot open anything in this directory: {denied}"),
        format!(
            "\"unlisted\": {user} cannot list this directory, what is in it was not looked at: {denied}"
        ),
        "\"out\" -> \"../secret\": leads out of the directory served".into(),
        format!("\"foreign\" -> \"/etc/passwd\": leads nowhere {absolute}"),
        "\"loop-1\" -> \"loop-2\": leads round in a circle".into(),
        "\"loop-2\" -> \"loop-1\": leads round in a circle".into(),
        "\"nowhere\" -> \"missing\": leads nowhere".into(),
        "\"pipe\": a FIFO, which is not served".into(),
        "\"socket\": a socket, which is not served".into(),
        format!("\"back\\\\slash\": {unnameable}"),
        format!("\"end\\xff\": {unnameable}"),
        "\"sub\": names that differ in case only: \"KERNEL\", \"Kernel\", \"kernel\"".into(),
    ]
}

#[test]
fn each_kind_of_fault_is_told_and_nothing_else() {
    let root = Root::new();
    motley(&root);
    assert_eq!(findings(check(&root)), of_motley());
    let mut options = vec![&["--no-sandbox"][..]];
    if is_root() {
        options.push(&["--chroot"]);
        options.push(&["--chroot", "--no-sandbox"]);
    }
    for options in options {
        let mut command = check(&root);
        command.args(options);
        assert_eq!(findings(command), of_motley(), "{options:?}");
    }
    allow(&root, "closed", 0o755);
    allow(&root, "unlisted", 0o755);
}

/// A root that root may read and nobody else may list: files can be fetched by those who know their names.
#[test]
fn a_root_that_cannot_be_listed_can_be_served() {
    if !is_root() {
        return skipped("only root can become another user");
    }
    let (root, _) = Root::with_file(10);
    allow(&root, "", 0o711);
    let lines = findings(check(&root));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with("\".\": user nobody cannot list"),
        "{lines:?}"
    );
    allow(&root, "", 0o700);
    let output = output(check(&root));
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(1), &b""[..])
    );
    assert!(complaint.contains("not open to user 65534"), "{complaint}");
}

#[test]
fn a_device_is_told_and_not_opened() {
    let root = Root::new();
    let everything = Mode::from_bits_truncate(0o666);
    let null = makedev(1, 3);
    if let Err(error) = mknod(&root.file("null"), SFlag::S_IFCHR, everything, null) {
        return skipped(&format!("no device can be made: {error}"));
    }
    assert_eq!(
        findings(check(&root)),
        ["\"null\": a device, which is not served"]
    );
}

/// tftpd-hpa's rule, and that of this program called by its name.
#[test]
fn what_others_may_not_read_is_told_where_it_would_be_refused() {
    let root = Root::new();
    root.write("public", 10);
    root.write("private", 10);
    symlink("private", root.file("link")).unwrap();
    allow(&root, "private", 0o640);
    let own = match is_root() {
        true => "root",
        false => &geteuid().to_string(),
    };
    let mut command = program(PROGRAM);
    command.args(["--check", "-r"]).arg(root.path());
    if is_root() {
        command.args(["-u", own]);
    }
    assert_eq!(findings(command), [""; 0]);
    let mut command = program(in_tftpd(&root));
    command.arg("--check").arg(root.path());
    if is_root() {
        command.args(["-u", own]);
    }
    assert_eq!(
        findings(command),
        [
            "\"link\" -> \"private\": not readable by others (o+r)",
            "\"private\": not readable by others (o+r)"
        ]
    );
}

#[test]
fn a_tree_that_is_all_wrong_is_told_in_few_lines() {
    let root = Root::new();
    for number in 0..45 {
        symlink("missing", root.file(format!("{number:02}"))).unwrap();
    }
    let deep = "d/".repeat(66);
    fs::create_dir_all(root.file(&deep)).unwrap();
    let lines = findings(check(&root));
    assert_eq!(lines.len(), 22, "{lines:?}");
    assert_eq!(lines[0], "\"00\" -> \"missing\": leads nowhere");
    assert_eq!(lines[19], "\"19\" -> \"missing\": leads nowhere");
    assert_eq!(lines[20], "25 more of this kind");
    // One level is the root itself.
    let end = &deep[..2 * 64 - 1];
    assert_eq!(
        lines[21],
        format!("\"{end}\": below 64 other directories: not looked at")
    );
}

/// 100,000 names of one file, below each other, and one more.
#[test]
fn a_tree_without_end_is_left_after_100_000_names() {
    in_own_mounts(|| {
        let (root, _) = Root::with_file(10);
        let memory = root.file("m");
        create_dir(&memory).unwrap();
        let (none, flags) = (None::<&str>, MsFlags::empty());
        let options = Some("size=64m,nr_inodes=200000,mode=755");
        if let Err(error) = mount(none, &memory, Some("tmpfs"), flags, options) {
            return skipped(&format!("mount: {error}"));
        }
        // With the file in the root and `m` itself.
        let names = 100_000 - 2;
        fs::write(memory.join("0"), "x").unwrap();
        for number in 1..names {
            fs::hard_link(memory.join("0"), memory.join(number.to_string())).unwrap();
        }
        assert_eq!(findings(check(&root)), [""; 0]);
        fs::hard_link(memory.join("0"), memory.join("last")).unwrap();
        assert_eq!(
            findings(check(&root)),
            ["the walk ended after 100000 names: the others were not looked at"]
        );
    });
}

#[test]
fn progress_is_shown_on_a_terminal_only() {
    let root = Root::new();
    symlink("missing", root.file("link")).unwrap();
    let pair = openpty(None, None).unwrap();
    let (ours, theirs): (OwnedFd, OwnedFd) = (pair.master, pair.slave);
    let mut command = check(&root);
    command.stderr(Stdio::from(theirs));
    let output = output(command);
    let mut shown = Vec::new();
    // EIO: nobody has its other side any more.
    let _ = fs::File::from(ours).read_to_end(&mut shown);
    let shown = String::from_utf8(shown).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"\"link\" -> \"missing\": leads nowhere\n");
    let shown: Vec<&str> = shown.split('\r').collect();
    assert_eq!(
        (shown[0], shown[1]),
        ("", "1 files and directories looked at")
    );
    // It is wiped out in the end. Nothing is written to a pipe: every other test here looks at that.
    let [.., wiped, ""] = shown[..] else {
        panic!("{shown:?}")
    };
    assert!(
        wiped.len() > shown[1].len() && wiped.trim().is_empty(),
        "{shown:?}"
    );
}
