//! A stand-in for the machines of the firmware room until that is there: old ROMs only.

use std::sync::Arc;
use std::time::Duration;

use ripple_tftpd::moment::Moment;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    OldRom,
    OldRomNewPorts,
    Ipxe,
}

#[derive(Clone, Debug)]
pub(crate) struct Chain {
    steps: Arc<[Step]>,
}

impl Chain {
    pub(crate) fn new(steps: Vec<Step>) -> Chain {
        Chain { steps: steps.into() }
    }
    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) size: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Status {
    Off,
    Asking,
    Receiving,
    Thinking,
    Booted,
    Failed(Reason),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Reason {
    NoReply,
}

pub(crate) enum Packet<'a> {
    Oack(&'a [u8]),
    Data { block: u16, length: u16 },
    Error { code: u16 },
}

pub(crate) enum Reaction {
    Filed { step: usize, position: u64, length: u16 },
    Ignored,
    PortUnreachable,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destination {
    Listener,
    Transfer(u16),
}

#[derive(Clone, Copy)]
pub(crate) struct Datagram {
    pub(crate) from_port: u16,
    pub(crate) to: Destination,
    bytes: [u8; 64],
    length: usize,
}

impl Datagram {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

#[derive(Debug)]
pub(crate) struct Machine {
    kind: Kind,
    chain: Chain,
    step: usize,
    status: Status,
    port: u16,
    server: Option<u16>,
    blksize: u16,
    /// blocks filed
    done: u64,
    sendings: u32,
    deadline: Option<Moment>,
    send: bool,
    ack: u16,
    power_ons: u32,
}

impl Machine {
    pub(crate) fn new(kind: Kind, chain: Chain, _seed: u64) -> Machine {
        Machine {
            kind,
            chain,
            step: 0,
            status: Status::Off,
            port: 2070,
            server: None,
            blksize: 512,
            done: 0,
            sendings: 0,
            deadline: None,
            send: false,
            ack: 0,
            power_ons: 0,
        }
    }
    pub(crate) fn power_on(&mut self, now: Moment) {
        self.power_ons += 1;
        self.step = 0;
        self.port = 2070;
        self.status = Status::Asking;
        self.ask(now);
    }
    fn ask(&mut self, now: Moment) {
        if self.step == self.chain.steps.len() {
            self.status = Status::Booted;
            self.deadline = None;
            return;
        }
        self.server = None;
        self.done = 0;
        self.blksize = 512;
        self.sendings = 1;
        self.send = true;
        self.deadline = Some(now + Duration::from_secs(1));
    }
    pub(crate) fn on_packet(&mut self, now: Moment, port: u16, from: u16, packet: Packet<'_>) -> Reaction {
        if self.status != Status::Asking || port != self.port {
            return Reaction::PortUnreachable;
        }
        if self.server.is_some_and(|server| server != from) {
            return Reaction::Ignored;
        }
        match packet {
            Packet::Oack(_) => {
                if self.done > 0 { return Reaction::Ignored; }
                self.server = Some(from);
                self.blksize = 1432;
                self.ack = 0;
                self.send = true;
                self.sendings = 1;
                self.deadline = Some(now + Duration::from_secs(1));
                Reaction::Ignored
            }
            Packet::Error { code } => {
                if code == 1 && self.chain.steps[self.step].size.is_none() {
                    self.step += 1;
                    self.port += 1;
                    self.ask(now);
                } else {
                    self.status = Status::Failed(Reason::NoReply);
                    self.deadline = None;
                }
                Reaction::Ignored
            }
            Packet::Data { block, length } => {
                self.server = Some(from);
                let expected = u16::try_from((self.done + 1) & 0xffff).unwrap();
                self.ack = block;
                if block != expected {
                    self.send = block == expected.wrapping_sub(1);
                    return Reaction::Ignored;
                }
                let position = self.done * u64::from(self.blksize);
                let step = self.step;
                self.done += 1;
                self.send = true;
                self.sendings = 1;
                self.deadline = Some(now + Duration::from_secs(1));
                Reaction::Filed { step, position, length }
            }
        }
    }
    pub(crate) fn on_unreachable(&mut self, _now: Moment, _port: u16) {}
    pub(crate) fn on_deadline(&mut self, now: Moment) {
        self.sendings += 1;
        let gap = if self.server.is_some() { 1 } else { [1, 1, 2, 4, 8, 8][self.sendings as usize % 6] };
        let most = 5;
        if self.sendings > most {
            self.status = Status::Failed(Reason::NoReply);
            self.deadline = None;
            return;
        }
        if self.server.is_none() && self.kind == Kind::OldRomNewPorts {
            self.port += 1;
        }
        self.send = true;
        self.deadline = Some(now + Duration::from_secs(gap));
    }
    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.deadline
    }
    pub(crate) fn next_datagram(&mut self) -> Option<Datagram> {
        if !std::mem::take(&mut self.send) {
            return None;
        }
        let mut datagram = Datagram { from_port: self.port, to: Destination::Listener, bytes: [0; 64], length: 4 };
        if let Some(server) = self.server {
            datagram.to = Destination::Transfer(server);
            datagram.bytes[1] = 4;
            datagram.bytes[2..4].copy_from_slice(&self.ack.to_be_bytes());
            let size = self.chain.steps[self.step].size.unwrap_or(0);
            if self.done > size / u64::from(self.blksize) {
                self.step += 1;
                self.port += 1;
                if self.step == self.chain.steps.len() {
                    self.status = Status::Booted;
                    self.deadline = None;
                } else {
                    self.server = None;
                    self.deadline = Some(Moment::START);
                    self.sendings = 0;
                    self.done = 0;
                    self.blksize = 512;
                }
            }
        } else {
            let mut bytes = vec![0, 1];
            bytes.extend(self.chain.steps[self.step].name.as_bytes());
            bytes.extend(b"\0octet\0");
            if self.kind == Kind::Ipxe {
                bytes.extend(b"blksize\x001432\0tsize\x000\0");
            }
            datagram.bytes[..bytes.len()].copy_from_slice(&bytes);
            datagram.length = bytes.len();
        }
        Some(datagram)
    }
    pub(crate) fn status(&self) -> Status {
        self.status
    }
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }
    pub(crate) fn restarts(&self) -> u32 {
        self.power_ons.saturating_sub(1)
    }
    pub(crate) fn files_done(&self) -> usize {
        self.step
    }
}
