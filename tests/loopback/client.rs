//! A TFTP client for conversations: one socket, one packet at a time, every wait with a deadline. What it hears must come from the
//! address it spoke to and, within one transfer, from one port (RFC 1350, section 4).

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::time::{Duration, Instant};

use crate::download::{Download, Wish};
use crate::packet::{self, Packet};

pub(crate) use crate::surroundings::PATIENCE;

pub(crate) struct Client {
    socket: UdpSocket,
    server: SocketAddr,
    /// Where answers come from; not the server's address if that is a broadcast address.
    expected: IpAddr,
    /// The server's port for this transfer, once it is known.
    tid: Option<SocketAddr>,
}

/// Fetches a whole file, or returns the ERROR that the server sent.
pub(crate) fn fetch(server: SocketAddr, wish: &Wish) -> Result<Download, (u16, String)> {
    Client::new(server).fetch(wish)
}

/// The code of the ERROR that a file draws.
#[track_caller]
pub(crate) fn refusal_of(server: SocketAddr, name: impl AsRef<[u8]>) -> u16 {
    let (code, _) = fetch(server, &Wish::octet(name)).expect_err("an ERROR");
    code
}

/// Fetches a plain octet file without options.
pub(crate) fn fetch_bytes(server: SocketAddr, name: impl AsRef<[u8]>) -> Vec<u8> {
    fetch(server, &Wish::octet(name)).expect("no ERROR").bytes
}

impl Client {
    pub(crate) fn new(server: SocketAddr) -> Self {
        let local: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        Self::at(local, server)
    }

    /// A client with an address of its own.
    pub(crate) fn at(local: impl Into<IpAddr>, server: SocketAddr) -> Self {
        Self::of(UdpSocket::bind((local.into(), 0)).unwrap(), server)
    }

    /// A client at a port of its choice, if that is free.
    pub(crate) fn on_port(port: u16, server: SocketAddr) -> Option<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        Some(Self::of(socket, server))
    }

    /// A client with an address that means something only together with its link.
    pub(crate) fn on_link(local: Ipv6Addr, scope: u32, server: SocketAddr) -> Self {
        let local = SocketAddrV6::new(local, 0, 0, scope);
        Self::of(UdpSocket::bind(local).unwrap(), server)
    }

    fn of(socket: UdpSocket, server: SocketAddr) -> Self {
        Self {
            socket,
            server,
            expected: server.ip(),
            tid: None,
        }
    }

    /// A client of this machine that calls out to everybody and is answered by `expected`.
    pub(crate) fn broadcasting(everybody: SocketAddr, expected: impl Into<IpAddr>) -> Self {
        Self::new(everybody).calling_out(expected)
    }

    /// It calls out to everybody and is answered by `expected`.
    pub(crate) fn calling_out(self, expected: impl Into<IpAddr>) -> Self {
        self.socket.set_broadcast(true).unwrap();
        Self {
            expected: expected.into(),
            ..self
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.socket.local_addr().unwrap().port()
    }

    /// The address and port that answered.
    pub(crate) fn tid(&self) -> SocketAddr {
        self.tid.expect("the server has answered")
    }

    /// What comes next may come from another port of the server.
    pub(crate) fn forget_tid(&mut self) {
        self.tid = None;
    }

    /// A client that has just sent its request.
    pub(crate) fn asking(self, wish: &Wish) -> Self {
        self.request(wish);
        self
    }

    pub(crate) fn request(&self, wish: &Wish) {
        self.send_to_server(&wish.packet());
    }

    /// Asks for a file and takes part until it is there.
    pub(crate) fn fetch(&mut self, wish: &Wish) -> Result<Download, (u16, String)> {
        self.request(wish);
        self.complete(Download::new(wish))
    }

    /// Asks for a file and takes part until this number of blocks has come.
    pub(crate) fn begin(&mut self, wish: &Wish, blocks: u64) -> Download {
        self.request(wish);
        let mut download = Download::new(wish);
        while download.blocks < blocks {
            // Within a window only its last block is answered.
            if let Some(answer) = download.on_packet(self.receive()) {
                self.send(&answer);
            }
        }
        download
    }

    /// To the port that everybody knows.
    pub(crate) fn send_to_server(&self, datagram: &[u8]) {
        assert_eq!(
            self.socket.send_to(datagram, self.server).unwrap(),
            datagram.len()
        );
    }

    /// To the port of this transfer.
    pub(crate) fn send(&self, datagram: &[u8]) {
        assert_eq!(
            self.socket.send_to(datagram, self.tid()).unwrap(),
            datagram.len()
        );
    }

    pub(crate) fn ack(&self, block: u16) {
        self.send(&packet::ack(block));
    }

    /// The next datagram, if one comes before the time is up.
    pub(crate) fn receive_within(&mut self, within: Duration) -> Option<Vec<u8>> {
        let deadline = Instant::now() + within;
        loop {
            // A timeout of zero would mean for ever.
            let left = deadline.saturating_duration_since(Instant::now());
            let left = left.max(Duration::from_millis(1));
            self.socket.set_read_timeout(Some(left)).unwrap();
            match self.take_datagram() {
                Ok(datagram) => return Some(datagram),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                // A machine that was suspended, or a debugger; such a wait is not begun again by itself.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("receiving from {}: {error}", self.server),
            }
        }
    }

    /// The next datagram, if it is there already: even the shortest wait takes a tick of the kernel's clock.
    pub(crate) fn receive_if_there(&mut self) -> Option<Vec<u8>> {
        self.socket.set_nonblocking(true).unwrap();
        let taken = self.take_datagram();
        self.socket.set_nonblocking(false).unwrap();
        match taken {
            Ok(datagram) => Some(datagram),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("receiving from {}: {error}", self.server),
        }
    }

    fn take_datagram(&mut self) -> io::Result<Vec<u8>> {
        let mut datagram = vec![0; 65536];
        let (length, from) = self.socket.recv_from(&mut datagram)?;
        assert_eq!(
            from.ip(),
            self.expected,
            "answered from an address nobody asked"
        );
        let tid = *self.tid.get_or_insert(from);
        assert_eq!(from, tid, "a second transfer for one request");
        datagram.truncate(length);
        Ok(datagram)
    }

    pub(crate) fn receive_datagram(&mut self) -> Vec<u8> {
        self.receive_within(PATIENCE)
            .expect("a packet from the server")
    }

    /// As `receive_datagram`, when a new transfer may begin at any time.
    pub(crate) fn receive_from_anywhere(&mut self) -> Vec<u8> {
        self.forget_tid();
        self.receive_datagram()
    }

    pub(crate) fn receive(&mut self) -> Packet {
        packet::parse(&self.receive_datagram())
    }

    /// As `expect_data`; the block before may come again first, if this machine was slow to acknowledge it.
    #[track_caller]
    pub(crate) fn expect_data_after(&mut self, expected: u16) -> Vec<u8> {
        loop {
            match self.receive() {
                Packet::Data { block, bytes } if block == expected => return bytes,
                Packet::Data { block, .. } if block + 1 == expected => {}
                other => panic!("DATA {expected} expected, not {}", in_short(&other)),
            }
        }
    }

    #[track_caller]
    pub(crate) fn expect_data(&mut self, expected: u16) -> Vec<u8> {
        match self.receive() {
            Packet::Data { block, bytes } if block == expected => bytes,
            other => panic!("DATA {expected} expected, not {}", in_short(&other)),
        }
    }

    #[track_caller]
    pub(crate) fn expect_oack(&mut self, expected: &[(&str, &str)]) {
        let expected = expected
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        assert_eq!(self.receive(), Packet::Oack(expected));
    }

    /// The message of an ERROR with that code.
    #[track_caller]
    pub(crate) fn expect_error(&mut self, expected: u16) -> String {
        match self.receive() {
            Packet::Error { code, message } if code == expected => message,
            other => panic!("ERROR {expected} expected, not {}", in_short(&other)),
        }
    }

    /// Nothing has come. Call it after the answer to something that was sent later: the server works in order, so this
    /// needs no waiting.
    #[track_caller]
    pub(crate) fn expect_nothing_yet(&mut self) {
        if let Some(datagram) = self.receive_within(Duration::ZERO) {
            panic!(
                "nothing expected, not {}",
                in_short(&packet::parse(&datagram))
            );
        }
    }

    /// Takes part in the transfer until it is over.
    pub(crate) fn complete(&mut self, mut download: Download) -> Result<Download, (u16, String)> {
        let mut last_heard = Instant::now();
        while !download.is_over() {
            let packet = self.receive_within(PATIENCE).unwrap_or_else(|| {
                panic!(
                    "silence for {:?} after block {}",
                    last_heard.elapsed(),
                    download.blocks
                );
            });
            last_heard = Instant::now();
            if let Some(answer) = download.on_packet(packet::parse(&packet)) {
                self.send(&answer);
            }
        }
        match download.refusal.take() {
            Some(refusal) => Err(refusal),
            None => Ok(download),
        }
    }
}

fn in_short(packet: &Packet) -> String {
    match packet {
        Packet::Data { block, bytes } => format!("DATA {block} with {} bytes", bytes.len()),
        other => format!("{other:?}"),
    }
}
