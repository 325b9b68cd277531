//! Read and write requests, with their options (RFC 1350 section 5, RFC 2347).
//!
//! What is checked here is form only: whether an option's value is usable is decided in
//! `transfer::options`, whether a name is safe in `name`.

use std::iter;

use super::{Malformed, number_at, opcode, split_string};

/// Which way the file goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// RRQ: to the client.
    Read,
    /// WRQ: from the client.
    Write,
}

/// The transfer mode a request names, in any mix of upper and lower case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mode {
    /// Bytes as they are.
    Octet,
    /// Text with line ends as in Telnet.
    Netascii,
    /// Obsolete: to a user's mailbox.
    Mail,
    /// Anything else.
    Unknown,
}

impl Mode {
    fn parse(name: &[u8]) -> Mode {
        match () {
            () if name.eq_ignore_ascii_case(b"octet") => Mode::Octet,
            () if name.eq_ignore_ascii_case(b"netascii") => Mode::Netascii,
            () if name.eq_ignore_ascii_case(b"mail") => Mode::Mail,
            () => Mode::Unknown,
        }
    }
}

/// A request as it came, borrowed from its datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request<'a> {
    /// RRQ or WRQ.
    pub direction: Direction,
    /// The name as sent: any bytes but NUL, possibly none.
    pub filename: &'a [u8],
    /// The transfer mode.
    pub mode: Mode,
    options: &'a [u8],
}

impl<'a> Request<'a> {
    /// Reads a datagram that arrived on a listening socket.
    ///
    /// # Errors
    /// Anything but an RRQ or WRQ with a terminated name and mode is [`Malformed`].
    pub fn parse(datagram: &'a [u8]) -> Result<Request<'a>, Malformed> {
        let direction = match number_at(datagram, 0).ok_or(Malformed::Short)? {
            opcode::RRQ => Direction::Read,
            opcode::WRQ => Direction::Write,
            _ => return Err(Malformed::Opcode),
        };
        let (filename, rest) = split_string(&datagram[2..]).ok_or(Malformed::Name)?;
        let (mode, options) = split_string(rest).ok_or(Malformed::Mode)?;
        if mode.is_empty() {
            return Err(Malformed::Mode);
        }
        Ok(Request {
            direction,
            filename,
            mode: Mode::parse(mode),
            options,
        })
    }

    /// The complete (name, value) pairs in the client's order; an incomplete one and what follows it
    /// are ignored, since some firmware pads its requests.
    pub fn options(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut rest = self.options;
        iter::from_fn(move || {
            let (name, behind) = split_string(rest)?;
            let (value, behind) = split_string(behind)?;
            rest = behind;
            Some((name, value))
        })
    }

    /// It only asks whether this server serves (`tftpd --probe`).
    pub fn is_probe(&self) -> bool {
        let mut options = self.options();
        options.any(|(name, _)| name.eq_ignore_ascii_case(PROBE))
    }
}

/// An option of our own: the request is a probe, which is answered with an OACK or an ERROR and no more.
pub const PROBE: &[u8] = b"x-probe";
/// Its value, here and in the OACK.
pub const PROBE_VALUE: &[u8] = b"1";
