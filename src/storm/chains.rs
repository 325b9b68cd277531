//! What the machines fetch: files by name, a boot that the simulator knows, or one from a TOML file.

use std::fs;
use std::time::Duration;

use ripple_tftpd::firmware::{Chain, Kind, Role, Step, chain::NAME_MAX};
use toml::Value;

use crate::values;

/// What was asked to be fetched.
pub(crate) struct Wanted {
    /// For reports.
    pub(crate) title: String,
    /// Files that were named one by one: each is to be had. The name that is asked for, and that of the file where it lies.
    pub(crate) files: Vec<(String, String)>,
    boot: Boot,
}

enum Boot {
    /// The same for every machine.
    Same(Chain),
    /// What is usual for its kind.
    Usual,
}

impl Wanted {
    /// These files, one after the other: each as `NAME`, or as `NAME=FILE` where the server makes a name another.
    pub(crate) fn files(names: &[&str]) -> Result<Wanted, String> {
        let files = names
            .iter()
            .map(|&name| name.split_once('=').unwrap_or((name, name)));
        let steps: Result<Vec<Step>, String> = files
            .clone()
            .map(|(name, _)| Ok(of_any_size(Step::file(checked(name)?, 0))))
            .collect();
        Ok(Wanted {
            title: names.join(", "),
            files: files
                .map(|(name, file)| (name.to_owned(), file.to_owned()))
                .collect(),
            boot: Boot::Same(Chain::new(steps?)),
        })
    }

    /// A known boot, or else the boot in this file.
    pub(crate) fn chain(name: &str) -> Result<Wanted, String> {
        let known = KNOWN.iter().find(|(known, _)| *known == name);
        let boot = match known {
            _ if name == USUAL => Boot::Usual,
            Some((_, chain)) => Boot::Same(any_size(&chain())),
            None => Boot::Same(read(name)?),
        };
        Ok(Wanted {
            title: format!("chain {name}"),
            files: Vec::new(),
            boot,
        })
    }

    /// The boot of a machine of this kind.
    pub(crate) fn chain_of(&self, kind: Kind) -> Chain {
        match &self.boot {
            Boot::Same(chain) => chain.clone(),
            Boot::Usual => any_size(&Chain::usual(kind)),
        }
    }
}

/// The names of the known boots.
pub(crate) fn names() -> Vec<String> {
    let known = KNOWN.iter().map(|&(name, _)| name);
    std::iter::once(USUAL)
        .chain(known)
        .map(str::to_owned)
        .collect()
}

const USUAL: &str = "usual";
type Known = (&'static str, fn() -> Chain);

const KNOWN: [Known; 12] = [
    ("ipxe", Chain::ipxe),
    ("pxelinux", Chain::pxelinux),
    ("lpxelinux", Chain::lpxelinux),
    ("grub", Chain::grub_bios),
    ("uefi", Chain::uefi),
    ("uboot", Chain::uboot),
    ("raspberry-pi-4", Chain::raspberry_pi_4),
    ("windows", Chain::windows),
    ("freebsd", Chain::freebsd),
    ("netbsd", Chain::netbsd),
    ("am335x", Chain::am335x),
    ("session", Chain::session),
];

/// The server's files need not have the sizes that were measured.
fn any_size(chain: &Chain) -> Chain {
    Chain::new(chain.steps().iter().cloned().map(of_any_size).collect())
}

fn of_any_size(step: Step) -> Step {
    Step { size: None, ..step }
}

fn checked(name: &str) -> Result<&str, String> {
    if name.is_empty() || NAME_MAX < name.len() {
        return Err(format!("'{name}' does not have 1 to {NAME_MAX} bytes"));
    }
    Ok(name)
}

/// A boot written down by the operator: tables `[[file]]` with `name`, `role`, `think` and `by`.
fn read(path: &str) -> Result<Chain, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("'{path}': {error}"))?;
    parsed(&text).map_err(|message| format!("'{path}': {message}"))
}

fn parsed(text: &str) -> Result<Chain, String> {
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| error.to_string())?;
    if let Some(other) = table.keys().find(|key| *key != "file") {
        return Err(format!("'{other}' is not known, only [[file]] is"));
    }
    let files = table.get("file").and_then(Value::as_array);
    let files = files.ok_or("there is no [[file]]")?;
    let steps: Result<Vec<Step>, String> = files.iter().map(step).collect();
    Ok(Chain::new(steps?))
}

fn step(file: &Value) -> Result<Step, String> {
    let file = file.as_table().ok_or("a file is written as [[file]]")?;
    let text = |key: &str| match file.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(other) => Err(format!("{key} is of type {}, not a text", other.type_str())),
    };
    let known = ["name", "role", "think", "by"];
    if let Some(other) = file.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(format!(
            "'{other}' is not known; a file has {}",
            known.join(", ")
        ));
    }
    let name = checked(text("name")?.ok_or("a file has no name")?)?;
    let role = match text("role")? {
        None | Some("required") => Role::Required,
        Some("optional") => Role::Optional,
        Some("search") => Role::Search,
        Some(other) => return Err(format!("{name}: '{other}' is no role")),
    };
    let by = text("by")?.map(|by| values::kind_named(by).ok_or(by));
    let by = by.transpose();
    Ok(Step {
        name: name.into(),
        size: None,
        role,
        think: text("think")?.map_or(Ok(Duration::ZERO), values::time)?,
        by: by.map_err(|by| format!("{name}: there is no kind '{by}'"))?,
        seeks_back_after: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_can_be_written_down() {
        let text = "[[file]]\nname = 'pxelinux.0'\nby = 'ipxe'\n\
                    [[file]]\nname = 'default'\nrole = 'search'\nthink = '300ms'\n";
        let chain = parsed(text).expect("a boot");
        let [first, second] = chain.steps() else {
            panic!("two steps")
        };
        assert_eq!(
            (&*first.name, first.role, first.by),
            ("pxelinux.0", Role::Required, Some(Kind::Ipxe))
        );
        assert_eq!(
            (second.role, second.think),
            (Role::Search, Duration::from_millis(300))
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("", "no [[file]]"),
            ("nonsense", "TOML"),
            ("file = 1", "no [[file]]"),
            ("other = 1", "'other'"),
            ("[[file]]\nname = 1", "integer"),
            ("[[file]]\nrole = 'search'", "no name"),
            ("[[file]]\nname = 'a'\nsize = 1", "'size'"),
            ("[[file]]\nname = 'a'\nrole = 'b'", "'b' is no role"),
            ("[[file]]\nname = 'a'\nby = 'b'", "kind 'b'"),
            ("[[file]]\nname = 'a'\nthink = 'b'", "time"),
        ] {
            let message = parsed(text).expect_err(text);
            assert!(message.contains(part), "{text}: {message}");
        }
        assert!(Wanted::files(&[&"x".repeat(NAME_MAX + 1)]).is_err());
    }
}
