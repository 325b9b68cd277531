//! Options: what a client asked for, what it is granted, and the OACK that says so
//! (RFC 2347, 2348, 2349, 7440).
//!
//! An OACK holds exactly what was asked for and accepted, in the client's order and spelling: PXELINUX,
//! edk2 and others end their boot over anything more. Unknown options and unusable values are left
//! out; no option ever causes an ERROR.

use std::io::Write;
use std::num::NonZero;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::wire::opcode;

/// Block size where none was agreed (RFC 1350).
pub const BLKSIZE_DEFAULT: u16 = 512;
/// Least block size (RFC 2348).
pub const BLKSIZE_MIN: u16 = 8;
/// Greatest block size (RFC 2348).
pub const BLKSIZE_MAX: u16 = 65464;

/// Most bytes in a window of netascii, or of an upload: so much of it is kept in memory for each client, whatever it
/// asks for.
pub const BUFFERED_WINDOW_MAX: u16 = u16::MAX;

/// What the operator grants at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// Bytes in a block, 8 to 65464 (`-B`).
    pub max_blksize: u16,
    /// Blocks in a window, 1 to 65535 (`-W`).
    pub max_windowsize: u16,
    /// What is granted to nobody (`--refuse`).
    pub refused: Refused,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms {
            max_blksize: BLKSIZE_MAX,
            max_windowsize: 64,
            refused: Refused::default(),
        }
    }
}

/// A set of options.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Refused([bool; KNOWN]);

impl Refused {
    /// Adds an option by its name, in capital or small letters. Returns whether there is one of that name.
    pub fn add(&mut self, name: &[u8]) -> bool {
        let kind = Kind::named(name);
        if let Some(kind) = kind {
            self.0[kind as usize] = true;
        }
        kind.is_some()
    }
}

/// An option that we know: its place among the [`NAMES`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Blksize,
    Timeout,
    Tsize,
    Windowsize,
}

impl Kind {
    fn named(name: &[u8]) -> Option<Kind> {
        let all = [Kind::Blksize, Kind::Timeout, Kind::Tsize, Kind::Windowsize];
        let is_named = |kind: &Kind| name.eq_ignore_ascii_case(NAMES[*kind as usize]);
        all.into_iter().find(is_named)
    }

    /// The values that can be used.
    fn usable(self) -> RangeInclusive<u64> {
        match self {
            Kind::Blksize => BLKSIZE_MIN.into()..=BLKSIZE_MAX.into(),
            Kind::Timeout => 1..=255,
            Kind::Tsize => 0..=u64::MAX,
            Kind::Windowsize => 1..=u16::MAX.into(),
        }
    }
}

/// A number in plain decimal digits; `None` for a sign, other characters, nothing, or one past 64 bits.
fn decimal(text: &[u8]) -> Option<u64> {
    let is_plain = text.iter().all(u8::is_ascii_digit);
    let text = str::from_utf8(text).ok().filter(|_| is_plain)?;
    text.parse().ok()
}

/// How many options we know.
const KNOWN: usize = 4;

/// Their names.
pub const NAMES: [&[u8]; KNOWN] = [b"blksize", b"timeout", b"tsize", b"windowsize"];

/// One option in the client's own spelling of its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Asked {
    kind: Kind,
    /// Which letters of its name are capitals: a bit for each, the lowest for the first.
    capitals: u16,
}

impl Asked {
    fn new(kind: Kind, name: &[u8]) -> Asked {
        let capitals = name.iter().rev().fold(0, |bits, letter| {
            bits << 1 | u16::from(letter.is_ascii_uppercase())
        });
        Asked { kind, capitals }
    }

    /// Its name as the client spelled it.
    fn name(self) -> impl Iterator<Item = u8> {
        let letters = NAMES[self.kind as usize].iter().enumerate();
        letters.map(move |(place, letter)| match self.capitals >> place & 1 {
            0 => *letter,
            _ => letter.to_ascii_uppercase(),
        })
    }
}

/// The usable options of a request, in its order. Small and free of references, so a waiting client
/// keeps it in place of its datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    asked: [Option<Asked>; KNOWN],
    /// The value of each kind but `tsize`, which alone needs more than 16 bits.
    values: [u16; KNOWN],
    tsize: u64,
}

impl Wanted {
    /// Picks out what we know and can use; of an option that comes twice, the first usable value counts.
    pub fn new<'o>(options: impl Iterator<Item = (&'o [u8], &'o [u8])>) -> Wanted {
        let mut wanted = Wanted::default();
        for (name, value) in options {
            if let Some(kind) = Kind::named(name)
                && let Some(value) = decimal(value).filter(|it| kind.usable().contains(it))
                && wanted.value(kind).is_none()
                // There are as many places as kinds, so one is free.
                && let Some(place) = wanted.asked.iter_mut().find(|place| place.is_none())
            {
                *place = Some(Asked::new(kind, name));
                match kind {
                    Kind::Tsize => wanted.tsize = value,
                    _ => wanted.values[kind as usize] = in_16_bits(value),
                }
            }
        }
        wanted
    }

    fn value(&self, kind: Kind) -> Option<u64> {
        let is_asked = self.asked.iter().flatten().any(|asked| asked.kind == kind);
        is_asked.then(|| match kind {
            Kind::Tsize => self.tsize,
            _ => self.values[kind as usize].into(),
        })
    }

    /// The block size asked for; the default where none was.
    pub fn blksize(&self) -> u16 {
        self.value(Kind::Blksize)
            .map_or(BLKSIZE_DEFAULT, in_16_bits)
    }

    /// The size that the client of an upload announces (RFC 2349); `None` if it does not know either, as U-Boot, which
    /// says 0.
    pub fn announced(&self) -> Option<NonZero<u64>> {
        self.value(Kind::Tsize).and_then(NonZero::new)
    }

    /// Asked as the loader of the Raspberry Pi 4 asks. It gives up a file that is not complete 30 s after
    /// its first request, however lively the transfer is; others that ask so lose nothing by being
    /// taken for one.
    pub fn is_raspberry_pi(&self) -> bool {
        let kinds = self.asked.map(|it| it.map(|it| it.kind));
        kinds == [Some(Kind::Tsize), Some(Kind::Blksize), None, None] && self.blksize() == 1024
    }

    /// Grants what can be granted to a client that sends a file.
    pub fn negotiate_upload(&self, terms: Terms, payload_max: Option<u16>) -> Negotiated {
        let tsize = self.value(Kind::Tsize);
        self.grant(terms, tsize, true, payload_max)
    }

    /// Grants what can be granted for a file of `size` bytes (`None`: not known, as in netascii) over a
    /// path that carries `payload_max` bytes in one packet, header included.
    pub fn negotiate(
        &self,
        terms: Terms,
        size: Option<u64>,
        payload_max: Option<u16>,
    ) -> Negotiated {
        // curl fails on the size of an empty file, and PXELINUX takes it for a miss.
        let tsize = size.filter(|&size| size > 0);
        self.grant(terms, tsize, size.is_none(), payload_max)
    }

    /// `is_buffered`: blocks are kept in memory, here until they are acknowledged, there until they are written.
    fn grant(
        &self,
        terms: Terms,
        tsize: Option<u64>,
        is_buffered: bool,
        payload_max: Option<u16>,
    ) -> Negotiated {
        let mut negotiated = Negotiated {
            blksize: BLKSIZE_DEFAULT,
            windowsize: 1,
            tsize,
            refused: terms.refused,
            wanted: *self,
        };
        if let Some(asked) = negotiated.asked(Kind::Blksize) {
            let fits = payload_max.map_or(BLKSIZE_MAX, |most| most.saturating_sub(4));
            let most = terms.max_blksize.min(fits);
            negotiated.blksize = in_16_bits(asked).min(most).max(BLKSIZE_MIN);
        }
        if let Some(asked) = negotiated.asked(Kind::Windowsize) {
            let most = match is_buffered {
                true => BUFFERED_WINDOW_MAX / negotiated.blksize,
                false => u16::MAX,
            };
            negotiated.windowsize = in_16_bits(asked).min(terms.max_windowsize).min(most).max(1);
        }
        negotiated
    }
}

/// Every value that can be used fits, but for that of `tsize`.
fn in_16_bits(value: u64) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

/// What was agreed for a transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Negotiated {
    /// Bytes in a block, 8 to 65464.
    pub blksize: u16,
    /// Blocks in a window, 1 to 65535.
    pub windowsize: u16,
    /// What the OACK says of the size, if it is asked for.
    tsize: Option<u64>,
    refused: Refused,
    wanted: Wanted,
}

impl Negotiated {
    /// What the client asked for.
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// The client's `timeout`, 1 to 255 s.
    pub fn timeout(&self) -> Option<Duration> {
        self.asked(Kind::Timeout).map(Duration::from_secs)
    }

    /// The value that was asked for, unless the operator grants it to nobody.
    fn asked(&self, kind: Kind) -> Option<u64> {
        match self.refused.0[kind as usize] {
            true => None,
            false => self.wanted.value(kind),
        }
    }

    fn granted(&self, kind: Kind) -> Option<u64> {
        let asked = self.asked(kind)?;
        match kind {
            Kind::Blksize => Some(self.blksize.into()),
            Kind::Timeout => Some(asked),
            Kind::Tsize => self.tsize,
            Kind::Windowsize => Some(self.windowsize.into()),
        }
    }

    /// Some option was granted, so the transfer begins with an OACK.
    pub fn has_oack(&self) -> bool {
        let mut asked = self.wanted.asked.iter().flatten();
        asked.any(|asked| self.granted(asked.kind).is_some())
    }

    /// Writes the OACK and returns its length.
    pub fn write_oack(&self, buffer: &mut [u8; OACK_MAX]) -> usize {
        let mut rest = &mut buffer[..];
        let fits = "OACK_MAX holds every OACK";
        rest.write_all(&opcode::OACK.to_be_bytes()).expect(fits);
        for asked in self.wanted.asked.into_iter().flatten() {
            let Some(value) = self.granted(asked.kind) else {
                continue;
            };
            for letter in asked.name() {
                rest.write_all(&[letter]).expect(fits);
            }
            write!(rest, "\0{value}\0").expect(fits);
        }
        OACK_MAX - rest.len()
    }
}

/// A buffer of this size holds any OACK: opcode, four names, a 20-digit size, numbers of 5, 3 and 5
/// digits, and eight NULs.
pub const OACK_MAX: usize = 2 + (7 + 7 + 5 + 10) + 20 + 5 + 3 + 5 + 8;
