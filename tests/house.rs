//! The rules of the house, held by a program: which room may name which room and which crate, no circles inside a
//! room, and how large a room may be. Each rule carries its reason.
//!
//! What a room may *do* (clocks, sockets, files) is held by clippy with the lists in `scripts/clippy.toml`, `unsafe` by
//! the compiler, and the crates of a feature by cargo, since `scripts/test` looks at the server without features, too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A room of `src/`, the rooms and the `CONFINED` crates that it may name, and why no more.
type Room = (&'static str, &'static [&'static str], &'static str);

#[rustfmt::skip]
const ROOMS: &[Room] = &[
    ("lib", &[], "the map names the rooms in its text"),
    ("moment", &[], "time is the bottom of everything"),
    ("wire", &["moment"], "bytes have a meaning without files, clients or a server"),
    ("name", &["moment", "wire"], "a name is made safe before anybody looks for the file"),
    ("names", &["wire", "name"], "rules of names are text, whatever files there are"),
    ("transfer", &["moment", "wire"], "one transfer knows neither the others nor which file it is"),
    ("server", &["moment", "wire", "name", "transfer"], "the many are driven by the loop and by a simulator alike"),
    ("os", &["moment", "wire", "name", "names", "libc", "nix", "socket2", "memmap2", "landlock", "seccompiler", "mio"], "system calls are wrapped, not decided upon"),
    ("access", &[], "an address is judged before its packet is looked at"),
    ("config", &["wire", "name", "names", "transfer", "server", "access"], "settings end in the limits of the rooms that obey them"),
    ("cli", &["access", "config", "names"], "arguments turn into settings and nothing else"),
    ("daemon", &["moment", "wire", "name", "names", "transfer", "server", "os", "access", "config", "log", "nix::errno"], "the loop joins all rooms but makes no system call and does not care how it was configured"),
    ("firmware", &["moment"], "the machines that judge the server read the RFCs for themselves"),
    ("storm", &["moment", "firmware", "os"], "the rehearsal knows machines and sockets, and judges any server alike"),
    ("screen", &["os", "config"], "a running server is known by its control socket alone"),
    ("main", &["cli", "config", "daemon", "screen", "log"], "the program starts here and does nothing itself"),
];

/// Crates that a room may name only if `ROOMS` says so: all system calls are in one room, every line of the log in one.
#[rustfmt::skip]
const CONFINED: &[&str] = &["libc", "nix", "socket2", "memmap2", "landlock", "seccompiler", "mio", "log"];

/// Rooms that are read together, the lines they may have that are neither blank nor in-file tests, and what they are
/// needed for. A budget is raised only here.
#[rustfmt::skip]
const BUDGETS: &[(&[&str], usize, &str)] = &[
    (&["lib", "main", "moment"], 200, "the way of a request and the two reading lanes"),
    (&["wire", "name", "names"], 1_990, "expressions that match as the C library's do: no crate has those in linear time"),
    (&["transfer"], 1_695, "both directions"),
    (&["server"], 4_195, "slots and queue, defences, uploads, a view from outside"),
    (&["os"], 6_245, "disks that may hang, names as sites spell them and misses that cost the helper nothing, uploads, the sandbox, every way to be started"),
    (&["access", "config", "cli"], 1_530, "two command lines"),
    (&["daemon"], 5_860, "the loop, two ways of ports, each log line in words and as JSON, statistics"),
    (&["screen"], 460, "a running server on a terminal"),
    (&["firmware"], 3_040, "no part of a server"),
    (&["storm"], 3_170, "no part of a server"),
];

/// Lines of the first reading lane: an hour.
const LANE: usize = 4_000;

/// What lies at the top level, and nothing else: a visitor sees this first.
#[rustfmt::skip]
const TOP_LEVEL: [&str; 11] = [
    ".ci", ".gitignore", "Cargo.lock", "Cargo.toml", "LICENSE-APACHE", "LICENSE-MIT", "README.md", "man", "scripts",
    "src", "tests",
];

#[test]
fn rooms_name_only_rooms_below_them() {
    let sources = sources("src");
    let faults = sources.iter().flat_map(|(path, text)| faults(path, text));
    assert_eq!(faults.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn no_files_of_a_room_go_in_circles() {
    assert_eq!(circles(&sources("src")), BTreeSet::new());
}

#[test]
fn every_room_is_planned_opens_with_its_purpose_and_keeps_its_budget() {
    let mut built = BTreeMap::new();
    for (path, text) in sources("src") {
        assert!(text.starts_with("//!"), "{path} has no //! that says why");
        *built.entry(module(&path)[0].to_owned()).or_insert(0) += code(&text).count();
    }
    assert_eq!(built.len(), ROOMS.len(), "rooms are planned and built");
    let mut over: Vec<&[&str]> = Vec::new();
    for (rooms, budget, _) in BUDGETS {
        let counted: usize = rooms.iter().filter_map(|&room| built.remove(room)).sum();
        println!("{counted:6} of {budget:5} lines: {}", rooms.join(", "));
        over.extend((counted > *budget).then_some(rooms));
    }
    assert!(built.is_empty(), "rooms without a budget: {built:?}");
    assert!(over.is_empty(), "over their budgets: {over:?}");
}

/// Files are named by their places below `src/`, those of tests from the root.
#[test]
fn the_map_names_files_that_are_there_and_its_first_lane_takes_an_hour() {
    let library = include_str!("../src/lib.rs");
    let (_, map) = library.split_once("# From a request").expect("a map");
    let (lane, _) = map.split_once("The second lane").expect("two lanes");
    let (_, lane) = lane.split_once("4,000 lines:").expect("two lanes");
    let names = |text: &'static str| text.split('`').skip(1).step_by(2);
    let file = |name: &str| match name.starts_with("tests/") {
        true => name.to_owned(),
        false => format!("src/{name}.rs"),
    };
    let named = names(map).filter(|name| name.contains('/')).map(file);
    let (there, missing): (Vec<_>, Vec<_>) = named.partition(|file| root(file).exists());
    assert!(there.len() > 50 && missing.is_empty(), "{missing:?}");
    let sources = sources("src");
    let lane: Vec<&String> = names(lane).map(|name| &sources[&file(name)]).collect();
    assert!(lane.len() > 15, "the lane is found");
    let texts = lane.into_iter().flat_map(|text| code(text));
    let read = texts.chain(code(include_str!("../README.md"))).count();
    println!("{read:6} of {LANE:5} lines: README and the first reading lane");
    assert!(read <= LANE);
}

#[test]
fn the_top_level_is_tidy() {
    let entries = fs::read_dir(root("")).expect("the root can be listed");
    let names = entries.map(|entry| entry.expect("an entry can be read").file_name());
    let mut names: BTreeSet<_> = names.map(|name| name.display().to_string()).collect();
    // Git and cargo keep their own there.
    names.retain(|name| ![".git", "target"].contains(&&**name));
    assert_eq!(names.iter().collect::<Vec<_>>(), TOP_LEVEL);
}

/// Every file below a folder.
fn sources(folder: &str) -> BTreeMap<String, String> {
    let entries = fs::read_dir(root(folder)).expect("folders can be listed");
    let names = entries.map(|entry| entry.expect("an entry can be read").file_name());
    let below = |path: String| match fs::read_to_string(root(&path)) {
        Ok(text) => BTreeMap::from([(path, text)]),
        Err(_) => sources(&path),
    };
    let paths = names.map(|name| format!("{folder}/{}", name.display()));
    paths.flat_map(below).collect()
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The lines that are neither blank nor in-file tests.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.split("\n#[cfg(test)]\n").take(1).flat_map(str::lines);
    lines.filter(|line| !line.trim().is_empty())
}

/// The module that a file is, from its room on.
fn module(path: &str) -> Vec<&str> {
    let inside = path.trim_start_matches("src/").trim_end_matches(".rs");
    inside.split('/').filter(|name| *name != "mod").collect()
}

/// What a file names: paths from a room on, and those into a confined crate.
fn names<'a>(path: &'a str, text: &'a str) -> Vec<Vec<&'a str>> {
    let module = module(path);
    let is_path = |c: char| c.is_alphanumeric() || "_:".contains(c);
    let lines = code(text).filter(|line| !line.trim_start().starts_with("//"));
    let paths = lines.flat_map(|line| line.split(|c| !is_path(c)));
    let from_the_top = |path: &'a str| {
        let path: Vec<&str> = path.split("::").collect();
        let up = path.iter().take_while(|name| **name == "super").count();
        let within = match path[0] {
            _ if path.len() == 1 => return None,
            "super" => module.len() - up,
            // The programs are crates of their own.
            "crate" if ["main", "storm"].contains(&module[0]) => 1,
            "crate" | "ripple_tftpd" => 0,
            name => return CONFINED.contains(&name).then_some(path),
        };
        Some([&module[..within], &path[up.max(1)..]].concat())
    };
    paths.filter_map(from_the_top).collect()
}

fn faults(path: &str, text: &str) -> Vec<String> {
    let own = module(path)[0];
    let room = ROOMS.iter().find(|(room, ..)| *room == own);
    let (_, others, because) = room.unwrap_or_else(|| panic!("{own} is not planned"));
    let begins = |name: &str, other: &str| format!("{name}::").starts_with(&format!("{other}::"));
    let may = |name: &str| begins(name, own) || others.iter().any(|other| begins(name, other));
    let names = names(path, text).into_iter().map(|names| names.join("::"));
    let faults = names.filter(|name| !may(name));
    faults
        .map(|name| format!("{path}: '{name}': {because}"))
        .collect()
}

/// Which files of one room name which, as far as they go in circles. A folder inside a room is one part of it.
fn circles(sources: &BTreeMap<String, String>) -> BTreeSet<(String, String)> {
    let part = |names: &[&str]| names.get(..2).map(|names| names.join("/"));
    let edges = sources.iter().flat_map(|(path, text)| {
        let file = part(&module(path));
        let others = names(path, text).into_iter();
        others.filter_map(move |other| file.clone().zip(part(&other)))
    });
    let mut edges: BTreeSet<_> = edges.filter(|(file, other)| file != other).collect();
    // A file that names no other that is left, or is named by none, is in no circle.
    loop {
        let (naming, named): (BTreeSet<_>, BTreeSet<_>) = edges.iter().cloned().unzip();
        let before = edges.len();
        edges.retain(|(file, other)| named.contains(file) && naming.contains(other));
        if edges.len() == before {
            return edges;
        }
    }
}

#[test]
fn planted_faults_are_found() {
    for (path, text) in [
        ("src/moment.rs", "use crate::wire::Peer;"),
        ("src/server/mod.rs", "type S = crate::os::socket::S;"),
        ("src/storm/run.rs", "use ripple_tftpd::server::Server;"),
        ("src/server/queue.rs", "use super::super::os;"),
        ("src/name.rs", "use super::os;"),
        ("src/cli/mod.rs", "use crate::{os, config};"),
        ("src/server/mod.rs", "log::logger();"),
        ("src/daemon/io.rs", "use nix::sys::socket;"),
    ] {
        assert_eq!(faults(path, text).len(), 1, "{text}");
    }
    let innocent = "//! crate::os\nuse super::wheel;\nuse crate::wire::Peer;\n\
        #[cfg(test)]\nuse crate::os;";
    assert_eq!(faults("src/server/queue.rs", innocent), [""; 0]);
    let file = |(part, text): (&str, &str)| (format!("src/os/{part}.rs"), text.to_owned());
    let two = [("a", "use super::b::B;"), ("b", "use crate::os::c;")];
    let circle = |c| circles(&two.into_iter().chain([("c", c)]).map(file).collect()).len();
    assert_eq!(circle("use super::Room;"), 0);
    assert_eq!(circle("use super::a;"), 3);
}
