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
    let indented = |flag: &Flag| match flag.names.short() {
        Some(_) => flag.names.0.to_owned(),
        None => format!("    {}", flag.names.0),
    };
    let width = OPTIONS.iter().map(|flag| indented(flag).len()).max();
    let width = width.unwrap_or(0);
    for flag in OPTIONS {
        if let Some(title) = flag.title {
            text += &format!("\n{title}:\n");
        }
        text += &format!("  {:width$}  {}", indented(flag), flag.help);
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
