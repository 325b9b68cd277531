//! Each case of the table: rules, a request, and what tftpd-hpa 5.2 and 5.5 made of it.

use super::{asked, result};

const CASES: &str = include_str!("map_cases.txt");

#[test]
fn every_case_has_the_result_of_tftpd_hpa() {
    let mut count = 0;
    for line in CASES.lines().skip(1) {
        let cells: Vec<&str> = line.split('\t').collect();
        let &[id, _, rules, operation, client, name, old, new] = cells.as_slice() else {
            panic!("a case has eight cells: {line}");
        };
        let expected = if new == "=" { old } else { new };
        let rules = rules.replace("; ", "\n");
        let asked = asked(name.as_bytes(), client, operation == "PUT");
        assert_eq!(result(&rules, asked), expected, "{id}: {rules} on {name:?}");
        count += 1;
    }
    assert_eq!(count, 81);
}
