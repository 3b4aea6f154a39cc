//! `Json`: a borrowed text that is known to be one valid JSON value, walked without a tree.

use std::{borrow::Cow, ops::Range};

/// One valid JSON value without white space around it. Made by `strict::check`, or a part of such a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Json<'a>(pub(super) &'a str);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

/// One member of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member<'a> {
    /// The decoded name.
    pub name: Cow<'a, str>,
    /// The name as written, with its quotes.
    pub name_raw: Json<'a>,
    pub value: Json<'a>,
}

impl<'a> Json<'a> {
    pub const NULL: Json<'static> = Json("null");

    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    #[must_use]
    pub fn kind(self) -> Kind {
        unimplemented!()
    }

    /// The decoded string; `None` when it is something else.
    #[must_use]
    pub fn string(self) -> Option<Cow<'a, str>> {
        unimplemented!()
    }

    /// The members in order; none when it is not an object.
    pub fn members(self) -> impl Iterator<Item = Member<'a>> {
        std::iter::empty()
    }

    /// The elements in order; none when it is not an array.
    pub fn elements(self) -> impl Iterator<Item = Json<'a>> {
        std::iter::empty()
    }

    /// The member named `name`; `None` when absent or not an object.
    #[must_use]
    pub fn get(self, name: &str) -> Option<Json<'a>> {
        let _ = name;
        unimplemented!()
    }

    /// `get` along a path of names.
    #[must_use]
    pub fn at(self, path: &[&str]) -> Option<Json<'a>> {
        let _ = path;
        unimplemented!()
    }

    /// Where this value lies in `whole`, of which it must be a part (else `None`).
    #[must_use]
    pub fn span_in(self, whole: &[u8]) -> Option<Range<usize>> {
        let _ = whole;
        unimplemented!()
    }
}
