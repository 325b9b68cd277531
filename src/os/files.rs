//! The served directory: names to open files, and one mapping for all transfers of a file.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use memmap2::Mmap;
use nix::sys::stat::FileStat;

use super::beneath;
use super::content::{Content, ReadContent, TextContent};
use super::devices::{self, DeviceNumber, LocalDevice};
use super::handle::Handle;
use super::mapping::{self, Mapped, Mapping, reads_are_counted};
use super::original::Original;
use super::place::{self, Writable, WriteRules, Writing};
pub use super::places::{Lookup, Opened, Places, Unavailable};
use super::places::{Regular, is_elsewhere, number_of, regular, size_of, unavailable};
use super::root::{self, Root};
pub use super::root::{Astray, Found};
use super::spelling::{Listings, NotKnown};
use super::sweep::Sweep;
use super::walk::{Bounds, Walk};
use crate::name::{FileName, FileNameBuf, RootPrefixes};
use crate::wire::Refusal;

/// The directory that is served.
#[derive(Debug)]
pub struct Files {
    /// Searched in this order.
    roots: Vec<Served>,
    /// What may be written, and where, beneath the first root; `None` if nothing may be.
    writing: Option<Arc<Writing>>,
    /// Only files that others may read (o+r) are opened.
    public_only: bool,
    /// The devices below the root that are known to be disks of this machine: opening a file whose name is cached waits
    /// for nobody there.
    local_devices: Vec<LocalDevice>,
    /// What the helper has opened, for those who asked.
    known: Option<Known>,
    /// A name that nobody has, as what is known of directories says.
    missing: Option<FileNameBuf>,
    /// What directories hold, as far as somebody has looked.
    listings: Listings,
    /// What was found last, for the client that is about to open it.
    found: Option<(FileNameBuf, Regular)>,
    mappings: HashMap<Identity, Weak<Mapping>>,
    /// Mappings are looked through when there are more than this.
    mappings_kept: usize,
    /// There are never more mappings than this.
    mappings_max: usize,
    reads_counted: bool,
}

/// A directory that is served.
#[derive(Debug)]
struct Served {
    root: Root,
    /// It is on one of the devices that are known.
    is_local: bool,
}

/// A name that was looked up, and the file.
#[derive(Debug)]
struct Known {
    name: FileNameBuf,
    opened: Result<Opened, Unavailable>,
}

/// Where the path of the root leads, as the helper saw it.
#[derive(Debug)]
pub struct Seen {
    root: root::Seen,
    local_device: Option<LocalDevice>,
}

/// What makes two open files the same file in the same state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Identity {
    device: u64,
    inode: u64,
    size: i64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    #[allow(
        clippy::unnecessary_cast,
        reason = "the width of these fields differs between systems"
    )]
    fn of(state: &FileStat) -> Identity {
        Identity {
            device: state.st_dev as u64,
            inode: state.st_ino as u64,
            size: state.st_size as i64,
            modified: (state.st_mtime as i64, state.st_mtime_nsec as i64),
            changed: (state.st_ctime as i64, state.st_ctime_nsec as i64),
        }
    }
}

impl Files {
    /// Serves the directories `roots` from now on, also if they are renamed, and follows links that lead there; with
    /// `public_only` what others may not read is refused. A name is looked for in each in turn. Links may lead from one
    /// to another.
    ///
    /// # Errors
    /// Where one cannot be read, or is no directory, with its path.
    pub fn new(roots: &[PathBuf], public_only: bool) -> Result<Files, (&Path, io::Error)> {
        let mut files = Files {
            roots: Vec::new(),
            writing: None,
            public_only,
            local_devices: Vec::new(),
            known: None,
            missing: None,
            listings: Listings::default(),
            found: None,
            mappings: HashMap::new(),
            mappings_kept: MAPPINGS_KEPT_MIN,
            mappings_max: MAPPINGS_MAX,
            reads_counted: reads_are_counted(),
        };
        for path in roots {
            let root = Root::open(path).map_err(|error| (path.as_path(), error))?;
            let local_device = devices::local_device(root.directory());
            let is_local = local_device.is_some();
            files.roots.push(Served { root, is_local });
            files.remember_local(local_device);
        }
        Ok(files)
    }

    /// The absolute names of the roots, for names that begin with one.
    pub fn root_prefixes(&self) -> RootPrefixes {
        let roots = self.roots.iter().flat_map(|it| it.root.names().iter());
        RootPrefixes::new(roots.map(Vec::as_slice))
    }

    /// How many roots there are.
    pub fn roots(&self) -> usize {
        self.roots.len()
    }

    /// What the helper needs to look whether the path that was given still leads to this root.
    pub fn look_at_root(&self, number: usize) -> root::Look {
        self.roots[number].root.look()
    }

    /// Takes note of what it saw, and follows a link that was swapped. What is open stays open.
    pub fn follow_root(&mut self, number: usize, seen: Seen) -> Found {
        let found = self.roots[number].root.follow(seen.root);
        self.remember_local(seen.local_device);
        self.look_at_devices();
        found
    }

    /// The path of a root as it was given, made absolute.
    pub fn given_path(&self, number: usize) -> &Path {
        self.roots[number].root.path()
    }

    /// The path of a root without links.
    pub fn root_path(&self, number: usize) -> &Path {
        self.roots[number].root.real_path()
    }

    /// Follows no link from now on: paths are about to mean something else.
    pub fn pin_roots(&mut self) {
        self.roots.iter_mut().for_each(|it| it.root.pin());
    }

    /// The directory beneath which a link to a root is followed when it is swapped.
    pub fn followed_within(&self, number: usize) -> Option<&Path> {
        self.roots[number].root.holder().map(|(_, path)| path)
    }

    /// The path of a root leads over a link that is not followed when it is swapped.
    pub fn ignores_a_link(&self, number: usize) -> bool {
        self.roots[number].root.ignores_a_link()
    }

    /// The directory itself.
    pub fn directory(&self, number: usize) -> BorrowedFd<'_> {
        self.roots[number].root.directory().as_fd()
    }

    /// All that may ever have to be read lies beneath these.
    pub fn directories(&self) -> Vec<BorrowedFd<'_>> {
        let mut directories = Vec::new();
        for Served { root, .. } in &self.roots {
            directories.push(root.directory().as_fd());
            directories.extend(root.holder().map(|(directory, _)| directory));
        }
        directories
    }

    /// Lets clients write beneath these directories, which lie beneath the first root; none of them: beneath that root.
    ///
    /// # Errors
    /// The first that is no such directory, and why not.
    pub fn allow_uploads<'p>(
        &mut self,
        rules: WriteRules,
        directories: &'p [PathBuf],
    ) -> Result<(), (&'p Path, io::Error)> {
        let place = self.roots[0].root.place();
        let open = |path: &'p PathBuf| {
            let found =
                place::directory_beneath(place.directory, place.names, path.as_os_str().as_bytes());
            found.map_err(|error| (&**path, error.into()))
        };
        let directories = directories.iter().map(open).collect::<Result<_, _>>()?;
        self.writing = Some(Arc::new(Writing { rules, directories }));
        Ok(())
    }

    /// All that may ever be written lies beneath these: what a link to the first root may lead to is among it, unless the
    /// operator has named directories.
    pub fn ever_writable(&self) -> Vec<BorrowedFd<'_>> {
        let mut directories = self.writable_directories();
        if let Some(writing) = &self.writing
            && writing.directories.is_empty()
            && let Some((holder, _)) = self.roots[0].root.holder()
        {
            directories.push(holder);
        }
        directories
    }

    /// Beneath these clients may write.
    pub fn writable_directories(&self) -> Vec<BorrowedFd<'_>> {
        match &self.writing {
            None => Vec::new(),
            Some(writing) if writing.directories.is_empty() => vec![self.directory(0)],
            Some(writing) => {
                let directories = writing.directories.iter();
                directories.map(|(it, _)| it.as_fd()).collect()
            }
        }
    }

    /// A walk that removes what an earlier process did not finish; `None` if nothing may be written.
    ///
    /// # Errors
    /// Where descriptors ran out.
    pub fn sweep(&self) -> io::Result<Option<Sweep>> {
        let directories = self.writable_directories();
        let owned = directories.iter().map(BorrowedFd::try_clone_to_owned);
        let owned = owned.collect::<io::Result<Vec<_>>>()?;
        Ok(self.writing.is_some().then(|| Sweep::new(owned)))
    }

    /// What the helper needs to look where uploads may go; `None` if nothing may be written.
    pub fn writable(&self) -> Option<Writable> {
        let root = &self.roots[0].root;
        Some(Writable {
            root: Arc::clone(root.directory()),
            root_names: Arc::clone(root.names()),
            writing: Arc::clone(self.writing.as_ref()?),
        })
    }

    /// A walk past everything below a root.
    ///
    /// # Errors
    /// Where descriptors ran out.
    pub fn walk(&self, number: usize, bounds: Bounds) -> io::Result<Walk<'_>> {
        let places = self.roots.iter().map(|it| it.root.place()).collect();
        Walk::new(places, number, self.public_only, bounds)
    }

    /// Whether a file could be opened, if memory says so.
    pub fn opens_now(&self, name: FileName<'_>) -> Option<Result<(), Refusal>> {
        match self.open_regular(name) {
            Ok(_) => Some(Ok(())),
            Err(Unavailable::Refused(refusal)) => Some(Err(refusal)),
            Err(Unavailable::Busy | Unavailable::Unknown | Unavailable::Exhausted) => None,
        }
    }

    /// Whether there is such a directory in any of the roots, if memory says so.
    pub fn has_directory_now(&self, name: FileName<'_>) -> Option<bool> {
        for Served { root, .. } in &self.roots {
            let directory = root.directory().as_fd();
            let found = beneath::open_directory_cached(directory, name.as_bytes());
            if found.ok()?.is_some() {
                return Some(true);
            }
        }
        Some(false)
    }

    /// What the helper is to learn about directories, and the loop to know.
    pub fn listings(&self) -> Listings {
        self.listings.clone()
    }

    /// The spelling of a name for which `is_it` holds, `None` if there is none, if memory says so.
    pub(super) fn spell_now(
        &self,
        name: FileName<'_>,
        is_it: impl FnMut(FileName<'_>) -> Result<bool, NotKnown>,
    ) -> Result<Option<FileNameBuf>, NotKnown> {
        let places: Vec<_> = self.roots.iter().map(|it| it.root.place()).collect();
        let is_local = |number| self.local_device(number).is_some();
        self.listings.spell_now(&places, name, is_local, is_it)
    }

    /// There is no file of this name, until [`Files::forget_found`].
    pub fn keep_missing(&mut self, name: FileNameBuf) {
        self.missing = Some(name);
    }

    /// Looks whether a file could be opened now, and returns its size in bytes. It is kept for the client that opens it
    /// next, until [`Files::forget_found`].
    ///
    /// # Errors
    /// As [`Files::open`].
    pub fn find(&mut self, name: FileName<'_>) -> Result<u64, Unavailable> {
        self.found = None;
        let regular = self.open_regular(name)?;
        let size = size_of(&regular.state);
        self.found = Some((name.to_owned(), regular));
        Ok(size)
    }

    /// Opens a file to be sent as it is, or, with `as_text`, as netascii; returns its size in bytes.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn open(
        &mut self,
        name: FileName<'_>,
        as_text: bool,
    ) -> Result<(Content, u64), Unavailable> {
        let found = self.found.take_if(|(found, _)| found.as_name() == name);
        let Regular {
            bytes,
            file,
            state,
            look,
        } = match found {
            Some((_, regular)) => regular,
            None => self.open_regular(name)?,
        };
        let original = Original::new(file, &state);
        let length = original.length;
        if as_text {
            let text = TextContent::new(original);
            return Ok((Content::Text(Box::new(text)), length));
        }
        let content = match self.mapping(original, bytes, &state, look) {
            Ok(mapping) => Content::Mapped(Mapped::new(mapping)),
            Err(original) => Content::Read(Box::new(ReadContent::new(original))),
        };
        Ok((content, length))
    }

    /// What the helper needs to open a file.
    pub fn lookup(&self, name: FileName<'_>) -> Lookup {
        Lookup {
            name: name.to_owned(),
            places: self.places(),
        }
    }

    /// What the helper needs to open files of any name.
    pub fn places(&self) -> Places {
        let roots = self.roots.iter().map(|it| &it.root);
        let directories =
            roots.map(|root| (Arc::clone(root.directory()), Arc::clone(root.names())));
        Places {
            directories: directories.collect(),
            public_only: self.public_only,
        }
    }

    fn look_at_devices(&mut self) {
        for at in 0..self.roots.len() {
            let number = devices::device_of(self.roots[at].root.directory());
            let is_local = number.is_some_and(|number| self.local_device(number).is_some());
            self.roots[at].is_local = is_local;
        }
    }

    fn local_device(&self, number: DeviceNumber) -> Option<LocalDevice> {
        let mut devices = self.local_devices.iter();
        devices.find(|device| device.number == number).copied()
    }

    fn remember_local(&mut self, device: Option<LocalDevice>) {
        if let Some(device) = device
            && self.local_devices.len() < LOCAL_DEVICES_MAX
            && !self.local_devices.contains(&device)
        {
            self.local_devices.push(device);
            self.look_at_devices();
        }
    }

    /// What the helper found, until [`Files::forget_found`].
    pub fn keep_found(&mut self, name: FileNameBuf, opened: Result<Opened, Unavailable>) {
        if let Ok(opened) = &opened {
            self.remember_local(opened.local_device);
        }
        self.known = Some(Known { name, opened });
    }

    /// The client that asked for it has it.
    pub fn forget_found(&mut self) {
        self.known = None;
        self.missing = None;
        self.found = None;
    }

    /// Opens a file without waiting for any disk.
    fn open_regular(&self, name: FileName<'_>) -> Result<Regular, Unavailable> {
        if let Some(found) = self.known.as_ref().filter(|it| it.name.as_name() == name) {
            return match &found.opened {
                Ok(opened) => Ok(opened.regular.clone()),
                Err(unavailable) => Err(*unavailable),
            };
        }
        if self.missing.as_ref().map(FileNameBuf::as_name) == Some(name) {
            return Err(Unavailable::Refused(Refusal::NotFound));
        }
        let mut first = None;
        for root in &self.roots {
            match self.open_beneath(root, name) {
                Err(Unavailable::Refused(refusal)) if is_elsewhere(refusal) => {
                    first = first.or(Some(refusal));
                }
                result => return result,
            }
        }
        Err(Unavailable::Refused(first.unwrap_or(Refusal::NotFound)))
    }

    fn open_beneath(
        &self,
        Served { root, is_local }: &Served,
        name: FileName<'_>,
    ) -> Result<Regular, Unavailable> {
        let (directory, devices) = (root.directory().as_fd(), &self.local_devices);
        match beneath::open_cached(directory, *is_local, devices, name.as_bytes()) {
            Ok(Some(file)) => {
                let (file, state) = regular(file, self.public_only)?;
                let device = self.local_device(number_of(&state));
                Ok(Regular {
                    bytes: None,
                    file: Arc::new(Handle::local(File::from(file))),
                    state,
                    look: device.map_or(mapping::Look::Read, mapping::Look::of_local),
                })
            }
            Ok(None) => Err(Unavailable::Unknown),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// The mapping of a file, shared with other transfers of it; the file itself where it is empty or
    /// cannot be mapped.
    fn mapping(
        &mut self,
        original: Original,
        bytes: Option<Arc<Mmap>>,
        state: &FileStat,
        look: mapping::Look,
    ) -> Result<Rc<Mapping>, Original> {
        if original.length == 0 {
            return Err(original);
        }
        let identity = Identity::of(state);
        if let Some(shared) = self.mappings.get(&identity).and_then(Weak::upgrade) {
            return Ok(shared);
        }
        self.forget_unused();
        if self.mappings.len() >= self.mappings_max {
            return Err(original);
        }
        let mapping = Rc::new(Mapping::new(original, bytes, look, self.reads_counted)?);
        self.mappings.insert(identity, Rc::downgrade(&mapping));
        Ok(mapping)
    }

    /// Forgets files that nobody is sent any more, whenever their number may have doubled or is the
    /// highest allowed.
    fn forget_unused(&mut self) {
        if self.mappings.len() >= self.mappings_kept.min(self.mappings_max) {
            self.mappings
                .retain(|_, mapping| mapping.strong_count() > 0);
            self.mappings_kept = MAPPINGS_KEPT_MIN.max(2 * self.mappings.len());
        }
    }
}

impl Seen {
    /// Looks, however long that takes.
    pub(super) fn by(look: &root::Look) -> Seen {
        let root = look.see();
        let local_device = match &root {
            root::Seen::Another(directory, ..) => devices::local_device(directory),
            root::Seen::Same | root::Seen::Astray(_) => None,
        };
        Seen { root, local_device }
    }
}

/// Devices that are remembered; files on others are opened by the helper.
const LOCAL_DEVICES_MAX: usize = 64;

/// Below this number it is not worth a look which mappings are still used.
const MAPPINGS_KEPT_MIN: usize = 256;

/// Half of what Linux allows a process (vm.max_map_count). Where all are taken, the next allocation
/// fails, and with it the program.
const MAPPINGS_MAX: usize = 32_768;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::moment::Moment;
    use crate::name::NAME_MAX;

    fn open(files: &mut Files, name: &str, as_text: bool) -> Content {
        let mut buffer = [0; NAME_MAX];
        let name = FileName::new(name.as_bytes(), &RootPrefixes::default(), &mut buffer);
        files
            .open(name.expect("a safe name"), as_text)
            .expect("a file")
            .0
    }

    fn bytes_of(mut content: Content, blksize: u16) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let offset = bytes.len() as u64;
            let before = offset.saturating_sub(u64::from(blksize));
            content
                .prepare(Moment::START, offset, blksize.into(), before)
                .expect("readable");
            let [first, second] = content.bytes(offset, blksize);
            let length = first.len() + second.len();
            bytes.extend([first, second].concat());
            if length < usize::from(blksize) {
                return bytes;
            }
        }
    }

    #[test]
    fn mapped_read_and_translated_files_give_the_same_bytes() {
        let directory = std::env::temp_dir().join(format!("tftpd-files-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let text: Vec<u8> = (0..10_000_u32)
            .map(|n| b"ab\ncd\r\0x"[n as usize % 8])
            .collect();
        fs::write(directory.join("file"), &text).expect("a file");
        let mut files = Files::new(std::slice::from_ref(&directory), false).expect("a root");
        let mapped = open(&mut files, "file", false);
        let read = File::open(directory.join("file")).expect("a file");
        let state = nix::sys::stat::fstat(&read).expect("a state");
        let read = Arc::new(Handle::local(read));
        let read = ReadContent::new(Original::new(read, &state));
        let mut netascii = VecDequeBytes::default();
        crate::wire::netascii::translate(&text, &mut netascii);
        for blksize in [8, 511, 512, 10_000, 65464] {
            let translated = open(&mut files, "file", true);
            assert_eq!(
                bytes_of(translated, blksize),
                Vec::from(netascii.clone()),
                "{blksize}"
            );
        }
        assert!(matches!(mapped, Content::Mapped(_)));
        assert_eq!(bytes_of(mapped, 512), text);
        assert_eq!(bytes_of(Content::Read(Box::new(read)), 512), text);
        fs::remove_dir_all(&directory).expect("clean up");
    }

    #[test]
    fn the_number_of_mappings_is_bounded() {
        let name = format!("tftpd-mappings-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).expect("a directory");
        for name in ["a", "b", "c"] {
            fs::write(directory.join(name), name).expect("a file");
        }
        let mut files = Files::new(std::slice::from_ref(&directory), false).expect("a root");
        files.mappings_max = 2;
        let is_mapped = |content: &Content| matches!(content, Content::Mapped(_));
        let [a, b, c] = ["a", "b", "c"].map(|name| open(&mut files, name, false));
        assert_eq!([&a, &b, &c].map(is_mapped), [true, true, false]);
        assert!(is_mapped(&open(&mut files, "a", false)), "it is shared");
        drop(b);
        assert!(is_mapped(&open(&mut files, "c", false)));
        assert_eq!(bytes_of(c, 512), b"c");
        fs::remove_dir_all(&directory).expect("clean up");
    }

    type VecDequeBytes = std::collections::VecDeque<u8>;
}
