//! Rules applied in a plain way, by the C library's regular expressions (regcomp(3)) in the locale C: as tftpd-hpa 5.5, for
//! the operations `r g gg i e s a ~ G P`.

use std::ffi::CString;

/// An expression of the C library.
pub(crate) struct Expression(libc::regex_t);

/// Where the match and its groups are.
pub(crate) type Found = Vec<Option<(usize, usize)>>;

impl Expression {
    pub(crate) fn new(pattern: &[u8], ignores_case: bool) -> Option<Expression> {
        let pattern = CString::new(pattern).unwrap();
        // SAFETY: a value of zeroes is one that regcomp may fill.
        let mut compiled: libc::regex_t = unsafe { std::mem::zeroed() };
        let case = if ignores_case { libc::REG_ICASE } else { 0 };
        // SAFETY: both pointers are of values that live through the call.
        let error =
            unsafe { libc::regcomp(&mut compiled, pattern.as_ptr(), libc::REG_EXTENDED | case) };
        (error == 0).then_some(Expression(compiled))
    }

    pub(crate) fn find(&self, text: &[u8], at_start: bool) -> Option<Found> {
        let text = CString::new(text).unwrap();
        let mut places = [libc::regmatch_t {
            rm_so: -1,
            rm_eo: -1,
        }; 10];
        let flags = if at_start { 0 } else { libc::REG_NOTBOL };
        // SAFETY: there are as many places as are named, and the expression is compiled.
        let error = unsafe {
            libc::regexec(
                &self.0,
                text.as_ptr(),
                places.len(),
                places.as_mut_ptr(),
                flags,
            )
        };
        let place = |place: &libc::regmatch_t| {
            let start = usize::try_from(place.rm_so).ok()?;
            Some((start, usize::try_from(place.rm_eo).ok()?))
        };
        (error == 0).then(|| places.iter().map(place).collect())
    }
}

impl Drop for Expression {
    fn drop(&mut self) {
        // SAFETY: it is compiled, and freed once.
        unsafe { libc::regfree(&mut self.0) }
    }
}

/// A rule of which the parts are known.
pub(crate) struct Rule {
    pub(crate) letters: String,
    pub(crate) pattern: Vec<u8>,
    pub(crate) replacement: Vec<u8>,
}

/// What the rules make of a name: a new one, or the text of a refusal; `None` if an expression is none.
pub(crate) fn apply(
    rules: &[Rule],
    name: &[u8],
    is_write: bool,
) -> Option<Result<Vec<u8>, Vec<u8>>> {
    let endless = || Some(Err(b"Remap table failure".to_vec()));
    let compiled: Option<Vec<Expression>> = rules
        .iter()
        .map(|rule| Expression::new(&rule.pattern, rule.letters.contains('i')))
        .collect();
    let compiled = compiled?;
    let mut name = name.to_vec();
    let (mut steps, mut place) = (0, 0);
    while place < rules.len() {
        let (rule, expression) = (&rules[place], &compiled[place]);
        let has = |letter| rule.letters.contains(letter);
        place += 1;
        if has(if is_write { 'G' } else { 'P' }) {
            continue;
        }
        steps += 1;
        if steps > 4096 {
            return endless();
        }
        let found = expression.find(&name, true);
        if found.is_some() == has('~') {
            continue;
        }
        let found = found.unwrap_or_else(|| vec![None; 10]);
        if has('r') {
            let passes = rule.letters.matches('g').count();
            if passes > 1 {
                name = replace_each(rule, expression, &name, &mut steps)?;
            } else {
                name = replaced(rule, &name, &found);
                while passes == 1
                    && let Some(found) = expression.find(&name, true)
                {
                    steps += 1;
                    name = replaced(rule, &name, &found);
                    if steps > 4096 || name.len() > 1024 {
                        return endless();
                    }
                }
            }
            if steps > 4096 || name.len() > 1024 {
                return endless();
            }
        }
        if has('a') {
            let text = expanded(rule, &name, &found);
            return Some(Err(match text.is_empty() {
                true => b"access violation".to_vec(),
                false => text,
            }));
        }
        if has('e') {
            break;
        }
        if has('s') {
            place = 0;
        }
    }
    Some(Ok(name))
}

fn replaced(rule: &Rule, name: &[u8], found: &Found) -> Vec<u8> {
    let (start, end) = found[0].unwrap();
    [&name[..start], &expanded(rule, name, found), &name[end..]].concat()
}

/// As sed's `g`: `None` where that takes too many steps.
fn replace_each(
    rule: &Rule,
    expression: &Expression,
    name: &[u8],
    steps: &mut u32,
) -> Option<Vec<u8>> {
    let (mut out, mut at, mut last_end) = (Vec::new(), 0, None);
    while at <= name.len()
        && let Some(found) = expression.find(&name[at..], at == 0)
    {
        *steps += 1;
        let (start, end) = found[0].unwrap();
        out.extend(&name[at..at + start]);
        if start < end || last_end != Some(at + start) {
            out.extend(expanded(rule, &name[at..], &found));
        }
        last_end = Some(at + end);
        at += end;
        if start == end {
            out.extend(name.get(at));
            at += 1;
        }
    }
    out.extend(name.iter().skip(at));
    Some(out)
}

fn expanded(rule: &Rule, name: &[u8], found: &Found) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = rule.replacement.iter();
    let mut change: fn(&mut [u8]) = |_| {};
    while let Some(&byte) = bytes.next() {
        let begin = out.len();
        match (byte, byte == b'\\') {
            (_, false) => out.push(byte),
            (_, true) => match bytes.next() {
                Some(digit @ b'0'..=b'9') => {
                    if let Some((start, end)) = found[usize::from(digit - b'0')] {
                        out.extend(&name[start..end]);
                    }
                }
                Some(b'U') => change = <[u8]>::make_ascii_uppercase,
                Some(b'L') => change = <[u8]>::make_ascii_lowercase,
                Some(b'E') => change = |_| {},
                Some(&other) => out.push(other),
                None => out.push(b'\\'),
            },
        }
        change(&mut out[begin..]);
    }
    out
}
