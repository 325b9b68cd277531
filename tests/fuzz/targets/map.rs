//! A map file and a request: the file is rejected, or every name comes to an end within its bounds.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libfuzzer_sys::fuzz_target;
use ripple_tftpd::name::NAME_MAX;
use ripple_tftpd::names::hardware::HardwareAddress;
use ripple_tftpd::names::map::{Acted, Asked, Dialect, Map, Mapped, STEPS_MAX};

fuzz_target!(|input: &[u8]| {
    let [choices, at, rest @ ..] = input else {
        return;
    };
    let dialect = match choices & 1 == 0 {
        true => Dialect::Tftpd,
        false => Dialect::InTftpd,
    };
    let (name, file) = rest.split_at(usize::from(*at).min(rest.len()));
    let Ok(map) = Map::read(file, STEPS_MAX, dialect) else {
        return;
    };
    let client: IpAddr = match choices & 2 == 0 {
        true => Ipv4Addr::new(192, 0, 2, 1).into(),
        false => Ipv6Addr::LOCALHOST.into(),
    };
    let asked = Asked {
        name,
        client,
        hardware: (choices & 4 == 0).then_some(HardwareAddress([1, 2, 3, 4, 5, 6])),
        is_write: choices & 8 == 0,
    };
    // What is as long as an even number opens.
    let mapped = map.apply(asked, &mut |acted: Acted<'_>| {
        assert!(acted.name.len() <= NAME_MAX);
        Some(acted.name.len().is_multiple_of(2))
    });
    match &mapped {
        Mapped::Name(name) => assert!(name.len() <= NAME_MAX),
        Mapped::Refused(text) => assert!(!text.is_empty() && text.len() <= NAME_MAX),
        Mapped::Unknown => panic!("all is known"),
    }
    let refusal = map.refuses(asked);
    assert!(refusal.is_none_or(|text| !text.is_empty() && text.len() <= NAME_MAX));
});
