//! Where uploads go whose names are rewritten, spelled in another case, or belong to the directory of a client.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use crate::client::{Client, fetch_bytes};
use crate::download::Wish;
use crate::put::Put;
use crate::root::{Root, assert_same};
use crate::security::tricks;
use crate::server::Server;
use crate::uploads::{NOBODY, mode, names, writable};

/// A directory in which the server, as `nobody`, may make files.
fn make(root: &Root, name: &str) {
    fs::create_dir_all(root.file(name)).unwrap();
    chown(root.file(name), Some(NOBODY), Some(NOBODY)).unwrap();
}

fn at(server: &Server, last: u8) -> Client {
    Client::at(Ipv4Addr::new(127, 0, 0, last), server.address())
}

#[test]
fn a_client_with_a_directory_of_its_own_writes_nowhere_else() {
    let Some(root) = writable() else { return };
    make(&root, "127.0.0.1");
    make(&root, "127.0.0.2");
    make(&root, "127.0.0.1/Sub");
    fs::write(root.beside("secret"), "a secret").unwrap();
    symlink("../../secret", root.file("127.0.0.1/out")).unwrap();
    symlink("../..", root.file("127.0.0.1/up")).unwrap();
    for options in [
        &["-c"][..],
        &["-c", "-i"],
        &["-c", "--public-only"],
        &["-c", "--chroot"],
        &["-c", "--no-sandbox", "-i"],
    ] {
        let own = ["-U", "027", "--unique-root", "ip"];
        let server = Server::with(root.path(), &[options, &own].concat());
        let put = |name: &str, by: Client| Put::octet(name, name.as_bytes()).by(by);
        for (asked, written) in [
            ("file", "127.0.0.1/file"),
            ("/file", "127.0.0.1/file"),
            ("\\Sub\\x", "127.0.0.1/Sub/x"),
            ("Sub/../y", "127.0.0.1/y"),
            ("Sub/./z\u{0}", "127.0.0.1/Sub/z"),
        ] {
            let asked = asked.trim_end_matches('\0');
            assert_eq!(put(asked, at(&server, 1)), Ok(()), "{options:?}: {asked}");
            let path = root.file(written);
            assert_eq!(fs::read_to_string(&path).unwrap(), asked);
            assert_eq!(mode(&path), 0o640, "{options:?}");
            fs::remove_file(path).unwrap();
        }
        // A client that has none shares the common one.
        assert_eq!(put("common", at(&server, 3)), Ok(()));
        assert!(root.file("common").exists());
        let before = names(root.path());
        let absolute = root.file("absolute").display().to_string();
        for outside in [
            "../x",
            "../127.0.0.2/x",
            "Sub/../../x",
            "..\\x",
            "\\..\\127.0.0.2\\x",
            "../127.0.0.1/../x",
            "127.0.0.1/x",
            "out",
            "up/secret",
            "up/x",
            &absolute,
        ] {
            let refused = put(outside, at(&server, 1)).expect_err(outside);
            assert!([1, 2].contains(&refused.0), "{outside}: {refused:?}");
        }
        assert_eq!(names(root.path()), before);
        assert_eq!(names(&root.file("127.0.0.2")), [""; 0]);
        assert_eq!(names(&root.file("127.0.0.1")), ["Sub", "out", "up"]);
        assert_eq!(fs::read(root.beside("secret")).unwrap(), b"a secret");
        fs::remove_file(root.file("common")).unwrap();
    }
}

/// `E` asks of a name what the request is for: whether it may be written.
#[test]
fn a_rule_that_ends_where_a_name_opens_asks_an_upload_whether_it_may_be_written() {
    let Some(root) = writable() else { return };
    for name in ["one", "two", "three"] {
        make(&root, name);
    }
    let path = root.rules("rE ^ one/\nrE ^ two/\nr ^ three/\n");
    // One of each is not there, may be read and not written, or written and not read.
    let lay = || {
        for name in ["one", "two", "three"] {
            for file in fs::read_dir(root.file(name)).unwrap() {
                fs::remove_file(file.unwrap().path()).unwrap();
            }
        }
        for (name, mode) in [
            ("one/locked", 0o644),
            ("two/locked", 0o666),
            ("one/unread", 0o622),
            ("two/unread", 0o666),
            ("two/other", 0o666),
            ("three/last", 0o666),
        ] {
            root.write_bytes(name, b"old");
            fs::set_permissions(root.file(name), fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    let written_to = |options: &[&str], asked: &str| {
        lay();
        let options = [&["-m", &path][..], options].concat();
        let server = Server::with(root.path(), &options);
        let put = Put::octet(asked, b"new").to(server.address());
        let found = ["one", "two", "three"].into_iter().find(|directory| {
            let path = root.file(format!("{directory}/{asked}"));
            fs::read(path).is_ok_and(|bytes| bytes == b"new")
        });
        put.map(|()| found).map_err(|(code, _)| code)
    };
    for (asked, expected) in [
        ("locked", Ok(Some("two"))),
        ("unread", Ok(Some("one"))),
        ("other", Ok(Some("two"))),
        ("last", Ok(Some("three"))),
        ("none", Err(1)),
    ] {
        assert_eq!(written_to(&["-o"], asked), expected, "-o {asked}");
    }
    for (asked, expected) in [
        ("locked", Ok(Some("two"))),
        ("none", Ok(Some("one"))),
        ("other", Ok(Some("one"))),
    ] {
        assert_eq!(written_to(&["-c"], asked), expected, "-c {asked}");
    }
    // In a directory in which nobody may make a file, no new name opens.
    chown(root.file("one"), Some(0), Some(0)).unwrap();
    assert_eq!(written_to(&["-c"], "none"), Ok(Some("two")));
    assert_eq!(written_to(&["-c", "-i"], "none"), Ok(Some("two")));
    // What is read goes by what may be read.
    lay();
    let server = Server::with(root.path(), &["-m", &path, "-c"]);
    assert_same(&fetch_bytes(server.address(), "locked"), b"old");
    server.wait_for_log(&["\"locked\" -> \"one/locked\": complete"]);
    // Where nothing may be written nothing opens, and it is the last name that is refused.
    assert_eq!(written_to(&[], "unread"), Err(2));
}

/// Every trick with a path, through rules, letter case, several roots, links and the directories of clients.
#[test]
fn no_trick_writes_outside_of_the_root() {
    let Some(root) = writable() else { return };
    make(&root, "sub/sub");
    make(&root, "127.0.0.1/sub");
    chown(root.path().parent().unwrap(), Some(NOBODY), None).unwrap();
    for directory in ["root-secret", "other"] {
        fs::create_dir(root.beside(directory)).unwrap();
        chown(root.beside(directory), Some(NOBODY), None).unwrap();
    }
    let secrets = ["secret", "root-secret/secret", "other/secret"].map(|name| root.beside(name));
    for secret in &secrets {
        fs::write(secret, "a secret").unwrap();
        chown(secret, Some(NOBODY), None).unwrap();
    }
    for (target, name) in [
        ("..", "parent"),
        ("../secret", "linked"),
        ("../root-secret", "sibling"),
        ("../other", "another"),
        ("/", "everything"),
        ("/proc/self/root", "process"),
    ] {
        symlink(target, root.file(name)).unwrap();
        let deeper = format!("../{target}");
        symlink(deeper, root.file(format!("127.0.0.1/{name}"))).unwrap();
    }
    let rules =
        root.rules("r ^up/ ../\nr ^twice/ ../../\nr ^abs$ /etc/passwd\nr ^out$ sub/../../secret\n");
    let mut all = tricks(&root);
    all.extend(
        [
            "parent/secret",
            "PARENT/SECRET",
            "linked",
            "LINKED",
            "sibling/secret",
            "sibling/new",
            "another/secret",
            "everything/etc/passwd",
            "process/etc/passwd",
            "up/secret",
            "up/new",
            "twice/secret",
            "abs",
            "out",
            "../new",
        ]
        .map(|name| name.as_bytes().to_vec()),
    );
    let outside = |path: &Path| (names(path), names(&root.beside("root-secret")));
    let before = outside(&root.beside(""));
    let other = root.beside("other").display().to_string();
    for options in [
        &["-c"][..],
        &["-c", "-m", &rules],
        &["-c", "-i"],
        &["-c", "--unique-root", "ip"],
        &["-c", "-m", &rules, "-i", "-r", &other],
        &[
            "-c",
            "-m",
            &rules,
            "-i",
            "-r",
            &other,
            "--unique-root",
            "ip",
        ],
        &["-c", "--no-sandbox", "-m", &rules, "-i"],
    ] {
        let server = Server::with(root.path(), options);
        for name in &all {
            let Ok(name) = std::str::from_utf8(name) else {
                continue;
            };
            // Some are the names of new files inside.
            let put = Put::octet(name, b"written").to(server.address());
            if let Err((code, message)) = put {
                assert!([1, 2].contains(&code), "{options:?} {name}: {message}");
            }
        }
        for secret in &secrets {
            let text = fs::read_to_string(secret).unwrap();
            assert_eq!(text, "a secret", "{options:?}: {}", secret.display());
        }
        assert_eq!(outside(&root.beside("")), before, "{options:?}");
        assert_eq!(names(Path::new(&other)), ["secret"]);
    }
    let server = Server::start(root.path());
    let wish = Wish::octet("sub/none");
    assert!(at(&server, 1).fetch(&wish).is_err(), "it serves");
}
