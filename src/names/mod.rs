//! Names as sites spell them: the rules of a map file, letter case, a directory for each client.
//!
//! All of it is text: nothing here looks at a file system, but asks through [`Look`]. Read this file, then `map`, then
//! `regex`.

pub mod hardware;
pub mod map;
pub mod regex;

use std::borrow::Cow;

use crate::name::{FileName, FileNameBuf, NAME_MAX, RootPrefixes};
use crate::wire::Refusal;
use map::{Acted, Asked, Map, Mapped};

/// How the name of a file is made of what a client asks for.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The rules of the operator.
    pub map: Option<Map>,
    /// Letters match in either case where the exact name does not.
    pub ignores_case: bool,
    /// Clients may have directories of their own.
    pub unique: Option<Unique>,
    /// The absolute names of what is served.
    pub prefixes: RootPrefixes,
}

/// What the directory of a client is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unique {
    /// By its address: `192.0.2.7` or `2001:db8::7`.
    Address,
    /// By its hardware address: `dc-a6-32-01-02-03`.
    Hardware,
}

/// What is asked of the file system. `None` says that it is not known without waiting for a disk.
pub trait Look {
    /// Whether this file could be opened for the request.
    fn opens(&mut self, name: FileName<'_>) -> Option<bool>;
    /// Whether there is such a directory.
    fn has_directory(&mut self, name: FileName<'_>) -> Option<bool>;
    /// The name as it is spelled there; the same where nothing is found.
    fn spell(&mut self, name: FileName<'_>) -> Option<FileNameBuf>;
}

/// What a requested name comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Resolved {
    /// This file.
    Name(FileNameBuf),
    /// The name is none.
    Refused(Refusal),
    /// A rule refuses it with this text.
    Forbidden(Vec<u8>),
    /// Not known without waiting for a disk: the helper thread has to look.
    Unknown,
}

impl Names {
    /// Nothing is to be done but to make the name safe.
    pub fn are_plain(&self) -> bool {
        self.map.is_none() && !self.ignores_case && self.unique.is_none()
    }

    /// They rest on the hardware address of the client.
    pub fn want_hardware(&self) -> bool {
        self.unique == Some(Unique::Hardware) || self.map.as_ref().is_some_and(Map::wants_hardware)
    }

    /// The lines of rules that change nothing which is not done without them: slashes, the path of a root, and under
    /// [`Names::ignores_case`] letters and drives.
    pub fn needless_rules(&self) -> Vec<usize> {
        let rules = self.map.iter().flat_map(Map::rewriting);
        let needless = rules.filter(|(_, alone)| self.is_needless(alone));
        needless.map(|(line, _)| line).collect()
    }

    /// The rule changes some of the samples, and none of these to the name of another file.
    fn is_needless(&self, alone: &Map) -> bool {
        let asked = |name| Asked {
            name,
            client: std::net::Ipv4Addr::LOCALHOST.into(),
            hardware: None,
            is_write: false,
        };
        let place = Place {
            names: self,
            own: None,
        };
        let cleaned = |name: &[u8]| {
            let mut buffer = [0; NAME_MAX];
            let cleaned = place.clean(name, &mut buffer);
            cleaned.map(|name| match self.ignores_case {
                true => name.as_bytes().to_ascii_lowercase(),
                false => name.as_bytes().to_vec(),
            })
        };
        let changes = SAMPLES.iter().filter_map(|&sample| {
            match alone.apply(asked(sample), &mut |_| Some(false)) {
                Mapped::Name(name) if name == sample => None,
                Mapped::Name(name) => Some(cleaned(&name) == cleaned(sample)),
                Mapped::Refused(_) | Mapped::Unknown => Some(false),
            }
        });
        let changes: Vec<bool> = changes.collect();
        !changes.is_empty() && !changes.contains(&false)
    }

    /// The file that is meant. `trace` is shown each rule of the map that acts.
    pub fn resolve(
        &self,
        asked: Asked<'_>,
        look: &mut impl Look,
        trace: &mut dyn FnMut(Acted<'_>),
    ) -> Resolved {
        let own = match self.directory_of(asked) {
            None => None,
            Some(directory) => match look.has_directory(directory.as_name()) {
                None => return Resolved::Unknown,
                Some(exists) => exists.then_some(directory),
            },
        };
        let place = Place {
            names: self,
            own: own.as_ref(),
        };
        let mut witness = |acted: Acted<'_>| {
            trace(acted);
            match acted.asks_if_it_opens {
                true => place.opens(acted.name, look),
                false => Some(false),
            }
        };
        let mapped = match &self.map {
            None => Cow::Borrowed(asked.name),
            Some(map) => match map.apply(asked, &mut witness) {
                Mapped::Name(name) => Cow::Owned(name),
                Mapped::Refused(text) => return Resolved::Forbidden(text),
                Mapped::Unknown => return Resolved::Unknown,
            },
        };
        let mut buffer = [0; NAME_MAX];
        let name = match place.clean(&mapped, &mut buffer) {
            Ok(name) => name,
            Err(refusal) => return Resolved::Refused(refusal),
        };
        let is_cleaned = name.as_bytes() != without_slashes(&mapped);
        let is_absolute = mapped.first().is_some_and(|first| b"/\\".contains(first));
        let forbidden = |name: FileName<'_>| {
            let map = self.map.as_ref()?;
            let slash = if is_absolute { &b"/"[..] } else { b"" };
            let name = &[slash, name.as_bytes()].concat();
            map.refuses(Asked { name, ..asked })
        };
        if is_cleaned && let Some(text) = forbidden(name) {
            return Resolved::Forbidden(text);
        }
        let Some(placed) = place.put(name) else {
            return Resolved::Refused(Refusal::NameTooLong);
        };
        if !self.ignores_case {
            return Resolved::Name(placed);
        }
        let Some(spelled) = look.spell(placed.as_name()) else {
            return Resolved::Unknown;
        };
        if spelled != placed
            && let Some(text) = forbidden(place.take(&spelled))
        {
            return Resolved::Forbidden(text);
        }
        Resolved::Name(spelled)
    }

    /// The directory of this client, whether there is one or not.
    fn directory_of(&self, asked: Asked<'_>) -> Option<FileNameBuf> {
        let text = match self.unique? {
            Unique::Address => asked.client.to_canonical().to_string(),
            Unique::Hardware => asked.hardware?.to_string(),
        };
        let mut buffer = [0; NAME_MAX];
        let name = FileName::new(text.as_bytes(), &RootPrefixes::default(), &mut buffer);
        name.ok().map(FileName::to_owned)
    }
}

/// Where the names of a client are looked up.
#[derive(Clone, Copy)]
struct Place<'n> {
    names: &'n Names,
    /// The directory of the client alone, if there is one.
    own: Option<&'n FileNameBuf>,
}

impl Place<'_> {
    /// A safe name. With letters of either case a drive letter in front is dropped.
    fn clean<'b>(
        self,
        name: &[u8],
        buffer: &'b mut [u8; NAME_MAX],
    ) -> Result<FileName<'b>, Refusal> {
        let name = match name {
            [letter, b':', rest @ ..]
                if self.names.ignores_case && letter.is_ascii_alphabetic() =>
            {
                rest
            }
            _ => name,
        };
        match self.own {
            // What is known by absolute names is the common directory.
            Some(_) => FileName::new(name, &RootPrefixes::default(), buffer),
            None => FileName::new(name, &self.names.prefixes, buffer),
        }
    }

    /// Whether a name that rules have made could be opened.
    fn opens(self, name: &[u8], look: &mut impl Look) -> Option<bool> {
        let mut buffer = [0; NAME_MAX];
        let cleaned = self.clean(name, &mut buffer);
        let Some(placed) = cleaned.ok().and_then(|name| self.put(name)) else {
            return Some(false);
        };
        let spelled = match self.names.ignores_case {
            true => look.spell(placed.as_name())?,
            false => placed,
        };
        look.opens(spelled.as_name())
    }

    /// The name in the directory of the client; `None` if it is too long.
    fn put(self, name: FileName<'_>) -> Option<FileNameBuf> {
        match self.own {
            None => Some(name.to_owned()),
            Some(own) => name.within(own.as_name()),
        }
    }

    /// The name without that directory.
    fn take<'s>(self, name: &'s FileNameBuf) -> FileName<'s> {
        let own = self.own.map(FileNameBuf::as_name);
        own.and_then(|own| name.as_name().beneath(own))
            .unwrap_or(name.as_name())
    }
}

/// Names of every kind that clients are known to ask for.
const SAMPLES: &[&[u8]] = &[
    b"a",
    b"/a",
    b"a/b.efi",
    b"/img/a",
    b"\\Boot\\BCD",
    b"boot\\x64\\a.com",
    b"Boot/x",
    b"/boot/fonts/x",
    b"C:\\x",
    b"c:/x",
    b"EFI/BOOT/X.EFI",
    b"//a//b",
];

fn without_slashes(name: &[u8]) -> &[u8] {
    let begin = name.iter().position(|&byte| byte != b'/');
    &name[begin.unwrap_or(name.len())..]
}
