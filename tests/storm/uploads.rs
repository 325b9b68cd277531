//! Machines that write, against a server of a few lines that keeps what it gets, or only says so; and against ours.

use std::collections::HashMap;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::thread;

use crate::rehearsal::{Rehearsal, words};
use crate::surroundings::root::Root;
use crate::surroundings::server::Server;

/// A server that takes every file, and keeps it in `directory`, if there is one. It ends with the test.
fn server_that_keeps(directory: Option<PathBuf>) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let mut files: HashMap<SocketAddr, (String, Vec<u8>)> = HashMap::new();
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let block = match &buffer[..length] {
                [0, 2, rest @ ..] => {
                    let name = rest.split(|&byte| byte == 0).next().unwrap();
                    let name = String::from_utf8(name.to_vec()).unwrap();
                    files.insert(from, (name, Vec::new()));
                    [0, 0]
                }
                [0, 3, high, low, payload @ ..] => {
                    let (name, bytes) = files.get_mut(&from).unwrap();
                    bytes.extend_from_slice(payload);
                    if payload.len() < 512
                        && let Some(directory) = &directory
                    {
                        fs::write(directory.join(name), bytes).unwrap();
                    }
                    [*high, *low]
                }
                other => panic!("{other:?}"),
            };
            let ack = [0, 4, block[0], block[1]];
            socket.send_to(&ack, from).unwrap();
        }
    });
    address
}

fn switches(address: &str, directory: &Root) -> Rehearsal {
    let verified = directory.at("");
    let line = "sw --upload switch --clients 5 --size 1100 --arrival 0.1s --verify";
    Rehearsal::run(&[words(address, line), vec![&verified]].concat())
}

#[test]
fn what_was_acknowledged_is_compared_with_the_disk() {
    let directory = Root::new();
    let address = server_that_keeps(Some(directory.path().to_owned()));
    let run = switches(&address, &directory);
    assert_eq!(run.must_be_well().row("uploads"), "5 of 5, verified");
    let size = |number| {
        let path = directory.path().join(format!("sw-{number}"));
        fs::metadata(path).unwrap().len()
    };
    assert_eq!([size(0), size(4)], [1100, 1100]);
}

#[test]
fn a_server_that_keeps_nothing_is_found_out() {
    let directory = Root::new();
    let run = switches(&server_that_keeps(None), &directory);
    assert_eq!(run.status, Some(1), "{run:?}");
    assert_eq!(run.row("uploads"), "0 of 5, verified");
    let failure = run.row("failed");
    assert!(failure.starts_with("5: acknowledged, but not on the disk"));
}

#[test]
fn a_refusal_is_reported() {
    let directory = Root::new();
    let server = Server::start(directory.path());
    let run = switches(&server.address().to_string(), &directory);
    assert_eq!(run.status, Some(1), "{run:?}");
    assert_eq!(run.row("failed"), "5: error 2 from the server");
}
