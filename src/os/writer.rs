//! A second thread beside the loop, which writes what clients upload.
//!
//! Not the one that looks names up and reads (see `helper`): to put a file on the disk takes as long as the disk wants,
//! and machines that boot would wait for it.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use mio::Waker;
use nix::errno::Errno;

use super::place::Place;
use super::sweep::Sweep;
use super::upload::{Synced, Upload};
use super::worker::Worker;

/// Distinguishes uploads: the client's number, and which of those that had it.
pub type Key = (usize, u32);

/// What the writer is asked to do.
#[derive(Debug)]
pub enum Task {
    /// To write there from now on. Nothing is made yet.
    Begin(Key, Place),
    /// To write these bytes.
    Append(Key, Vec<u8>),
    /// To put the file on the disk and in its place.
    Finish(Key),
    /// To forget it, and to leave nothing behind.
    Abort(Key),
}

/// What came of it.
#[derive(Debug)]
pub enum Written {
    /// These bytes were written, or not.
    Appended(Key, Vec<u8>, Result<(), Errno>),
    /// The file is on the disk, or not.
    Finished(Key, Result<(), Errno>),
    /// The number of unfinished uploads of an earlier process that were removed.
    Swept(u64),
}

/// The writer, as the loop sees it. What it is asked has no bound of its own: each upload has one piece under way at
/// most, and those are counted by the caller.
pub type Writer = Worker<Task, Written>;

impl Writer {
    /// Starts the thread. `sweep` is what it does while it has nothing else to do.
    ///
    /// # Errors
    /// Where no thread may be started.
    pub fn start(waker: Arc<Waker>, mut sweep: Sweep) -> io::Result<Writer> {
        Writer::spawn("writer", usize::MAX, waker, move |desk, tasks| {
            // Once the loop is gone, what is unfinished goes, too.
            drop(tasks);
            let mut uploads = Uploads::default();
            let mut is_swept = false;
            let reply = |written| desk.reply(written);
            loop {
                let is_idle = uploads.ending.is_empty() && is_swept;
                let task = match is_idle {
                    true => desk.todo.recv().ok(),
                    false => desk.todo.try_recv().ok(),
                };
                match task {
                    Some(task) => uploads.take(task, &reply),
                    None if !uploads.ending.is_empty() => uploads.end(&reply),
                    None if !is_swept => {
                        if !sweep.step() {
                            is_swept = true;
                            reply(Written::Swept(sweep.removed));
                        }
                    }
                    // The loop is gone.
                    None => return,
                }
            }
        })
    }
}

/// All that are under way.
#[derive(Default)]
struct Uploads {
    by_key: HashMap<Key, Upload>,
    /// Those that are to be put on the disk: several at once cost little more than one.
    ending: Vec<(Key, Upload)>,
    /// What else was done meanwhile.
    done_meanwhile: usize,
}

impl Uploads {
    fn take(&mut self, task: Task, reply: &impl Fn(Written)) {
        match task {
            Task::Begin(key, place) => drop(self.by_key.insert(key, Upload::new(place))),
            Task::Append(key, bytes) => {
                let upload = self.by_key.get_mut(&key);
                let result = upload.map_or(Ok(()), |upload| upload.append(&bytes));
                if result.is_err() {
                    self.by_key.remove(&key);
                }
                reply(Written::Appended(key, bytes, result));
            }
            Task::Finish(key) => {
                if let Some(mut upload) = self.by_key.remove(&key) {
                    upload.start_writing();
                    self.ending.push((key, upload));
                }
            }
            Task::Abort(key) => {
                self.by_key.remove(&key);
                self.ending.retain(|(other, _)| *other != key);
            }
        }
        if !self.ending.is_empty() {
            self.done_meanwhile += 1;
            if self.ending.len() >= ENDING_MAX || self.done_meanwhile >= MEANWHILE_MAX {
                self.end(reply);
            }
        }
    }

    /// Puts them on the disk, and each directory once.
    fn end(&mut self, reply: &impl Fn(Written)) {
        self.done_meanwhile = 0;
        let mut finished = Vec::new();
        for (key, mut upload) in self.ending.drain(..) {
            match upload.finish() {
                Ok(()) => finished.push((key, upload)),
                Err(error) => {
                    drop(upload);
                    reply(Written::Finished(key, Err(error)));
                }
            }
        }
        let mut synced = Synced::new();
        for (key, mut upload) in finished {
            let result = upload.sync_name(&mut synced);
            reply(Written::Finished(key, result));
        }
    }
}

/// Uploads that end together.
const ENDING_MAX: usize = 64;
/// What is done before those that end have their turn.
const MEANWHILE_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::{Path, PathBuf};
    use std::time::SystemTime;

    use super::*;
    use crate::name::{FileName, NAME_MAX, RootPrefixes, UNFINISHED};
    use crate::os::files::Files;
    use crate::os::place::WriteRules;
    use crate::os::poll::Poll;
    use crate::os::sweep::STALE_AFTER;
    use crate::wire::Refusal;

    const KEY: Key = (7, 1);

    /// A directory with `old`, `locked` which others may not write, and `sub`; a writer for it.
    struct Tree {
        path: PathBuf,
        files: Files,
        writer: Writer,
        _poll: Poll,
    }

    impl Tree {
        fn new(test: &str, rules: WriteRules, directories: &[PathBuf]) -> Tree {
            let name = format!("tftpd-writer-{test}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(path.join("sub/below")).expect("directories");
            for (name, mode) in [("old", 0o777), ("locked", 0o644)] {
                fs::write(path.join(name), "old").expect("a file");
                let mode = fs::Permissions::from_mode(mode);
                fs::set_permissions(path.join(name), mode).expect("a mode");
            }
            let mut files = Files::new(std::slice::from_ref(&path), false).expect("a root");
            let allowed = files.allow_uploads(rules, directories);
            allowed.expect("directories for uploads");
            let poll = Poll::new().expect("a poll");
            let waker = Arc::new(poll.waker().expect("a waker"));
            let sweep = files.sweep().expect("descriptors").expect("uploads");
            let writer = Writer::start(waker, sweep).expect("a thread");
            Tree {
                path,
                files,
                writer,
                _poll: poll,
            }
        }

        fn look(&self, name: &str) -> Result<Place, Refusal> {
            let mut buffer = [0; NAME_MAX];
            let name = FileName::new(name.as_bytes(), &RootPrefixes::default(), &mut buffer);
            let writable = self.files.writable().expect("uploads");
            writable.place(name.expect("a safe name"))
        }

        fn ask(&self, task: Task) {
            self.writer.ask(task).expect("it is taken");
        }

        fn reply(&self) -> Written {
            let reply = self.writer.replies.recv().expect("a writer");
            match reply {
                Written::Swept(_) => self.reply(),
                _ => reply,
            }
        }

        fn write(&self, name: &str, pieces: &[&str]) -> Result<(), Errno> {
            let place = self.look(name).expect("a place");
            self.ask(Task::Begin(KEY, place));
            for piece in pieces {
                self.ask(Task::Append(KEY, piece.as_bytes().into()));
                let reply = self.reply();
                assert!(
                    matches!(reply, Written::Appended(KEY, _, Ok(()))),
                    "{reply:?}"
                );
            }
            self.ask(Task::Finish(KEY));
            match self.reply() {
                Written::Finished(KEY, result) => result,
                other => panic!("{other:?}"),
            }
        }

        fn read(&self, name: &str) -> (String, u32) {
            let path = self.path.join(name);
            let mode = fs::metadata(&path).expect("a file").permissions().mode();
            (fs::read_to_string(path).expect("text"), mode & 0o7777)
        }

        fn names(&self) -> Vec<String> {
            names(&self.path)
        }
    }

    fn names(path: &Path) -> Vec<String> {
        let entries = fs::read_dir(path).expect("a directory");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<_> = names.map(|it| it.into_string().expect("text")).collect();
        names.sort();
        names
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.path);
        }
    }

    const ALL: WriteRules = WriteRules {
        creates: true,
        replaces: true,
        public_only: false,
        umask: 0o022,
    };

    #[test]
    fn a_file_appears_whole_and_nobody_may_execute_it() {
        let tree = Tree::new("whole", ALL, &[]);
        assert_eq!(tree.write("new", &["one ", "two"]), Ok(()));
        assert_eq!(tree.read("new"), ("one two".into(), 0o644));
        assert_eq!(tree.write("sub/empty", &[]), Ok(()));
        assert_eq!(tree.read("sub/empty"), (String::new(), 0o644));
        // What is written over keeps its mode; the umask of the tests may take something away.
        assert_eq!(tree.write("old", &["new"]), Ok(()));
        let (text, mode) = tree.read("old");
        assert_eq!((&*text, mode & 0o7111), ("new", 0));
        assert_eq!(tree.names(), ["locked", "new", "old", "sub"]);
        assert_eq!(names(&tree.path.join("sub")), ["below", "empty"]);
    }

    #[test]
    fn what_breaks_off_leaves_the_old_file_and_nothing_else() {
        let tree = Tree::new("abort", ALL, &[]);
        for (name, other, ends) in [("old", "a", false), ("new", "b", false), ("old", "", true)] {
            let place = tree.look(name).expect("a place");
            tree.ask(Task::Begin(KEY, place));
            tree.ask(Task::Append(KEY, b"unfinished".into()));
            let reply = tree.reply();
            assert!(
                matches!(reply, Written::Appended(KEY, _, Ok(()))),
                "{reply:?}"
            );
            let unfinished = |name: &String| name.as_bytes().starts_with(UNFINISHED);
            assert_eq!(tree.names().iter().filter(|it| unfinished(it)).count(), 1);
            if ends {
                // Its directory goes away under it.
                fs::remove_dir_all(&tree.path).expect("removed");
                tree.ask(Task::Finish(KEY));
                let reply = tree.reply();
                let gone = Errno::ENOENT;
                assert!(matches!(reply, Written::Finished(KEY, Err(error)) if error == gone));
                return;
            }
            tree.ask(Task::Abort(KEY));
            // All that is asked is done in order.
            assert_eq!(tree.write(other, &["x"]), Ok(()));
            fs::remove_file(tree.path.join(other)).expect("a file");
            assert_eq!(tree.names(), ["locked", "old", "sub"]);
            assert_eq!(tree.read("old").0, "old");
        }
    }

    /// As one that was there before: not without the right to, and never under --write-once.
    #[test]
    fn a_file_that_is_made_meanwhile() {
        for (replaces, mode, is_replaced) in [
            (true, 0o666, true),
            (true, 0o444, false),
            (false, 0o666, false),
        ] {
            let rules = WriteRules {
                replaces,
                public_only: true,
                ..ALL
            };
            let tree = Tree::new(&format!("meanwhile-{replaces}-{mode:o}"), rules, &[]);
            let place = tree.look("new").expect("a place");
            fs::write(tree.path.join("new"), "theirs").expect("a file");
            let permissions = fs::Permissions::from_mode(mode);
            fs::set_permissions(tree.path.join("new"), permissions).expect("a mode");
            tree.ask(Task::Begin(KEY, place));
            tree.ask(Task::Finish(KEY));
            let Written::Finished(KEY, result) = tree.reply() else {
                panic!("it was finished");
            };
            assert_eq!(result.is_ok(), is_replaced, "{replaces} {mode:o}");
            let (text, expected) = (tree.read("new").0, if is_replaced { "" } else { "theirs" });
            assert_eq!(text, expected);
            assert_eq!(tree.names(), ["locked", "new", "old", "sub"]);
        }
    }

    #[test]
    fn where_an_upload_may_go() {
        let tree = Tree::new("places", ALL, &[]);
        let outside = tree.path.with_extension("outside");
        for (target, name) in [
            ("sub", "to-sub"),
            ("sub/later", "dangling"),
            ("old", "to-old"),
            ("loop", "loop"),
            ("..", "up"),
            ("../tftpd-outside", "out"),
            ("nowhere/later", "astray"),
            ("/sub/absolute", "absolute"),
        ] {
            symlink(target, tree.path.join(name)).expect("a link");
        }
        symlink(&outside, tree.path.join("far")).expect("a link");
        for name in [
            "new",
            "old",
            "sub/new",
            "to-sub/below/new",
            "dangling",
            "to-old",
            "absolute",
        ] {
            let place = tree.look(name);
            assert!(place.is_ok_and(|place| !place.is_in_place()), "{name}");
        }
        // An absolute link begins at the root; what it names there is missing.
        for (name, refusal) in [
            ("none/new", Refusal::NoDirectory),
            ("old/new", Refusal::NoDirectory),
            ("astray", Refusal::NoDirectory),
            ("far", Refusal::NoDirectory),
            ("sub", Refusal::NotAFile),
            ("up/x", Refusal::OutsideRoot),
            ("out", Refusal::OutsideRoot),
            ("loop", Refusal::NoAccess),
        ] {
            assert_eq!(tree.look(name).expect_err(name), refusal, "{name}");
        }
        assert_eq!(tree.write("dangling", &["x"]), Ok(()));
        assert_eq!(tree.read("sub/later").0, "x");
        assert_eq!(tree.write("to-old", &["y"]), Ok(()));
        assert_eq!(tree.read("old").0, "y");
        assert!(tree.path.join("to-old").is_symlink());
    }

    #[test]
    fn the_rules_of_the_operator() {
        let cases: [(&str, WriteRules, [Option<Refusal>; 3]); 4] = [
            // A process that is root replaces only what others may write to.
            ("all", ALL, [None, None, root_only()]),
            (
                "overwrite",
                WriteRules {
                    creates: false,
                    ..ALL
                },
                [Some(Refusal::NotFound), None, root_only()],
            ),
            (
                "once",
                WriteRules {
                    replaces: false,
                    ..ALL
                },
                [None, Some(Refusal::FileExists), Some(Refusal::FileExists)],
            ),
            (
                "public",
                WriteRules {
                    public_only: true,
                    ..ALL
                },
                [None, None, Some(Refusal::NotPublicForWriting)],
            ),
        ];
        for (test, rules, expected) in cases {
            let tree = Tree::new(&format!("rules-{test}"), rules, &[]);
            let found = ["new", "old", "locked"].map(|name| tree.look(name).err());
            assert_eq!(found, expected, "{test}");
        }
    }

    fn root_only() -> Option<Refusal> {
        let is_root = nix::unistd::geteuid().is_root();
        is_root.then_some(Refusal::NotPublicForWriting)
    }

    #[test]
    fn only_below_the_directories_for_uploads() {
        let tree = Tree::new("directories", ALL, &["sub".into()]);
        symlink("sub/below", tree.path.join("inside")).expect("a link");
        symlink("/new", tree.path.join("sub/outside")).expect("a link");
        for name in ["sub/new", "sub/below/new", "inside/new"] {
            assert!(tree.look(name).is_ok(), "{name}");
        }
        for name in ["new", "old", "sub/outside"] {
            assert_eq!(
                tree.look(name).err(),
                Some(Refusal::NoUploadsHere),
                "{name}"
            );
        }
        let mut files = Files::new(std::slice::from_ref(&tree.path), false).expect("a root");
        let absolute = tree.path.join("sub/below");
        for (path, is_right) in [
            ("sub", true),
            ("/", false),
            (".", true),
            ("none", false),
            ("old", false),
            ("..", false),
            ("/etc", false),
            (absolute.to_str().expect("text"), true),
            (tree.path.to_str().expect("text"), true),
        ] {
            let allowed = files.allow_uploads(ALL, &[path.into()]).is_ok();
            assert_eq!(allowed, is_right, "{path}");
        }
    }

    /// Recognised by its name and its age, and never another user's file.
    #[test]
    fn unfinished_files_of_an_earlier_process_are_removed() {
        let tree = Tree::new("sweep", ALL, &[]);
        // Its own look is over.
        let reply = tree.writer.replies.recv();
        assert!(matches!(reply, Ok(Written::Swept(0))));
        let stale = SystemTime::now() - STALE_AFTER;
        let names = [
            (".tftpd-upload-0123456789abcdef", stale, false),
            ("sub/below/.tftpd-upload-fedcba9876543210", stale, false),
            (".tftpd-upload-0123456789abcde0", SystemTime::now(), true),
            (".tftpd-upload-0123456789abcde", stale, true),
            (".tftpd-upload-0123456789ABCDEF", stale, true),
            (".tftpd-upload-0123456789abcdef.conf", stale, true),
            ("sub/tftpd-upload-0123456789abcdef", stale, true),
        ];
        for (name, modified, _) in names {
            let file = File::create(tree.path.join(name)).expect("a file");
            file.set_modified(modified).expect("a time");
        }
        let directory = ".tftpd-upload-00000000000000aa";
        fs::create_dir(tree.path.join(directory)).expect("a directory");
        let target = tree.path.join("old");
        symlink(target, tree.path.join(".tftpd-upload-00000000000000bb")).expect("a link");
        let mut sweep = tree.files.sweep().expect("descriptors").expect("uploads");
        while sweep.step() {}
        assert_eq!(sweep.removed, 2);
        for (name, _, is_left) in names {
            assert_eq!(tree.path.join(name).exists(), is_left, "{name}");
        }
        assert!(tree.path.join(directory).exists());
        assert!(
            tree.path
                .join(".tftpd-upload-00000000000000bb")
                .is_symlink()
        );
    }
}
