//! A requested name: refused, or safe to be looked up beneath the root.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use ripple_tftpd::name::{FileName, NAME_MAX, RootPrefixes};

static ROOT: LazyLock<RootPrefixes> =
    LazyLock::new(|| RootPrefixes::new([&b"/srv/tftp"[..], b"/data"]));

fuzz_target!(|requested: &[u8]| {
    let mut buffer = [0; NAME_MAX];
    let Ok(name) = FileName::new(requested, &ROOT, &mut buffer) else {
        return;
    };
    let bytes = name.as_bytes();
    assert!(!bytes.is_empty() && bytes.len() <= NAME_MAX);
    assert!(bytes.len() <= requested.len());
    assert!(!bytes.contains(&0) && !bytes.contains(&b'\\'));
    for component in bytes.split(|&byte| byte == b'/') {
        assert!(!matches!(component, b"" | b"." | b".."));
        // No component was made up.
        assert!(
            requested
                .windows(component.len())
                .any(|part| part == component)
        );
    }
    assert_eq!(resolved(requested), Some(bytes.to_vec()));
});

/// The name as a plain reader would resolve it; `None` if it leaves the root.
fn resolved(requested: &[u8]) -> Option<Vec<u8>> {
    let mut name = requested;
    while let Some(shorter) = name.strip_suffix(b"\xFF") {
        name = shorter;
    }
    let mut path: Vec<&[u8]> = Vec::new();
    for component in name.split(|byte| b"/\\".contains(byte)) {
        match component {
            b"" | b"." => {}
            b".." => drop(path.pop()?),
            _ => path.push(component),
        }
    }
    let is_absolute = requested
        .first()
        .is_some_and(|first| b"/\\".contains(first));
    for root in [&[&b"srv"[..], b"tftp"][..], &[&b"data"[..]]] {
        if is_absolute && path.starts_with(root) && root.len() < path.len() {
            path.drain(..root.len());
            break;
        }
    }
    Some(path.join(&b'/'))
}
