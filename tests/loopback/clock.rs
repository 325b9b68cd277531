//! The time of day is nobody's business here.

use crate::client::{Client, PATIENCE, fetch_bytes};
use crate::download::Wish;
use crate::machine::{eventually, library, open_files};
use crate::packet;
use crate::root::{Root, assert_same};
use crate::server::{PROGRAM, Server, program};
use crate::victim::go_halfway;

/// The time of day may be set at any moment, by hours and backwards: nobody reads it. A library in front of the C library makes
/// it jump with each look, and notes whether anybody looked.
#[test]
fn a_clock_that_is_stepped() {
    let (root, bytes) = Root::with_file(5_000);
    let Some(library) = library(&root, WILD_CLOCK) else {
        return;
    };
    let mut command = program(PROGRAM);
    command
        .env("LD_PRELOAD", library)
        .env("CLOCK_NOTES", root.beside(""));
    command.arg("-r").arg(root.path());
    command.args(["-a", "127.0.0.1:0", "-t", "3", "--no-sandbox"]);
    let mut server = Server::launch(command, 1);
    let before = open_files(server.process());
    let wish = Wish::octet("file");
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);
    // Timers run as ever: a block is sent again, and a silent client given up.
    let (mut client, mut download) = go_halfway(Client::new(server.address()), &wish);
    let block = client.receive_datagram();
    assert_eq!(client.receive_datagram(), block, "the same block again");
    client.send(&download.on_packet(packet::parse(&block)).unwrap());
    assert_same(&client.complete(download).unwrap().bytes, &bytes);
    let silent = go_halfway(Client::new(server.address()), &wish);
    server.wait_for_log(&["timed out"]);
    drop(silent);
    eventually("descriptors back", PATIENCE, || {
        (open_files(server.process()) == before).then_some(())
    });
    assert!(server.is_running());
    assert!(
        root.beside("monotonic").exists(),
        "the library had no effect"
    );
    assert!(
        !root.beside("realtime").exists(),
        "the time of day was read"
    );
}

const WILD_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static void note(const char *what) {
    char path[4096];
    const char *directory = getenv("CLOCK_NOTES");
    snprintf(path, sizeof path, "%s/%s", directory ? directory : "/", what);
    close(open(path, O_CREAT | O_WRONLY, 0600));
}

static void step(long *seconds) {
    static int looks;
    note("realtime");
    *seconds += (looks++ % 2 ? 1 : -1) * looks * 3600L;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = syscall(SYS_clock_gettime, clock, time);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) {
        step(&time->tv_sec);
    } else if (clock == CLOCK_MONOTONIC) {
        note("monotonic");
    }
    return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    (void) zone;
    int result = syscall(SYS_gettimeofday, time, 0);
    step(&time->tv_sec);
    return result;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
"#;
