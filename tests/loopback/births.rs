//! What a request costs: every system call from the one that brings it to the next sleep. A boot storm is thousands of them, so
//! whatever is added here is to be seen.

use std::fs;

use crate::client::{Client, PATIENCE, fetch};
use crate::download::Wish;
use crate::faults::traced;
use crate::machine::eventually;
use crate::root::Root;

/// Brings a request, then nothing more.
const REQUEST: &str = "recvmmsg";
/// Brings an ACK.
const REPLY: &str = "recvfrom";

/// The calls of a birth whose file is looked up and found.
const FOUND: [&str; 3] = [REQUEST, "openat2", "fstat"];
/// What the first transfer of a file needs besides: its mapping, and a look whether another one would still find room.
const MAPPED: [&str; 3] = ["mmap", "mmap", "munmap"];
/// Those that make the client's socket; the flag "don't fragment" is turned off, who sends an ICMP error is kept, since an operator
/// looks for the firewall that did, and the MTU of the path limits the block size.
const CONNECTED: [&str; 8] = [
    "socket",
    "bind",
    "setsockopt",
    "setsockopt",
    "connect",
    "epoll_ctl",
    "getsockopt",
    "sendmsg",
];
/// A line of the log: only if it is taken.
const LOGGED: [&str; 2] = ["poll", "write"];

#[test]
fn system_calls_of_a_request() {
    let (root, _) = Root::with_file(300);
    let Some(server) = traced(&root, &[]) else {
        return;
    };
    let wish = Wish::octet("file")
        .option("blksize", 1428)
        .option("tsize", 0);
    // What is made once, such as memory, is there from now on.
    fetch(server.address(), &wish).unwrap();
    server.wait_for_log(&["complete"]);

    let mut first = Client::new(server.address());
    let birth = turns_of(&root, || {
        first.request(&wish);
        first.receive();
    });
    assert_eq!(birth, [[&FOUND[..], &MAPPED, &CONNECTED].concat()]);

    // The mapping is shared.
    let mut second = Client::new(server.address());
    let birth = turns_of(&root, || {
        second.request(&wish);
        second.receive();
    });
    assert_eq!(birth, [[&FOUND[..], &["close"], &CONNECTED].concat()]);

    // The only block: its page is in memory, and the file did not shrink.
    let block = turns_of(&root, || {
        second.ack(0);
        second.receive();
    });
    assert_eq!(block, [[REPLY, "preadv2", "fstat", "sendmsg"]]);

    let end = turns_of(&root, || second.ack(1));
    assert_eq!(end, [[&[REPLY, "close"][..], &LOGGED].concat()]);

    // What is not there is known once it was looked for.
    fetch(server.address(), &Wish::octet("missing")).unwrap_err();
    let miss = turns_of(&root, || {
        fetch(server.address(), &Wish::octet("missing")).unwrap_err();
    });
    assert_eq!(
        miss,
        [[&[REQUEST, "openat2", "sendmsg"][..], &LOGGED].concat()]
    );
    drop((first, server));
}

/// What the server does while something happens: the calls of each turn of its loop in which it receives something.
fn turns_of(root: &Root, happens: impl FnOnce()) -> Vec<Vec<String>> {
    let trace = || fs::read_to_string(root.beside("trace")).unwrap();
    let before = eventually("a server at rest", PATIENCE, || {
        let trace = trace();
        is_at_rest(&trace).then_some(trace.len())
    });
    happens();
    eventually("a turn", PATIENCE, || {
        let trace = trace();
        let turns = turns_in(&trace[before..]);
        (is_at_rest(&trace) && !turns.is_empty()).then_some(turns)
    })
}

/// The last call that was written has begun and not come back.
fn is_at_rest(trace: &str) -> bool {
    trace
        .lines()
        .next_back()
        .is_some_and(|line| line.starts_with(SLEEP) && !line.contains(" = "))
}

fn turns_in(trace: &str) -> Vec<Vec<String>> {
    let calls = trace
        .lines()
        // The look at the root, which comes once a second, however many requests do.
        .filter(|line| !line.starts_with(LOOK))
        .filter_map(|line| line.split_once('('))
        .map(|(name, _)| name);
    let calls: Vec<&str> = calls.collect();
    let turns = calls.split(|&name| name == SLEEP);
    let told = turns.map(|turn| {
        turn.iter()
            .filter_map(|&name| known_as(name))
            .collect::<Vec<_>>()
    });
    told.filter(|turn| {
        turn.iter()
            .any(|name| [REQUEST, REPLY].contains(&name.as_str()))
    })
    .collect()
}

/// What a call is called on any machine; `None` for those that depend on the time, the file system or the allocator.
fn known_as(name: &str) -> Option<String> {
    match name {
        // A build for tests looks whether what it closes is open.
        "fcntl" => None,
        "timerfd_settime" | "fstatfs" | "mincore" | "brk" => None,
        "newfstatat" | "statx" => Some("fstat".into()),
        "ppoll" => Some("poll".into()),
        _ => Some(name.into()),
    }
}

/// Begins and ends a turn.
const SLEEP: &str = "epoll_wait";

/// Finds something by a path from the root of all paths.
const LOOK: &str = "statx(AT_FDCWD";
