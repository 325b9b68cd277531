//! The writing side of one transfer, straight from RFC 1350 with the options of RFC 2347, 2348, 2349 and 7440.

use std::net::SocketAddr;
use std::time::Duration;

use crate::client::{Client, PATIENCE};
use crate::packet::{self, Packet};

/// What is to be written.
#[derive(Clone, Debug)]
pub(crate) struct Put<'a> {
    pub(crate) name: &'a str,
    pub(crate) mode: &'static str,
    pub(crate) bytes: &'a [u8],
    pub(crate) options: Vec<(&'static str, String)>,
}

impl<'a> Put<'a> {
    pub(crate) fn octet(name: &'a str, bytes: &'a [u8]) -> Self {
        Self {
            name,
            mode: "octet",
            bytes,
            options: Vec::new(),
        }
    }

    pub(crate) fn option(mut self, name: &'static str, value: impl ToString) -> Self {
        self.options.push((name, value.to_string()));
        self
    }

    /// Writes the whole file, or returns the ERROR that the server sent.
    pub(crate) fn to(&self, server: SocketAddr) -> Result<(), (u16, String)> {
        self.by(Client::new(server))
    }

    /// So does this client.
    pub(crate) fn by(&self, client: Client) -> Result<(), (u16, String)> {
        self.begin_by(client)?.finish()
    }

    /// Asks, and waits for the first answer.
    pub(crate) fn begin(&self, server: SocketAddr) -> Result<Writing<'a>, (u16, String)> {
        self.begin_by(Client::new(server))
    }

    fn begin_by(&self, mut client: Client) -> Result<Writing<'a>, (u16, String)> {
        let options: Vec<_> = self
            .options
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let request = packet::write_request_with(self.name.as_bytes(), self.mode, &options);
        client.send_to_server(&request);
        let (mut blksize, mut windowsize) = (512, 1);
        match client.receive() {
            Packet::Ack(0) => {}
            Packet::Oack(agreed) => {
                for (name, value) in agreed {
                    match &*name {
                        "blksize" => blksize = value.parse().unwrap(),
                        "windowsize" => windowsize = value.parse().unwrap(),
                        _ => {}
                    }
                }
            }
            Packet::Error { code, message } => return Err((code, message)),
            other => panic!("{other:?}"),
        }
        Ok(Writing {
            client,
            bytes: self.bytes,
            blksize,
            windowsize,
            acknowledged: 0,
        })
    }
}

/// A file on its way to the server.
pub(crate) struct Writing<'a> {
    client: Client,
    bytes: &'a [u8],
    blksize: usize,
    windowsize: u64,
    /// Blocks.
    acknowledged: u64,
}

impl Writing<'_> {
    fn blocks(&self) -> u64 {
        u64::try_from(self.bytes.len() / self.blksize + 1).unwrap()
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.acknowledged == self.blocks()
    }

    /// Bytes that the server has acknowledged.
    pub(crate) fn written(&self) -> usize {
        usize::try_from(self.acknowledged).unwrap() * self.blksize
    }

    pub(crate) fn send_window(&mut self) {
        let last = self.blocks().min(self.acknowledged + self.windowsize);
        for block in self.acknowledged + 1..=last {
            let begin = usize::try_from(block - 1).unwrap() * self.blksize;
            let end = self.bytes.len().min(begin + self.blksize);
            let number = u16::try_from(block & 0xFFFF).unwrap();
            self.client
                .send(&packet::data(number, &self.bytes[begin..end]));
        }
    }

    /// Waits for the answer to a window; what is lost is sent again.
    pub(crate) fn hear(&mut self) -> Result<(), (u16, String)> {
        for _ in 0..PATIENCE.as_secs() {
            let Some(answer) = self.client.receive_within(Duration::from_secs(1)) else {
                self.send_window();
                continue;
            };
            match packet::parse(&answer) {
                Packet::Ack(number) => {
                    let before = u16::try_from(self.acknowledged & 0xFFFF).unwrap();
                    let more = u64::from(number.wrapping_sub(before));
                    if more <= self.windowsize {
                        self.acknowledged += more;
                        return Ok(());
                    }
                }
                Packet::Error { code, message } => return Err((code, message)),
                // A repeated OACK: what follows it was lost.
                Packet::Oack(_) => self.send_window(),
                other => panic!("{other:?}"),
            }
        }
        panic!("no answer after block {}", self.acknowledged);
    }

    /// Writes until this number of bytes was acknowledged.
    pub(crate) fn go_on_until(&mut self, bytes: usize) -> Result<(), (u16, String)> {
        while self.written() < bytes {
            self.send_window();
            self.hear()?;
        }
        Ok(())
    }

    pub(crate) fn finish(&mut self) -> Result<(), (u16, String)> {
        while !self.is_complete() {
            self.send_window();
            self.hear()?;
        }
        Ok(())
    }

    /// Sends the server an ERROR: it will not go on.
    pub(crate) fn give_up(&self) {
        self.client.send(&packet::error(0, "enough"));
    }
}
