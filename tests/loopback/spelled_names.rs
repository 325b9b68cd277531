//! Names as sites spell them: map files, letter case, several roots, a directory for each client.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Output, Stdio};

use crate::client::{Client, fetch, fetch_bytes};
use crate::download::Wish;
use crate::machine::{in_own_network, run};
use crate::packet::Packet;
use crate::root::{Root, assert_same};
use crate::security::tricks;
use crate::server::{PROGRAM, Server, program};
use crate::victim::Victim;

/// The code and text of the ERROR that a request for this name draws.
#[track_caller]
fn refusal(server: &Server, name: impl AsRef<[u8]>) -> (u16, String) {
    match fetch(server.address(), &Wish::octet(name)) {
        Ok(_) => panic!("an ERROR expected, not a file"),
        Err(refusal) => refusal,
    }
}

fn output(arguments: &[&str], input: &str) -> Output {
    let mut command = program(PROGRAM);
    command.args(arguments).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

#[test]
fn rules_rewrite_and_refuse_names_and_the_log_has_both() {
    let root = Root::new();
    let bytes = root.write("images/w7/boot.exe", 3_000);
    let own = root.write("127.0.0.1/config", 900);
    let rules = "a \\.pvt$ not for \\i\nr ^\\\\?boot7.\\.exe$ /images/w7/boot.exe\nrE ^ \\i/\n";
    let path = root.rules(&rules.replace("not for ", "not\\ for\\ "));
    let server = Server::with(root.path(), &["-m", &path]);
    assert_same(&fetch_bytes(server.address(), "boot7a.exe"), &bytes);
    server.wait_for_log(&["\"boot7a.exe\" -> \"images/w7/boot.exe\": complete"]);
    // The rest is as without rules.
    assert_same(
        &fetch_bytes(server.address(), "\\images\\w7/boot.exe"),
        &bytes,
    );
    assert_same(&fetch_bytes(server.address(), "config"), &own);
    root.write("x.pvt", 10);
    let expected = (2, "not for 127.0.0.1".to_owned());
    assert_eq!(refusal(&server, "x.pvt"), expected);
    server.wait_for_log(&["\"x.pvt\": refused by the map: not for 127.0.0.1"]);
    assert_eq!(refusal(&server, "missing").0, 1);
    server.wait_for_log(&["\"missing\": refused: no such file"]);
}

/// Rules that refuse are tried on the name that is looked up, too.
#[test]
fn nothing_leads_around_a_rule_that_refuses() {
    let victim = Victim::new();
    for name in ["x.pvt", "secret/x"] {
        victim.root.write(name, 10);
    }
    let rules = "a \\.pvt$\na ^/?secret/\n";
    let path = victim.root.rules(rules);
    let ways: [&[u8]; 12] = [
        b"x.pvt",
        b"x.pvt\xFF",
        b"x.pvt\xFF\xFF",
        b"x.pvt/",
        b"x.pvt/.",
        b"a/../x.pvt/",
        b"secret/x",
        b"secret\\x",
        b"\\secret\\x",
        b"./secret/x",
        b"a/../secret/x",
        b"//secret//x\xFF",
    ];
    let cased: [&[u8]; 5] = [
        b"X.PVT",
        b"x.Pvt\xFF",
        b"SECRET\\X",
        b"C:\\Secret\\x",
        b"c:secret/x",
    ];
    let with_case = [&ways[..], &cased[..]].concat();
    for (options, ways) in [(&[][..], &ways[..]), (&["-i"][..], &with_case[..])] {
        let options = [&["-m", &*path][..], options].concat();
        let server = Server::with(victim.root.path(), &options);
        for name in ways {
            let expected = (2, "access violation".to_owned());
            assert_eq!(refusal(&server, name), expected, "{}", name.escape_ascii());
        }
        assert_same(&fetch_bytes(server.address(), "file"), &victim.bytes);
    }
    victim.must_be_unharmed();
}

#[test]
fn a_bad_map_is_named_with_its_line_and_column_at_the_start() {
    let root = Root::new();
    let path = root.rules("r a b\n\nr (x y\n");
    for arguments in [
        &["-r", "DIR", "-a", "127.0.0.1:0", "-m", "MAP"][..],
        &["--check", "-m", "MAP", "DIR"],
        &["-m", "MAP", "--map-test", "x"],
    ] {
        let meant = |word: &&str| match *word {
            "DIR" => root.path().display().to_string(),
            "MAP" => path.clone(),
            word => word.to_owned(),
        };
        let arguments: Vec<String> = arguments.iter().map(meant).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = output(&arguments, "");
        let told = String::from_utf8(output.stderr).unwrap();
        let expected =
            format!("tftpd: {path}: line 3, column 5: regular expression: a ( without its )\n");
        assert_eq!((output.status.code(), &*told), (Some(1), &*expected));
    }
}

#[test]
fn a_map_is_tried_step_by_step() {
    let root = Root::new();
    root.write("Boot/BCD", 10);
    let path = root.rules("rg \\\\ /\nr6 ^ v6/\naP ^ no\\ uploads\nr /boot/ /Boot/\n");
    let names = "\\boot\\BCD\nx,2001:db8::1\r\n";
    let arguments = ["-m", &path, "--map-test", "y,put", "--map-test", "-"];
    let tried = output(&arguments, names);
    let expected = "put \"y\" from 127.0.0.1\n  refused by the map: no uploads\n\
                    get \"\\\\boot\\\\BCD\" from 127.0.0.1\n  line 1: \"/boot/BCD\"\n  line 4: \"/Boot/BCD\"\n  \
                    file: \"Boot/BCD\"\n\
                    get \"x\" from 2001:db8::1\n  line 2: \"v6/x\"\n  file: \"v6/x\"\n";
    let told = String::from_utf8(tried.stdout).unwrap();
    let without_last_steps = told.replace("  line 3: \"y\"\n", "");
    assert_eq!(
        (tried.status.code(), &*without_last_steps),
        (Some(0), expected)
    );
    let root = root.path().display().to_string();
    let arguments = ["-m", &path, "--map-test", "boot/BCD", "-i", &root];
    let told = String::from_utf8(output(&arguments, "").stdout).unwrap();
    assert_eq!(
        told,
        "get \"boot/BCD\" from 127.0.0.1\n  file: \"Boot/BCD\", which is there\n"
    );
    let without = output(&["--map-test", "x"], "");
    assert_eq!(without.status.code(), Some(2));
}

#[test]
fn a_check_names_rules_that_are_needless_here() {
    let root = Root::new();
    root.write("file", 10);
    let here = root.path().display().to_string();
    let rules = format!(
        "rg \\\\ /\nri ^[a-z]:\nr ^[^/] /\\0\nr ^([^/]) {here}/\\1\nr ^/img/ /images/\nrg ([A-Z]) \\L\\1\n"
    );
    let path = root.rules(&rules);
    let needless = |options: &[&str]| {
        let arguments = [&["--check", "-m", &path, &here][..], options].concat();
        let output = output(&arguments, "");
        assert!(output.status.success() && output.stderr.is_empty());
        let told = String::from_utf8(output.stdout).unwrap();
        let lines = told.lines().map(|line| {
            let rest = line.strip_prefix(&format!("{path}: line ")).expect(line);
            let (number, words) = rest.split_once(": ").unwrap();
            assert_eq!(words, "needless here: this server does so by itself");
            number.parse().unwrap()
        });
        lines.collect::<Vec<u32>>()
    };
    assert_eq!(needless(&[]), [1, 3, 4]);
    // A drive letter that is not in front is not dropped.
    assert_eq!(needless(&["-i"]), [1, 2, 6]);
}

/// Names that WinPE and its loaders ask for, in a tree as it comes off the DVDs, with directories that differ in case only.
#[test]
fn a_windows_tree_is_served_however_it_is_spelled() {
    let root = Root::new();
    let files = [
        "boot/x64/wdsnbp.com",
        "boot/x64/pxeboot.n12",
        "Boot/x64/bootmgr.exe",
        "Boot/x64/Images/boot.wim",
        "Boot/BCD",
        "Boot/boot.sdi",
        "Boot/Fonts/wgl4_boot.ttf",
        "Boot/Fonts/segmono_boot.ttf",
        "BOOT/Resources/bootres.dll",
        "boot/Fonts/chs_boot.ttf",
        "EFI/Microsoft/Boot/bootmgfw.efi",
        "EFI/Microsoft/Boot/BCD",
        "efi/microsoft/boot/fonts/wgl4_boot.ttf",
        "sources/boot.wim",
        "bootmgr",
        "BOOTMGR.EFI",
        "hiberfil.sys.txt",
    ];
    let written = files.map(|name| (name, root.write(name, 100 + name.len())));
    let server = Server::with(root.path(), &["-i"]);
    let address = server.address();
    for (name, bytes) in &written {
        let backslashes = format!("\\{}", name.replace('/', "\\").to_lowercase());
        for spelled in [
            (*name).to_owned(),
            backslashes,
            format!("C:\\{}", name.replace('/', "\\").to_uppercase()),
        ] {
            // Two of the names differ in case only beneath such directories: the first in the order of bytes.
            assert_same(&fetch_bytes(address, &spelled), bytes);
        }
    }
    for missing in [
        "\\Boot\\Fonts\\missing.ttf",
        "boot/x64/none",
        "sources",
        "no/such/boot.wim",
        "hiberfil.sys",
        "bootmgr/BCD",
    ] {
        assert_eq!(
            refusal(&server, missing).0,
            if missing == "sources" { 2 } else { 1 }
        );
    }
    // What is new is seen at once, what is gone is missed at once.
    let bytes = root.write("Boot/Fonts/New.TTF", 50);
    assert_same(&fetch_bytes(address, "\\boot\\fonts\\new.ttf"), &bytes);
    fs::remove_file(root.file("Boot/Fonts/New.TTF")).unwrap();
    assert_eq!(refusal(&server, "\\boot\\fonts\\new.ttf").0, 1);
}

#[test]
fn the_exact_name_comes_first_and_then_the_order_of_bytes() {
    let root = Root::new();
    let [upper, mixed, lower] = ["A/F", "A/f", "a/f"].map(|name| root.write(name, name.len() + 7));
    root.write("B/x/only", 9);
    let deep = root.write("b/X/there", 77);
    let beyond = root.write("\u{c9}T\u{c9}", 5);
    let server = Server::with(root.path(), &["-i"]);
    for (asked, bytes) in [
        ("A/F", &upper),
        ("A/f", &mixed),
        ("a/f", &lower),
        ("a/F", &lower),
    ] {
        assert_same(&fetch_bytes(server.address(), asked), bytes);
    }
    // Where one directory leads nowhere the next is tried.
    assert_same(&fetch_bytes(server.address(), "B/X/THERE"), &deep);
    // Letters are those of ASCII.
    assert_same(&fetch_bytes(server.address(), "\u{c9}t\u{c9}"), &beyond);
    assert_eq!(refusal(&server, "\u{e9}t\u{e9}").0, 1);
    server.wait_for_log(&["\"B/X/THERE\" -> \"b/X/there\": complete"]);
}

#[test]
fn a_miss_that_differs_in_case_only_is_explained_in_the_log() {
    let root = Root::new();
    root.write("Boot/BCD", 10);
    let server = Server::start(root.path());
    assert_eq!(refusal(&server, "\\boot\\bcd").0, 1);
    server.wait_for_log(&[
        "\"boot/bcd\": there is \"Boot/BCD\": names differ in letter case (see -i)",
    ]);
}

#[test]
fn several_roots_are_searched_in_order_and_links_lead_from_one_to_another() {
    let root = Root::new();
    let common = root.write("common", 300);
    let first = root.write("both", 400);
    let other = root.beside("other");
    fs::create_dir_all(other.join("sub")).unwrap();
    for name in ["both", "second", "sub/file"] {
        fs::write(other.join(name), name).unwrap();
    }
    fs::write(root.beside("secret"), "a secret").unwrap();
    let link = |target: &Path, name: &str| symlink(target, root.file(name)).unwrap();
    link(&other.join("sub/file"), "by-path");
    link(&other, "directory");
    link(Path::new("../other/sub/../second"), "relative");
    link(Path::new("/common"), "chroot-style");
    link(&root.beside("secret"), "outside");
    link(Path::new("../secret"), "above");
    link(Path::new("../other/../secret"), "above-by-the-other");
    link(Path::new("../otherwise/x"), "sibling");
    symlink(root.file("common"), other.join("back")).unwrap();
    let other = other.display().to_string();
    let server = Server::with(root.path(), &["-r", &other]);
    let address = server.address();
    let served: [(&str, &[u8]); 10] = [
        ("common", &common[..]),
        ("both", &first),
        ("second", b"second"),
        ("sub/file", b"sub/file"),
        ("by-path", b"sub/file"),
        ("directory/second", b"second"),
        ("relative", b"second"),
        ("chroot-style", &common),
        ("back", &common),
        ("directory/back", &common),
    ];
    for (name, bytes) in served {
        assert_same(&fetch_bytes(address, name), bytes);
        assert_same(&fetch_bytes(address, format!("{other}/{name}")), bytes);
    }
    for name in [
        "outside",
        "above",
        "above-by-the-other",
        "sibling",
        "none",
        "sub",
    ] {
        let (code, _) = refusal(&server, name);
        assert!([1, 2].contains(&code), "{name}");
    }
    // With one root these links lead out.
    let alone = Server::start(root.path());
    for name in ["relative", "directory/second", "by-path", "second"] {
        refusal(&alone, name);
    }
    let check = output(
        &[
            "--check",
            "-r",
            &other,
            "-r",
            &root.path().display().to_string(),
        ],
        "",
    );
    let told = String::from_utf8(check.stdout).unwrap();
    assert!(
        told.contains(&format!("{}:\n", root.path().display())),
        "{told}"
    );
    assert!(
        !told.contains("\"by-path\"") && told.contains("\"above\""),
        "{told}"
    );
}

#[test]
fn a_client_with_a_directory_of_its_own_is_served_nothing_else() {
    let (root, bytes) = Root::with_file(700);
    let own = root.write("127.0.0.1/file", 800);
    root.write("common", 10);
    fs::write(root.beside("secret"), "a secret").unwrap();
    symlink("../../secret", root.file("127.0.0.1/out")).unwrap();
    for options in [&["--unique-root", "ip"][..], &["--unique-root", "ip", "-i"]] {
        let server = Server::with(root.path(), options);
        assert_same(&fetch_bytes(server.address(), "file"), &own);
        server.wait_for_log(&["\"file\" -> \"127.0.0.1/file\": complete"]);
        let absolute = root.file("file").display().to_string();
        for name in [
            "common",
            "../file",
            "../common",
            "../127.0.0.1/../file",
            "out",
            &absolute,
        ] {
            refusal(&server, name);
        }
        let mut another = Client::at(Ipv4Addr::new(127, 0, 0, 2), server.address());
        let fetched = another.fetch(&Wish::octet("file")).unwrap();
        assert_same(&fetched.bytes, &bytes);
    }
}

/// Through a pair of virtual Ethernet cards.
#[test]
fn the_directory_of_a_client_may_be_named_by_its_hardware_address() {
    in_own_network(|| {
        let (root, bytes) = Root::with_file(700);
        let own = root.write("02-00-00-00-0a-07/file", 800);
        run(
            "ip",
            "link add s type veth peer name c address 02:00:00:00:0A:07",
        );
        run("ip", "link set s up");
        run("ip", "address add 192.0.2.1/24 dev s");
        run(
            "ip",
            "neighbour add 192.0.2.7 lladdr 02:00:00:00:0a:07 dev s",
        );
        run("ip", "link set c up");
        // What this machine sends to its neighbour comes back by the address of the client.
        run("ip", "address add 192.0.2.7/32 dev lo");
        run("ip", "address add 198.51.100.7/32 dev lo");
        let rules = root.rules("r ^mapped$ \\m/file\n");
        let options = ["-a", "192.0.2.1:0", "--unique-root", "mac"];
        let server = Server::with(root.path(), &options);
        let fetch_from = |server: &Server, address: [u8; 4], name: &str| {
            let mut client = Client::at(IpAddr::from(address), server.address());
            client.fetch(&Wish::octet(name)).unwrap().bytes
        };
        assert_same(&fetch_from(&server, [192, 0, 2, 7], "file"), &own);
        // Behind a router nobody is known: the common directory, and one line.
        assert_same(&fetch_from(&server, [198, 51, 100, 7], "file"), &bytes);
        assert_same(&fetch_from(&server, [198, 51, 100, 7], "file"), &bytes);
        server.wait_for_log(&[
            "198.51.100.7",
            "no hardware address: a relay or router is between",
        ]);
        assert_eq!(server.lines_with("no hardware").len(), 1);
        let server = Server::with(root.path(), &["-a", "192.0.2.1:0", "-m", &rules]);
        assert_same(&fetch_from(&server, [192, 0, 2, 7], "mapped"), &own);
    });
}

/// Every path trick through the rules, letter case, several roots and directories of clients at once.
#[test]
fn no_trick_leads_out_by_rules_case_roots_or_own_directories() {
    let root = Root::new();
    root.write("sub/sub/x", 10);
    root.write("127.0.0.1/sub/y", 10);
    let other = root.beside("other");
    fs::create_dir(&other).unwrap();
    fs::create_dir(root.beside("root-secret")).unwrap();
    for path in ["secret", "root-secret/secret", "Secret"] {
        fs::write(root.beside(path), "a secret").unwrap();
    }
    for (target, name) in [
        ("..", "parent"),
        ("../secret", "secret"),
        ("../root-secret", "sibling"),
        ("/", "everything"),
        ("/proc/self/root", "process"),
    ] {
        symlink(target, root.file(name)).unwrap();
        symlink(target, other.join(name)).unwrap();
        symlink(
            format!("../{target}"),
            root.file(format!("127.0.0.1/{name}")),
        )
        .unwrap();
    }
    let rules = root.rules(
        "r ^up/ ../\nr ^twice/ ../../\nr ^abs$ /etc/passwd\nr ^out$ sub/../../secret\nr ^nul$ a",
    );
    let other = other.display().to_string();
    let mut names: Vec<Vec<u8>> = [
        "..\\SECRET",
        "C:..\\secret",
        "c:/../secret",
        "up/secret",
        "twice/root/../secret",
        "twice/secret",
        "abs",
        "out",
        "parent/secret",
        "PARENT/SECRET",
        "secret",
        "SECRET",
        "sibling/secret",
        "Sibling\\Secret",
        "everything/etc/passwd",
        "EVERYTHING\\ETC\\PASSWD",
        "process/etc/passwd",
        "../other/secret",
        "../root/secret",
        "../127.0.0.1/../../secret",
        "127.0.0.1/../../secret",
        "/etc/passwd",
        "C:\\etc\\passwd",
    ]
    .map(|name| name.as_bytes().to_vec())
    .into();
    names.extend(tricks(&root));
    for options in [
        &["-m", &rules][..],
        &["-i"],
        &["-r", &other],
        &["--unique-root", "ip"],
        &["-m", &rules, "-i", "-r", &other],
        &["-m", &rules, "-i", "-r", &other, "--unique-root", "ip"],
    ] {
        let server = Server::with(root.path(), options);
        for name in &names {
            let mut client = Client::new(server.address()).asking(&Wish::octet(name));
            let answer = client.receive();
            assert!(
                matches!(answer, Packet::Error { code: 1 | 2, .. }),
                "{options:?}: {}: {answer:?}",
                name.escape_ascii()
            );
        }
    }
}
