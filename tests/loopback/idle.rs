//! With nothing to do the server sleeps for ever: no timer, no wake-up, hardly any memory.

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::client::{PATIENCE, fetch_bytes};
use crate::machine::{eventually, has_program, is_asleep, skipped, sleeps, status, threads};
use crate::server::{Server, serving};

/// What is measured is what happens in this time.
const WHILE_IDLE: Duration = Duration::from_secs(10);

#[test]
fn an_idle_server_is_never_woken() {
    let (root, _, fresh) = serving(5_000, &[]);
    let [stats, control] = ["stats", "control"].map(|name| root.beside(name));
    let [stats, control] = [&stats, &control].map(|path| path.to_str().unwrap());
    let used = Server::with(root.path(), &["--stats", stats, "--control", control]);
    fetch_bytes(used.address(), "file");
    used.wait_for_log(&["complete"]);
    let traced = Server::start(root.path());
    // It has logged where it listens and is about to sleep, or has gone to sleep already.
    let before = [&fresh, &used, &traced].map(|server| {
        let process = server.process();
        eventually("a server at rest", PATIENCE, || {
            is_asleep(process).then(|| sleeps(process))
        })
    });

    let (woken, calls) = thread::scope(|scope| {
        let calls = scope.spawn(|| system_calls(&traced));
        thread::sleep(WHILE_IDLE / 2);
        let halfway = sleeps(used.process());
        thread::sleep(WHILE_IDLE / 2);
        let woken = [
            sleeps(fresh.process()) - before[0],
            sleeps(used.process()) - halfway,
        ];
        (woken, calls.join().unwrap())
    });
    // Timers are never cancelled: what a transfer leaves behind comes up once, in the first few seconds.
    assert_eq!(woken, [0, 0], "wake-ups counted by the kernel");
    match calls {
        // To look at a thread strace interrupts the call it sleeps in; that one is begun again.
        Some(calls) => assert!(
            calls <= 2 * threads(traced.process()).len(),
            "{calls} system calls in {WHILE_IDLE:?}"
        ),
        None => skipped("there is no strace that may look; the kernel alone has counted"),
    }
}

/// What strace counts, if it may.
fn system_calls(server: &Server) -> Option<usize> {
    if !has_program("strace", "-V") {
        return None;
    }
    let mut strace = Command::new("strace");
    strace.args(["-c", "-f", "-p", &server.process().to_string()]);
    let strace = strace
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    thread::sleep(WHILE_IDLE);
    kill(
        Pid::from_raw(strace.id().try_into().unwrap()),
        Signal::SIGINT,
    )
    .unwrap();
    let output = strace.wait_with_output().unwrap();
    let report = String::from_utf8(output.stderr).unwrap();
    if !report.contains("attached") {
        return None;
    }
    let total = report.lines().find(|line| line.ends_with(" total"));
    // Columns: % time, seconds, usecs/call, calls, errors (may be empty), name. Without any call there is no table.
    Some(total.map_or(0, |line| {
        line.split_whitespace().nth(3).unwrap().parse().unwrap()
    }))
}

/// What is expected of a release is 4 MiB; tests run a larger build.
#[test]
fn an_idle_server_is_small() {
    let (_root, _, server) = serving(5_000, &[]);
    let (all, own) = (
        status(server.process(), "VmRSS"),
        status(server.process(), "RssAnon"),
    );
    assert!(
        all < 8 << 10 && own < 2 << 10,
        "{all} KiB resident, {own} KiB of them its own"
    );
}
