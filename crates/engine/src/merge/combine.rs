//! All texts, one behind the other.

use serde_json::{Value, json};

use super::Merge;
use super::member::{MemberOutput, failures};

pub(super) fn concat(merge: &Merge, usable: &[&MemberOutput], members: &[MemberOutput]) -> Value {
    let separator = merge.separator.as_deref().unwrap_or("\n\n");
    let texts: Vec<_> = usable.iter().map(|member| member.text.as_str()).collect();
    let parts: Vec<_> = usable.iter().map(|member| part(member)).collect();
    json!({ "text": texts.join(separator), "parts": parts, "failed": failures(members) })
}

/// A member's output as results show it.
pub(super) fn part(member: &MemberOutput) -> Value {
    let mut part = json!({ "author": member.author, "text": member.text });
    if let Some(name) = &member.part {
        part["part"] = json!(name);
    }
    if let Some(output) = &member.output {
        part["output"] = output.clone();
    }
    part
}
