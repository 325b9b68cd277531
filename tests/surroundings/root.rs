//! Directories to serve, each test its own, and files whose every byte shows where it belongs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::stat::{Mode, umask};

/// A directory of its own below the temporary directory; gone with the value.
pub(crate) struct Root {
    outer: PathBuf,
    path: PathBuf,
}

impl Root {
    pub(crate) fn new() -> Self {
        // The server gives up root, so its files must be readable by others, whatever the umask of the tests.
        umask(Mode::from_bits_truncate(0o022));
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = format!(
            "tftpd-test-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let outer = std::env::temp_dir().join(unique);
        let path = outer.join("root");
        fs::create_dir_all(&path).unwrap();
        Self { outer, path }
    }

    /// With one file, named `file`.
    pub(crate) fn with_file(length: usize) -> (Self, Vec<u8>) {
        let root = Self::new();
        let bytes = root.write("file", length);
        (root, bytes)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What lies outside the root, beside it.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.outer.join(name)
    }

    /// A file of rules beside the root, in a directory of its own; as an argument.
    pub(crate) fn rules(&self, rules: &str) -> String {
        let path = self.beside("rules/map");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, rules).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// A path in it, as an argument.
    pub(crate) fn at(&self, name: &str) -> String {
        self.file(name).to_str().unwrap().to_owned()
    }

    /// A file of that length with bytes of its own, which are handed back.
    pub(crate) fn write(&self, name: impl AsRef<Path>, length: usize) -> Vec<u8> {
        let name_bytes = name.as_ref().as_os_str().as_encoded_bytes();
        let seed = name_bytes
            .iter()
            .fold(0, |seed, &byte| mixed(seed ^ u64::from(byte)));
        let bytes = pattern(length, seed);
        self.write_bytes(name, &bytes);
        bytes
    }

    pub(crate) fn write_bytes(&self, name: impl AsRef<Path>, bytes: &[u8]) {
        let path = self.file(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// As one file put in the place of another by an operator who does it properly.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) {
        let new = self.beside("new");
        fs::write(&new, bytes).unwrap();
        fs::rename(new, self.file(name)).unwrap();
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // What is left behind is in the temporary directory, and a test that failed already has said more important things.
        let _ = fs::remove_dir_all(&self.outer);
    }
}

/// No block of it is like another, so that one in a wrong place is seen.
pub(crate) fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let words = 0..u64::try_from(length.div_ceil(8)).unwrap();
    let mut bytes: Vec<u8> = words
        .flat_map(|word| mixed(word ^ seed).to_le_bytes())
        .collect();
    bytes.truncate(length);
    bytes
}

/// Of random text with the two characters that netascii translates, and the one it uses for that.
pub(crate) fn text(length: usize) -> Vec<u8> {
    pattern(length, 1)
        .into_iter()
        .map(|byte| match byte % 8 {
            0 => b'\r',
            1 => b'\n',
            2 => 0,
            _ => b'a' + byte % 26,
        })
        .collect()
}

/// Compares without printing megabytes where it fails.
#[track_caller]
pub(crate) fn assert_same(fetched: &[u8], expected: &[u8]) {
    assert_eq!(fetched.len(), expected.len(), "length");
    if let Some(at) = fetched
        .iter()
        .zip(expected)
        .position(|(one, other)| one != other)
    {
        panic!("byte {at} of {} differs", expected.len());
    }
}

/// Spreads the bits of a number over the whole word: the finalizer of MurmurHash3.
pub(crate) fn mixed(mut word: u64) -> u64 {
    word = (word ^ (word >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    word = (word ^ (word >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ (word >> 33)
}
