//! `--probe`: asks a server whether it serves, as a client would, for an image that holds nothing else that could.

use std::io::{Error, ErrorKind, Result as IoResult};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::text::escaped;
use super::{Failure, trying};
use crate::config::Probe;
use crate::os::clock::Clock;
use crate::os::poll::{Events, Poll, Source};
use crate::os::port::{self, Port};
use crate::os::receive::Batch;
use crate::wire::request::{PROBE, PROBE_VALUE};
use crate::wire::{Refusal, opcode};

/// Asks, and returns a line for the operator.
///
/// # Errors
/// The server does not answer, or refuses the file.
pub fn probe(probe: &Probe) -> Result<String, Failure> {
    let what = format!("--probe {}", probe.server);
    let (answer, after) = trying(&what, ask(probe))?;
    let number = |at: usize| Some(u16::from_be_bytes(answer.get(at..at + 2)?.try_into().ok()?));
    let is_missing = number(2) == Some(Refusal::NotFound.code());
    // A floating-point number would be written by 12 kB of code.
    let tenths = (after.as_micros() + 50) / 100;
    let after = format!("after {}.{} ms", tenths / 10, tenths % 10);
    match number(0) {
        Some(opcode::OACK | opcode::DATA) => Ok(format!("{}: serves, {after}\n", probe.server)),
        Some(opcode::ERROR) if probe.name.is_none() && is_missing => {
            Ok(format!("{}: answers, {after}\n", probe.server))
        }
        Some(opcode::ERROR) => {
            let code = number(2).unwrap_or_default();
            let text = answer.get(4..).unwrap_or_default();
            let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
            let why = format!("ERROR {code} {}", escaped(text));
            trying(what, Err(Error::other(why)))
        }
        _ => trying(what, Err(Error::other("the answer is no TFTP"))),
    }
}

/// Sends the request until something comes back, and returns that and how long it took.
fn ask(probe: &Probe) -> IoResult<(Vec<u8>, Duration)> {
    let clock = Clock::start();
    let port = port::open(match probe.server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    })?;
    let mut poll = Poll::new()?;
    poll.add(&port, Source::Listener(0))?;
    let (mut events, mut batch) = (Events::default(), Batch::new(1, ANSWER_MAX));
    let request = request(probe.name.as_deref().unwrap_or(NAME_USUAL));
    let began = clock.now();
    let (until, mut ask_at) = (began + probe.timeout, began);
    loop {
        let now = clock.now();
        if until <= now {
            let seconds = probe.timeout.as_secs();
            let why = format!("no answer within {seconds} s");
            return Err(Error::new(ErrorKind::TimedOut, why));
        }
        if ask_at <= now {
            port.send_to(&request, &probe.server.into())?;
            ask_at = now + ASK_EVERY;
        }
        if let Some(answer) = take(&mut batch, &port, probe.server)? {
            return Ok((answer, clock.now().since(began)));
        }
        poll.wait(&mut events, now, Some(until.min(ask_at)))?;
        events.clear();
    }
}

/// The next datagram of the server, if there is one. A transfer that has begun is ended.
fn take(batch: &mut Batch, port: &Port, server: SocketAddr) -> IoResult<Option<Vec<u8>>> {
    loop {
        let arrived = match batch.receive(port) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            arrived => arrived?,
        };
        let mut answers = arrived.iter().filter_map(|it| Some((it.from?, it.bytes)));
        if let Some((from, bytes)) = answers.find(|(from, _)| from.ip() == server.ip()) {
            if !bytes.starts_with(&opcode::ERROR.to_be_bytes()) {
                port.send_to(b"\0\x05\0\0probe\0", &from.into())?;
            }
            return Ok(Some(bytes.to_vec()));
        }
    }
}

fn request(name: &[u8]) -> Vec<u8> {
    let opcode = opcode::RRQ.to_be_bytes();
    let strings = [name, b"octet", PROBE, PROBE_VALUE, b""];
    [&opcode[..], &strings.join(&0)].concat()
}

/// A name that no server has a file of; if one has, that is well, too.
const NAME_USUAL: &[u8] = b"x-probe-of-no-file";
/// A packet may be lost.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// The beginning of a block is enough.
const ANSWER_MAX: usize = 600;
