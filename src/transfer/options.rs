//! Options: what a client asked for, what it is granted, and the OACK that says so
//! (RFC 2347, 2348, 2349, 7440).
//!
//! An OACK holds exactly what was asked for and accepted, in the client's order and spelling: PXELINUX,
//! edk2 and others end their boot over anything more. Unknown options and unusable values are left
//! out; no option ever causes an ERROR.

use std::io::Write;
use std::num::NonZero;
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

/// A set of options: a bit for each of [`NAMES`], the lowest for the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Refused(u8);

impl Refused {
    /// Adds an option by its name, in capital or small letters. Returns whether there is one of that name.
    pub fn add(&mut self, name: &[u8]) -> bool {
        let kind = NAMES
            .iter()
            .position(|known| name.eq_ignore_ascii_case(known));
        self.0 |= kind.map_or(0, |kind| 1 << kind);
        kind.is_some()
    }

    fn has(self, option: Known) -> bool {
        self.0 >> option.kind() & 1 == 1
    }
}

/// An option that we know, with a usable value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Known {
    Blksize(u16),
    Timeout(u8),
    Tsize,
    Windowsize(u16),
}

impl Known {
    /// Its place among the [`NAMES`].
    fn kind(self) -> usize {
        match self {
            Known::Blksize(_) => 0,
            Known::Timeout(_) => 1,
            Known::Tsize => 2,
            Known::Windowsize(_) => 3,
        }
    }

    /// Its name, in the spelling of the RFCs.
    fn name(self) -> &'static [u8] {
        NAMES[self.kind()]
    }

    fn parse(name: &[u8], value: &[u8]) -> Option<Known> {
        let number = decimal(value)?;
        if name.eq_ignore_ascii_case(BLKSIZE) {
            let blksize = u16::try_from(number).ok()?;
            (BLKSIZE_MIN <= blksize && blksize <= BLKSIZE_MAX).then_some(Known::Blksize(blksize))
        } else if name.eq_ignore_ascii_case(TIMEOUT) {
            let seconds = u8::try_from(number).ok()?;
            (1 <= seconds).then_some(Known::Timeout(seconds))
        } else if name.eq_ignore_ascii_case(TSIZE) {
            Some(Known::Tsize)
        } else if name.eq_ignore_ascii_case(WINDOWSIZE) {
            let windowsize = u16::try_from(number).ok()?;
            (1 <= windowsize).then_some(Known::Windowsize(windowsize))
        } else {
            None
        }
    }
}

/// A number in plain decimal digits; `None` for a sign, other characters, nothing, or one past 64 bits.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, &digit| match digit {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// One option in the client's own spelling of its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Spelled {
    value: Known,
    /// Which letters of its name are capitals: a bit for each, the lowest for the first.
    capitals: u16,
}

impl Spelled {
    fn new(name: &[u8], value: Known) -> Spelled {
        let capitals = name.iter().rev().fold(0, |bits, letter| {
            bits << 1 | u16::from(letter.is_ascii_uppercase())
        });
        Spelled { value, capitals }
    }

    /// Its name as the client spelled it.
    fn name(self) -> impl Iterator<Item = u8> {
        let letters = self.value.name().iter().enumerate();
        letters.map(move |(place, letter)| match self.capitals >> place & 1 {
            0 => *letter,
            _ => letter.to_ascii_uppercase(),
        })
    }
}

const BLKSIZE: &[u8] = b"blksize";
const TIMEOUT: &[u8] = b"timeout";
const TSIZE: &[u8] = b"tsize";
const WINDOWSIZE: &[u8] = b"windowsize";

/// How many options we know.
const KNOWN: usize = 4;

/// Their names.
pub const NAMES: [&[u8]; KNOWN] = [BLKSIZE, TIMEOUT, TSIZE, WINDOWSIZE];

/// The usable options of a request, in its order. Small and free of references, so a waiting client
/// keeps it in place of its datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    options: [Option<Spelled>; KNOWN],
    /// The value of `tsize`.
    announced: Option<NonZero<u64>>,
}

impl Wanted {
    /// Picks out what we know and can use; of an option that comes twice, the first usable value counts.
    pub fn new(options: Options<'_>) -> Wanted {
        let mut wanted = Wanted::default();
        for (name, value) in options {
            if let Some(known) = Known::parse(name, value) {
                if known == Known::Tsize && wanted.values().all(|other| other != known) {
                    wanted.announced = decimal(value).and_then(NonZero::new);
                }
                wanted.add(name, known);
            }
        }
        wanted
    }

    fn add(&mut self, name: &[u8], value: Known) {
        let same = |option: &Spelled| {
            std::mem::discriminant(&option.value) == std::mem::discriminant(&value)
        };
        if self.options.iter().flatten().any(same) {
            return;
        }
        // There are as many places as kinds, so one is free.
        if let Some(place) = self.options.iter_mut().find(|place| place.is_none()) {
            *place = Some(Spelled::new(name, value));
        }
    }

    /// The block size asked for; the default where none was.
    pub fn blksize(&self) -> u16 {
        self.asked_blksize(Refused::default())
            .unwrap_or(BLKSIZE_DEFAULT)
    }

    /// The size that the client of an upload announces (RFC 2349); `None` if it does not know either, as U-Boot, which
    /// says 0.
    pub fn announced(&self) -> Option<NonZero<u64>> {
        self.announced
    }

    /// The values of the usable options, in the order of the request.
    fn values(&self) -> impl Iterator<Item = Known> + '_ {
        self.options.iter().flatten().map(|option| option.value)
    }

    fn values_but(&self, refused: Refused) -> impl Iterator<Item = Known> + '_ {
        self.values().filter(move |&option| !refused.has(option))
    }

    fn asked_blksize(&self, refused: Refused) -> Option<u16> {
        self.values_but(refused).find_map(|option| match option {
            Known::Blksize(blksize) => Some(blksize),
            Known::Timeout(_) | Known::Tsize | Known::Windowsize(_) => None,
        })
    }

    fn asked_windowsize(&self, refused: Refused) -> Option<u16> {
        self.values_but(refused).find_map(|option| match option {
            Known::Windowsize(windowsize) => Some(windowsize),
            Known::Blksize(_) | Known::Timeout(_) | Known::Tsize => None,
        })
    }

    /// Grants what can be granted to a client that sends a file.
    pub fn negotiate_upload(&self, terms: Terms, payload_max: Option<u16>) -> Negotiated {
        Negotiated {
            is_upload: true,
            ..self.negotiate(terms, None, payload_max)
        }
    }

    /// Asked as the loader of the Raspberry Pi 4 asks. It gives up a file that is not complete 30 s after
    /// its first request, however lively the transfer is; others that ask so lose nothing by being
    /// taken for one.
    pub fn is_raspberry_pi(&self) -> bool {
        let mut asked = self.values();
        let first_three = [asked.next(), asked.next(), asked.next()];
        first_three == [Some(Known::Tsize), Some(Known::Blksize(1024)), None]
    }

    /// Grants what can be granted for a file of `size` bytes (`None`: not known, as in netascii) over a
    /// path that carries `payload_max` bytes in one packet, header included.
    pub fn negotiate(
        &self,
        terms: Terms,
        size: Option<u64>,
        payload_max: Option<u16>,
    ) -> Negotiated {
        let fits = payload_max.map_or(BLKSIZE_MAX, |most| most.saturating_sub(4));
        let blksize = match self.asked_blksize(terms.refused) {
            Some(asked) => asked.min(terms.max_blksize).min(fits).max(BLKSIZE_MIN),
            None => BLKSIZE_DEFAULT,
        };
        // Text is kept in memory until it is acknowledged, octets are not.
        let max_windowsize = match size {
            Some(_) => terms.max_windowsize,
            None => terms
                .max_windowsize
                .min(BUFFERED_WINDOW_MAX / blksize)
                .max(1),
        };
        Negotiated {
            blksize,
            windowsize: self
                .asked_windowsize(terms.refused)
                .unwrap_or(1)
                .min(max_windowsize),
            size: size.and_then(NonZero::new),
            is_upload: false,
            refused: terms.refused,
            wanted: *self,
        }
    }
}

/// What was agreed for a transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Negotiated {
    /// Bytes in a block, 8 to 65464.
    pub blksize: u16,
    /// Blocks in a window, 1 to 65535.
    pub windowsize: u16,
    /// Bytes of the file that is sent, as far as they are known.
    size: Option<NonZero<u64>>,
    /// The file comes from the client.
    is_upload: bool,
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
        self.wanted
            .values_but(self.refused)
            .find_map(|option| match option {
                Known::Timeout(seconds) => Some(Duration::from_secs(seconds.into())),
                Known::Blksize(_) | Known::Tsize | Known::Windowsize(_) => None,
            })
    }

    /// Some option was granted, so the transfer begins with an OACK.
    pub fn has_oack(&self) -> bool {
        self.wanted
            .values()
            .any(|option| self.granted(option).is_some())
    }

    /// What is granted of an option that was asked for.
    fn granted(&self, option: Known) -> Option<u64> {
        match option {
            _ if self.refused.has(option) => None,
            Known::Blksize(_) => Some(self.blksize.into()),
            Known::Timeout(seconds) => Some(seconds.into()),
            Known::Tsize if self.is_upload => Some(self.wanted.announced.map_or(0, NonZero::get)),
            // curl fails on the size of an empty file, and PXELINUX takes it for a miss.
            Known::Tsize => self.size.map(NonZero::get),
            Known::Windowsize(_) => Some(self.windowsize.into()),
        }
    }

    /// Writes the OACK and returns its length.
    pub fn write_oack(&self, buffer: &mut [u8; OACK_MAX]) -> usize {
        let mut rest = &mut buffer[..];
        let fits = "OACK_MAX holds every OACK";
        rest.write_all(&opcode::OACK.to_be_bytes()).expect(fits);
        for option in self.wanted.options.iter().flatten() {
            let Some(value) = self.granted(option.value) else {
                continue;
            };
            for letter in option.name() {
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
