//! Accounts by name or number, from /etc/passwd and /etc/group alone (passwd(5), group(5)).
//!
//! A static binary cannot ask the name service switch of the C library, and a boot server should not wait
//! for a directory server before it starts. Both files are read once, at the start.

use std::fs;
use std::io;

/// An account of this system.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// Its name; its number, where it has none.
    pub name: String,
    /// The number of the user.
    pub user: u32,
    /// The number of the group.
    pub group: u32,
}

/// Looks an account up. `user` and `group` are names or numbers; without `group` it is the one that the
/// account belongs to.
///
/// # Errors
/// Where there is no such user or group, or the files cannot be read.
pub fn find(user: &str, group: Option<&str>) -> io::Result<Account> {
    let groups = match group {
        Some(_) => read("/etc/group")?,
        None => Vec::new(),
    };
    find_in(&read("/etc/passwd")?, &groups, user, group).map_err(io::Error::other)
}

/// A file that is not there has no lines.
fn read(path: &str) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        result => result,
    }
}

fn find_in(
    users: &[u8],
    groups: &[u8],
    user: &str,
    group: Option<&str>,
) -> Result<Account, &'static str> {
    let line = entry(users, user);
    let number = line.as_ref().and_then(|fields| id(fields.get(2)?));
    let account = Account {
        name: match &line {
            Some(fields) => String::from_utf8_lossy(fields[0]).into_owned(),
            None => user.into(),
        },
        user: number
            .or_else(|| id(user.as_bytes()))
            .ok_or("no such user in /etc/passwd")?,
        group: match group {
            Some(group) => entry(groups, group)
                .and_then(|fields| id(fields.get(2)?))
                .or_else(|| id(group.as_bytes()))
                .ok_or("no such group in /etc/group")?,
            None => line
                .and_then(|fields| id(fields.get(3)?))
                .ok_or("a number that is not in /etc/passwd needs a group, USER:GROUP")?,
        },
    };
    Ok(account)
}

/// The fields of the line that has this name, or else this number.
fn entry<'f>(file: &'f [u8], wanted: &str) -> Option<Vec<&'f [u8]>> {
    let wanted = wanted.as_bytes();
    let find = |column: usize| {
        let lines = file.split(|&byte| byte == b'\n');
        lines
            .map(|line| line.split(|&byte| byte == b':').collect::<Vec<_>>())
            .find(|fields| fields.len() > 2 && fields[column] == wanted)
    };
    find(0).or_else(|| find(2))
}

/// A number in plain digits. The largest one means "no change" to the system calls that take it.
fn id(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&id| is_plain && id < u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n\
        tftp:x:105:113:TFTP daemon:/srv/tftp:/usr/sbin/nologin\n\
        200:x:1200:1200::/:\n\
        \n\
        broken:x\n\
        no-number:x:many:1::/:\n\
        minus-one:x:4294967295:1::/:\n\
        last:x:300:301::/:";
    const GROUPS: &[u8] = b"root:x:0:\ntftp:x:113:\nboot:x:500:tftp,root\n";

    #[test]
    fn names_and_numbers() {
        let cases = [
            ("tftp", None, Ok(("tftp", 105, 113))),
            ("tftp", Some("boot"), Ok(("tftp", 105, 500))),
            ("tftp", Some("600"), Ok(("tftp", 105, 600))),
            ("105", None, Ok(("tftp", 105, 113))),
            ("last", None, Ok(("last", 300, 301))),
            ("777", Some("778"), Ok(("777", 777, 778))),
            // A name goes before a number.
            ("200", None, Ok(("200", 1200, 1200))),
            ("777", None, Err("USER:GROUP")),
            ("nobody", None, Err("no such user")),
            ("tftp", Some("nogroup"), Err("no such group")),
            ("tftp", Some("-1"), Err("no such group")),
            ("broken", None, Err("no such user")),
            ("no-number", None, Err("no such user")),
            ("minus-one", None, Err("no such user")),
            ("4294967295", Some("0"), Err("no such user")),
            ("+5", Some("5"), Err("no such user")),
            ("", None, Err("no such user")),
        ];
        for (user, group, expected) in cases {
            match (find_in(USERS, GROUPS, user, group), expected) {
                (Ok(account), Ok((name, number, group))) => {
                    let name = name.to_owned();
                    let user = number;
                    assert_eq!(account, Account { name, user, group });
                }
                (Err(why), Err(part)) => assert!(why.contains(part), "{user}: {why}"),
                (found, _) => panic!("{user} {group:?}: {found:?}"),
            }
        }
    }
}
