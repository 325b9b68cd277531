//! A root that is exchanged while it is served: a link that is swapped is followed, within what the sandbox allows;
//! whatever else happens to the directory is logged once a minute.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::client::{Client, PATIENCE, fetch, fetch_bytes, refusal_of};
use crate::download::Wish;
use crate::faults::traced;
use crate::machine::{eventually, in_own_mounts, is_root, skipped};
use crate::put::Put;
use crate::root::{Root, assert_same};
use crate::server::Server;
use crate::uploads::writable;

const NOBODY: u32 = 65534;

/// Two releases, `v1/file` and `v2/file`, as long as each other.
fn releases() -> (Root, [Vec<u8>; 2]) {
    let root = Root::new();
    let contents = ["v1/file", "v2/file"].map(|name| root.write(name, 3_000));
    (root, contents)
}

/// As `ln -sfn`: a new link takes the place of the old one in one step.
fn swap(link: &Path, target: impl AsRef<Path>) {
    let new = link.with_extension("new");
    symlink(target, &new).unwrap();
    fs::rename(new, link).unwrap();
}

/// Asks until the file has these bytes; they must be there within a second of the first request, with room for a slow machine.
#[track_caller]
fn wait_for(server: &Server, name: impl AsRef<[u8]>, bytes: &[u8]) {
    let began_at = Instant::now();
    eventually("the new root", PATIENCE, || {
        let fetched = fetch(server.address(), &Wish::octet(name.as_ref()));
        fetched
            .is_ok_and(|fetched| fetched.bytes == bytes)
            .then_some(())
    });
    assert!(
        began_at.elapsed() < Duration::from_secs(3),
        "{:?}",
        began_at.elapsed()
    );
}

#[track_caller]
fn must_follow(
    root: &Root,
    path: &Path,
    link: &Path,
    targets: [&Path; 2],
    contents: &[Vec<u8>; 2],
) {
    swap(link, targets[0]);
    let server = Server::with(path, &[]);
    let holder = root.path().canonicalize().unwrap();
    server.wait_for_log(&[
        "INFO",
        &format!("everything in {} may be read", holder.display()),
    ]);
    assert_same(&fetch_bytes(server.address(), "file"), &contents[0]);
    for (target, bytes) in [(targets[1], &contents[1]), (targets[0], &contents[0])] {
        swap(link, target);
        wait_for(&server, "file", bytes);
    }
    assert_eq!(server.lines_with("WARN "), [""; 0]);
}

/// MAAS swaps a link at each sync: its machines got the old release for ever, and after the next sync nothing.
#[test]
fn a_link_that_is_swapped_is_followed() {
    let (root, contents) = releases();
    let current = root.file("current");
    let relative = ["v1", "v2"].map(Path::new);
    must_follow(&root, &current, &current, relative, &contents);
    let absolute = ["v1", "v2"].map(|name| root.file(name));
    must_follow(
        &root,
        &current,
        &current,
        [&absolute[0], &absolute[1]],
        &contents,
    );
    // By a name with a link in it.
    symlink(root.path(), root.beside("by-another-name")).unwrap();
    let other = root.beside("by-another-name/current");
    must_follow(&root, &other, &current, relative, &contents);
    let named = ["v1", "v2"].map(|name| root.beside("by-another-name").join(name));
    must_follow(&root, &other, &current, [&named[0], &named[1]], &contents);
}

/// The sandbox has left the directory of the link open to be written, too.
#[test]
fn uploads_follow_a_link_that_is_swapped() {
    let Some(root) = writable() else { return };
    for name in ["v1", "v2"] {
        fs::create_dir(root.file(name)).unwrap();
        chown(root.file(name), Some(NOBODY), None).unwrap();
    }
    fs::create_dir(root.file("v2/sub")).unwrap();
    let current = root.file("current");
    let put = |server: &Server| Put::octet("file", b"new").to(server.address());
    for options in [&["-c"][..], &["-c", "--no-sandbox"]] {
        swap(&current, "v1");
        let server = Server::with(&current, options);
        assert_eq!(put(&server), Ok(()), "{options:?}");
        assert_same(&fs::read(root.file("v1/file")).unwrap(), b"new");
        swap(&current, "v2");
        eventually("the new root", PATIENCE, || {
            assert_eq!(put(&server), Ok(()), "{options:?}");
            fs::exists(root.file("v2/file")).unwrap().then_some(())
        });
        assert_same(&fs::read(root.file("v2/file")).unwrap(), b"new");
        for name in ["v1/file", "v2/file"] {
            fs::remove_file(root.file(name)).unwrap();
        }
    }
}

#[test]
fn chains_of_links_are_followed_whichever_of_them_is_swapped() {
    let (root, contents) = releases();
    let targets = ["v1", "v2"].map(Path::new);
    fs::create_dir(root.file("links")).unwrap();
    symlink("links/stable", root.file("current")).unwrap();
    symlink("../testing", root.file("links/stable")).unwrap();
    must_follow(
        &root,
        &root.file("current"),
        &root.file("testing"),
        targets,
        &contents,
    );
    let from_links = ["../v1", "../v2"].map(Path::new);
    must_follow(
        &root,
        &root.file("current"),
        &root.file("links/stable"),
        from_links,
        &contents,
    );
    must_follow(
        &root,
        &root.file("current"),
        &root.file("current"),
        targets,
        &contents,
    );
    // In the middle of the path, too.
    for release in ["v1", "v2"] {
        fs::create_dir(root.file(release).join("tftp")).unwrap();
        fs::rename(
            root.file(release).join("file"),
            root.file(release).join("tftp/file"),
        )
        .unwrap();
    }
    let path = root.file("current/tftp/");
    must_follow(&root, &path, &root.file("current"), targets, &contents);
    must_follow(
        &root,
        &root.file("links/../current/tftp"),
        &root.file("current"),
        targets,
        &contents,
    );
}

/// A link that a user of the directory points at something else must not give that away.
#[test]
fn a_swap_never_leads_out_of_the_directory_that_holds_the_link() {
    let (root, contents) = releases();
    fs::create_dir(root.beside("other")).unwrap();
    fs::write(root.beside("other/file"), "other").unwrap();
    let current = root.file("current");
    for options in [&[][..], &["--no-sandbox"]] {
        symlink("v1", &current).unwrap();
        let server = Server::with(&current, options);
        assert_same(&fetch_bytes(server.address(), "file"), &contents[0]);
        for (number, target) in ["../other", "/", ".."].into_iter().enumerate() {
            // What follows a good look is logged at once.
            swap(&current, target);
            let words = "leads elsewhere now; the old directory is served: restart";
            serves_old_until_warned(&server, &contents[0], words, number + 1);
            swap(&current, "v2");
            wait_for(&server, "file", &contents[1]);
            swap(&current, "v1");
            wait_for(&server, "file", &contents[0]);
        }
        fs::remove_file(&current).unwrap();
    }
}

#[test]
fn absolute_names_and_links_follow_a_swap() {
    let (root, contents) = releases();
    let current = root.file("current");
    symlink("v1", &current).unwrap();
    symlink(root.file("v2/file"), root.file("v2/link")).unwrap();
    let server = Server::start(&current);
    let name = |path: &str| root.file(path).to_str().unwrap().to_owned();
    for path in ["current/file", "v1/file"] {
        assert_same(&fetch_bytes(server.address(), name(path)), &contents[0]);
    }
    swap(&current, "v2");
    wait_for(&server, name("v2/file"), &contents[1]);
    assert_same(
        &fetch_bytes(server.address(), name("current/file")),
        &contents[1],
    );
    assert_same(&fetch_bytes(server.address(), "link"), &contents[1]);
    assert_eq!(refusal_of(server.address(), name("v1/file")), 1);
}

#[test]
fn transfers_go_on_with_what_they_have_after_a_swap() {
    let root = Root::new();
    let old = root.write("v1/file", 60_000);
    let new = root.write("v2/file", 60_000);
    let current = root.file("current");
    symlink("v1", &current).unwrap();
    let server = Server::start(&current);
    let mut running = Client::new(server.address());
    let download = running.begin(&Wish::octet("file"), 1);
    swap(&current, "v2");
    wait_for(&server, "file", &new);
    fs::remove_dir_all(root.file("v1")).unwrap();
    assert_same(&running.complete(download).unwrap().bytes, &old);
}

/// Where the directory that holds the link is there for other things, too, or where it cannot be seen, the start says so.
#[test]
fn links_that_are_not_followed_are_named_at_the_start() {
    let (root, contents) = releases();
    let link = std::env::temp_dir().join(format!("tftpd-link-{}", std::process::id()));
    symlink(root.file("v1"), &link).unwrap();
    let server = Server::start(&link);
    let path = link.display();
    server.wait_for_log(&[&format!(
        "INFO {path}: a symbolic link; restart after swapping it"
    )]);
    assert_same(&fetch_bytes(server.address(), "file"), &contents[0]);
    swap(&link, root.file("v2"));
    let told = format!("WARN {path}: replaced or mounted over");
    serves_old_until_warned(&server, &contents[0], &told, 1);
    fs::remove_file(&link).unwrap();

    if !is_root() {
        return skipped("only root can change its root");
    }
    let current = root.file("current");
    symlink("v1", &current).unwrap();
    let server = Server::with(&current, &["--chroot"]);
    server.wait_for_log(&["a symbolic link; restart after swapping it"]);
    swap(&current, "v2");
    assert_same(&fetch_bytes(server.address(), "file"), &contents[0]);
}

/// Asks on, and hears what the old directory has, until this number of warnings says why.
#[track_caller]
fn serves_old_until_warned(server: &Server, old: &[u8], words: &str, times: usize) {
    eventually("a warning", PATIENCE, || {
        assert_same(&fetch_bytes(server.address(), "file"), old);
        let lines = server.lines_with(words);
        let told = lines.iter().filter(|line| line.starts_with("WARN"));
        (told.count() >= times).then_some(())
    });
}

/// A directory in whose place another one is, or none.
#[test]
fn a_root_replaced_or_removed_is_logged_once_a_minute() {
    let root = Root::new();
    let old = root.write("tftp/file", 1_000);
    let path = root.file("tftp");
    let server = Server::start(&path);
    assert_same(&fetch_bytes(server.address(), "file"), &old);
    fs::rename(&path, root.file("old")).unwrap();
    serves_old_until_warned(&server, &old, ": removed; the old directory is served", 1);
    // For three looks more nothing is said.
    let until = Instant::now() + Duration::from_millis(3_100);
    while Instant::now() < until {
        assert_same(&fetch_bytes(server.address(), "file"), &old);
    }
    assert_eq!(server.lines_with(": removed;").len(), 1);

    let server = Server::start(&root.file("old"));
    assert_same(&fetch_bytes(server.address(), "file"), &old);
    fs::rename(root.file("old"), &path).unwrap();
    fs::create_dir(root.file("old")).unwrap();
    serves_old_until_warned(&server, &old, "replaced or mounted over", 1);
}

#[test]
fn a_root_that_was_mounted_over_is_logged() {
    in_own_mounts(|| {
        let root = Root::new();
        let old = root.write("tftp/file", 1_000);
        let path = root.file("tftp");
        let server = Server::start(&path);
        let no_flags = MsFlags::empty();
        mount(Some("test"), &path, Some("tmpfs"), no_flags, None::<&str>).unwrap();
        serves_old_until_warned(&server, &old, "replaced or mounted over", 1);
        umount2(&path, MntFlags::MNT_DETACH).unwrap();
    });
}

/// What the link leads to is not open to the server's user: the old directory goes on.
#[test]
fn a_link_swapped_to_a_directory_that_is_closed() {
    if !is_root() {
        return skipped("only root becomes another user");
    }
    let (root, contents) = releases();
    let current = root.file("current");
    symlink("v1", &current).unwrap();
    let server = Server::start(&current);
    fs::set_permissions(root.file("v2"), fs::Permissions::from_mode(0o700)).unwrap();
    swap(&current, "v2");
    serves_old_until_warned(&server, &contents[0], "may not read", 1);
    fs::set_permissions(root.file("v2"), fs::Permissions::from_mode(0o755)).unwrap();
    wait_for(&server, "file", &contents[1]);
}

/// However many requests come, the path is looked at once a second, and not by the loop, since that may take long.
#[test]
fn a_look_at_the_root_for_each_request() {
    let (root, _) = Root::with_file(600);
    let began_at = Instant::now();
    let Some(server) = traced(&root, &["-f"]) else {
        return;
    };
    for _ in 0..300 {
        fetch_bytes(server.address(), "file");
    }
    let seconds = began_at.elapsed().as_secs() + 2;
    let looks = fs::read_to_string(root.beside("trace")).unwrap();
    let path = format!("statx(AT_FDCWD, \"{}\"", root.path().display());
    let looks: Vec<_> = looks.lines().filter(|line| line.contains(&path)).collect();
    let by_the_loop = format!("{} ", server.process());
    assert!(!looks.iter().any(|line| line.starts_with(&by_the_loop)));
    let looks = u64::try_from(looks.len()).unwrap();
    assert!(
        (1..=seconds).contains(&looks),
        "{looks} looks in {seconds} s"
    );
}
