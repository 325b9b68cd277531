//! One test for each class of faults that TFTP servers had a CVE for: the attack, against the real program, and then whether the
//! server is as it was.

use std::collections::HashSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::client::{Client, PATIENCE, fetch, fetch_bytes};
use crate::download::Wish;
use crate::machine::{alone, eventually, is_root, open_files, processor_ticks};
use crate::packet::{self, Packet};
use crate::root::{Root, assert_same};
use crate::server::Server;
use crate::victim::{Victim, forger, go_halfway};

fn request(name: &[u8], mode: &[u8], options: &[u8]) -> Vec<u8> {
    [b"\0\x01", name, b"\0", mode, b"\0", options].concat()
}

/// The code of the ERROR that a datagram is answered with.
#[track_caller]
fn refused(victim: &Victim, datagram: &[u8]) -> u16 {
    match victim.answer_to(datagram) {
        Packet::Error { code, .. } => code,
        other => panic!("an ERROR expected, not {other:?}"),
    }
}

/// Buffers overflowed by a long name (atftpd, CVE-2003-0380; dnsmasq, CVE-2009-2957), or by a long mode.
#[test]
fn over_long_name_or_mode() {
    let victim = Victim::new();
    for length in [100, 255, 256, 500, 512, 1000, 1023, 1024, 1025, 1500, 2030] {
        let long = vec![b'A'; length];
        let code = refused(&victim, &request(&long, b"octet", b""));
        assert!([1, 2].contains(&code), "name of {length}: {code}");
        assert_eq!(refused(&victim, &request(b"file", &long, b"")), 4);
        let deep = b"a/".repeat(length / 2);
        let code = refused(&victim, &request(&deep, b"octet", b""));
        assert!([1, 2].contains(&code), "{length} bytes deep: {code}");
        let climbing = b"a/../".repeat(length / 5);
        let name = [&climbing[..], b"file"].concat();
        let answer = victim.answer_to(&request(&name, b"octet", b""));
        assert!(
            matches!(answer, Packet::Data { block: 1, .. }),
            "{answer:?}"
        );
    }
    victim.must_be_unharmed();
}

/// A message copied out of an ERROR packet that is short, endless or has no NUL (atftpd, CVE-2019-11365).
#[test]
fn hostile_error_packet() {
    let victim = Victim::new();
    let wish = Wish::octet("file");
    for tail in [
        &b""[..],
        b"\0",
        b"no NUL",
        b"%s%n\0",
        &[b'A'; 511],
        &[b'A'; 65_503],
    ] {
        for code in [0, 1, 8, 9, 255, 65_535_u16] {
            let hostile = [b"\0\x05", &code.to_be_bytes()[..], tail].concat();
            victim.client().send_to_server(&hostile);
            let (client, _) = victim.halfway(&wish);
            client.send(&hostile);
        }
    }
    // Shorter than an ERROR can be: as if it had not come.
    for runt in [&b"\0\x05"[..], b"\0\x05\0", b"\0", b""] {
        let (mut client, download) = victim.halfway(&wish);
        client.send(runt);
        assert_same(&client.complete(download).unwrap().bytes, &victim.bytes);
    }
    victim.must_be_unharmed();
}

/// Sums of options that outgrow a buffer or a number (tftpd-hpa, CVE-2011-2199; atftpd, CVE-2020-6097 and CVE-2021-41054), and
/// options read past the end of the request, so that the OACK shows what lies behind it (atftpd, CVE-2021-46671).
#[test]
fn option_sums_and_oack_size() {
    let victim = Victim::new();
    let known = ["blksize", "tsize", "timeout", "windowsize"];
    let many: Vec<u8> = (0..40)
        .flat_map(|round| known.map(|name| format!("{name}\0{}\0", 10 + round)))
        .flat_map(String::into_bytes)
        .collect();
    let granted = |pairs: &[(&str, &str)]| {
        let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        Packet::Oack(pairs.iter().map(own).collect())
    };
    let all = [
        ("blksize", "10"),
        ("tsize", "5000"),
        ("timeout", "10"),
        ("windowsize", "10"),
    ];
    let nines = "9".repeat(600);
    let unusable =
        format!("utimeout\x001000000\0timeout\0{nines}\0tsize\0{nines}\0blksize\x00-1\0");
    let unknown: String = (0..150).map(|n| format!("o{n}\0{n}\0")).collect();
    let cases = [
        (many, granted(&all)),
        (
            [unknown.as_bytes(), b"windowsize\x002\0"].concat(),
            granted(&[("windowsize", "2")]),
        ),
        (
            [unusable.as_bytes(), b"blksize\x00100\0"].concat(),
            granted(&[("blksize", "100")]),
        ),
        // Whatever does not end is no option.
        (
            b"blksize\x00100\0tsize\x000".to_vec(),
            granted(&[("blksize", "100")]),
        ),
        (
            b"blksize\x00100\0tsize".to_vec(),
            granted(&[("blksize", "100")]),
        ),
        (
            [&b"blksize\x00100\0tsize\0"[..], &[b'0'; 1900]].concat(),
            granted(&[("blksize", "100")]),
        ),
    ];
    for (options, expected) in cases {
        let answer = victim.answer_to(&request(b"file", b"octet", &options));
        assert_eq!(answer, expected, "{}", options.escape_ascii());
    }
    victim.must_be_unharmed();
}

/// A block size that the server divides by, allocates, or refuses with a pointer to nothing (dnsmasq, CVE-2009-2958).
#[test]
fn bad_blksize() {
    let victim = Victim::new();
    for value in [
        "",
        "0",
        "1",
        "7",
        "-1",
        "+512",
        " 512",
        "512 ",
        "0x200",
        "1e3",
        "65465",
        "65536",
        "65544",
        "4294967304",
        "18446744073709551624",
        "99999999999999999999999",
        "\u{664}",
    ] {
        let options = [b"blksize\0", value.as_bytes(), b"\0"].concat();
        match victim.answer_to(&request(b"file", b"octet", &options)) {
            Packet::Data { block: 1, bytes } => assert_same(&bytes, &victim.bytes[..512]),
            other => panic!("blksize {value:?}: {other:?}"),
        }
        assert_eq!(
            refused(&victim, &request(b"missing", b"octet", &options)),
            1
        );
    }
    for blksize in [8, 9, 511, 513, 65_464] {
        let wish = Wish::octet("file").option("blksize", blksize);
        let fetched = fetch(victim.address(), &wish).unwrap();
        assert_same(&fetched.bytes, &victim.bytes);
    }
    victim.must_be_unharmed();
}

/// A name that becomes a format (Tftpd32, CVE-2006-0328; Open TFTP Server, CVE-2018-10388).
#[test]
fn format_characters_in_names() {
    let victim = Victim::new();
    let name = "%s%n%x%08x%1$n%999999d{}{0:?}\\n";
    let served = "%s%n{}";
    let bytes = victim.root.write(served, 700);
    assert_same(&fetch_bytes(victim.address(), served), &bytes);
    assert_eq!(
        victim.answer_to(&request(name.as_bytes(), b"octet", b"")),
        Packet::Error {
            code: 1,
            message: "no such file".into()
        }
    );
    assert_eq!(refused(&victim, &request(b"file", b"%s%n", b"")), 4);
    // In the log they stand as they came; a backslash counts as a slash only where a file is looked for.
    victim.server.wait_for_log(&["\"%s%n{}\": complete"]);
    victim
        .server
        .wait_for_log(&["%s%n%x%08x%1$n%999999d{}{0:?}\\\\n\": refused"]);
    victim.must_be_unharmed();
}

/// A root with a secret beside it, in a directory whose name begins with that of the root.
fn with_a_secret(options: &[&str]) -> Victim {
    let victim = Victim::with(options);
    fs::create_dir(victim.root.beside("root-secret")).unwrap();
    fs::write(victim.root.beside("root-secret/secret"), SECRET).unwrap();
    fs::write(victim.root.beside("secret"), SECRET).unwrap();
    fs::create_dir_all(victim.root.file("sub/sub")).unwrap();
    victim
}

const SECRET: &str = "a secret";

/// Out of the root by name: `..`, `..\`, `....//`, `...`, drive letters, absolute names, and a directory whose name merely begins
/// with the root's (`/srv/tftp` and `/srv/tftp-secret`, CVE-2026-21620).
#[test]
fn traversal() {
    let victim = with_a_secret(&[]);
    for name in &tricks(&victim.root) {
        for mode in [&b"octet"[..], b"netascii"] {
            let code = refused(&victim, &request(name, mode, b""));
            assert!([1, 2].contains(&code), "{}: {code}", name.escape_ascii());
        }
    }
    // A NUL ends the name for the protocol already.
    assert_eq!(refused(&victim, b"\0\x01..\0/secret\0octet\0"), 4);
    victim.must_be_unharmed();
}

/// Names that are to lead out of this root, to `secret` and `root-secret/secret` beside it.
pub(crate) fn tricks(root: &Root) -> Vec<Vec<u8>> {
    let path = root.path().as_os_str().as_bytes().to_vec();
    let absolute = |tail: &[u8]| [&path[..], tail].concat();
    let beside = |name: &str| root.beside(name).as_os_str().as_bytes().to_vec();
    let relative: [&[u8]; 26] = [
        b"../secret",
        b"../root-secret/secret",
        b"/../secret",
        b"//../secret",
        b"./../secret",
        b"sub/../../secret",
        b"sub/sub/../../../secret",
        b"..\\secret",
        b"..\\root-secret\\secret",
        b"sub\\..\\..\\secret",
        b"sub/..\\../secret",
        b"....//secret",
        b"....//....//secret",
        b"....\\\\secret",
        b"..././secret",
        b".../secret",
        b"...\\secret",
        b"sub/.../secret",
        b"C:\\secret",
        b"C:/../secret",
        b"C:..\\secret",
        b"\\\\?\\C:\\secret",
        b"\\\\host\\share\\secret",
        b"%2e%2e/secret",
        b"..%2fsecret",
        b"\xC0\xAE\xC0\xAE/secret",
    ];
    let mut names: Vec<Vec<u8>> = relative.iter().map(|name| name.to_vec()).collect();
    names.extend([
        beside("secret"),
        beside("root-secret/secret"),
        absolute(b"/../secret"),
        absolute(b"/../root-secret/secret"),
        absolute(b"/../root/../secret"),
        absolute(b"-secret/secret"),
        absolute(b"\\..\\secret"),
        absolute(b"//..//secret"),
        b"/etc/passwd".to_vec(),
        b"/proc/self/environ".to_vec(),
        b"file/../../secret".to_vec(),
        b"../secret\xFF\xFF".to_vec(),
    ]);
    names
}

/// Out of the root by a link, also by one that is put in the place of a directory while the server looks.
#[test]
fn traversal_by_symlinks() {
    let victim = with_a_secret(&[]);
    let file = |name: &str| victim.root.file(name);
    for (name, target) in [
        ("parent", "..".into()),
        ("secret", "../secret".into()),
        ("sibling", "../root-secret".into()),
        ("absolute", victim.root.beside("secret")),
        ("begins", victim.root.beside("root-secret")),
        ("everything", "/".into()),
        ("process", "/proc/self/root".into()),
        ("chain", "sub/../parent".into()),
    ] {
        symlink(target, file(name)).unwrap();
    }
    // Out of the root, or absolute: these begin at the root, where there is no such file.
    for (name, code) in [
        ("parent/secret", 2),
        ("secret", 2),
        ("sibling/secret", 2),
        ("chain/secret", 2),
        ("absolute", 1),
        ("begins/secret", 1),
        ("everything/etc/passwd", 1),
        ("process/etc/passwd", 1),
    ] {
        let answer = refused(&victim, &request(name.as_bytes(), b"octet", b""));
        assert_eq!(answer, code, "{name}");
    }

    // `public/secret` is now a file for everybody and now the secret outside.
    victim.root.write("real/secret", 4);
    let over = AtomicBool::new(false);
    let mut seen = HashSet::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for target in ["real", "../root-secret"] {
                    symlink(target, file("new")).unwrap();
                    fs::rename(file("new"), file("public")).unwrap();
                }
            }
        });
        for _ in 0..1000 {
            match victim.answer_to(&request(b"public/secret", b"octet", b"")) {
                Packet::Data { bytes, .. } => {
                    if bytes == SECRET.as_bytes() {
                        over.store(true, Ordering::Relaxed);
                    }
                    assert_eq!(bytes.len(), 4, "the secret was served");
                    seen.insert("served");
                }
                Packet::Error { .. } => drop(seen.insert("refused")),
                other => panic!("{other:?}"),
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(seen.len(), 2, "the race was not run: {seen:?}");
    victim.must_be_unharmed();
}

/// Links as they are written for a chroot, in which the root is `/`: they begin at the root, and whatever they are made of, nothing
/// leads out of it; with a real chroot, too.
#[test]
fn traversal_by_absolute_links() {
    let kinds = if is_root() { 2 } else { 1 };
    for options in [&[][..], &["--chroot"]].into_iter().take(kinds) {
        let victim = with_a_secret(options);
        traverse_by_absolute_links(&victim);
    }
}

fn traverse_by_absolute_links(victim: &Victim) {
    let bytes = victim.root.write("sub/served", 700);
    let link = |target: &str, name: &str| symlink(target, victim.root.file(name)).unwrap();
    link("/sub/served", "served");
    link("/sub", "directory");
    link("/served", "sub/link-to-link");
    link("/", "sub/root");
    link("/directory/../served", "sub/sub/by-a-parent");
    for name in [
        "served",
        "directory/served",
        "sub/link-to-link",
        "sub/root/sub/served",
        "sub/root/sub/root/sub/link-to-link",
        "sub/sub/by-a-parent",
    ] {
        assert_same(&fetch_bytes(victim.address(), name), &bytes);
    }
    let beside = |name: &str| victim.root.beside(name).display().to_string();
    link("/../secret", "up");
    link("/../root-secret", "up-to-a-sibling");
    link("/sub/../../secret", "sub/up-by-the-way");
    link("/sub/root/../secret", "up-by-a-link-to-the-root");
    link("sub/root/../secret", "relative");
    link(
        &format!("{}/../secret", victim.root.path().display()),
        "named",
    );
    link(&beside("secret"), "by-its-path");
    link(&beside("root-secret"), "sibling");
    link("/loop", "loop");
    link("/there/sub", "here");
    link("/here/sub", "there");
    for name in [
        "up",
        "up-to-a-sibling/secret",
        "sub/up-by-the-way",
        "up-by-a-link-to-the-root",
        "relative",
        "named",
        "by-its-path",
        "sibling/secret",
        "loop",
        "loop/secret",
        "here/secret",
        "sub/root",
        "sub/root/../secret",
    ] {
        let answer = victim.answer_to(&request(name.as_bytes(), b"octet", b""));
        assert!(
            matches!(answer, Packet::Error { code: 1 | 2, .. }),
            "{name}: {answer:?}"
        );
    }
    victim.must_be_unharmed();
}

/// Memory or a descriptor lost with each flow (Cisco IOS XE, CVE-2013-6704): each asks from a port of its own and is gone.
#[test]
fn resource_leak_per_flow() {
    let _turn = alone();
    let victim = Victim::with(&["-n", "100"]);
    let wish = Wish::octet("file").option("blksize", 100);
    // A port that is used again soon may still be sent what is meant for the one before. These are below
    // those that the system picks.
    let mut ports = 10_000..32_000;
    let mut vanish = |flows: usize| {
        for flow in 0..flows {
            // All from one address: machines are remembered for a minute, flows are not.
            let client = ports.find_map(|port| Client::on_port(port, victim.address()));
            let mut client = client.expect("a free port");
            match flow % 4 {
                // Gone before the answer.
                0 => client.request(&wish),
                1 => client.request(&Wish::octet("missing")),
                // Gone in the middle, and with an ERROR.
                2 => drop(go_halfway(client, &wish)),
                _ => {
                    client.request(&Wish::netascii("file").option("blksize", 1000));
                    client.receive();
                    client.send(&packet::error(0, "enough"));
                }
            }
        }
        eventually("all flows over", PATIENCE, || {
            (open_files(victim.server.process()) == victim.files()).then_some(())
        });
    };
    vanish(400);
    let after_some = victim.grown_by();
    vanish(4000);
    let after_many = victim.grown_by();
    assert!(
        after_many < after_some + 512,
        "{after_some} KiB after 400 flows, {after_many} KiB after 4,000 more"
    );
    victim.must_be_unharmed();
}

/// Buffers as large as a client claims to need: the largest window of the largest blocks, for everybody at once.
#[test]
fn memory_by_claimed_sizes() {
    let _turn = alone();
    let victim = Victim::with(&["-n", "32", "-W", "65535"]);
    victim
        .root
        .write_bytes("text", &b"line\n".repeat(4_000_000));
    victim.root.write_bytes("sparse", b"");
    let sparse = fs::File::options()
        .write(true)
        .open(victim.root.file("sparse"));
    sparse.unwrap().set_len(1 << 40).unwrap();
    let claim = |wish: Wish| wish.option("blksize", 65464).option("windowsize", 65535);
    let mut most = 0;
    for wish in [Wish::netascii("text"), Wish::octet("sparse")] {
        let clients: Vec<Client> = (0..32)
            .map(|_| {
                let mut client = victim.client();
                client.request(&claim(wish.clone()));
                assert!(matches!(client.receive(), Packet::Oack(_)));
                // A whole window is called for, and none of it ever acknowledged.
                client.ack(0);
                client.expect_data(1);
                client
            })
            .collect();
        for _ in 0..20 {
            most = most.max(victim.grown_by());
            thread::sleep(Duration::from_millis(50));
        }
        for client in clients {
            client.send(&packet::error(0, "enough"));
        }
    }
    assert!(most < 16 << 10, "{most} KiB for 32 claims");
    victim.must_be_unharmed();
}

/// Datagrams too short for what they say they are, on both kinds of sockets.
#[test]
fn short_packets() {
    let victim = Victim::new();
    let mut silent = victim.client();
    let (mut client, download) = victim.halfway(&Wish::octet("file"));
    for opcode in 0..=8 {
        for runt in [
            &[][..],
            &[0],
            &[opcode],
            &[0, opcode],
            &[0, opcode, 0],
            &[0, opcode, b'f', b'o'],
        ] {
            silent.send_to_server(runt);
            // With four bytes an ACK or an ERROR is whole.
            if runt.len() < 4 {
                client.send(runt);
            }
        }
    }
    assert_same(&client.complete(download).unwrap().bytes, &victim.bytes);
    assert_same(&fetch_bytes(victim.address(), "file"), &victim.bytes);
    silent.expect_nothing_yet();
    victim.must_be_unharmed();
}

/// A request that nobody can be answered for ends another server today: sending to port 0 is an error.
#[test]
fn a_datagram_from_source_port_0() {
    let Some(forger) = forger() else { return };
    let mut victim = Victim::new();
    let nobody = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    assert!(forger.is_heard(nobody));
    for datagram in [
        request(b"file", b"octet", b""),
        request(b"file", b"octet", b"blksize\x00100\0"),
        request(b"missing", b"octet", b""),
        packet::write_request(b"new", "octet"),
        packet::ack(1),
        packet::error(0, "x"),
        Vec::new(),
    ] {
        forger.send(nobody, victim.address(), &datagram);
    }
    victim.must_be_unharmed();
    victim.server.signal(nix::sys::signal::Signal::SIGTERM);
    victim.server.wait(PATIENCE);
    // All seven were dropped, and nothing else was.
    let line = victim.server.wait_for_log(&["INFO stopped"]);
    assert!(line.contains(" 0 refused, 7 dropped"), "{line}");
}

/// A request that seems to come from the server itself, or from another server: an answer that is answered again goes round for
/// ever, and such a datagram ends another server today.
#[test]
fn a_datagram_forged_from_the_servers_own_address() {
    let _turn = alone();
    let Some(forger) = forger() else { return };
    let victim = Victim::new();
    let other = Server::start(victim.root.path());
    let v4 = |address: SocketAddr| match address {
        SocketAddr::V4(v4) => v4,
        SocketAddr::V6(_) => panic!("it listens on 127.0.0.1"),
    };
    let mut senders = vec![v4(victim.address()), v4(other.address())];
    // The port of a transfer under way, too.
    let (mut client, download) = victim.halfway(&Wish::octet("file"));
    senders.push(v4(client.tid()));
    assert!(forger.is_heard(senders[0]));
    let before = processor_ticks(victim.server.process());
    for from in senders {
        for datagram in [
            request(b"file", b"octet", b""),
            request(b"missing", b"octet", b""),
            request(b"", b"", b""),
            packet::write_request(b"new", "octet"),
            packet::error(4, "x"),
            packet::ack(1),
            b"\0\x03\0\x01data".to_vec(),
            b"\0\x06blksize\x008\0".to_vec(),
        ] {
            forger.send(from, victim.address(), &datagram);
            forger.send(from, client.tid(), &datagram);
        }
    }
    assert_same(&client.complete(download).unwrap().bytes, &victim.bytes);
    thread::sleep(Duration::from_secs(1));
    let busy = processor_ticks(victim.server.process()) - before;
    assert!(busy < 30, "{busy} hundredths of a second: they go round");
    let lines = victim.server.log_lines().len() + other.log_lines().len();
    assert!(lines < 60, "{lines} lines");
    victim.must_be_unharmed();
}

/// A datagram longer than the buffer it is read into (SolarWinds, CVE-2002-1542).
#[test]
fn large_datagrams() {
    let victim = Victim::new();
    let mut silent = victim.client();
    let (mut client, download) = victim.halfway(&Wish::octet("file"));
    for length in [2049, 4096, 8193, 9000, 32_768, 65_507] {
        for start in [
            &b"\0\x01file\0octet\0blksize\x00100\0"[..],
            b"\0\x01",
            b"\0\x05\0\0",
            b"\0\x03\0\x01",
        ] {
            let mut datagram = start.to_vec();
            datagram.resize(length, b'A');
            silent.send_to_server(&datagram);
        }
        // An ACK counts however much follows it, here an old one; DATA never.
        for start in [&b"\0\x04\0\0"[..], b"\0\x03\0\x01", b"\0\x01file\0octet\0"] {
            let mut datagram = start.to_vec();
            datagram.resize(length, b'A');
            client.send(&datagram);
        }
    }
    assert_same(&client.complete(download).unwrap().bytes, &victim.bytes);
    assert_same(&fetch_bytes(victim.address(), "file"), &victim.bytes);
    silent.expect_nothing_yet();
    victim.must_be_unharmed();
}

/// A read in netascii for a name that is a mode, a device, a line end or nothing (SolarWinds, CVE-2010-2115).
#[test]
fn netascii_with_an_odd_name() {
    let victim = Victim::new();
    let names: [&[u8]; 14] = [
        b"NETASCII",
        b"netascii",
        b"\r\n",
        b"\r",
        b"a\r\0b",
        b"\xFF",
        b"\xFF\xFE",
        b".",
        b"/",
        b"",
        b"CON",
        b"a:",
        b"a*?<>|\"b",
        b" ",
    ];
    for name in names {
        let code = refused(&victim, &request(name, b"netascii", b""));
        // A NUL in the name makes the rest of it the mode.
        let expected: &[u16] = if name.contains(&0) { &[4] } else { &[1, 2] };
        assert!(expected.contains(&code), "{}: {code}", name.escape_ascii());
    }
    for name in ["NETASCII", "a:", " ", "\r\n"] {
        victim.root.write_bytes(name, b"one\ntwo\r");
        let download = fetch(victim.address(), &Wish::netascii(name)).unwrap();
        assert_eq!(download.bytes, b"one\r\ntwo\r\0", "{name:?}");
    }
    victim.must_be_unharmed();
}

/// Whatever is wrong, the client gets the same few words, and no path, no user and no error of the system.
#[test]
fn error_text_that_leaks_paths() {
    let victim = with_a_secret(&[]);
    symlink("../secret", victim.root.file("link")).unwrap();
    symlink("loop", victim.root.file("loop")).unwrap();
    let mut requests: Vec<Vec<u8>> = [
        "missing",
        "sub",
        "link",
        "loop",
        "file/x",
        "../secret",
        "",
        "/etc/passwd",
    ]
    .map(|name| request(name.as_bytes(), b"octet", b""))
    .into();
    requests.push(request(&[b'A'; 300], b"octet", b""));
    requests.push(request(&[b'A'; 2000], b"octet", b""));
    requests.push(request(b"file", b"mail", b""));
    requests.push(request(b"file", b"binary", b""));
    requests.push(packet::write_request(b"new", "octet"));
    let answers = requests.iter().map(|request| victim.answer_to(request));
    let mut answers: Vec<Packet> = answers.collect();
    // And the one that comes in the middle: the file shrinks.
    victim.root.write("shrinks", 300_000);
    let (mut client, download) = victim.halfway(&Wish::octet("shrinks"));
    victim.root.write_bytes("shrinks", b"");
    let (code, message) = client.complete(download).unwrap_err();
    answers.push(Packet::Error { code, message });

    let outer = victim.root.beside("").display().to_string();
    let words: Vec<&str> = outer.split('/').filter(|word| word.len() > 2).collect();
    for packet in answers {
        let Packet::Error { message, .. } = packet else {
            panic!("{packet:?}");
        };
        assert!(KNOWN.contains(&&message[..]), "{message}");
        assert!(!message.contains('/') && !words.iter().any(|word| message.contains(word)));
    }
    victim.must_be_unharmed();
}

/// All that an ERROR ever says here.
const KNOWN: [&str; 11] = [
    "no such file",
    "empty file name",
    "file name too long",
    "outside the served directory",
    "not a regular file",
    "access denied",
    "uploads are off",
    "mail mode is not supported",
    "unknown transfer mode",
    "file changed or could not be read",
    "file changed while it was sent",
];
