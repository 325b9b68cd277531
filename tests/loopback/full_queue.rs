//! As many machines as the queue holds by default ask at the same moment, once each: all are heard, wait, and are served.

use std::collections::HashMap;
use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::libc::{in_addr, in_pktinfo};
use nix::sys::signal::Signal;
use nix::sys::socket::sockopt::{Ipv4PacketInfo, RcvBufForce};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt,
};

use crate::client::{Client, PATIENCE};
use crate::download::{Download, Wish};
use crate::machine::{alone, eventually, is_root, is_stopped, skipped, status};
use crate::memory::{RESIDENT_MAX, WAITING};
use crate::packet;
use crate::root::assert_same;
use crate::server::serving;

#[test]
fn as_many_machines_as_the_queue_holds_ask_at_once_and_all_are_served() {
    if !is_root() {
        return skipped("a receive buffer of that size needs root");
    }
    let _turn = alone();
    let (_root, bytes, server) = serving(600, &[]);
    let wish = Wish::octet("file");
    let mut machines = Machines::new(server.address(), &wish);

    // At once: the server reads none of the requests before all are there.
    server.signal(Signal::SIGSTOP);
    eventually("a server that stands still", PATIENCE, || {
        is_stopped(server.process()).then_some(())
    });
    for number in 0..WAITING {
        machines.ask(number);
    }
    server.signal(Signal::SIGCONT);
    // A miss is answered when all requests before it have been read.
    let mut client = Client::new(server.address()).asking(&Wish::octet("missing"));
    client.expect_error(1);
    let resident = status(server.process(), "VmRSS");
    assert!(resident < RESIDENT_MAX, "{resident} KiB");

    let began_at = Instant::now();
    while machines.done < WAITING {
        let done = machines.done;
        assert!(began_at.elapsed() < ENDURED, "{done} of {WAITING} served");
        machines.take_part();
    }
    for machine in machines.all.values() {
        assert_same(&machine.download.bytes, &bytes);
    }
    println!(
        "{WAITING} machines: VmRSS {resident} KiB with all in the queue, served in {:?}",
        began_at.elapsed()
    );
    let full = server.lines_with("full");
    assert_eq!(full, [""; 0], "a request found the queue full");
}

/// Machines with addresses of their own, all behind one socket, so that no limit of descriptors bounds them.
struct Machines {
    socket: UdpSocket,
    server: SocketAddr,
    wish: Wish,
    all: HashMap<Ipv4Addr, Machine>,
    done: usize,
}

struct Machine {
    /// Where it was answered from first.
    tid: Option<SocketAddrV4>,
    download: Download,
}

impl Machines {
    fn new(server: SocketAddr, wish: &Wish) -> Machines {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        setsockopt(&socket, Ipv4PacketInfo, &true).unwrap();
        setsockopt(&socket, RcvBufForce, &(64 << 20)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        Machines {
            socket,
            server,
            wish: wish.clone(),
            all: HashMap::new(),
            done: 0,
        }
    }

    /// Machine number `number` asks, this once.
    fn ask(&mut self, number: usize) {
        // 200 to a network of 256 addresses.
        let (network, host) = (number / 200, number % 200);
        let address = u32::from(Ipv4Addr::new(127, 64, 0, 1));
        let address = Ipv4Addr::from(address + u32::try_from(network << 8 | host).unwrap());
        let SocketAddr::V4(server) = self.server else {
            panic!("the machines have addresses of IPv4");
        };
        let download = Download::new(&self.wish);
        self.all.insert(
            address,
            Machine {
                tid: None,
                download,
            },
        );
        self.send(address, server, &self.wish.packet());
    }

    /// Takes one packet, if there is one, and answers it.
    fn take_part(&mut self) {
        let mut buffer = [0; 1024];
        let Some((address, from, length)) = self.receive(&mut buffer) else {
            return;
        };
        let machine = self.all.get_mut(&address).expect("a machine that asked");
        assert_eq!(from, *machine.tid.get_or_insert(from), "a second transfer");
        let was_over = machine.download.is_over();
        let answer = machine.download.on_packet(packet::parse(&buffer[..length]));
        self.done += usize::from(!was_over && machine.download.is_over());
        if let Some(answer) = answer {
            self.send(address, from, &answer);
        }
    }

    fn send(&self, address: Ipv4Addr, to: SocketAddrV4, packet: &[u8]) {
        let info = in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: in_addr {
                s_addr: u32::from(address).to_be(),
            },
            ipi_addr: in_addr { s_addr: 0 },
        };
        let from = [ControlMessage::Ipv4PacketInfo(&info)];
        let to = SockaddrIn::from(to);
        let parts = [IoSlice::new(packet)];
        let descriptor = self.socket.as_raw_fd();
        sendmsg(descriptor, &parts, &from, MsgFlags::empty(), Some(&to)).unwrap();
    }

    /// Returns for whom a packet was, from whom, and its length.
    fn receive(&self, buffer: &mut [u8]) -> Option<(Ipv4Addr, SocketAddrV4, usize)> {
        let mut space = nix::cmsg_space!(in_pktinfo);
        let mut parts = [IoSliceMut::new(buffer)];
        let (descriptor, flags) = (self.socket.as_raw_fd(), MsgFlags::empty());
        let message =
            recvmsg::<SockaddrIn>(descriptor, &mut parts, Some(&mut space), flags).ok()?;
        let mut controls = message.cmsgs().unwrap();
        let address = controls.find_map(|control| match control {
            ControlMessageOwned::Ipv4PacketInfo(info) => Some(info.ipi_addr.s_addr),
            _ => None,
        });
        let address = Ipv4Addr::from(u32::from_be(address.expect("where it was sent to")));
        let from = message.address.expect("a sender").into();
        Some((address, from, message.bytes))
    }
}

/// All it says is that they come to their end.
const ENDURED: Duration = Duration::from_secs(60);
