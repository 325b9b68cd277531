//! A file on which another process has a lease, as file servers for Windows and NFS take: it can be opened once it was given
//! back. For firmware an ERROR would be final.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use crate::client::{Client, PATIENCE};
use crate::download::{Download, Wish};
use crate::machine::{eventually, skipped};
use crate::packet;
use crate::root::assert_same;
use crate::server::serving;

#[test]
fn a_lease_that_is_given_back_while_a_client_asks() {
    let (root, bytes, server) = serving(20_000, &[]);
    if Lease::take(&root.file("file")).is_none() {
        return skipped("no lease may be taken on a file here");
    }
    for wish in [Wish::octet("file"), Wish::octet("file").option("tsize", 0)] {
        // Not while the server has it open for the client before.
        let lease = eventually("a lease", PATIENCE, || Lease::take(&root.file("file")));
        let mut client = Client::new(server.address()).asking(&wish);
        lease.wait_until_wanted();
        // A repeat changes nothing.
        client.request(&wish);
        assert_eq!(client.receive_within(Duration::from_millis(200)), None);
        drop(lease);
        // As firmware does, until there is an answer.
        let first = eventually("an answer", PATIENCE, || {
            client.request(&wish);
            client.receive_within(Duration::from_millis(200))
        });
        let mut download = Download::new(&wish);
        let answer = download.on_packet(packet::parse(&first));
        client.send(&answer.unwrap());
        let download = client.complete(download).unwrap();
        assert_same(&download.bytes, &bytes);
    }
    assert_eq!(server.lines_with("refused"), [""; 0]);
}

/// A lease to write, given back with the value.
struct Lease(File);

impl Lease {
    fn take(path: &Path) -> Option<Lease> {
        let file = File::open(path).unwrap();
        // SAFETY: no pointers. The owner of a lease gets a signal when it is wanted back: one that does nothing.
        let results = unsafe {
            [
                libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG),
                libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK),
            ]
        };
        (results == [0, 0]).then_some(Lease(file))
    }

    /// Another process wants to open the file: then the lease is, for its holder, only one to read or none any more.
    fn wait_until_wanted(&self) {
        eventually("a process that wants the file", PATIENCE, || {
            // SAFETY: no pointers.
            let lease = unsafe { libc::fcntl(self.0.as_raw_fd(), libc::F_GETLEASE) };
            assert!(lease >= 0, "{}", io::Error::last_os_error());
            (lease != libc::F_WRLCK).then_some(())
        });
    }
}

/// fcntl(2); not among the constants of libc.
const F_SETSIG: libc::c_int = 10;
