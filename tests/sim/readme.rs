//! The rows of the tables that this folder's README and the front page show are those of `table.txt`.

use std::path::Path;

/// A row of README: the policy, then the figures as they are written there.
struct Row<'a> {
    text: &'a str,
    policy: &'a str,
    figures: Vec<String>,
}

fn rows(readme: &str) -> Vec<Row<'_>> {
    let head = "| world | policy | booted |";
    let lines = readme.lines().skip_while(|line| !line.starts_with(head));
    let rows = lines.skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|text| {
        let cells: Vec<&str> = text.trim_matches('|').split('|').map(str::trim).collect();
        let plain = |cell: &&str| cell.replace(['*', ','], "");
        Row {
            text,
            policy: cells[1].trim_matches('*'),
            figures: cells[2..].iter().map(plain).collect(),
        }
    })
    .collect()
}

/// Whether a line of the table has these figures, each rounded as it is in README. The columns are booted,
/// gave up, boot p50, boot p99, makespan, ideal, and sent for each needed.
fn is_shown_by(row: &Row<'_>, line: &str) -> bool {
    let Some(rest) = line.strip_prefix(row.policy) else {
        return false;
    };
    let columns: Vec<&str> = rest.split_whitespace().collect();
    let shown = [0, 1, 5, 7, 9, 10, 12].map(|place| columns.get(place).copied());
    shown.iter().zip(&row.figures).all(|(exact, figure)| {
        let decimals = figure.split_once('.').map_or(0, |(_, part)| part.len());
        let exact = exact.and_then(|text| text.parse::<f64>().ok());
        let figure = figure.parse::<f64>().ok();
        let half = 0.5 / 10_f64.powi(i32::try_from(decimals).unwrap_or(0));
        exact
            .zip(figure)
            .is_some_and(|(exact, figure)| (exact - figure).abs() <= half * 1.001)
    })
}

#[test]
fn the_pages_show_the_table() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name| std::fs::read_to_string(directory.join(name)).expect("it is there");
    let table = read("tests/sim/table.txt");
    for (page, least) in [("README.md", 5), ("tests/sim/README.md", 20)] {
        let text = read(page);
        let rows = rows(&text);
        assert!(rows.len() >= least, "{page} shows {} rows", rows.len());
        let is_stale = |row: &&Row<'_>| !table.lines().any(|line| is_shown_by(row, line));
        let stale: Vec<&str> = rows.iter().filter(is_stale).map(|row| row.text).collect();
        assert!(
            stale.is_empty(),
            "{page}: not in table.txt:\n{}",
            stale.join("\n")
        );
    }
}
