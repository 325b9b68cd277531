//! Many clients in one thread that cost as little as can be, so that the server is what is measured.
//!
//! Each has an address of its own. What arrives is counted and looked at: the number of the block, its
//! length, and the first bytes of it, which tell where in the file it belongs.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{setsockopt, sockopt};

/// What the clients do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) server: SocketAddr,
    pub(crate) file: String,
    pub(crate) size: u64,
    pub(crate) clients: usize,
    pub(crate) blksize: u16,
    pub(crate) windowsize: u16,
    /// Datagrams of a window may be received as one.
    pub(crate) gro: bool,
    /// Each asks for the size first, with a request that it ends with an ERROR.
    pub(crate) probe: bool,
}

/// What came of it.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Account {
    pub(crate) seconds: f64,
    pub(crate) complete: usize,
    pub(crate) blocks: u64,
    /// ACKs and requests that were sent again.
    pub(crate) repeats: u64,
    /// The smallest window that was granted; 0 if it was not the block size asked for.
    pub(crate) windowsize: u16,
}

/// Lets all clients ask at once and waits until each has its file or has given up.
pub(crate) fn run(plan: &Plan) -> io::Result<Account> {
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    let mut account = Account {
        windowsize: plan.windowsize,
        ..Account::default()
    };
    let mut buffer = vec![0; 1 << 17];
    let began = Instant::now();
    let mut clients = Vec::with_capacity(plan.clients);
    for number in 0..plan.clients {
        let mut client = Client::new(plan, number)?;
        client.ask(plan, &epoll, number)?;
        clients.push(client);
    }
    let mut left = plan.clients;
    let mut events = [EpollEvent::empty(); 512];
    let mut swept_at = began;
    while left > 0 {
        let count = match epoll.wait(&mut events, EpollTimeout::from(100_u8)) {
            Err(nix::errno::Errno::EINTR) => 0,
            result => result?,
        };
        let now = Instant::now();
        for event in &events[..count] {
            let number = usize::try_from(event.data()).expect("a number of a client");
            let client = &mut clients[number];
            client.heard_at = now;
            match client.receive(plan, &mut buffer, &mut account)? {
                Heard::More => {}
                Heard::Size => client.ask(plan, &epoll, number)?,
                Heard::All => {
                    account.complete += 1;
                    client.socket = None;
                    left -= 1;
                }
            }
        }
        // Another block size than it asked for: no comparison.
        if account.windowsize == 0 {
            return Ok(account);
        }
        if now - swept_at > Duration::from_millis(100) {
            swept_at = now;
            for client in clients.iter_mut().filter(|client| client.socket.is_some()) {
                if now - client.progress_at > GIVES_UP_AFTER {
                    client.socket = None;
                    left -= 1;
                } else if now - client.heard_at > REPEATS_AFTER {
                    client.heard_at = now;
                    account.repeats += 1;
                    client.repeat(plan)?;
                }
            }
        }
    }
    account.seconds = began.elapsed().as_secs_f64();
    Ok(account)
}

/// A client, and the transfer that it is at.
struct Client {
    local: IpAddr,
    socket: Option<UdpSocket>,
    is_connected: bool,
    is_probing: bool,
    windowsize: u16,
    /// The block that it waits for.
    next: u64,
    /// Blocks since the last ACK.
    in_window: u16,
    /// A block was missing since.
    has_gap: bool,
    heard_at: Instant,
    progress_at: Instant,
}

enum Heard {
    More,
    /// The size, which was all it wanted.
    Size,
    All,
}

impl Client {
    fn new(plan: &Plan, number: usize) -> io::Result<Client> {
        let [_, _, high, low] = u32::try_from(number).expect("a small number").to_be_bytes();
        let local = match plan.server.ip() {
            IpAddr::V4(server) if server.is_loopback() => {
                IpAddr::V4(Ipv4Addr::new(127, 1 + high, low, 1))
            }
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => return Err(ErrorKind::Unsupported.into()),
        };
        let now = Instant::now();
        Ok(Client {
            local,
            socket: None,
            is_connected: false,
            is_probing: plan.probe,
            windowsize: 1,
            next: 1,
            in_window: 0,
            has_gap: false,
            heard_at: now,
            progress_at: now,
        })
    }

    /// Asks from a new port.
    fn ask(&mut self, plan: &Plan, epoll: &Epoll, number: usize) -> io::Result<()> {
        let socket = UdpSocket::bind((self.local, 0))?;
        socket.set_nonblocking(true)?;
        if plan.windowsize > 1 {
            // What one window may take, with what the kernel counts beside it.
            let _ = setsockopt(&socket, sockopt::RcvBufForce, &(8 << 20));
        }
        if plan.gro {
            setsockopt(&socket, sockopt::UdpGroSegment, &true)?;
        }
        let event = EpollEvent::new(EpollFlags::EPOLLIN, number as u64);
        epoll.add(&socket, event)?;
        self.socket = Some(socket);
        self.is_connected = false;
        self.windowsize = 1;
        (self.next, self.in_window, self.has_gap) = (1, 0, false);
        self.send_request(plan)
    }

    fn send_request(&self, plan: &Plan) -> io::Result<()> {
        let mut request = vec![0, 1];
        let mut put = |text: &str| {
            request.extend_from_slice(text.as_bytes());
            request.push(0);
        };
        put(&plan.file);
        put("octet");
        put("tsize");
        put("0");
        if plan.blksize != 512 {
            put("blksize");
            put(&plan.blksize.to_string());
        }
        if plan.windowsize > 1 {
            put("windowsize");
            put(&plan.windowsize.to_string());
        }
        let socket = self.socket.as_ref().expect("it asks from a port");
        match socket.send_to(&request, plan.server) {
            Err(error) if error.kind() != ErrorKind::ConnectionRefused => Err(error),
            _ => Ok(()),
        }
    }

    fn repeat(&mut self, plan: &Plan) -> io::Result<()> {
        if self.is_connected {
            self.acknowledge();
            Ok(())
        } else {
            self.send_request(plan)
        }
    }

    fn acknowledge(&mut self) {
        let [.., high, low] = (self.next - 1).to_be_bytes();
        self.in_window = 0;
        // A server that is gone is found by its silence.
        let _ = self
            .socket
            .as_ref()
            .map(|socket| socket.send(&[0, 4, high, low]));
    }

    /// Takes one datagram, or several that the kernel hands over as one.
    fn receive(
        &mut self,
        plan: &Plan,
        buffer: &mut [u8],
        account: &mut Account,
    ) -> io::Result<Heard> {
        let Some(socket) = &self.socket else {
            return Ok(Heard::More);
        };
        let received = if self.is_connected {
            socket.recv(buffer)
        } else {
            socket.recv_from(buffer).and_then(|(length, from)| {
                self.is_connected = true;
                socket.connect(from).map(|()| length)
            })
        };
        let length = match received {
            Ok(length) => length,
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::ConnectionRefused
                ) =>
            {
                return Ok(Heard::More);
            }
            Err(error) => return Err(error),
        };
        let datagrams = &buffer[..length];
        match datagrams {
            [0, 6, options @ ..] => {
                if self.is_probing {
                    self.is_probing = false;
                    socket.send(b"\0\x05\0\x08\0")?;
                    return Ok(Heard::Size);
                }
                self.take_oack(plan, options, account);
                self.progress_at = self.heard_at;
                if account.windowsize > 0 {
                    self.acknowledge();
                }
                Ok(Heard::More)
            }
            [0, 3, ..] => {
                for block in datagrams.chunks(usize::from(plan.blksize) + 4) {
                    if self.take_block(plan, block, account)? {
                        return Ok(Heard::All);
                    }
                }
                Ok(Heard::More)
            }
            _ => Err(io::Error::other(format!(
                "unexpected: {:?}",
                &datagrams[..length.min(32)]
            ))),
        }
    }

    fn take_oack(&mut self, plan: &Plan, options: &[u8], account: &mut Account) {
        let texts: Vec<&[u8]> = options.split(|&byte| byte == 0).collect();
        let value = |name: &[u8]| {
            let place = texts
                .iter()
                .position(|text| text.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(texts.get(place + 1)?)
                .ok()?
                .parse::<u16>()
                .ok()
        };
        self.windowsize = value(b"windowsize").unwrap_or(1);
        let blksize = value(b"blksize").unwrap_or(512);
        let granted = if blksize == plan.blksize {
            self.windowsize
        } else {
            0
        };
        account.windowsize = account.windowsize.min(granted);
    }

    /// Returns whether it was the last one.
    fn take_block(&mut self, plan: &Plan, block: &[u8], account: &mut Account) -> io::Result<bool> {
        let &[0, 3, high, low, ref data @ ..] = block else {
            return Err(io::Error::other("no DATA packet within a window"));
        };
        let [.., next_high, next_low] = self.next.to_be_bytes();
        if [high, low] != [next_high, next_low] {
            if !std::mem::replace(&mut self.has_gap, true) && self.windowsize > 1 {
                account.repeats += 1;
                self.acknowledge();
            }
            return Ok(false);
        }
        let offset = (self.next - 1) * u64::from(plan.blksize);
        let wanted = u64::from(plan.blksize).min(plan.size - offset);
        if data.len() as u64 != wanted || !belongs(data, offset) {
            return Err(io::Error::other(format!("block {} is wrong", self.next)));
        }
        self.has_gap = false;
        self.next += 1;
        self.in_window += 1;
        self.progress_at = self.heard_at;
        account.blocks += 1;
        let is_last = data.len() < usize::from(plan.blksize);
        if is_last || self.in_window >= self.windowsize {
            self.acknowledge();
        }
        Ok(is_last)
    }
}

/// The bytes of a file in which each eight tell where they stand.
pub(crate) fn pattern(size: usize) -> Vec<u8> {
    let words = (0..size.div_ceil(8) as u64).flat_map(u64::to_be_bytes);
    words.take(size).collect()
}

/// The first whole word of a block stands where it says.
fn belongs(data: &[u8], offset: u64) -> bool {
    let skipped = usize::try_from(offset.next_multiple_of(8) - offset).expect("less than 8");
    let Some(word) = data.get(skipped..skipped + 8) else {
        return true;
    };
    word == (offset.div_ceil(8)).to_be_bytes()
}

const REPEATS_AFTER: Duration = Duration::from_secs(1);
const GIVES_UP_AFTER: Duration = Duration::from_secs(15);
