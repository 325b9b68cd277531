//! What the program is made of: every dependency has a licence that its users can live with, and comes from the one registry with
//! a checksum. This is what `cargo deny` would look for as well; known faults need its database, and so a network.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Licences that ask for nothing but to be named. Any other has to be decided upon.
const ALLOWED: [&str; 4] = ["Apache-2.0", "MIT", "Unicode-3.0", "Unlicense"];

#[test]
fn every_dependency_has_an_allowed_licence() {
    let licences = licences();
    for known in ["mio", "nix", "ripple-tftpd"] {
        assert!(licences.contains_key(known), "{known}: not seen");
    }
    let is_bad = |(_, licence): &(&String, &String)| !is_allowed(licence);
    let bad: Vec<_> = licences.iter().filter(is_bad).collect();
    assert!(bad.is_empty(), "not allowed: {bad:?}");
}

#[test]
fn every_dependency_comes_from_one_registry_with_a_checksum() {
    let lock = fs::read_to_string(directory().join("Cargo.lock")).expect("Cargo.lock");
    let faults = faults(&lock);
    assert!(faults.is_empty(), "{faults:?}");
}

/// By the name of a package, for this system, with all features and what tests and builds need.
fn licences() -> BTreeMap<String, String> {
    let output = Command::new(env!("CARGO"))
        .current_dir(directory())
        .args([
            "tree",
            "--locked",
            "--all-features",
            "--edges",
            "normal,build,dev",
        ])
        .args(["--prefix", "none", "--format", "{p}\t{l}"])
        .output()
        .expect("cargo");
    let told = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    told.lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(package, licence)| {
            let name = package.split(' ').next().unwrap_or_default();
            // What was listed before is marked.
            (name.to_owned(), licence.trim_end_matches(" (*)").to_owned())
        })
        .collect()
}

fn directory() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether a licence expression (SPDX, or the slashes of old) can be met by allowed licences.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let met = any_of(&mut words);
    met && words.peek().is_none()
}

type Words<'w> = std::iter::Peekable<std::str::SplitWhitespace<'w>>;

fn any_of(words: &mut Words<'_>) -> bool {
    let mut met = all_of(words);
    while words.next_if_eq(&"OR").is_some() {
        met |= all_of(words);
    }
    met
}

fn all_of(words: &mut Words<'_>) -> bool {
    let mut met = one(words);
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words);
    }
    met
}

fn one(words: &mut Words<'_>) -> bool {
    match words.next() {
        Some("(") => {
            let met = any_of(words);
            words.next() == Some(")") && met
        }
        Some(licence) => {
            // An exception only ever permits more.
            if words.next_if_eq(&"WITH").is_some() {
                words.next();
            }
            ALLOWED.contains(&licence)
        }
        None => false,
    }
}

/// Packages of a lock file from elsewhere than one registry, or without a checksum.
fn faults(lock: &str) -> Vec<String> {
    let mut registries = HashSet::new();
    let mut faults = Vec::new();
    for package in lock.split("[[package]]").skip(1) {
        let value = |key: &str| {
            let line = package.lines().find(|line| line.starts_with(key));
            line.map(|line| line.trim_start_matches(key).trim_matches([' ', '=', '"']))
        };
        let name = value("name").unwrap_or("?");
        match value("source") {
            None if name == env!("CARGO_PKG_NAME") => {}
            None => faults.push(format!("{name}: from a path")),
            Some(source) => {
                registries.insert(source);
                if !source.starts_with("registry+") || value("checksum").is_none() {
                    faults.push(format!("{name}: from {source}"));
                }
            }
        }
    }
    if registries.len() != 1 {
        faults.push(format!("not one registry: {registries:?}"));
    }
    faults
}

// The checks can fail.

#[test]
fn licences_are_read_as_they_are_meant() {
    for good in [
        "MIT",
        "MIT OR Apache-2.0",
        "MIT/Apache-2.0",
        "GPL-3.0-only OR MIT",
        "(MIT OR GPL-2.0-only) AND Unlicense",
        "Apache-2.0 WITH LLVM-exception OR GPL-2.0-only",
    ] {
        assert!(is_allowed(good), "{good}");
    }
    for bad in [
        "",
        "GPL-3.0-only",
        "MIT AND GPL-3.0-only",
        "(MIT OR Apache-2.0) AND MPL-2.0",
        "(MIT",
        "MIT Apache-2.0",
        "Proprietary",
    ] {
        assert!(!is_allowed(bad), "{bad}");
    }
}

#[test]
fn strange_sources_are_found() {
    let package = |name: &str, rest: &str| format!("[[package]]\nname = \"{name}\"\n{rest}\n");
    let good = package("a", "source = \"registry+x\"\nchecksum = \"1\"");
    assert_eq!(faults(&good), Vec::<String>::new());
    for bad in [
        package("b", "source = \"git+x#1\""),
        package("b", "source = \"registry+x\""),
        package("b", "source = \"registry+y\"\nchecksum = \"1\""),
        package("b", ""),
    ] {
        assert!(!faults(&(good.clone() + &bad)).is_empty(), "{bad}");
    }
}
