//! What the program says of itself.

use super::{Flag, OPTIONS};

/// The text of `--help`.
pub fn text() -> String {
    let mut text = String::from(
        "Usage: tftpd [OPTIONS] -r DIR\n\n\
         Serves the files of DIR over TFTP to machines that boot: -n transfers at full speed;\n\
         the other clients wait and are kept alive. Most sites need -r and -n only.\n",
    );
    // A name without a letter stands below those that have one.
    let indent = |flag: &Flag| if flag.names.short().is_some() { 0 } else { 4 };
    let width = OPTIONS
        .iter()
        .map(|flag| flag.names.0.len() + indent(flag))
        .max();
    for flag in OPTIONS {
        if let Some((_, title)) = TITLES.iter().find(|(of, _)| *of == flag.names.long()) {
            text += &format!("\n{title}:\n");
        }
        let names = format!("{:indent$}{}", "", flag.names.0, indent = indent(flag));
        text += &format!(
            "  {names:width$}  {}\n",
            flag.help,
            width = width.unwrap_or(0)
        );
    }
    text + "\nThe manual is tftpd(8).\n"
}

/// The text of `--version`.
pub(super) fn version() -> String {
    format!(
        "tftpd {} ({})\n",
        env!("CARGO_PKG_VERSION"),
        env!("CARGO_PKG_NAME")
    )
}

/// Each stands before the option with this long name.
const TITLES: [(&str, &str); 9] = [
    ("root", "Most used"),
    ("map-file", "Names"),
    ("max-pending", "Queue"),
    ("ipv4", "Clients"),
    ("create", "Uploads"),
    ("public-only", "Transfers"),
    ("drain", "Process"),
    ("stats", "Monitoring"),
    ("help", "Other"),
];
