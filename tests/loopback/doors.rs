//! The two front doors: `in.tftpd` as public configurations start it, and what its command line means.

use std::ffi::OsString;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::process::{Command, Output};

use ripple_tftpd::cli::{self, Program};
use ripple_tftpd::config::{Door, Settings};

use crate::background::Background;
use crate::client::{Client, fetch, fetch_bytes};
use crate::download::Wish;
use crate::machine::{has_ipv6, in_own_network, is_root, run};
use crate::put::Put;
use crate::root::{Root, assert_same, pattern};
use crate::server::{PROGRAM, Server, in_tftpd, program, serving};

const LINES: &str = include_str!("option_lines.txt");

/// A way to start `in.tftpd`.
struct Line {
    options: Vec<String>,
    sites: usize,
}

/// All of them, with names that mean something here.
fn lines(root: &Root) -> Vec<Line> {
    let lines = LINES.lines().filter(|line| !line.starts_with('#'));
    let lines = lines.map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let &[by, user, address, options, sites] = cells.as_slice() else {
            panic!("a line has five cells: {line}");
        };
        let mut all = String::new();
        if by == "default" {
            all += "--listen ";
            for (option, value) in [("--user", user), ("--address", address)] {
                if value != "-" {
                    all += &format!("{option} {value} ");
                }
            }
        }
        all += options;
        if by == "default" {
            all += " DIR";
        }
        let meant = |word: &str| match word {
            "DIR" => root.path().to_str().unwrap().to_owned(),
            "USER" => "nobody".to_owned(),
            "MAP" => root.rules(MAP),
            "PIDFILE" => root.beside("pid").to_str().unwrap().to_owned(),
            "ADDRESS:69" => "192.0.2.10:69".to_owned(),
            _ => word.to_owned(),
        };
        Line {
            options: all.split_whitespace().map(meant).collect(),
            sites: sites.parse().unwrap(),
        }
    });
    lines.collect()
}

/// One of each kind that public map files hold: slashes, drives, lower case, a directory in front, garbage, a loader
/// that goes to the directory of its image, phones, an address, and a name that is refused.
const MAP: &str = "\
rg (\\\\) \\/           # backslashes
ri ^[a-z]:             # drive letters
r ^.*auto\\.ipxe$ /auto.ipxe
ri ^(ring)(\\.xml|-wb\\.xml)(\\.sgn)?$ phones/\\1\\2\\3
r (ldr7.\\.exe)$ /images/w7/\\1
rg \\# @
rg /\\.\\./ /_/
a \\.pvt$
rg (.*)[^a-zA-Z0-9]$ \\1
r ^mine$ \\i-\\x
";

/// What is asked for, and what [`MAP`] makes of it.
const MAPPED: [(&[u8], &str); 6] = [
    (b"C:\\ldr7a.exe", "images/w7/ldr7a.exe"),
    (b"Ring-WB.xml.sgn", "phones/Ring-WB.xml.sgn"),
    (b"\\any\\path\\auto.ipxe", "auto.ipxe"),
    (b"file\xFF\xFF", "file"),
    (b"a#b", "a@b"),
    (b"mine", "127.0.0.1-7F000001"),
];

/// Without one, tftpd-hpa serves every file of the machine.
fn has_directory(line: &Line) -> bool {
    let is_directory =
        |word: &String| word.starts_with('/') && !word.ends_with("map") && !word.ends_with("pid");
    line.options.iter().any(is_directory)
}

fn output(mut command: Command) -> Output {
    command.output().unwrap()
}

/// Each of the public lines: 58 of 59 pass a check unchanged; the last one names no directory.
#[test]
fn every_public_line_passes_a_check_or_says_what_it_lacks() {
    let (root, _) = Root::with_file(10);
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let mut passed = (0, 0);
    for line in lines(&root) {
        let mut command = program(in_tftpd(&root));
        command.arg("--check").args(&line.options);
        let output = output(command);
        let told = String::from_utf8(output.stderr).unwrap();
        let warned = String::from_utf8(output.stdout).unwrap();
        let has_few_ports = line.options.iter().any(|word| word == "63050:63100");
        assert_eq!(
            warned.contains("51 ports"),
            has_few_ports,
            "{:?}",
            line.options
        );
        let is_needless =
            |line: &&str| line.ends_with("needless here: this server does so by itself");
        let others = warned.lines().filter(|line| !is_needless(line));
        assert_eq!(others.count(), usize::from(has_few_ports), "{warned}");
        let is_another_user = told.contains("only root may become another user");
        let expected = match has_directory(&line) {
            false => (Some(2), "in.tftpd: the directory to serve is missing\n"),
            true if !is_root() && is_another_user => (output.status.code(), &*told),
            true => (Some(0), ""),
        };
        assert_eq!(
            (output.status.code(), &*told),
            expected,
            "{:?}",
            line.options
        );
        if has_directory(&line) {
            passed = (passed.0 + 1, passed.1 + line.sites);
        }
    }
    assert_eq!(lines(&root).len(), 59);
    assert_eq!(
        passed,
        (58, 78),
        "lines, and the configurations that have them"
    );
}

/// Each of the 58 lines is started as it stands, on port 69, and serves a file, and by its map another name: 30 of them from the
/// background.
#[test]
fn every_line_that_lacks_nothing_serves_a_file() {
    in_own_network(|| {
        run("ip", "address add 192.0.2.10/24 dev lo");
        let (root, bytes) = Root::with_file(5_000);
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let mut in_the_background = 0;
        let mut with_uploads = [0; 3];
        for line in lines(&root).iter().filter(|line| has_directory(line)) {
            let mut command = program(in_tftpd(&root));
            command.args(&line.options);
            let is_named = |names: &[&str]| {
                let mut words = line.options.iter();
                words.any(|word| names.contains(&word.as_str()))
            };
            let leaves = is_named(&["-l", "--listen"]) && !is_named(&["-L", "--foreground"]);
            let server: Box<dyn std::any::Any> = match leaves {
                true => {
                    in_the_background += 1;
                    if !is_named(&["-P"]) {
                        command.arg("-P").arg(root.beside("pid"));
                    }
                    Box::new(Background::start(command, root.beside("pid")))
                }
                false => {
                    let server = Server::launch(command, 1);
                    assert_eq!(server.address().port(), 69, "{:?}", line.options);
                    Box::new(server)
                }
            };
            let asked = "192.0.2.10:69".parse().unwrap();
            assert_same(&fetch_bytes(asked, "file"), &bytes);
            // With the path of the directory in front, as without -s.
            let whole = root.file("file").into_os_string().into_vec();
            assert_same(&fetch_bytes(asked, whole), &bytes);
            if is_named(&["-m", "--map-file"]) {
                for (name, mapped) in MAPPED {
                    let bytes = mapped_bytes(&root, mapped);
                    assert_same(&fetch_bytes(asked, name), &bytes);
                }
                let refused = fetch(asked, &Wish::octet("x.pvt"));
                assert_eq!(refused.err(), Some((2, "access violation".to_owned())));
            }
            let kind = match is_named(&["-c", "--create"]) {
                _ if is_named(&["--read-only"]) => 0,
                false => 1,
                true => 2,
            };
            with_uploads[kind] += 1;
            upload_twice(asked, &root, kind);
            drop(server);
        }
        assert_eq!(in_the_background, 30);
        assert_eq!(with_uploads, [1, 41, 16], "read only, without -c, with -c");
    });
}

/// Twice to one name, and reads it back: to none if all is read only, without `-c` to one that is there and that
/// others may write, with it to any that is not closed to others.
fn upload_twice(server: SocketAddr, root: &Root, kind: usize) {
    root.write_bytes("public", b"old");
    fs::set_permissions(root.file("public"), fs::Permissions::from_mode(0o666)).unwrap();
    let codes = ["public", "new", "file"].map(|name| {
        let mut codes = [1, 2].map(|seed| {
            let bytes = pattern(3_000, seed);
            let written = Put::octet(name, &bytes).to(server);
            if written.is_ok() {
                assert_same(&fetch_bytes(server, name), &bytes);
            }
            written.err().map(|(code, _)| code)
        });
        assert_eq!(codes[0], codes[1], "{name}");
        codes[0].take()
    });
    let expected = match kind {
        0 => [Some(2), Some(2), Some(2)],
        1 => [None, Some(1), Some(2)],
        _ => [None, None, Some(2)],
    };
    assert_eq!(codes, expected);
    let _ = fs::remove_file(root.file("new"));
}

/// The bytes of a file, which is made if there is none.
fn mapped_bytes(root: &Root, name: &str) -> Vec<u8> {
    match fs::read(root.file(name)) {
        Ok(bytes) => bytes,
        Err(_) => root.write(name, 100),
    }
}

/// The settings that a command line means, but for the language in which it was said.
fn settings(program: Program, arguments: Vec<OsString>) -> Settings {
    match program.parse(arguments) {
        Ok(cli::Command::Serve(mut settings)) => {
            settings.door = Door::Tftpd;
            settings
        }
        other => panic!("{other:?}"),
    }
}

/// What `--explain` prints, read by a shell and then by `tftpd`, means the same.
#[test]
fn an_explained_line_means_the_same_to_a_shell() {
    let (root, _) = Root::with_file(10);
    let mut lines: Vec<Vec<OsString>> = lines(&root)
        .into_iter()
        .filter(has_directory)
        .map(|line| line.options.into_iter().map(OsString::from).collect())
        .collect();
    assert_eq!(lines.len(), 58);
    let names: [&[u8]; 4] = [
        b"/a b'c\"$HOME`x`\\",
        b"/n\new\t*?[a]{b,c}~!#&;|",
        b"/\xff\xc3\xa9",
        b"/-r",
    ];
    for name in names {
        let name = OsString::from_vec(name.to_vec());
        lines.push(vec!["-s".into(), name.clone(), "-P".into(), name]);
    }
    lines.push(vec![
        "/d".into(),
        "-t".into(),
        "1\nexit 1 # \u{2028}".into(),
    ]);
    for line in lines {
        let mut command = program(in_tftpd(&root));
        command.arg("--explain").args(&line);
        let explained = output(command);
        assert!(
            explained.status.success() && explained.stderr.is_empty(),
            "{line:?}"
        );
        let print = OsString::from_vec([b"printf '%s\\0' ", &explained.stdout[..]].concat());
        let mut shell = program("sh");
        shell.arg("-c").arg(print);
        let words = output(shell);
        assert!(words.stderr.is_empty(), "{line:?}");
        let mut words = words.stdout.split(|&byte| byte == 0);
        assert_eq!(words.next(), Some(&b"tftpd"[..]));
        let mut words: Vec<_> = words
            .map(|word| OsString::from_vec(word.to_vec()))
            .collect();
        assert_eq!(
            words.pop().as_deref(),
            Some("".as_ref()),
            "behind the last NUL"
        );
        assert_eq!(
            settings(Program::Tftpd, words),
            settings(Program::InTftpd, line)
        );
    }
}

#[test]
fn what_is_ignored_is_named_in_one_warning() {
    let (root, bytes) = Root::with_file(10);
    let start = |options: &str| {
        let mut command = program(in_tftpd(&root));
        command.args(options.split(' ')).arg(root.path());
        Server::launch(command, 1)
    };
    let server = start("-L -a 127.0.0.1:0 -t 120 -T 9 -s");
    let warnings = |server: &Server| server.lines_with("ignored options");
    let expected = "WARN ignored options of tftpd-hpa: -t 120, -T 9; see in.tftpd(8)";
    assert_eq!(warnings(&server), [expected]);
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);
    assert_eq!(warnings(&start("-L -a 127.0.0.1:0 -s")), [""; 0]);
}

/// As tftpd-hpa: without `-p` only files that others may read, for any user.
#[test]
fn without_p_only_what_others_may_read_is_served() {
    let root = Root::new();
    let (public, private) = (root.write("public", 700), root.write("private", 700));
    fs::set_permissions(root.file("private"), fs::Permissions::from_mode(0o640)).unwrap();
    if is_root() {
        chown(root.file("private"), Some(65534), None).unwrap();
    }
    for (options, is_served) in [("-Ls", false), ("-Lps", true)] {
        let mut command = program(in_tftpd(&root));
        command
            .args([options, "-a", "127.0.0.1:0"])
            .arg(root.path());
        if is_root() {
            command.args(["-u", "nobody"]);
        }
        let server = Server::launch(command, 1);
        let address = server.address();
        assert_same(&fetch_bytes(address, "public"), &public);
        for wish in [
            Wish::octet("private"),
            Wish::octet("private").option("blksize", "1024"),
        ] {
            match fetch(address, &wish) {
                Ok(download) => {
                    assert!(is_served);
                    assert_same(&download.bytes, &private);
                }
                Err((code, message)) => {
                    assert!(!is_served, "{message}");
                    assert_eq!((code, &*message), (2, "not readable by others (o+r)"));
                    server.wait_for_log(&["\"private\": refused: not readable by others (o+r)"]);
                }
            }
        }
    }
}

#[test]
fn one_family_only() {
    let (root, bytes, v4) = serving(10, &["-4", "-a", ":0"]);
    assert!(v4.address().is_ipv4() && v4.address().ip().is_unspecified());
    let port = v4.address().port();
    assert_same(&fetch_bytes(([127, 0, 0, 1], port).into(), "file"), &bytes);
    if !has_ipv6() {
        return;
    }
    let v6 = Server::with(root.path(), &["-6", "-a", ":0"]);
    assert!(v6.address().is_ipv6() && v6.address().ip().is_unspecified());
    let port = v6.address().port();
    assert_same(
        &fetch_bytes((std::net::Ipv6Addr::LOCALHOST, port).into(), "file"),
        &bytes,
    );
    // The port of the other family is free.
    drop(UdpSocket::bind(("0.0.0.0", port)).unwrap());
    let both = Server::with(root.path(), &["-a", ":0"]);
    let port = both.address().port();
    assert!(UdpSocket::bind(("0.0.0.0", port)).is_err());
    assert_same(&fetch_bytes(([127, 0, 0, 1], port).into(), "file"), &bytes);
}

#[test]
fn a_refused_option_is_granted_to_nobody() {
    let (_root, bytes, server) = serving(3_000, &["--refuse", "blksize"]);
    let wish = Wish::octet("file")
        .option("blksize", "1024")
        .option("tsize", "0");
    let mut client = Client::new(server.address()).asking(&wish);
    client.expect_oack(&[("tsize", "3000")]);
    client.ack(0);
    assert_eq!(client.expect_data(1).len(), 512);
    let plain = Wish::octet("file").option("blksize", "1024");
    assert_same(&fetch(server.address(), &plain).unwrap().bytes, &bytes);
}

/// Who complains is the name by which it was called.
#[test]
fn the_name_decides_the_language() {
    let root = Root::new();
    for (name, complaint) in [
        ("in.tftpd", "in.tftpd: the directory to serve is missing\n"),
        (
            "tftpd",
            "tftpd: the directory to serve is missing: -r DIR\nTry 'tftpd --help'.\n",
        ),
        (
            "in.tftpd.old",
            "tftpd: the directory to serve is missing: -r DIR\nTry 'tftpd --help'.\n",
        ),
    ] {
        let link = root.beside(name);
        symlink(PROGRAM, &link).unwrap();
        let output = output(program(&link));
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert_eq!(
            output.stderr.escape_ascii().to_string(),
            complaint.as_bytes().escape_ascii().to_string()
        );
    }
    let mut command = program(root.beside("in.tftpd"));
    command.arg("--help");
    assert!(output(command).stdout.starts_with(b"Usage: in.tftpd "));
}
