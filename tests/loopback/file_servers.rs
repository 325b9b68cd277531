//! File systems that have to ask somebody (NFS, FUSE) and may get no answer: whoever wants their files waits, and nobody else.
//! What is asked is a file system of the test's own (see `fuse`).

use nix::sys::signal::Signal;

use crate::client::{Client, PATIENCE};
use crate::download::Wish;
use crate::fuse::{Asked, Disk};
use crate::machine::{eventually, in_own_mounts, is_stopped};
use crate::packet;
use crate::root::{Root, assert_same};
use crate::server::Server;

/// A request behind one that waits for its name, from the same port: once that name was looked up, it is not judged again, as
/// if its client had begun anew.
#[test]
fn a_request_behind_one_that_waits_is_judged_once() {
    in_own_mounts(|| {
        let root = Root::new();
        let near = root.write("near", 5_000);
        let Some(disk) = mounted(&root, "disk", 100_000) else {
            return;
        };
        let server = Server::start(root.path());
        let _end = disk.answering_at_the_end();
        let mut client = Client::new(server.address());
        let wish = Wish::octet("disk/file");
        client.request(&wish);
        client.expect_data(1);
        client.ack(1);
        client.expect_data(2);
        // It begins anew, and gets no answer as long as the file cannot be opened once more.
        disk.hold(|asked| *asked == Asked::Open);
        client.request(&wish);
        disk.wait_for_held(|asked| *asked == Asked::Open);
        // Then it ends the transfer, and asks for something else. Both are read in one turn of the loop.
        server.signal(Signal::SIGSTOP);
        eventually("a server that is stopped", PATIENCE, || {
            is_stopped(server.process()).then_some(())
        });
        client.send(&packet::error(0, "seek"));
        client.request(&Wish::octet("near"));
        server.signal(Signal::SIGCONT);
        client.forget_tid();
        assert_same(&client.expect_data(1), &near[..512]);
        client.ack(1);
        client.expect_data(2);
        disk.answer();
        // By its timer; an answer to a second request would come sooner, and from another port.
        client.expect_data(2);
    });
}

/// A file system at that place of the root.
fn mounted(root: &Root, name: &str, length: usize) -> Option<Disk> {
    let bytes = Root::new().write(name, length);
    std::fs::create_dir(root.file(name)).unwrap();
    Disk::mount(&root.file(name), bytes)
}
