//! The test client against a fake server that follows a script: it must notice what it is there to notice.

use std::net::{SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use crate::client::{Client, PATIENCE, fetch};
use crate::download::{Download, Wish};
use crate::packet::{Packet, ack, data, parse};

/// One side of a conversation, as the server sees it.
enum Line {
    Hears(Vec<u8>),
    Says(Vec<u8>),
    /// From another port than before.
    SaysElsewhere(Vec<u8>),
}
use Line::{Hears, Says, SaysElsewhere};

/// The script is for a client that begins with `wish`; its request is heard before the first line.
fn fake_server(wish: &Wish, script: Vec<Line>) -> (SocketAddr, thread::JoinHandle<()>) {
    let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let request = wish.packet();
    let play = move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let elsewhere = UdpSocket::bind("127.0.0.1:0").unwrap();
        for socket in [&listener, &socket] {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        let mut buffer = [0; 2048];
        let (length, client) = listener.recv_from(&mut buffer).unwrap();
        assert_eq!(buffer[..length], request);
        for line in script {
            match line {
                Hears(expected) => {
                    let (length, from) = socket.recv_from(&mut buffer).unwrap();
                    assert_eq!((&buffer[..length], from), (&expected[..], client));
                }
                Says(datagram) => drop(socket.send_to(&datagram, client).unwrap()),
                SaysElsewhere(datagram) => drop(elsewhere.send_to(&datagram, client).unwrap()),
            }
        }
    };
    (address, thread::spawn(play))
}

fn fetched(wish: &Wish, script: Vec<Line>) -> Result<Download, (u16, String)> {
    let (address, server) = fake_server(wish, script);
    let result = fetch(address, wish);
    server.join().unwrap();
    result
}

fn fetch_panics(wish: &Wish, script: Vec<Line>) {
    let (address, server) = fake_server(wish, script);
    assert!(catch_unwind(AssertUnwindSafe(|| fetch(address, wish))).is_err());
    server.join().unwrap();
}

#[test]
fn lockstep_without_options_ends_with_a_short_block() {
    let script = vec![
        Says(data(1, &[7; 512])),
        Hears(ack(1)),
        Says(data(2, b"end")),
        Hears(ack(2)),
    ];
    let download = fetched(&Wish::octet("f"), script).unwrap();
    assert_eq!(download.bytes, [&[7; 512][..], b"end"].concat());
    assert_eq!((download.blocks, download.duplicates), (2, 0));
}

#[test]
fn a_window_is_acknowledged_once_and_a_gap_by_its_edge() {
    let wish = Wish::octet("f")
        .option("blksize", 8)
        .option("windowsize", 2);
    let script = vec![
        Says([&b"\0\x06blksize\08\0windowsize\0"[..], b"2\0"].concat()),
        Hears(ack(0)),
        Says(data(1, b"12345678")),
        Says(data(2, b"12345678")),
        Hears(ack(2)),
        Says(data(4, b"12345678")),
        Hears(ack(2)),
        Says(data(3, b"12345678")),
        Says(data(4, b"")),
        Hears(ack(4)),
    ];
    let download = fetched(&wish, script).unwrap();
    assert_eq!(
        (download.bytes.len(), download.blocks, download.duplicates),
        (24, 4, 1)
    );
    assert_eq!(download.option("windowsize"), Some("2"));
}

#[test]
fn an_error_ends_the_transfer() {
    let refusal = fetched(
        &Wish::octet("f"),
        vec![Says(b"\0\x05\0\x01gone\0".to_vec())],
    )
    .unwrap_err();
    assert_eq!(refusal, (1, "gone".to_owned()));
}

#[test]
fn a_second_port_is_noticed() {
    fetch_panics(
        &Wish::octet("f"),
        vec![Says(data(1, &[7; 512])), SaysElsewhere(data(1, &[7; 512]))],
    );
}

#[test]
fn a_block_beyond_the_agreed_size_is_noticed() {
    fetch_panics(&Wish::octet("f"), vec![Says(data(1, &[7; 513]))]);
}

#[test]
fn options_that_nobody_asked_for_are_noticed() {
    fetch_panics(&Wish::octet("f"), vec![Says(b"\0\x06tsize\09\0".to_vec())]);
    let wish = Wish::octet("f").option("blksize", 8);
    fetch_panics(&wish, vec![Says(b"\0\x06blksize\09\0".to_vec())]);
    fetch_panics(&wish, vec![Says(b"\0\x06".to_vec())]);
}

#[test]
fn a_repeated_block_is_counted_and_not_acknowledged_in_lockstep() {
    let script = vec![
        Says(data(1, &[7; 512])),
        Hears(ack(1)),
        Says(data(1, &[7; 512])),
        Says(data(2, b"")),
        Hears(ack(2)),
    ];
    let download = fetched(&Wish::octet("f"), script).unwrap();
    assert_eq!((download.bytes.len(), download.duplicates), (512, 1));
}

#[test]
fn a_conversation_by_hand() {
    let wish = Wish::octet("f");
    let (address, server) = fake_server(&wish, vec![Says(data(1, b"x")), Hears(ack(1))]);
    let mut client = Client::new(address);
    client.expect_nothing_yet();
    client.request(&wish);
    assert_eq!(
        client.receive(),
        Packet::Data {
            block: 1,
            bytes: b"x".to_vec()
        }
    );
    client.ack(1);
    assert_eq!(parse(&ack(1)), Packet::Ack(1));
    server.join().unwrap();
}
