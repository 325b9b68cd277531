//! What the table of cases does not show: how a file is read, what is rejected, and that every rule comes to an end.

use std::net::IpAddr;

use ripple_tftpd::names::hardware::HardwareAddress;
use ripple_tftpd::names::map::{Acted, Asked, Dialect, Map, Mapped, STEPS_MAX};

use super::{asked, result};

fn mapped(rules: &str, name: &str) -> String {
    result(rules, asked(name.as_bytes(), "192.0.2.169", false))
}

fn read(file: &str) -> Result<Map, String> {
    Map::read(file.as_bytes(), STEPS_MAX, Dialect::Tftpd).map_err(|bad| bad.to_string())
}

#[test]
fn a_file_is_read_line_by_line() {
    let cases = [
        ("", "a"),
        ("\n \t\n# r a b\n   # r a b", "a"),
        ("r a b\r\nr b c\r\n", "c"),
        ("\t r\ta  b  anything more", "b"),
        ("r a b# a comment", "b"),
        ("r a \\#b", "#b"),
        ("r a \\ b", " b"),
        ("r a b\\", "b\\"),
        ("r a# without a replacement", ""),
        (":label\nr a b", "b"),
        (":\nr a b", "b"),
        ("r a b", "b"),
    ];
    for (rules, expected) in cases {
        assert_eq!(mapped(rules, "a"), expected, "{rules:?}");
    }
}

#[test]
fn a_bad_file_is_rejected_as_a_whole_with_line_column_and_reason() {
    let cases = [
        ("r", "line 1, column 1: a rule without a regular expression"),
        (
            "r a b\nrx a b",
            "line 2, column 2: 'x' is no operation, only r g i e E s a j ~ G P 4 6",
        ),
        (
            "# a\n\n  r (a b",
            "line 3, column 7: regular expression: a ( without its )",
        ),
        (
            "r a{ b",
            "line 1, column 5: regular expression: a { without its }",
        ),
        (
            "r ^* b",
            "line 1, column 4: regular expression: nothing to repeat",
        ),
        (
            "r (a)\\1 b",
            "line 1, column 6: regular expression: back-references are not supported",
        ),
        (
            "r~ a b",
            "line 1, column 2: 'r' and '~' cannot be in one rule",
        ),
        (
            "ea a",
            "line 1, column 2: 'a' and 'e' cannot be in one rule",
        ),
        (
            "r a{1,9999} b",
            "line 1, column 12: regular expression: too large",
        ),
    ];
    for (rules, expected) in cases {
        let Err(message) = read(rules) else {
            panic!("{rules}: taken")
        };
        let wrong = |prefix: &str| message.split(": ").next() == Some(prefix);
        assert!(
            message == expected || (rules.starts_with("ea") && wrong("line 1, column 2")),
            "{rules}: {message}"
        );
    }
    for pair in [
        "ra", "rj", "aj", "as", "ej", "ea", "es", "eE", "Ej", "Ea", "Es",
    ] {
        assert!(read(&format!("{pair} a b")).is_err(), "{pair}");
    }
    for together in [
        "rgie", "rggi", "rs", "~e", "~s", "~a", "~E", "rE", "rGP46", "g",
    ] {
        assert!(read(&format!("{together} a b")).is_ok(), "{together}");
    }
}

#[test]
fn reads_and_writes_and_families_have_rules_of_their_own() {
    let rules = "rG ^ g/\nrP ^ p/\nrGP ^ both/\nr4 ^ v4/\nr6 ^ v6/";
    for (client, is_write, expected) in [
        ("192.0.2.1", false, "v4/g/x"),
        ("192.0.2.1", true, "v4/p/x"),
        ("::ffff:192.0.2.1", false, "v4/g/x"),
        ("2001:db8::1", true, "v6/p/x"),
    ] {
        assert_eq!(result(rules, asked(b"x", client, is_write)), expected);
    }
}

#[test]
fn a_name_that_opens_ends_the_rules_and_another_is_taken_back() {
    let map = read("\nrE ^ one/\nrE ^ two/\nr ^ three/").unwrap();
    let apply = |opens: Vec<(&'static [u8], Option<bool>)>| {
        let mut told = Vec::new();
        let asked = asked(b"f", "192.0.2.1", false);
        let mapped = map.apply(asked, &mut |acted: Acted<'_>| {
            told.push((acted.line, acted.name.to_vec()));
            let mut known = opens.iter().filter(|_| acted.asks_if_it_opens);
            let known = known.find(|(known, _)| *known == acted.name);
            known.map_or(Some(false), |(_, opens)| *opens)
        });
        (mapped, told)
    };
    let name = |name: &[u8]| Mapped::Name(name.to_vec());
    let told = |lines: &[(usize, &[u8])]| -> Vec<(usize, Vec<u8>)> {
        let lines = lines.iter();
        lines.map(|&(line, name)| (line, name.to_vec())).collect()
    };
    let (mapped, steps) = apply(vec![(b"two/f", Some(true))]);
    assert_eq!(mapped, name(b"two/f"));
    assert_eq!(steps, told(&[(2, b"one/f"), (3, b"two/f")]));
    assert_eq!(apply(vec![]).0, name(b"three/f"));
    assert_eq!(apply(vec![(b"one/f", None)]).0, Mapped::Unknown);
}

#[test]
fn the_hardware_address_is_ours_alone() {
    let of = |dialect, hardware| {
        let map = Map::read(b"r ^ \\U\\m\\E/", STEPS_MAX, dialect).unwrap();
        assert_eq!(map.wants_hardware(), dialect == Dialect::Tftpd);
        let asked = Asked {
            hardware,
            ..asked(b"f", "192.0.2.1", false)
        };
        map.apply(asked, &mut |_| Some(false))
    };
    let address = Some(HardwareAddress([0xdc, 0xa6, 0x32, 1, 2, 3]));
    let name = |name: &[u8]| Mapped::Name(name.to_vec());
    assert_eq!(of(Dialect::Tftpd, address), name(b"DC-A6-32-01-02-03/f"));
    assert_eq!(of(Dialect::Tftpd, None), name(b"/f"));
    assert_eq!(of(Dialect::InTftpd, address), name(b"M/f"));
}

#[test]
fn an_ipv4_address_in_ipv6_is_written_as_ipv4() {
    let rules = "r ^ \\i-\\x/";
    for (client, expected) in [
        ("::ffff:192.0.2.1", "192.0.2.1-C0000201/f"),
        (
            "2001:db8::7",
            "2001:db8::7-20010DB8000000000000000000000007/f",
        ),
    ] {
        assert_eq!(result(rules, asked(b"f", client, false)), expected);
    }
}

/// As 5.2, and unlike 5.5: what the network sends does not cut a name at a backslash.
#[test]
fn a_group_with_a_backslash_is_whole() {
    assert_eq!(mapped("r ^(.*)$ x/\\1", "a\\b"), "x/a\\b");
    assert_eq!(
        result("r .$", asked(b"a\xFF", "192.0.2.1", false)),
        "a",
        "names are bytes"
    );
}

#[test]
fn a_name_that_grows_past_its_bound_is_refused() {
    let refused = "refused: Remap table failure";
    assert_eq!(mapped("rg (.*) \\1\\1", "a"), refused);
    assert_eq!(mapped("r ^ \\0", &"a".repeat(1024)), "a".repeat(1024));
    assert_eq!(mapped("r ^ b", &"a".repeat(1024)), refused);
    let doubling = "r (.*) \\1\\1\n".repeat(20);
    assert_eq!(mapped(&doubling, "a"), refused);
}

/// A rule that rewrites nothing is not to blame for a name that came too long: it is refused as any such name is.
#[test]
fn a_name_that_came_too_long_is_left_to_rules_that_cut_or_refuse_it() {
    let long = "a".repeat(1025);
    for rules in ["e a", "s b\ne .", "j a x\n:x", "~e b", "r b c"] {
        assert_eq!(mapped(rules, &long), long, "{rules}");
    }
    assert_eq!(mapped("j a x\n:x\nr a+ b", &long), "b");
    assert_eq!(mapped("a a too\\ long", &long), "refused: too long");
}

/// Work is bounded in all, whatever a rule does: these are the worst known, on the longest name.
#[test]
fn no_rule_goes_on_for_ever() {
    let worst = [
        "r (a*)*(b|a)*$ x\n".repeat(4000),
        "rgg (((((a*)*)*)*)*)*b \\1".to_owned(),
        "rg (.*)(.*)(.*)x \\1".to_owned(),
        "rg (a|b|ab)*c{1,200} \\0\\0".to_owned(),
        "s (a|ab|b)*$".to_owned(),
        "rs ^(.*)(.)$ \\2\\1".to_owned(),
        ":a\nj . a".to_owned(),
        format!("rg {} x", "(a|b)?".repeat(150)),
    ];
    let name = "ab".repeat(512);
    for rules in &worst {
        let result = mapped(rules, &name);
        assert!(!result.is_empty() && result.len() <= 1024, "{rules:.40}");
    }
}

/// Rules that refuse are tried once more on names that other rules, or the cleaning, have made.
#[test]
fn rules_that_refuse_can_be_asked_alone() {
    let map = read("r ^x y\ne ^open/\nia \\.pvt$ private:\\ \\0\ns .\n~a ^[a-z.]+$").unwrap();
    let refuses = |name: &[u8]| {
        let asked = asked(name, "192.0.2.1", false);
        let text = map.refuses(asked);
        text.map(|text| String::from_utf8(text).unwrap())
    };
    assert_eq!(refuses(b"x"), None);
    assert_eq!(refuses(b"a.PVT").as_deref(), Some("private: .PVT"));
    assert_eq!(refuses(b"open/a.pvt"), None);
    assert_eq!(refuses(b"A").as_deref(), Some("access violation"));
}

#[test]
fn an_address_of_a_client_is_any() {
    let client: IpAddr = "::1".parse().unwrap();
    let asked = Asked {
        name: b"",
        client,
        hardware: None,
        is_write: true,
    };
    assert_eq!(result("r6P ^$ \\i", asked), "::1");
}
