//! `Mcp-Param-*` where the tool's schema is not known, and so not which argument each repeats. One walk over the
//! arguments finds for all of them whether an argument has the header's name, and whether one has its value.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue};

use super::decode;
use crate::mcp::{Json, Kind, header};

/// A header, and what the arguments say of it.
pub(super) struct Said<'h> {
    pub header: &'h HeaderName,
    /// `None`: it is no text.
    value: Option<Cow<'h, str>>,
    number: Option<f64>,
    found: Found,
}

#[derive(Default)]
struct Found {
    name: bool,
    value: bool,
    /// Both at once.
    both: bool,
}

impl<'h> Said<'h> {
    pub(super) fn of(header: &'h HeaderName, value: &'h HeaderValue) -> Self {
        let value = value.to_str().ok().and_then(decode);
        let number = value.as_deref().and_then(|said| said.parse().ok());
        Self { header, value, number, found: Found::default() }
    }

    /// An argument of its name decides alone: that its value is another argument's says nothing then.
    pub(super) fn differs(&self) -> bool {
        self.found.name && !self.found.both
    }

    pub(super) fn is_argument(&self) -> bool {
        self.found.both || self.found.value && !self.found.name
    }

    fn is_named(&self, argument: Option<&str>) -> bool {
        let own = self.header.as_str().get(header::PARAM.len()..);
        argument.zip(own).is_some_and(|(argument, own)| argument.eq_ignore_ascii_case(own))
    }

    fn compare(&mut self, name: Option<&str>, scalar: Option<&Scalar<'_>>) {
        let is_named = self.is_named(name);
        let is_value = scalar.is_some_and(|scalar| {
            self.value.as_deref() == Some(&scalar.text)
                || scalar.number.is_some_and(|number| self.number == Some(number))
        });
        self.found.name |= is_named;
        self.found.value |= is_value;
        self.found.both |= is_named && is_value;
    }
}

/// An argument as a header could say it.
struct Scalar<'a> {
    text: Cow<'a, str>,
    number: Option<f64>,
}

impl<'a> Scalar<'a> {
    fn of(json: Json<'a>) -> Option<Self> {
        match json.kind() {
            Kind::Object | Kind::Array => None,
            Kind::String => Some(Self { text: json.string()?, number: None }),
            Kind::Number => Some(Self { text: json.as_str().into(), number: json.as_str().parse().ok() }),
            Kind::Bool | Kind::Null => Some(Self { text: json.as_str().into(), number: None }),
        }
    }
}

/// Compares every argument, at whatever depth, with every header.
pub(super) fn look(arguments: Json<'_>, headers: &mut [Said<'_>]) {
    look_at(None, arguments, headers);
}

fn look_at(name: Option<&str>, json: Json<'_>, headers: &mut [Said<'_>]) {
    let scalar = Scalar::of(json);
    for header in &mut *headers {
        header.compare(name, scalar.as_ref());
    }
    json.members().for_each(|member| look_at(Some(&member.name), member.value, headers));
    json.elements().for_each(|element| look_at(None, element, headers));
}
