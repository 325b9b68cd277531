//! A server that is attacked, and what it used before: afterwards it must be as it was. And datagrams whose sender is a lie.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use crate::client::{Client, PATIENCE, fetch_bytes};
use crate::download::{Download, Wish};
use crate::machine::{eventually, open_files, skipped, status};
use crate::packet::Packet;
use crate::root::{Root, assert_same};
use crate::server::{Server, serving};

pub(crate) struct Victim {
    pub(crate) root: Root,
    /// Of `file`, which lies in the root.
    pub(crate) bytes: Vec<u8>,
    pub(crate) server: Server,
    files: usize,
    resident: u64,
    clients: Cell<u16>,
}

impl Victim {
    pub(crate) fn new() -> Victim {
        Victim::with(&[])
    }

    pub(crate) fn with(options: &[&str]) -> Victim {
        let (root, bytes, server) = serving(5_000, options);
        // What is made once for all is there after a few transfers.
        for _ in 0..3 {
            assert_same(&fetch_bytes(server.address(), "file"), &bytes);
        }
        server.wait_for_lines("complete", 3, |line| line.contains("complete"));
        let files = open_files(server.process());
        let resident = status(server.process(), "RssAnon");
        Victim {
            root,
            bytes,
            server,
            files,
            resident,
            clients: Cell::new(0),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// A client with an address of its own, in a network of its own: what one is denied is no matter of the next.
    pub(crate) fn client(&self) -> Client {
        let number = self.clients.get();
        self.clients.set(number + 1);
        let [low, high] = (number % (250 * 256)).to_be_bytes();
        let address = Ipv4Addr::new(127, 1, high, low + 1);
        Client::at(address, self.address())
    }

    /// What the server says to a request for that name, from a client of its own.
    pub(crate) fn answer_to(&self, datagram: &[u8]) -> Packet {
        let mut client = self.client();
        client.send_to_server(datagram);
        client.receive()
    }

    /// A client in the middle of a transfer of `file`.
    pub(crate) fn halfway(&self, wish: &Wish) -> (Client, Download) {
        go_halfway(self.client(), wish)
    }

    /// Descriptors it had open before.
    pub(crate) fn files(&self) -> usize {
        self.files
    }

    /// KiB of memory of its own more than before; pages of files that it maps belong to everybody.
    pub(crate) fn grown_by(&self) -> u64 {
        status(self.server.process(), "RssAnon").saturating_sub(self.resident)
    }

    /// It runs, serves an honest client, and has given back all descriptors and nearly all memory.
    #[track_caller]
    pub(crate) fn must_be_unharmed(&self) {
        assert_same(&fetch_bytes(self.address(), "file"), &self.bytes);
        eventually("all descriptors back", PATIENCE, || {
            (open_files(self.server.process()) == self.files).then_some(())
        });
        let grown = self.grown_by();
        assert!(grown < GROWN_MAX, "{grown} KiB more than before");
        for line in self.server.log_lines() {
            let level = line.split(' ').next().unwrap();
            assert!(
                ["INFO", "WARN"].contains(&level) && line.len() < 1024,
                "{line}"
            );
        }
    }
}

pub(crate) fn go_halfway(mut client: Client, wish: &Wish) -> (Client, Download) {
    let download = client.begin(wish, 2);
    (client, download)
}

/// KiB: pages of tables and of the allocator that are kept for the next storm.
const GROWN_MAX: u64 = 8 << 10;

/// Sends datagrams of IPv4 with any sender. Only root may, so it says if it cannot.
pub(crate) fn forger() -> Option<Forger> {
    match Socket::new(
        Domain::IPV4,
        Type::RAW,
        Some(Protocol::from(libc::IPPROTO_RAW)),
    ) {
        Ok(socket) => Some(Forger { socket }),
        Err(error) => {
            skipped(&format!("no raw socket: {error}"));
            None
        }
    }
}

pub(crate) struct Forger {
    socket: Socket,
}

impl Forger {
    pub(crate) fn send(&self, from: SocketAddrV4, to: SocketAddr, payload: &[u8]) {
        let SocketAddr::V4(to) = to else {
            panic!("only IPv4 is forged");
        };
        let length = u16::try_from(8 + payload.len()).unwrap();
        // The kernel fills in its length, identification and checksum.
        let mut datagram = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0];
        datagram.extend(from.ip().octets());
        datagram.extend(to.ip().octets());
        // A checksum of 0 means none (RFC 768).
        for word in [from.port(), to.port(), length, 0] {
            datagram.extend(word.to_be_bytes());
        }
        datagram.extend(payload);
        let sent = self.socket.send_to(&datagram, &SocketAddr::from(to).into());
        assert_eq!(sent.unwrap(), datagram.len());
    }

    /// The forgery itself is seen to work: without that, a silent server proves nothing.
    pub(crate) fn is_heard(&self, from: SocketAddrV4) -> bool {
        let ear = UdpSocket::bind("127.0.0.1:0").unwrap();
        ear.set_read_timeout(Some(PATIENCE)).unwrap();
        self.send(from, ear.local_addr().unwrap(), b"heard?");
        let mut buffer = [0; 16];
        let heard = ear.recv_from(&mut buffer).unwrap();
        heard == (6, from.into())
    }
}
