//! The served directories: names to open files, and one mapping for all transfers of a file.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use nix::errno::Errno;

use super::beneath;
use super::content::{Buffered, Content};
use super::devices::LocalDevice;
use super::mapping::{Mapped, Mapping, reads_are_counted};
pub use super::opened::Opened;
use super::place::{self, Writable, WriteRules};
pub use super::places::{Answer, Places, Unavailable, Unserved};
use super::places::{first_of, regular, unavailable};
pub use super::root::{Astray, Root, Seen};
pub use super::spelling::Listings;
use super::state::{DeviceNumber, Version};
use super::sweep::Sweep;
use crate::name::{FileName, FileNameBuf, RootPrefixes};

/// The directories that are served.
#[derive(Debug)]
pub struct Files {
    /// Searched in this order.
    roots: Vec<Root>,
    /// What may be written, and where, beneath the first root; `None` if nothing may be.
    writable: Option<Writable>,
    /// Only files that others may read (o+r) are opened.
    public_only: bool,
    /// The devices below the roots that are known to be disks of this machine: opening a file whose name is cached waits
    /// for nobody there.
    local_devices: Vec<LocalDevice>,
    /// What the helper has found, or what is known of directories says, for those who asked.
    known: Option<(FileNameBuf, Result<Arc<Opened>, Unavailable>)>,
    /// What directories hold, as far as somebody has looked: for the helper to learn, and the loop to know.
    pub listings: Listings,
    /// What was found last, for the client that is about to open it.
    found: Option<(FileNameBuf, Arc<Opened>)>,
    mappings: HashMap<Version, Weak<Mapping>>,
    /// There are never more mappings than this.
    mappings_max: usize,
    reads_counted: bool,
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
            writable: None,
            public_only,
            local_devices: Vec::new(),
            known: None,
            listings: Listings::default(),
            found: None,
            mappings: HashMap::new(),
            mappings_max: MAPPINGS_MAX,
            reads_counted: reads_are_counted(),
        };
        for path in roots {
            let root = Root::open(path).map_err(|error| (path.as_path(), error))?;
            files.remember_local(root.local_device);
            files.roots.push(root);
        }
        Ok(files)
    }

    /// The directories, in the order in which they are searched.
    pub fn roots(&self) -> &[Root] {
        &self.roots
    }

    /// Serves this directory from now on in the place of the one with this number. What is open stays open.
    pub fn change_root(&mut self, number: usize, root: Root) {
        self.remember_local(root.local_device);
        if let Some(writable) = self.writable.as_mut().filter(|_| number == 0) {
            writable.root = root.tree.clone();
        }
        self.roots[number] = root;
    }

    /// The absolute names of the roots, for names that begin with one.
    pub fn root_prefixes(&self) -> RootPrefixes {
        let roots = self.roots.iter().flat_map(|root| root.tree.names.iter());
        RootPrefixes::new(roots.map(Vec::as_slice))
    }

    /// Follows no link to a root from now on: paths are about to mean something else.
    pub fn pin_roots(&mut self) {
        self.roots.iter_mut().for_each(Root::pin);
    }

    /// All that may ever have to be read lies beneath these.
    pub fn directories(&self) -> Vec<BorrowedFd<'_>> {
        let mut directories: Vec<_> = self.roots.iter().map(Root::directory).collect();
        let holders = self.roots.iter().filter_map(Root::holder);
        directories.extend(holders.map(|(directory, _)| directory));
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
        let root = self.roots[0].tree.clone();
        let open = |path: &'p PathBuf| {
            let found = place::directory_beneath(&root, path.as_os_str().as_bytes());
            found.map_err(|error| (&**path, error.into()))
        };
        let directories = directories.iter().map(open).collect::<Result<_, _>>()?;
        self.writable = Some(Writable {
            root,
            rules,
            directories,
        });
        Ok(())
    }

    /// All that may ever be written lies beneath these: what a link to the first root may lead to is among it, unless the
    /// operator has named directories.
    pub fn ever_writable(&self) -> Vec<BorrowedFd<'_>> {
        let mut directories = self.writable_directories();
        if let Some(writable) = &self.writable
            && writable.directories.is_empty()
        {
            let holder = self.roots[0].holder();
            directories.extend(holder.map(|(directory, _)| directory));
        }
        directories
    }

    /// Beneath these clients may write.
    pub fn writable_directories(&self) -> Vec<BorrowedFd<'_>> {
        match &self.writable {
            None => Vec::new(),
            Some(writable) if writable.directories.is_empty() => vec![self.roots[0].directory()],
            Some(writable) => {
                let directories = writable.directories.iter();
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
        Ok(self.writable.is_some().then(|| Sweep::new(owned)))
    }

    /// What the helper needs to look where uploads may go; `None` if nothing may be written.
    pub fn writable(&self) -> Option<Writable> {
        self.writable.clone()
    }

    /// What the helper needs to open files.
    pub fn places(&self) -> Places {
        Places {
            trees: self.roots.iter().map(|root| root.tree.clone()).collect(),
            public_only: self.public_only,
        }
    }

    /// Looks whether a file could be opened now, and returns its size in bytes. It is kept for the client that opens it
    /// next, until [`Files::forget_found`].
    ///
    /// # Errors
    /// As [`Files::open`].
    pub fn find(&mut self, name: FileName<'_>) -> Result<u64, Unavailable> {
        self.found = None;
        let opened = self.open_now(name)?;
        let size = opened.version.size;
        self.found = Some((name.to_owned(), opened));
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
        let opened = match found {
            Some((_, opened)) => opened,
            None => self.open_now(name)?,
        };
        let size = opened.version.size;
        let content = match self.mapping(opened, as_text) {
            Ok(mapping) => Content::Mapped(Mapped::new(mapping)),
            Err(opened) => Content::Read(Box::new(Buffered::new(opened, as_text))),
        };
        Ok((content, size))
    }

    pub(super) fn local_device(&self, number: DeviceNumber) -> Option<LocalDevice> {
        let mut devices = self.local_devices.iter();
        devices.find(|device| device.number == number).copied()
    }

    fn remember_local(&mut self, device: Option<LocalDevice>) {
        if let Some(device) = device
            && self.local_devices.len() < LOCAL_DEVICES_MAX
            && !self.local_devices.contains(&device)
        {
            self.local_devices.push(device);
        }
    }

    /// What is known of a name, until [`Files::forget_found`].
    pub fn keep_found(&mut self, name: FileNameBuf, opened: Result<Arc<Opened>, Unavailable>) {
        if let Ok(opened) = &opened {
            self.remember_local(opened.local_device);
        }
        self.known = Some((name, opened));
    }

    /// The client that asked for it has it.
    pub fn forget_found(&mut self) {
        self.known = None;
        self.found = None;
    }

    /// Opens a file without waiting for any disk.
    pub(super) fn open_now(&self, name: FileName<'_>) -> Result<Arc<Opened>, Unavailable> {
        match &self.known {
            Some((known, opened)) if known.as_name() == name => opened.clone(),
            _ => first_of(&self.roots, |root| {
                let is_local = root.local_device.is_some();
                let (directory, devices) = (&root.tree.directory, &self.local_devices);
                let file = beneath::open_cached(directory, is_local, devices, name.as_bytes());
                let file = file.map_err(|error| match error {
                    Errno::EAGAIN => Unavailable::Unknown,
                    error => unavailable(error),
                })?;
                let (file, state) = regular(file, self.public_only)?;
                let local_device = self.local_device(state.device());
                Ok(Arc::new(Opened::new(file, &state, local_device)))
            }),
        }
    }

    /// The mapping of a file, shared with other transfers of it; the file itself where it is empty, to be translated or
    /// cannot be mapped.
    fn mapping(&mut self, opened: Arc<Opened>, as_text: bool) -> Result<Rc<Mapping>, Arc<Opened>> {
        let version = opened.version;
        if version.size == 0 || as_text {
            return Err(opened);
        }
        if let Some(shared) = self.mappings.get(&version).and_then(Weak::upgrade) {
            return Ok(shared);
        }
        // Before their table grows: of some files nobody is sent anything any more.
        if self.mappings.len() >= self.mappings.capacity().min(self.mappings_max) {
            self.mappings
                .retain(|_, mapping| mapping.strong_count() > 0);
        }
        if self.mappings.len() >= self.mappings_max {
            return Err(opened);
        }
        let mapping = Rc::new(Mapping::new(opened, self.reads_counted)?);
        self.mappings.insert(version, Rc::downgrade(&mapping));
        Ok(mapping)
    }
}

/// Devices that are remembered; files on others are opened by the helper.
const LOCAL_DEVICES_MAX: usize = 64;

/// Half of what Linux allows a process (vm.max_map_count). Where all are taken, the next allocation
/// fails, and with it the program.
const MAPPINGS_MAX: usize = 32_768;

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;
    use crate::moment::Moment;
    use crate::name::NAME_MAX;
    use crate::os::state::State;

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
        let state = State::of(&read).expect("a state");
        let read = Opened::new(read.into(), &state, None);
        let read = Buffered::new(Arc::new(read), false);
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
