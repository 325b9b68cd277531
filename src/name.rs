//! A requested file name made safe: relative to the root, without `..`, or a [`Refusal`].
//!
//! This is text only: it never looks at a file system. Opening beneath the root, in `os::files`, holds
//! even where a symbolic link points outside. Names are bytes, not UTF-8.

use std::borrow::Borrow;

use crate::wire::Refusal;

/// Longest name that is looked up, in bytes, after it was made relative.
///
/// RFC 2347 bounds a whole request to 512 bytes; rules of a map may make a name longer.
pub const NAME_MAX: usize = 1024;

/// So begin the names under which uploads grow (see `os::upload`): no client reads or writes these, in any case it
/// spells them.
pub const UNFINISHED: &[u8] = b".tftpd-upload-";

/// The directory served, as clients may spell it: absolute paths that are dropped from the front of a
/// name, since DHCP servers hand such names out.
#[derive(Clone, Debug, Default)]
pub struct RootPrefixes {
    prefixes: Vec<FileNameBuf>,
}

impl RootPrefixes {
    /// Takes the absolute paths by which the root is known. Those longer than [`NAME_MAX`] are left out,
    /// since no name that begins with them is looked up.
    pub fn new<'p>(paths: impl IntoIterator<Item = &'p [u8]>) -> RootPrefixes {
        let mut prefixes: Vec<FileNameBuf> = Vec::new();
        for path in paths {
            let mut buffer = [0; NAME_MAX];
            if let Ok(name) = normalise(path, &mut buffer)
                && prefixes.iter().all(|known| known.as_name() != name)
            {
                prefixes.push(name.to_owned());
            }
        }
        RootPrefixes { prefixes }
    }

    /// The rest of `name` where it begins with one of the prefixes.
    fn strip<'n>(&self, name: &'n [u8]) -> Option<&'n [u8]> {
        self.prefixes
            .iter()
            .find_map(|prefix| name.strip_prefix(&*prefix.0)?.strip_prefix(b"/"))
    }
}

/// A safe, relative name: components joined by `/`, none of them empty, `.` or `..`, no NUL.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FileName<'a>(&'a [u8]);

impl<'a> FileName<'a> {
    /// Makes a requested name safe.
    ///
    /// `\` counts as `/`; leading, doubled and trailing slashes and `.` disappear; `..` takes one
    /// component back; a name that begins with the root's own absolute path loses it; trailing 0xFF
    /// bytes, which some boot ROMs leave, are dropped.
    ///
    /// # Errors
    /// [`Refusal::EmptyName`], [`Refusal::NameTooLong`] (more than [`NAME_MAX`] bytes), [`Refusal::OutsideRoot`], or
    /// [`Refusal::NotFound`] for an unfinished upload.
    pub fn new(
        requested: &[u8],
        root: &RootPrefixes,
        buffer: &'a mut [u8; NAME_MAX],
    ) -> Result<FileName<'a>, Refusal> {
        let absolute = requested.first().is_some_and(|&first| is_separator(first));
        let name = normalise(requested, buffer)?;
        match root.strip(name.0) {
            Some(rest) if absolute => Ok(FileName(rest)),
            Some(_) | None => Ok(name),
        }
    }

    /// The bytes of the name, at least one.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// A copy that owns its bytes.
    pub fn to_owned(self) -> FileNameBuf {
        FileNameBuf(self.0.into())
    }

    /// A copy in `buffer`.
    pub fn copied<'b>(self, buffer: &'b mut [u8; NAME_MAX]) -> FileName<'b> {
        let copy = &mut buffer[..self.0.len()];
        copy.copy_from_slice(self.0);
        FileName(copy)
    }

    /// The file of this name in `directory`; `None` if that is too long.
    pub fn within(self, directory: FileName<'_>) -> Option<FileNameBuf> {
        let whole = [directory.0, self.0].join(&b'/');
        (whole.len() <= NAME_MAX).then(|| FileNameBuf(whole.into()))
    }

    /// The same name as seen from `directory`; `None` if it does not lie there. Undoes [`FileName::within`].
    pub fn beneath(self, directory: FileName<'_>) -> Option<FileName<'a>> {
        let rest = self.0.strip_prefix(directory.0)?.strip_prefix(b"/")?;
        Some(FileName(rest))
    }
}

/// A [`FileName`] that owns its bytes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct FileNameBuf(Box<[u8]>);

impl FileNameBuf {
    /// The name, borrowed.
    pub fn as_name(&self) -> FileName<'_> {
        FileName(&self.0)
    }
}

/// Whether two requested names are the same but for slashes and the like.
pub fn are_same(one: &[u8], other: &[u8]) -> bool {
    if one == other {
        return true;
    }
    let [mut buffer, mut other_buffer] = [[0; NAME_MAX]; 2];
    match (
        normalise(one, &mut buffer),
        normalise(other, &mut other_buffer),
    ) {
        (Ok(one), Ok(other)) => one == other,
        (Ok(_) | Err(_), _) => false,
    }
}

impl Borrow<[u8]> for FileNameBuf {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

fn is_separator(byte: u8) -> bool {
    byte == b'/' || byte == b'\\'
}

fn normalise<'a>(
    requested: &[u8],
    buffer: &'a mut [u8; NAME_MAX],
) -> Result<FileName<'a>, Refusal> {
    let end = requested
        .iter()
        .rposition(|&byte| byte != 0xFF)
        .map_or(0, |last| last + 1);
    let mut length = 0;
    for component in requested[..end].split(|&byte| is_separator(byte)) {
        match component {
            b"" | b"." => {}
            b".." => length = parent(&buffer[..length]).ok_or(Refusal::OutsideRoot)?,
            _ if component.contains(&0) => return Err(Refusal::OutsideRoot),
            _ if is_unfinished(component) => return Err(Refusal::NotFound),
            _ => length = append(buffer, length, component).ok_or(Refusal::NameTooLong)?,
        }
    }
    if length == 0 {
        Err(Refusal::EmptyName)
    } else {
        Ok(FileName(&buffer[..length]))
    }
}

fn is_unfinished(component: &[u8]) -> bool {
    let begin = component.get(..UNFINISHED.len());
    begin.is_some_and(|begin| begin.eq_ignore_ascii_case(UNFINISHED))
}

/// The length of `path` without its last component; `None` if it has none.
fn parent(path: &[u8]) -> Option<usize> {
    if path.is_empty() {
        return None;
    }
    Some(path.iter().rposition(|&byte| byte == b'/').unwrap_or(0))
}

/// Appends `/component` and returns the new length; `None` if it does not fit.
fn append(buffer: &mut [u8; NAME_MAX], length: usize, component: &[u8]) -> Option<usize> {
    let mut begin = length;
    if length > 0 {
        *buffer.get_mut(length)? = b'/';
        begin += 1;
    }
    let end = begin + component.len();
    buffer.get_mut(begin..end)?.copy_from_slice(component);
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn safe(requested: &[u8]) -> Result<Vec<u8>, Refusal> {
        let root = RootPrefixes::new([&b"/srv/tftp"[..], b"/data/boot/"]);
        let mut buffer = [0; NAME_MAX];
        FileName::new(requested, &root, &mut buffer).map(|name| name.as_bytes().to_vec())
    }

    #[test]
    fn names_that_are_served() {
        let cases: [(&[u8], &[u8]); 15] = [
            (b"pxelinux.0", b"pxelinux.0"),
            (b"/pxelinux.0", b"pxelinux.0"),
            (b"//a///b/./c/", b"a/b/c"),
            (b"\\boot\\x64\\bcd", b"boot/x64/bcd"),
            (b"a/../b", b"b"),
            (b"/srv/tftp/x", b"x"),
            (b"/data/boot//x", b"x"),
            (b"srv/tftp/x", b"srv/tftp/x"),
            (b"/srv/tftp-secret/x", b"srv/tftp-secret/x"),
            (b"/srv/tftp", b"srv/tftp"),
            (b"undionly.kpxe\xFF\xFF", b"undionly.kpxe"),
            (b"\xE9t\xE9", b"\xE9t\xE9"),
            (b"...", b"..."),
            (b"....//x", b"..../x"),
            (b"tftpd-upload-1", b"tftpd-upload-1"),
        ];
        for (requested, expected) in cases {
            assert_eq!(
                safe(requested).as_deref(),
                Ok(expected),
                "{}",
                requested.escape_ascii()
            );
        }
    }

    #[test]
    fn names_that_are_the_same() {
        for other in [&b"/a/b"[..], b"a\\b", b"//a/./b", b"a/b\xFF", b"a/b"] {
            assert!(are_same(b"a/b", other), "{}", other.escape_ascii());
        }
        for (one, other) in [
            (&b"a/b"[..], &b"A/b"[..]),
            (b"a", b".."),
            (b"", b"/"),
            (b"..", b"../"),
        ] {
            assert!(!are_same(one, other), "{}", other.escape_ascii());
        }
        assert!(are_same(b"..", b"..") && are_same(b"", b""));
    }

    #[test]
    fn names_that_are_refused() {
        let cases: [(&[u8], Refusal); 11] = [
            (b"", Refusal::EmptyName),
            (b"/", Refusal::EmptyName),
            (b"a/..", Refusal::EmptyName),
            (b"\xFF\xFF", Refusal::EmptyName),
            (b"..", Refusal::OutsideRoot),
            (b"../etc/passwd", Refusal::OutsideRoot),
            (b"a/../../b", Refusal::OutsideRoot),
            (b"..\\..\\boot.ini", Refusal::OutsideRoot),
            (b"a\0b", Refusal::OutsideRoot),
            (b".tftpd-upload-0123456789abcdef", Refusal::NotFound),
            (b"a\\.TFTPD-Upload-x/b", Refusal::NotFound),
        ];
        for (requested, refusal) in cases {
            assert_eq!(
                safe(requested),
                Err(refusal),
                "{}",
                requested.escape_ascii()
            );
        }
    }

    #[test]
    fn the_longest_name_fits_and_one_byte_more_does_not() {
        assert_eq!(safe(&[b'a'; NAME_MAX]).map(|name| name.len()), Ok(NAME_MAX));
        assert_eq!(safe(&[b'a'; NAME_MAX + 1]), Err(Refusal::NameTooLong));
        assert_eq!(
            safe(&[&[b'a'; NAME_MAX][..], b"/b"].concat()),
            Err(Refusal::NameTooLong)
        );
    }
}
