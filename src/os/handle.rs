//! An open file. To close one may mean to ask a server and to wait for its answer: that is the helper's, too.

use std::fmt;
use std::fs::File;
use std::ops::Deref;
use std::sync::Arc;

/// An open file, closed with the value.
#[derive(Debug)]
pub(super) struct Handle {
    /// Always there, but for the end.
    file: Option<File>,
    /// Who closes it, if that may take long.
    closer: Option<Closer>,
}

/// Takes files to be closed.
#[derive(Clone)]
pub(super) struct Closer(Arc<dyn Fn(File) + Send + Sync>);

impl Handle {
    /// A file that is closed at once.
    pub(super) fn local(file: File) -> Handle {
        let file = Some(file);
        Handle { file, closer: None }
    }

    /// A file of a server or a daemon.
    pub(super) fn remote(file: File, closer: &Closer) -> Handle {
        Handle {
            file: Some(file),
            closer: Some(closer.clone()),
        }
    }

    /// What is known of it may be old, and news of it may be long in coming.
    pub(super) fn is_remote(&self) -> bool {
        self.closer.is_some()
    }
}

impl Deref for Handle {
    type Target = File;

    fn deref(&self) -> &File {
        self.file.as_ref().expect("it is taken out at the end only")
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let (Some(file), Some(Closer(close))) = (self.file.take(), &self.closer) {
            close(file);
        }
    }
}

impl Closer {
    pub(super) fn new(close: impl Fn(File) + Send + Sync + 'static) -> Closer {
        Closer(Arc::new(close))
    }
}

impl fmt::Debug for Closer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Closer")
    }
}
