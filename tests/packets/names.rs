//! Which file a request means, or why it means none.

use ripple_tftpd::name::{FileName, NAME_MAX, RootPrefixes};
use ripple_tftpd::wire::Refusal;

fn safe_below(prefixes: &[&[u8]], requested: &[u8]) -> Result<Vec<u8>, Refusal> {
    let root = RootPrefixes::new(prefixes.iter().copied());
    let mut buffer = [0xAA; NAME_MAX];
    FileName::new(requested, &root, &mut buffer).map(|name| name.as_bytes().to_vec())
}

fn check(why: &str, requested: &[u8], expected: Result<&[u8], Refusal>) {
    assert_eq!(
        safe_below(&[b"/srv/tftp"], requested),
        expected.map(<[u8]>::to_vec),
        "{why}: {}",
        requested.escape_ascii()
    );
}

#[test]
fn names_that_mean_a_file() {
    let rows: &[(&str, &[u8], &[u8])] = &[
        ("a plain name", b"pxelinux.0", b"pxelinux.0"),
        ("one byte", b"x", b"x"),
        ("a path", b"pxelinux.cfg/default", b"pxelinux.cfg/default"),
        (
            "absolute, as DHCP servers hand it out",
            b"/boot/grub",
            b"boot/grub",
        ),
        (
            "GRUB joins paths with two slashes",
            b"/boot//grub//",
            b"boot/grub",
        ),
        (
            "Windows: boot\\x64\\...",
            b"\\boot\\x64\\wdsnbp.com",
            b"boot/x64/wdsnbp.com",
        ),
        ("both kinds of slash", b"\\boot/x64\\bcd", b"boot/x64/bcd"),
        (
            "the root's own path",
            b"/srv/tftp/pxelinux.0",
            b"pxelinux.0",
        ),
        (
            "the root's own path, spelled with more slashes",
            b"//srv///tftp//pxelinux.0",
            b"pxelinux.0",
        ),
        (
            "the root's own path, spelled with backslashes",
            b"\\srv\\tftp\\pxelinux.0",
            b"pxelinux.0",
        ),
        (
            "the root's own path is dropped once",
            b"/srv/tftp/srv/tftp/a",
            b"srv/tftp/a",
        ),
        (
            "without its slash it is no absolute path",
            b"srv/tftp/pxelinux.0",
            b"srv/tftp/pxelinux.0",
        ),
        (
            "another directory that begins like the root",
            b"/srv/tftpboot/a",
            b"srv/tftpboot/a",
        ),
        ("through the root and back in", b"/srv/tftp/../tftp/a", b"a"),
        ("`..` inside the root", b"a/b/../../c", b"c"),
        ("`.` anywhere", b"./a/./b/.", b"a/b"),
        ("a name that begins with dots", b"..a/...", b"..a/..."),
        ("hidden files are files", b".config", b".config"),
        ("spaces belong to the name", b" a b ", b" a b "),
        (
            "the trailing 0xFF of a legacy PXE ROM",
            b"undionly.kpxe\xFF",
            b"undionly.kpxe",
        ),
        (
            "several of them",
            b"undionly.kpxe\xFF\xFF\xFF",
            b"undionly.kpxe",
        ),
        (
            "0xFF elsewhere is a byte like any",
            b"\xFFa\xFFb",
            b"\xFFa\xFFb",
        ),
        ("not UTF-8", b"caf\xE9/\x80\x81", b"caf\xE9/\x80\x81"),
        ("control characters", b"a\x01\x1B[31m\n", b"a\x01\x1B[31m\n"),
        ("a drive letter is a name like any", b"C:\\boot", b"C:/boot"),
        (
            "a percent sign is no escape: servers that decode it leave their root",
            b"%2e%2e/a",
            b"%2e%2e/a",
        ),
    ];
    for (why, requested, expected) in rows {
        check(why, requested, Ok(expected));
    }
}

#[test]
fn names_that_mean_none() {
    use Refusal::{EmptyName, OutsideRoot};
    let rows: &[(&str, &[u8], Refusal)] = &[
        ("empty", b"", EmptyName),
        ("the root itself", b"/", EmptyName),
        ("the root itself, in other words", b"//.//", EmptyName),
        ("back to the root", b"a/..", EmptyName),
        ("nothing but padding", b"\xFF\xFF\xFF", EmptyName),
        ("a slash and padding", b"/\xFF", EmptyName),
        (
            "out of the root (CVE-1999-0183)",
            b"../etc/passwd",
            OutsideRoot,
        ),
        (
            "out of it from an absolute name",
            b"/../etc/passwd",
            OutsideRoot,
        ),
        (
            "out of it after going in",
            b"a/../../etc/passwd",
            OutsideRoot,
        ),
        (
            "out of it by backslashes (FutureSoft, CVE-2005-1813)",
            b"..\\..\\boot.ini",
            OutsideRoot,
        ),
        ("out of it by both", b"a\\../..\\../b", OutsideRoot),
        (
            "out of it and back in by its name is out",
            b"../tftp/a",
            OutsideRoot,
        ),
        ("out of it with padding", b"..\xFF", OutsideRoot),
        (
            "through the root's own path and far out",
            b"/srv/tftp/../../../etc/passwd",
            OutsideRoot,
        ),
        ("just `..`", b"..", OutsideRoot),
        ("`..` and a slash", b"../", OutsideRoot),
        (
            "a NUL, which would cut the name short for the kernel",
            b"a\0.conf",
            OutsideRoot,
        ),
    ];
    for (why, requested, refusal) in rows {
        check(why, requested, Err(*refusal));
    }
}

/// `..` out of the root's own path is a name beneath the root, not the file outside that it spells.
#[test]
fn a_name_that_leaves_the_prefix_is_looked_up_beneath_the_root() {
    check("", b"/srv/tftp/../secret", Ok(b"srv/secret"));
}

#[test]
fn the_length_counts_after_everything_that_is_dropped() {
    let longest = vec![b'a'; NAME_MAX];
    let cases: [(&str, Vec<u8>); 5] = [
        ("as it is", longest.clone()),
        ("leading slashes", [&[b'/'; 900][..], &longest].concat()),
        (
            "`./` in front",
            [b"./".repeat(400), longest.clone()].concat(),
        ),
        ("trailing slashes", [&longest[..], &[b'/'; 900]].concat()),
        ("trailing 0xFF", [&longest[..], &[0xFF; 900]].concat()),
    ];
    for (why, requested) in cases {
        check(why, &requested, Ok(&longest));
    }
    let rows: [(&str, Vec<u8>); 3] = [
        ("one byte too many", vec![b'a'; NAME_MAX + 1]),
        ("one component too many", [&longest[..], b"/b"].concat()),
        ("many short components", b"a/".repeat(NAME_MAX)),
    ];
    for (why, requested) in rows {
        check(why, &requested, Err(Refusal::NameTooLong));
    }
    check(
        "components up to the last byte",
        &b"a/".repeat(NAME_MAX / 2),
        Ok(&b"a/".repeat(NAME_MAX / 2)[..NAME_MAX - 1]),
    );
}

#[test]
fn the_root_may_be_known_by_several_paths_or_by_none() {
    let known: &[&[u8]] = &[b"/srv/tftp/", b"/data/boot"];
    assert_eq!(safe_below(known, b"/srv/tftp/a"), Ok(b"a".to_vec()));
    assert_eq!(safe_below(known, b"/data/boot/a"), Ok(b"a".to_vec()));
    assert_eq!(safe_below(known, b"/data/a"), Ok(b"data/a".to_vec()));
    assert_eq!(safe_below(&[], b"/srv/tftp/a"), Ok(b"srv/tftp/a".to_vec()));
    // A root of `/` has no path that could be dropped.
    assert_eq!(safe_below(&[b"/"], b"/srv/a"), Ok(b"srv/a".to_vec()));
}
