//! The items of a reply, found by their identity, never by what came last alone.

use ambidex_core::{Chunk, Error};
use serde_json::value::RawValue;

use super::event::WireItem;
use super::item::{Item, Parts, Sort, Source, id_of, parse};
use crate::adapter::{malformed, truncated};

/// The items under way, in the order in which they began.
#[derive(Default)]
pub(super) struct Output {
    items: Vec<Item>,
    parts: Parts,
}

/// Where an event says that it belongs.
///
/// The index counts first: some servers give an item another id in each event. The id tells items apart
/// that share an index, or have none.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub index: Option<u32>,
    pub id: &'a str,
}

impl Output {
    /// An item begins.
    pub(super) fn add(
        &mut self,
        index: Option<u32>,
        json: &RawValue,
        out: &mut Vec<Chunk>,
    ) -> Result<(), Error> {
        let mut chunks = Vec::new();
        let item = Item::begin(index, json, &mut self.parts, &mut chunks)?;
        let twice = |known: &Item| !item.id.is_empty() && known.id == item.id && known.index == index;
        if self.items.iter().any(twice) {
            return Err(malformed(&format!("the item `{}` began twice", item.id)));
        }
        if item.is_shown() {
            self.items.iter_mut().for_each(|earlier| earlier.reserve(&mut self.parts, out));
        }
        out.append(&mut chunks);
        self.items.push(item);
        Ok(())
    }

    /// An item as it is in the end.
    pub(super) fn finish(
        &mut self,
        index: Option<u32>,
        json: &RawValue,
        out: &mut Vec<Chunk>,
    ) -> Result<(), Error> {
        let wire: WireItem<'_> = parse(json)?;
        let place = Place { index, id: id_of(&wire) };
        let fits = |item: &Item| item.fits(&wire);
        let at = self.find(place, &fits).or_else(|| self.items.iter().rposition(|item| item.is(&wire)));
        match at {
            Some(at) => self.end(at, json, out),
            None => self.whole(index, json, out),
        }
    }

    /// An item that was not told of before.
    pub(super) fn whole(
        &mut self,
        index: Option<u32>,
        json: &RawValue,
        out: &mut Vec<Chunk>,
    ) -> Result<(), Error> {
        let at = self.items.len();
        self.add(index, json, out)?;
        self.end(at, json, out)
    }

    /// The items as the terminal event lists them: those that are still under way end, those that never
    /// came are taken from there. Ids may differ from those in the stream, so items of one kind are then
    /// matched by their order.
    pub(super) fn settle(&mut self, list: &[&RawValue], out: &mut Vec<Chunk>) -> Result<(), Error> {
        let wires = list.iter().map(|json| parse(json)).collect::<Result<Vec<WireItem<'_>>, _>>()?;
        let mut free: Vec<usize> = (0..self.items.len()).collect();
        let mut take = |holds: &dyn Fn(&Item) -> bool| {
            let at = free.iter().position(|at| self.items.get(*at).is_some_and(holds));
            at.map(|at| free.remove(at))
        };
        let mut matches: Vec<Option<usize>> = wires.iter().map(|wire| take(&|item| item.is(wire))).collect();
        for (wire, at) in wires.iter().zip(&mut matches).filter(|(_, at)| at.is_none()) {
            *at = take(&|item| item.fits(wire));
        }
        for (json, at) in list.iter().zip(matches) {
            match at {
                Some(at) => self.end(at, json, out)?,
                None => self.whole(None, json, out)?,
            }
        }
        Ok(())
    }

    /// A piece of text, or a refusal's; `whole` says that it is all of it.
    pub(super) fn say(
        &mut self,
        place: Place<'_>,
        (index, refusal): (u32, bool),
        text: &str,
        whole: bool,
        out: &mut Vec<Chunk>,
    ) -> Result<(), Error> {
        let Some((item, parts)) = self.open(place, Sort::Message, whole, out)? else { return Ok(()) };
        if whole {
            item.said(index, refusal, text, parts, out);
        } else {
            item.say(index, refusal, text, parts, out);
        }
        Ok(())
    }

    /// A piece of reasoning, or all of a section.
    pub(super) fn reason(
        &mut self,
        place: Place<'_>,
        (source, index): (Source, u32),
        text: &str,
        whole: bool,
        out: &mut Vec<Chunk>,
    ) -> Result<(), Error> {
        let Some((item, parts)) = self.open(place, Sort::Reasoning, whole, out)? else { return Ok(()) };
        if whole {
            item.reasoned(source, index, text, parts, out);
        } else {
            item.reason(source, index, text, parts, out);
        }
        Ok(())
    }

    /// A piece of a call's arguments, or all of them.
    pub(super) fn argue(
        &mut self,
        place: Place<'_>,
        text: &str,
        whole: bool,
        out: &mut Vec<Chunk>,
    ) -> Result<(), Error> {
        match self.open(place, Sort::Call, whole, out)? {
            Some((item, _)) if whole => item.argued(text, out),
            Some((item, _)) => {
                item.argue(text, out);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The reply came to its end. Gives whether it holds a call.
    pub(super) fn close(&mut self, cut: bool, out: &mut Vec<Chunk>) -> Result<bool, Error> {
        for item in self.items.iter_mut().filter(|item| !item.done) {
            if !item.abandon(cut, out) {
                return Err(truncated("the response completed while a tool call was under way"));
            }
        }
        Ok(self.items.iter().any(Item::is_call))
    }

    fn end(&mut self, at: usize, json: &RawValue, out: &mut Vec<Chunk>) -> Result<(), Error> {
        let Self { items, parts } = self;
        let Some((earlier, item)) = at_and_before(items, at).filter(|(_, item)| !item.done) else {
            return Ok(());
        };
        if !item.is_shown() {
            earlier.iter_mut().for_each(|earlier| earlier.reserve(parts, out));
        }
        item.finish(json, parts, out)
    }

    /// The item that a piece belongs to. None where it has nothing to add: it is done, or never began and
    /// this is no piece, but what the item will say in its end.
    fn open(
        &mut self,
        place: Place<'_>,
        sort: Sort,
        whole: bool,
        out: &mut Vec<Chunk>,
    ) -> Result<Option<(&mut Item, &mut Parts)>, Error> {
        let at = match self.find(place, &|item| item.sort() == sort) {
            Some(at) => at,
            None if sort == Sort::Call && whole => return Ok(None),
            None if sort == Sort::Call => return Err(malformed("a piece of a tool call that never began")),
            None => {
                self.items.push(Item::untold(place.index, place.id, sort));
                self.items.len() - 1
            }
        };
        let Self { items, parts } = self;
        let Some((earlier, item)) = at_and_before(items, at) else { return Ok(None) };
        if item.done {
            return if whole { Ok(None) } else { Err(malformed("a piece of an item that was done")) };
        }
        if !item.is_shown() {
            earlier.iter_mut().for_each(|earlier| earlier.reserve(parts, out));
        }
        Ok(Some((item, parts)))
    }

    fn find(&self, place: Place<'_>, fits: &dyn Fn(&Item) -> bool) -> Option<usize> {
        let last =
            |holds: &dyn Fn(&Item) -> bool| self.items.iter().rposition(|item| fits(item) && holds(item));
        let same_id = |item: &Item| !place.id.is_empty() && item.id == place.id;
        if let Some(index) = place.index {
            let here = |item: &Item| item.index == Some(index);
            let at = last(&|item| here(item) && same_id(item)).or_else(|| last(&here));
            if at.is_some() {
                return at;
            }
        }
        if let Some(at) = last(&same_id) {
            return Some(at);
        }
        // Without an index and a known id: there must be no doubt.
        let mut open = (0..).zip(&self.items).filter(|(_, item)| !item.done && fits(item));
        match (place.index, open.next(), open.next()) {
            (None, Some((at, _)), None) => Some(at),
            _ => None,
        }
    }
}

/// An item and those that began before it.
fn at_and_before(items: &mut [Item], at: usize) -> Option<(&mut [Item], &mut Item)> {
    let (earlier, rest) = items.split_at_mut_checked(at)?;
    Some((earlier, rest.first_mut()?))
}
