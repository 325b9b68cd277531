//! The files as they should be, to compare with what comes.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The files of a directory, each read once, when it is first needed.
#[derive(Debug)]
pub(crate) struct Library {
    directory: PathBuf,
    /// Files that are asked for by other names.
    renamed: HashMap<String, String>,
    files: HashMap<Box<str>, Option<Rc<[u8]>>>,
}

impl Library {
    /// `files`: each as it is asked for, and as it is called.
    pub(crate) fn new(directory: PathBuf, files: &[(String, String)]) -> Library {
        Library {
            directory,
            renamed: files.iter().cloned().collect(),
            files: HashMap::new(),
        }
    }

    /// What a file holds; `None` where it cannot be read.
    pub(crate) fn file(&mut self, name: &str) -> Option<Rc<[u8]>> {
        if let Some(known) = self.files.get(name) {
            return known.clone();
        }
        let file = self.renamed.get(name).map_or(name, String::as_str);
        let path = path_of(&self.directory, file);
        let content = fs::read(path).ok().map(Rc::from);
        self.files.insert(name.into(), content.clone());
        content
    }
}

/// Where in a directory the file of this name is.
pub(crate) fn path_of(directory: &Path, name: &str) -> PathBuf {
    directory.join(name.trim_start_matches('/'))
}
