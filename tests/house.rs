//! The rules of the house, held by a program: which room may name which, no circles inside a room, how large
//! a room may be, and what lies at the top level. Each rule carries its reason.
//!
//! What a room may *do* (clocks, sockets, files, the log) is held by clippy with the lists in
//! `scripts/clippy.toml`, and `unsafe` by the compiler; `scripts/test` runs both.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

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

/// Crates that only some rooms may name. What of `std` is confined stands in `scripts/clippy.toml`.
#[rustfmt::skip]
const CRATES: &[(&str, &[&str], &str)] = &[
    ("libc", &["os"], SYSTEM_CALLS),
    ("nix", &["os"], SYSTEM_CALLS),
    ("socket2", &["os"], SYSTEM_CALLS),
    ("memmap2", &["os"], SYSTEM_CALLS),
    ("landlock", &["os"], SYSTEM_CALLS),
    ("seccompiler", &["os"], SYSTEM_CALLS),
    ("mio", &["os"], SYSTEM_CALLS),
    ("log", &["daemon", "main"], "every line of the log is in one room"),
];

/// The loop distinguishes them.
const ERROR_NUMBERS: (&str, &str, &str) = ("daemon", "nix", "errno");

const SYSTEM_CALLS: &str = "all system calls are in one room";

/// Rooms that are read together, the lines they may have that are neither blank nor in-file tests, and what they are
/// needed for. A budget is raised only here.
#[rustfmt::skip]
const BUDGETS: &[(&[&str], usize, &str)] = &[
    (&["lib", "main", "moment"], 205, "the way of a request and the two reading lanes"),
    (&["wire", "name", "names"], 2_540, "expressions that match as the C library's do: no crate has those in linear time"),
    (&["transfer"], 2_020, "both directions"),
    (&["server"], 4_250, "slots and queue, defences, uploads, a view from outside"),
    (&["os"], 7_330, "disks that may hang, names as sites spell them and misses that cost the helper nothing, uploads, the sandbox, every way to be started"),
    (&["access", "config", "cli"], 1_780, "two command lines"),
    (&["daemon"], 6_900, "the loop, two ways of ports, each log line in words and as JSON, statistics"),
    (&["screen"], 500, "a running server on a terminal"),
    (&["firmware"], 3_060, "no part of a server"),
    (&["storm"], 3_200, "no part of a server"),
];

/// Lines of the first reading lane: an hour.
const LANE: usize = 4_000;

/// What lies at the top level, and nothing else.
#[rustfmt::skip]
const TOP_LEVEL: &[&str] = &[
    ".ci", ".gitignore", "Cargo.lock", "Cargo.toml", "LICENSE-APACHE", "LICENSE-MIT", "README.md", "man", "scripts",
    "src", "tests",
];

#[test]
fn rooms_name_only_rooms_below_them() {
    let faults: Vec<String> = sources().iter().flat_map(Source::wrong_rooms).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn no_files_of_a_room_go_in_circles() {
    let circle = circle_among(&sources());
    assert_eq!(circle, None, "each of these files names the next");
}

#[test]
fn every_room_is_planned_opens_with_its_purpose_and_keeps_its_budget() {
    let mut lines = BTreeMap::new();
    for source in sources() {
        let (opens, file) = (source.text.starts_with("//!"), &source.file);
        assert!(opens, "{file} does not open with //! and its purpose");
        *lines.entry(source.room.clone()).or_insert(0) += source.lines();
    }
    for (room, _, _) in ROOMS {
        assert!(lines.contains_key(*room), "{room} is planned and not built");
    }
    let mut over = Vec::new();
    for &(rooms, budget, _) in BUDGETS {
        let counted: usize = rooms.iter().filter_map(|&room| lines.remove(room)).sum();
        println!("{counted:6} of {budget:5} lines: {}", rooms.join(", "));
        if counted > budget {
            over.push(rooms);
        }
    }
    assert!(lines.is_empty(), "rooms without a budget: {lines:?}");
    assert!(over.is_empty(), "over their budgets: {over:?}");
}

/// The lane is the list in `lib.rs`; it is worth its name as long as it takes an hour.
#[test]
fn the_first_reading_lane_takes_an_hour() {
    let library = fs::read_to_string(root().join("src/lib.rs")).expect("there is a lib.rs");
    let lane = library
        .split_once("The first lane")
        .and_then(|(_, lanes)| lanes.split_once("The second lane"));
    let (lane, _) = lane.expect("lib.rs names two lanes");
    let names = lane.lines().filter_map(|line| line.strip_prefix("//! - "));
    let names = names.flat_map(|line| line.split('`').skip(1).step_by(2));
    let mut lines = Source::new("src/README.rs", include_str!("../README.md")).lines();
    let mut files = 0;
    for name in names {
        let file = format!("src/{name}.rs");
        let text = fs::read_to_string(root().join(&file)).expect(&file);
        lines += Source::new(&file, &text).lines();
        files += 1;
    }
    println!("{lines:6} of {LANE:5} lines: the first reading lane, {files} files and README");
    assert!(files > 15 && lines <= LANE);
}

#[test]
fn the_top_level_is_tidy() {
    // What git ignores is not part of the house: .gitignore names it, one "/name" a line.
    let ignored = fs::read_to_string(root().join(".gitignore")).expect("there is a .gitignore");
    let is_ignored = |name: &str| ignored.lines().any(|line| line.trim_matches('/') == name);
    let entries = fs::read_dir(root()).expect("the root can be listed");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry can be read").file_name())
        .map(|name| name.into_string().expect("names are UTF-8"))
        .filter(|name| name != ".git" && !is_ignored(name))
        .collect();
    names.sort();
    assert_eq!(names, TOP_LEVEL);
}

/// So all tests can be built without a feature; `scripts/test` builds them with `storm` only.
#[test]
fn only_what_requires_a_feature_names_its_crates() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("there is a Cargo.toml");
    let (_, own) = manifest
        .split_once("\n[dev-dependencies]\n")
        .expect("tests need crates");
    let of_features = manifest
        .split("\"dep:")
        .skip(1)
        .filter_map(|rest| rest.split('"').next());
    let of_features = of_features.filter(|name| !own.contains(&format!("\n{name} = ")));
    let of_features: Vec<String> = of_features.map(|name| format!("{name}::")).collect();
    assert!(of_features.len() > 2, "{of_features:?}");
    let mut texts = Vec::new();
    let mut folders = vec![PathBuf::from("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).expect("tests can be listed") {
            let path = folder.join(entry.expect("an entry can be read").file_name());
            if ["tests/storm", "tests/fuzz", "tests/bench/core.rs"]
                .iter()
                .any(|own| path == Path::new(own))
            {
                continue;
            }
            if root().join(&path).is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(root().join(&path)).expect("sources are UTF-8");
                texts.push((path, text));
            }
        }
    }
    assert!(texts.len() > 100, "the tests are found");
    let names = |text: &String| of_features.iter().any(|name| text.contains(&**name));
    let wrong: Vec<_> = texts
        .iter()
        .filter(|(_, text)| names(text))
        .map(|(path, _)| path)
        .collect();
    assert!(wrong.is_empty(), "these tests need a feature: {wrong:?}");
}

/// A file of `src/`, without its in-file tests.
struct Source {
    file: String,
    room: String,
    /// Its name inside the room; `None` for the room's own `mod.rs`, or a room of one file.
    part: Option<String>,
    text: String,
}

impl Source {
    fn new(file: &str, text: &str) -> Source {
        let inside = file.strip_prefix("src/").expect("sources are in src");
        let inside = inside.strip_suffix(".rs").expect("sources are Rust");
        let (room, part) = inside.split_once('/').unwrap_or((inside, "mod"));
        // A folder inside a room is one part of it.
        let part = part.split('/').next().unwrap_or(part);
        let text = text.split("\n#[cfg(test)]\n").next().unwrap_or(text);
        Source {
            file: file.to_owned(),
            room: room.to_owned(),
            part: (!["mod", "main"].contains(&part)).then(|| part.to_owned()),
            text: text.to_owned(),
        }
    }

    fn code(&self) -> impl Iterator<Item = &str> {
        let code = self.text.lines().map(str::trim_start);
        code.filter(|line| !line.is_empty() && !line.starts_with("//"))
    }

    fn lines(&self) -> usize {
        let lines = self.text.lines();
        lines.filter(|line| !line.trim().is_empty()).count()
    }

    /// What stands behind `prefix` wherever it begins a path.
    fn named_after<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        self.code().flat_map(move |line| {
            line.match_indices(prefix)
                .filter(move |(at, _)| !line[..*at].ends_with(is_word))
                .map(move |(at, _)| &line[at + prefix.len()..])
                .map(move |rest| rest.split(|c| !is_word(c)).next().unwrap_or(rest))
        })
    }

    fn wrong_rooms(&self) -> Vec<String> {
        let Some((room, may_name, because)) = ROOMS.iter().find(|(room, ..)| *room == self.room)
        else {
            // The crate's root names every room.
            return Vec::new();
        };
        // The rehearsal is a crate of its own.
        let library = match *room {
            "main" | "storm" => "ripple_tftpd::",
            _ => "crate::",
        };
        let ours = self.named_after(library);
        let wrong = ours.filter(|other| other != room && !may_name.contains(other));
        let mut faults: Vec<String> = wrong
            .map(|other| format!("must not name '{other}': {because}"))
            .collect();
        for (name, rooms, because) in CRATES {
            let path = format!("{name}::");
            let mut named = self.named_after(&path);
            if named.any(|word| (*room, *name, word) != ERROR_NUMBERS) && !rooms.contains(room) {
                faults.push(format!("{name} has no place here: {because}"));
            }
        }
        // So that the lines above see every path: one `use` for each room, by its full name.
        let above = match self.part {
            Some(_) => "super::super",
            None => "super::",
        };
        for hidden in [above, "crate::{", "ripple_tftpd::{"] {
            if self.code().any(|line| line.contains(hidden)) {
                faults.push(format!("'{hidden}' hides which room is named"));
            }
        }
        let file = |fault| format!("{}: {fault}", self.file);
        faults.into_iter().map(file).collect()
    }

    /// Files of its own room that it names.
    fn neighbours(&self) -> BTreeSet<String> {
        let own = match &*self.room {
            "storm" => "crate::".to_owned(),
            room => format!("crate::{room}::"),
        };
        let by_full_name = self.named_after(&own).map(str::to_owned);
        let by_room = self.named_after("super::").map(str::to_owned);
        by_full_name.chain(by_room).collect()
    }
}

/// Files of one room each of which names the next, the last the first.
fn circle_among(sources: &[Source]) -> Option<Vec<String>> {
    let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources {
        let key = |part: &String| format!("{}/{part}", source.room);
        if let Some(part) = &source.part {
            let mut others = source.neighbours();
            others.remove(part);
            let known = names.entry(key(part)).or_default();
            known.extend(others.iter().map(key));
        }
    }
    // A file that names no other that is left, or is named by none, is in no circle.
    loop {
        let left: BTreeSet<String> = names.keys().cloned().collect();
        let named: BTreeSet<String> = names.values().flatten().cloned().collect();
        names.retain(|file, others| !others.is_disjoint(&left) && named.contains(file));
        if names.len() == left.len() {
            return (!names.is_empty()).then(|| names.into_keys().collect());
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let mut folders = vec![PathBuf::from("src")];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).expect("src can be listed") {
            let path = folder.join(entry.expect("an entry can be read").file_name());
            if root().join(&path).is_dir() {
                folders.push(path);
            } else {
                let text = fs::read_to_string(root().join(&path)).expect("sources are UTF-8");
                sources.push(Source::new(path.to_str().expect("names are UTF-8"), &text));
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
        ("src/moment.rs", "use crate::wire::Peer;", "must not name 'wire'"),
        ("src/server/mod.rs", "type S = crate::os::socket::S;", "must not name 'os'"),
        ("src/storm/run.rs", "use ripple_tftpd::server::Server;", "must not name 'server'"),
        ("src/storm/main.rs", "use ripple_tftpd::wire;", "must not name 'wire'"),
        ("src/server/queue.rs", "use super::super::os;", "hides"),
        ("src/name.rs", "use super::os;", "hides"),
        ("src/cli.rs", "use crate::{os, config};", "hides"),
        ("src/server/mod.rs", "log::logger();", "log has no place"),
        ("src/daemon/io.rs", "use nix::sys::socket;", "nix has no place"),
    ];
    for (file, text, expected) in planted {
        let faults = Source::new(file, text).wrong_rooms();
        assert!(faults.iter().any(|it| it.contains(expected)), "{text}: {faults:?}");
    }
    let innocent = "//! crate::os\nuse super::wheel;\nuse crate::wire::Peer;\n#[cfg(test)]\nmod t { use crate::os; }";
    assert!(Source::new("src/server/queue.rs", innocent).wrong_rooms().is_empty());
}

#[test]
fn planted_circles_are_found() {
    let room = |texts: [&str; 3]| {
        let files = ["a", "b", "c"].map(|part| format!("src/os/{part}.rs"));
        let pairs = files.iter().zip(texts);
        Vec::from_iter(pairs.map(|(file, text)| Source::new(file, text)))
    };
    let chain = room(["use super::b::B;", "use super::c;", "use super::Room;"]);
    assert_eq!(circle_among(&chain), None);
    let circle = room(["use super::b::B;", "use crate::os::c::C;", "use super::a;"]);
    assert_eq!(circle_among(&circle).map(|files| files.len()), Some(3));
}
