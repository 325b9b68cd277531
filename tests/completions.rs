//! The completions for bash and zsh are made here, from the option table: those in `scripts/completions` must be the same.
//! After a change of the table, run this test with `TFTPD_WRITE_COMPLETIONS=1`.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something unexpected happens"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use ripple_tftpd::cli::{Flag, OPTIONS};

/// `-r`, `--root`.
fn names(flag: &Flag) -> Vec<String> {
    let short = flag.names.short().map(|short| format!("-{short}"));
    short
        .into_iter()
        .chain([format!("--{}", flag.names.long())])
        .collect()
}

/// What is known of a value, by its name in the texts.
enum Known {
    Directory,
    File,
    User,
    Words(&'static str),
    Nothing,
}

fn known(value: &str) -> Known {
    match value {
        "DIR" => Known::Directory,
        "FILE" => Known::File,
        "USER[:GROUP]" => Known::User,
        "OPTION" => Known::Words("blksize timeout tsize windowsize"),
        "SECONDS|never" => Known::Words("never"),
        _ => Known::Nothing,
    }
}

fn bash() -> String {
    let all: Vec<String> = OPTIONS.iter().flat_map(names).collect();
    let mut text = String::from(
        "# Completion of tftpd(8) for bash. Made from the option table by tests/completions.rs.\n\n\
         _tftpd() {\n\
         \x20   local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}\n\
         \x20   # bash takes --root=DIR for three words.\n\
         \x20   [[ $word == '=' ]] && word=''\n\
         \x20   [[ $before == '=' ]] && before=${COMP_WORDS[COMP_CWORD - 2]}\n\
         \x20   COMPREPLY=()\n\
         \x20   case $before in\n",
    );
    for flag in OPTIONS {
        let Some(value) = flag.names.value() else {
            continue;
        };
        let reply = match known(value) {
            Known::Directory => "_tftpd_reply -d",
            Known::File => "_tftpd_reply -f",
            Known::User => "_tftpd_reply -u",
            Known::Words(words) => &format!("_tftpd_reply -W '{words}'"),
            Known::Nothing => "",
        };
        let reply = if reply.is_empty() {
            ";;".to_owned()
        } else {
            format!("{reply} ;;")
        };
        writeln!(text, "        {}) {reply}", names(flag).join(" | ")).unwrap();
    }
    write!(
        text,
        "        *)\n\
         \x20           if [[ $word == -* ]]; then\n\
         \x20               _tftpd_reply -W '{}'\n\
         \x20           else\n\
         \x20               _tftpd_reply -d\n\
         \x20           fi\n\
         \x20           ;;\n\
         \x20   esac\n\
         }}\n\n\
         _tftpd_reply() {{\n\
         \x20   [[ $1 == -[df] ]] && compopt -o filenames 2> /dev/null\n\
         \x20   mapfile -t COMPREPLY < <(compgen \"$@\" -- \"$word\")\n\
         }}\n\n\
         complete -F _tftpd tftpd\n",
        all.join(" ")
    )
    .unwrap();
    text
}

fn zsh() -> String {
    let mut text = String::from(
        "#compdef tftpd\n\
         # Completion of tftpd(8) for zsh. Made from the option table by tests/completions.rs.\n\n\
         _arguments -s -S \\\n",
    );
    for flag in OPTIONS {
        // Brackets and colons have a meaning there.
        let help = flag.help.replace(':', "\\:").replace(['[', ']'], "");
        let action = flag.names.value().map(|value| {
            let name = value.replace(':', "\\:").replace(['[', ']'], "");
            let action = match known(value) {
                Known::Directory => "_files -/",
                Known::File => "_files",
                Known::User => "_users",
                Known::Words(words) => &format!("({words})"),
                Known::Nothing => " ",
            };
            format!(":{name}:{action}")
        });
        let action = action.unwrap_or_default();
        let (short, long) = match flag.names.value() {
            Some(_) => ("+", "="),
            None => ("", ""),
        };
        let before = match flag.repeats {
            true => "*".to_owned(),
            false => format!("({})", names(flag).join(" ")),
        };
        let long = format!("--{}{long}", flag.names.long());
        match flag.names.short() {
            Some(letter) => {
                writeln!(
                    text,
                    "    '{before}'{{-{letter}{short},{long}}}'[{help}]{action}' \\"
                )
                .unwrap();
            }
            None if flag.repeats => writeln!(text, "    '*{long}[{help}]{action}' \\").unwrap(),
            None => writeln!(text, "    '{long}[{help}]{action}' \\").unwrap(),
        }
    }
    text + "    '*:DIR:_files -/'\n"
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("scripts/completions")
        .join(name)
}

#[test]
fn the_completions_are_those_of_the_option_table() {
    for (name, text) in [("tftpd.bash", bash()), ("_tftpd", zsh())] {
        if std::env::var_os("TFTPD_WRITE_COMPLETIONS").is_some() {
            fs::write(path(name), &text).unwrap();
        }
        let is = fs::read_to_string(path(name)).unwrap_or_default();
        assert!(
            is == text,
            "{name} is old: run this test with TFTPD_WRITE_COMPLETIONS=1"
        );
    }
}

/// What bash offers for the last of these words.
fn offered(words: &[&str]) -> Option<BTreeSet<String>> {
    let script = r#"source "$1" && shift && COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) && _tftpd && printf '%s\n' "${COMPREPLY[@]}""#;
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-uc", script, "bash"])
        .arg(path("tftpd.bash"))
        .args(words);
    let Ok(output) = bash.output() else {
        let _ = writeln!(std::io::stderr(), "skipped: completions: there is no bash");
        return None;
    };
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{words:?}: {output:?}"
    );
    let text = String::from_utf8(output.stdout).unwrap();
    Some(
        text.lines()
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect(),
    )
}

#[test]
fn bash_offers_options_and_their_values() {
    let source = format!("{}/src", env!("CARGO_MANIFEST_DIR"));
    let half = &format!("{source}/serv");
    let server = &format!("{source}/server");
    let file = &format!("{source}/main.r");
    let main = &format!("{source}/main.rs");
    let all: Vec<String> = OPTIONS.iter().flat_map(names).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let cases: &[(&[&str], &[&str])] = &[
        (&["tftpd", "-"], &all),
        (&["tftpd", "--max-t"], &["--max-transfers"]),
        (
            &["tftpd", "x", "--per-client"],
            &["--per-client", "--per-client-pending"],
        ),
        (&["tftpd", "-r", half], &[server]),
        (&["tftpd", "--root", half], &[server]),
        (&["tftpd", "--root", "=", half], &[server]),
        (&["tftpd", half], &[server]),
        (&["tftpd", file], &[]),
        (&["tftpd", "-P", file], &[main]),
        (&["tftpd", "-u", "roo"], &["root"]),
        (
            &["tftpd", "--refuse", ""],
            &["blksize", "timeout", "tsize", "windowsize"],
        ),
        (&["tftpd", "--hold", "="], &["never"]),
        (&["tftpd", "-n", ""], &[]),
        (&["tftpd", "-n", "-"], &[]),
    ];
    for (words, expected) in cases {
        let Some(offered) = offered(words) else {
            return;
        };
        let expected: BTreeSet<String> = expected.iter().map(|&word| word.to_owned()).collect();
        assert_eq!(offered, expected, "{words:?}");
    }
}

/// Each option comes to `_arguments` in the shape that it understands.
#[test]
fn zsh_reads_every_option() {
    let script = r#"_arguments() { print -rl -- "$@" }; source "$1""#;
    let mut zsh = Command::new("zsh");
    let Ok(output) = zsh
        .args(["-fuc", script, "zsh"])
        .arg(path("_tftpd"))
        .output()
    else {
        let _ = writeln!(std::io::stderr(), "skipped: completions: there is no zsh");
        return;
    };
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    let text = String::from_utf8(output.stdout).unwrap();
    for name in OPTIONS.iter().flat_map(names) {
        let is_of = |line: &str| {
            let first = line.split_once(')').filter(|_| line.starts_with('('));
            let spec = first.map_or(line, |(_, spec)| spec).trim_start_matches('*');
            spec.strip_prefix(&*name)
                .is_some_and(|rest| rest.trim_start_matches(['+', '=']).starts_with('['))
        };
        let count = text.lines().filter(|line| is_of(line)).count();
        assert_eq!(count, 1, "{name} in:\n{text}");
    }
}
