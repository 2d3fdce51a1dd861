//! One item of a reply under way.

use std::collections::BTreeMap;

use ambidex_core::message::{Arguments, ProviderState};
use ambidex_core::{Chunk, Error};
use serde_json::value::RawValue;

use super::FORMAT;
use super::event::{WireContent, WireItem, Words};
use crate::adapter::malformed;

/// What of a message goes back without being kept: its text does, its id and status say nothing there.
const MESSAGE: [&str; 5] = ["type", "id", "role", "status", "content"];
const CALL: [&str; 6] = ["type", "id", "status", "call_id", "name", "arguments"];

/// An item, by the wire's index and id.
pub(super) struct Item {
    pub index: Option<u32>,
    /// Empty where the server gives none.
    pub id: String,
    pub done: bool,
    kind: Kind,
}

enum Kind {
    Message(Vec<Content>),
    Reasoning(Reasoning),
    Call(Call),
    Opaque(Opaque),
}

/// A text or a refusal inside a message; a part of its own.
struct Content {
    index: u32,
    refusal: bool,
    part: u32,
    text: String,
}

#[derive(Default)]
struct Reasoning {
    part: Option<u32>,
    /// Where the shown text comes from. Some servers send the same as a summary and as raw text.
    source: Option<Source>,
    sections: Vec<(u32, String)>,
}

/// The two forms of a reasoning item's text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Summary,
    Raw,
}

#[derive(Default)]
struct Call {
    /// There once id and name are known.
    part: Option<u32>,
    id: String,
    arguments: String,
    /// The arguments the item began with: they count only where no others come.
    start: String,
}

/// An item that we do not know.
struct Opaque {
    kind: String,
    part: Option<u32>,
    start: String,
}

/// What kind of item a piece belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Message,
    Reasoning,
    Call,
    Opaque,
}

impl Sort {
    pub(super) fn of(kind: &str) -> Self {
        match kind {
            "message" => Self::Message,
            "reasoning" => Self::Reasoning,
            "function_call" => Self::Call,
            _ => Self::Opaque,
        }
    }
}

impl Item {
    /// Begins an item. Nothing of what its start holds counts, but a call's id and name: its text and its
    /// state follow.
    pub(super) fn begin(
        index: Option<u32>,
        json: &RawValue,
        parts: &mut Parts,
        out: &mut Vec<Chunk>,
    ) -> Result<Self, Error> {
        let wire = parse::<WireItem<'_>>(json)?;
        let kind = match Sort::of(wire.r#type.get()) {
            Sort::Message => Kind::Message(vec![]),
            Sort::Reasoning => Kind::Reasoning(Reasoning::default()),
            Sort::Call => {
                let mut call = Call { start: argument_text(wire.arguments)?, ..Call::default() };
                call.name(&wire, parts, out);
                Kind::Call(call)
            }
            Sort::Opaque if wire.r#type.get().is_empty() => {
                return Err(malformed("an item of the output has no type"));
            }
            Sort::Opaque => Kind::Opaque(Opaque {
                kind: wire.r#type.get().to_owned(),
                part: None,
                start: json.get().to_owned(),
            }),
        };
        Ok(Self { index, id: id_of(&wire).to_owned(), done: false, kind })
    }

    /// A message or reasoning whose start was not told.
    pub(super) fn untold(index: Option<u32>, id: &str, sort: Sort) -> Self {
        let kind = match sort {
            Sort::Reasoning => Kind::Reasoning(Reasoning::default()),
            _ => Kind::Message(vec![]),
        };
        Self { index, id: id.to_owned(), done: false, kind }
    }

    pub(super) fn sort(&self) -> Sort {
        match self.kind {
            Kind::Message(_) => Sort::Message,
            Kind::Reasoning(_) => Sort::Reasoning,
            Kind::Call(_) => Sort::Call,
            Kind::Opaque(_) => Sort::Opaque,
        }
    }

    /// Whether the two forms of an item, on its way and in the end, may be of one item.
    pub(super) fn fits(&self, wire: &WireItem<'_>) -> bool {
        match &self.kind {
            Kind::Opaque(opaque) => opaque.kind == wire.r#type.get(),
            _ => self.sort() == Sort::of(wire.r#type.get()),
        }
    }

    /// Whether the item is this one by name.
    pub(super) fn is(&self, wire: &WireItem<'_>) -> bool {
        let call = |call: &Call| !call.id.is_empty() && call.id == wire.call_id.get();
        let id = id_of(wire);
        self.fits(wire)
            && (!id.is_empty() && self.id == id || matches!(&self.kind, Kind::Call(it) if call(it)))
    }

    pub(super) fn is_shown(&self) -> bool {
        match &self.kind {
            Kind::Message(contents) => !contents.is_empty(),
            Kind::Reasoning(reasoning) => reasoning.part.is_some(),
            Kind::Call(call) => call.part.is_some(),
            Kind::Opaque(opaque) => opaque.part.is_some(),
        }
    }

    /// Whether the item is a call that the model made.
    pub(super) fn is_call(&self) -> bool {
        matches!(&self.kind, Kind::Call(Call { part: Some(_), .. }))
    }

    /// Takes its place before an item that began later and shows something first.
    pub(super) fn reserve(&mut self, parts: &mut Parts, out: &mut Vec<Chunk>) {
        match &mut self.kind {
            Kind::Reasoning(Reasoning { part: part @ None, .. }) if !self.done => {
                out.push(Chunk::Reasoning { part: *part.insert(parts.next()), text: String::new() });
            }
            Kind::Opaque(Opaque { part: part @ None, start, .. }) if !self.done => {
                out.push(Chunk::State { part: *part.insert(parts.next()), state: state(start.clone()) });
            }
            _ => {}
        }
    }

    /// A piece of a message's text.
    pub(super) fn say(
        &mut self,
        index: u32,
        refusal: bool,
        piece: &str,
        parts: &mut Parts,
        out: &mut Vec<Chunk>,
    ) {
        let Kind::Message(contents) = &mut self.kind else { return };
        if piece.is_empty() {
            return;
        }
        let known = contents.iter().rposition(|it| it.index == index && it.refusal == refusal);
        let at = known.unwrap_or_else(|| {
            contents.push(Content { index, refusal, part: parts.next(), text: String::new() });
            contents.len() - 1
        });
        let Some(content) = contents.get_mut(at) else { return };
        content.text.push_str(piece);
        let (part, text) = (content.part, piece.to_owned());
        out.push(if refusal { Chunk::Refusal { part, text } } else { Chunk::Text { part, text } });
    }

    /// The whole of a message's text: gives what its pieces left out at the end.
    pub(super) fn said(
        &mut self,
        index: u32,
        refusal: bool,
        whole: &str,
        parts: &mut Parts,
        out: &mut Vec<Chunk>,
    ) {
        let Kind::Message(contents) = &self.kind else { return };
        let known = contents.iter().rev().find(|it| it.index == index && it.refusal == refusal);
        if let Some(rest) = whole.strip_prefix(known.map_or("", |it| &it.text)) {
            self.say(index, refusal, rest, parts, out);
        }
    }

    /// A piece of reasoning text.
    pub(super) fn reason(
        &mut self,
        source: Source,
        index: u32,
        piece: &str,
        parts: &mut Parts,
        out: &mut Vec<Chunk>,
    ) {
        if let Kind::Reasoning(reasoning) = &mut self.kind {
            reasoning.say(source, index, piece, parts, out);
        }
    }

    /// The whole of a section of reasoning.
    pub(super) fn reasoned(
        &mut self,
        source: Source,
        index: u32,
        whole: &str,
        parts: &mut Parts,
        out: &mut Vec<Chunk>,
    ) {
        if let Kind::Reasoning(reasoning) = &mut self.kind {
            reasoning.said(source, index, whole, parts, out);
        }
    }

    /// A piece of a call's arguments.
    pub(super) fn argue(&mut self, piece: &str, out: &mut Vec<Chunk>) {
        if let Kind::Call(call) = &mut self.kind {
            call.push(piece, out);
        }
    }

    /// The whole of a call's arguments.
    pub(super) fn argued(&mut self, whole: &str, out: &mut Vec<Chunk>) -> Result<(), Error> {
        match &mut self.kind {
            Kind::Call(call) => call.settle(whole, out),
            _ => Ok(()),
        }
    }

    /// The item as it is in the end.
    pub(super) fn finish(
        &mut self,
        json: &RawValue,
        parts: &mut Parts,
        out: &mut Vec<Chunk>,
    ) -> Result<(), Error> {
        let wire = parse::<WireItem<'_>>(json)?;
        match &mut self.kind {
            Kind::Message(_) => {
                for (index, content) in (0..).zip(contents(wire.content)?) {
                    self.said(index, false, content.text.get(), parts, out);
                    self.said(index, true, content.refusal.get(), parts, out);
                }
                // Behind the text it belongs to.
                if let Some(fields) = further(json, &MESSAGE)?.filter(|_| self.is_shown()) {
                    let json = format!("[\"message\",{fields}]");
                    out.push(Chunk::State { part: parts.next(), state: state(json) });
                }
            }
            Kind::Reasoning(reasoning) => {
                let (summary, raw) = (contents(wire.summary)?, contents(wire.content)?);
                for (source, sections) in [(Source::Summary, summary), (Source::Raw, raw)] {
                    for (index, section) in (0..).zip(sections) {
                        reasoning.said(source, index, section.text.get(), parts, out);
                    }
                }
                let part = *reasoning.part.get_or_insert_with(|| parts.next());
                out.push(Chunk::State { part, state: state(json.get().to_owned()) });
            }
            Kind::Call(call) => {
                call.name(&wire, parts, out);
                let Some(part) = call.part else {
                    return Err(malformed("a tool call without a name or an id"));
                };
                call.settle(&argument_text(wire.arguments)?, out)?;
                call.end(out);
                if let Some(fields) = further(json, &CALL)? {
                    out.push(Chunk::State { part, state: state(fields) });
                }
            }
            Kind::Opaque(opaque) => {
                let part = *opaque.part.get_or_insert_with(|| parts.next());
                out.push(Chunk::State { part, state: state(json.get().to_owned()) });
            }
        }
        self.end(out);
        Ok(())
    }

    /// The reply ended while the item was under way. Text is what it is; a call must be whole, unless the
    /// reply says that it was cut. Gives whether that is well.
    pub(super) fn abandon(&mut self, cut: bool, out: &mut Vec<Chunk>) -> bool {
        if let Kind::Call(call) = &mut self.kind {
            if !cut {
                return false;
            }
            call.end(out);
        }
        self.end(out);
        true
    }

    fn end(&mut self, out: &mut Vec<Chunk>) {
        self.done = true;
        match &self.kind {
            Kind::Message(contents) => {
                out.extend(contents.iter().map(|content| Chunk::PartEnd { part: content.part }));
            }
            Kind::Reasoning(Reasoning { part, .. })
            | Kind::Call(Call { part, .. })
            | Kind::Opaque(Opaque { part, .. }) => {
                out.extend(part.map(|part| Chunk::PartEnd { part }));
            }
        }
    }
}

impl Reasoning {
    fn say(&mut self, source: Source, index: u32, piece: &str, parts: &mut Parts, out: &mut Vec<Chunk>) {
        if piece.is_empty() || *self.source.get_or_insert(source) != source {
            return;
        }
        let part = *self.part.get_or_insert_with(|| parts.next());
        let mut text = String::new();
        match self.sections.iter_mut().rev().find(|(known, _)| *known == index) {
            Some((_, section)) => section.push_str(piece),
            None => {
                if !self.sections.is_empty() {
                    text.push_str("\n\n");
                }
                self.sections.push((index, piece.to_owned()));
            }
        }
        text.push_str(piece);
        out.push(Chunk::Reasoning { part, text });
    }

    fn said(&mut self, source: Source, index: u32, whole: &str, parts: &mut Parts, out: &mut Vec<Chunk>) {
        let known = self.sections.iter().rposition(|(known, _)| *known == index);
        // What was left out of an earlier section has no place any more.
        if known.is_some_and(|at| at + 1 < self.sections.len()) {
            return;
        }
        let shown = known.and_then(|at| self.sections.get(at)).map_or("", |(_, text)| text);
        if let Some(rest) = whole.strip_prefix(shown) {
            self.say(source, index, rest, parts, out);
        }
    }
}

impl Call {
    /// Begins the part as soon as id and name are there.
    fn name(&mut self, wire: &WireItem<'_>, parts: &mut Parts, out: &mut Vec<Chunk>) {
        let (id, name) = (call_id_of(wire), wire.name.get());
        if self.part.is_some() || id.is_empty() || name.is_empty() {
            return;
        }
        let part = *self.part.insert(parts.next());
        self.id = id.to_owned();
        out.push(Chunk::ToolCall { part, id: id.to_owned(), name: name.to_owned() });
        if !self.arguments.is_empty() {
            out.push(Chunk::Arguments { part, text: self.arguments.clone() });
        }
    }

    fn push(&mut self, piece: &str, out: &mut Vec<Chunk>) {
        if piece.is_empty() {
            return;
        }
        self.arguments.push_str(piece);
        if let Some(part) = self.part {
            out.push(Chunk::Arguments { part, text: piece.to_owned() });
        }
    }

    /// Gives what the pieces left out at the end. Pieces that say something else must not run.
    fn settle(&mut self, whole: &str, out: &mut Vec<Chunk>) -> Result<(), Error> {
        if whole.is_empty() {
            return Ok(());
        }
        if let Some(rest) = whole.strip_prefix(self.arguments.as_str()) {
            self.push(rest, out);
            return Ok(());
        }
        let value = |text: &str| match Arguments::parse(text) {
            Arguments::Json(value) => Some(value),
            Arguments::Invalid { .. } => None,
        };
        let sum = value(&self.arguments);
        if sum.is_some() && sum == value(whole) {
            return Ok(());
        }
        Err(malformed(&format!(
            "the arguments of the tool call `{}` are not the sum of their pieces",
            self.id
        )))
    }

    fn end(&mut self, out: &mut Vec<Chunk>) {
        if self.arguments.is_empty() {
            let start = std::mem::take(&mut self.start);
            self.push(&start, out);
        }
    }
}

/// Numbers the parts of a reply.
#[derive(Default)]
pub(super) struct Parts(u32);

impl Parts {
    pub(super) fn next(&mut self) -> u32 {
        let part = self.0;
        self.0 += 1;
        part
    }
}

/// A call without an id of its own is known by the call's.
pub(super) fn id_of<'a>(wire: &'a WireItem<'_>) -> &'a str {
    if wire.id.get().is_empty() { wire.call_id.get() } else { wire.id.get() }
}

fn call_id_of<'a>(wire: &'a WireItem<'_>) -> &'a str {
    if wire.call_id.get().is_empty() { wire.id.get() } else { wire.call_id.get() }
}

fn contents(list: Option<&RawValue>) -> Result<Vec<WireContent<'_>>, Error> {
    let list: Option<Option<Vec<_>>> = list.map(parse).transpose()?;
    Ok(list.flatten().unwrap_or_default())
}

/// The text of arguments. Some servers write the object itself instead of its text.
fn argument_text(json: Option<&RawValue>) -> Result<String, Error> {
    let Some(json) = json else { return Ok(String::new()) };
    Ok(match json.get() {
        "null" => String::new(),
        text if text.starts_with('"') => parse::<Words<'_>>(json)?.get().to_owned(),
        object => object.to_owned(),
    })
}

/// The fields of an item that are not among these, as a JSON object.
fn further(json: &RawValue, known: &[&str]) -> Result<Option<String>, Error> {
    let mut fields: BTreeMap<String, &RawValue> = parse(json)?;
    fields.retain(|name, value| !known.contains(&name.as_str()) && value.get() != "null");
    if fields.is_empty() {
        return Ok(None);
    }
    let text = serde_json::to_string(&fields);
    text.map(Some).map_err(|error| malformed(&format!("an item cannot be kept: {error}")))
}

fn state(json: String) -> ProviderState {
    ProviderState { format: FORMAT.to_owned(), json }
}

pub(super) fn parse<'a, T: serde::Deserialize<'a>>(json: &'a RawValue) -> Result<T, Error> {
    serde_json::from_str(json.get())
        .map_err(|error| malformed(&format!("an item of the output is not as it should be: {error}")))
}
