//! What is fetched, and what is written about it.

use std::fs;

use crate::rehearsal::{json, read, rehearse, serving, verify};
use crate::surroundings::root::Root;
use crate::surroundings::server::Server;

#[test]
fn a_missing_file_fails() {
    let root = Root::new();
    let server = Server::start(root.path());
    let run = rehearse(&server, "nothing --clients 4 --mix ipxe --arrival 0s", &[]);
    assert_eq!(run.status, Some(1));
    assert_eq!(run.row("booted"), "0");
    assert_eq!(run.row("failed"), "4: error 1 from the server 4");
}

#[test]
fn a_corrupted_file_is_found() {
    let (root, originals) = (Root::new(), Root::new());
    root.write("kernel", 50_000);
    originals.write("kernel", 50_000);
    let server = Server::start(root.path());
    let rehearse = || {
        rehearse(
            &server,
            "kernel --clients 4 --arrival 0s",
            &["--verify", &originals.at("")],
        )
    };
    rehearse().must_be_well();

    let original = fs::read(originals.path().join("kernel")).unwrap();
    let mut changed = original.clone();
    changed[31_234] ^= 1;
    let longer = [original.as_slice(), &[0]].concat();
    let shorter = &original[..49_999];
    for (wrong, position) in [
        (changed.as_slice(), 31_234),
        (&longer, 50_000),
        (shorter, 49_999),
    ] {
        // A file of its own: the server may still have the old one mapped.
        fs::remove_file(root.path().join("kernel")).unwrap();
        fs::write(root.path().join("kernel"), wrong).unwrap();
        let run = rehearse();
        assert_eq!(run.status, Some(1), "{run:?}");
        assert_eq!(run.row("failed"), "4: wrong bytes 4");
        let place = format!("at byte {position} of 'kernel'");
        assert!(run.table.contains(&place), "{place}: {run:?}");
    }
}

#[test]
fn a_boot_from_a_file_is_gone_through() {
    let root = Root::new();
    root.write("first", 1_000);
    root.write("third", 2_000);
    let boot = "[[file]]\nname = 'first'\nby = 'ipxe'\n\
                [[file]]\nname = 'second'\nrole = 'search'\n\
                [[file]]\nname = 'third'\nrole = 'search'\nthink = '5ms'\n\
                [[file]]\nname = 'fourth'\nrole = 'optional'\n";
    fs::write(root.path().join("boot.toml"), boot).unwrap();
    let server = Server::start(root.path());
    let run = rehearse(
        &server,
        "--clients 5 --mix pxelinux --arrival 0s",
        &[
            "--chain",
            &root.at("boot.toml"),
            "--json",
            &root.at("out.json"),
        ],
    );
    run.must_be_well();
    assert_eq!(json(&root, "out.json")["useful_bytes"], 5 * 3_000);
}

#[test]
fn the_usual_boot_asks_for_the_usual_files() {
    let root = Root::new();
    root.write("undionly.kpxe", 2_000);
    root.write("boot.ipxe", 100);
    fs::create_dir_all(root.path().join("debian/amd64")).unwrap();
    root.write("debian/amd64/linux", 9_000);
    root.write("debian/amd64/initrd.gz", 12_000);
    let server = Server::start(root.path());
    let run = verify(
        &root,
        &server,
        "--chain usual --clients 3 --mix ipxe --arrival 0s",
    );
    assert_eq!(run.must_be_well().row("booted"), "3");
}

#[test]
fn the_results_are_json() {
    let (root, server) = serving(&[("kernel", 5_000)]);
    let run = rehearse(
        &server,
        "kernel --clients 10 --arrival 0s --mix edk2",
        &["--json", &root.at("out.json")],
    );
    run.must_be_well();
    let results = json(&root, "out.json");
    assert_eq!(results["clients"], 10);
    assert_eq!(results["booted"], 10);
    assert_eq!(results["kinds"]["edk2"], 10);
    assert_eq!(results["useful_bytes"], 50_000);
    assert_eq!(results["failed"].as_object().unwrap().len(), 0);
    let boot = &results["boot_seconds"];
    let (median, longest) = (boot["p50"].as_f64().unwrap(), boot["max"].as_f64().unwrap());
    assert!(0.0 < median && median <= longest);
    let machines = results["machines"].as_array().unwrap();
    assert!(machines.iter().all(|it| it["outcome"] == "booted"));
}

#[test]
fn the_picture_is_well_formed() {
    let (root, server) = serving(&[("a<b&c", 5_000)]);
    for (file, clients) in [("a<b&c", "7"), ("a<b&c", "200"), ("missing", "3")] {
        rehearse(
            &server,
            "--arrival 100ms --mix ipxe",
            &[file, "--clients", clients, "--plot", &root.at("out.svg")],
        );
        let picture = read(&root, "out.svg");
        let elements = well_formed(&picture).unwrap();
        assert!(elements > 20, "{elements} elements");
        let crosses = picture.matches(r#"<path class="failed""#).count();
        // One stands in the legend.
        let expected = if file == "missing" { 4 } else { 1 };
        assert_eq!(crosses, expected, "{file}");
    }
}

#[test]
fn a_malformed_picture_is_found() {
    assert_eq!(well_formed("<a b=\"1\"><c/>x</a>\n"), Ok(2));
    for text in [
        "<a>",
        "<a></b>",
        "<a></a></a>",
        "<a>&</a>",
        "<a b=1/>",
        "<a b=\"<\"/>",
        "<a b=\"NaN\"/>",
    ] {
        assert!(well_formed(text).is_err(), "{text}");
    }
}

/// Counts the elements of XML as far as our pictures use it; numbers that are none count as mistakes.
fn well_formed(text: &str) -> Result<usize, String> {
    let mut open = Vec::new();
    let mut elements = 0;
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        let (tag, following) = after.split_once('>').ok_or("a tag without an end")?;
        plain(before)?;
        rest = following;
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name) {
                return Err(format!("</{name}> ends nothing"));
            }
            continue;
        }
        elements += 1;
        let body = tag.strip_suffix('/').unwrap_or(tag);
        let (name, attributes) = body.split_once(' ').unwrap_or((body, ""));
        attributes_of(attributes)?;
        if body.len() == tag.len() {
            open.push(name);
        }
    }
    plain(rest)?;
    match open.as_slice() {
        [] => Ok(elements),
        open => Err(format!("{open:?} have no end")),
    }
}

fn attributes_of(mut text: &str) -> Result<(), String> {
    while !text.trim().is_empty() {
        let (name, after) = text
            .split_once("=\"")
            .ok_or_else(|| format!("'{text}' is no attribute"))?;
        let (value, following) = after.split_once('"').ok_or("a value without an end")?;
        let is_name = |mark: char| mark.is_ascii_alphanumeric() || mark == '-' || mark == ' ';
        if !name.chars().all(is_name) || value.contains("NaN") || value.contains("inf") {
            return Err(format!("{name}={value}"));
        }
        plain(value)?;
        text = following;
    }
    Ok(())
}

/// Text without marks that would need to be escaped.
fn plain(text: &str) -> Result<(), String> {
    let unescaped = ["&amp;", "&lt;", "&gt;"]
        .iter()
        .fold(text.to_owned(), |text, known| text.replace(known, ""));
    match unescaped.find(['&', '<', '>']) {
        None => Ok(()),
        Some(_) => Err(format!("'{text}' is not escaped")),
    }
}
