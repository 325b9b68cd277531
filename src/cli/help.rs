//! What the program says of itself.

use super::{Flag, OPTIONS};

/// The text of `--help`.
pub fn text() -> String {
    let mut text = String::from(
        "Usage: tftpd [options] -r DIR\n\n\
         Serves the files of a directory over TFTP to machines that boot: a bounded number of\n\
         transfers at a time; everybody else waits and is kept alive.\n\nOptions:\n",
    );
    let names = |flag: &Flag| {
        let short = flag
            .short
            .map_or("    ".into(), |short| format!("-{short}, "));
        let value = flag
            .value()
            .map(|value| format!(" {value}"))
            .unwrap_or_default();
        format!("{short}--{}{value}", flag.long)
    };
    let width = OPTIONS
        .iter()
        .map(|flag| names(flag).len())
        .max()
        .unwrap_or(0);
    for flag in OPTIONS {
        let default = flag.default.map(|default| format!(" (default: {default})"));
        let default = default.unwrap_or_default();
        text += &format!("  {:width$}  {}{default}\n", names(flag), flag.help);
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
