//! The rules of the house, held by a program: which room may name which room and which crate, no circles inside a
//! room, and how large a room may be. Each rule carries its reason.
//!
//! What a room may *do* (clocks, sockets, files) is held by clippy with the lists in `scripts/clippy.toml`, and `unsafe`
//! by the compiler; `scripts/test` runs both.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A room of `src/`, the rooms it may name, and why no more.
type Room = (&'static str, &'static [&'static str], &'static str);

#[rustfmt::skip]
const ROOMS: &[Room] = &[
    ("moment", &[], "time is the bottom of everything"),
    ("wire", &["moment"], "bytes have a meaning without files, clients or a server"),
    ("name", &["moment", "wire"], "a name is made safe before anybody looks for the file"),
    ("names", &["wire", "name"], "rules of names are text, whatever files there are"),
    ("transfer", &["moment", "wire"], "one transfer knows neither the others nor which file it is"),
    ("server", &["moment", "wire", "name", "transfer"], "the many are driven by the loop and by a simulator alike"),
    ("os", &["moment", "wire", "name", "names"], "system calls are wrapped, not decided upon"),
    ("access", &[], "an address is judged before its packet is looked at"),
    ("config", &["wire", "name", "names", "transfer", "server", "access"], "settings end in the limits of the rooms that obey them"),
    ("cli", &["access", "config", "names"], "arguments turn into settings and nothing else"),
    ("daemon", &["moment", "wire", "name", "names", "transfer", "server", "os", "access", "config"], "the loop joins all rooms but does not care how it was configured"),
    ("firmware", &["moment"], "the machines that judge the server read the RFCs for themselves"),
    ("storm", &["moment", "firmware", "os"], "the rehearsal knows machines and sockets, and judges any server alike"),
    ("screen", &["os", "config"], "a running server is known by its control socket alone"),
    ("main", &["cli", "config", "daemon", "screen"], "the program starts here and does nothing itself"),
];

/// Crates that only these rooms may name. What of `std` is confined stands in `scripts/clippy.toml`.
#[rustfmt::skip]
const CRATES: &[(&[&str], &[&str], &str)] = &[
    (&["libc", "nix", "socket2", "memmap2", "landlock", "seccompiler", "mio"], &["os"], "all system calls are in one room"),
    (&["log"], &["daemon", "main"], "every line of the log is in one room"),
];

/// The loop distinguishes the numbers of errors.
const EXCEPTION: (&str, &[&str]) = ("daemon", &["nix", "errno"]);

/// Rooms that are read together, the lines they may have that are neither blank nor in-file tests, and what they are
/// needed for. A budget is raised only here.
#[rustfmt::skip]
const BUDGETS: &[(&[&str], usize, &str)] = &[
    (&["lib", "main", "moment"], 200, "the way of a request and the two reading lanes"),
    (&["wire", "name", "names"], 2_040, "expressions that match as the C library's do: no crate has those in linear time"),
    (&["transfer"], 1_700, "both directions"),
    (&["server"], 4_190, "slots and queue, defences, uploads, a view from outside"),
    (&["os"], 6_590, "disks that may hang, names as sites spell them and misses that cost the helper nothing, uploads, the sandbox, every way to be started"),
    (&["access", "config", "cli"], 1_530, "two command lines"),
    (&["daemon"], 5_980, "the loop, two ways of ports, each log line in words and as JSON, statistics"),
    (&["screen"], 480, "a running server on a terminal"),
    (&["firmware"], 3_040, "no part of a server"),
    (&["storm"], 3_170, "no part of a server"),
];

/// Lines of the first reading lane: an hour.
const LANE: usize = 4_000;

/// What lies at the top level, and nothing else: a visitor sees this first.
#[rustfmt::skip]
const TOP_LEVEL: &[&str] = &[
    ".ci", ".gitignore", "Cargo.lock", "Cargo.toml", "LICENSE-APACHE", "LICENSE-MIT", "README.md", "man", "scripts",
    "src", "tests",
];

#[test]
fn rooms_name_only_rooms_below_them() {
    let faults: Vec<String> = sources().iter().flat_map(Source::faults).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn no_files_of_a_room_go_in_circles() {
    let circle = circle_among(&sources());
    assert!(
        circle.is_empty(),
        "each of these names the next: {circle:?}"
    );
}

#[test]
fn every_room_is_planned_opens_with_its_purpose_and_keeps_its_budget() {
    let mut lines = BTreeMap::new();
    for source in sources() {
        let (opens, file) = (source.text.starts_with("//!"), &source.file);
        assert!(opens, "{file} does not open with //! and its purpose");
        *lines.entry(source.room.clone()).or_insert(0) += source.lines();
    }
    for (room, ..) in ROOMS {
        assert!(lines.contains_key(*room), "{room} is planned and not built");
    }
    let mut over = Vec::new();
    for &(rooms, budget, _) in BUDGETS {
        let counted: usize = rooms.iter().filter_map(|&room| lines.remove(room)).sum();
        println!("{counted:6} of {budget:5} lines: {}", rooms.join(", "));
        over.extend((counted > budget).then_some(rooms));
    }
    assert!(lines.is_empty(), "rooms without a budget: {lines:?}");
    assert!(over.is_empty(), "over their budgets: {over:?}");
}

/// The lane is the list in `lib.rs`; it is worth its name as long as it takes an hour.
#[test]
fn the_first_reading_lane_takes_an_hour() {
    let library = include_str!("../src/lib.rs");
    let lanes = library.split("reading lane").last().expect("lanes");
    let lane = lanes.split("The second lane").next().expect("two lanes");
    let (_, lane) = lane.split_once(':').expect("a list");
    let names = lane.split('`').skip(1).step_by(2);
    let files: Vec<String> = names.map(|name| format!("src/{name}.rs")).collect();
    let mut read = sources();
    read.retain(|source| files.contains(&source.file));
    assert!(files.len() > 15 && files.len() == read.len(), "{files:?}");
    read.push(Source::new("src/README.rs", include_str!("../README.md")));
    let lines: usize = read.iter().map(Source::lines).sum();
    println!("{lines:6} of {LANE:5} lines: README and the first reading lane");
    assert!(lines <= LANE);
}

/// Files are named by their places below `src/`, those of tests from the root.
#[test]
fn the_files_that_the_map_names_are_there() {
    let library = include_str!("../src/lib.rs");
    let map = library.split("# From a request").last().expect("a map");
    let names = map.split('`').skip(1).step_by(2);
    let names: Vec<&str> = names.filter(|name| name.contains('/')).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_there = |name: &str| match name.starts_with("tests/") {
        true => root.join(name).exists(),
        false => root.join(format!("src/{name}.rs")).exists(),
    };
    let missing: Vec<&&str> = names.iter().filter(|name| !is_there(name)).collect();
    assert!(names.len() > 50 && missing.is_empty(), "{missing:?}");
}

#[test]
fn the_top_level_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // What git ignores is not part of the house: one "/name" a line.
    let ignored = include_str!("../.gitignore");
    let is_ignored = |name: &str| ignored.lines().any(|line| line.trim_matches('/') == name);
    let entries = fs::read_dir(root).expect("the root can be listed");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry can be read").file_name())
        .map(|name| name.into_string().expect("names are UTF-8"))
        .filter(|name| name != ".git" && !is_ignored(name))
        .collect();
    names.sort();
    assert_eq!(names, TOP_LEVEL);
}

/// A file of `src/`, without its in-file tests.
struct Source {
    file: String,
    room: String,
    /// Its name inside the room; a folder inside a room is one part of it. `mod` is the room itself.
    part: String,
    text: String,
}

impl Source {
    fn new(file: &str, text: &str) -> Source {
        let inside = file
            .strip_prefix("src/")
            .and_then(|file| file.strip_suffix(".rs"));
        let mut names = inside
            .expect("sources are Rust, in src")
            .split('/')
            .map(str::to_owned);
        Source {
            file: file.to_owned(),
            room: names.next().unwrap_or_default(),
            part: names.next().unwrap_or("mod".into()),
            text: text
                .split("\n#[cfg(test)]\n")
                .next()
                .unwrap_or(text)
                .to_owned(),
        }
    }

    fn lines(&self) -> usize {
        self.text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .count()
    }

    /// Every path of the code, in its parts.
    fn paths(&self) -> impl Iterator<Item = Vec<&str>> {
        let code = self
            .text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let is_path = |c: char| c.is_alphanumeric() || "_:".contains(c);
        let paths = code.flat_map(move |line| line.split(move |c| !is_path(c)));
        paths.map(|path| path.split("::").collect())
    }

    /// What stands before the name of another room; the programs are crates of their own.
    fn library(&self) -> &str {
        match &*self.room {
            "main" | "storm" => "ripple_tftpd",
            _ => "crate",
        }
    }

    fn faults(&self) -> Vec<String> {
        let Some((room, may_name, because)) = ROOMS.iter().find(|(room, ..)| *room == self.room)
        else {
            // The crate's root names every room.
            return Vec::new();
        };
        let fault = |path: Vec<&str>| match path[..] {
            // So that every room is seen: one `use` for each, by its full name.
            ["crate" | "ripple_tftpd", ""] | ["super", "super", ..] => {
                Some("hides which room is named")
            }
            ["super", _, ..] if self.part == "mod" => Some("hides which room is named"),
            [library, other, ..] if library == self.library() => {
                (other != *room && !may_name.contains(&other)).then_some(*because)
            }
            [first, second, ..] if (*room, &[first, second][..]) != EXCEPTION => {
                let confined = |(crates, rooms, _): &&(&[&str], &[&str], _)| {
                    crates.contains(&first) && !rooms.contains(room)
                };
                CRATES.iter().find(confined).map(|(.., because)| *because)
            }
            _ => None,
        };
        let named = |path: Vec<&str>| {
            let name = path.join("::");
            fault(path).map(|why| format!("{}: '{name}': {why}", self.file))
        };
        self.paths().filter_map(named).collect()
    }

    /// Other files of its own room that it names.
    fn neighbours(&self) -> BTreeSet<String> {
        let own = |path: Vec<&str>| match path[..] {
            ["super", part, ..] => Some(part.to_owned()),
            ["crate", part, ..] if self.room == "storm" => Some(part.to_owned()),
            ["crate", room, part, ..] if room == self.room => Some(part.to_owned()),
            _ => None,
        };
        let others = self
            .paths()
            .filter_map(own)
            .filter(|part| *part != self.part);
        others.map(|part| format!("{}/{part}", self.room)).collect()
    }
}

/// Files of one room each of which names the next, the last the first.
fn circle_among(sources: &[Source]) -> Vec<String> {
    let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources
        .iter()
        .filter(|source| !["mod", "main"].contains(&&*source.part))
    {
        let file = format!("{}/{}", source.room, source.part);
        names.entry(file).or_default().extend(source.neighbours());
    }
    // A file that names no other that is left, or is named by none, is in no circle.
    loop {
        let left: BTreeSet<String> = names.keys().cloned().collect();
        let named: BTreeSet<String> = names.values().flatten().cloned().collect();
        names.retain(|file, others| !others.is_disjoint(&left) && named.contains(file));
        if names.len() == left.len() {
            return names.into_keys().collect();
        }
    }
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    let mut folders = vec!["src".to_owned()];
    while let Some(folder) = folders.pop() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for entry in fs::read_dir(root.join(&folder)).expect("src can be listed") {
            let name = entry.expect("an entry can be read").file_name();
            let path = format!("{folder}/{}", name.display());
            match fs::read_to_string(root.join(&path)) {
                Ok(text) => sources.push(Source::new(&path, &text)),
                Err(_) => folders.push(path),
            }
        }
    }
    assert!(sources.len() > 50, "the sources are found");
    sources
}

#[test]
#[rustfmt::skip]
fn planted_faults_are_found() {
    let planted = [
        ("src/moment.rs", "use crate::wire::Peer;", "bottom of everything"),
        ("src/server/mod.rs", "type S = crate::os::socket::S;", "driven by the loop"),
        ("src/storm/run.rs", "use ripple_tftpd::server::Server;", "judges any server"),
        ("src/server/queue.rs", "use super::super::os;", "hides"),
        ("src/name.rs", "use super::os;", "hides"),
        ("src/cli/mod.rs", "use crate::{os, config};", "hides"),
        ("src/server/mod.rs", "log::logger();", "line of the log"),
        ("src/daemon/io.rs", "use nix::sys::socket;", "system calls"),
    ];
    for (file, text, expected) in planted {
        let faults = Source::new(file, text).faults();
        assert!(faults.iter().any(|it| it.contains(expected)), "{text}: {faults:?}");
    }
    let innocent = "//! crate::os\nuse super::wheel;\nuse crate::wire::Peer;\n#[cfg(test)]\nmod t { use crate::os; }";
    assert!(Source::new("src/server/queue.rs", innocent).faults().is_empty());
    let circle = |third| {
        let texts = [("a", "use super::b::B;"), ("b", "use crate::os::c::C;"), ("c", third)];
        circle_among(&texts.map(|(part, text)| Source::new(&format!("src/os/{part}.rs"), text))).len()
    };
    assert_eq!((circle("use super::Room;"), circle("use super::a;")), (0, 3));
}
