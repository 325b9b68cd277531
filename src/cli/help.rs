//! What the program says of itself.

use super::{Flag, OPTIONS};

/// The text of `--help`.
pub fn text() -> String {
    let mut text = String::from(
        "Usage: tftpd [options] -r DIR\n\n\
         Serves the files of a directory over TFTP to machines that boot: a bounded number of\n\
         transfers at a time; everybody else waits and is kept alive.\n\nOptions:\n",
    );
    // A name without a letter stands below those that have one.
    let indent = |flag: &Flag| if flag.names.short().is_some() { 0 } else { 4 };
    let width = OPTIONS
        .iter()
        .map(|flag| flag.names.0.len() + indent(flag))
        .max();
    for flag in OPTIONS {
        let names = format!("{:indent$}{}", "", flag.names.0, indent = indent(flag));
        text += &format!(
            "  {names:width$}  {}",
            flag.help,
            width = width.unwrap_or(0)
        );
        text += &match flag.default {
            "" => "\n".into(),
            default => format!(" (default: {default})\n"),
        };
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
