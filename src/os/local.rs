//! A UNIX socket that only its owner can connect to (unix(7)).

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

pub use mio::net::{UnixListener as LocalListener, UnixStream as LocalStream};
use nix::sys::stat::{Mode, umask};

/// Listens at `path`. A socket to which nobody listens any more is replaced. To be called while there is one
/// thread: the mask of file modes is changed for a moment.
///
/// # Errors
/// Something else is there, or another process listens to it, or there is no such directory.
pub fn bind(path: &Path) -> io::Result<LocalListener> {
    match bind_private(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_deserted(path) => {
            fs::remove_file(path)?;
            bind_private(path)
        }
        bound => bound,
    }
}

/// What a server answers at `path` when it is asked for `page`.
///
/// # Errors
/// Nobody is there, or it is no such server.
pub fn ask(path: &Path, page: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(ASK_WITHIN))?;
    stream.set_write_timeout(Some(ASK_WITHIN))?;
    stream.write_all(format!("GET {page} HTTP/1.0\r\n\r\n").as_bytes())?;
    let mut text = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut text)?;
    let (_, body) = text
        .split_once("\r\n\r\n")
        .filter(|(head, _)| head.split(' ').nth(1) == Some("200"))
        .ok_or(io::ErrorKind::InvalidData)?;
    Ok(body.to_owned())
}

/// A server answers in one turn of its loop.
const ASK_WITHIN: Duration = Duration::from_secs(3);

/// Bytes of an answer: some ten times what a server sends.
const ANSWER_MAX: u64 = 4 << 20;

fn bind_private(path: &Path) -> io::Result<LocalListener> {
    let before = umask(Mode::from_bits_truncate(0o177));
    let bound = LocalListener::bind(path);
    umask(before);
    bound
}

/// It is a socket, and nobody listens to it.
fn is_deserted(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_socket && UnixStream::connect(path).is_err_and(refused)
}
