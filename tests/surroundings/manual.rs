//! What pages of the manual and `--help` say of options: the names as the operator would type them, and the default
//! as it is written. The suites that read a page include this module by its path.

/// `-n, --max-transfers N` and `32`.
pub(crate) type Described = (String, Option<String>);

/// In mdoc an option is `.It Fl n , Fl -max-transfers Ar N`; its default ends its text, on a line of
/// its own: `Default: 32.`
pub(crate) fn of_manual(manual: &str) -> Vec<Described> {
    let items = section(manual, "DESCRIPTION").split("\n.It ").skip(1);
    items
        .map(|item| {
            let (title, text) = item.split_once('\n').unwrap_or((item, ""));
            let names = title.replace("Fl ", "-").replace(" , ", ", ");
            let default = text.lines().find_map(|line| line.strip_prefix("Default: "));
            let default = default.map(|default| default.strip_suffix('.').unwrap_or(default));
            (names.replace("Ar ", ""), default.map(str::to_owned))
        })
        .collect()
}

/// `  -n, --max-transfers N   hard cap on transfers (default: 32)`
pub(crate) fn of_help(help: &str) -> Vec<Described> {
    let lines = help.lines().map(str::trim);
    lines
        .filter(|line| line.starts_with('-'))
        .map(|line| {
            let (names, text) = line.split_once("  ").expect("an option has a text");
            let default = text.split_once("(default: ");
            let default = default.map(|(_, default)| default.strip_suffix(')').unwrap_or(default));
            (names.to_owned(), default.map(str::to_owned))
        })
        .collect()
}

/// A section of the manual, without its title.
pub(crate) fn section<'a>(manual: &'a str, title: &str) -> &'a str {
    let start = manual.split_once(&format!("\n.Sh {title}\n"));
    let (_, start) = start.expect("the manual has this section");
    let (section, _) = start.split_once("\n.Sh ").unwrap_or((start, ""));
    section
}
