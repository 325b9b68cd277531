//! Sets of bytes, and the classes that have names, as the locale C has them.

/// A set of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct ByteSet([u64; 4]);

impl ByteSet {
    pub(super) fn of(test: impl Fn(u8) -> bool) -> ByteSet {
        let mut set = ByteSet::default();
        (0..=u8::MAX)
            .filter(|&byte| test(byte))
            .for_each(|byte| set.insert(byte));
        set
    }

    pub(super) fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    pub(super) fn contains(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] & 1 << (byte & 63) != 0
    }

    pub(super) fn add(&mut self, other: &ByteSet) {
        self.0
            .iter_mut()
            .zip(other.0)
            .for_each(|(mine, theirs)| *mine |= theirs);
    }

    pub(super) fn inverted(self) -> ByteSet {
        ByteSet(self.0.map(|word| !word))
    }
}

pub(super) fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0B
}

/// The set of a class such as `alpha`; `None` if there is none of this name.
pub(super) fn class(name: &[u8], ignores_case: bool) -> Option<ByteSet> {
    let test: fn(u8) -> bool = match name {
        b"alnum" => |byte| byte.is_ascii_alphanumeric(),
        b"alpha" => |byte| byte.is_ascii_alphabetic(),
        b"lower" | b"upper" if ignores_case => |byte| byte.is_ascii_alphabetic(),
        b"lower" => |byte| byte.is_ascii_lowercase(),
        b"upper" => |byte| byte.is_ascii_uppercase(),
        b"digit" => |byte| byte.is_ascii_digit(),
        b"xdigit" => |byte| byte.is_ascii_hexdigit(),
        b"space" => is_space,
        b"blank" => |byte| byte == b' ' || byte == b'\t',
        b"punct" => |byte| byte.is_ascii_punctuation(),
        b"cntrl" => |byte| byte.is_ascii_control(),
        b"print" => |byte| byte == b' ' || byte.is_ascii_graphic(),
        b"graph" => |byte| byte.is_ascii_graphic(),
        _ => return None,
    };
    Some(ByteSet::of(test))
}
