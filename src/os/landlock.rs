//! Landlock: of all files only those beneath a few directories, and these only to be read (landlock(7)).
//!
//! Best effort: what the running kernel does not know is left out; the result says what was reached.

use std::io;
use std::os::fd::BorrowedFd;

use landlock::{
    ABI, Access, AccessFs, AccessNet, Errno, LandlockStatus, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

/// Lets this process, from now on and for ever, read the files beneath `directories`, make, write and remove files
/// beneath `writable`, read `files` or what lies beneath them, and reach no other: nothing is executed anywhere, and no
/// directory, link or device made. Also bars TCP ports (since ABI 4), device ioctls (5),
/// and signals and abstract sockets of processes outside (6). Returns the level of the kernel's interface
/// that is in force; 0 where there is no Landlock.
///
/// # Errors
/// Where the kernel has Landlock but refuses these rules.
pub fn confine(
    directories: &[BorrowedFd<'_>],
    writable: &[BorrowedFd<'_>],
    files: &[BorrowedFd<'_>],
) -> io::Result<u32> {
    let status = restrict(directories, writable, files).map_err(|error| {
        // Its texts would be a tenth of the program.
        io::Error::from_raw_os_error(*Errno::from(error))
    })?;
    Ok(status)
}

fn restrict(
    directories: &[BorrowedFd<'_>],
    writable: &[BorrowedFd<'_>],
    files: &[BorrowedFd<'_>],
) -> Result<u32, RulesetError> {
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    // To rename within a directory is to make a file and to remove one.
    let writing =
        AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg | AccessFs::RemoveFile;
    let readable = directories.iter().map(|directory| (directory, reading));
    let writable = writable.iter().map(|directory| (directory, writing));
    let files = files.iter().map(|file| (file, AccessFs::ReadFile.into()));
    let all = readable.chain(writable).chain(files);
    let status =
        Ruleset::default()
            .handle_access(AccessFs::from_all(TESTED))?
            .handle_access(AccessNet::from_all(TESTED))?
            .scope(Scope::from_all(TESTED))?
            .create()?
            .add_rules(all.map(|(directory, rights)| {
                Ok::<_, RulesetError>(PathBeneath::new(directory, rights))
            }))?
            .restrict_self()?;
    Ok(match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, _) => 0,
        (_, LandlockStatus::Available { effective_abi, .. }) => effective_abi.min(TESTED) as u32,
        _ => 0,
    })
}

/// The newest level whose rights were tried with this program. Later ones may forbid what it needs.
const TESTED: ABI = ABI::V7;
