//! The limit: an epoll loop that answers each ACK with the next block or window, and does nothing else. It has
//! no cap, no timer, no log, no mapping and no manners.

use std::fs;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg, setsockopt, sockopt};

/// Serves the files of `root` until the process is ended.
pub(crate) fn serve(address: SocketAddr, root: &Path) -> io::Result<()> {
    let listener = UdpSocket::bind(address)?;
    setsockopt(&listener, sockopt::RcvBufForce, &(16 << 20))?;
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let mut files = Files::new(root);
    let mut flows: Vec<Option<Flow>> = Vec::new();
    let mut free = Vec::new();
    let mut buffer = [0; 2048];
    let mut events = [EpollEvent::empty(); 512];
    loop {
        let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => 0,
            result => result?,
        };
        for event in &events[..count] {
            if event.data() == LISTENER {
                let (length, peer) = listener.recv_from(&mut buffer)?;
                let place = free.pop().unwrap_or_else(|| {
                    flows.push(None);
                    flows.len() - 1
                });
                let flow = Flow::begin(address, peer, &mut files, &buffer[..length])?;
                let event = EpollEvent::new(EpollFlags::EPOLLIN, place as u64);
                epoll.add(&flow.socket, event)?;
                flows[place] = Some(flow);
                continue;
            }
            let place = usize::try_from(event.data()).expect("a place in the list");
            let Some(flow) = &mut flows[place] else {
                continue;
            };
            let is_over = match flow.socket.recv(&mut buffer) {
                Ok(4..) if buffer[1] == 4 => flow.go_on([buffer[2], buffer[3]])?,
                _ => true,
            };
            if is_over {
                flows[place] = None;
                free.push(place);
            }
        }
    }
}

struct Flow {
    socket: UdpSocket,
    transfer: Transfer,
}

/// One file on its way to a client.
pub(crate) struct Transfer {
    file: &'static [u8],
    blksize: usize,
    windowsize: usize,
    acknowledged: usize,
}

/// What was read from the directory, for ever.
pub(crate) struct Files<'a> {
    root: &'a Path,
    known: Vec<(String, &'static [u8])>,
}

impl Files<'_> {
    pub(crate) fn new(root: &Path) -> Files<'_> {
        Files {
            root,
            known: Vec::new(),
        }
    }

    /// The transfer that a request asks for, and the OACK.
    pub(crate) fn begin(&mut self, request: &[u8]) -> io::Result<(Transfer, Vec<u8>)> {
        let texts: Vec<String> = request[2..]
            .split(|&byte| byte == 0)
            .map(|text| String::from_utf8_lossy(text).into_owned())
            .collect();
        let value = |name: &str| {
            let place = texts.iter().position(|text| text == name)?;
            texts.get(place + 1)?.parse::<usize>().ok()
        };
        let name = &texts[0];
        let file = match self.known.iter().find(|(known, _)| known == name) {
            Some(&(_, bytes)) => bytes,
            None => {
                let bytes: &'static [u8] = fs::read(self.root.join(name))?.leak();
                self.known.push((name.clone(), bytes));
                bytes
            }
        };
        let mut oack = format!("\0\x06tsize\0{}\0", file.len());
        for name in ["blksize", "windowsize"] {
            if let Some(value) = value(name) {
                oack += &format!("{name}\0{value}\0");
            }
        }
        let transfer = Transfer {
            file,
            blksize: value("blksize").unwrap_or(512),
            windowsize: value("windowsize").unwrap_or(1),
            acknowledged: 0,
        };
        Ok((transfer, oack.into()))
    }
}

impl Transfer {
    /// Takes an ACK and returns the next window: its first block, and how many; `None` once everything has arrived.
    pub(crate) fn acknowledge(&mut self, [high, low]: [u8; 2]) -> Option<(usize, usize)> {
        let block = u16::from_be_bytes([high, low]);
        let [.., before_high, before_low] = self.acknowledged.to_be_bytes();
        let before = u16::from_be_bytes([before_high, before_low]);
        self.acknowledged += usize::from(block.wrapping_sub(before));
        let last = self.file.len() / self.blksize + 1;
        let next = self.acknowledged + 1;
        let end = (next + self.windowsize).min(last + 1);
        (self.acknowledged < last).then_some((next, end - next))
    }

    pub(crate) fn header(block: usize) -> [u8; 4] {
        let [.., high, low] = block.to_be_bytes();
        [0, 3, high, low]
    }

    pub(crate) fn block(&self, number: usize) -> &'static [u8] {
        let begin = (number - 1) * self.blksize;
        let end = (begin + self.blksize).min(self.file.len());
        &self.file[begin..end]
    }

    /// Bytes of a packet.
    pub(crate) fn packet(&self) -> u16 {
        u16::try_from(self.blksize + 4).expect("a block size")
    }

    /// How many packets the kernel cuts a message into at most.
    pub(crate) fn cut_max(&self) -> usize {
        (65_000 / (self.blksize + 4)).clamp(1, 64)
    }
}

impl Flow {
    fn begin(
        address: SocketAddr,
        peer: SocketAddr,
        files: &mut Files<'_>,
        request: &[u8],
    ) -> io::Result<Flow> {
        let (transfer, oack) = files.begin(request)?;
        let socket = UdpSocket::bind((address.ip(), 0))?;
        socket.connect(peer)?;
        socket.send(&oack)?;
        Ok(Flow { socket, transfer })
    }

    /// Takes an ACK and sends the next window; returns whether everything had arrived.
    fn go_on(&mut self, block: [u8; 2]) -> io::Result<bool> {
        let Some((mut next, count)) = self.transfer.acknowledge(block) else {
            return Ok(true);
        };
        let end = next + count;
        while next < end {
            let count = self.transfer.cut_max().min(end - next);
            self.send(next, count)?;
            next += count;
        }
        Ok(false)
    }

    fn send(&self, first: usize, count: usize) -> io::Result<()> {
        let mut headers = [[0; 4]; 64];
        let mut pieces = [IoSlice::new(&[]); 128];
        for (place, header) in headers[..count].iter_mut().enumerate() {
            *header = Transfer::header(first + place);
        }
        for (place, header) in headers[..count].iter().enumerate() {
            pieces[2 * place] = IoSlice::new(header);
            pieces[2 * place + 1] = IoSlice::new(self.transfer.block(first + place));
        }
        let segment = self.transfer.packet();
        let several = [ControlMessage::UdpGsoSegments(&segment)];
        let control = if count > 1 { &several[..] } else { &[] };
        let descriptor = self.socket.as_raw_fd();
        sendmsg::<()>(
            descriptor,
            &pieces[..2 * count],
            control,
            MsgFlags::empty(),
            None,
        )?;
        Ok(())
    }
}

const LISTENER: u64 = u64::MAX;
