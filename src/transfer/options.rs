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
use crate::wire::request::Options;

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

/// No name is longer.
const NAME_MAX: usize = 10;

/// One option with a usable value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Asked {
    kind: Kind,
    /// Its name in the client's own spelling, and zeros behind it.
    name: [u8; NAME_MAX],
    value: u64,
}

impl Asked {
    /// `None` if we do not know it, or cannot use its value.
    fn new(name: &[u8], value: &[u8]) -> Option<Asked> {
        let kind = Kind::named(name)?;
        let value = decimal(value).filter(|value| kind.usable().contains(value))?;
        let mut spelled = [0; NAME_MAX];
        spelled[..name.len()].copy_from_slice(name);
        Some(Asked {
            kind,
            name: spelled,
            value,
        })
    }
}

/// The usable options of a request, in its order. Small and free of references, so a waiting client
/// keeps it in place of its datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wanted([Option<Asked>; KNOWN]);

impl Wanted {
    /// Picks out what we know and can use; of an option that comes twice, the first usable value counts.
    pub fn new(options: Options<'_>) -> Wanted {
        let mut wanted = Wanted::default();
        for asked in options.filter_map(|(name, value)| Asked::new(name, value)) {
            if wanted.value(asked.kind).is_none()
                // There are as many places as kinds, so one is free.
                && let Some(place) = wanted.0.iter_mut().find(|place| place.is_none())
            {
                *place = Some(asked);
            }
        }
        wanted
    }

    fn value(&self, kind: Kind) -> Option<u64> {
        let asked = self.0.iter().flatten().find(|asked| asked.kind == kind);
        asked.map(|asked| asked.value)
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
        let asked = self.0.map(|it| it.map(|it| (it.kind, it.value)));
        matches!(
            asked,
            [
                Some((Kind::Tsize, _)),
                Some((Kind::Blksize, 1024)),
                None,
                None
            ]
        )
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
        let may = |it: &Asked| !terms.refused.0[it.kind as usize];
        let asked = Wanted(self.0.map(|it| it.filter(may)));
        let fits = payload_max.map_or(BLKSIZE_MAX, |most| most.saturating_sub(4));
        let blksize = asked.value(Kind::Blksize).map_or(BLKSIZE_DEFAULT, |asked| {
            let most = terms.max_blksize.min(fits);
            in_16_bits(asked).min(most).max(BLKSIZE_MIN)
        });
        let most = match is_buffered {
            true => terms.max_windowsize.min(BUFFERED_WINDOW_MAX / blksize),
            false => terms.max_windowsize,
        };
        let windowsize = asked
            .value(Kind::Windowsize)
            .map_or(1, in_16_bits)
            .min(most)
            .max(1);
        let granted = asked.0.map(|it| {
            let it = it?;
            let value = match it.kind {
                Kind::Blksize => blksize.into(),
                Kind::Timeout => it.value,
                Kind::Tsize => tsize?,
                Kind::Windowsize => windowsize.into(),
            };
            Some(Asked { value, ..it })
        });
        Negotiated {
            blksize,
            windowsize,
            granted: Wanted(granted),
            wanted: *self,
        }
    }
}

/// Every value of `blksize` and `windowsize` that can be used fits.
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
    /// What the OACK says.
    granted: Wanted,
    wanted: Wanted,
}

impl Negotiated {
    /// What the client asked for.
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// The client's `timeout`, 1 to 255 s.
    pub fn timeout(&self) -> Option<Duration> {
        self.granted.value(Kind::Timeout).map(Duration::from_secs)
    }

    /// Some option was granted, so the transfer begins with an OACK.
    pub fn has_oack(&self) -> bool {
        self.granted != Wanted::default()
    }

    /// Writes the OACK and returns its length.
    pub fn write_oack(&self, buffer: &mut [u8; OACK_MAX]) -> usize {
        let mut rest = &mut buffer[..];
        let fits = "OACK_MAX holds every OACK";
        rest.write_all(&opcode::OACK.to_be_bytes()).expect(fits);
        for Asked { kind, name, value } in self.granted.0.into_iter().flatten() {
            let length = NAMES[kind as usize].len();
            rest.write_all(&name[..length]).expect(fits);
            write!(rest, "\0{value}\0").expect(fits);
        }
        OACK_MAX - rest.len()
    }
}

/// A buffer of this size holds any OACK: opcode, four names, a 20-digit size, numbers of 5, 3 and 5
/// digits, and eight NULs.
pub const OACK_MAX: usize = 2 + (7 + 7 + 5 + 10) + 20 + 5 + 3 + 5 + 8;
