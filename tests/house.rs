//! The rules of the house, held by a program: which room may name which, where clocks, sockets, files,
//! `unsafe` and the log may appear, and what lies at the top level. Each rule carries its reason, which
//! is part of the message when it is broken.
//!
//! The sources are read as words and marks, without comments and literals, so prose may say what it
//! likes. The last tests plant a fault for every rule and look whether it is found.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

// The rules.

/// A room of `src/` and the rooms it may name.
struct Room {
    name: &'static str,
    may_name: &'static [&'static str],
    because: &'static str,
}

const ROOMS: &[Room] = &[
    Room {
        name: "moment",
        may_name: &[],
        because: "time is the bottom of everything",
    },
    Room {
        name: "wire",
        may_name: &["moment"],
        because: "bytes have a meaning without files, clients or a server",
    },
    Room {
        name: "name",
        may_name: &["moment", "wire"],
        because: "a name is made safe before anybody looks for the file",
    },
    Room {
        name: "transfer",
        may_name: &["moment", "wire"],
        because: "one transfer knows neither the others nor which file it is",
    },
    Room {
        name: "server",
        may_name: &["moment", "wire", "name", "transfer"],
        because: "the many are driven by the loop and by a simulator alike",
    },
    Room {
        name: "os",
        may_name: &["moment", "wire", "name"],
        because: "system calls are wrapped, not decided upon",
    },
    Room {
        name: "access",
        may_name: &[],
        because: "an address is judged before its packet is looked at",
    },
    Room {
        name: "config",
        may_name: &["wire", "name", "transfer", "server", "access"],
        because: "settings end in the limits of the rooms that obey them",
    },
    Room {
        name: "cli",
        may_name: &["access", "config"],
        because: "arguments turn into settings and nothing else",
    },
    Room {
        name: "daemon",
        may_name: &[
            "moment", "wire", "name", "transfer", "server", "os", "access", "config",
        ],
        because: "the loop joins all rooms but does not care how it was configured",
    },
    Room {
        name: "firmware",
        may_name: &["moment"],
        because: "the machines that judge the server read the RFCs for themselves",
    },
    Room {
        name: "storm",
        may_name: &["moment", "firmware", "os"],
        because: "the rehearsal knows machines and sockets, and judges any server alike",
    },
    Room {
        name: "main",
        may_name: &["cli", "config", "daemon"],
        because: "the program starts here and does nothing itself",
    },
];

/// The rooms without socket, clock, file, log and randomness.
const CORE: &[&str] = &[
    "moment", "wire", "name", "transfer", "server", "access", "firmware",
];

/// How a rule recognises what it is about.
enum Sign {
    /// This word, anywhere.
    Word(&'static str),
    /// A path that begins so, written out or imported.
    Path(&'static [&'static str]),
    /// This macro.
    Macro(&'static str),
}

/// Something that only some rooms may do.
struct Confined {
    sign: Sign,
    to: To,
    because: &'static str,
}

enum To {
    Only(&'static [&'static str]),
    AllBut(&'static [&'static str]),
}

impl Confined {
    const fn only(sign: Sign, rooms: &'static [&'static str], because: &'static str) -> Confined {
        Confined {
            sign,
            to: To::Only(rooms),
            because,
        }
    }

    const fn not_in_core(sign: Sign, because: &'static str) -> Confined {
        Confined {
            sign,
            to: To::AllBut(CORE),
            because,
        }
    }

    fn allows(&self, room: &str) -> bool {
        match self.to {
            To::Only(rooms) => rooms.contains(&room),
            To::AllBut(rooms) => !rooms.contains(&room),
        }
    }
}

const OS: &[&str] = &["os"];
const OS_AND_STORM: &[&str] = &["os", "storm"];
const OS_AND_DAEMON: &[&str] = &["os", "daemon"];
const DAEMON_AND_MAIN: &[&str] = &["daemon", "main"];

const NO_CLOCK: &str = "time comes in as an argument, so that it can be virtual";
const ALL_SYSTEM_CALLS: &str = "all system calls are in one room";
const FILES: &str = "the server's files are opened in one room; the rehearsal writes reports";
const ONE_LOG: &str = "every log line is in one room";
const EQUAL_RUNS: &str = "equal seeds must give equal runs";
const NO_WORLD: &str = "the core reaches the world only through its trait Io";

const CONFINED: &[Confined] = &[
    Confined::only(Sign::Word("unsafe"), OS, "all unsafe code is in one room"),
    Confined::only(Sign::Word("Instant"), OS, NO_CLOCK),
    Confined::only(Sign::Word("SystemTime"), OS, NO_CLOCK),
    Confined::only(Sign::Word("UdpSocket"), OS, ALL_SYSTEM_CALLS),
    Confined::only(Sign::Path(&["std", "fs"]), OS_AND_STORM, FILES),
    Confined::only(Sign::Word("libc"), OS, ALL_SYSTEM_CALLS),
    Confined::only(Sign::Word("memmap2"), OS, ALL_SYSTEM_CALLS),
    Confined::only(Sign::Word("socket2"), OS, ALL_SYSTEM_CALLS),
    Confined::only(Sign::Path(&["landlock"]), OS, ALL_SYSTEM_CALLS),
    Confined::only(Sign::Path(&["seccompiler"]), OS, ALL_SYSTEM_CALLS),
    Confined::only(Sign::Path(&["mio"]), OS_AND_DAEMON, ALL_SYSTEM_CALLS),
    Confined::only(Sign::Path(&["nix"]), OS, ALL_SYSTEM_CALLS),
    Confined::only(Sign::Path(&["log"]), DAEMON_AND_MAIN, ONE_LOG),
    Confined::only(Sign::Macro("error"), DAEMON_AND_MAIN, ONE_LOG),
    Confined::only(Sign::Macro("warn"), DAEMON_AND_MAIN, ONE_LOG),
    Confined::only(Sign::Macro("info"), DAEMON_AND_MAIN, ONE_LOG),
    Confined::only(Sign::Macro("debug"), DAEMON_AND_MAIN, ONE_LOG),
    Confined::only(Sign::Macro("trace"), DAEMON_AND_MAIN, ONE_LOG),
    Confined::only(Sign::Macro("eprintln"), DAEMON_AND_MAIN, ONE_LOG),
    Confined::only(Sign::Macro("println"), DAEMON_AND_MAIN, ONE_LOG),
    Confined::not_in_core(Sign::Word("rand"), EQUAL_RUNS),
    Confined::not_in_core(Sign::Word("getrandom"), EQUAL_RUNS),
    Confined::not_in_core(Sign::Word("RandomState"), EQUAL_RUNS),
    Confined::not_in_core(Sign::Path(&["std", "env"]), NO_WORLD),
    Confined::not_in_core(Sign::Path(&["std", "process"]), NO_WORLD),
    Confined::not_in_core(Sign::Path(&["std", "thread"]), NO_WORLD),
];

/// What lies at the top level, and nothing else. A licence is any file whose name begins so.
const TOP_LEVEL: &[&str] = &[
    ".ci",
    ".gitignore",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE*",
    "README.md",
    "man",
    "scripts",
    "src",
    "tests",
];

// The house as it is.

#[test]
fn every_file_keeps_the_rules() {
    let mut found = String::new();
    for file in source_files() {
        let source = fs::read_to_string(root().join(&file)).expect("sources are UTF-8");
        for fault in faults(&file, &source) {
            writeln!(found, "{fault}").expect("a String takes everything");
        }
    }
    assert!(found.is_empty(), "rules of the house are broken:\n{found}");
}

#[test]
fn every_room_is_in_the_plan_and_every_plan_is_built() {
    let mut built: Vec<String> = source_files().iter().map(|file| room_of(file)).collect();
    built.retain(|room| room != "lib");
    built.sort();
    built.dedup();
    let mut planned: Vec<&str> = ROOMS.iter().map(|room| room.name).collect();
    planned.sort_unstable();
    assert_eq!(
        built, planned,
        "rooms of src/ (left) and their plan (right)"
    );
}

#[test]
fn the_top_level_is_tidy() {
    // What git ignores is not part of the house: .gitignore names it, one "/name" a line.
    let ignored = fs::read_to_string(root().join(".gitignore")).expect("there is a .gitignore");
    let names: Vec<String> = fs::read_dir(root())
        .expect("the root can be listed")
        .map(|entry| {
            let name = entry.expect("an entry can be read").file_name();
            name.into_string().expect("names are UTF-8")
        })
        .filter(|name| name != ".git")
        .filter(|name| !ignored.lines().any(|line| line.trim_matches('/') == name))
        .collect();
    assert_eq!(untidy(&names), Vec::<String>::new());
}

/// What is missing or too much at the top level.
fn untidy(names: &[String]) -> Vec<String> {
    let fits = |pattern: &str, name: &str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    };
    let too_much = names
        .iter()
        .filter(|name| !TOP_LEVEL.iter().any(|pattern| fits(pattern, name)))
        .map(|name| format!("{name} does not belong at the top level"));
    let missing = TOP_LEVEL
        .iter()
        .filter(|pattern| !names.iter().any(|name| fits(pattern, name)))
        .map(|pattern| format!("{pattern} is missing at the top level"));
    too_much.chain(missing).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The sources, as `src/room/file.rs`.
fn source_files() -> Vec<String> {
    let mut folders = vec![PathBuf::from("src")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).expect("src can be listed") {
            let entry = entry.expect("an entry can be read");
            let path = folder.join(entry.file_name());
            if entry.file_type().expect("an entry has a type").is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                files.push(
                    path.into_os_string()
                        .into_string()
                        .expect("names are UTF-8"),
                );
            }
        }
    }
    files.sort();
    assert!(files.iter().any(|file| file == "src/lib.rs"), "{files:?}");
    files
}

// The checker.

/// Everything that is wrong with one file, each as a sentence with its place.
fn faults(file: &str, source: &str) -> Vec<String> {
    let room = room_of(file);
    let tokens = tokens(source);
    let paths = paths(&module_of(file), &tokens);
    let mut faults = Vec::new();
    if !source.starts_with("//!") {
        faults.push(format!("{file}:1: does not open with //! and its purpose"));
    }
    if let Some(plan) = ROOMS.iter().find(|plan| plan.name == room) {
        for path in &paths {
            if let Some(other) = path.room()
                && other != room
                && !plan.may_name.contains(&other)
            {
                faults.push(format!(
                    "{file}:{}: {room} must not name {other}: {}",
                    path.line, plan.because
                ));
            }
        }
    }
    for rule in CONFINED {
        let lines: Vec<(usize, String)> = match rule.sign {
            Sign::Word(word) => tokens
                .iter()
                .filter(|token| token.text == word)
                .map(|token| (token.line, word.to_owned()))
                .collect(),
            Sign::Macro(word) => tokens
                .windows(2)
                .filter(|pair| pair[0].text == word && pair[1].text == "!")
                .map(|pair| (pair[0].line, format!("{word}!")))
                .collect(),
            Sign::Path(start) => paths
                .iter()
                .filter(|path| !path.ours && path.starts_with(start))
                // Of nix, the daemon may name the error numbers, which it tells apart.
                .filter(|path| !(room == "daemon" && path.starts_with(&["nix", "errno"])))
                .map(|path| (path.line, path.segments.join("::")))
                .collect(),
        };
        if !rule.allows(&room) {
            for (line, what) in lines {
                faults.push(format!(
                    "{file}:{line}: {what} has no place in {room}: {}",
                    rule.because
                ));
            }
        }
    }
    // A name may be imported twice in a line.
    faults.dedup();
    for line in unwraps(&tokens) {
        faults.push(format!(
            "{file}:{line}: .unwrap() gives no reason; use expect(\"why this cannot be\") or an error"
        ));
    }
    faults
}

/// `src/main.rs` is the room `main`, `src/os/poll.rs` is in `os`.
fn room_of(file: &str) -> String {
    let inside = file.strip_prefix("src/").expect("sources are in src");
    let first = inside.split('/').next().unwrap_or(inside);
    first.trim_end_matches(".rs").to_owned()
}

/// `src/os/poll.rs` is the module os::poll, `src/os/mod.rs` is os, `src/lib.rs` the root.
fn module_of(file: &str) -> Vec<String> {
    let inside = file.strip_prefix("src/").expect("sources are in src");
    inside
        .trim_end_matches(".rs")
        .split('/')
        .filter(|part| !["mod", "lib", "main"].contains(part))
        .map(str::to_owned)
        .collect()
}

/// A path somewhere in a source, with `crate`, `self` and `super` resolved.
struct Named {
    line: usize,
    /// Begins at the root of this crate.
    ours: bool,
    segments: Vec<String>,
}

impl Named {
    fn new(module: &[String], line: usize, mut segments: Vec<String>) -> Named {
        let mut base = Vec::new();
        let ours = match segments[0].as_str() {
            "crate" | "ripple_tftpd" => {
                segments.remove(0);
                true
            }
            "self" | "super" => {
                base = module.to_vec();
                while let Some(first) = segments.first() {
                    match first.as_str() {
                        "self" => {}
                        "super" => drop(base.pop()),
                        _ => break,
                    }
                    segments.remove(0);
                }
                true
            }
            _ => false,
        };
        base.append(&mut segments);
        Named {
            line,
            ours,
            segments: base,
        }
    }

    /// The room of ours that is named.
    fn room(&self) -> Option<&'static str> {
        let first = self.segments.first().filter(|_| self.ours)?;
        let room = ROOMS.iter().find(|room| room.name == first)?;
        Some(room.name)
    }

    fn starts_with(&self, start: &[&str]) -> bool {
        self.segments.len() >= start.len() && self.segments.iter().zip(start).all(|(a, b)| a == b)
    }
}

/// All paths of a file, whether imported (each leaf of a `use` tree) or written out.
fn paths(file_module: &[String], tokens: &[Token]) -> Vec<Named> {
    let mut found = Vec::new();
    let mut module = file_module.to_vec();
    // Depths at which the modules inside this file close.
    let mut closes = Vec::new();
    let mut depth = 0;
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut at = 0;
    while at < tokens.len() {
        let line = tokens[at].line;
        match text(at) {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if closes.last() == Some(&depth) {
                    closes.pop();
                    module.pop();
                }
            }
            "mod" if text(at + 2) == "{" => {
                module.push(text(at + 1).to_owned());
                closes.push(depth);
                at += 1;
            }
            // `use<'a>` in a bound is no import.
            "use" if text(at + 1) != "<" => {
                let mut leaves = Vec::new();
                at = use_tree(tokens, at + 1, &[], &mut leaves);
                for (line, segments) in leaves {
                    found.push(Named::new(&module, line, segments));
                }
            }
            word if is_word(word) && text(at + 1) == "::" => {
                let mut segments = vec![word.to_owned()];
                while text(at + 1) == "::" && is_word(text(at + 2)) {
                    segments.push(text(at + 2).to_owned());
                    at += 2;
                }
                found.push(Named::new(&module, line, segments));
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Reads one branch of a `use` tree from `at` on and returns where it ends.
fn use_tree(
    tokens: &[Token],
    mut at: usize,
    before: &[String],
    leaves: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    let mut segments = before.to_vec();
    while at < tokens.len() {
        let token = &tokens[at];
        match token.text.as_str() {
            "::" => at += 1,
            "{" => {
                at += 1;
                while at < tokens.len() && tokens[at].text != "}" {
                    at = use_tree(tokens, at, &segments, leaves);
                    if at < tokens.len() && tokens[at].text == "," {
                        at += 1;
                    }
                }
                return at + 1;
            }
            "as" => at += 2,
            "," | "}" | ";" => break,
            word => {
                segments.push(word.to_owned());
                at += 1;
            }
        }
    }
    let line = tokens[at.min(tokens.len()) - 1].line;
    // `self` as a leaf means the path before it.
    if segments.len() > 1 && segments.last().is_some_and(|last| last == "self") {
        segments.pop();
    }
    if !segments.is_empty() {
        leaves.push((line, segments));
    }
    at
}

/// Lines with `.unwrap()` outside of items that only tests have.
fn unwraps(tokens: &[Token]) -> Vec<usize> {
    let starts = |at: usize, pattern: &[&str]| {
        tokens.len() >= at + pattern.len()
            && tokens[at..]
                .iter()
                .zip(pattern)
                .all(|(token, text)| token.text == *text)
    };
    let mut lines = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if starts(at, &["#", "[", "cfg", "(", "test", ")", "]"]) {
            at = end_of_item(tokens, at + 7);
        } else {
            if starts(at, &[".", "unwrap", "(", ")"]) {
                lines.push(tokens[at].line);
            }
            at += 1;
        }
    }
    lines
}

/// Past the block, or the semicolon, that ends the item at `at`.
fn end_of_item(tokens: &[Token], mut at: usize) -> usize {
    let mut depth = 0;
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        let ends = depth == 0 && matches!(tokens[at].text.as_str(), "}" | ";");
        at += 1;
        if ends {
            break;
        }
    }
    at
}

/// A word, `::`, or a single mark.
struct Token {
    line: usize,
    text: String,
}

fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Rust as words and marks; comments, strings and characters are left out.
fn tokens(source: &str) -> Vec<Token> {
    let characters: Vec<char> = source.chars().collect();
    let get = |at: usize| characters.get(at).copied().unwrap_or('\0');
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut at = 0;
    while at < characters.len() {
        let start = at;
        let character = get(at);
        if character.is_alphanumeric() || character == '_' {
            while get(at).is_alphanumeric() || get(at) == '_' {
                at += 1;
            }
            let text: String = characters[start..at].iter().collect();
            if let Some(end) = raw_string_end(&characters, &text, at) {
                at = end;
            } else {
                tokens.push(Token { line, text });
            }
        } else if character == '/' && get(at + 1) == '/' {
            while at < characters.len() && get(at) != '\n' {
                at += 1;
            }
        } else if character == '/' && get(at + 1) == '*' {
            at = block_comment_end(&characters, at);
        } else if character == '"' || is_character(&characters[at..]) {
            at = quote_end(&characters, at);
        } else if character == ':' && get(at + 1) == ':' {
            at += 2;
            let text = "::".to_owned();
            tokens.push(Token { line, text });
        } else {
            at += 1;
            if !character.is_whitespace() {
                let text = character.to_string();
                tokens.push(Token { line, text });
            }
        }
        let end = at.min(characters.len());
        line += characters[start..end]
            .iter()
            .filter(|&&c| c == '\n')
            .count();
    }
    tokens
}

/// Tells a character from a lifetime.
fn is_character(characters: &[char]) -> bool {
    matches!(characters, ['\'', '\\', ..] | ['\'', _, '\'', ..])
}

/// Where a string or character that opens at `at` ends.
fn quote_end(characters: &[char], at: usize) -> usize {
    let quote = characters[at];
    let mut at = at + 1;
    while at < characters.len() && characters[at] != quote {
        at += if characters[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// Where a raw string ends, if `prefix`, which ends at `at`, begins one.
fn raw_string_end(characters: &[char], prefix: &str, at: usize) -> Option<usize> {
    if !["r", "br", "cr"].contains(&prefix) {
        return None;
    }
    let hashes = characters[at..].iter().take_while(|&&c| c == '#').count();
    let open = at + hashes;
    if characters.get(open) != Some(&'"') {
        return None;
    }
    let mut closing = vec!['"'];
    closing.resize(1 + hashes, '#');
    let inside = &characters[open + 1..];
    let length = inside
        .windows(closing.len())
        .position(|end| end == closing)?;
    Some(open + 1 + length + closing.len())
}

/// Where a block comment that opens at `at` ends; they nest.
fn block_comment_end(characters: &[char], at: usize) -> usize {
    let mut depth = 0;
    let mut at = at;
    while at < characters.len() {
        match characters[at..] {
            ['/', '*', ..] => {
                depth += 1;
                at += 2;
            }
            ['*', '/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    break;
                }
            }
            _ => at += 1,
        }
    }
    at
}

// The checker can fail.

/// Faults, one a line: the file, what it says below its header, what must be said about it.
const PLANTED: &str = r#"
src/moment.rs         | use crate::wire::Peer;                          | must not name wire
src/firmware/mod.rs   | use crate::wire::Reply;                         | must not name wire
src/wire/mod.rs       | use crate::server;                              | must not name server
src/wire/request.rs   | use super::super::name::X;                      | must not name name
src/name.rs           | use super::transfer::T;                         | must not name transfer
src/transfer/mod.rs   | use crate::{moment, name};                      | must not name name
src/transfer/window.rs | fn f() { crate::server::g() }                   | must not name server
src/transfer/window.rs | mod a { use super::super::super::os; }          | must not name os
src/server/mod.rs     | use crate::{wire::{Mode, Peer}, os::{self, S}}; | must not name os
src/server/mod.rs     | pub use crate::config as c;                     | must not name config
src/os/socket.rs      | type S = crate::server::Server;                 | must not name server
src/access.rs         | use crate::wire::Peer;                          | must not name wire
src/config.rs         | use crate::os::files;                           | must not name os
src/cli/mod.rs        | use crate::{config::Config, wire};              | must not name wire
src/daemon/io.rs      | use crate::cli::OPTIONS;                        | must not name cli
src/storm/fleet.rs    | use ripple_tftpd::server::Server;               | must not name server
src/storm/fleet.rs    | use ripple_tftpd::wire::Peer;                   | must not name wire
src/main.rs           | use ripple_tftpd::{cli, os};                    | must not name os
src/server/mod.rs     | use std::time::{Duration, Instant};             | Instant has no place
src/daemon/mod.rs     | let t = std::time::SystemTime::now();           | SystemTime has no place
src/daemon/io.rs      | use std::net::{IpAddr, UdpSocket};              | UdpSocket has no place
src/config.rs         | use std::{fs::File, io};                        | std::fs::File has no place
src/config.rs         | let x = ::std::fs::metadata(p);                 | std::fs::metadata has no place
src/daemon/mod.rs     | libc::getpid();                                 | libc has no place
src/daemon/mod.rs     | use socket2::Socket;                            | socket2 has no place
src/server/mod.rs     | memmap2::Mmap::map(x);                          | memmap2 has no place
src/daemon/confine.rs | use landlock::Ruleset;                          | landlock::Ruleset has no place
src/daemon/confine.rs | seccompiler::apply_filter(p);                   | seccompiler::apply_filter has no place
src/server/mod.rs     | use mio::Token;                                 | mio::Token has no place
src/daemon/io.rs      | use nix::{errno::Errno, sys::socket};           | nix::sys::socket has no place
src/config.rs         | use nix::errno::Errno;                          | nix::errno::Errno has no place
src/moment.rs         | unsafe { f() }                                  | unsafe has no place
src/server/mod.rs     | log::logger();                                  | log::logger has no place
src/os/files.rs       | use log::warn;                                  | log::warn has no place
src/os/files.rs       | warn!("x")                                      | warn! has no place
src/server/mod.rs     | error!("x")                                     | error! has no place
src/server/mod.rs     | info!("x")                                      | info! has no place
src/config.rs         | debug!("x")                                     | debug! has no place
src/config.rs         | trace!("x")                                     | trace! has no place
src/server/mod.rs     | eprintln!("x")                                  | eprintln! has no place
src/cli/mod.rs        | println!("x")                                   | println! has no place
src/server/mod.rs     | let x = rand::random();                         | rand has no place
src/server/mod.rs     | getrandom::fill(x);                             | getrandom has no place
src/name.rs           | use std::hash::RandomState;                     | RandomState has no place
src/wire/mod.rs       | std::env::var("x")                              | std::env::var has no place
src/server/mod.rs     | use std::process;                               | std::process has no place
src/server/mod.rs     | std::thread::sleep(x)                           | std::thread::sleep has no place
src/server/mod.rs     | #[cfg(test)] mod t {} fn f() { x.unwrap() }     | .unwrap() gives no reason
"#;

/// The rows of a table.
fn rows<const N: usize>(table: &'static str) -> Vec<[&'static str; N]> {
    let rows: Vec<[&str; N]> = table
        .trim()
        .lines()
        .map(|line| {
            let cells: Vec<&str> = line.split(" | ").map(str::trim).collect();
            cells
                .try_into()
                .expect("rows have as many cells as their table has columns")
        })
        .collect();
    assert!(!rows.is_empty());
    rows
}

#[test]
fn planted_faults_are_found() {
    for [file, text, expected] in rows(PLANTED) {
        let found = faults(file, &format!("//! A room.\n{text}\n"));
        assert_eq!(found.len(), 1, "{file}: {text}: {found:#?}");
        let place = format!("{file}:2: ");
        assert!(
            found[0].starts_with(&place) && found[0].contains(expected),
            "{file}: {text}: {found:#?}"
        );
    }
}

#[test]
fn every_rule_has_a_planted_fault() {
    for rule in CONFINED {
        let sign = match rule.sign {
            Sign::Word(word) => format!("| {word} has no place"),
            Sign::Macro(word) => format!("| {word}! has no place"),
            Sign::Path(start) => format!("| {}", start.join("::")),
        };
        assert!(PLANTED.contains(&sign), "no planted fault says {sign}");
    }
    for room in ROOMS {
        let file = format!("\nsrc/{}", room.name);
        assert!(PLANTED.contains(&file), "no fault is planted in {file}");
    }
}

#[test]
fn a_file_without_a_purpose_is_found() {
    let found = faults("src/moment.rs", "use std::fmt;\n");
    assert_eq!(
        found,
        ["src/moment.rs:1: does not open with //! and its purpose"]
    );
}

#[test]
fn an_untidy_top_level_is_found() {
    let mut names: Vec<String> = TOP_LEVEL
        .iter()
        .map(|name| name.replace('*', "-MIT"))
        .collect();
    assert_eq!(untidy(&names), Vec::<String>::new());
    names.push("notes.txt".to_owned());
    names.retain(|name| name != "man");
    assert_eq!(
        untidy(&names),
        [
            "notes.txt does not belong at the top level",
            "man is missing at the top level"
        ]
    );
}

/// Sources that keep the rules, one a line: the file and what it says.
const INNOCENT: &str = r##"
src/server/mod.rs   | // unsafe, std::fs, info!(x), x.unwrap()
src/server/mod.rs   | /* unsafe /* nested */ Instant */ fn f() {}
src/server/mod.rs   | const X: &str = "unsafe \" Instant crate::os";
src/server/mod.rs   | const X: &str = r#"unsafe " Instant"#; fn f<'a>(x: &'a u8) {}
src/server/mod.rs   | const Q: char = '"'; const E: char = '\''; const N: char = '\n';
src/server/mod.rs   | use std::time::Duration; use std::net::IpAddr;
src/server/mod.rs   | use super::wire; use crate::{moment::Moment, transfer::{self, Step}};
src/server/mod.rs   | use wheel::Wheel; use self::client::Client;
src/server/wheel.rs | use super::Server; mod tests { use super::*; use super::super::client; }
src/server/mod.rs   | #[cfg(test)] mod tests { fn f() { x.unwrap() } }
src/server/mod.rs   | #[cfg(test)] use std::fmt; fn f() { x.unwrap_or(1) }
src/daemon/mod.rs   | use nix::errno::Errno; use mio::Events; info!("x"); log::warn!("y");
src/os/mapping.rs   | use std::fs::File; unsafe { libc::mmap() }
src/os/files.rs     | fn f() -> impl Iterator<Item = u8> + use<'_> { nix::fcntl::open() }
src/config.rs       | use std::path::Path; use crate::{server::Limits, transfer::Terms};
src/main.rs         | use ripple_tftpd::{cli, config, daemon}; fn main() { eprintln!("x"); }
src/storm/run.rs    | use ripple_tftpd::{firmware::Machine, os::poll::Poll}; std::fs::read(p)
src/lib.rs          | pub mod cli; pub mod os; pub use server::Server;
"##;

#[test]
fn innocent_sources_pass() {
    for [file, text] in rows(INNOCENT) {
        let found = faults(file, &format!("//! A room.\n{text}\n"));
        assert!(found.is_empty(), "{file}: {text}: {found:#?}");
    }
}
