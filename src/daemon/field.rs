//! Fields: names and values. Whatever the server says of itself, in a line of the log or to the control socket, is a list
//! of these, made once; `text` puts them into words, and `json` makes objects of them.

use std::fmt::Display;
use std::time::Duration;

use crate::name::{FileName, NAME_MAX, RootPrefixes};
use crate::wire::Peer;

/// A name and what the field holds. Programs know a field by its name, which stays what it is; one that begins with `_`
/// is in words only.
pub(super) type Field<'a> = (&'static str, Value<'a>);

/// What a field holds.
pub(super) enum Value<'a> {
    /// There is no such field here.
    Absent,
    Number(u64),
    Truth(bool),
    Seconds(Duration),
    Text(Box<dyn Display + 'a>),
    Word(Word),
    /// Whose packets these are: in JSON, the fields `client` and `port`.
    Client(Peer),
    /// The names of a file: as it was asked for, as it was looked up, and which of these words show if they differ in
    /// slashes and the like only. In JSON, the fields `name`, and `asked` if that is truly another.
    File {
        asked: &'a [u8],
        name: &'a [u8],
        shown: &'a [u8],
    },
    /// Written already, in JSON only.
    Json(String),
}

/// One of a few: the word for programs, which stays what it is, and the words for people, which may name fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Word(pub &'static str, pub &'static str);

/// A whole number.
pub(super) fn number<T: TryInto<u64>>(number: T) -> Value<'static> {
    Value::Number(number.try_into().unwrap_or(u64::MAX))
}

/// Whatever can be displayed.
pub(super) fn text<'a>(text: impl Display + 'a) -> Value<'a> {
    Value::Text(Box::new(text))
}

/// The name of a file that was not looked up by another one.
pub(super) fn name(name: &[u8]) -> Value<'_> {
    asked(name, None)
}

/// A name as it was asked for; `served` if it was looked up.
pub(super) fn asked<'a>(asked: &'a [u8], served: Option<FileName<'a>>) -> Value<'a> {
    let name = served.map_or(asked, FileName::as_bytes);
    let shown = asked;
    Value::File { asked, name, shown }
}

/// The name of a file that was found.
pub(super) fn found<'a>(asked: &'a [u8], name: FileName<'a>) -> Value<'a> {
    let name = name.as_bytes();
    let shown = name;
    Value::File { asked, name, shown }
}

/// They differ in more than slashes and the like.
pub(super) fn differ(asked: &[u8], name: &[u8]) -> bool {
    let mut buffer = [0; NAME_MAX];
    let cleaned = FileName::new(asked, &RootPrefixes::default(), &mut buffer);
    asked != name && !cleaned.is_ok_and(|cleaned| cleaned.as_bytes() == name)
}
