//! The targets of `tests/fuzz`, each with some thousand random inputs: they compile, and what they claim holds. The fuzzer, which
//! needs a nightly toolchain, looks further.

#![allow(
    unused_attributes,
    reason = "a target is a program of its own elsewhere, and a module here"
)]

/// What the targets take their macro from is this program.
extern crate self as libfuzzer_sys;

#[path = "fuzz/targets/map.rs"]
mod map;
#[path = "fuzz/targets/name.rs"]
mod name;
#[path = "fuzz/targets/options.rs"]
mod options;
#[path = "fuzz/targets/reply.rs"]
mod reply;
#[path = "fuzz/targets/request.rs"]
mod request;
#[path = "fuzz/targets/server.rs"]
mod server;

use server::laboratory::choices::{Choices, Seeded};

/// Makes a function of each target.
macro_rules! fuzz_target {
    (|$input:ident: $bytes:ty| $body:expr) => {
        pub(crate) fn target($input: $bytes) {
            $body
        }
    };
}
pub(crate) use fuzz_target;

#[test]
fn request() {
    let kept: [&[u8]; 3] = [
        b"\0\x01pxelinux.0\0octet\0blksize\x001408\0tsize\x000\0",
        b"\0\x02file\0NetASCII\0windowsize\x0016\0",
        b"\0\x01/srv/tftp/boot\\grub\xFF\0mail\0timeout\x005\0unknown\0\0",
    ];
    run(request::target, 50_000, &kept);
}

#[test]
fn reply() {
    run(
        reply::target,
        50_000,
        &[b"\0\x04\x01\0", b"\0\x05\0\x08not enough\0"],
    );
}

#[test]
fn options() {
    let kept: [&[u8]; 3] = [
        b"\xFF\xB8\0\x40\x03\x05\xDC\0\0\0\0\0\0\x01\0\0\0\0blksize\x001408\0tsize\x000\0",
        b"\x02\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0windowsize\x0016\0timeout\x00255\0",
        b"\x05\xDC\xFF\xFF\x01\0\x40\0\0\0\0\0\0\0\0\0\0\0tsize\x0012345\0blksize\x0065464\0",
    ];
    run(options::target, 50_000, &kept);
}

#[test]
fn name() {
    let kept: [&[u8]; 4] = [
        b"/srv/tftp/boot/../kernel",
        b"\\data\\.\\EFI\\boot.efi\xFF\xFF",
        b"../srv/tftp/a//b/./c/../../d",
        b"/srv/tftp/../../data/x",
    ];
    run(name::target, 50_000, &kept);
}

#[test]
fn map() {
    let kept: [&[u8]; 4] = [
        b"\0\x07\\Boot\\xrg \\\\ /\nri ^/?boot/(.*)$ Boot/\\L\\1\nrE ^ \\m/\nr6 ^ \\x/",
        b"\x01\x08abc.pvt\xFFia \\.pvt$ not\\ \\i\nrgg /+ /\n~s .\nj ^(.) \\1-l\n:a-l\nre ^a b",
        b"\0\x05aaaaars ^(a*)*(b|a){,3}$ \\1\\1\nrg (.*)(.*)x \\2",
        b"\x09\x03xyzrP [^a-y[:upper:]-]+ \\i # comment\n:label\nrG \\<z|\\w{2} \\U\\0\\E",
    ];
    run(map::target, 20_000, &kept);
}

/// Histories that `tests/hostile` chooses by seed are here chosen by bytes, as by the fuzzer.
#[test]
fn server() {
    run(server::target, 300, &[&[0; 2000], &[0; 200]]);
}

/// Gives the target this many inputs, each made of one that is kept.
fn run(target: fn(&[u8]), inputs: u64, kept: &[&[u8]]) {
    for seed in 0..inputs {
        let mut choices = Seeded::endless(seed);
        let mut input = choices.pick(kept).to_vec();
        for _ in 0..choices.below(2 + input.len() as u64 / 8) {
            change(&mut input, &mut choices);
        }
        let named = Named(&input);
        target(named.0);
    }
}

/// Another byte, fewer bytes, some bytes twice, or a piece that means something in a packet.
fn change(input: &mut Vec<u8>, choices: &mut Seeded) {
    let begin = choices.length(input.len() + 1);
    let length = choices.length(9);
    let end = (begin + length).min(input.len());
    match choices.below(6) {
        0 => drop(input.drain(begin..end)),
        1 => {
            let copy = input[begin..end].to_vec();
            input.splice(begin..begin, copy);
        }
        2 => drop(input.splice(begin..end, choices.pick(PIECES).iter().copied())),
        _ => input[begin..end].fill_with(|| choices.byte()),
    }
}

const PIECES: &[&[u8]] = &[
    b"\0",
    b"..",
    b"/",
    b"\\",
    b"\xFF",
    b"srv/tftp",
    b"octet\0",
    b"blksize\0",
    b"tsize\0",
    b"timeout\0",
    b"windowsize\0",
    b"65536\0",
    b"-1\0",
    b"\0\x05",
    b"\0\x04",
    b"\n",
    b"(.*)",
    b"{1,9}",
    b"[^]a-z]",
    b"\\1\\0",
    b"rgi ^ ",
    b"|",
    b")*",
];

/// Shows the input with which a target failed.
struct Named<'a>(&'a [u8]);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("input: b\"{}\"", self.0.escape_ascii());
        }
    }
}
