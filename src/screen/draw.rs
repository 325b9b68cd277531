//! Lines for a screen of any size. No terminal here: text in, text out.

use std::fmt::Write;

use super::value::Value;

/// Of a screen, in characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Size {
    pub columns: usize,
    pub lines: usize,
}

/// What is on the screen.
#[derive(Debug)]
pub(super) struct Screen {
    now: Value,
    before: Option<Value>,
    /// The server did not answer when it was asked last.
    is_stale: bool,
    scrolled: usize,
}

impl Screen {
    pub(super) fn new(now: Value) -> Screen {
        Screen {
            now,
            before: None,
            is_stale: false,
            scrolled: 0,
        }
    }

    /// The server has answered, or not.
    pub(super) fn update(&mut self, answer: Option<Value>) {
        self.is_stale = answer.is_none();
        if let Some(now) = answer {
            self.before = Some(std::mem::replace(&mut self.now, now));
        }
    }

    /// Moves all lists by this number of rows.
    pub(super) fn scroll(&mut self, rows: isize) {
        let longest = LISTS
            .iter()
            .map(|(list, ..)| self.now.list(list).len())
            .max();
        let scrolled = self.scrolled.saturating_add_signed(rows);
        self.scrolled = scrolled.min(longest.unwrap_or(0).saturating_sub(1));
    }

    /// What makes a terminal show it, without a flicker: each line is written over the old one.
    pub(super) fn draw(&self, size: Size) -> String {
        let mut lines = lines(&self.now, self.before.as_ref(), size, self.scrolled);
        if let Some(first) = lines.first_mut().filter(|_| self.is_stale) {
            *first = ("the server does not answer; q ends".into(), true);
        }
        let mut text = String::from("\x1b[H");
        for (number, (line, is_title)) in lines.iter().enumerate() {
            if number > 0 {
                text += "\r\n";
            }
            let shown = line.get(..size.columns).unwrap_or(line);
            let _ = match is_title {
                true => write!(text, "\x1b[7m{shown:0$}\x1b[0m", size.columns),
                false => write!(text, "{shown}\x1b[K"),
            };
        }
        text + "\x1b[J"
    }
}

/// All of it, for a file or a pipe.
pub(super) fn plain(now: &Value) -> String {
    let size = Size {
        columns: 100,
        lines: usize::MAX,
    };
    let mut text = String::new();
    for (line, _) in lines(now, None, size, 0) {
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// Lists below each other: names in JSON, titles, and what stands right of the names of files.
const LISTS: [(&str, &str, &str); 3] = [
    (
        "served",
        "SERVED",
        "PROGRESS                   RATE     RTT  RTX",
    ),
    ("waiting", "WAITING", "    STAGE     WAITED"),
    ("ended", "ENDED", "OUTCOME              BYTES"),
];

/// Lines that fit, each with whether it is a title.
fn lines(now: &Value, before: Option<&Value>, size: Size, scrolled: usize) -> Vec<(String, bool)> {
    let mut lines = vec![(summary(now), false), (totals(now, before), false)];
    let room = size.lines.saturating_sub(lines.len() + LISTS.len());
    let counts = LISTS.map(|(list, ..)| now.list(list).len());
    // The last that ended and the head of the queue are always seen.
    let ended = counts[2].min((room / 5).max(1));
    let waiting = counts[1].min((room / 3).max(1));
    let served = counts[0].min(room.saturating_sub(ended + waiting));
    let waiting = counts[1].min(room.saturating_sub(ended + served));
    let ended = counts[2].min(room.saturating_sub(served + waiting));
    let sum = |fields: &[&str]| fields.iter().map(|field| now.number(field)).sum();
    let all: [u64; 3] = [
        sum(&["running", "lent", "finishing"]),
        sum(&["pending", "held"]),
        counts[2] as u64,
    ];
    let name = size.columns.saturating_sub(CLIENT + RIGHT + 2);
    let shown = [served, waiting, ended];
    for (((list, title, columns), shown), total) in LISTS.into_iter().zip(shown).zip(all) {
        let rows = now.list(list);
        let skipped = scrolled.min(rows.len() - shown);
        let title = match shown {
            0 => format!("{title} {total}"),
            _ => format!("{title} {}-{} of {total}", skipped + 1, skipped + shown),
        };
        let title = format!("{title:CLIENT$} {} {columns}", fitted("FILE", name));
        lines.push((title, true));
        for row in &rows[skipped..skipped + shown] {
            let right = match list {
                "served" => served_row(row, before, now),
                "waiting" => waiting_row(row),
                _ => ended_row(row),
            };
            let (client, file) = (client(row), fitted(row.text("name"), name));
            lines.push((format!("{client} {file} {right}"), false));
        }
    }
    lines.truncate(size.lines);
    for (line, _) in &mut lines {
        // All of it is ASCII: see `fitted`.
        line.truncate(size.columns);
    }
    lines
}

fn summary(now: &Value) -> String {
    format!(
        "tftpd {}, up {}: {} of {} slots, {} pending, {} held, oldest wait {}",
        fitted(now.text("version"), 12).trim_end(),
        span(now.micros("uptime")).trim_start(),
        now.number("running"),
        now.number("slots"),
        now.number("pending"),
        now.number("held"),
        span(now.micros("oldest_wait")).trim_start(),
    )
}

fn totals(now: &Value, before: Option<&Value>) -> String {
    let elapsed = elapsed(now, before);
    let since =
        |name| now.number(name) - before.map_or(0, |it| it.number(name).min(now.number(name)));
    let (sent, again) = (since("sent_datagrams"), since("retransmissions"));
    let per_mille = (1000 * again).checked_div(sent).unwrap_or(0);
    format!(
        "out {}/s, in {}/s, {}.{} % resent; {} done, {} failed, {} refused, {} dropped",
        bytes(per_second(since("sent_bytes"), elapsed)),
        bytes(per_second(since("received_bytes"), elapsed)),
        per_mille / 10,
        per_mille % 10,
        now.number("complete"),
        now.number("failed"),
        now.number("refused"),
        now.number("dropped"),
    )
}

/// Microseconds between the two, or since the start.
fn elapsed(now: &Value, before: Option<&Value>) -> u64 {
    now.micros("uptime") - before.map_or(0, |it| it.micros("uptime").min(now.micros("uptime")))
}

fn per_second(bytes: u64, micros: u64) -> u64 {
    let rate = (u128::from(bytes) * 1_000_000).checked_div(micros.into());
    rate.and_then(|rate| u64::try_from(rate).ok()).unwrap_or(0)
}

/// A bar, the rate since the last look, the round trip and what was sent again.
fn served_row(row: &Value, before: Option<&Value>, now: &Value) -> String {
    let (done, size) = (row.number("bytes"), row.number("size"));
    let stroke = if is_upload(row) { "<" } else { "#" };
    let bar = match (u128::from(done) * 100).checked_div(size.into()) {
        Some(percent) => {
            let full = usize::try_from(percent).unwrap_or(0).min(100) * BAR / 100;
            format!("[{:BAR$}]{percent:>4}%", stroke.repeat(full))
        }
        None => fitted(&format!("{stroke} {}", bytes(done)), BAR + 7),
    };
    let is_same = |old: &&Value| {
        let same = |field| old.field(field) == row.field(field);
        same("client") && same("port") && same("name") && old.number("bytes") <= done
    };
    let old = before.and_then(|it| it.list("served").iter().find(is_same));
    let rate = match old {
        Some(old) => per_second(done - old.number("bytes"), elapsed(now, before)),
        None => per_second(done, row.micros("running")),
    };
    let round_trip = row.micros("round_trip");
    let round_trip = match round_trip {
        0 => String::new(),
        1..10_000 => format!("{}.{}ms", round_trip / 1000, round_trip / 100 % 10),
        _ => format!("{}ms", round_trip / 1000),
    };
    let again = row.number("retransmissions");
    format!("{bar} {:>8}/s {round_trip:>6} {again:>4}", bytes(rate))
}

fn waiting_row(row: &Value) -> String {
    let waited = span(row.micros("waited"));
    format!("{:>9} {waited:>10}", row.text("stage"))
}

fn ended_row(row: &Value) -> String {
    let upload = if is_upload(row) { "upload " } else { "" };
    let outcome = fitted(&format!("{upload}{}", row.text("outcome")), 20);
    let bytes = fitted(&bytes(row.number("bytes")), 8);
    format!("{outcome} {bytes} {:>9} ago", span(row.micros("ago")))
}

fn is_upload(row: &Value) -> bool {
    row.text("kind") == "write"
}

fn client(row: &Value) -> String {
    let address = row.text("client");
    let port = row.number("port");
    let whole = match address.contains(':') {
        true => format!("[{address}]:{port}"),
        false => format!("{address}:{port}"),
    };
    fitted(&whole, CLIENT)
}

/// Text in this number of columns: what a terminal could take for a command, or show in two columns, is replaced.
fn fitted(text: &str, columns: usize) -> String {
    let printable = |c: char| if matches!(c, ' '..='~') { c } else { '?' };
    let mut shown: String = text.chars().take(columns).map(printable).collect();
    if text.chars().nth(columns).is_some() {
        shown.pop();
        shown.push('~');
    }
    format!("{shown:columns$}")
}

/// `853 B`, `11.8 MB`
fn bytes(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut unit = 1_u64;
    let mut place = 0;
    while bytes / unit >= 1000 {
        unit *= 1000;
        place += 1;
    }
    let tenths = bytes / (unit / 10).max(1) % 10;
    match (place, bytes / unit) {
        (0, _) | (_, 100..) => format!("{} {}", bytes / unit, units[place]),
        (_, whole) => format!("{whole}.{tenths} {}", units[place]),
    }
}

/// Microseconds as a person reads them: `0.4 s`, `12 min 03 s`, `5 h 12 min`
fn span(micros: u64) -> String {
    let seconds = micros / 1_000_000;
    match seconds {
        0..60 => format!("{seconds}.{} s", micros / 100_000 % 10),
        60..3_600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {:02} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {:02} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// Columns of an IPv4 address with its port, and of what stands right of the name.
const CLIENT: usize = 21;
const RIGHT: usize = 44;
const BAR: usize = 14;

#[cfg(test)]
mod tests {
    use super::*;

    fn value(served: usize, waiting: usize, ended: usize) -> Value {
        let rows = |count: usize, rest: &str| {
            let row = |n| {
                format!(
                    r#"{{"client":"192.0.2.{n}","port":2070,"name":"f{n}\u001b[2J","bytes":512{rest}}}"#
                )
            };
            (0..count).map(row).collect::<Vec<_>>().join(",")
        };
        let served = rows(
            served,
            r#","size":1024,"running":1.000000,"round_trip":0.000400,"retransmissions":3"#,
        );
        let waiting = rows(waiting, r#","stage":"held","waited":41.250000"#);
        let ended = rows(ended, r#","outcome":"complete","ago":3.000000"#);
        let text = format!(
            r#"{{"version":"0.1.0","uptime":100.000000,"slots":32,"running":32,"pending":2,"held":9,"oldest_wait":75.000000,"sent_bytes":118000000,"served":[{served}],"waiting":[{waiting}],"ended":[{ended}]}}"#
        );
        Value::read(&text).expect("it is right")
    }

    #[test]
    fn every_size_is_kept_and_every_list_is_seen() {
        for (columns, count) in [(80, 24), (200, 50), (40, 6), (10, 3), (300, 100)] {
            let size = Size {
                columns,
                lines: count,
            };
            for scrolled in [0, 5, 1000] {
                let lines = lines(&value(32, 11, 9), None, size, scrolled);
                assert!(lines.len() <= count, "{columns}x{count}");
            }
        }
        let lines = lines(
            &value(32, 11, 9),
            None,
            Size {
                columns: 80,
                lines: 24,
            },
            0,
        );
        assert_eq!(lines.len(), 24);
        assert!(
            lines
                .iter()
                .all(|(line, _)| line.len() <= 80 && line.is_ascii()),
            "{lines:#?}"
        );
        let begins = |word: &str| {
            lines
                .iter()
                .filter(|(line, _)| line.starts_with(word))
                .count()
        };
        assert_eq!(
            [
                begins("SERVED 1-"),
                begins("WAITING 1-"),
                begins("ENDED 1-")
            ],
            [1, 1, 1]
        );
    }

    #[test]
    fn a_row_has_its_bar_and_harmless_text() {
        let text = plain(&value(1, 1, 1));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "tftpd 0.1.0, up 1 min 40 s: 32 of 32 slots, 2 pending, 9 held, oldest wait 1 min 15 s"
        );
        assert!(
            lines[1].starts_with("out 1.1 MB/s, in 0 B/s, 0.0 % resent; "),
            "{}",
            lines[1]
        );
        let expected = "[#######       ]  50%    512 B/s  0.4ms    3";
        assert!(
            lines[3].starts_with("192.0.2.0:2070        f0?[2J ") && lines[3].ends_with(expected),
            "{}",
            lines[3]
        );
        assert!(lines[5].ends_with("     held     41.2 s"), "{}", lines[5]);
    }

    #[test]
    fn the_screen_in_readme_has_these_columns() {
        let readme = include_str!("../../README.md");
        let size = Size {
            columns: 80,
            lines: 18,
        };
        let lines = lines(&value(32, 11, 9), None, size, 0);
        let titles: Vec<_> = lines.iter().filter(|(_, is_title)| *is_title).collect();
        assert_eq!(titles.len(), 3);
        for (title, _) in titles {
            let (word, columns) = (
                title.split(' ').next().unwrap_or(""),
                title[CLIENT..].trim_end(),
            );
            let is_shown = |line: &str| line.starts_with(word) && line.ends_with(columns);
            let mut shown = readme.lines().filter_map(|line| line.strip_prefix("    "));
            assert!(shown.any(is_shown), "README lacks {title:?}");
        }
    }

    #[test]
    fn an_upload_is_known_by_its_bar_and_its_outcome() {
        let row = r#"{"client":"192.0.2.1","port":2070,"name":"f","kind":"write","bytes":512"#;
        let text = format!(
            r#"{{"served":[{row},"size":1024}},{row}}}],"waiting":[],"ended":[{row},"outcome":"complete"}}]}}"#
        );
        let text = plain(&Value::read(&text).expect("it is right"));
        for shown in [" [<<<<<<<       ]  50% ", " < 512 B ", " upload complete "] {
            assert!(text.contains(shown), "{shown:?} in\n{text}");
        }
    }

    #[test]
    fn scrolling_ends_at_the_last_row_of_each_list() {
        let mut screen = Screen::new(value(32, 2, 0));
        screen.scroll(1000);
        let text = screen.draw(Size {
            columns: 80,
            lines: 24,
        });
        assert!(
            text.contains("192.0.2.31:2070") && text.contains("WAITING 1-2 of 11"),
            "{text}"
        );
        screen.scroll(isize::MIN);
        assert!(
            screen
                .draw(Size {
                    columns: 80,
                    lines: 24
                })
                .contains("192.0.2.0:2070")
        );
        screen.update(None);
        assert!(
            screen
                .draw(Size {
                    columns: 80,
                    lines: 24
                })
                .contains("does not answer")
        );
    }

    #[test]
    fn numbers_are_as_people_read_them() {
        let shown = [0, 999, 1_000, 11_800_000, 999_999, 118_000_000, u64::MAX].map(bytes);
        assert_eq!(
            shown,
            [
                "0 B", "999 B", "1.0 kB", "11.8 MB", "999 kB", "118 MB", "18.4 EB"
            ]
        );
    }
}
